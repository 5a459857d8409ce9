//! Identity: odd, contested, swapped and inherited addresses. Identity is the GUID and nothing
//! else.

use std::collections::BTreeSet;

use rosterd::model::*;
use rosterd::reconcile::*;

use crate::world::*;

const NOTHING_LOST: fn() -> Loss = Loss::default;

fn primary(company: &Company, n: u32) -> String {
    company.user(n).addresses.primary.as_ref().map(|a| a.as_str().to_owned()).unwrap_or_default()
}

/// Returns the quarantined people, each with the reason.
fn quarantined(company: &Company) -> Vec<String> {
    let number = |g: Guid| u32::from_be_bytes([g.0[12], g.0[13], g.0[14], g.0[15]]);
    company
        .quarantined
        .iter()
        .map(|q| format!("{} {}", number(q.object_guid), q.reason.as_str()))
        .collect()
}

/// Returns a company of twenty without secondary addresses, so that each table is complete.
fn plain() -> Company {
    let mut company = Company::of(20);
    for n in 0..20 {
        company.person(n).proxies.clear();
    }
    company.at_work()
}

#[test]
fn a_mailbox_in_any_form_keeps_its_user_and_never_counts_as_absence() {
    let table = [
        ("", Some("no-address"), "p1@example.com"),
        ("   ", Some("no-address"), "p1@example.com"),
        (" p1@example.com  ", None, "p1@example.com"),
        ("P1@Example.COM", None, "P1@example.com"),
        ("<p1@example.com>", Some("malformed-address"), "p1@example.com"),
        ("mailto:p1@example.com", Some("malformed-address"), "p1@example.com"),
        ("a@example.com, b@example.com", Some("malformed-address"), "p1@example.com"),
        ("a@example.com;b@example.com", Some("malformed-address"), "p1@example.com"),
        ("p1", Some("malformed-address"), "p1@example.com"),
        ("p1@example.com.", Some("malformed-address"), "p1@example.com"),
        ("\"p1@example.com\"@evil.example", Some("malformed-address"), "p1@example.com"),
        ("p\u{e9}1@example.com", Some("malformed-address"), "p1@example.com"),
        ("\tp1@example.com", Some("malformed-address"), "p1@example.com"),
        ("p1@evil-example.com", Some("unclaimed-domain"), "p1@example.com"),
        ("p1@sub.example.com", Some("unclaimed-domain"), "p1@example.com"),
        ("p1@example.com.evil.example", Some("unclaimed-domain"), "p1@example.com"),
    ];
    for (mail, reason, address) in table {
        let mut company = plain();
        company.person(1).mail = mail.to_owned();
        company.run(&NOTHING_LOST());
        let expected: Vec<String> = reason.iter().map(|r| format!("1 {r}")).collect();
        assert_eq!(
            (quarantined(&company), company.active(), primary(&company, 1)),
            (expected, 20, address.to_owned()),
            "{mail:?}"
        );
        company.person(1).disabled = true;
        company.run(&NOTHING_LOST());
        assert_eq!(
            company.status(1),
            Status::Suspended,
            "{mail:?}: no address keeps a leaver active"
        );
        company.person(1).mail = "p1@example.com".to_owned();
        company.person(1).disabled = false;
        company.run(&NOTHING_LOST());
        assert_eq!(
            (company.status(1), quarantined(&company)),
            (Status::Active, vec![]),
            "{mail:?}: the enabled person is active again"
        );
    }
}

