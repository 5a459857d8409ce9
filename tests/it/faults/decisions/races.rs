//! Decisions about a plan or a baseline that has changed since it was read.

use adsim::{Fault, NewPerson, What, When, names};
use rosterd::model::*;
use rosterd::store::{Consent, Decision, StoreError};

use super::{bob, state_of, waiting};
use crate::faults::{DAY, HOUR, guid_of, held_plan, no_full_runs, tick};
use crate::firm::{Firm, alice};

fn word(actor: &Actor) -> Decision<'_> {
    Decision { actor, comment: "" }
}

/// Returns an approval that no other one has to follow.
fn consent(by: &Approver) -> Consent<'_> {
    Consent { by, comment: "", needed: 1, valid_from: Timestamp(0) }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_run_after_a_rebaseline_only_plans_in_spite_of_a_concurrent_read() {
    let firm = Firm::running(60, |c| c.limits.grace_period = std::time::Duration::ZERO).await;
    let before = firm.active().await;
    let reading = "objectcategory=person)(objectclass=user";
    firm.sim.faults().push(Fault::new(
        When::search().containing(reading),
        What::Delay(std::time::Duration::from_secs(2)),
    ));
    let directory = firm.engine.directory("corp").unwrap();
    let mut progress = directory.progress();
    let rebaseline = async {
        progress.wait_for(|p| p.phase == rosterd::engine::Phase::Reading).await.unwrap();
        firm.engine.rebaseline("corp", &alice()).await.unwrap();
    };
    let (run, ()) = tokio::join!(firm.sync(), rebaseline);
    assert_eq!(run.error, None);
    let state = firm.engine.store.directory(&directory.config.name).await.unwrap();
    assert_eq!(
        (state.checkpoint, state.counts == rosterd::reconcile::AttributeCounts::default()),
        (None, true),
        "what rebaseline set stays"
    );
    let leaver = firm.users().await.remove(0);
    firm.sim.edit(|ad| {
        for group in [names::BASIC, names::PRO, names::PRO_NESTED] {
            ad.remove_member(group, guid_of(&leaver));
        }
    });
    let run = firm.sync().await;
    assert_eq!((run.counts.suspend, run.held, firm.active().await), (0, 1, before), "{run:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn people_of_a_plan_with_an_expired_approval_are_held_again() {
    let firm = Firm::of(120, |c| {
        c.full = no_full_runs();
        c.limits.grace_period = std::time::Duration::ZERO;
    })
    .await;
    firm.sim.edit(|ad| {
        ad.show_tombstones(true);
        ad.add_person(NewPerson::new("nobody").ou(names::STAFF));
        ad.delete("nobody");
    });
    let run = firm.sync().await;
    assert!(run.held > 50);
    firm.sim.faults().push(Fault::new(When::Bind, What::Anonymous).always());
    firm.engine.approve(held_plan(&firm).await.id, alice()).await.unwrap();
    firm.later(DAY + HOUR);
    firm.engine.send_reminders().await.unwrap();
    assert!(waiting(&firm).await.is_empty());
    firm.sim.faults().clear();
    tick(&firm).await;
    assert_eq!(
        waiting(&firm).await.first().map(|p| p.count),
        Some(run.held),
        "an incremental run suffices"
    );
    let corp = DirectoryName::parse("corp").unwrap();
    // Planned again, they are pending by their plan alone.
    firm.engine.reject(held_plan(&firm).await.id, "", &alice()).await.unwrap();
    assert_eq!(
        firm.engine.store.pending(&corp, firm.clock.now()).await.unwrap().len() as u64,
        run.held
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_superseded_plan_is_not_restored_by_a_concurrent_approval() {
    let firm = Firm::of(120, |_| {}).await;
    firm.sync().await;
    let seen = held_plan(&firm).await;
    firm.sim.edit(|ad| {
        ad.add_person(
            NewPerson::new("late").mail("late@example.com").ou("Finance").member_of(names::BASIC),
        );
    });
    assert_eq!(firm.sync().await.held, seen.count + 1);
    let store = &firm.engine.store;
    store.approve_plan(&seen, None, consent(&alice().into()), &firm.clock).await.unwrap();
    assert_eq!(
        (waiting(&firm).await.len(), state_of(&firm, &seen).await),
        (1, PlanState::Superseded)
    );
    // A change that was rejected, expired or applied since is not restored either.
    let seen = held_plan(&firm).await;
    store.reject_plan(&seen, word(&bob()), &firm.clock).await.unwrap();
    let raced =
        store.approve_plan(&seen, None, consent(&alice().into()), &firm.clock).await.unwrap_err();
    assert!(
        matches!(raced, StoreError::Raced { .. })
            && raced.to_string().contains("is rejected by bob by now"),
        "{raced}"
    );
    assert_eq!((waiting(&firm).await.len(), firm.sync().await.counts.total()), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_a_rejection_nor_an_expiry_takes_back_an_approval_that_came_first() {
    let firm = Firm::of(120, |_| {}).await;
    firm.sync().await;
    let (seen, store) = (held_plan(&firm).await, &firm.engine.store);
    store.approve_plan(&seen, None, consent(&alice().into()), &firm.clock).await.unwrap();
    let late = held_plan(&firm).await;
    firm.later(HOUR);
    store.approve_plan(&late, None, consent(&bob().into()), &firm.clock).await.unwrap();
    store.expire_approval(&late, &firm.clock).await.unwrap();
    assert_eq!(
        state_of(&firm, &seen).await,
        PlanState::Approved,
        "the approval that expired is not the one that counts"
    );
    let run = firm.sync().await;
    assert_eq!(
        (run.counts.create, state_of(&firm, &seen).await),
        (seen.count, PlanState::Applied),
        "{run:?}"
    );
    let raced = store.reject_plan(&seen, word(&bob()), &firm.clock).await.unwrap_err();
    assert!(raced.to_string().contains("is applied by now"), "{raced}");
    let said = firm.engine.reject(seen.id, "", &bob()).await.unwrap_err();
    assert!(said.to_string().contains("is applied already"), "{said}");
}
