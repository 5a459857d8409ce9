//! Planning: load, plan slice by slice, review, and write the warnings. The plan itself is [`Draft`], which
//! is pure.

use crate::directory::{Grants, Right};
use crate::engine::scope_warning::scope_warning;
use crate::engine::sync::stages::{GateAnswer, ObservedRun, Request, ReviewedRun};
use crate::engine::{Directory, Engine, EngineError};
use crate::model::{DirectoryName, Mode};
use crate::reconcile::{
    Division, Draft, HomeCounts, LastServer, Observation, PlanWarning, Review, Situation, Slice,
};

/// The number of changed people who are planned at once. A person takes some 5 kB while it is planned.
pub(in crate::engine) const SLICE: usize = 5_000;

impl Engine {
    /// Plans an observation slice by slice, and has the guard rule on the whole plan. The caller holds the
    /// apply lock.
    pub(in crate::engine) async fn plan(
        &self,
        directory: &Directory,
        request: &Request,
        observed: &ObservedRun,
        answer: &GateAnswer,
    ) -> Result<ReviewedRun, EngineError> {
        let ObservedRun { seen, grants, .. } = observed;
        let config = &directory.config;
        let (name, account) = (&config.name, seen.policy.account);
        let moving = self.moving(name, seen).await?;
        let rejections = self.rejections(name, &moving).await?;
        let former_scope = self.former_scope(directory, &moving).await?;

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
        let situation = Situation {
            homes,
            limits: &config.limits,
            is_plan_only: config.mode == Mode::PlanOnly,
            is_held_by_gate: matches!(answer, GateAnswer::Held(_)),
            is_new_scope: scope.is_some(),
            active: budget.active,
            used: budget.used,
            held: self.store.waiting(name).await?,
            grace_periods: self.store.grace_periods(name).await?,
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
        let mut review = Review::new(seen, situation, rejections.clone());
        let mut plans = self.store.spool(1);
        for Slice { people, known } in self.slices(name, seen).await? {
            let known = self.known(name, seen, &known).await?;
            plans.push(review.add(Draft::of(seen, &people, known, &rejections)))?;
        }
        let clusters = self.store.clusters(name, account, &review.clusters(), window_began).await?;
        let newcomers = self.store.newcomers(&review.leavers(&clusters), window_began).await?;
        let mut reviewed = review.rule(clusters, newcomers);
        let warnings = std::mem::take(&mut reviewed.warnings);
        let warnings = warnings.iter().map(|warning| sentence(warning, seen, grants));
        let waits = scope.filter(|_| reviewed.ruling.is_waiting);
        let warnings = warnings.chain(waits).collect();
        let note = match answer {
            GateAnswer::Held(reason) => Some(reason.clone()),
            GateAnswer::Unasked | GateAnswer::Passed(_) => None,
        };
        Ok(ReviewedRun { reviewed, plans, warnings, note })
    }

    /// Divides the people of a plan into slices that do not depend on each other.
    async fn slices(
        &self,
        name: &DirectoryName,
        seen: &Observation,
    ) -> Result<Vec<Slice>, EngineError> {
        let people = seen.people();
        if people.len() <= self.slice {
            return Ok(vec![Slice { known: people.clone(), people }]);
        }
        let mut division = Division::default();
        for some in people.chunks(self.slice) {
            let known = self.known(name, seen, some).await?;
            for guid in some {
                division.add(*guid, seen, &known);
            }
        }
        Ok(division.slices(self.slice))
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
            "{server} has not heard of the last change of a group that another server showed: {dropped} changes by groups wait until it has; {REPLICATION} {directory}"
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
