//! A run over a target: reads its accounts, decides the steps of each user, and has the guard rule.
//!
//! A full run reads the list page by page and keeps only the ids of the users it has seen. Absence
//! from the list decides nothing: an account of ours that was not listed is asked for by its id.
//!
//! A list that breaks off is partial, and the other accounts are asked for. A run that cannot
//! continue fails, and leavers that it saw until then are taken out.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::PoisonError;

use crate::engine::targets::Target;
use crate::engine::targets::canaries::Recognition;
use crate::engine::targets::exchange::{Exchange, Extent, Halt};
use crate::engine::targets::request::{TargetRequest, TargetScope};
use crate::engine::targets::search::halt;
use crate::engine::targets::sight::Sight;
use crate::engine::targets::work::Work;
use crate::engine::{Engine, EngineError};
use crate::model::{
    Address, AddressKey, CounterpartRow, CounterpartState, Digest, Holdable as _, Lane, Names,
    ProposedStep, ProvisionProblem, StepKind, Tier, Trigger, User, UserId,
};
use crate::reconcile::provision::{
    Account, Clearance, Cleared, Followed, FoundStep, FurtherSteps, Permission, Sighting, Step,
    Wish, cluster_of, steps,
};
use crate::scim::Pages;
use crate::store::{Run, Settled, SettledBy, UnmanagedAccount, UserFilter};

/// Users and counterparts that are read at once.
const PAGE: u64 = 500;

/// Steps without an approval that a run proposes. Further ones follow when these are decided, so
/// that a plan has a limit in memory.
pub const MAX_PROPOSED: usize = 10_000;

/// Accounts in a row that cannot be read before the fault is one of the target.
const MAX_UNREAD: u32 = 10;

/// How often a request of a run is repeated while the target is busy.
const PATIENCE: u32 = 20;

/// The findings and decisions of a run.
#[derive(Debug, Default)]
pub(in crate::engine) struct ObservedTarget {
    /// Steps that need the ruling of the guard.
    pub(in crate::engine) proposed: Vec<(ProposedStep, FoundStep)>,
    /// Steps that need none.
    pub(in crate::engine) free: Vec<ProposedStep>,
    /// The users about whom the run has decided; for a full run those who were left out.
    pub(in crate::engine) undecided: BTreeSet<UserId>,
    /// The number of accounts of the list.
    pub(in crate::engine) listed: u64,
    /// Why the list was not read whole.
    pub(in crate::engine) partial: Option<String>,
    /// Active counterparts by the tier of their users, for the sizes of clusters.
    pub(in crate::engine) clusters: BTreeMap<String, u64>,
    /// Steps beyond [`MAX_PROPOSED`].
    pub(in crate::engine) further: FurtherSteps,
    /// The accounts that could not be read.
    pub(in crate::engine) unread: u64,
    /// The first reason why an account could not be read.
    pub(in crate::engine) unread_reason: Option<String>,
    /// Why the run stopped before its end.
    pub(in crate::engine) stopped: Option<String>,
}

/// Whether a run stores what it sees.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::engine) enum Storing {
    All,
    /// A dry run.
    Nothing,
}

/// A run while it reads.
struct Reading<'a> {
    engine: &'a Engine,
    target: &'a Target,
    followed: &'a Followed,
    permission: Permission,
    exchange: Exchange<'a>,
    storing: Storing,
    /// The run is about some users, and reads no list.
    is_scoped: bool,
    observed: ObservedTarget,
    /// Steps that an operator approved, which every run proposes.
    approved: BTreeSet<Digest>,
    /// Proposed steps without an approval.
    open: usize,
    /// Accounts in a row that were asked for and could not be read.
    unread_in_row: u32,
    /// Users about whom the target was asked with success.
    read: u64,
    /// Users whose account was seen or decided.
    seen: HashSet<UserId>,
    /// Listed accounts that are no counterpart, by the user whose name they have.
    candidates: HashMap<UserId, Vec<Account>>,
}

