//! Plans: one change in a company, and the result of a run.

use std::collections::BTreeSet;
use std::time::Duration;

use rosterd::model::*;
use rosterd::reconcile::*;

use crate::world::*;

const NOTHING_LOST: fn() -> Loss = Loss::default;
const GRACE_PERIOD: Duration = Duration::from_mins(10);

#[test]
fn a_first_import_of_more_than_fifty_waits_for_approval_and_fifty_do_not() {
    let mut small = Company::of(50);
    small.run(&NOTHING_LOST());
    assert_eq!((small.active(), small.held.len()), (50, 0));
    let mut large = Company::of(51);
    large.run(&NOTHING_LOST());
    assert_eq!((large.active(), large.held.len()), (0, 51));
    large.approve_all(&NOTHING_LOST());
    assert_eq!((large.active(), large.held.len()), (51, 0));
}

#[test]
fn without_a_claim_no_person_is_provisioned() {
    let mut company = Company::of(20);
    company.claims.clear();
    company.run(&NOTHING_LOST());
    assert_eq!((company.users.len(), company.held.len(), company.quarantined.len()), (0, 0, 0));
}

#[test]
fn a_disabled_person_is_suspended_at_once_and_comes_back_when_enabled() {
    let mut company = Company::running(40);
    company.person(7).disabled = true;
    company.run(&NOTHING_LOST());
    assert_eq!(company.status(7), Status::Suspended);
    let cause = company.user(7).causes.weightiest().expect("a cause").clone();
    assert_eq!(
        (cause.reason, cause.evidence.attribute.as_str(), cause.evidence.value.as_str()),
        (Reason::Disabled, "userAccountControl", "514")
    );
    company.person(7).disabled = false;
    company.run(&NOTHING_LOST());
    assert_eq!(company.status(7), Status::Active);
}

#[test]
fn an_account_expires_although_nothing_in_the_directory_changes() {
    let mut company = Company::running(40);
    company.person(7).expires = Expiry::At(company.now.plus(Duration::from_hours(1)));
    company.run(&NOTHING_LOST());
    assert_eq!(company.status(7), Status::Active);
    company.later(Duration::from_hours(2));
    company.run(&NOTHING_LOST());
    assert_eq!(company.status(7), Status::Suspended);
}

#[test]
fn a_person_without_a_group_is_suspended_after_the_recheck() {
    let mut company = Company::running(60);
    let truth = company.person(1);
    (truth.pro, truth.basic) = (false, false);
    company.run(&NOTHING_LOST());
    assert_eq!(company.status(1), Status::Active);
    assert_eq!(company.waiting(), ["p1@example.com suspend grace-period"]);
    company.later(GRACE_PERIOD);
    company.run(&NOTHING_LOST());
    assert_eq!(company.status(1), Status::Suspended);
    let truth = company.person(1);
    truth.basic = true;
    company.run(&NOTHING_LOST());
    assert_eq!(company.status(1), Status::Active);
}

#[test]
fn a_tombstone_suspends_at_once_and_an_absence_after_two_reads_and_a_witness() {
    let mut company = Company::running(60);
    company.person(1).life = Life::Tombstone;
    let with_tombstones = Loss { tombstones_visible: true, ..Loss::default() };
    company.run(&with_tombstones);
    assert_eq!(company.user(1).causes.weightiest().map(|c| c.reason), Some(Reason::Deleted));

    company.person(2).life = Life::Purged;
    company.run(&NOTHING_LOST());
    assert_eq!(company.waiting(), ["p2@example.com suspend grace-period"]);
    company.later(GRACE_PERIOD);
    company.run(&NOTHING_LOST());
    assert_eq!(company.user(2).causes.weightiest().map(|c| c.reason), Some(Reason::Vanished));
}

