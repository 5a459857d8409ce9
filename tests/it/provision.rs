//! Targets that follow the users of a company, on simulated SCIM service providers.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rosterd::engine::{Configurable as _, Selection, TargetConfig, TargetRequest};
use rosterd::http::Transport;
use rosterd::model::{
    Adopt, CounterpartRow, CounterpartState, DriftAction, HoldReason, LeaverAction, MatchAttribute,
    Mode, PlanState, ProvisionProblem, Rate, RunState, TargetCredential, TargetGroup, TargetName,
    Tier, Timestamp, Trigger, User,
};
use rosterd::reconcile::Limits;
use rosterd::reconcile::provision::Quirks;
use rosterd::scim;
use scimsim::{Fault, Manners, Sim};
use serde_json::{Value, json};

use crate::firm::{Firm, alice, no_full_runs};
use crate::hooks::until;
use crate::targets::mapping;

mod answers;
mod groups;
mod health;
mod killed;
mod law;
mod leavers;
mod liars;
mod names;
mod oauth;
mod order;
mod ownership;
mod plans;
mod reading;
mod restored;
mod writing;

/// A company and a target that follows it.
struct Office {
    firm: Firm,
    sim: Sim,
    /// The tasks that follow the users.
    following: std::sync::Mutex<Vec<tokio::task::AbortHandle>>,
}

pub(crate) const NAME: &str = "app";

/// Returns the configuration of a target on this simulator, and writes its token.
pub(crate) fn config(sim: &Sim, folder: &Path) -> TargetConfig {
    let file = folder.join("app.token");
    crate::folder::write(&file, &sim.token(), 0o600);
    TargetConfig {
        name: TargetName::parse(NAME).expect("a name"),
        account: rosterd::model::Handle::parse("acme").expect("a handle"),
        mode: Mode::Apply,
        client: scim::Settings {
            url: sim.url().parse().expect("a URL"),
            credential: TargetCredential::Token(file),
            transport: Transport::default(),
            timeout: Duration::from_secs(20),
            page_size: 100,
            quirks: Quirks::default(),
        },
        token_expires: None,
        rate: Rate { requests: 1000, per: Duration::from_secs(1) },
        concurrency: 4,
        tiers: Tier::ALL.into(),
        exclude: Vec::new(),
        adopt: Adopt::Ask,
        matched_by: MatchAttribute::UserName,
        leaver: LeaverAction::Deactivate,
        delete_after: None,
        drift: DriftAction::Report,
        full: no_full_runs(),
        mapping: mapping(&[]),
        limits: Limits { grace_period: Duration::ZERO, ..Limits::default() },
        groups: Vec::new(),
    }
}

impl Office {
    /// Returns a company of so many people whose target has an account for each.
    async fn of(people: usize) -> Self {
        Self::with(people, |_, _| {}).await
    }

    /// Does the same with another configuration or another service.
    async fn with(people: usize, adapt: impl FnOnce(&mut TargetConfig, &Sim)) -> Self {
        let office = Self::before(people, adapt).await;
        office.start().await;
        office.approve_all().await;
        let users = office.firm.active().await;
        until("each user has an account", async || (office.active().len() == users).then_some(()))
            .await;
        office.at_rest().await;
        office
    }

    /// Returns a company whose target is configured, and not followed yet.
    async fn before(people: usize, adapt: impl FnOnce(&mut TargetConfig, &Sim)) -> Self {
        let firm =
            Firm::running(people, |config| config.limits.grace_period = Duration::ZERO).await;
        let sim = Sim::start().await.expect("a simulator");
        let mut target = config(&sim, firm.folder.path());
        adapt(&mut target, &sim);
        firm.engine.reconfigure_targets(vec![target]);
        Self { firm, sim, following: std::sync::Mutex::default() }
    }

    /// Follows the users, and waits for the first run.
    async fn start(&self) {
        self.follow();
        until("the first run has ended", async || {
            let status = self.firm.engine.target_statuses().await.expect("a status");
            status[0].state.last_success.map(drop)
        })
        .await;
    }

    fn follow(&self) {
        for target in self.firm.engine.targets().values() {
            if target.claim_task() {
                let (engine, target) = (Arc::clone(&self.firm.engine), Arc::clone(target));
                let following = tokio::spawn(engine.follow_users(target)).abort_handle();
                self.following.lock().expect("the tasks").push(following);
            }
        }
    }

    /// Ends the engine at any await, as a kill does, and starts another one over the same store.
    fn restart(&mut self) {
        let configs: Vec<_> =
            self.firm.engine.targets().values().map(|target| target.config.clone()).collect();
        for following in self.following.lock().expect("the tasks").drain(..) {
            following.abort();
        }
        self.firm.engine = self.firm.restarted();
        self.firm.engine.reconfigure_targets(configs);
        self.follow();
    }

