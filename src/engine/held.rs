//! Held plans: an operator approves exactly what was shown, or a part of it, and it is applied if it is still true.

use std::collections::BTreeSet;

use super::run::Request;
use super::{Directory, Engine, EngineError};
use crate::model::{Actor, Digest, Guid, PlanId, PlanState, Trigger};
use crate::store::{DirectoryState, HeldPlan, HeldRow, Run, Word};

/// More people than this are read by reading everybody.
const SCOPED_AT_MOST: usize = 2_000;

/// What came of an approval.
#[derive(Debug)]
pub struct Approval {
    /// The run that applied it, or tried to.
    pub run: Run,
    /// What waits of the directory afterwards.
    pub waiting: Option<HeldPlan>,
}

/// Which changes of a plan are approved; all, where nothing is named.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// All of these causes, by the keys that the plan's groups have.
    pub causes: Vec<String>,
    /// All of these people, by address, user id or objectGUID.
    pub people: Vec<String>,
}

impl Selection {
    /// The changes that are chosen; nothing when that is all of them.
    fn of(&self, rows: &[HeldRow]) -> Result<Option<Vec<Digest>>, EngineError> {
        if self.causes.is_empty() && self.people.is_empty() {
            return Ok(None);
        }
        let is_person = |row: &HeldRow, who: &str| {
            let is = |text: &str| text.eq_ignore_ascii_case(who);
            row.email.as_deref().is_some_and(is) || is(&row.user.to_string()) || row.guid.is_some_and(|guid| is(&guid.to_string()))
        };
        // What names nobody is a slip, and a slip approves nothing.
        if let Some(cause) = self.causes.iter().find(|cause| !rows.iter().any(|row| row.key == **cause)) {
            let keys: BTreeSet<&str> = rows.iter().map(|row| row.key.as_str()).collect();
            let keys: Vec<String> = keys.into_iter().map(|key| format!("\"{key}\"")).collect();
            return Err(EngineError::Refused(format!("nothing of this plan has the cause \"{cause}\": it has {}", keys.join(", "))));
        }
        if let Some(who) = self.people.iter().find(|who| !rows.iter().any(|row| is_person(row, who))) {
            return Err(EngineError::Refused(format!("nothing of this plan is about {who}: see rosterctl held show")));
        }
        let is_chosen = |row: &&HeldRow| self.causes.contains(&row.key) || self.people.iter().any(|who| is_person(row, who));
        let chosen: Vec<Digest> = rows.iter().filter(is_chosen).map(|row| row.digest).collect();
        Ok(Some(chosen).filter(|chosen| chosen.len() < rows.len()))
    }
}

impl Engine {
    async fn held_plan(&self, id: PlanId) -> Result<HeldPlan, EngineError> {
        self.store.plan(id).await?.ok_or_else(|| EngineError::NotFound { what: "held plan", name: id.to_string() })
    }

    /// Approves a plan: looks at its people again, and applies what is still true of it.
    pub async fn approve(&self, id: PlanId, actor: Actor) -> Result<Approval, EngineError> {
        self.approve_part(id, &Selection::default(), "", actor).await
    }

    /// Approves what is chosen of a plan, and says why. The rest of it goes on waiting.
    pub async fn approve_part(&self, id: PlanId, which: &Selection, comment: &str, actor: Actor) -> Result<Approval, EngineError> {
        let plan = self.held_plan(id).await?;
        // What an older plan and the present one both hold was shown, and may be applied.
        if !matches!(plan.state, PlanState::Open | PlanState::Rejected | PlanState::Approved | PlanState::Superseded) {
            return Err(EngineError::Refused(format!("the plan {id} is {} already; see rosterctl held list", plan.state.as_str())));
        }
        let directory = self.directory(&plan.directory)?;
        let rows = self.store.held_rows(id).await?;
        let chosen = which.of(&rows)?;
        self.store.approve_plan(&plan, chosen.as_deref(), Word { actor: &actor, comment }, &self.clock).await?;
        let name = &directory.config.name;
        if chosen.is_none() {
            let accept = |state: &mut DirectoryState| {
                if state.scope_hash.is_some() {
                    // Whoever approves the plan has seen what its scope makes of people; a scope that came later was seen by nobody.
                    state.scope_hash = Some(plan.scope_hash.clone().unwrap_or_else(|| directory.config.scope_hash()));
                    state.plan_only_since = None;
                }
            };
            self.store.change_directory(name, accept).await?;
        }
        let is_chosen = |row: &&HeldRow| chosen.as_ref().is_none_or(|chosen| chosen.contains(&row.digest));
        let people: BTreeSet<Guid> = rows.iter().filter(is_chosen).filter_map(|row| row.guid).collect();
        let request = Request { approves: Some(id), ..Self::look_at(people, Trigger::Approval, actor) };
        let run = self.run(&directory, request).await?;
        Ok(Approval { run, waiting: self.waiting(&directory).await? })
    }

    /// A run that looks at these people: at everybody, where they are so many that this is faster.
    pub(super) fn look_at(people: BTreeSet<Guid>, trigger: Trigger, actor: Actor) -> Request {
        let actor = Some(actor);
        if people.len() > SCOPED_AT_MOST { Request::full(trigger, actor) } else { Request::people(trigger, people, actor) }
    }

    /// The plan of a directory that waits for an operator.
    pub(super) async fn waiting(&self, directory: &Directory) -> Result<Option<HeldPlan>, EngineError> {
        Ok(self.store.current_plan(&directory.config.name).await?.filter(|p| p.state == PlanState::Open))
    }

    /// Rejects a plan, and says why: it stays closed until something new is asked.
    pub async fn reject(&self, id: PlanId, comment: &str, actor: &Actor) -> Result<HeldPlan, EngineError> {
        let plan = self.held_plan(id).await?;
        if !matches!(plan.state, PlanState::Open | PlanState::Approved) {
            return Err(EngineError::Refused(format!("the plan {id} is {} already", plan.state.as_str())));
        }
        self.store.reject_plan(&plan, Word { actor, comment }, &self.clock).await?;
        self.held_plan(id).await
    }
}
