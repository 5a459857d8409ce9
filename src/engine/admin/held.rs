//! Decisions on held plans. An approval covers exactly the changes that were shown, or a part of
//! them, and applies those that still hold. A rejection lasts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::engine::sync::stages::{Request, Source};
use crate::engine::{Directory, Engine, EngineError, Target, TargetRequest};
use crate::model::{
    Actor, Approver, Digest, DirectoryName, GivenApproval, Guid, PlanId, PlanState, RunId, Trigger,
    UserId,
};
use crate::reconcile::{Given, Limits};
use crate::store::{Consent, Decision, HeldPlan, HeldRow, Run, fold};

/// Above this number of people a full run is faster than a scoped one.
const MAX_SCOPED: usize = 2_000;

/// The reason why a decision on a held plan is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeldError {
    #[error("nothing of this plan has the cause \"{cause}\": it has {}", present.join(", "))]
    NoSuchCause { cause: String, present: Vec<String> },
    #[error("nothing of this plan is about {0}: see rosterctl held show")]
    NoSuchPerson(String),
    #[error("{} people of this plan are called \"{who}\": name one of {}", people.len(), people.join(", "))]
    Ambiguous { who: String, people: Vec<String> },
    #[error(
        "the plan {0} has changed since it was shown: see rosterctl held show {0}, and decide then"
    )]
    Changed(PlanId),
    #[error("the plan {0} was replaced by another one: see rosterctl held list")]
    Replaced(PlanId),
    #[error(
        "the plan {plan} was rejected{}: reopen it with rosterctl held reopen {plan}, or name what is approved of it",
        by(actor.as_ref())
    )]
    Rejected { plan: PlanId, actor: Option<Actor> },
    #[error("the plan {plan} is {} already; see rosterctl held list", state.as_str())]
    NotApprovable { plan: PlanId, state: PlanState },
    #[error(
        "the plan {plan} is {}{} already: see rosterctl held list --all",
        state.as_str(),
        by(actor.as_ref())
    )]
    NotRejectable { plan: PlanId, state: PlanState, actor: Option<Actor> },
    #[error(
        "you have approved these changes already, and they need {needed} operators: another one has to run rosterctl held approve {plan}"
    )]
    ApprovedBySame { plan: PlanId, needed: u32 },
    #[error("the plan {plan} is {}, not rejected: see rosterctl held list", state.as_str())]
    NotRejected { plan: PlanId, state: PlanState },
}

fn by(actor: Option<&Actor>) -> String {
    actor.map(|actor| format!(" by {actor}")).unwrap_or_default()
}

/// The outcome of an approval.
#[derive(Debug)]
pub struct Approval {
    /// The run that applied the approved changes or failed to.
    pub run: Run,
    /// The open plan of the directory afterwards.
    pub waiting: Option<HeldPlan>,
}

/// The approved changes of a plan; all of them when nothing is named.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Keys of the plan's groups.
    pub causes: Vec<String>,
    /// Users, named as for [`Engine::find_user`], and people of held creations.
    pub people: Vec<String>,
    /// The digest of the plan that the operator saw.
    pub digest: Option<String>,
}

impl Selection {
    fn names_changes(&self) -> bool {
        !self.causes.is_empty() || !self.people.is_empty()
    }

    /// Returns the digests of the selected changes; `None` for all of them.
    fn of(&self, rows: &[HeldRow]) -> Result<Option<Vec<Digest>>, HeldError> {
        if !self.names_changes() {
            return Ok(None);
        }
        // A name without a match is a slip, and a slip approves nothing.
        if let Some(cause) =
            self.causes.iter().find(|cause| !rows.iter().any(|row| row.key == **cause))
        {
            let keys: BTreeSet<&str> = rows.iter().map(|row| row.key.as_str()).collect();
            let present = keys.into_iter().map(|key| format!("\"{key}\"")).collect();
            return Err(HeldError::NoSuchCause { cause: cause.clone(), present });
        }
        let mut called: BTreeMap<String, BTreeMap<UserId, &HeldRow>> = BTreeMap::new();
        for row in rows {
            for name in names(row) {
                called.entry(name).or_default().insert(row.user, row);
            }
        }
        let mut people: BTreeSet<UserId> = BTreeSet::new();
        for who in &self.people {
            match called.get(&fold(who)) {
                None => return Err(HeldError::NoSuchPerson(who.clone())),
                Some(found) if found.len() > 1 => {
                    let address =
                        |row: &&HeldRow| row.email.clone().unwrap_or_else(|| row.user.to_string());
                    let mut people: Vec<String> = found.values().map(address).collect();
                    people.sort();
                    return Err(HeldError::Ambiguous { who: who.clone(), people });
                }
                Some(found) => people.extend(found.keys()),
            }
        }
        let is_chosen =
            |row: &&HeldRow| self.causes.contains(&row.key) || people.contains(&row.user);
        let chosen: Vec<Digest> = rows.iter().filter(is_chosen).map(|row| row.digest).collect();
        Ok(Some(chosen).filter(|chosen| chosen.len() < rows.len()))
    }
}