#[test]
fn an_absence_without_a_tombstone_is_held_when_tombstones_are_visible() {
    let mut company = Company::running(60);
    let with_tombstones =
        Loss { tombstones_visible: true, hidden: [guid(2)].into(), ..Loss::default() };
    company.run(&with_tombstones);
    company.later(GRACE_PERIOD);
    company.run(&with_tombstones);
    assert_eq!(
        (company.status(2), company.waiting()),
        (Status::Active, vec!["p2@example.com suspend no-witness".to_owned()])
    );
}

#[test]
fn an_organizational_unit_that_vanishes_is_one_held_event() {
    let mut company = Company::running(60);
    let lost = Loss { hidden_ous: ["Sales".to_owned()].into(), ..Loss::default() };
    for _ in 0..4 {
        company.run(&lost);
        company.later(GRACE_PERIOD);
    }
    assert_eq!(company.active(), 60);
    assert_eq!(company.held.len(), 20);
    assert!(
        company.held.iter().all(|h| h.hold == HoldReason::NoWitness),
        "{:?}",
        company.waiting()
    );
    company.run(&NOTHING_LOST());
    assert_eq!((company.active(), company.held.len()), (60, 0));
}

#[test]
fn an_approved_absence_is_no_place_that_cannot_be_seen() {
    let mut company = Company::running(60);
    let lost = Loss { hidden_ous: ["Sales".to_owned()].into(), ..Loss::default() };
    company.run(&lost);
    company.later(GRACE_PERIOD);
    company.run(&lost);
    let is_told = |company: &Company| company.warned.iter().any(|w| w.contains("UnseenPlace"));
    assert!(is_told(&company), "{:?}", company.warned);
    company.approve_all(&lost);
    assert_eq!((company.active(), is_told(&company)), (40, false), "{:?}", company.warned);
}

#[test]
fn a_mass_event_is_held_and_a_few_disabled_users_are_suspended() {
    let mut company = Company::running(90);
    for n in 0..30 {
        let truth = company.person(n);
        (truth.pro, truth.basic) = (false, false);
    }
    for n in 40..43 {
        company.person(n).disabled = true;
    }
    company.run(&NOTHING_LOST());
    company.later(GRACE_PERIOD);
    company.run(&NOTHING_LOST());
    assert_eq!(company.active(), 87);
    assert!(
        company.held.iter().all(|h| matches!(h.hold, HoldReason::Cluster | HoldReason::Limit)),
        "{:?}",
        company.waiting()
    );
    assert_eq!(company.held.len(), 30);
}

#[test]
fn a_mass_of_disabled_users_is_suspended_up_to_the_limit_every_hour() {
    let mut company = Company::running(100);
    for n in 0..60 {
        company.person(n).disabled = true;
    }
    company.run(&NOTHING_LOST());
    assert_eq!((company.active(), company.held.len()), (80, 40));
    company.later(Duration::from_mins(61));
    company.run(&NOTHING_LOST());
    assert_eq!((company.active(), company.held.len()), (70, 30));
}

#[test]
fn slices_do_not_add_up_past_the_limit() {
    let mut company = Company::running(100);
    for n in 0..30 {
        company.person(n).life = Life::Tombstone;
        company.run(&Loss { tombstones_visible: true, ..Loss::default() });
        company.later(Duration::from_mins(10));
    }
    assert_eq!(company.active(), 90, "10 % of 100 in a window");
}

#[test]
fn an_operators_suspension_outlives_every_sync() {
    let mut company = Company::running(20);
    let id = company.user(3).id;
    let evidence = Evidence {
        server: "rosterd".into(),
        object: None,
        dn: None,
        attribute: "operator".into(),
        value: "left badly".into(),
        seen_at: company.now,
    };
    let cause = Cause {
        reason: Reason::Operator,
        since: company.now,
        by: By::Operator("alice".into()),
        evidence,
    };
    company
        .users
        .get_mut(&id)
        .expect("a user")
        .apply(&ChangeKind::Suspend { cause, was_active: true }, Timestamp(0));
    company.person(3).disabled = true;
    company.run(&NOTHING_LOST());
    company.person(3).disabled = false;
    company.run(&NOTHING_LOST());
    assert_eq!(
        company.user(3).causes.iter().map(|c| c.reason).collect::<Vec<_>>(),
        [Reason::Operator]
    );
}