impl Engine {
    /// Runs over a target. A failed run is returned as a run, too: only errors of the store are
    /// errors.
    pub async fn run_target(
        &self,
        target: &Target,
        request: TargetRequest,
    ) -> Result<Run, EngineError> {
        let _run_lock = target.work.run_lock.lock().await;
        let mut run = self.begin_target_run(target, &request).await?;
        let name = &target.config.name;
        let observed = tokio::select! {
            biased;
            () = target.cancel.cancelled() => Err(Halt::Engine(EngineError::Reloaded)),
            observed = Box::pin(self.observe_target(target, &request, Storing::All)) => observed,
        };
        match observed {
            Ok(observed) => self.record_target(target, &request, observed, &mut run).await?,
            Err(Halt::Engine(error)) if !matches!(error, EngineError::Reloaded) => {
                self.fail_target_run(&mut run, &error.to_string()).await?;
                return Err(error);
            }
            Err(halt) => {
                if let Halt::Unauthorized(reason) = &halt {
                    let kind = crate::store::RefusalKind::Unauthorized;
                    self.refuse(target, kind, reason).await;
                }
                tracing::warn!(scim_target = %name, "{name}: the run failed: {halt}");
                self.fail_target_run(&mut run, &halt.to_string()).await?;
            }
        }
        Ok(run)
    }

    pub(in crate::engine) async fn observe_target(
        &self,
        target: &Target,
        request: &TargetRequest,
        storing: Storing,
    ) -> Result<ObservedTarget, Halt> {
        let stored = self.target_state(target).await?;
        let now = self.clock.now();
        if stored.paused_until.is_some_and(|until| until > now) {
            let name = &target.config.name;
            return Err(Halt::later(format!(
                "the target is paused: rosterctl target resume {name}"
            )));
        }
        if let Some(refused) =
            stored.refused.as_ref().filter(|_| request.trigger != Trigger::Manual)
        {
            return Err(Halt::later(refused.reason.clone()));
        }
        if let Some(reason) = self.waits_for_directory(target, &stored).await? {
            return Err(Halt::later(reason));
        }
        let Some(followed) = self.followed(target).await? else {
            let account = &target.config.account;
            return Err(Halt::later(format!(
                "there is no account {account}: rosterctl account create {account} --name …"
            )));
        };
        // Each run recognises the target anew.
        *target.recognised.lock().unwrap_or_else(PoisonError::into_inner) = None;
        match self.recognise(target).await? {
            Recognition::Ours => {}
            Recognition::Refused(reason) => return Err(Halt::later(reason)),
            Recognition::Unknown(reason) => {
                if storing == Storing::All {
                    self.note_failed_run(target, request, &reason);
                }
                return Err(Halt::later(reason));
            }
        }
        let state = self.target_state(target).await?;
        let mut reading = Reading {
            engine: self,
            target,
            followed: &followed,
            permission: Self::permission(target, &state),
            exchange: Exchange::new(self, target, Lane::Run).patient(PATIENCE),
            storing,
            is_scoped: request.scope != TargetScope::All,
            observed: ObservedTarget::default(),
            approved: self.approved_steps(target).await?,
            open: 0,
            unread_in_row: 0,
            read: 0,
            seen: HashSet::new(),
            candidates: HashMap::new(),
        };
        let done = match &request.scope {
            TargetScope::All => reading.all().await,
            TargetScope::Users(users) => reading.users(users).await,
        };
        match done {
            Err(Halt::Later { reason, .. }) => reading.observed.stopped = Some(reason),
            done => done?,
        }
        Ok(reading.observed)
    }
}