/// Returns every name of a change's person, folded.
fn names(row: &HeldRow) -> Vec<String> {
    let ids = [row.email.clone(), Some(row.user.to_string()), row.guid.map(|g| g.to_string())];
    let ids = ids.iter().flatten().map(|name| fold(name));
    ids.chain(row.names.all().map(fold)).collect()
}

/// The place whose run applies a plan.
enum Place {
    Directory(Arc<Directory>),
    Target(Arc<Target>),
}

impl Place {
    fn of(engine: &Engine, name: &DirectoryName) -> Result<Self, EngineError> {
        match engine.target(name.as_str()) {
            Ok(target) => Ok(Self::Target(target)),
            Err(_) => Ok(Self::Directory(engine.directory(name.as_str())?)),
        }
    }

    fn limits(&self) -> &Limits {
        match self {
            Self::Directory(directory) => &directory.config.limits,
            Self::Target(target) => &target.config.limits,
        }
    }
}

impl Engine {
    async fn held_plan(&self, id: PlanId) -> Result<HeldPlan, EngineError> {
        self.store.plan(id).await?.ok_or_else(|| EngineError::NotFound {
            what: "held plan",
            name: id.to_string(),
            near: None,
        })
    }

    /// Approves a plan: reads its people again and applies the changes that still hold.
    pub async fn approve(&self, id: PlanId, actor: Actor) -> Result<Approval, EngineError> {
        self.approve_part(id, &Selection::default(), "", actor.into()).await
    }

    /// Approves a part of a plan, with a comment. The rest stays held.
    ///
    /// Where a change needs several operators, the run that follows each approval reads its person again,
    /// and the last one applies it.
    ///
    /// A rejected plan is approved only by naming its changes. As a whole it has to be reopened
    /// first. So an approval cannot undo the rejection of another operator by accident.
    pub async fn approve_part(
        &self,
        id: PlanId,
        which: &Selection,
        comment: &str,
        by: Approver,
    ) -> Result<Approval, EngineError> {
        let applying = self.apply_lock.lock().await;
        let plan = self.held_plan(id).await?;
        if which.digest.as_ref().is_some_and(|seen| *seen != plan.digest.to_string()) {
            return Err(HeldError::Changed(id).into());
        }
        let rows = self.store.held_rows(id).await?;
        match plan.state {
            // Changes that an older plan shares with the present one were shown, and may be
            // applied.
            PlanState::Superseded if rows.is_empty() => {
                return Err(HeldError::Replaced(id).into());
            }
            PlanState::Open | PlanState::Approved | PlanState::Superseded => {}
            PlanState::Rejected if which.names_changes() => {}
            PlanState::Rejected => {
                return Err(HeldError::Rejected { plan: id, actor: plan.actor }.into());
            }
            state => {
                return Err(HeldError::NotApprovable { plan: id, state }.into());
            }
        }
        let place = match plan.state {
            PlanState::Rejected => self.store.present_directory(&plan).await?,
            _ => plan.directory.clone(),
        };
        let place = Place::of(self, &place)?;
        let mut chosen = self.with_users(which).await?.of(&rows)?;
        let among: Option<BTreeSet<Digest>> =
            chosen.as_ref().map(|chosen| chosen.iter().copied().collect());
        let is_chosen =
            |row: &&HeldRow| among.as_ref().is_none_or(|among| among.contains(&row.digest));
        let people: BTreeSet<Guid> =
            rows.iter().filter(is_chosen).filter_map(|row| row.guid).collect();
        let users: BTreeSet<UserId> = rows.iter().filter(is_chosen).map(|row| row.user).collect();
        let limits = place.limits();
        let valid_from = self.clock.now().minus(limits.approval_expires);
        let needed = limits.approvals.of_plan(plan.size.max(plan.count));
        if needed > 1 && plan.state == PlanState::Superseded {
            // Each operator approves the plan that all of them see.
            return Err(HeldError::Replaced(id).into());
        }
        let consent = Consent { by: &by, comment, needed, valid_from };
        let new = GivenApproval { by: by.clone(), at: self.clock.now(), comment: String::new() };
        let is_repeated = |row: &HeldRow| {
            !row.approved && Given::add(&row.approvals, &new, needed, valid_from).is_none()
        };
        if rows.iter().filter(is_chosen).all(is_repeated) && !rows.is_empty() {
            return Err(HeldError::ApprovedBySame { plan: id, needed }.into());
        }
        let decision = Decision { actor: &by.actor, comment };
        let mut plan = plan;
        if plan.state == PlanState::Rejected {
            let named: Vec<Digest> = rows.iter().filter(is_chosen).map(|row| row.digest).collect();
            let reopened =
                self.store.reopen_plan(&plan, Some(&named), decision, &self.clock).await?;
            plan = self.held_plan(reopened).await?;
            chosen = Some(named).filter(|named| (named.len() as u64) < plan.count);
        }
        self.store.approve_plan(&plan, chosen.as_deref(), consent, &self.clock).await?;
        drop((applying, rows, chosen));
        let directory = match place {
            Place::Directory(directory) => directory,
            Place::Target(target) => {
                let request = TargetRequest {
                    approves: Some(plan.id),
                    ..TargetRequest::over(Trigger::Approval, users, Some(by.actor))
                };
                let run = self.run_target(&target, request).await?;
                return Ok(Approval { run, waiting: self.waiting(&plan.directory).await? });
            }
        };
        let request = Request {
            approves: Some(plan.id),
            ..Self::request_for(people, Trigger::Approval, by.actor)
        };
        let by = request.actor.clone();
        let mut run = self.run(&directory, request).await?;
        self.read_relinked(&directory, run.id, by).await?;
        if let Some(other) = self.approve_elsewhere(&directory, plan.id, &run).await? {
            run = other;
        }
        Ok(Approval { run, waiting: self.waiting(&directory.config.name).await? })
    }