#[test]
fn only_smtp_proxy_addresses_count_and_mail_names_the_primary() {
    let table = [
        ("smtp:x@example.org", Some("x@example.org")),
        ("SMTP:x@example.org", Some("x@example.org")),
        ("Smtp:X@example.org", Some("X@example.org")),
        ("smtp: x@example.org ", Some("x@example.org")),
        ("smtp:P1@EXAMPLE.com", None),
        ("smtp:x@unclaimed.example", None),
        ("smtp:", None),
        ("smtp:<x@example.org>", None),
        ("x@example.org", None),
        ("sip:x@example.org", None),
        ("x400:c=de;a= ;p=x;o=x;s=x@example.org;", None),
        ("X500:/o=x/cn=x@example.org", None),
        ("EUM:x@example.org;phone-context=x.example.org", None),
        ("SPO:SPO_1@SPO_2", None),
        ("smtp :x@example.org", None),
    ];
    for (value, expected) in table {
        let mut company = plain();
        company.person(1).proxies = vec![value.to_owned()];
        company.run(&NOTHING_LOST());
        let secondary: Vec<&str> =
            company.user(1).addresses.secondary.iter().map(Address::as_str).collect();
        assert_eq!(
            (secondary, primary(&company, 1)),
            (expected.into_iter().collect(), "p1@example.com".to_owned()),
            "{value:?}"
        );
    }
}

#[test]
fn addresses_fold_ascii_case_and_idn_labels_but_no_lookalikes() {
    let key = |text: &str| Address::parse(text).ok().map(|a| a.key().0);
    let same = [
        ("Bob@x.example", "bob@X.EXAMPLE"),
        ("a@b\u{fc}cher.example", "a@xn--bcher-kva.example"),
        ("a@bu\u{308}cher.example", "a@B\u{dc}CHER.example"),
    ];
    for (a, b) in same {
        assert!(key(a).is_some() && key(a) == key(b), "{a} {b}: {:?} {:?}", key(a), key(b));
    }
    let different = [
        ("a@stra\u{df}e.example", "a@strasse.example"),
        ("a@b\u{fc}cher.example", "a@bucher.example"),
        ("a@\u{430}pple.example", "a@apple.example"),
        ("a.b@x.example", "ab@x.example"),
        ("a+b@x.example", "a@x.example"),
    ];
    for (a, b) in different {
        assert!(
            key(a).is_some() && key(b).is_some() && key(a) != key(b),
            "{a} {b}: {:?} {:?}",
            key(a),
            key(b)
        );
    }
    // Turkish and Kelvin letters, eszett and accents in either form are no part of a local part.
    // None of them can fold into another address.
    for bad in [
        "\u{130}da@x.example",
        "\u{131}da@x.example",
        "gro\u{df}@x.example",
        "\u{e9}@x.example",
        "e\u{301}@x.example",
        "\u{212a}@x.example",
    ] {
        assert_eq!(key(bad), None, "{bad}");
    }
    let claims = ClaimedDomains(
        ["example.com", "xn--bcher-kva.example"]
            .iter()
            .map(|d| Domain::parse(d).unwrap())
            .collect(),
    );
    let table = [
        ("a@example.com", true),
        ("a@EXAMPLE.com", true),
        ("a@b\u{fc}cher.example", true),
        ("a@evil-example.com", false),
        ("a@sub.example.com", false),
        ("a@example.com.evil.example", false),
        ("a@com", false),
    ];
    for (text, covered) in table {
        assert_eq!(Address::parse(text).is_ok_and(|a| claims.covers(&a)), covered, "{text}");
    }
}

