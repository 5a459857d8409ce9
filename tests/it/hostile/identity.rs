//! Servers that change their identity during a read, and visibility that is lost meanwhile.

use adsim::{What, When, frames};

use super::{Ends, Ordeal, Sees, after, page, row};

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_changes_its_identity_or_visibility_during_a_read_fails_the_run() {
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
    // The rootDSE and the identity are read at the opening, for DirSync, and before and after the
    // read.
    let rows = vec![
        row(
            "another copy of the database",
            When::search().based_at("NTDS Settings").nth(4),
            What::frames_instead(other),
            Ends::Failed("changed during the read"),
            Sees::TheLeaver,
        ),
        row(
            "a server that no longer says who it is",
            When::search().based_at("NTDS Settings").nth(4),
            What::EmptySuccess,
            Ends::Failed("changed during the read"),
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
async fn people_missing_from_a_successful_read_are_confirmed_by_guid_and_stay_active() {
    let rows = vec![
        // The read claims to be complete. The missing people are looked up by GUID and found.
        row(
            "page 1 is empty and the last",
            page(1),
            What::EmptySuccess,
            Ends::Succeeded,
            Sees::TheLeaver,
        ),
        row(
            "page 2 is empty and the last",
            page(2),
            What::EmptySuccess,
            Ends::Succeeded,
            Sees::TheLeaver,
        ),
        row(
            "the rest of page 2 is missing",
            after(70),
            What::EmptySuccess,
            Ends::Succeeded,
            Sees::TheLeaver,
        ),
        row("one entry is missing", after(70), What::SkipEntry, Ends::Succeeded, Sees::TheLeaver),
        row(
            "one entry comes twice",
            after(70),
            What::RepeatEntry,
            Ends::Succeeded,
            Sees::TheLeaver,
        ),
    ];
    Ordeal::new(|_| {}).await.suffer(rows).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attributes_in_ranges_take_no_group_from_a_user() {
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
