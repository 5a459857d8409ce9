//! Taking a run back: what it changed, the other way round, written as a run of its own. Then its people are read again, so
//! that whoever left meanwhile is not given back by it.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::engine::admin::operator_run::OperatorRun;
use crate::engine::{Engine, EngineError};
use crate::model::{
    AccountId, Actor, AddressKey, Change, Event, EventCause, Guid, RunId, RunState, Trigger,
    UserId, WrittenChange,
};
use crate::reconcile::{Left, Taken, Undoing, undo};
use crate::store::{HeldPlan, Run};
use crate::telemetry::chain;

/// What taking a run back came to, or would come to.
#[derive(Debug)]
pub struct Undone {
    /// The run that was taken back.
    pub of: RunId,
    /// The run that did it; none where it was only asked for, or nothing was to be done.
    pub run: Option<Run>,
    /// What was done, or would be.
    pub changes: Vec<Change>,
    /// What is left alone.
    pub left: Vec<Left>,
    /// The run that read the people again.
    pub read: Option<Run>,
    /// What waits of the directory afterwards.
    pub waiting: Option<HeldPlan>,
}

impl Engine {
    /// What taking a run back would come to.
    pub async fn plan_undo(&self, id: RunId) -> Result<Undone, EngineError> {
        let run = self.undoable(id).await?;
        let Undoing { changes, left } = self.reversal(&run).await?;
        Ok(Undone { of: id, run: None, changes, left, read: None, waiting: None })
    }

    /// Takes a run back, as far as that goes.
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
            directory: &of.directory,
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
        let after =
            json!({ "directory": of.directory, "changes": run.counts, "left": undone.left.len() });
        self.store
            .record(
                &[Event::about("run.undone", id.to_string(), &cause, Value::Null, after)],
                &self.clock,
            )
            .await?;
        if let Ok(directory) = self.directory(&of.directory) {
            let people: BTreeSet<Guid> = undone.changes.iter().filter_map(|c| c.guid).collect();
            if !people.is_empty() {
                let read =
                    self.run(&directory, Self::look_at(people, Trigger::Undo, actor.clone())).await;
                // That they could not be read is no failure of the undo: the next run reads them.
                undone.read = read
                    .inspect_err(|error| {
                        tracing::warn!("after an undo people could not be read: {}", chain(error))
                    })
                    .ok();
            }
            undone.waiting = self.waiting(&directory).await?;
        }
        undone.run = Some(run);
        Ok(undone)
    }

    async fn undoable(&self, id: RunId) -> Result<Run, EngineError> {
        let run = self
            .store
            .run(id)
            .await?
            .ok_or_else(|| EngineError::NotFound { what: "run", name: id.to_string() })?;
        if run.state == RunState::Running {
            return Err(EngineError::Refused(format!(
                "the run {id} is still under way: wait for its end"
            )));
        }
        Ok(run)
    }

    async fn reversal(&self, run: &Run) -> Result<Undoing, EngineError> {
        let mut done = self.store.run_changes(run.id, u64::MAX >> 1).await?;
        done.retain(|change| change.outcome == "applied");
        // A user id is derived from the person: after a removal it may be another user's.
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
        let why = "the user was removed since; a user that has its id now is another one";
        undoing.left.extend(gone.iter().map(|change| Left::of(change, why.to_owned())));
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
            })?
            .reference())
    }
}
