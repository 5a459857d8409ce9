//! The guard of a target: admits the steps that a run found, or holds them for an operator.

use std::collections::{BTreeMap, BTreeSet};

use super::steps::Step;
use crate::model::{
    Adopt, ChangeClass, CounterpartState, Digest, HoldReason, InactiveReason, ProvisionProblem,
    StepKind, Tier, Timestamp, UserId,
};
use crate::reconcile::{Cluster, Limits, Used};

/// A step that a run found, in the form that the guard judges.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FoundStep {
    pub user: UserId,
    pub kind: StepKind,
    pub reason: Option<InactiveReason>,
    /// Recognises the step among rejections.
    pub key: Digest,
    /// The time at which a run first found that the account has to go.
    pub found_at: Option<Timestamp>,
    /// The address or id of the user is on the list `protect` of its directory.
    pub is_protected: bool,
    pub cluster: Option<String>,
}

/// Found steps that a run does not propose yet. The guard counts them all the same.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct FurtherSteps {
    pub count: u64,
    classes: BTreeMap<ChangeClass, u64>,
    clusters: BTreeMap<String, u64>,
}

impl FurtherSteps {
    pub fn add(&mut self, step: &FoundStep) {
        self.count += 1;
        if let Some(class) = step.kind.class(step.reason) {
            *self.classes.entry(class).or_default() += 1;
        }
        if let Some(cluster) = &step.cluster {
            *self.clusters.entry(cluster.clone()).or_default() += 1;
        }
    }
}

/// The limits of a target and their use.
#[derive(Clone, Debug)]
pub struct TargetBounds<'a> {
    pub limits: &'a Limits,
    pub adopt: Adopt,
    /// The active counterparts, of which limits are a share.
    pub active: u64,
    pub used: BTreeMap<ChangeClass, Used>,
    /// The size of each cluster.
    pub clusters: BTreeMap<String, u64>,
    pub further: FurtherSteps,
    /// The rules wait for approval, or the target is `plan-only`.
    pub is_plan_only: bool,
    pub rejected: BTreeSet<Digest>,
    pub now: Timestamp,
}

/// The ruling about one step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ruling {
    Admitted,
    Held(HoldReason),
}

/// Rules about the steps that a run found, in their order. All steps of a class that exceeds its
/// limit are held, because one mistake makes them all.
pub fn rule(steps: &[FoundStep], bounds: &TargetBounds<'_>) -> Vec<Ruling> {
    let mut holds: Vec<Option<HoldReason>> =
        steps.iter().map(|step| individual(step, bounds)).collect();
    let further = &bounds.further;
    let mut sizes: BTreeMap<&str, u64> =
        further.clusters.iter().map(|(cluster, count)| (cluster.as_str(), *count)).collect();
    for cluster in steps.iter().filter_map(|step| step.cluster.as_deref()) {
        *sizes.entry(cluster).or_default() += 1;
    }
    for (step, hold) in steps.iter().zip(&mut holds) {
        let Some(cluster) = step.cluster.as_deref() else { continue };
        let belonged = bounds.clusters.get(cluster).copied().unwrap_or_default();
        if Cluster::is_event(sizes[cluster], belonged) {
            hold.get_or_insert(HoldReason::Cluster);
        }
    }
    for class in ChangeClass::ALL {
        let is_of_class = |step: &FoundStep| step.kind.class(step.reason) == Some(class);
        let proposed = steps
            .iter()
            .zip(&holds)
            .filter(|(step, hold)| is_of_class(step) && **hold != Some(HoldReason::Rejected))
            .count() as u64;
        let used = bounds.used.get(&class).map_or(0, |used| used.window);
        let proposed = proposed + further.classes.get(&class).copied().unwrap_or_default();
        if used + proposed > bounds.limits.allowed(class, bounds.active) {
            for (_, hold) in steps.iter().zip(&mut holds).filter(|(step, _)| is_of_class(step)) {
                hold.get_or_insert(HoldReason::Limit);
            }
        }
    }
    for (step, hold) in steps.iter().zip(&mut holds) {
        if hold.is_none() && !is_settled(step, bounds) {
            *hold = Some(HoldReason::GracePeriod);
        }
    }
    holds.into_iter().map(|hold| hold.map_or(Ruling::Admitted, Ruling::Held)).collect()
}

