//! The record of a run over a target: the guard's rulings, the held plan, and the run's row.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use serde_json::json;

use crate::engine::targets::Target;
use crate::engine::targets::request::{TargetRequest, TargetScope};
use crate::engine::targets::run::{ObservedTarget, Storing};
use crate::engine::{Engine, EngineError};
use crate::model::{
    Actor, ChangeCounts, Digest, DirectoryName, Event, EventCause, HeldChange, HoldReason,
    Holdable as _, InactiveReason, Mode, ProposedStep, RunId, RunMode, RunState, Trigger, User,
    UserId,
};
use crate::reconcile::provision::{
    FoundStep, FurtherSteps, Permission, Ruling, TargetBounds, rule,
};
use crate::store::{Admission, DecidedBy, HeldRow, Run, ScopeState};

/// The steps that a run would take now.
#[derive(Debug, Clone)]
pub struct TargetPlan {
    /// Ordered by user.
    pub steps: Vec<PlannedStep>,
    pub listed: u64,
    /// Why the list was not read whole.
    pub partial: Option<String>,
    /// Steps that are proposed when these are decided.
    pub further: u64,
}

/// A step with the reason that holds it; `None` would be sent.
#[derive(Debug, Clone)]
pub struct PlannedStep {
    pub step: ProposedStep,
    pub hold: Option<HoldReason>,
}

/// The steps of a run, divided by the guard.
#[derive(Debug, Default)]
struct Ruled {
    /// Steps to send, each with whether an operator approved it.
    admitted: Vec<(ProposedStep, bool)>,
    held: Vec<HeldChange<ProposedStep>>,
    /// Steps about accounts that a second run has to find, too.
    unsettled: Vec<ProposedStep>,
}

impl Engine {
    /// Returns whether a directory has the user on its list `protect`.
    pub(in crate::engine) fn is_protected(&self, user: &User) -> bool {
        let Some(primary) = &user.addresses.primary else { return false };
        let key = primary.key();
        let configured = self.configured();
        let mut protected = configured.directories.values().flat_map(|d| &d.config.protect);
        protected.any(|address| address.key() == key)
    }

    /// Stores a run of a target as running.
    pub(in crate::engine) async fn begin_target_run(
        &self,
        target: &Target,
        request: &TargetRequest,
    ) -> Result<Run, EngineError> {
        let now = self.clock.now();
        self.change_target_state(target, |state| state.last_attempt = Some(now)).await?;
        let run = Run {
            id: RunId(self.clock.new_id()),
            directory: Some(DirectoryName::from(&target.config.name)),
            trigger: request.trigger,
            mode: match request.scope {
                TargetScope::All => RunMode::Full,
                TargetScope::Users(_) => RunMode::Scoped,
            },
            state: RunState::Running,
            actor: request.actor.clone(),
            started_at: now,
            finished_at: None,
            entries: 0,
            complete: false,
            server: Some(target.config.client.url.host_str().unwrap_or_default().to_owned()),
            counts: ChangeCounts::default(),
            held: 0,
            quarantined: 0,
            dropped: 0,
            error: None,
            warnings: Vec::new(),
            active_after: None,
            approves: request.approves,
            undoes: None,
            full_read_reason: None,
        };
        self.store.save_run(&run).await?;
        Ok(run)
    }

    pub(in crate::engine) async fn fail_target_run(
        &self,
        run: &mut Run,
        error: &str,
    ) -> Result<(), EngineError> {
        (run.state, run.error) = (RunState::Failed, Some(error.to_owned()));
        run.finished_at = Some(self.clock.now());
        Ok(self.store.save_run(run).await?)
    }

    /// Notes that a full run failed at the target, until one succeeds.
    pub(in crate::engine) fn note_failed_run(
        &self,
        target: &Target,
        request: &TargetRequest,
        reason: &str,
    ) {
        if request.scope == TargetScope::All {
            let mut failed = target.work.failed_run.lock().unwrap_or_else(PoisonError::into_inner);
            *failed = Some((reason.to_owned(), self.clock.now()));
        }
    }