#[test]
fn an_address_stays_with_its_holder_and_newcomers_who_share_one_wait() {
    /// An event in a company of twenty; the quarantine after it; the number of users; the suspended
    /// people.
    type Row = (&'static str, fn(&mut Company), &'static [&'static str], usize, &'static [u32]);
    fn hire(company: &mut Company, n: u32, mail: &str) {
        let facts =
            Facts { mail: mail.to_owned(), proxies: Vec::new(), ..company.truth[&guid(2)].clone() };
        company.truth.insert(guid(n), facts);
    }
    let table: [Row; 8] = [
        (
            "a second account of a person",
            |c| hire(c, 50, "p1@example.com"),
            &["50 contested-address"],
            20,
            &[],
        ),
        (
            "two newcomers",
            |c| {
                hire(c, 50, "new@example.com");
                hire(c, 51, "NEW@example.com");
            },
            &["50 contested-address", "51 contested-address"],
            20,
            &[],
        ),
        (
            "two newcomers, one of them not enabled yet",
            |c| {
                hire(c, 50, "new@example.com");
                hire(c, 51, "new@example.com");
                c.person(51).disabled = true;
            },
            &[],
            21,
            &[],
        ),
        (
            "a newcomer wants a user's secondary address",
            |c| {
                c.person(1).proxies = vec!["smtp:sales@example.com".into()];
                c.run(&Loss::default());
                hire(c, 50, "sales@example.com");
            },
            &["50 contested-address"],
            20,
            &[],
        ),
        (
            "a person lists a colleague's address as a secondary one",
            |c| c.person(1).proxies = vec!["smtp:p2@example.com".into()],
            &[],
            20,
            &[],
        ),
        (
            "a person takes a colleague's address",
            |c| c.person(1).mail = "p2@example.com".into(),
            &["1 contested-address"],
            20,
            &[],
        ),
        (
            "the holder leaves while a newcomer wants its address",
            |c| {
                c.person(1).disabled = true;
                hire(c, 50, "p1@example.com");
            },
            &["50 address-held"],
            20,
            &[1],
        ),
        (
            "a disabled second account of an enabled person",
            |c| {
                hire(c, 50, "p1@example.com");
                c.person(50).disabled = true;
            },
            &[],
            20,
            &[],
        ),
    ];
    for (name, change, waits, users, suspended) in table {
        let mut company = plain();
        change(&mut company);
        company.run(&NOTHING_LOST());
        assert_eq!(
            (quarantined(&company), company.users.len()),
            (waits.iter().map(|w| (*w).to_owned()).collect(), users),
            "{name}"
        );
        let gone: Vec<u32> = (0..20).filter(|n| company.status(*n) != Status::Active).collect();
        assert_eq!(gone, suspended, "{name}");
        let own: Vec<String> = (0..20).map(|n| primary(&company, n)).collect();
        assert_eq!(
            own,
            (0..20).map(|n| format!("p{n}@example.com")).collect::<Vec<_>>(),
            "{name}: no user has lost an address"
        );
    }
}

#[test]
fn a_leavers_address_passes_to_a_joiner_only_after_the_leavers_entry_drops_it() {
    for gives_it_up in [false, true] {
        let mut company = plain();
        company.person(1).disabled = true;
        company.run(&NOTHING_LOST());
        let leaver = company.user(1).id;
        let joiner = Facts { disabled: false, ..company.truth[&guid(1)].clone() };
        company.truth.insert(guid(50), joiner);
        if gives_it_up {
            company.person(1).mail = "left.p1@example.com".into();
        }
        company.run(&NOTHING_LOST());
        assert_eq!(
            company.users[&leaver].status(),
            Status::Suspended,
            "the leaver's user is not relinked"
        );
        if gives_it_up {
            assert_eq!(
                (primary(&company, 50), primary(&company, 1)),
                ("p1@example.com".into(), "left.p1@example.com".into())
            );
            assert_ne!(company.user(50).id, leaver, "the joiner is a new user");
        } else {
            assert_eq!(
                (quarantined(&company), company.users.len()),
                (vec!["50 address-held".to_owned()], 20)
            );
        }
    }
}

#[test]
fn a_chain_of_address_changes_is_applied_or_held_as_a_whole() {
    // Eleven addresses change in a ring, and the limit is ten.
    let mut company = plain();
    for n in 0..11 {
        company.person(n).mail = format!("p{}@example.com", (n + 1) % 11);
    }
    company.run(&NOTHING_LOST());
    assert_eq!((company.waiting().len(), primary(&company, 0)), (11, "p0@example.com".to_owned()));
    company.approve_all(&NOTHING_LOST());
    let now: Vec<String> = (0..11).map(|n| primary(&company, n)).collect();
    assert_eq!(now, (0..11).map(|n| format!("p{}@example.com", (n + 1) % 11)).collect::<Vec<_>>());

    // No user may be created, so the address that a newcomer would get stays where it is.
    let mut company = plain();
    company
        .limits
        .classes
        .insert(ChangeClass::Create, Limit { percent: 0, at_least: 0, at_most: None });
    let joiner = company.truth[&guid(1)].clone();
    company.truth.insert(guid(50), joiner);
    company.person(1).mail = "fresh@example.com".into();
    company.person(2).mail = "other@example.com".into();
    company.run(&NOTHING_LOST());
    assert_eq!(company.waiting(), ["p1@example.com update limit", "p1@example.com create limit"]);
    assert_eq!(
        primary(&company, 2),
        "other@example.com",
        "an address outside of the chain does not wait"
    );
    // A leaver in a held chain does not wait.
    company.person(1).disabled = true;
    company.run(&NOTHING_LOST());
    assert_eq!((company.status(1), company.waiting().len()), (Status::Suspended, 2));
}

#[test]
fn a_mailbox_moves_to_claimed_domains_and_is_quarantined_at_others() {
    let mut company = plain();
    company.person(1).mail = "p1@example.org".into();
    company.person(2).mail = "p2@later.example".into();
    company.run(&NOTHING_LOST());
    assert_eq!(
        (primary(&company, 1), primary(&company, 2)),
        ("p1@example.org".into(), "p2@example.com".into())
    );
    assert_eq!(
        (quarantined(&company), company.active()),
        (vec!["2 unclaimed-domain".to_owned()], 20)
    );
    company.claims.push("later.example");
    company.run(&NOTHING_LOST());
    assert_eq!(
        (primary(&company, 2), quarantined(&company)),
        ("p2@later.example".into(), vec![]),
        "the claim alone changes the address"
    );
    company.person(1).mail = "p1@example.com".into();
    company.run(&NOTHING_LOST());
    assert_eq!(primary(&company, 1), "p1@example.com");
}

#[test]
fn an_unmanaged_user_is_changed_by_no_run() {
    let mut company = Company::of(30);
    company.unmanaged("founder@example.com");
    let mut company = company.at_work();
    let founder = company.users.values().find(|u| u.link.is_none()).unwrap().clone();
    let losses = [
        Loss::default(),
        Loss {
            hidden_ous: ["Sales", "Engineering", "Operations"].map(str::to_owned).into(),
            ..Loss::default()
        },
        Loss { cut_after: Some(0), ..Loss::default() },
        Loss { end: Some((0, PageEnd::Cut)), ..Loss::default() },
    ];
    for loss in &losses {
        company.run(loss);
        company.approve_all(loss);
        assert_eq!(company.users[&founder.id], founder, "{loss:?}");
    }
    for n in 0..30 {
        company.person(n).life = Life::Tombstone;
    }
    company.claims.clear();
    let with_tombstones = Loss { tombstones_visible: true, ..Loss::default() };
    company.run(&with_tombstones);
    company.approve_all(&with_tombstones);
    assert_eq!(company.users[&founder.id], founder);
    let linked: BTreeSet<_> =
        company.users.values().filter(|u| u.link.is_some()).map(User::status).collect();
    assert_eq!(linked, BTreeSet::from([Status::Suspended]), "all linked users have left");
}

#[test]
fn an_unreadable_person_keeps_its_address_and_dependent_changes_wait() {
    let ou = |name: &str| format!("OU={name},{BASE}");
    let unreadable = Loss { no_control: [guid(2)].into(), ..Loss::default() };
    let half_read = Loss { end: Some((1, PageEnd::Refused(51))), ..Loss::default() };
    // Persons 1, 4, 7 ... are in Sales, which is the second base.
    for (name, one, other, loss) in
        [("unreadable", 2, 3, &unreadable), ("of a base that was not read", 4, 3, &half_read)]
    {
        let mut company = Company::of(20);
        company.bases = ["Engineering", "Sales", "Operations"].map(ou).to_vec();
        let mut company = company.at_work();
        let (was_one, was_other) = (primary(&company, one), primary(&company, other));
        for n in [one, other, 6] {
            company.person(n).proxies.clear();
        }
        company.person(one).mail.clone_from(&was_other);
        company.person(other).mail.clone_from(&was_one);
        company.person(6).mail = "fresh@example.com".into();
        company.person(9).disabled = true;
        company.run(loss);
        assert_eq!(
            (primary(&company, one), primary(&company, other)),
            (was_one.clone(), was_other.clone()),
            "{name}"
        );
        assert_eq!(
            (primary(&company, 6), company.status(9)),
            ("fresh@example.com".into(), Status::Suspended),
            "{name}: no other change waits"
        );
        company.run(&NOTHING_LOST());
        assert_eq!(
            (primary(&company, one), primary(&company, other)),
            (was_other, was_one),
            "{name}: after a complete read it is one change"
        );
    }
    // A newcomer would get the address that a person of the unread base gives up.
    let mut company = Company::of(20);
    company.bases = ["Engineering", "Sales", "Operations"].map(ou).to_vec();
    let mut company = company.at_work();
    let joiner =
        Facts { ou: "Engineering".into(), proxies: Vec::new(), ..company.truth[&guid(4)].clone() };
    company.truth.insert(guid(50), joiner);
    company.person(4).mail = "moved@example.com".into();
    company.person(4).proxies.clear();
    company.run(&half_read);
    assert_eq!((company.users.len(), primary(&company, 4)), (20, "p4@example.com".into()));
    company.run(&NOTHING_LOST());
    assert_eq!(
        (primary(&company, 50), primary(&company, 4)),
        ("p4@example.com".into(), "moved@example.com".into())
    );
}

#[test]
fn an_unmanaged_leaver_is_linked_and_suspended_without_a_held_address() {
    let mut company = Company::running(20);
    company.unmanaged("guest@example.com");
    let facts = Facts {
        mail: "guest@example.com".into(),
        disabled: true,
        ..company.truth[&guid(1)].clone()
    };
    company.truth.insert(guid(50), facts);
    // The secondary address of the first would pass to the second, but no address may change.
    company.person(1).proxies.clear();
    company
        .limits
        .classes
        .insert(ChangeClass::Readdress, Limit { percent: 0, at_least: 0, at_most: None });
    company.run(&NOTHING_LOST());
    assert_eq!(
        (company.status(50), company.waiting()),
        (Status::Suspended, vec!["p1@example.com update limit".to_owned()])
    );
    company.approve_all(&NOTHING_LOST());
    company.run(&NOTHING_LOST());
    company.approve_all(&NOTHING_LOST());
    let secondary: Vec<&str> =
        company.user(50).addresses.secondary.iter().map(Address::as_str).collect();
    assert_eq!(secondary, ["alias1@example.org"]);
}

#[test]
fn a_secondary_address_of_another_user_is_added_once_it_is_free() {
    let mut company = plain();
    company.person(1).proxies = vec!["smtp:p2@example.com".into(), "smtp:free@example.com".into()];
    company.run(&NOTHING_LOST());
    let secondary = |company: &Company| {
        company
            .user(1)
            .addresses
            .secondary
            .iter()
            .map(|a| a.as_str().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        (secondary(&company), primary(&company, 2)),
        (vec!["free@example.com".to_owned()], "p2@example.com".into())
    );
    company.person(2).mail = "other@example.com".into();
    company.run(&NOTHING_LOST());
    company.run(&NOTHING_LOST());
    assert_eq!(secondary(&company), ["free@example.com", "p2@example.com"]);
}