/// Holds a step for reasons that do not depend on other steps.
fn individual(step: &FoundStep, bounds: &TargetBounds<'_>) -> Option<HoldReason> {
    if bounds.rejected.contains(&step.key) {
        return Some(HoldReason::Rejected);
    }
    if bounds.is_plan_only {
        return Some(HoldReason::PlanOnly);
    }
    if step.is_protected && matches!(step.kind, StepKind::Deactivate | StepKind::Delete) {
        return Some(HoldReason::Protected);
    }
    (step.kind == StepKind::Adopt && bounds.adopt == Adopt::Ask).then_some(HoldReason::Adoption)
}

/// Returns whether a second run has confirmed that the account of a present user has to go.
fn is_settled(step: &FoundStep, bounds: &TargetBounds<'_>) -> bool {
    step.kind.class(step.reason) != Some(ChangeClass::Gone)
        || step.found_at.is_some_and(|at| bounds.now >= at.plus(bounds.limits.grace_period))
}

/// Returns the name of the cluster of a step: the accounts of one tier that have to go, or those
/// that the target has lost.
pub fn cluster_of(step: &Step, state: CounterpartState, tier: Option<Tier>) -> Option<String> {
    match (step.kind, state, tier) {
        (StepKind::Deactivate | StepKind::Delete, _, tier)
            if step.reason != Some(InactiveReason::Suspended) =>
        {
            Some(tier.map_or_else(|| "users:removed".to_owned(), |tier| format!("tier:{tier}")))
        }
        (StepKind::Create, CounterpartState::Gone, _) => Some("accounts:gone".to_owned()),
        _ => None,
    }
}

