use super::*;

fn ledger(bases: usize) -> Ledger {
    let me = Canary {
        guid: Guid([1; 16]),
        name: "svc".to_owned(),
        attributes: ["mail".to_owned()].into(),
    };
    Ledger::new(Expectation {
        bases: (0..bases).map(|n| Dn::new(format!("OU=b{n},DC=corp"))).collect(),
        people: vec![10; bases],
        canaries: vec![me],
        attributes: vec!["userAccountControl".to_owned(), "mail".to_owned()],
        universal: ["userAccountControl".to_owned()].into(),
        exempt: BTreeSet::new(),
        counts: AttributeCounts { people: 100, seen: [("mail".to_owned(), 80)].into() },
        excluding: ["employeeType".to_owned()].into(),
    })
}

fn around(ledger: &mut Ledger, moment: Moment) {
    ledger.server(
        moment,
        ServerIdentity { ds_service_name: "CN=DC1".to_owned(), invocation_id: None },
    );
    ledger.canary(moment, Guid([1; 16]), &["mail".to_owned()].into());
}

fn read(mut ledger: Ledger, script: impl FnOnce(&mut Ledger)) -> Result<Complete, Incomplete> {
    around(&mut ledger, Moment::Before);
    script(&mut ledger);
    around(&mut ledger, Moment::After);
    ledger.finish()
}

#[test]
fn a_read_is_complete_when_every_page_of_every_base_ended_well() {
    let complete = read(ledger(2), |l| {
        l.entry(0, Presence(3));
        l.page(0, PageEnd::More);
        l.page(0, PageEnd::Last);
        l.page(1, PageEnd::Last);
    });
    let complete = complete.expect("complete");
    assert!(complete.covers(&Dn::new("CN=x,DC=elsewhere")));
    assert_eq!(complete.emptied(), [Dn::new("OU=b1,DC=corp")]);
}

#[test]
fn only_an_empty_cookie_ends_a_base() {
    for end in [
        PageEnd::More,
        PageEnd::NoControl,
        PageEnd::SameCookie,
        PageEnd::Cut,
        PageEnd::Refused(4),
        PageEnd::Refused(3),
        PageEnd::Refused(51),
    ] {
        let incomplete = read(ledger(1), |l| l.page(0, end)).expect_err("incomplete");
        assert!(incomplete.partial.is_none(), "{end:?}");
    }
    assert!(read(ledger(1), |_| {}).is_err(), "no page at all");
}

#[test]
fn a_failed_base_does_not_void_the_other_one() {
    let incomplete = read(ledger(2), |l| {
        l.page(0, PageEnd::Last);
        l.page(1, PageEnd::Refused(51));
    })
    .expect_err("incomplete");
    let partial = incomplete.partial.expect("the first base is whole");
    assert!(partial.covers(&Dn::new("CN=x,OU=b0,DC=corp")));
    assert!(!partial.covers(&Dn::new("CN=x,OU=b1,DC=corp")));
}

#[test]
fn another_server_or_a_blind_canary_voids_all_bases() {
    let mut l = ledger(1);
    around(&mut l, Moment::Before);
    l.page(0, PageEnd::Last);
    around(&mut l, Moment::After);
    l.server(
        Moment::After,
        ServerIdentity { ds_service_name: "CN=DC2".to_owned(), invocation_id: None },
    );
    assert!(l.finish().expect_err("another server").partial.is_none());

    let blind = read(ledger(1), |l| {
        l.page(0, PageEnd::Last);
        l.canary(Moment::After, Guid([1; 16]), &BTreeSet::new());
    });
    assert!(blind.expect_err("blind").to_string().contains("no longer shows mail"));
}

#[test]
fn an_attribute_that_half_of_the_people_no_longer_show_means_lost_rights() {
    let people = |uac: usize, mail: usize| {
        read(ledger(1), |l| {
            for n in 0..100 {
                l.entry(0, Presence(u32::from(n < uac) | u32::from(n < mail) << 1));
            }
            l.page(0, PageEnd::Last);
        })
    };
    assert!(people(100, 41).is_ok());
    assert!(
        people(100, 40).expect_err("mail").to_string().contains("mail was seen on only 40 of 100")
    );
    assert!(people(95, 80).is_ok());
    let imported = read(ledger(1), |l| {
        for n in 0..3_100 {
            l.entry(0, Presence(1 | u32::from(n < 80) << 1));
        }
        l.page(0, PageEnd::Last);
    });
    assert!(imported.is_ok(), "3,000 accounts without mail take it from no one: {imported:?}");
    assert!(people(94, 80).expect_err("control").to_string().contains("userAccountControl"));
}
