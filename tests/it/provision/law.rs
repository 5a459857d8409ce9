//! The law of targets: whatever a company, its target and the daemon go through, at rest each
//! account is what its user is, and no other account was touched.
//!
//! The variables of [`crate::histories`] start a long run.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;

use futures_util::FutureExt as _;
use rosterd::engine::Engine;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::histories;

/// Histories of an ordinary test run.
const HISTORIES: u64 = 6;

/// The longest wait for the end of all work. A long run has little of the machine.
const PATIENCE: Duration = Duration::from_mins(5);

/// Steps of one history.
const STEPS: usize = 14;

/// Accounts that others own, which must stay as they are.
const STRANGERS: usize = 3;

/// A company and a target, and the daemon between them, which is killed and started again.
struct Play {
    office: Office,
    engine: Arc<Engine>,
    stop: CancellationToken,
    rng: fastrand::Rng,
    history: Vec<String>,
    strangers: BTreeMap<String, Value>,
}

impl Play {
    async fn begin(seed: u64, people: usize) -> Self {
        let office = Office::before(people, |config, _| {
            config.limits.classes.clear();
            // Every limit is generous: the law is about steps, and held plans have their own tests.
            let limit = rosterd::reconcile::Limit { percent: 100, at_least: 1000, at_most: None };
            for class in rosterd::model::ChangeClass::ALL {
                config.limits.classes.insert(class, limit);
            }
        })
        .await;
        let strangers = (0..STRANGERS).map(|n| {
            let name = format!("stranger{n}@elsewhere.example");
            let account = json!({ "userName": name, "active": true, "title": "Theirs" });
            (office.sim.add(&account), account)
        });
        let strangers = strangers.collect();
        let (engine, stop) = (Arc::clone(&office.firm.engine), CancellationToken::new());
        let rng = fastrand::Rng::with_seed(seed);
        let mut play = Self { office, engine, stop, rng, history: Vec::new(), strangers };
        play.restart();
        play
    }

    /// Kills the daemon where it stands, and starts another one over the same store.
    fn restart(&mut self) {
        let target = self.office.firm.engine.target(NAME).expect("the target").config.clone();
        self.stop.cancel();
        self.stop = CancellationToken::new();
        let was = self.office.firm.engine.configured();
        let directories = was.directories.values().map(|d| d.config.clone()).collect();
        let store = Arc::clone(&self.office.firm.engine.store);
        let clock = self.office.firm.clock.clone();
        let rules = was.rules.clone();
        self.engine = Arc::new(Engine::new(store, clock, directories, rules, self.stop.clone()));
        self.engine.reconfigure_targets(vec![target]);
        let target = self.engine.target(NAME).expect("the target");
        let (engine, stop) = (Arc::clone(&self.engine), self.stop.clone());
        tokio::spawn(async move {
            // The task is dropped at any await, as a killed process is.
            tokio::select! {
                () = stop.cancelled() => {}
                () = engine.follow_users(target) => {}
            }
        });
    }