/// Returns whether a problem is one of a user, which the next change of the user may end.
pub fn is_quarantine(problem: ProvisionProblem) -> bool {
    !matches!(problem, ProvisionProblem::Waiting | ProvisionProblem::Missing)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn found(number: u128, kind: StepKind) -> FoundStep {
        FoundStep {
            user: UserId(uuid::Uuid::from_u128(number)),
            kind,
            reason: (kind == StepKind::Deactivate).then_some(InactiveReason::OutOfScope),
            key: Digest([u8::try_from(number).unwrap(); 32]),
            found_at: None,
            is_protected: false,
            cluster: None,
        }
    }

    fn bounds(limits: &Limits) -> TargetBounds<'_> {
        TargetBounds {
            limits,
            adopt: Adopt::Ask,
            active: 100,
            used: BTreeMap::new(),
            clusters: BTreeMap::new(),
            further: FurtherSteps::default(),
            is_plan_only: false,
            rejected: BTreeSet::new(),
            now: Timestamp::from_seconds(1_000_000),
        }
    }

    /// Returns the rulings, each with its number.
    fn ruled(steps: &[FoundStep], bounds: &TargetBounds<'_>) -> String {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for ruling in rule(steps, bounds) {
            let name = match ruling {
                Ruling::Admitted => "admitted".to_owned(),
                Ruling::Held(hold) => hold.to_string(),
            };
            *counts.entry(name).or_default() += 1;
        }
        counts.iter().map(|(name, n)| format!("{n} {name}")).collect::<Vec<_>>().join(", ")
    }

    fn many(count: u128, step: impl Fn(u128) -> FoundStep) -> Vec<FoundStep> {
        (0..count).map(step).collect()
    }

    #[test]
    fn a_class_above_its_limit_is_held_whole_and_others_are_admitted() {
        let limits = Limits::default();
        let of = |kind, count| ruled(&many(count, |n| found(n, kind)), &bounds(&limits));
        assert_eq!(of(StepKind::Create, 50), "50 admitted");
        assert_eq!(of(StepKind::Create, 51), "51 limit");
        assert_eq!(of(StepKind::Rename, 11), "11 limit");
        assert_eq!(of(StepKind::Update, 200), "200 admitted");
        let used = BTreeMap::from([(ChangeClass::Create, Used { window: 50, hour: 50 })]);
        let steps = many(1, |n| found(n, StepKind::Create));
        assert_eq!(ruled(&steps, &TargetBounds { used, ..bounds(&limits) }), "1 limit");
        let none = Limits {
            classes: BTreeMap::from([(
                ChangeClass::Deleted,
                crate::reconcile::Limit { percent: 0, at_least: 0, at_most: None },
            )]),
            ..Limits::default()
        };
        let steps = many(1, |n| found(n, StepKind::Delete));
        assert_eq!(ruled(&steps, &bounds(&none)), "1 limit", "a deletion waits");
    }

    #[test]
    fn steps_that_are_not_proposed_yet_count_towards_limits_and_clusters() {
        let limits = Limits::default();
        let mut further = FurtherSteps::default();
        (100..140).for_each(|n| further.add(&found(n, StepKind::Create)));
        let counted = TargetBounds { further, ..bounds(&limits) };
        assert_eq!(ruled(&many(10, |n| found(n, StepKind::Create)), &counted), "10 admitted");
        assert_eq!(ruled(&many(11, |n| found(n, StepKind::Create)), &counted), "11 limit");
        let of_tier = |n| FoundStep {
            cluster: Some("tier:pro".to_owned()),
            found_at: Some(Timestamp(0)),
            ..found(n, StepKind::Deactivate)
        };
        let mut further = FurtherSteps::default();
        (100..104).for_each(|n| further.add(&of_tier(n)));
        let clusters = BTreeMap::from([("tier:pro".to_owned(), 15)]);
        let counted = TargetBounds { clusters, further, ..bounds(&limits) };
        assert_eq!(ruled(&many(1, of_tier), &counted), "1 cluster");
    }

    #[test]
    fn an_account_of_a_present_user_goes_after_a_second_run_only() {
        let limits = Limits::default();
        let bounds = bounds(&limits);
        let at = |seconds: u64| {
            let found_at = Some(bounds.now.minus(Duration::from_secs(seconds)));
            ruled(&[FoundStep { found_at, ..found(1, StepKind::Deactivate) }], &bounds)
        };
        assert_eq!(ruled(&[found(1, StepKind::Deactivate)], &bounds), "1 grace-period");
        assert_eq!((at(599), at(600)), ("1 grace-period".into(), "1 admitted".into()));
        let suspended =
            FoundStep { reason: Some(InactiveReason::Suspended), ..found(1, StepKind::Deactivate) };
        assert_eq!(ruled(&[suspended], &bounds), "1 admitted");
    }

    #[test]
    fn a_cluster_a_rejection_and_an_adoption_wait_whatever_the_limits() {
        let limits = Limits::default();
        let clusters = BTreeMap::from([("tier:pro".to_owned(), 15)]);
        let bounds = TargetBounds { clusters, ..bounds(&limits) };
        let of_tier = |n| FoundStep {
            cluster: Some("tier:pro".to_owned()),
            found_at: Some(Timestamp(0)),
            ..found(n, StepKind::Deactivate)
        };
        assert_eq!(ruled(&many(4, of_tier), &bounds), "4 admitted");
        assert_eq!(ruled(&many(5, of_tier), &bounds), "5 cluster");
        assert_eq!(ruled(&[found(1, StepKind::Adopt)], &bounds), "1 adoption");
        let always = TargetBounds { adopt: Adopt::Always, ..bounds.clone() };
        assert_eq!(ruled(&[found(1, StepKind::Adopt)], &always), "1 admitted");
        let rejected =
            TargetBounds { rejected: BTreeSet::from([Digest([1; 32])]), ..bounds.clone() };
        assert_eq!(ruled(&[found(1, StepKind::Create)], &rejected), "1 rejected");
        let plan_only = TargetBounds { is_plan_only: true, ..bounds.clone() };
        assert_eq!(ruled(&[found(1, StepKind::Create)], &plan_only), "1 plan-only");
        let protected = FoundStep { is_protected: true, ..of_tier(1) };
        assert_eq!(ruled(&[protected], &bounds), "1 protected");
    }
}