#[test]
fn addresses_can_be_swapped_and_passed_on_in_one_run() {
    let mut company = Company::running(20);
    company.person(1).mail = "p2@example.com".into();
    company.person(2).mail = "p1@example.com".into();
    company.person(3).mail = "fresh@example.com".into();
    company.person(4).mail = "p3@example.com".into();
    for n in 1..5 {
        company.person(n).proxies.clear();
    }
    company.run(&NOTHING_LOST());
    let primary = |n| {
        company
            .user(n)
            .addresses
            .primary
            .as_ref()
            .map(|a| a.as_str().to_owned())
            .unwrap_or_default()
    };
    assert_eq!(
        [primary(1), primary(2), primary(3), primary(4)],
        ["p2@example.com", "p1@example.com", "fresh@example.com", "p3@example.com"]
    );
    assert_eq!((company.held.len(), company.quarantined.len()), (0, 0));
}

#[test]
fn an_address_is_never_taken_from_its_holder() {
    let mut company = Company::running(20);
    company.person(1).mail = "p2@example.com".into();
    company.person(1).name = "Renamed".into();
    company.run(&NOTHING_LOST());
    assert_eq!(
        company.quarantined.iter().map(|q| q.reason).collect::<Vec<_>>(),
        [QuarantineReason::ContestedAddress]
    );
    assert_eq!(
        company.user(1).addresses.primary.as_ref().map(|a| a.as_str()),
        Some("p1@example.com")
    );
    assert_eq!(
        company.user(1).profile.display_name.as_deref(),
        Some("Renamed"),
        "the rest of the entry applies"
    );
    company.person(1).disabled = true;
    company.run(&NOTHING_LOST());
    assert_eq!(company.status(1), Status::Suspended, "quarantine never keeps a leaver active");
}

#[test]
fn a_recreated_person_waits_for_an_operator() {
    let mut company = Company::running(20);
    company.person(1).life = Life::Tombstone;
    let mut again = company.truth[&guid(1)].clone();
    again.life = Life::Alive;
    company.truth.insert(guid(100), again);
    let with_tombstones = Loss { tombstones_visible: true, ..Loss::default() };
    company.run(&with_tombstones);
    company.run(&with_tombstones);
    assert_eq!(company.status(1), Status::Suspended);
    assert_eq!(
        company.quarantined.iter().map(|q| (q.object_guid, q.reason)).collect::<Vec<_>>(),
        [(guid(100), QuarantineReason::AddressHeld)]
    );
}

#[test]
fn a_protected_person_is_never_suspended_without_approval() {
    let mut company = Company::running(20);
    company.protected.insert(guid(1));
    company.person(1).disabled = true;
    company.run(&NOTHING_LOST());
    assert_eq!(
        (company.status(1), company.waiting()),
        (Status::Active, vec!["p1@example.com suspend protected".to_owned()])
    );
    company.approve_all(&NOTHING_LOST());
    assert_eq!(company.status(1), Status::Suspended);
}

#[test]
fn moving_out_of_scope_suspends_after_a_recheck_with_the_place_as_evidence() {
    let mut company = Company::running(60);
    company.person(1).ou = "Elsewhere".into();
    company.run(&NOTHING_LOST());
    company.later(GRACE_PERIOD);
    company.run(&NOTHING_LOST());
    let cause = company.user(1).causes.weightiest().expect("a cause").clone();
    assert_eq!(
        (cause.reason, cause.evidence.attribute.as_str()),
        (Reason::OutOfScope, "distinguishedName")
    );
}