    async fn step(&mut self) {
        let users = self.office.firm.users().await;
        let linked: Vec<&User> = users.iter().filter(|user| user.link.is_some()).collect();
        let user = linked[self.rng.usize(..linked.len())].clone();
        let guid = crate::firm::guid_of(&user);
        let sim = &self.office.firm.sim;
        let number = self.rng.u32(..1000);
        let what = match self.rng.u8(..12) {
            0 | 1 => {
                sim.edit(|ad| ad.disable(guid));
                format!("disable {}", user.id)
            }
            2 => {
                sim.edit(|ad| ad.enable(guid));
                format!("enable {}", user.id)
            }
            3 => {
                sim.edit(|ad| ad.set(guid, "title", &format!("Title {number}")));
                format!("title {number} of {}", user.id)
            }
            4 => {
                sim.edit(|ad| ad.set(guid, "mail", &format!("new{number}@example.com")));
                format!("mail {number} of {}", user.id)
            }
            5 => {
                let joiner = adsim::NewPerson::new(format!("joiner{number}x"));
                let mail = format!("joiner{number}@example.com");
                sim.edit(|ad| ad.add_person(joiner.mail(&mail).member_of(adsim::names::BASIC)));
                format!("join {mail}")
            }
            6 => {
                let method = ["POST", "PATCH", "GET", ""][self.rng.usize(..4)];
                let fault = match self.rng.u8(..8) {
                    0 => Fault::cut_after(method),
                    1 => Fault::cut_before(method),
                    2 => Fault::status(method, 503),
                    3 => Fault::login_page(method, 200),
                    4 => Fault::login_page(method, 404),
                    5 => Fault::status(method, 500),
                    // A target refuses many accounts, as without a licence.
                    6 => Fault::status(["POST", "PATCH"][self.rng.usize(..2)], 402),
                    _ => Fault::status(method, 429),
                };
                let fault = fault.times(1 + self.rng.u32(..16));
                let text = format!("{fault:?}");
                self.office.sim.fail(fault);
                text
            }
            7 => {
                self.restart();
                "kill".to_owned()
            }
            8 => {
                if let Some(account) = self.office.account(&user) {
                    let is_active = self.rng.bool();
                    // Another client takes no user out whom it should leave in.
                    if is_active {
                        self.office.sim.set(&id_of(&account), "active", json!(true));
                    }
                }
                format!("another client activates {}", user.id)
            }
            9 => {
                let target = self.engine.target(NAME).expect("the target");
                let request = TargetRequest::full(Trigger::Schedule, None);
                let run = self.engine.run_target(&target, request).await.expect("a run");
                format!("run: {:?}", run.error)
            }
            10 => {
                let time = Duration::from_secs(self.rng.u64(1..4000));
                self.office.firm.later(time);
                format!("{time:?} later")
            }
            _ => {
                let run = crate::acme::sync(&self.engine, "corp").await;
                format!("sync: {:?} {:?}", run.counts, run.error)
            }
        };
        self.history.push(what);
    }

