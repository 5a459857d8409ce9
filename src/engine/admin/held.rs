//! Held plans: an operator approves exactly what was shown, or a part of it, and it is applied if it is still true; or
//! rejects it, and it stays rejected.

use std::collections::BTreeSet;

use crate::engine::sync::stages::Request;
use crate::engine::{Directory, Engine, EngineError};
use crate::model::{Actor, Digest, Guid, PlanId, PlanState, Trigger};
use crate::store::{HeldPlan, HeldRow, Run, Word};

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
    fn names_changes(&self) -> bool {
        !self.causes.is_empty() || !self.people.is_empty()
    }

    /// The changes that are chosen; nothing when that is all of them.
    fn of(&self, rows: &[HeldRow]) -> Result<Option<Vec<Digest>>, EngineError> {
        if !self.names_changes() {
            return Ok(None);
        }
        let is_person = |row: &HeldRow, who: &str| {
            let is = |text: &str| text.eq_ignore_ascii_case(who);
            row.email.as_deref().is_some_and(is)
                || is(&row.user.to_string())
                || row.guid.is_some_and(|guid| is(&guid.to_string()))
        };
        // What names nobody is a slip, and a slip approves nothing.
        if let Some(cause) =
            self.causes.iter().find(|cause| !rows.iter().any(|row| row.key == **cause))
        {
            let keys: BTreeSet<&str> = rows.iter().map(|row| row.key.as_str()).collect();
            let keys: Vec<String> = keys.into_iter().map(|key| format!("\"{key}\"")).collect();
            return Err(EngineError::Refused(format!(
                "nothing of this plan has the cause \"{cause}\": it has {}",
                keys.join(", ")
            )));
        }
        if let Some(who) =
            self.people.iter().find(|who| !rows.iter().any(|row| is_person(row, who)))
        {
            return Err(EngineError::Refused(format!(
                "nothing of this plan is about {who}: see rosterctl held show"
            )));
        }
        let is_chosen = |row: &&HeldRow| {
            self.causes.contains(&row.key) || self.people.iter().any(|who| is_person(row, who))
        };
        let chosen: Vec<Digest> = rows.iter().filter(is_chosen).map(|row| row.digest).collect();
        Ok(Some(chosen).filter(|chosen| chosen.len() < rows.len()))
    }
}

impl Engine {
    async fn held_plan(&self, id: PlanId) -> Result<HeldPlan, EngineError> {
        self.store
            .plan(id)
            .await?
            .ok_or_else(|| EngineError::NotFound { what: "held plan", name: id.to_string() })
    }

    /// Approves a plan: looks at its people again, and applies what is still true of it.
    pub async fn approve(&self, id: PlanId, actor: Actor) -> Result<Approval, EngineError> {
        self.approve_part(id, &Selection::default(), "", actor).await
    }

