//! The account's state on the wire: one bit, and one number that means never in two ways.

use std::time::Duration;

use adsim::{Expiry, NewPerson, names};
use rosterd::model::{Reason, Status};

use crate::firm::{Firm, again, dn_of};

#[tokio::test(flavor = "multi_thread")]
async fn only_the_disabled_bit_suspends_and_not_a_lockout_or_an_expired_password() {
    let table = [
        ("userAccountControl", "512", false),
        ("userAccountControl", "514", true),
        ("userAccountControl", "544", false),
        ("userAccountControl", "66048", false),
        ("userAccountControl", "66050", true),
        ("userAccountControl", "66082", true),
        ("userAccountControl", "262656", false),
        ("userAccountControl", "262658", true),
        ("userAccountControl", "528", false),
        ("userAccountControl", "530", true),
        ("userAccountControl", "8389120", false),
        ("userAccountControl", "-2147483136", false),
        ("userAccountControl", "-2147483134", true),
        ("lockoutTime", "133801632000000000", false),
        ("badPwdCount", "99", false),
        ("pwdLastSet", "0", false),
    ];
    let firm = Firm::running(120, |_| {}).await;
    let users = firm.users().await;
    firm.sim.edit(|ad| {
        for (user, (attribute, value, _)) in users.iter().zip(table) {
            ad.set(dn_of(user), attribute, value);
        }
    });
    let run = firm.sync().await;
    assert_eq!((run.counts.suspend, run.held), (6, 0), "{run:?}");
    for (user, (attribute, value, is_leaver)) in users.iter().zip(table) {
        let it = again(&firm, user).await;
        let expected = if is_leaver { Status::Suspended } else { Status::Active };
        assert_eq!(it.status(), expected, "{attribute} {value}");
        if is_leaver {
            let cause = it.causes.weightiest().unwrap();
            assert_eq!(
                (cause.reason, cause.evidence.value.as_str()),
                (Reason::Disabled, value),
                "the evidence has the value"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_expires_at_its_time_and_both_values_of_never_do_not_expire() {
    let day = Duration::from_hours(24);
    let firm = Firm::running(120, |_| {}).await;
    let today = firm.sim.now();
    let table = [
        ("never", Expiry::Never, false),
        ("never, as 0", Expiry::NeverAsZero, false),
        ("one tick before never", Expiry::Ticks(i64::MAX - 1), false),
        ("in the year 9999", Expiry::Ticks(2_650_467_743_990_000_000), false),
        ("tomorrow", Expiry::At(today + day), false),
        ("yesterday", Expiry::At(today - day), true),
        ("in 1601", Expiry::Ticks(1), true),
        ("a number that is no time", Expiry::Ticks(-1), false),
    ];
    let users = firm.users().await;
    firm.sim.edit(|ad| {
        for (n, (user, (_, expiry, _))) in users.iter().zip(table).enumerate() {
            ad.set_expiry(dn_of(user), expiry);
            // A newcomer with the same value.
            let sam = format!("newcomer{n}");
            let person = NewPerson::new(&sam)
                .mail(&format!("{sam}@example.com"))
                .ou("Sales")
                .expires(expiry);
            let new = ad.add_person(person);
            ad.add_member(names::BASIC, new);
        }
    });
    let run = firm.sync().await;
    assert_eq!((run.counts.suspend, run.held), (2, 0), "{run:?}");
    for (n, (user, (name, _, has_expired))) in users.iter().zip(table).enumerate() {
        let status = again(&firm, user).await.status();
        assert_eq!(status, if has_expired { Status::Suspended } else { Status::Active }, "{name}");
        let is_provisioned =
            firm.engine.find_user(&format!("newcomer{n}@example.com")).await.is_ok();
        // A value that is no time is unknown: it neither suspends nor provisions.
        assert_eq!(
            is_provisioned,
            !has_expired && name != "a number that is no time",
            "{name}: a newcomer"
        );
    }
    firm.sim.edit(|ad| ad.set_expiry(dn_of(&users[5]), Expiry::At(today + day)));
    firm.sync().await;
    assert_eq!(
        again(&firm, &users[5]).await.status(),
        Status::Active,
        "an extended contract reactivates"
    );
}
