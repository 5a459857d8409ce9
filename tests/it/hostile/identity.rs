//! Servers that are another one by the end of a read, and sight that is lost on the way.

use adsim::{What, When, frames};

use super::{Ends, Ordeal, Sees, after, page, row};

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_becomes_another_or_shows_less_in_mid_read_fails_the_run() {
    let ordeal = Ordeal::new(|_| {}).await;
    let service = ordeal.firm.sim.look(|ad| ad.guid("svc-rosterd"));
    let ntds = ordeal.firm.sim.ds_service_name();
    let other = move |id: i64| {
        let invocation = vec![vec![7; 16]];
        [
            frames::entry(id, ntds.as_bytes(), &[("invocationId", invocation)]),
            frames::done(id, 0, ""),
        ]
        .concat()
    };
    // The rootDSE is read, and who answers with it, at the opening, for the changes, before the read and after it.
    let rows = vec![
        row(
            "another copy of the database",
            When::search().based_at("NTDS Settings").nth(4),
            What::frames_instead(other),
            Ends::Failed("another server, or another copy"),
            Sees::TheLeaver,
        ),
        row(
            "a server that no longer says who it is",
            When::search().based_at("NTDS Settings").nth(4),
            What::EmptySuccess,
            Ends::Failed("another server, or another copy"),
            Sees::TheLeaver,
        ),
    ];
    ordeal.suffer(rows).await;
    let blind = row(
        "our own entry out of sight",
        page(3),
        What::edit(move |ad| ad.hide_entry(service)),
        Ends::Failed("the canary"),
        Sees::TheLeaver,
    );
    ordeal.suffer_mended(blind, || ordeal.firm.sim.edit(|ad| ad.show_entry(service))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn success_without_the_rest_is_confirmed_by_guid_and_nobody_leaves_by_it() {
    let rows = vec![
        // The read says that it is complete. Whoever it did not show is asked for by GUID, and is there.
        row(
            "page 1 is empty and the last",
            page(1),
            What::EmptySuccess,
            Ends::Well,
            Sees::TheLeaver,
        ),
        row(
            "page 2 is empty and the last",
            page(2),
            What::EmptySuccess,
            Ends::Well,
            Sees::TheLeaver,
        ),
        row(
            "the rest of page 2 is missing",
            after(70),
            What::EmptySuccess,
            Ends::Well,
            Sees::TheLeaver,
        ),
        row("one entry is missing", after(70), What::SkipEntry, Ends::Well, Sees::TheLeaver),
        row("one entry comes twice", after(70), What::RepeatEntry, Ends::Well, Sees::TheLeaver),
    ];
    Ordeal::new(|_| {}).await.suffer(rows).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attributes_that_come_in_ranges_take_nothing_from_anybody() {
    let ordeal = Ordeal::new(|_| {}).await;
    let before = ordeal.firm.users().await;
    for values in [1, 2] {
        ordeal.firm.sim.set_max_val_range(values);
        let run = ordeal.firm.sync().await;
        let tiers: u64 = run.counts.tier + run.counts.suspend;
        assert_eq!(
            (run.error.as_deref(), tiers, run.held),
            (None, 0, 0),
            "{values} values at once: {run:?}"
        );
    }
    ordeal.firm.sim.set_max_val_range(1_500);
    ordeal.firm.sync().await;
    assert_eq!(ordeal.firm.users().await.len(), before.len());
}
