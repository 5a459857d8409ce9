//! Malformed entries, which must not affect other entries.

use adsim::{What, When, frames};

use super::{Ends, Ordeal, PEOPLE, Row, Sees};

/// Attributes of an entry by name.
type Attributes = Vec<(&'static str, Vec<Vec<u8>>)>;

/// Returns the attributes of a valid person with this GUID.
fn good(guid: uuid::Uuid) -> Attributes {
    vec![
        ("objectGUID", vec![guid.to_bytes_le().to_vec()]),
        ("userAccountControl", vec![b"512".to_vec()]),
        ("accountExpires", vec![b"0".to_vec()]),
        ("primaryGroupID", vec![b"513".to_vec()]),
    ]
}

fn without(name: &str, guid: uuid::Uuid) -> Attributes {
    good(guid).into_iter().filter(|(n, _)| *n != name).collect()
}

fn with(name: &'static str, values: Vec<Vec<u8>>, guid: uuid::Uuid) -> Attributes {
    without(name, guid).into_iter().chain([(name, values)]).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_entry_affects_no_other_entry() {
    let ordeal = Ordeal::new(|_| {}).await;
    let (guid, at) = ordeal.colleague().await;
    let dn = ordeal.firm.sim.look(|ad| ad.dn(guid)).into_bytes();
    let bytes = |text: &str| text.as_bytes().to_vec();
    let many =
        |n: usize| (0..n).map(|n| format!("smtp:{n}@example.com").into_bytes()).collect::<Vec<_>>();
    let table: Vec<(&str, Vec<u8>, Attributes)> = vec![
        ("a DN that is not UTF-8", b"CN=\xff\xfe,DC=corp".to_vec(), good(guid)),
        ("an empty DN", Vec::new(), good(guid)),
        (
            "mail that is not UTF-8",
            dn.clone(),
            with("mail", vec![b"\xc3(@example.com".to_vec()], guid),
        ),
        ("no GUID", dn.clone(), without("objectGUID", guid)),
        ("a GUID of no bytes", dn.clone(), with("objectGUID", vec![vec![]], guid)),
        ("a GUID of 17 bytes", dn.clone(), with("objectGUID", vec![vec![1; 17]], guid)),
        ("a GUID attribute without values", dn.clone(), with("objectGUID", vec![], guid)),
        ("no userAccountControl", dn.clone(), without("userAccountControl", guid)),
        (
            "a userAccountControl of no bytes",
            dn.clone(),
            with("userAccountControl", vec![vec![]], guid),
        ),
        (
            "a userAccountControl that is no number",
            dn.clone(),
            with("userAccountControl", vec![bytes("0x2")], guid),
        ),
        (
            "a userAccountControl beyond all numbers",
            dn.clone(),
            with("userAccountControl", vec![bytes("99999999999999999999")], guid),
        ),
        (
            "an expiry beyond all numbers",
            dn.clone(),
            with("accountExpires", vec![bytes("99999999999999999999")], guid),
        ),
        ("a negative expiry", dn.clone(), with("accountExpires", vec![bytes("-1")], guid)),
        (
            "a primary group that is no number",
            dn.clone(),
            with("primaryGroupID", vec![bytes("")], guid),
        ),
        ("values of no bytes", dn.clone(), with("mail", vec![vec![], vec![]], guid)),
        (
            "mail twice",
            dn.clone(),
            [
                good(guid),
                vec![
                    ("mail", vec![bytes("x@example.com")]),
                    ("MAIL", vec![bytes("y@example.com")]),
                ],
            ]
            .concat(),
        ),
        ("GUIDs twice", dn.clone(), [good(guid), vec![("objectGUID", vec![vec![9; 16]])]].concat()),
        ("thousands of addresses", dn.clone(), with("proxyAddresses", many(5_000), guid)),
        ("a name of a megabyte", dn.clone(), with("displayName", vec![vec![b'x'; 1 << 20]], guid)),
        ("a DN of a megabyte", vec![b'x'; 1 << 20], good(guid)),
        ("a megabyte of addresses", dn.clone(), with("proxyAddresses", many(60_000), guid)),
        ("a broken range", dn.clone(), with("memberOf;range=5-2", vec![bytes("CN=x")], guid)),
        ("an attribute without a name", dn.clone(), with("", vec![bytes("x")], guid)),
    ];
    for (name, dn, attributes) in table {
        let bad = move |id| frames::entry(id, &dn, &attributes);
        ordeal.suffer_one(replaced(name, at, What::frames(bad))).await;
    }
    let hollow = |id: i64| vec![0x30, 0x05, 0x02, 0x01, id as u8, 0x64, 0x00];
    ordeal.suffer_one(replaced("an entry with nothing inside", at, What::frames(hollow))).await;
    let numbers =
        |id: i64| vec![0x30, 0x0a, 0x02, 0x01, id as u8, 0x64, 0x05, 0x02, 0x01, 0x01, 0x30, 0x00];
    ordeal.suffer_one(replaced("an entry of numbers", at, What::frames(numbers))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unusable_entry_neither_keeps_a_leaver_active_nor_reactivates_a_user() {
    let ordeal = Ordeal::new(|_| {}).await;
    let firm = &ordeal.firm;
    let (guid, at) = ordeal.colleague().await;
    let who = guid.to_string();
    let before = firm.user(&who).await;
    let broken = [b"CN=\xff\xfe,DC=corp".to_vec(), Vec::new(), vec![b'x'; 1 << 20]];
    let shown = |control: &str, dn: Vec<u8>| {
        let attributes = with("userAccountControl", vec![control.as_bytes().to_vec()], guid);
        let row = replaced("", at, What::frames(move |id| frames::entry(id, &dn, &attributes)));
        row.faults
            .into_iter()
            .for_each(|(when, what)| firm.sim.faults().push(adsim::Fault::new(when, what)));
    };
    for dn in broken {
        shown("514", dn.clone());
        let run = firm.sync().await;
        let user = firm.user(&who).await;
        assert_eq!(
            (user.causes.has(rosterd::model::Reason::Disabled), &user.profile),
            (true, &before.profile),
            "{run:?}"
        );
        assert_eq!(user.link, before.link, "where it stands is what was last read well");
        let quarantine = firm.engine.store.quarantine_of(user.id).await.unwrap();
        assert_eq!(quarantine, [rosterd::model::QuarantineReason::MalformedEntry]);
        shown("512", dn);
        firm.sync().await;
        assert_eq!(
            firm.user(&who).await.status(),
            rosterd::model::Status::Suspended,
            "a broken entry refutes nothing"
        );
        firm.sync().await;
        assert_eq!(
            firm.user(&who).await.status(),
            rosterd::model::Status::Active,
            "a good one does"
        );
    }
}

/// Returns a row that replaces the entry at this position of the read.
fn replaced(name: &str, at: usize, what: What) -> Row {
    let when = || When::page(1).containing(PEOPLE).after_entries(at);
    let faults = vec![(when(), what), (when(), What::SkipEntry)];
    Row { name: name.to_owned(), faults, ends: Ends::Either, sees: Sees::TheLeaver }
}
