//! Planning: load, propose, and write the warnings. The plan itself is [`propose`], which is pure.

use std::collections::BTreeSet;

use crate::directory::{Grants, Right};
use crate::engine::scope_warning::scope_warning;
use crate::engine::sync::stages::{GateAnswer, ObservedRun, PlannedRun, Request};
use crate::engine::{Directory, Engine, EngineError};
use crate::model::{AddressKey, Guid, Mode};
use crate::reconcile::{
    Desired, Draft, HomeCounts, LastServer, Observation, PlanWarning, Situation, propose,
};

impl Engine {
    /// Plans an observation and passes the plan through the guard. The caller holds the apply lock.
    pub(in crate::engine) async fn plan(
        &self,
        directory: &Directory,
        request: &Request,
        observed: &ObservedRun,
        answer: &GateAnswer,
    ) -> Result<PlannedRun, EngineError> {
        let ObservedRun { seen, grants, .. } = observed;
        let config = &directory.config;
        let (name, account) = (&config.name, seen.policy.account);
        let malformed = seen.malformed.iter().filter_map(|(guid, _)| *guid);
        let people: BTreeSet<Guid> = seen.desired.keys().copied().chain(malformed).collect();
        let wanted: BTreeSet<AddressKey> =
            seen.desired.values().flat_map(Desired::wanted_keys).collect();
        let mut known = self.store.load(name, account, &people, &wanted).await?;
        let former = seen.successors.values().copied().collect();
        for user in self.store.users_by_id(&former).await?.into_values() {
            known.add(user, account);
        }
        let rejections = self.rejections(name, seen, &known).await?;
        let former_scope = self.former_scope(directory, seen, &known).await?;
        let draft = Draft::of(seen, known, rejections);

        let state = self.store.directory(name).await?;
        let now = self.clock.now();
        let budget = self.store.budget(name, config.limits.window, now).await?;
        let window_began = now.minus(config.limits.window);
        let protected = self.protected(directory, account).await?;
        let stored_scope = former_scope.as_ref().or(state.scope.as_ref());
        let scope = stored_scope.and_then(|stored| scope_warning(stored, &config.scope_hash()));
        let homes = if seen.policy.rules.have_limits() {
            self.store.homes(name, window_began).await?
        } else {
            HomeCounts::default()
        };
        let held = self.store.waiting(name).await?;
        let grace_periods = self.store.grace_periods(name).await?;
        let clusters = self.store.clusters(name, account, &draft.clusters(), window_began).await?;
        let leavers = draft.leavers(&held, &grace_periods, &clusters);
        let newcomers = self.store.newcomers(&leavers, window_began).await?;
        let situation = Situation {
            homes,
            limits: &config.limits,
            is_plan_only: config.mode == Mode::PlanOnly,
            is_held_by_gate: matches!(answer, GateAnswer::Held(_)),
            is_new_scope: scope.is_some(),
            active: budget.active,
            used: budget.used,
            held,
            grace_periods,
            clusters,
            newcomers,
            protected: &protected,
            approved: self.approved(directory, request).await?,
            last_server: LastServer {
                server: state.server,
                identity: state.identity,
                changed_at: state.server_changed_at,
            },
            is_quiet: config.quiet.until(now).is_some(),
            now,
        };
        let verdict = propose(draft, situation);
        let warnings = verdict.warnings.iter().map(|warning| sentence(warning, seen, grants));
        let waits = scope.filter(|_| !verdict.held.is_empty());
        let warnings = warnings.chain(waits).collect();
        let note = match answer {
            GateAnswer::Held(reason) => Some(reason.clone()),
            GateAnswer::Unasked | GateAnswer::Passed(_) => None,
        };
        Ok(PlannedRun { verdict, warnings, note })
    }
}

/// The remedy for a server that lacks writes of another one.
pub(in crate::engine) const REPLICATION: &str = "check replication with repadmin /showrepl; only if the other server is gone for good, accept what this one says with rosterctl directory trust-server";

/// Names the people about whom a server says nothing.
pub(in crate::engine) fn unchanged(people: u64) -> String {
    match people {
        1 => "1 person, who stays as it is,".to_owned(),
        people => format!("{people} people, who stay as they are,"),
    }
}

fn sentence(warning: &PlanWarning, seen: &Observation, grants: &Grants) -> String {
    let (server, directory) = (&seen.server, &seen.policy.directory);
    match warning {
        PlanWarning::GroupLossesDropped(lost) => {
            format!("dropped {lost} changes that would take a tier away")
        }
        PlanWarning::GroupsBehind(dropped) => format!(
            "{server} has not heard of the last change of a group that another server showed: {dropped} changes of tiers wait until it has; {REPLICATION} {directory}"
        ),
        PlanWarning::PeopleBehind(people) => format!(
            "{server} has not heard of what another server showed about {} until it has; {REPLICATION} {directory}",
            unchanged(*people)
        ),
        PlanWarning::UnseenPlace { place, people } => {
            let grant = grants.command(Right::ListContents, place);
            format!(
                "{people} people of {place} can no longer be seen, and none of them was suspended for it: the service account has probably lost its right to read; to give it back, as a domain administrator: {grant}"
            )
        }
        PlanWarning::Note(note) => note.clone(),
    }
}