    /// Replaces the names of users by their ids. A joiner has no user yet.
    async fn with_users(&self, which: &Selection) -> Result<Selection, EngineError> {
        let mut people = Vec::new();
        for who in &which.people {
            let user = self.user_if_any(who).await?;
            people.push(user.map_or_else(|| who.clone(), |user| user.id.to_string()));
        }
        Ok(Selection { people, ..which.clone() })
    }

    /// Reads the entries that an approval linked to users of former entries, as [`relink`](Self::relink)
    /// does.
    async fn read_relinked(
        &self,
        directory: &Directory,
        run: RunId,
        actor: Option<Actor>,
    ) -> Result<(), EngineError> {
        let changes = self.store.links_of_run(run).await?;
        let by = actor.clone().unwrap_or_else(Actor::rosterd);
        let mut people = BTreeSet::new();
        for change in changes {
            let former = change.before["object_guid"].as_str().and_then(|guid| guid.parse().ok());
            let (Some(former), Some(now)) = (former, change.guid) else { continue };
            if let Some(user) = self.store.user(change.user).await? {
                self.follow_relink(&user, former, now, &by).await?;
            }
            people.insert(now);
        }
        if !people.is_empty() {
            self.run(directory, Request::people(Trigger::Approval, people, actor)).await?;
        }
        Ok(())
    }

    /// Applies what is left of an approved plan, because only a further server shows it. Returns the run that
    /// did so.
    async fn approve_elsewhere(
        &self,
        directory: &Directory,
        plan: PlanId,
        first: &Run,
    ) -> Result<Option<Run>, EngineError> {
        for url in self.further_servers(directory) {
            let rows = self.store.held_rows(plan).await?.into_iter().filter(|row| row.approved);
            let people: BTreeSet<Guid> = rows.filter_map(|row| row.guid).collect();
            if people.is_empty() {
                break;
            }
            let source = Source::Other(url);
            let request = Request::people(Trigger::Approval, people, first.actor.clone());
            let request = Request { source, approves: Some(plan), ..request };
            let run = self.run(directory, request).await?;
            if run.counts.total() > 0 {
                return Ok(Some(run));
            }
        }
        Ok(None)
    }

    /// Returns a run over these people, or a full one where that is faster.
    pub(in crate::engine) fn request_for(
        people: BTreeSet<Guid>,
        trigger: Trigger,
        actor: Actor,
    ) -> Request {
        let actor = Some(actor);
        if people.len() > MAX_SCOPED {
            Request::full(trigger, actor)
        } else {
            Request::people(trigger, people, actor)
        }
    }

    /// Returns the open plan of a directory or target.
    pub(in crate::engine) async fn waiting(
        &self,
        name: &DirectoryName,
    ) -> Result<Option<HeldPlan>, EngineError> {
        Ok(self.store.current_plan(name).await?.filter(|p| p.state == PlanState::Open))
    }

    /// Rejects a plan, with a comment. Every later run holds its changes until the directory no
    /// longer asks for them.
    pub async fn reject(
        &self,
        id: PlanId,
        comment: &str,
        actor: &Actor,
    ) -> Result<HeldPlan, EngineError> {
        // A run that applies approved changes ends first. Then nothing is left to reject.
        let _applying = self.apply_lock.lock().await;
        let plan = self.held_plan(id).await?;
        if !plan.state.waits() {
            let HeldPlan { state, actor, .. } = plan;
            let actor = actor.filter(|_| state == PlanState::Rejected);
            return Err(HeldError::NotRejectable { plan: id, state, actor }.into());
        }
        self.store.reject_plan(&plan, Decision { actor, comment }, &self.clock).await?;
        self.held_plan(id).await
    }

    /// Reopens a rejected plan: its changes are held as if they had never been rejected. Returns
    /// the plan that holds them, which is another one where an open plan exists.
    pub async fn reopen(
        &self,
        id: PlanId,
        comment: &str,
        actor: &Actor,
    ) -> Result<HeldPlan, EngineError> {
        let _applying = self.apply_lock.lock().await;
        let plan = self.held_plan(id).await?;
        if plan.state != PlanState::Rejected {
            return Err(HeldError::NotRejected { plan: id, state: plan.state }.into());
        }
        let waiting =
            self.store.reopen_plan(&plan, None, Decision { actor, comment }, &self.clock).await?;
        self.held_plan(waiting).await
    }
}
