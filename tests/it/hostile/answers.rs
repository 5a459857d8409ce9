//! Responses that end a read early or never: results, cuts, silence and loops.

use std::time::Duration;

use adsim::frames::{self, Outcome};
use adsim::{Fault, What, When};

use super::{Ends, Ordeal, Row, Sees, after, page, row};

/// Result codes of a search other than success (RFC 4511, appendix A).
const RESULTS: [u32; 13] = [1, 2, 3, 4, 10, 11, 12, 32, 50, 51, 52, 53, 80];

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_ends_with_a_result_fails_the_run_with_that_result() {
    let rows = RESULTS.into_iter().flat_map(|code| {
        let told = format!("ended with result {code}").leak();
        [
            row(
                format!("{code} on page 1"),
                page(1),
                What::result(code, "simulated"),
                Ends::Failed(told),
                Sees::TheLeaver,
            ),
            row(
                format!("{code} on page 2"),
                page(2),
                What::result(code, "simulated"),
                Ends::Failed(told),
                Sees::TheLeaver,
            ),
        ]
    });
    let among = row(
        "4 among the entries",
        after(20),
        What::result(4, ""),
        Ends::Failed("ended with result 4"),
        Sees::TheLeaver,
    );
    Ordeal::new(|_| {}).await.suffer(rows.chain([among]).collect()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_that_is_cut_at_any_point_fails_with_that_reason() {
    let cut = || Ends::Failed("cut");
    let notice = || Ends::Failed("Notice of Disconnection");
    let rows = vec![
        row("at page 1", page(1), What::Cut, cut(), Sees::TheLeaver),
        row("at page 2", page(2), What::Cut, cut(), Sees::TheLeaver),
        row("behind an entry", after(20), What::Cut, cut(), Sees::TheLeaver),
        row(
            "behind the last entry of a page, before its end",
            page(1).after_entries(50),
            What::Cut,
            cut(),
            Sees::TheLeaver,
        ),
        row("inside an entry", after(20), What::CutInsideFrame, cut(), Sees::TheLeaver),
        row(
            "inside the end of a page",
            page(1).after_entries(50),
            What::CutInsideFrame,
            cut(),
            Sees::TheLeaver,
        ),
        row(
            "with a notice at page 2, as AD encodes it",
            page(2),
            What::NoticeOfDisconnection,
            notice(),
            Sees::TheLeaver,
        ),
        row(
            "with a notice among the entries",
            after(20),
            What::NoticeOfDisconnection,
            notice(),
            Sees::TheLeaver,
        ),
    ];
    Ordeal::new(|_| {}).await.suffer(rows).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_without_the_end_of_its_pages_is_not_complete() {
    let rows = vec![
        row(
            "no control on page 1",
            page(1),
            What::OmitPagingControl,
            Ends::Failed("has no paging control"),
            Sees::TheLeaver,
        ),
        row(
            "no control on page 2",
            page(2),
            What::OmitPagingControl,
            Ends::Failed("has no paging control"),
            Sees::TheLeaver,
        ),
        row(
            "no control on the last page",
            page(3),
            What::OmitPagingControl,
            Ends::Failed("has no paging control"),
            Sees::TheLeaver,
        ),
        row(
            "success without entries or control",
            page(2),
            What::frames_instead(|id| frames::done(id, 0, "")),
            NO_CONTROL,
            Sees::TheLeaver,
        ),
        row(
            "a control that cannot be read",
            page(2),
            What::frames_instead(garbled_control),
            NO_CONTROL,
            Sees::TheLeaver,
        ),
    ];
    Ordeal::new(|_| {}).await.suffer(rows).await;
}

const NO_CONTROL: Ends = Ends::Failed("has no paging control");

/// Returns a SearchResultDone with an invalid paging control.
fn garbled_control(id: i64) -> Vec<u8> {
    let mut frame = frames::done_with_cookie(id, &Outcome::default(), b"some cookie");
    // A valid value is SEQUENCE { INTEGER 0, OCTET STRING }. Here the SEQUENCE is a SET.
    let at = frame.windows(3).rposition(|w| w == [0x02, 0x01, 0x00]).expect("the size");
    let sequence = frame[..at].iter().rposition(|byte| *byte == 0x30).expect("a sequence");
    frame[sequence] = 0x31;
    frame
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endless_read_is_ended() {
    let ordeal = Ordeal::new(|c| c.settings.timeouts.run = Duration::from_secs(4)).await;
    // The same page with the same cookie, forever.
    always(&ordeal, page(2), What::RepeatCookie, "goes in circles").await;
    // The first page repeatedly, each time with another cookie.
    always(
        &ordeal,
        When::search().containing(super::PEOPLE),
        What::RepeatCookie,
        "goes in circles",
    )
    .await;
    // Empty pages forever, each with another cookie.
    let next = std::sync::atomic::AtomicU64::new(0);
    let empty = What::frames_instead(move |id| {
        let cookie = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed).to_be_bytes();
        frames::done_with_cookie(id, &Outcome::default(), &cookie)
    });
    always(&ordeal, When::search().containing(super::PEOPLE), empty, "goes in circles").await;
}

/// Runs with a permanent fault. The first page is valid unless it is the repeated one.
async fn always(ordeal: &Ordeal, when: When, what: What, told: &'static str) {
    ordeal.firm.sim.faults().push(Fault::new(when, what.clone()).always());
    let run = ordeal.firm.sync().await;
    assert!(
        ordeal.firm.sim.faults().fired() < 2_000,
        "{what:?}: it was asked {} times",
        ordeal.firm.sim.faults().fired()
    );
    ordeal.judge(&format!("{what:?}"), &run, Ends::Failed(told), Sees::NoLeaver).await;
    ordeal.firm.sim.faults().clear();
    assert_eq!(ordeal.firm.sync().await.error, None, "{what:?}: the next run is well");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_server_fails_the_run_at_the_time_limit() {
    let told = || Ends::Failed("no answer");
    let both = |name: &str, bytes: &[u8]| Row {
        name: name.to_owned(),
        faults: vec![(When::Connect, What::Raw(bytes.to_vec())), (When::Connect, What::Stall)],
        ends: told(),
        sees: Sees::NoLeaver,
    };
    let rows = vec![
        row("after the connection is made", When::Connect, What::Stall, told(), Sees::NoLeaver),
        // A record announces 16 KiB and has two bytes.
        both("within the handshake", &[0x16, 0x03, 0x03, 0x40, 0x00, 0x02, 0x00]),
        row("at the bind", When::Bind, What::Stall, told(), Sees::NoLeaver),
        row("at the first search", When::nth_search(1), What::Stall, told(), Sees::NoLeaver),
        row("at page 1", page(1), What::Stall, told(), Sees::TheLeaver),
        row("at page 2", page(2), What::Stall, told(), Sees::TheLeaver),
        row("among the entries", after(70), What::Stall, told(), Sees::TheLeaver),
    ];
    let short = |c: &mut rosterd::engine::DirectoryConfig| {
        c.settings.timeouts.connect = Duration::from_millis(1_500);
        c.settings.timeouts.operation = Duration::from_millis(1_500);
    };
    Ordeal::new(short).await.suffer(rows).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_from_a_server_that_sends_single_bytes_is_complete() {
    // From the middle of the last page on, each byte is a TLS record of its own.
    let drip = row(
        "byte by byte",
        page(3).after_entries(20),
        What::Drip(Duration::ZERO),
        Ends::Succeeded,
        Sees::TheLeaver,
    );
    Ordeal::new(|_| {}).await.suffer_one(drip).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_sends_too_slowly_fails_the_run_at_its_time_limit() {
    let slowly = row(
        "slowly",
        after(70),
        What::Drip(Duration::from_millis(50)),
        Ends::Failed("longer than 3s"),
        Sees::TheLeaver,
    );
    Ordeal::new(|c| c.settings.timeouts.run = Duration::from_secs(3))
        .await
        .suffer_one(slowly)
        .await;
}
