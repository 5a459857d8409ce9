//! Leave dates: an attribute with the last day of a person suspends as accountExpires does.

use std::time::Duration;

use rosterd::model::{Expiry, Field, QuarantineReason, Reason, Status, Timestamp};

use crate::firm::{Firm, again, dn_of, guid_of};
use crate::world::{Company, Loss, guid};

const DAY: Duration = Duration::from_hours(24);

fn text(text: &str) -> Field {
    Field::Text(text.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_is_suspended_when_the_leave_date_passes_although_ad_reports_nothing() {
    let firm = Firm::running(40, |c| {
        c.settings.attributes.leave_date = Some("employeeType".to_owned());
    })
    .await;
    let user = firm.users().await.remove(0);
    let leaves = firm.clock.now().plus(Duration::from_hours(1)).to_string();
    firm.sim.edit(|ad| ad.set(dn_of(&user).as_str(), "employeeType", &leaves));
    assert_eq!(firm.sync().await.counts.total(), 0);
    let directory = firm.engine.directory("corp").unwrap();
    let due = firm.engine.store.expiries(&directory.config.name, firm.clock.now()).await.unwrap();
    assert_eq!(due.len(), 1, "the schedule has the instant: {due:?}");
    assert_eq!(due[0].0.to_string(), guid_of(&user).to_string());
    firm.later(Duration::from_hours(2));
    assert_eq!(firm.sync().await.counts.suspend, 1);
    let cause = again(&firm, &user).await.causes.weightiest().cloned().unwrap();
    assert_eq!(cause.reason, Reason::Expired);
    assert_eq!((cause.evidence.attribute.as_str(), cause.evidence.value), ("employeeType", leaves));
}

#[test]
fn a_leave_date_is_lifted_by_a_later_one_and_never_by_its_absence() {
    let mut company = Company::running(30);
    company.person(3).leave = text("2020-01-31");
    company.run(&Loss::default());
    assert_eq!(company.status(3), Status::Suspended);
    for lost in [Field::Absent, text("soon"), Field::Several(vec!["2020".into(), "2021".into()])] {
        company.person(3).leave = lost.clone();
        company.run(&Loss::default());
        assert_eq!(company.status(3), Status::Suspended, "{lost:?}");
    }
    company.later(DAY);
    company.person(3).leave = text("2099-12-31");
    company.run(&Loss::default());
    assert_eq!(company.status(3), Status::Active);
}

#[test]
fn a_leave_date_keeps_a_user_out_whose_account_had_expired_as_well() {
    let past = Expiry::At(Timestamp(1_000_000));
    for dated_first in [true, false] {
        let mut company = Company::running(30);
        company.person(3).expires = past;
        let leaves = |company: &mut Company| company.person(3).leave = text("2020-01-31");
        if dated_first {
            leaves(&mut company);
        }
        company.run(&Loss::default());
        assert_eq!(company.status(3), Status::Suspended);
        leaves(&mut company);
        company.run(&Loss::default());
        company.person(3).expires = Expiry::Never;
        company.run(&Loss::default());
        company.person(3).leave = Field::Absent;
        company.run(&Loss::default());
        assert_eq!(company.status(3), Status::Suspended, "dated first: {dated_first}");
    }
}

#[test]
fn a_leave_date_that_is_no_date_is_quarantined_and_guessed_by_nothing() {
    let mut company = Company::running(30);
    company.person(3).leave = text("31.01.2020");
    company.person(4).leave = text("01/02/2020");
    company.person(4).disabled = true;
    company.person(5).leave = text("2020-01-31");
    company.run(&Loss::default());
    assert_eq!(company.status(3), Status::Active);
    assert_eq!(company.status(4), Status::Suspended, "a quarantine delays no leaver");
    assert_eq!(company.status(5), Status::Suspended);
    let quarantined: Vec<_> =
        company.quarantined.iter().map(|q| (q.object_guid, q.reason)).collect();
    let unknown = QuarantineReason::UnknownLeaveDate;
    assert_eq!(quarantined, [(guid(3), unknown), (guid(4), unknown)]);
    // A joiner with such a value gets no user until it is corrected.
    let mut joiner = company.person(0).clone();
    joiner.mail = "p100@example.com".to_owned();
    joiner.proxies.clear();
    joiner.leave = text("next summer");
    company.truth.insert(guid(100), joiner);
    company.run(&Loss::default());
    assert!(company.quarantined.iter().any(|q| q.object_guid == guid(100)));
    company.person(100).leave = text("2099-12-31");
    company.run(&Loss::default());
    assert_eq!(company.status(100), Status::Active);
}
