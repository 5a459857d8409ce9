//! Cleared steps: those that may be sent. Nothing else reaches a target.
//!
//! A step that follows a change of its user is free, because the guard admitted that change. Any
//! other step needs the admission of a run or of an operator. The deactivation of a suspended user
//! is free in every case but a pause.

use std::collections::BTreeSet;

use super::steps::{Decision, Step};
use crate::model::{InactiveReason, StepKind, StepOrigin};

/// The steps that a target accepts at present.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Permission {
    /// All steps that are cleared.
    All,
    /// The rules of the target wait for approval: steps that an operator approved, and leavers.
    Leavers,
    /// The store was restored from a backup: steps that an operator approved, and leavers since then.
    Followed,
    /// The target is `plan-only`: steps that an operator approved.
    Approved,
}

/// The steps of one user that may be sent, in order. [`Cleared::of`] is the only constructor.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cleared(Vec<Step>);

/// The steps of one user, divided.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Clearance {
    pub cleared: Cleared,
    /// Steps that need an admission.
    pub waiting: Vec<Step>,
}

impl Cleared {
    /// Divides the steps of a decision by what was admitted for the user.
    pub fn of(
        decision: Decision,
        permission: Permission,
        admitted: &BTreeSet<StepKind>,
    ) -> Clearance {
        let (mut cleared, mut waiting) = (Vec::new(), Vec::new());
        let mut adopts = None;
        for step in decision.steps {
            // The steps behind an adoption belong to it.
            let is_free = match adopts {
                Some(is_adopted) => is_adopted,
                None => admitted.contains(&step.kind) || is_free(&step, permission),
            };
            if step.kind == StepKind::Adopt {
                adopts = Some(is_free);
            }
            if is_free { cleared.push(step) } else { waiting.push(step) }
        }
        Clearance { cleared: Cleared(cleared), waiting }
    }

    pub fn steps(&self) -> &[Step] {
        &self.0
    }
}

fn is_leaver(step: &Step) -> bool {
    matches!(step.kind, StepKind::Deactivate | StepKind::Delete)
        && step.reason == Some(InactiveReason::Suspended)
}

/// Returns whether a step needs no admission.
fn is_free(step: &Step, permission: Permission) -> bool {
    // A link is our own record: no request is sent.
    if step.kind == StepKind::Link {
        return true;
    }
    let has_left = matches!(step.kind, StepKind::Deactivate | StepKind::Delete)
        && step.origin == StepOrigin::Followed
        && step.reason.is_some_and(|reason| reason != InactiveReason::OutOfScope);
    match permission {
        Permission::Approved => false,
        Permission::Leavers => is_leaver(step) || has_left,
        Permission::Followed => has_left,
        Permission::All => {
            is_leaver(step)
                || step.origin == StepOrigin::Followed
                || step.kind.class(step.reason).is_none()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::UserId;

    fn step(kind: StepKind, origin: StepOrigin, reason: Option<InactiveReason>) -> Step {
        Step {
            user: UserId(uuid::Uuid::nil()),
            kind,
            origin,
            reason,
            id: None,
            attributes: Vec::new(),
        }
    }

    fn cleared(steps: Vec<Step>, permission: Permission, admitted: &[StepKind]) -> String {
        let decision = Decision { steps, ..Decision::default() };
        let admitted = admitted.iter().copied().collect();
        let clearance = Cleared::of(decision, permission, &admitted);
        clearance
            .cleared
            .steps()
            .iter()
            .map(|step| step.kind.as_str())
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn a_followed_step_is_free_and_a_found_one_needs_an_admission() {
        use InactiveReason::{OutOfScope, Released, Suspended};
        use Permission::{All, Approved, Followed as Restored, Leavers};
        use StepKind::{Create, Deactivate, Delete, Link, Reactivate, Rename, Update};
        use StepOrigin::{Followed, Found};
        let mut table = Vec::new();
        for (kind, reason) in [
            (Create, None),
            (Link, None),
            (Reactivate, None),
            (Rename, None),
            (Update, None),
            (Deactivate, Some(Suspended)),
            (Deactivate, Some(Released)),
            (Deactivate, Some(OutOfScope)),
            (Delete, Some(Suspended)),
            (Delete, Some(OutOfScope)),
        ] {
            for origin in [Followed, Found] {
                let permissions = [
                    (All, "all"),
                    (Leavers, "leavers"),
                    (Restored, "restored"),
                    (Approved, "approved"),
                ];
                let free: Vec<&str> = permissions
                    .into_iter()
                    .filter(|(permission, _)| {
                        !cleared(vec![step(kind, origin, reason)], *permission, &[]).is_empty()
                    })
                    .map(|(_, name)| name)
                    .collect();
                let reason = reason.map_or_else(String::new, |reason| format!(" {reason}"));
                table.push(format!("{kind}{reason}, {origin}: {}", free.join(" ")));
                assert!(
                    !cleared(vec![step(kind, origin, None)], Approved, &[kind]).is_empty(),
                    "{kind} is admitted"
                );
            }
        }
        insta::assert_snapshot!(table.join("\n"), @"
        create, followed: all
        create, found: 
        link, followed: all leavers restored approved
        link, found: all leavers restored approved
        reactivate, followed: all
        reactivate, found: 
        rename, followed: all
        rename, found: 
        update, followed: all
        update, found: all
        deactivate suspended, followed: all leavers restored
        deactivate suspended, found: all leavers
        deactivate released, followed: all leavers restored
        deactivate released, found: 
        deactivate out-of-scope, followed: all
        deactivate out-of-scope, found: 
        delete suspended, followed: all leavers restored
        delete suspended, found: all leavers
        delete out-of-scope, followed: all
        delete out-of-scope, found: 
        ");
    }

    #[test]
    fn the_steps_behind_an_adoption_wait_for_it() {
        let found = |kind, reason| step(kind, StepOrigin::Found, reason);
        let adopted = || {
            vec![
                found(StepKind::Adopt, None),
                found(StepKind::Update, None),
                found(StepKind::Deactivate, Some(InactiveReason::Suspended)),
            ]
        };
        assert_eq!(cleared(adopted(), Permission::All, &[]), "");
        assert_eq!(
            cleared(adopted(), Permission::Approved, &[StepKind::Adopt]),
            "adopt update deactivate"
        );
    }
}