#[test]
fn an_incomplete_read_suspends_only_the_users_it_saw_disabled() {
    let mut company = Company::running(60);
    company.person(1).disabled = true;
    company.person(2).life = Life::Purged;
    company.person(3).name = "Other".into();
    company.run(&Loss { end: Some((0, PageEnd::Cut)), ..Loss::default() });
    assert_eq!((company.status(1), company.active()), (Status::Suspended, 59));
    assert_eq!(company.user(3).profile.display_name.as_deref(), Some("Person 3"));
    assert!(company.held.is_empty());
}

#[test]
fn a_mailbox_that_moves_to_an_unclaimed_domain_keeps_its_user() {
    let mut company = Company::running(20);
    company.person(1).mail = "p1@elsewhere.example".into();
    company.run(&NOTHING_LOST());
    assert_eq!(company.status(1), Status::Active);
    assert_eq!(
        company.quarantined.iter().map(|q| q.reason).collect::<Vec<_>>(),
        [QuarantineReason::UnclaimedDomain]
    );
}

#[test]
fn secondary_addresses_are_those_of_claimed_domains() {
    let mut company = Company::of(3);
    company.person(0).proxies.push("smtp:p0@unclaimed.example".into());
    company.run(&NOTHING_LOST());
    assert_eq!(
        company
            .user(0)
            .addresses
            .secondary
            .iter()
            .map(|a| a.as_str().to_owned())
            .collect::<Vec<_>>(),
        ["alias0@example.org"]
    );
}

#[test]
fn an_unmanaged_user_is_linked_by_its_address_and_suspended_if_disabled() {
    for disabled in [false, true] {
        let mut company = Company::of(10);
        company.unmanaged("p3@example.com");
        company.person(3).disabled = disabled;
        company.run(&NOTHING_LOST());
        assert_eq!(company.users.len(), 10, "no person has two users");
        assert_eq!(company.status(3), if disabled { Status::Suspended } else { Status::Active });
    }
}

#[test]
fn the_configuration_decides_about_people_without_a_group() {
    let table = [
        (WithoutGroup::Suspend, None),
        (WithoutGroup::Keep, Some(Tier::Pro)),
        (WithoutGroup::Basic, Some(Tier::Basic)),
    ];
    for (without, tier) in table {
        let mut company = Company::running(60);
        company.without = without;
        for n in [0, 3] {
            let truth = company.person(n);
            (truth.pro, truth.basic) = (false, false);
        }
        for _ in 0..2 {
            company.run(&NOTHING_LOST());
            company.later(GRACE_PERIOD);
        }
        assert_eq!(
            (company.status(0) == Status::Active).then(|| company.user(0).tier),
            tier,
            "{without:?}"
        );
    }
}

#[test]
fn an_operators_override_of_an_absence_lasts_until_the_directory_changes() {
    let mut company = Company::running(60);
    company.person(1).life = Life::Purged;
    let id = company.user(1).id;
    for _ in 0..2 {
        company.run(&NOTHING_LOST());
        company.later(GRACE_PERIOD);
    }
    let lifted: Vec<Cause> = company.user(1).causes.iter().cloned().collect();
    let (before, after) =
        (BTreeSet::new(), lifted.iter().map(|c| Override::Reason(c.reason)).collect());
    let lift = ChangeKind::Reactivate {
        lifted: lifted.into(),
        remaining: BTreeSet::new(),
        evidence: Vec::new(),
    };
    for kind in [lift, ChangeKind::Override { before, after }] {
        company.users.get_mut(&id).unwrap().apply(&kind, Timestamp(0));
    }
    for _ in 0..3 {
        company.run(&NOTHING_LOST());
        company.later(GRACE_PERIOD);
    }
    assert_eq!(company.status(1), Status::Active);
    company.person(1).life = Life::Alive;
    company.run(&NOTHING_LOST());
    assert!(
        company.user(1).overrides.is_empty(),
        "the override ends when the person is seen again"
    );
}
