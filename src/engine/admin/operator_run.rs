//! Changes without a directory, written as a run of their own, so that `run show` and undo cover
//! them.

use std::collections::BTreeSet;

use crate::engine::admin::users::UserError;
use crate::engine::{Engine, EngineError};
use crate::model::{
    AccountRef, Actor, Change, ChangeCounts, ChangeKind, DirectoryName, ObservationNumber, RunId,
    RunMode, RunState, Trigger, User,
};
use crate::reconcile::Admitted;
use crate::store::{Applied, Right, Run, Writer};

/// The origin of a run that reads no directory.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine) struct OperatorRun<'a> {
    /// The account of the users before or after the change.
    pub(in crate::engine) account: &'a AccountRef,
    pub(in crate::engine) actor: &'a Actor,
    pub(in crate::engine) trigger: Trigger,
    /// The directory that lists the run.
    pub(in crate::engine) directory: Option<&'a DirectoryName>,
    pub(in crate::engine) undoes: Option<RunId>,
}

impl<'a> OperatorRun<'a> {
    /// Returns the origin of changes to users of one account.
    pub(in crate::engine) fn of(
        account: &'a AccountRef,
        actor: &'a Actor,
        trigger: Trigger,
    ) -> Self {
        Self { account, actor, trigger, directory: None, undoes: None }
    }
}

/// Returns the right by which changes are written. A suspension is a brake, which each node pulls, and
/// each node decides on sign-ins.
fn right_to(trigger: Trigger, changes: &[Change]) -> Right {
    let is_brake = |change: &Change| matches!(change.kind, ChangeKind::Suspend { .. });
    match trigger {
        Trigger::SignIn => Right::Anyone,
        Trigger::Operator if changes.iter().all(is_brake) => Right::Anyone,
        _ => Right::Leader,
    }
}

impl Engine {
    /// Writes changes and returns their run.
    ///
    /// Takes no lock. A decision may depend on other users or on a claim. Then its caller holds the
    /// apply lock until this call ends.
    pub(in crate::engine) async fn write(
        &self,
        changes: Vec<Change>,
        operation: OperatorRun<'_>,
    ) -> Result<Run, EngineError> {
        let OperatorRun { account, actor, trigger, directory, undoes } = operation;
        let now = self.clock.now();
        let id = RunId(self.clock.new_id());
        let asked = self.directories_of(account, &changes);
        let right = right_to(trigger, &changes);
        let admitted = Admitted::by_operator(changes, actor.clone());
        let writer = Writer {
            right,
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
            directory: directory.cloned(),
            trigger,
            mode: RunMode::Scoped,
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
        // Stored first: a crash leaves no changes without a run.
        self.store.save_run_as(&run, right).await?;
        let mut applied = Applied::default();
        let done = self.store.apply(&admitted, &writer, &mut applied).await;
        run.state = if done.is_ok() { RunState::Succeeded } else { RunState::Failed };
        (run.counts, run.dropped, run.finished_at) =
            (applied.counts, applied.dropped, Some(self.clock.now()));
        run.error = done.as_ref().err().map(ToString::to_string);
        self.store.save_run_as(&run, right).await?;
        done?;
        Ok(run)
    }

    /// Returns the directories of the accounts of these users, before and after the changes.
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

    /// Writes one change of a user. Fails when the user has changed since it was read.
    pub(in crate::engine) async fn write_one(
        &self,
        user: &User,
        kind: ChangeKind,
        actor: &Actor,
    ) -> Result<User, EngineError> {
        self.write_user(user, vec![kind], actor).await
    }

    /// Writes changes of a user, all or none. Fails when the user has changed since it was read.
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
            return Err(UserError::Changed.into());
        }
        self.store.user(user.id).await?.ok_or_else(|| EngineError::NotFound {
            what: "user",
            name: user.id.to_string(),
            near: None,
        })
    }
}
