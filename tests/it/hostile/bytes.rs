//! Invalid LDAP and unexpected responses, before the bind and after it.

use adsim::frames::{self, Outcome};
use adsim::{What, When};

use super::{Ends, Ordeal, Row, Sees, after, page, row};

/// Invalid responses, each with a part of the expected error.
fn poison() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    vec![
        ("20,000 levels", frames::nested(20_000), "nested deeper"),
        ("30 00", vec![0x30, 0x00], "invalid LDAP message"),
        (
            "an indefinite length",
            vec![0x30, 0x80, 0x02, 0x01, 0x01, 0x65, 0x00, 0x00, 0x00],
            "invalid LDAP message",
        ),
        (
            "2 GiB announced",
            vec![0x30, 0x84, 0x7f, 0xff, 0xff, 0xff, 0x02, 0x01],
            "exceeds the limit",
        ),
        (
            "4 GiB announced",
            vec![0x30, 0x84, 0xff, 0xff, 0xff, 0xff, 0x02, 0x01],
            "exceeds the limit",
        ),
        (
            "a length of eight octets",
            vec![0x30, 0x88, 0, 0, 0, 0, 0, 0, 0, 5],
            "invalid LDAP message",
        ),
        (
            "a child longer than its parent",
            vec![0x30, 0x08, 0x02, 0x01, 0x01, 0x65, 0x7f, 0x0a, 0x01, 0x00],
            "invalid LDAP message",
        ),
        ("a web server", b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), "begins with the byte 0x30"),
        (
            "a negative id",
            vec![
                0x30, 0x0c, 0x02, 0x01, 0xff, 0x65, 0x07, 0x0a, 0x01, 0x00, 0x04, 0x00, 0x04, 0x00,
            ],
            "invalid LDAP message",
        ),
        ("an answer to nothing", frames::done(4_711, 0, ""), "answered message 4711"),
        (
            "a result without a code",
            vec![0x30, 0x07, 0x02, 0x01, 0x01, 0x61, 0x02, 0x04, 0x00],
            "malformed BindResponse",
        ),
        (
            "something unsolicited",
            frames::extended(0, &Outcome::new(0, "by the way")),
            "Notice of Disconnection",
        ),
        ("an unsolicited search result", frames::done(0, 0, ""), "answered message 0"),
        ("a request", vec![0x30, 0x05, 0x02, 0x01, 0x01, 0x42, 0x00], "answered message 1"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_ldap_at_any_point_ends_the_connection_with_an_error() {
    let rows = poison().into_iter().flat_map(|(name, bytes, told)| {
        let at = |place: &str, when: When, sees| {
            row(format!("{name} {place}"), when, What::Raw(bytes.clone()), Ends::Failed(told), sees)
        };
        [
            at("before the answer to the bind", When::Bind, Sees::NoLeaver),
            at("at page 2", page(2), Sees::TheLeaver),
            at("among the entries", after(70), Sees::TheLeaver),
        ]
    });
    Ordeal::new(|_| {}).await.suffer(rows.collect()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_tls_ends_the_connection_with_an_error() {
    let rows = poison().into_iter().map(|(name, bytes, _)| Row {
        name: format!("{name} instead of TLS"),
        faults: vec![(When::Connect, What::Raw(bytes)), (When::Connect, What::Cut)],
        ends: Ends::Failed("TLS"),
        sees: Sees::NoLeaver,
    });
    Ordeal::new(|_| {}).await.suffer(rows.collect()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_of_another_operation_ends_the_connection() {
    let success = Outcome::default;
    let wrong = |tag: u8| What::frames_instead(move |id| frames::result(id, tag, &success()));
    let told = Ends::Failed("which is not a request that awaits this response");
    let mut rows = vec![
        row(
            "a search result for a bind",
            When::Bind,
            wrong(frames::SEARCH_DONE),
            told,
            Sees::NoLeaver,
        ),
        row(
            "an extended response for a bind",
            When::Bind,
            wrong(frames::EXTENDED_RESPONSE),
            told,
            Sees::NoLeaver,
        ),
        row(
            "an entry for a bind",
            When::Bind,
            What::frames_instead(|id| frames::entry(id, b"CN=a", &[])),
            told,
            Sees::NoLeaver,
        ),
        row(
            "two answers to a bind",
            When::Bind,
            What::frames(move |id| frames::result(id, frames::BIND_RESPONSE, &success())),
            told,
            Sees::NoLeaver,
        ),
        row(
            "two ends of one page",
            page(1),
            What::frames(|id| frames::done(id, 0, "")),
            Ends::Failed(""),
            Sees::TheLeaver,
        ),
    ];
    // Modify, add, delete, rename, compare, and the extended response that ldap3 panics on.
    for tag in [frames::BIND_RESPONSE, 0x67, 0x69, 0x6b, 0x6d, 0x6f, frames::EXTENDED_RESPONSE] {
        rows.push(row(format!("{tag:#x} for page 1"), page(1), wrong(tag), told, Sees::TheLeaver));
        rows.push(row(format!("{tag:#x} for page 2"), page(2), wrong(tag), told, Sees::TheLeaver));
    }
    Ordeal::new(|_| {}).await.suffer(rows).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn references_are_never_followed_and_do_not_end_the_read() {
    let elsewhere = "ldap://attacker.example/DC=corp,DC=example,DC=com";
    let child = "ldap://child.corp.example.com/DC=child,DC=corp,DC=example,DC=com??sub";
    let reference = |url: &str| What::Referral(url.to_owned());
    let rows = vec![
        row("before the entries", page(1), reference(elsewhere), Ends::Succeeded, Sees::TheLeaver),
        row("among the entries", after(70), reference(elsewhere), Ends::Succeeded, Sees::TheLeaver),
        row(
            "behind the entries",
            page(3).after_entries(20),
            reference(elsewhere),
            Ends::Succeeded,
            Sees::TheLeaver,
        ),
        row("into a child domain", after(70), reference(child), Ends::Succeeded, Sees::TheLeaver),
        row("that are no URL", after(70), reference("%%%"), Ends::Succeeded, Sees::TheLeaver),
        row(
            "at the rootDSE",
            When::nth_search(1),
            reference(elsewhere),
            Ends::Succeeded,
            Sees::TheLeaver,
        ),
        row(
            "that name nothing",
            after(70),
            What::frames(|id| vec![0x30, 0x05, 0x02, 0x01, id as u8, 0x73, 0x00]),
            SAYS_URI,
            Sees::TheLeaver,
        ),
    ];
    let ordeal = Ordeal::new(|_| {}).await;
    ordeal.suffer(rows).await;
    assert!(
        ordeal
            .firm
            .sim
            .log()
            .events
            .iter()
            .all(|e| e.tls || matches!(e.event, adsim::Event::Connect)),
        "nothing was asked without TLS"
    );
}

const SAYS_URI: Ends = Ends::Failed("malformed SearchResultReference");