    /// Waits until the account of a user is active or not.
    async fn becomes(&self, user: &User, active: bool) {
        until("the account is as its user", async || {
            (self.is_active(user) == Some(active)).then_some(())
        })
        .await;
    }

    async fn status(&self) -> rosterd::engine::TargetStatus {
        let mut statuses = self.firm.engine.target_statuses().await.expect("a status");
        statuses.swap_remove(0)
    }

    fn reconfigure(&self, change: impl FnOnce(&mut TargetConfig)) {
        let mut target = self.firm.engine.target(NAME).expect("the target").config.clone();
        change(&mut target);
        self.firm.engine.reconfigure_targets(vec![target]);
        self.follow();
    }

    /// Approves the plan of the target, if one waits.
    async fn approve_all(&self) {
        if let Some(plan) = self.plan().await {
            self.firm.engine.approve(plan.id, alice()).await.expect("an approval");
        }
    }

    /// Returns the plan of the target that waits.
    async fn plan(&self) -> Option<rosterd::store::HeldPlan> {
        let plans = self.firm.engine.store.plans(false).await.expect("plans");
        plans.into_iter().find(|plan| plan.directory.as_str() == NAME)
    }

    /// Waits until no work is due.
    async fn at_rest(&self) {
        let name = TargetName::parse(NAME).expect("a name");
        until("nothing is due", async || {
            let next =
                self.firm.engine.store.next_counterpart(&name, Timestamp(0)).await.expect("a time");
            next.is_none().then_some(())
        })
        .await;
    }

    /// Runs over all accounts.
    async fn run(&self) -> rosterd::store::Run {
        let target = self.firm.engine.target(NAME).expect("the target");
        let request = TargetRequest::full(Trigger::Manual, Some(alice()));
        let run = self.firm.engine.run_target(&target, request).await.expect("a run");
        self.at_rest().await;
        run
    }

    /// Returns the names of the active accounts, in order.
    fn active(&self) -> Vec<String> {
        let users = self.sim.users();
        let active = users.iter().filter(|user| user["active"] != json!(false));
        let mut names: Vec<String> =
            active.map(|user| user["userName"].as_str().unwrap_or_default().to_owned()).collect();
        names.sort();
        names
    }

    /// Lets time pass, and wakes what waits for it.
    async fn later(&self, time: Duration) {
        self.firm.clock.advance(time);
        self.firm.engine.resume_target(NAME).await.expect("a status");
    }

    fn account(&self, user: &User) -> Option<Value> {
        self.sim.users().into_iter().find(|account| account["externalId"] == user.id.to_string())
    }

    fn is_active(&self, user: &User) -> Option<bool> {
        self.account(user).map(|account| account["active"] != json!(false))
    }

    async fn row(&self, user: &User) -> Option<CounterpartRow> {
        let name = TargetName::parse(NAME).expect("a name");
        self.firm.engine.store.counterpart(&name, user.id).await.expect("a row")
    }

    async fn problem(&self, user: &User) -> Option<ProvisionProblem> {
        self.row(user).await.and_then(|row| row.problem)
    }

    /// Returns an active user.
    async fn someone(&self) -> User {
        self.firm.users().await.into_iter().find(|user| user.causes.is_empty()).expect("a user")
    }

    /// Disables the user in the directory, and runs over it.
    async fn leave(&self, user: &User) {
        let guid = crate::firm::guid_of(user);
        self.firm.sim.edit(|ad| ad.disable(guid));
        assert_eq!(self.firm.sync().await.counts.suspend, 1);
    }

    /// Returns the requests of a method to one account, each as its body.
    fn requests(&self, method: &str, id: &str) -> Vec<Value> {
        let log = self.sim.log();
        let is_it = |request: &&scimsim::Request| {
            request.method == method && request.target.ends_with(&format!("/Users/{id}"))
        };
        log.iter().filter(is_it).map(|request| request.body.clone()).collect()
    }

    async fn kinds_held(&self) -> Vec<(String, HoldReason)> {
        let Some(plan) = self.plan().await else { return Vec::new() };
        let changes = self.firm.engine.store.plan_changes(plan.id).await.expect("changes");
        let kind = |change: rosterd::model::WrittenChange| {
            let step = change.after["step"].as_str().unwrap_or_default().to_owned();
            (step, change.hold.expect("a reason"))
        };
        changes.into_iter().map(kind).collect()
    }
}

fn id_of(account: &Value) -> String {
    account["id"].as_str().expect("an id").to_owned()
}