    /// Approves what is chosen of a plan, and says why. The rest of it goes on waiting.
    ///
    /// A rejected plan is approved only by naming its changes; as a whole it has to be reopened first. So an approval that comes
    /// just after another operator's rejection does not undo it.
    pub async fn approve_part(
        &self,
        id: PlanId,
        which: &Selection,
        comment: &str,
        actor: Actor,
    ) -> Result<Approval, EngineError> {
        let applying = self.apply_lock.lock().await;
        let plan = self.held_plan(id).await?;
        let rows = self.store.held_rows(id).await?;
        let refused = |why: String| Err(EngineError::Refused(format!("the plan {id} {why}")));
        match plan.state {
            // What an older plan and the present one both hold was shown, and may be applied.
            PlanState::Superseded if rows.is_empty() => {
                return refused("was replaced by another one: see rosterctl held list".to_owned());
            }
            PlanState::Open | PlanState::Approved | PlanState::Superseded => {}
            PlanState::Rejected if which.names_changes() => {}
            PlanState::Rejected => {
                let by =
                    plan.actor.as_ref().map(|actor| format!(" by {actor}")).unwrap_or_default();
                return refused(format!(
                    "was rejected{by}: reopen it with rosterctl held reopen {id}, or name what is approved of it"
                ));
            }
            state => {
                return refused(format!("is {} already; see rosterctl held list", state.as_str()));
            }
        }
        let directory = match plan.state {
            PlanState::Rejected => self.directory(&self.store.present_directory(&plan).await?)?,
            _ => self.directory(&plan.directory)?,
        };
        let mut chosen = which.of(&rows)?;
        let is_chosen =
            |row: &&HeldRow| chosen.as_ref().is_none_or(|chosen| chosen.contains(&row.digest));
        let people: BTreeSet<Guid> =
            rows.iter().filter(is_chosen).filter_map(|row| row.guid).collect();
        let word = Word { actor: &actor, comment };
        let mut plan = plan;
        if plan.state == PlanState::Rejected {
            let named: Vec<Digest> = rows.iter().filter(is_chosen).map(|row| row.digest).collect();
            let reopened = self.store.reopen_plan(&plan, Some(&named), word, &self.clock).await?;
            plan = self.held_plan(reopened).await?;
            chosen = Some(named).filter(|named| (named.len() as u64) < plan.count);
        }
        self.store.approve_plan(&plan, chosen.as_deref(), word, &self.clock).await?;
        drop(applying);
        let request =
            Request { approves: Some(plan.id), ..Self::look_at(people, Trigger::Approval, actor) };
        let run = self.run(&directory, request).await?;
        Ok(Approval { run, waiting: self.waiting(&directory).await? })
    }

    /// A run that looks at these people: at everybody, where they are so many that this is faster.
    pub(in crate::engine) fn look_at(
        people: BTreeSet<Guid>,
        trigger: Trigger,
        actor: Actor,
    ) -> Request {
        let actor = Some(actor);
        if people.len() > SCOPED_AT_MOST {
            Request::full(trigger, actor)
        } else {
            Request::people(trigger, people, actor)
        }
    }

    /// The plan of a directory that waits for an operator.
    pub(in crate::engine) async fn waiting(
        &self,
        directory: &Directory,
    ) -> Result<Option<HeldPlan>, EngineError> {
        Ok(self
            .store
            .current_plan(&directory.config.name)
            .await?
            .filter(|p| p.state == PlanState::Open))
    }

    /// Rejects a plan, and says why: every later run holds its changes, until the directory no longer asks for them.
    pub async fn reject(
        &self,
        id: PlanId,
        comment: &str,
        actor: &Actor,
    ) -> Result<HeldPlan, EngineError> {
        // A run that applies what was approved of it ends first; then there is nothing to reject any more, and that is said.
        let _applying = self.apply_lock.lock().await;
        let plan = self.held_plan(id).await?;
        if !plan.state.waits() {
            let by = plan
                .actor
                .as_ref()
                .filter(|_| plan.state == PlanState::Rejected)
                .map(|a| format!(" by {a}"))
                .unwrap_or_default();
            return Err(EngineError::Refused(format!(
                "the plan {id} is {}{by} already: see rosterctl held list --all",
                plan.state.as_str()
            )));
        }
        self.store.reject_plan(&plan, Word { actor, comment }, &self.clock).await?;
        self.held_plan(id).await
    }

    /// Takes the rejection of a plan back: its changes wait again, as if they had never been rejected. Returns the plan that
    /// they wait in, which is another one where something else waits already.
    pub async fn reopen(
        &self,
        id: PlanId,
        comment: &str,
        actor: &Actor,
    ) -> Result<HeldPlan, EngineError> {
        let _applying = self.apply_lock.lock().await;
        let plan = self.held_plan(id).await?;
        if plan.state != PlanState::Rejected {
            return Err(EngineError::Refused(format!(
                "the plan {id} is {}, not rejected: see rosterctl held list",
                plan.state.as_str()
            )));
        }
        let waiting =
            self.store.reopen_plan(&plan, None, Word { actor, comment }, &self.clock).await?;
        self.held_plan(waiting).await
    }
}
