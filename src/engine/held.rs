//! Held plans: an operator approves exactly what was shown, and it is applied if it is still true.

use std::collections::BTreeSet;

use super::run::{Request, Scope};
use super::{Engine, EngineError};
use crate::model::{Actor, Guid, PlanId, PlanState, Trigger};
use crate::store::{DirectoryState, HeldPlan, Run};

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

impl Engine {
    async fn held_plan(&self, id: PlanId) -> Result<HeldPlan, EngineError> {
        self.store.plan(id).await?.ok_or_else(|| EngineError::NotFound { what: "held plan", name: id.to_string() })
    }

    /// Approves a plan: looks at its people again, and applies what is still true of it.
    pub async fn approve(&self, id: PlanId, actor: Actor) -> Result<Approval, EngineError> {
        let plan = self.held_plan(id).await?;
        match plan.state {
            PlanState::Open | PlanState::Rejected | PlanState::Approved => {
                self.store.decide_plan(&plan, PlanState::Approved, &actor, &self.clock).await?
            }
            // What an older plan and the present one both hold was shown, and may be applied.
            PlanState::Superseded => {}
            ended => return Err(EngineError::Refused(format!("the plan {id} is {} already; see rosterctl held list", ended.as_str()))),
        }
        let directory = self.directory(&plan.directory)?.clone();
        let accept = |state: &mut DirectoryState| {
            if state.scope_hash.is_some() {
                // Whoever approves the plan has seen what its scope makes of people; a scope that came later was seen by nobody.
                state.scope_hash = Some(plan.scope_hash.clone().unwrap_or_else(|| directory.config.scope_hash()));
                state.plan_only_since = None;
            }
        };
        self.store.change_directory(&directory.config.name, accept).await?;
        let people: BTreeSet<Guid> = self.store.held_digests(id).await?.into_iter().filter_map(|(_, guid)| guid).collect();
        let scope = if people.len() > SCOPED_AT_MOST { Scope::All } else { Scope::People(people) };
        let run = self.run(&directory, Request { trigger: Trigger::Approval, scope, actor: Some(actor), approves: Some(id) }).await?;
        let waiting = self.store.current_plan(&directory.config.name).await?.filter(|p| p.state == PlanState::Open);
        Ok(Approval { run, waiting })
    }

    /// Rejects a plan: it stays closed until something new is asked.
    pub async fn reject(&self, id: PlanId, actor: &Actor) -> Result<HeldPlan, EngineError> {
        let plan = self.held_plan(id).await?;
        if !matches!(plan.state, PlanState::Open | PlanState::Approved) {
            return Err(EngineError::Refused(format!("the plan {id} is {} already", plan.state.as_str())));
        }
        self.store.decide_plan(&plan, PlanState::Rejected, actor, &self.clock).await?;
        self.held_plan(id).await
    }
}
