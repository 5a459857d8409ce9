//! Applying: the admitted changes of a plan are written, in transactions.

use crate::engine::sync::stages::{AppliedRun, ObservedRun, PlannedRun};
use crate::engine::{Directory, Engine, EngineError, Phase};
use crate::model::{AccountRef, Actor};
use crate::reconcile::Verdict;
use crate::store::{Applied, Right, Run, Writer};

impl Engine {
    /// Writes the admitted changes, after those that the run has `applied` before. After an error `run`
    /// counts the transactions that were committed.
    pub(in crate::engine) async fn apply(
        &self,
        directory: &Directory,
        observed: &ObservedRun,
        planned: PlannedRun,
        applied: &mut Applied,
        run: &mut Run,
    ) -> Result<AppliedRun, EngineError> {
        let seen = &observed.seen;
        let PlannedRun { verdict, warnings, note } = planned;
        let Verdict { admitted, held, grace_periods, quarantined, ended, warnings: _ } = verdict;
        run.entries = observed.entries;
        run.complete = seen.is_complete();
        run.server = Some(seen.server.clone());
        for warning in observed.warnings.iter().chain(&warnings) {
            if !run.warnings.contains(warning) {
                run.warnings.push(warning.clone());
            }
        }
        run.quarantined = quarantined.len() as u64;

        directory.work.progress.send_modify(|p| p.phase = Phase::Applying);
        let writer = Writer {
            right: Right::Leader,
            run: run.id,
            directory: Some(&directory.config.name),
            account: AccountRef {
                id: seen.policy.account,
                handle: directory.config.account.clone(),
            },
            actor: run.actor.clone().unwrap_or_else(Actor::rosterd),
            observed_from: observed.number,
            clock: &self.clock,
            asked: &[],
        };
        let outcome = self.store.apply(&admitted, &writer, applied).await;
        (run.counts, run.dropped) = (applied.counts, applied.dropped);
        outcome?;
        Ok(AppliedRun { held, grace_periods, ended, note, first_seq: applied.written })
    }
}