impl Reading<'_> {
    async fn all(&mut self) -> Result<(), Halt> {
        if self.storing == Storing::All {
            self.engine.store.clear_unmanaged(&self.target.config.name).await?;
        }
        match self.list().await {
            Err(Halt::Later { reason, .. }) => {
                self.observed.partial = Some(format!("a page cannot be read: {reason}"));
            }
            done => done?,
        }
        let account = Some(self.followed.account);
        let mut filter = UserFilter { account, limit: Some(PAGE), ..UserFilter::default() };
        loop {
            let users = self.engine.store.users(&filter).await?;
            let Some(last) = users.last() else { break };
            filter.after = Some(last.id);
            self.unlisted(users.iter().collect()).await?;
        }
        self.former().await?;
        if self.observed.listed == 0 { self.has_read() } else { Ok(()) }
    }

    /// Fails if accounts were asked for, and none could be read.
    fn has_read(&self) -> Result<(), Halt> {
        match &self.observed.unread_reason {
            Some(reason) if self.read == 0 => Err(Halt::later(reason)),
            _ => Ok(()),
        }
    }

    /// Reads the list, and decides about the counterparts that it shows.
    async fn list(&mut self) -> Result<(), Halt> {
        let page_size = self.target.config.client.page_size;
        let mut pages = Pages::new(&self.exchange.capabilities().await?, page_size);
        while let Some(request) = pages.request() {
            let page = pages.take(self.exchange.ask(&request).await?).map_err(|e| halt(&e))?;
            let mapping = &self.target.config.mapping;
            let accounts: Vec<Account> =
                page.into_iter().filter_map(|resource| Account::of(resource, mapping)).collect();
            self.observed.listed += accounts.len() as u64;
            self.page(accounts).await?;
        }
        self.observed.partial = pages.finish().err().map(|partial| partial.to_string());
        Ok(())
    }

    async fn page(&mut self, accounts: Vec<Account>) -> Result<(), Halt> {
        let (store, name) = (&self.engine.store, &self.target.config.name);
        let ids: Vec<_> = accounts.iter().map(|account| account.id.clone()).collect();
        let rows = store.counterparts_by_id(name, &ids).await?;
        let rows: HashMap<_, CounterpartRow> =
            rows.into_iter().filter_map(|row| Some((row.account.id.clone()?, row))).collect();
        let users: BTreeSet<UserId> = rows.values().map(|row| row.account.user).collect();
        let users = store.users_by_id(&users).await?;
        let (mut changed, mut unmanaged) = (Vec::new(), Vec::new());
        for account in accounts {
            match rows.get(&account.id) {
                Some(row) => {
                    let user = users.get(&row.account.user);
                    self.seen.insert(row.account.user);
                    let sighting = Sighting::Seen(vec![account]);
                    changed.extend(self.decide(Work::on(row.clone()), user, &sighting));
                }
                None => unmanaged.push(account),
            }
        }
        self.settle(changed).await?;
        self.unmanaged(unmanaged).await
    }

    /// Notes accounts that are no counterpart, each with the user whose name it has.
    async fn unmanaged(&mut self, accounts: Vec<Account>) -> Result<(), Halt> {
        let key = |text: &str| Address::parse(text).ok().map(|address| address.key());
        let keys: BTreeSet<AddressKey> = accounts
            .iter()
            .flat_map(|account| account.user_name.iter().chain(&account.emails))
            .filter_map(|text| key(text))
            .collect();
        let holders = self.engine.store.holders(&keys).await?;
        let mut noted = Vec::new();
        for account in accounts {
            let ours = account.external_id.as_ref().and_then(|id| id.parse::<UserId>().ok());
            let names = account.user_name.iter().chain(&account.emails);
            let named: BTreeSet<UserId> =
                names.filter_map(|text| holders.get(&key(text)?).copied()).chain(ours).collect();
            noted.push(UnmanagedAccount {
                id: account.id.clone(),
                user_name: account.user_name.clone(),
                active: account.active,
                user: named.first().copied(),
            });
            for user in named {
                self.candidates.entry(user).or_default().push(account.clone());
            }
        }
        if self.storing == Storing::All {
            self.engine.store.note_unmanaged(&self.target.config.name, &noted).await?;
        }
        Ok(())
    }

    /// Decides about users whose account was not listed.
    async fn unlisted(&mut self, users: Vec<&User>) -> Result<(), Halt> {
        let ids: Vec<UserId> =
            users.iter().map(|user| user.id).filter(|id| !self.seen.contains(id)).collect();
        let name = &self.target.config.name;
        let mut rows = self.engine.store.counterparts_of_users(name, &ids).await?;
        let mut changed = Vec::new();
        for user in users {
            if !self.seen.insert(user.id) {
                continue;
            }
            let row = rows.remove(&user.id).unwrap_or_else(|| CounterpartRow::absent(user.id));
            changed.extend(self.look(row, Some(user)).await?);
        }
        self.settle(changed).await
    }

    /// Decides about counterparts of users who were removed, or who belong to another account.
    async fn former(&mut self) -> Result<(), Halt> {
        let (mut after, name) = (None, &self.target.config.name);
        loop {
            let rows = self.engine.store.counterparts(name, None, after, PAGE).await?;
            let Some(last) = rows.last() else { return Ok(()) };
            after = Some(last.account.user);
            let left: Vec<CounterpartRow> =
                rows.into_iter().filter(|row| !self.seen.contains(&row.account.user)).collect();
            let ids: BTreeSet<UserId> = left.iter().map(|row| row.account.user).collect();
            let users = self.engine.store.users_by_id(&ids).await?;
            let mut changed = Vec::new();
            for row in left {
                let user = users.get(&row.account.user);
                self.seen.insert(row.account.user);
                changed.extend(self.look(row, user).await?);
            }
            self.settle(changed).await?;
        }
    }

    /// Decides about the users of a scoped run.
    async fn users(&mut self, ids: &BTreeSet<UserId>) -> Result<(), Halt> {
        // Without a list, the target is searched for accounts.
        self.observed.partial = Some("the run is about some users".to_owned());
        let users = self.engine.store.users_by_id(ids).await?;
        let ids: Vec<UserId> = ids.iter().copied().collect();
        let name = &self.target.config.name;
        let mut rows = self.engine.store.counterparts_of_users(name, &ids).await?;
        let mut changed = Vec::new();
        for id in ids {
            let row = rows.remove(&id).unwrap_or_else(|| CounterpartRow::absent(id));
            changed.extend(self.look(row, users.get(&id)).await?);
        }
        self.settle(changed).await?;
        self.has_read()
    }

    /// Asks the target about one user, and decides. An account that cannot be read decides nothing
    /// about the others.
    async fn look(
        &mut self,
        row: CounterpartRow,
        user: Option<&User>,
    ) -> Result<Option<Work>, Halt> {
        let id = row.account.user;
        let before = self.exchange.sent();
        match self.ask(row, user).await {
            Err(Halt::Later { reason, extent: Extent::Account, .. })
                if self.unread_in_row < MAX_UNREAD =>
            {
                self.unread_in_row += 1;
                self.observed.unread += 1;
                self.observed.unread_reason.get_or_insert(reason);
                self.observed.undecided.insert(id);
                Ok(None)
            }
            done => {
                if done.is_ok() && self.exchange.sent() > before {
                    self.read += 1;
                    self.unread_in_row = 0;
                }
                done
            }
        }
    }

    async fn ask(
        &mut self,
        row: CounterpartRow,
        user: Option<&User>,
    ) -> Result<Option<Work>, Halt> {
        let mut work = Work::on(row);
        let Some(id) = work.linked() else { return self.search_and_decide(work, user).await };
        match self.exchange.read(&id).await? {
            Some(resource) => {
                let seen = Account::of(resource, &self.target.config.mapping);
                Ok(self.decide(work, user, &Sighting::Seen(seen.into_iter().collect())))
            }
            None => {
                let grace_period = self.target.config.limits.grace_period;
                if work.confirm_gone(self.engine.clock.now(), grace_period) {
                    return self.search_and_decide(work, user).await;
                }
                self.observed.undecided.insert(work.user());
                Ok(Some(work))
            }
        }
    }

    /// Decides about a user without a known account.
    async fn search_and_decide(
        &mut self,
        work: Work,
        user: Option<&User>,
    ) -> Result<Option<Work>, Halt> {
        let wish = self.followed.wish(user, &self.target.config.mapping);
        let Ok(wish) = wish else { return Ok(self.decide(work, user, &Sighting::Unasked)) };
        let candidates = self.candidates.remove(&work.user());
        let is_searched = self.is_scoped
            || candidates.is_some()
            || matches!(wish, Wish::Present(_))
            || work.row.account.state == CounterpartState::Intended;
        let sighting = match (&self.observed.partial, wish.wanted()) {
            (None, _) => Sighting::Seen(candidates.unwrap_or_default()),
            (Some(_), Some(wanted)) if is_searched => {
                Sighting::Seen(self.exchange.search(wanted).await?)
            }
            (Some(_), _) => Sighting::Unasked,
        };
        Ok(self.decide(work, user, &sighting))
    }

    /// Decides the steps of a user. Returns the work if its row has changed.
    fn decide(&mut self, mut work: Work, user: Option<&User>, sighting: &Sighting) -> Option<Work> {
        let config = &self.target.config;
        let now = self.engine.clock.now();
        if work.was_active() {
            let tier = user.map(|user| user.tier);
            *self.observed.clusters.entry(cluster_name(tier)).or_default() += 1;
            *self.observed.clusters.entry("accounts:gone".to_owned()).or_default() += 1;
        }
        let wish = match self.followed.wish(user, &config.mapping) {
            Ok(wish) => wish,
            Err(problem) => {
                work.row.problem = Some(problem);
                return Some(work);
            }
        };
        let situation = config.situation(&work.row, now);
        let decision = steps(work.user(), &wish, work.row.known(), sighting, &situation);
        let seen = match sighting {
            Sighting::Seen(accounts) => accounts.as_slice(),
            _ => &[],
        };
        let problem = match decision.problem {
            None if decision.has_drifted => Some(ProvisionProblem::Drifted),
            problem => problem,
        };
        let is_settled = decision.steps.is_empty();
        let Clearance { cleared, waiting } =
            Cleared::of(decision, self.permission, &work.row.due.admitted);
        for step in cleared.steps() {
            let (step, _) = self.found(step, &work.row, user, seen);
            self.observed.free.push(step);
        }
        for step in adoptions_joined(waiting) {
            let (step, found) = self.found(&step, &work.row, user, seen);
            self.propose(step, found);
        }
        let seen = seen.iter().find(|account| Some(&account.id) == work.row.account.id.as_ref());
        let sight = Sight { seen, problem, is_settled, now };
        work.seen(&sight, &wish, self.followed, self.target)
    }

    fn propose(&mut self, step: ProposedStep, found: FoundStep) {
        let is_approved = !self.approved.is_empty() && self.approved.contains(&step.digest());
        if !is_approved && self.open >= MAX_PROPOSED {
            self.observed.undecided.insert(step.user);
            self.observed.further.add(&found);
            return;
        }
        self.open += usize::from(!is_approved);
        self.observed.proposed.push((step, found));
    }

    fn found(
        &self,
        step: &Step,
        row: &CounterpartRow,
        user: Option<&User>,
        seen: &[Account],
    ) -> (ProposedStep, FoundStep) {
        let account = seen.iter().find(|account| Some(&account.id) == step.id.as_ref());
        let attributes = step.attributes.iter().map(|(path, text)| {
            let before = account.and_then(|account| path.read(&account.resource));
            (path.to_string(), (before, text.clone()))
        });
        let proposed = ProposedStep {
            target: self.target.config.name.clone(),
            user: step.user,
            email: user
                .and_then(|user| user.addresses.primary.as_ref().map(ToString::to_string))
                .or_else(|| row.user_name.clone()),
            names: user.map(|user| Names::from(&user.profile)).unwrap_or_default(),
            kind: step.kind,
            reason: step.reason,
            id: step.id.clone(),
            attributes: attributes.collect(),
            cluster: cluster_of(step, row.account.state, user.map(|user| user.tier)),
        };
        let found = FoundStep {
            user: step.user,
            kind: step.kind,
            reason: step.reason,
            key: proposed.rejection_keys().into_iter().next().unwrap_or_else(|| proposed.digest()),
            found_at: row.found_at,
            is_protected: user.is_some_and(|user| self.engine.is_protected(user)),
            cluster: proposed.cluster.clone(),
        };
        (proposed, found)
    }

    async fn settle(&self, changed: Vec<Work>) -> Result<(), Halt> {
        if changed.is_empty() || self.storing == Storing::Nothing {
            return Ok(());
        }
        let settled: Vec<Settled> =
            changed.iter().map(|work| work.settled(SettledBy::Run)).collect();
        let (store, name) = (&self.engine.store, &self.target.config.name);
        Ok(store.settle(name, &settled, &self.engine.clock).await?)
    }
}

fn cluster_name(tier: Option<Tier>) -> String {
    tier.map_or_else(|| "users:removed".to_owned(), |tier| format!("tier:{tier}"))
}

/// Joins an adoption with the steps behind it, because an operator decides about all of them.
fn adoptions_joined(steps: Vec<Step>) -> Vec<Step> {
    let mut joined: Vec<Step> = Vec::new();
    for step in steps {
        match joined.last_mut() {
            Some(adoption) if adoption.kind == StepKind::Adopt => {
                adoption.reason = adoption.reason.or(step.reason);
                adoption.attributes.extend(step.attributes);
            }
            _ => joined.push(step),
        }
    }
    joined
}
