//! Undoes a run: the reversed changes are a run of their own. Then the people are read again, so
//! that the undo does not reactivate a leaver.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::engine::admin::operator_run::OperatorRun;
use crate::engine::{Engine, EngineError};
use crate::model::{
    AccountId, Actor, AddressKey, Change, ChangeOutcome, DirectoryName, Event, EventCause, Guid,
    RunId, RunState, Trigger, UserId, WrittenChange,
};
use crate::reconcile::{Left, Taken, Undoing, undo};
use crate::store::{HeldPlan, Run};
use crate::telemetry::chain;

/// A run that has not ended cannot be undone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the run {0} is still under way: wait for its end")]
pub struct RunUnderWay(pub RunId);

/// The outcome of an undo, applied or planned.
#[derive(Debug)]
pub struct Undone {
    /// The run that is undone.
    pub of: RunId,
    /// The run of the reversed changes; `None` where nothing was applied.
    pub run: Option<Run>,
    /// The reversed changes.
    pub changes: Vec<Change>,
    /// The changes that are not reversed, with the reason.
    pub left: Vec<Left>,
    /// The run that read the people afterwards.
    pub read: Option<Run>,
    /// The open plan of the directory afterwards.
    pub waiting: Option<HeldPlan>,
}

impl Engine {
    /// Returns the outcome of an undo without applying it.
    pub async fn plan_undo(&self, id: RunId) -> Result<Undone, EngineError> {
        let run = self.undoable(id).await?;
        let Undoing { changes, left } = self.reversal(&run).await?;
        Ok(Undone { of: id, run: None, changes, left, read: None, waiting: None })
    }

    /// Undoes a run, as far as possible.
    pub async fn undo(&self, id: RunId, actor: &Actor) -> Result<Undone, EngineError> {
        let of = self.undoable(id).await?;
        let applying = self.apply_lock.lock().await;
        let Undoing { changes, left } = self.reversal(&of).await?;
        let mut undone = Undone { of: id, run: None, changes, left, read: None, waiting: None };
        if undone.changes.is_empty() {
            return Ok(undone);
        }
        let account = self.account_of_changes(&undone.changes).await?;
        let operation = OperatorRun {
            account: &account,
            actor,
            trigger: Trigger::Undo,
            directory: of.directory.as_ref(),
            undoes: Some(id),
        };
        let run = self.write(undone.changes.clone(), operation).await?;
        drop(applying);
        let cause = EventCause {
            actor: actor.clone(),
            run: Some(run.id),
            account: Some(account.handle),
            at: self.clock.now(),
        };
        let after = json!({ "directory": of.directory.as_ref().map_or("", DirectoryName::as_str), "changes": run.counts, "left": undone.left.len() });
        self.store
            .record(
                &[Event::about("run.undone", id.to_string(), &cause, Value::Null, after)],
                &self.clock,
            )
            .await?;
        if let Some(Ok(directory)) = of.directory.as_ref().map(|name| self.directory(name.as_str()))
        {
            let people: BTreeSet<Guid> = undone.changes.iter().filter_map(|c| c.guid).collect();
            if !people.is_empty() {
                let read = self
                    .run(&directory, Self::request_for(people, Trigger::Undo, actor.clone()))
                    .await;
                // A failed read is no failure of the undo: the next run reads these people.
                undone.read = read
                    .inspect_err(|error| tracing::warn!("sync after undo failed: {}", chain(error)))
                    .ok();
            }
            undone.waiting = self.waiting(&directory.config.name).await?;
        }
        undone.run = Some(run);
        Ok(undone)
    }

    async fn undoable(&self, id: RunId) -> Result<Run, EngineError> {
        let run = self.store.run(id).await?.ok_or_else(|| EngineError::NotFound {
            what: "run",
            name: id.to_string(),
            near: None,
        })?;
        if run.state == RunState::Running {
            return Err(RunUnderWay(id).into());
        }
        Ok(run)
    }

    async fn reversal(&self, run: &Run) -> Result<Undoing, EngineError> {
        let mut done = self.store.run_changes(run.id).await?;
        done.retain(|change| change.outcome == ChangeOutcome::Applied);
        // A user id is derived from the person. After a removal another user may have it.
        let former = self.store.former_users(run.id).await?;
        let (gone, done): (Vec<_>, Vec<_>) =
            done.into_iter().partition(|change| former.contains(&change.user));
        let users = self
            .store
            .users_by_id(&done.iter().map(|c| c.user).collect::<BTreeSet<UserId>>())
            .await?;
        let wanted: BTreeSet<AddressKey> =
            done.iter().flat_map(WrittenChange::former_addresses).collect();
        let holders = self.store.holders(&wanted).await?;
        let mut undoing =
            undo(Taken { run: run.id, at: self.clock.now() }, &done, &users, &holders);
        let reason = "the user was removed since; a user that has its id now is another one";
        undoing.left.extend(gone.iter().map(|change| Left::of(change, reason.to_owned())));
        Ok(undoing)
    }

    async fn account_of_changes(
        &self,
        changes: &[Change],
    ) -> Result<crate::model::AccountRef, EngineError> {
        let first = changes.first().map(|c| BTreeSet::from([c.user])).unwrap_or_default();
        let account = self
            .store
            .users_by_id(&first)
            .await?
            .into_values()
            .next()
            .map_or(AccountId(uuid::Uuid::nil()), |u| u.account);
        let account = self.store.account_of(account).await?;
        Ok(account
            .ok_or_else(|| EngineError::NotFound {
                what: "account",
                name: "of these users".to_owned(),
                near: None,
            })?
            .reference())
    }
}
