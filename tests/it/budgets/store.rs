//! The store counts unapproved changes against the limits, also after a restart.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use rosterd::clock::Clock;
use rosterd::engine::{Engine, Rules};
use rosterd::model::{DirectoryName, RunMode, *};
use rosterd::reconcile::*;
use rosterd::store::{Applied, Run, Store, UserFilter, Writer};
use tokio_util::sync::CancellationToken;

use super::{HOUR, class};
use crate::firm::alice;
use crate::world::guid;

/// One event in the life of a store.
#[derive(Clone, Debug)]
enum Write {
    /// A run applies this many changes of a class, approved or not.
    ByRun(ChangeClass, usize, bool),
    ByOperator(usize),
    Wait(u64),
    /// The daemon restarts on the same store.
    Restart,
}

fn write() -> impl Strategy<Value = Write> {
    prop_oneof![
        4 => (class(), 1..8usize, any::<bool>()).prop_map(|(class, n, approved)| Write::ByRun(class, n, approved)),
        2 => (1..8usize).prop_map(Write::ByOperator),
        3 => (1..1000u64).prop_map(Write::Wait),
        2 => Just(Write::Restart),
    ]
}

/// A store with an account and some users, and the expected use of its limits.
struct StoreFixture {
    folder: tempfile::TempDir,
    /// `None` while rosterd is stopped.
    store: Option<Arc<Store>>,
    clock: Clock,
    account: AccountRef,
    counted: Vec<(Timestamp, ChangeClass)>,
}

impl StoreFixture {
    async fn open(folder: &tempfile::TempDir) -> Arc<Store> {
        Arc::new(
            Store::open(&format!("sqlite://{}", folder.path().join("rosterd.db").display()))
                .await
                .expect("a store"),
        )
    }

    async fn new(users: u32) -> Self {
        let (folder, clock) = (tempfile::tempdir().expect("a folder"), Clock::system());
        let store = Self::open(&folder).await;
        let engine = Engine::new(
            Arc::clone(&store),
            clock.clone(),
            Vec::new(),
            Rules::default(),
            CancellationToken::new(),
        );
        let account =
            engine.create_account("acme", "Acme", &alice()).await.expect("an account").reference();
        let mut store = Self { folder, store: Some(store), clock, account, counted: Vec::new() };
        let joined = |n| {
            let link = Link { directory: corp(), guid: guid(n), dn: Dn::new(format!("CN={n}")) };
            let (addresses, profile, causes) =
                (Addresses::default(), Profile::default(), Causes::default());
            Box::new(Joined { tier: Tier::Basic, addresses, profile, link: Some(link), causes })
        };
        let create = |n| Change {
            user: UserId::of_person(store.account.id, guid(n)),
            guid: Some(guid(n)),
            email: None,
            names: Names::default(),
            kind: ChangeKind::Create(joined(n)),
            class: Some(ChangeClass::Create),
            version: None,
            cluster: None,
            home: None,
        };
        let changes = (0..users).map(create).collect();
        store.by_run(changes, true).await;
        store
    }

    fn store(&self) -> &Store {
        self.store.as_ref().expect("a store that is open")
    }

    /// Renames this many users, as changes of this class.
    async fn changes(&self, class: Option<ChangeClass>, count: usize) -> Vec<Change> {
        let users = self
            .store()
            .users(&UserFilter { limit: Some(100), ..UserFilter::default() })
            .await
            .expect("users");
        let name = || Some(self.clock.new_id().to_string());
        let change = |user: &User| {
            let after = Box::new(Profile { display_name: name(), ..user.profile.clone() });
            let kind = ChangeKind::Update { before: Box::new(user.profile.clone()), after };
            Change { class, ..Change::by_hand(user, kind) }
        };
        users.iter().take(count).map(change).collect()
    }

