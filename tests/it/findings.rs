//! Regression tests for the findings of the simulation.

use rosterd::model::{Reason, Status};

use crate::world::*;

#[test]
fn a_cause_replaced_by_a_held_one_is_not_lifted_first() {
    let mut company = Company::running(40);
    let loss = Loss { hidden: [guid(7)].into(), ..Loss::default() };
    company.run(&loss);
    company.later(company.limits.grace_period);
    company.run(&loss);
    assert_eq!(company.user(7).causes.weightiest().map(|c| c.reason), Some(Reason::Vanished));
    // The person is back in another OU, and is protected from suspension meanwhile.
    company.protected.insert(guid(7));
    company.person(7).ou = "Elsewhere".into();
    company.run(&Loss::default());
    assert_eq!(
        (company.status(7), company.held.len()),
        (Status::Suspended, 2),
        "{:?}",
        company.waiting()
    );
    company.approve_all(&Loss::default());
    assert_eq!(
        company.user(7).causes.iter().map(|c| c.reason).collect::<Vec<_>>(),
        [Reason::OutOfScope]
    );
    assert!(company.held.is_empty(), "{:?}", company.waiting());
}
