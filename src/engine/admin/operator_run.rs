//! What is written in somebody's name, without a directory: as a run of its own, so that it can be shown like any other.

use std::collections::BTreeSet;

use crate::engine::{Engine, EngineError};
use crate::model::{
    AccountRef, Actor, Change, ChangeCounts, ChangeKind, DirectoryName, ObservationNumber, RunId,
    RunState, Trigger, User,
};
use crate::reconcile::Admitted;
use crate::store::{Applied, Run, Writer};

/// In whose name something is written.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine) struct OperatorRun<'a> {
    /// The account whose users they are, or become.
    pub(in crate::engine) account: &'a AccountRef,
    /// Who.
    pub(in crate::engine) actor: &'a Actor,
    /// What made them.
    pub(in crate::engine) trigger: Trigger,
    /// The directory that the run is listed under; empty for none.
    pub(in crate::engine) directory: &'a str,
    /// The run that is taken back.
    pub(in crate::engine) undoes: Option<RunId>,
}

impl<'a> OperatorRun<'a> {
    /// Somebody's, on users of an account.
    pub(in crate::engine) fn of(
        account: &'a AccountRef,
        actor: &'a Actor,
        trigger: Trigger,
    ) -> Self {
        Self { account, actor, trigger, directory: "", undoes: None }
    }
}

impl Engine {
    /// Writes changes; the run that they are.
    ///
    /// No lock is taken: whoever decides on what other users are, or on a claim, takes the turn around deciding and writing.
    pub(in crate::engine) async fn write(
        &self,
        changes: Vec<Change>,
        operation: OperatorRun<'_>,
    ) -> Result<Run, EngineError> {
        let OperatorRun { account, actor, trigger, directory, undoes } = operation;
        let now = self.clock.now();
        let id = RunId(self.clock.new_id());
        let asked = self.directories_of(account, &changes);
        let admitted = Admitted::by_operator(changes, actor.clone());
        let writer = Writer {
            run: id,
            directory: None,
            account: account.clone(),
            actor: actor.clone(),
            observed_from: ObservationNumber::default(),
            clock: &self.clock,
            asked: &asked,
        };
        let mut run = Run {
            id,
            directory: directory.to_owned(),
            trigger,
            mode: "scoped".to_owned(),
            state: RunState::Running,
            actor: Some(actor.clone()),
            started_at: now,
            finished_at: None,
            entries: 0,
            complete: true,
            server: None,
            counts: ChangeCounts::default(),
            held: 0,
            quarantined: 0,
            dropped: 0,
            error: None,
            warnings: Vec::new(),
            active_after: None,
            approves: None,
            undoes,
            full_read_reason: None,
        };
        // Before anything is written: a crash between the two leaves no changes of a run that is unknown.
        self.store.save_run(&run).await?;
        let mut applied = Applied::default();
        let done = self.store.apply(&admitted, &writer, &mut applied).await;
        run.state = if done.is_ok() { RunState::Succeeded } else { RunState::Failed };
        (run.counts, run.dropped, run.finished_at) =
            (applied.counts, applied.dropped, Some(self.clock.now()));
        run.error = done.as_ref().err().map(ToString::to_string);
        self.store.save_run(&run).await?;
        done?;
        Ok(run)
    }

    /// The directories of the account that these users are in, and of those that they come from or go to.
    fn directories_of(&self, account: &AccountRef, changes: &[Change]) -> Vec<DirectoryName> {
        let mut accounts = BTreeSet::from([&account.handle]);
        for change in changes {
            if let ChangeKind::Transfer { before, after } = &change.kind {
                accounts.extend([&before.handle, &after.handle]);
            }
        }
        let configured = self.configured();
        configured
            .directories
            .values()
            .filter(|d| accounts.contains(&d.config.account))
            .map(|d| d.config.name.clone())
            .collect()
    }

    /// Writes an operator's change of one user, as it was when the operator saw it.
    pub(in crate::engine) async fn write_one(
        &self,
        user: &User,
        kind: ChangeKind,
        actor: &Actor,
    ) -> Result<User, EngineError> {
        self.write_user(user, vec![kind], actor).await
    }

    /// Writes an operator's changes of one user, all or none.
    pub(in crate::engine) async fn write_user(
        &self,
        user: &User,
        kinds: Vec<ChangeKind>,
        actor: &Actor,
    ) -> Result<User, EngineError> {
        let account = self.account_of(user).await?.reference();
        let _applying = self.apply_lock.lock().await;
        let changes = kinds.into_iter().map(|kind| Change::by_hand(user, kind)).collect();
        let run = self.write(changes, OperatorRun::of(&account, actor, Trigger::Operator)).await?;
        if run.dropped > 0 {
            return Err(EngineError::Refused(
                "somebody else changed this user in the same moment: look again".to_owned(),
            ));
        }
        self.store
            .user(user.id)
            .await?
            .ok_or_else(|| EngineError::NotFound { what: "user", name: user.id.to_string() })
    }
}