    /// Rules about the steps that a run found, and stores the result.
    pub(in crate::engine) async fn record_target(
        &self,
        target: &Target,
        request: &TargetRequest,
        observed: ObservedTarget,
        run: &mut Run,
    ) -> Result<(), EngineError> {
        if let Some(reason) = observed.stopped {
            // Positive findings need no complete run.
            run.entries = observed.listed;
            let now = self.clock.now();
            self.store.admit(&target.config.name, &admissions(&observed.free), now).await?;
            let name = &target.config.name;
            tracing::warn!(scim_target = %name, "{name}: the run failed: {reason}");
            self.note_failed_run(target, request, &reason);
            return self.fail_target_run(run, &reason).await;
        }
        let _applying = self.apply_lock.lock().await;
        let target_name = &target.config.name;
        let name = DirectoryName::from(target_name);
        let now = self.clock.now();
        let ObservedTarget {
            proposed, free, undecided, listed, partial, clusters, further, ..
        } = observed;
        let is_full = request.scope == TargetScope::All;
        run.entries = listed;
        run.complete = is_full && partial.is_none();
        if let Some(partial) = partial.as_ref().filter(|_| is_full) {
            run.warnings.push(format!("the list of accounts was not read whole: {partial}"));
        }
        if let Some(reason) = &observed.unread_reason {
            run.warnings.push(format!("{} accounts were not read: {reason}", observed.unread));
        }
        if further.count > 0 {
            run.warnings.push(format!(
                "{} further steps are proposed when those of the plan are decided",
                further.count
            ));
        }
        let scope = &request.scope;
        let covers = |user: &UserId| match scope {
            TargetScope::All => !undecided.contains(user),
            TargetScope::Users(users) => users.contains(user) && !undecided.contains(user),
        };
        let keys: BTreeSet<Digest> =
            proposed.iter().flat_map(|(step, _)| step.rejection_keys()).collect();
        let ruled = self.rule_target(target, proposed, (clusters, further), &covers).await?;
        let rejections = self.store.rejections(&name).await?;
        let ended: Vec<_> = rejections
            .into_iter()
            .filter(|rejection| covers(&rejection.user) && !keys.contains(&rejection.key))
            .collect();
        self.store.end_rejections(&ended, now).await?;

        let due = admissions(ruled.admitted.iter().map(|(step, _)| step).chain(&free));
        let written = self.store.record_steps(run.id, &name, &ruled.admitted, now).await?;
        self.store.admit(target_name, &due, now).await?;
        let unsettled = ruled.unsettled.iter().map(|step| step.user).collect();
        self.store.note_found(target_name, &unsettled, now).await?;
        (run.counts, run.dropped) = self.store.committed(run.id).await?;
        let by =
            DecidedBy { scope_hash: target.config.rules_hash(), note: None, applied: run.counts };
        let is_covered = |row: &HeldRow| covers(&row.user);
        let mut held = self.store.held_changes();
        for change in &ruled.held {
            held.push(change)?;
        }
        let holding = self
            .store
            .hold_changes(&name, run.id, written, held, &by, is_covered, &self.clock)
            .await?;
        run.held = holding.count;
        let counts = self.store.counterpart_counts(target_name).await?;
        run.active_after = Some(counts.active);
        run.quarantined = counts.quarantined;
        let is_rejected = self.store.is_scope_rejected(&name).await?;
        let hash = target.config.rules_hash();
        // The change of the state wakes the push.
        target.work.has_group_work.store(true, Ordering::Release);
        self.change_target_state(target, |state| {
            state.last_success = Some(now);
            if is_full {
                state.last_complete_run = Some(now);
                state.listed = Some(listed).filter(|_| run.complete);
            }
            let is_accepted = state.rules.as_ref().is_some_and(|rules| rules.accepts(&hash));
            let is_new = state.rules.is_none();
            if is_full && !is_accepted {
                if is_new || run.held == 0 && !is_rejected {
                    state.rules = Some(ScopeState::Accepted(hash.clone()));
                    state.plan_only_since = None;
                } else {
                    state.plan_only_since.get_or_insert(now);
                }
            }
        })
        .await?;
        if is_full {
            *target.work.failed_run.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
        run.finished_at = Some(self.clock.now());
        run.state = if run.held > 0 { RunState::Held } else { RunState::Succeeded };
        self.store.save_run(run).await?;
        self.report_target_run(target, run, holding.is_new).await
    }

    /// Returns what a run would do now. Nothing is stored and nothing is sent.
    pub(in crate::engine) async fn dry_run_target(
        &self,
        target: &Target,
        scope: TargetScope,
    ) -> Result<TargetPlan, EngineError> {
        let _run_lock = target.work.run_lock.lock().await;
        let request =
            TargetRequest { trigger: Trigger::Manual, scope, actor: None, approves: None };
        let observed = self.observe_target(target, &request, Storing::Nothing).await?;
        if let Some(reason) = observed.stopped {
            return Err(EngineError::Target(reason));
        }
        let ObservedTarget { proposed, free, listed, partial, clusters, further, .. } = observed;
        let count = further.count;
        let free = free.into_iter().map(|step| PlannedStep { step, hold: None });
        let covers = |user: &UserId| match &request.scope {
            TargetScope::All => true,
            TargetScope::Users(users) => users.contains(user),
        };
        let ruled = self.rule_target(target, proposed, (clusters, further), &covers).await?;
        let admitted = ruled.admitted.into_iter().map(|(step, _)| PlannedStep { step, hold: None });
        let held = ruled
            .held
            .into_iter()
            .map(|held| PlannedStep { step: held.change, hold: Some(held.hold) });
        let unsettled = ruled
            .unsettled
            .into_iter()
            .map(|step| PlannedStep { step, hold: Some(HoldReason::GracePeriod) });
        let mut steps: Vec<PlannedStep> =
            free.chain(admitted).chain(held).chain(unsettled).collect();
        steps.sort_by_key(|planned| planned.step.user);
        Ok(TargetPlan { steps, listed, partial, further: count })
    }

    async fn rule_target(
        &self,
        target: &Target,
        proposed: Vec<(ProposedStep, FoundStep)>,
        (clusters, further): (BTreeMap<String, u64>, FurtherSteps),
        covers: &impl Fn(&UserId) -> bool,
    ) -> Result<Ruled, EngineError> {
        let name = DirectoryName::from(&target.config.name);
        let now = self.clock.now();
        let limits = &target.config.limits;
        let budget = self.store.budget(&name, limits.window, now).await?;
        let mut used = budget.used;
        // Steps that an earlier run holds for other users count as well.
        for (_, waiting) in self.store.waiting(&name).await? {
            if !covers(&waiting.user) {
                used.entry(waiting.class).or_default().window += 1;
            }
        }
        let rejections = self.store.rejections(&name).await?;
        let state = self.target_state(target).await?;
        let bounds = TargetBounds {
            limits,
            adopt: target.config.adopt,
            active: budget.active,
            used,
            clusters,
            further,
            is_plan_only: Self::permission(target, &state) != Permission::All,
            rejected: rejections.into_iter().map(|rejection| rejection.key).collect(),
            now,
        };
        let approved = self.approved_steps(target).await?;
        let is_approved =
            |step: &ProposedStep| !approved.is_empty() && approved.contains(&step.digest());
        let (yes, no): (Vec<_>, Vec<_>) =
            proposed.into_iter().partition(|(step, _)| is_approved(step));
        let (open, found): (Vec<ProposedStep>, Vec<FoundStep>) = no.into_iter().unzip();
        let admitted = yes.into_iter().map(|(step, _)| (step, true)).collect();
        Ok(Ruled { admitted, ..Ruled::default() }.with(open, &found, &bounds))
    }

    /// Returns the digests of the steps that an operator approved and that are not done yet.
    pub(in crate::engine) async fn approved_steps(
        &self,
        target: &Target,
    ) -> Result<BTreeSet<Digest>, EngineError> {
        let name = DirectoryName::from(&target.config.name);
        let Some(plan) = self.store.current_plan(&name).await? else { return Ok(BTreeSet::new()) };
        Ok(self.store.approved_changes(plan.id).await?)
    }

    /// Logs a run and records its event.
    async fn report_target_run(
        &self,
        target: &Target,
        run: &Run,
        is_reported: bool,
    ) -> Result<(), EngineError> {
        let name = &target.config.name;
        let total = run.counts.total();
        if total > 0 || run.held > 0 || run.mode == RunMode::Full {
            tracing::info!(
                scim_target = %name,
                "{name}: {} run ({}): {total} steps admitted, {} held, {} accounts listed",
                run.mode,
                run.trigger,
                run.held,
                run.entries
            );
        }
        if target.config.mode == Mode::PlanOnly && run.held > 0 {
            tracing::warn!(scim_target = %name, "{name}: the target is plan-only: {} steps wait: rosterctl held list", run.held);
        }
        if total == 0 || is_reported {
            return Ok(());
        }
        let cause = EventCause {
            actor: run.actor.clone().unwrap_or_else(Actor::rosterd),
            run: Some(run.id),
            account: Some(target.config.account.clone()),
            at: run.finished_at.unwrap_or(run.started_at),
        };
        let kind = if run.held > 0 { "run.held" } else { "run.succeeded" };
        let after = json!({
            "target": name,
            "trigger": run.trigger,
            "changes": run.counts,
            "held": run.held,
        });
        let event = Event::about(kind, run.id, &cause, serde_json::Value::Null, after);
        Ok(self.store.record(&[event], &self.clock).await?)
    }
}

/// Returns the admissions of steps, by user.
fn admissions<'a>(
    steps: impl IntoIterator<Item = &'a ProposedStep>,
) -> BTreeMap<UserId, Admission> {
    let mut admissions: BTreeMap<UserId, Admission> = BTreeMap::new();
    for step in steps {
        let admission = admissions.entry(step.user).or_default();
        admission.kinds.insert(step.kind);
        admission.is_leaver |= step.reason == Some(InactiveReason::Suspended);
    }
    admissions
}

impl Ruled {
    /// Adds the rulings about steps that no operator has approved.
    fn with(
        mut self,
        open: Vec<ProposedStep>,
        found: &[FoundStep],
        bounds: &TargetBounds<'_>,
    ) -> Self {
        for (step, ruling) in open.into_iter().zip(rule(found, bounds)) {
            match ruling {
                Ruling::Admitted => self.admitted.push((step, false)),
                Ruling::Held(HoldReason::GracePeriod) => self.unsettled.push(step),
                Ruling::Held(hold) => self.held.push(HeldChange { change: step, hold }),
            }
        }
        self
    }
}
