//! How many operators have to approve a held change.

use crate::model::{GivenApproval, Timestamp};

/// The approvals that changes of a plan need (`approvals` and `approvals-above`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Approvals {
    /// The number of operators, at least one.
    pub needed: u32,
    /// A plan of at most so many changes needs one approval.
    pub above: u64,
}

impl Default for Approvals {
    fn default() -> Self {
        Self { needed: 1, above: 0 }
    }
}

impl Approvals {
    /// Returns the number of operators that have to approve each change of a plan. The plan is
    /// measured by its changes when it was made, so that no part of it is small.
    pub fn of_plan(self, changes: u64) -> u32 {
        if changes > self.above { self.needed.max(1) } else { 1 }
    }
}

/// The approvals of one change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Given {
    /// One of each operator.
    pub approvals: Vec<GivenApproval>,
    /// Whether no further one is needed.
    pub is_enough: bool,
}

impl Given {
    /// Adds an approval to those that were given after `valid_from`. The operator counts once.
    /// Returns `None` where that changes nothing.
    pub fn add(
        given: &[GivenApproval],
        new: &GivenApproval,
        needed: u32,
        valid_from: Timestamp,
    ) -> Option<Self> {
        let valid = given.iter().filter(|approval| approval.at >= valid_from);
        let mut approvals: Vec<GivenApproval> = valid.cloned().collect();
        let is_new = !approvals.iter().any(|approval| approval.by.is(&new.by));
        if is_new {
            approvals.push(new.clone());
        }
        let is_enough = approvals.len() >= needed as usize;
        (is_new || is_enough).then_some(Self { approvals, is_enough })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Actor, Approver};

    fn by(uid: Option<u32>, name: &str, at: i64) -> GivenApproval {
        let by = Approver { uid, actor: Actor(name.to_owned()) };
        GivenApproval { by, at: Timestamp(at), comment: String::new() }
    }

    #[test]
    fn a_plan_needs_several_approvals_above_its_number_of_changes_only() {
        let two = Approvals { needed: 2, above: 50 };
        let table = [(two, 50, 1), (two, 51, 2), (Approvals::default(), 100_000, 1)];
        for (approvals, changes, needed) in table {
            assert_eq!(approvals.of_plan(changes), needed, "{approvals:?} of {changes}");
        }
    }

    #[test]
    fn two_operators_are_two_uids_within_the_time_of_an_approval() {
        let (ann, bob) = (by(Some(1000), "ann", 50), by(Some(1001), "bob", 50));
        // The approvals so far, the new one, and whether it is enough; `None` where nothing is new.
        let table = [
            (vec![], ann.clone(), Some(false)),
            (vec![ann.clone()], bob.clone(), Some(true)),
            (vec![ann.clone()], ann.clone(), None),
            (vec![ann.clone()], by(Some(1000), "ann2", 60), None),
            (vec![ann.clone()], by(Some(1001), "ann", 60), Some(true)),
            (vec![ann.clone()], by(None, "ann", 60), None),
            (vec![by(Some(1000), "ann", 9)], bob.clone(), Some(false)),
            (vec![by(Some(1000), "ann", 9)], ann.clone(), Some(false)),
            (vec![ann.clone(), bob], ann, Some(true)),
        ];
        for (given, new, enough) in table {
            let added = Given::add(&given, &new, 2, Timestamp(10));
            assert_eq!(added.map(|given| given.is_enough), enough, "{given:?} {new:?}");
        }
    }
}
