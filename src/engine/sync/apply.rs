//! Applying: the admitted changes of a plan are written slice by slice, in transactions.

use std::collections::BTreeMap;

use crate::engine::sync::stages::{AppliedRun, ObservedRun, ReviewedRun};
use crate::engine::{Directory, Engine, EngineError, Phase};
use crate::model::{AccountRef, Actor, ChangeVerb, Guid, HeldChange, HoldReason};
use crate::reconcile::{Proposal, Reviewed, Ruled, Ruling};
use crate::store::{Applied, HeldChanges, Right, Run, Spool, StoreError, Writer};

/// The changes of a run that are not applied.
struct Waiting {
    /// The changes that wait for an operator.
    held: HeldChanges,
    /// The people with changes that wait for the end of quiet hours.
    quiet: BTreeMap<Guid, ChangeVerb>,
}

impl Waiting {
    fn add(&mut self, held: &HeldChange) -> Result<(), StoreError> {
        match held.hold {
            // Its grace period is stored.
            HoldReason::GracePeriod => Ok(()),
            HoldReason::QuietHours => {
                self.quiet.extend(held.change.guid.map(|guid| (guid, held.change.kind.verb())));
                Ok(())
            }
            _ => self.held.push(held),
        }
    }
}

impl Engine {
    /// Writes the admitted changes, after those that the run has `applied` before. After an error `run`
    /// counts the transactions that were committed.
    pub(in crate::engine) async fn apply(
        &self,
        directory: &Directory,
        observed: &mut ObservedRun,
        planned: ReviewedRun,
        applied: &mut Applied,
        run: &mut Run,
    ) -> Result<AppliedRun, EngineError> {
        let ReviewedRun { reviewed: Reviewed { ruling, ended, .. }, plans, warnings, note } =
            planned;
        let seen = &observed.seen;
        run.entries = observed.entries;
        run.complete = seen.is_complete();
        run.server = Some(seen.server.clone());
        for warning in observed.warnings.iter().chain(&warnings) {
            if !run.warnings.contains(warning) {
                run.warnings.push(warning.clone());
            }
        }
        run.quarantined = 0;
        // Where no other server answers, this observation is planned again.
        if observed.lost_server.is_none() {
            observed.seen.forget_planned();
        }
        directory.work.progress.send_modify(|p| p.phase = Phase::Applying);
        let waiting = self.apply_slices(directory, observed, (plans, &ruling), applied, run).await;
        (run.counts, run.dropped) = (applied.counts, applied.dropped);
        let Waiting { held, quiet } = waiting?;
        let (grace_periods, first_seq) = (ruling.grace_periods, applied.written);
        Ok(AppliedRun { held, quiet, grace_periods, ended, note, first_seq })
    }

    /// Applies each slice. Returns the changes that wait.
    async fn apply_slices(
        &self,
        directory: &Directory,
        observed: &ObservedRun,
        (plans, ruling): (Spool<Proposal>, &Ruling),
        applied: &mut Applied,
        run: &mut Run,
    ) -> Result<Waiting, EngineError> {
        let writer = Writer {
            right: Right::Leader,
            run: run.id,
            directory: Some(&directory.config.name),
            account: AccountRef {
                id: observed.seen.policy.account,
                handle: directory.config.account.clone(),
            },
            actor: run.actor.clone().unwrap_or_else(Actor::rosterd),
            observed_from: observed.number,
            clock: &self.clock,
            asked: &[],
        };
        let mut waiting = Waiting { held: self.store.held_changes(), quiet: BTreeMap::new() };
        let mut failure = None;
        for (slice, plan) in plans.into_values()?.enumerate() {
            let Ruled { admitted, held, quarantined } = ruling.split(slice, plan?);
            run.quarantined += quarantined.len() as u64;
            for change in held {
                waiting.add(&change)?;
            }
            match self.store.apply_slice(&admitted, &writer, applied).await {
                Ok(()) => {}
                // A refused change stops no other.
                Err(error) if error.is_about_the_values() => drop(failure.get_or_insert(error)),
                Err(error) => return Err(error.into()),
            }
        }
        self.store.end_bulk(applied).await?;
        failure.map_or(Ok(waiting), |error| Err(error.into()))
    }
}
