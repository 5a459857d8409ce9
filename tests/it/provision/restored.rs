//! A store that was restored from a backup knows the users of the past.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_store_waits_for_its_directory_and_plans_the_differences() {
    let mut office = Office::of(12).await;
    let users = office.firm.users().await;
    let (back, gone) = (&users[0], &users[1]);
    office.leave(back).await;
    office.becomes(back, false).await;
    office.at_rest().await;
    let copy = office.firm.folder.path().join("copy.db");
    office.firm.engine.store.backup(&copy).await.expect("a backup");
    // After the backup one user is back, and another one leaves.
    let guid = crate::firm::guid_of(back);
    office.firm.sim.edit(|ad| ad.enable(guid));
    office.firm.sync().await;
    office.becomes(back, true).await;
    office.leave(gone).await;
    office.becomes(gone, false).await;
    office.at_rest().await;

    let config = office.firm.engine.target(NAME).expect("the target").config.clone();
    let directory = office.firm.engine.directory("corp").expect("corp").config.clone();
    office.firm.engine.reconfigure_targets(Vec::new());
    let url = format!("sqlite://{}", copy.display());
    let store = Arc::new(rosterd::store::Store::open(&url).await.expect("the copy"));
    office.firm.engine = crate::acme::engine(store, &office.firm.clock, directory);
    let before = office.sim.log().len();
    office.firm.engine.reconfigure_targets(vec![config]);
    office.follow();
    let words = "nothing is sent before corp was read whole";
    let status = office.status().await;
    assert!(status.attention.iter().any(|line| line.contains(words)), "{:?}", status.attention);
    let target = office.firm.engine.target(NAME).expect("the target");
    let request = TargetRequest::full(Trigger::Manual, Some(alice()));
    let run = office.firm.engine.run_target(&target, request.clone()).await.expect("a run");
    assert!(run.error.is_some_and(|error| error.contains(words)));
    assert_eq!(office.sim.log().len(), before, "nothing is sent");

    // The directory suspends the leaver again, and holds the return.
    office.firm.sync().await;
    let run = office.firm.engine.run_target(&target, request).await.expect("a run");
    assert_eq!(run.error, None);
    office.at_rest().await;
    assert_eq!(office.is_active(gone), Some(false));
    assert_eq!(office.is_active(back), Some(true), "the directory shows the user as enabled");
    assert_eq!(office.kinds_held().await, [("deactivate".to_owned(), HoldReason::PlanOnly)]);
    // With the directory's plan the difference ends.
    for plan in office.firm.engine.store.plans(false).await.expect("plans") {
        if plan.directory.as_str() == "corp" {
            office.firm.engine.approve(plan.id, alice()).await.expect("an approval");
        }
    }
    until("the plan is withdrawn", async || {
        office.run().await;
        office.plan().await.is_none().then_some(())
    })
    .await;
    assert_eq!(office.is_active(back), Some(true));
}