    /// Ends the troubles, and waits until nothing is left to do.
    async fn rest(&mut self) {
        self.office.sim.clear_faults();
        for _ in 0..3 {
            crate::acme::sync(&self.engine, "corp").await;
            while let Some(plan) =
                self.engine.store.plans(false).await.expect("plans").into_iter().next()
            {
                self.engine.approve(plan.id, alice()).await.expect("an approval");
            }
        }
        self.restart();
        let name = TargetName::parse(NAME).expect("a name");
        let resting = async {
            loop {
                self.office.firm.later(Duration::from_mins(1));
                self.engine.resume_target(NAME).await.expect("a status");
                let target = self.engine.target(NAME).expect("the target");
                let request = TargetRequest::full(Trigger::Schedule, None);
                let run = self.engine.run_target(&target, request).await.expect("a run");
                // The run before this one may have admitted steps that are not done yet.
                let next = self.engine.store.next_counterpart(&name, Timestamp(0)).await;
                let is_idle = next.expect("a time").is_none();
                if is_idle && run.error.is_none() && run.counts.total() == 0 {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        if tokio::time::timeout(PATIENCE, resting).await.is_err() {
            let due = self.engine.store.counterparts(&name, None, None, 1000).await;
            let status = self.engine.target_statuses().await;
            panic!("not within {PATIENCE:?}: nothing is due: {due:#?} {status:#?}");
        }
    }

    /// Returns what is not as it should be.
    async fn broken(&self) -> Vec<String> {
        let mut broken = Vec::new();
        let accounts = self.office.sim.users();
        for user in self.office.firm.users().await {
            let id = user.id.to_string();
            let its: Vec<&Value> =
                accounts.iter().filter(|account| account["externalId"] == id.as_str()).collect();
            let is_active = user.status() == rosterd::model::Status::Active;
            match its[..] {
                [] if is_active => {
                    let row = self.office.row(&user).await;
                    let plan = self.office.plan().await;
                    broken.push(format!("{id} is active and has no account: {row:?} {plan:?}"));
                }
                [] => {}
                [account] => {
                    if (account["active"] != json!(false)) != is_active {
                        broken.push(format!("{id} is {:?}: {account}", user.status()));
                    }
                    let mail = user.addresses.primary.as_ref().map(ToString::to_string);
                    if is_active && account["userName"].as_str() != mail.as_deref() {
                        broken.push(format!("{id} has {mail:?}: {account}"));
                    }
                }
                _ => broken.push(format!("{id} has {} accounts", its.len())),
            }
        }
        for (id, was) in &self.strangers {
            let is = accounts.iter().find(|account| account["id"] == id.as_str());
            let is_same = is
                .is_some_and(|is| ["userName", "active", "title"].iter().all(|n| is[n] == was[n]));
            if !is_same {
                broken.push(format!("the stranger {id} is {is:?}"));
            }
        }
        for request in self.office.sim.log() {
            if request.method == "DELETE" {
                broken.push(format!("{} was deleted", request.target));
            }
        }
        broken
    }
}

/// Plays the history of a seed, in which a panic is a failure, too.
async fn of_seed(seed: u64) -> Result<usize, String> {
    let mut play = Play::begin(seed, 14).await;
    let playing = async {
        for _ in 0..STEPS {
            play.step().await;
        }
        play.rest().await;
        play.broken().await
    };
    let broken = AssertUnwindSafe(playing).catch_unwind().await;
    play.stop.cancel();
    let broken = broken.unwrap_or_else(|_| vec!["a panic, as printed above".to_owned()]);
    if broken.is_empty() {
        return Ok(play.history.len());
    }
    Err(format!("seed {seed}: {broken:#?}\n{:#?}", play.history))
}

#[tokio::test(flavor = "multi_thread")]
async fn at_rest_each_account_is_what_its_user_is_and_no_other_is_touched() {
    histories::play(HISTORIES, of_seed).await;
}

/// A company goes through one story again and again: a user leaves, one is renamed, and one joins.
/// Each time the daemon is killed at the next request, before or after its effect at the target.
#[tokio::test(flavor = "multi_thread")]
async fn a_kill_at_any_request_is_made_up_for_by_the_next_start() {
    let mut play = Play::begin(1, 60).await;
    play.rest().await;
    let name = TargetName::parse(NAME).expect("a name");
    let mut people = play.office.firm.users().await;
    people.retain(|user| user.causes.is_empty());
    let mut kills = 0;
    for after in [false, true] {
        for number in 0.. {
            let before = play.office.sim.log().len();
            play.office.sim.fail(Fault::hang("", after).after(number).times(1));
            let mut next = || crate::firm::guid_of(&people.pop().expect("enough people"));
            let (leaver, renamed) = (next(), next());
            play.office.firm.sim.edit(|ad| {
                ad.disable(leaver);
                ad.set(renamed, "mail", &format!("renamed{after}{number}@example.com"));
                let joiner = adsim::NewPerson::new(format!("joiner{after}{number}"));
                let joiner = joiner.mail(&format!("joiner{after}{number}@example.com"));
                ad.add_person(joiner.member_of(adsim::names::BASIC));
            });
            crate::acme::sync(&play.engine, "corp").await;
            for plan in play.engine.store.plans(false).await.expect("plans") {
                play.engine.approve(plan.id, alice()).await.expect("an approval");
            }
            let is_hit = until("a request hangs, or none is left", async || {
                let asked = play.office.sim.log().len() - before;
                let store = &play.engine.store;
                let next = store.next_counterpart(&name, Timestamp(0)).await.expect("a time");
                if asked > number as usize { Some(true) } else { next.is_none().then_some(false) }
            })
            .await;
            // The engine is dropped at the request, and the answer is lost.
            play.office.sim.clear_faults();
            play.restart();
            play.rest().await;
            assert_eq!(play.broken().await, Vec::<String>::new(), "{after} {number}");
            kills += 1;
            if !is_hit {
                break;
            }
        }
    }
    assert!(kills > 6, "{kills} kills");
}