    async fn by_run(&mut self, changes: Vec<Change>, approve: bool) {
        // No change is held here, because only applied changes are counted.
        let limit = Limit { percent: 100, at_least: 1000, at_most: None };
        let limits = Limits {
            grace_period: Duration::ZERO,
            classes: ChangeClass::ALL.map(|c| (c, limit)).into(),
            ..Limits::default()
        };
        let approved = changes.iter().filter(|_| approve).map(Change::digest).collect();
        let (now, run) = (self.clock.now(), RunId(self.clock.new_id()));
        let bounds = Bounds {
            limits: &limits,
            active: 1000,
            used: BTreeMap::new(),
            waiting: Vec::new(),
            first_seen: BTreeMap::new(),
            ous: Vec::new(),
            is_quiet: false,
            held: BTreeSet::new(),
            clusters: BTreeMap::new(),
            newcomers: BTreeMap::new(),
            protected: &BTreeSet::new(),
            hold_all: HoldAll::No,
            approved,
            rejected: Rejected::default(),
            replica: &Replica::default(),
            server_changed_at: None,
            deferred_until: None,
            now,
        };
        let plan = Plan { changes, quarantined: Vec::new() };
        let admitted = guard(Proposal { plan, ..Proposal::default() }, &bounds).admitted;
        let name = corp();
        let account = self.account.clone();
        let writer = Writer {
            right: rosterd::store::Right::Leader,
            run,
            directory: Some(&name),
            account,
            actor: Actor::rosterd(),
            observed_from: self.store().next_observation().await.expect("a number"),
            clock: &self.clock,
            asked: &[],
        };
        let mut applied = Applied::default();
        self.store().apply(&admitted, &writer, &mut applied).await.expect("a run that is written");
        assert_eq!((applied.written, applied.dropped), (admitted.len() as u64, 0));
        if !approve {
            self.counted.extend(admitted.changes().filter_map(|(c, _)| Some((now, c.class?))));
        }
        self.store()
            .save_run(&self.run(run, now, admitted.len() as u64))
            .await
            .expect("a run that is remembered");
    }

    fn run(&self, id: RunId, at: Timestamp, active: u64) -> Run {
        Run {
            id,
            directory: DirectoryName::parse("corp"),
            trigger: Trigger::Schedule,
            mode: RunMode::Full,
            state: RunState::Succeeded,
            actor: None,
            started_at: at,
            finished_at: Some(self.clock.now()),
            entries: 0,
            complete: true,
            server: None,
            counts: ChangeCounts::default(),
            held: 0,
            quarantined: 0,
            dropped: 0,
            error: None,
            warnings: Vec::new(),
            active_after: Some(active),
            approves: None,
            undoes: None,
            full_read_reason: None,
        }
    }

    async fn apply(&mut self, what: &Write) {
        match what {
            Write::ByRun(class, count, approved) => {
                let changes = self.changes(Some(*class), *count).await;
                self.by_run(changes, *approved).await;
            }
            Write::ByOperator(count) => {
                let admitted = Admitted::by_operator(self.changes(None, *count).await, alice());
                let (run, account) = (RunId(self.clock.new_id()), self.account.clone());
                let observed_from = ObservationNumber::default();
                let writer = Writer {
                    right: rosterd::store::Right::Leader,
                    run,
                    directory: None,
                    account,
                    actor: alice(),
                    observed_from,
                    clock: &self.clock,
                    asked: &[],
                };
                self.store()
                    .apply(&admitted, &writer, &mut Applied::default())
                    .await
                    .expect("an operator's write");
            }
            Write::Wait(minutes) => self.clock.advance(Duration::from_mins(*minutes)),
            Write::Restart => {
                let before = self.budget().await;
                self.store().close().await;
                self.store = None;
                self.store = Some(Self::open(&self.folder).await);
                assert_eq!(self.budget().await, before, "a restart changes no budget");
            }
        }
    }

    async fn budget(&self) -> (u64, BTreeMap<ChangeClass, Used>) {
        let window = Limits::default().window;
        let budget =
            self.store().budget(&corp(), window, self.clock.now()).await.expect("a budget");
        (budget.active, budget.used)
    }

    fn expected(&self) -> BTreeMap<ChangeClass, Used> {
        let now = self.clock.now();
        let mut used: BTreeMap<ChangeClass, Used> = BTreeMap::new();
        for (at, class) in &self.counted {
            let (in_window, in_hour) =
                (*at > now.minus(Limits::default().window), *at > now.minus(HOUR));
            if in_window {
                let used = used.entry(*class).or_default();
                used.window += 1;
                used.hour += u64::from(in_hour);
            }
        }
        used
    }
}

fn corp() -> DirectoryName {
    DirectoryName::parse("corp").expect("a name")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn only_unapproved_changes_count_against_a_limit_also_after_a_restart(history in prop::collection::vec(write(), 1..25)) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let mut store = StoreFixture::new(8).await;
            for what in &history {
                store.apply(what).await;
                assert_eq!(store.budget().await.1, store.expected(), "{what:?}");
            }
        });
    }
}
