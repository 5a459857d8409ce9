//! Held plans: their pages, their states, and the approvals of their changes.

use super::*;

on_both! {
    a_plan_is_the_same_whatever_the_size_of_its_pages
    a_plan_holds_what_the_run_did_not_decide_beside_what_it_found
    a_held_plan_keeps_its_id_until_it_gains_a_change
    a_rejected_plan_stays_closed_until_a_new_change_is_proposed
    an_approved_change_stays_approved_in_the_superseding_plan
}

async fn a_plan_is_the_same_whatever_the_size_of_its_pages(f: Fresh) {
    f.hold(&[1, 2, 3]).await;
    // The second run carries two changes, so that the plan has changes of two runs.
    let plan = f.hold_beside(&[4, 5], &[3]).await.plan.unwrap();
    let all = f.store.page_of_plan(plan, None, None).await.unwrap();
    assert_eq!(all.len(), 4);
    for size in 1..=5 {
        let (mut pages, mut after) = (Vec::new(), None);
        loop {
            let page = f.store.page_of_plan(plan, after, Some(size)).await.unwrap();
            after = page.last().map(|(place, _)| *place);
            let is_last = (page.len() as u64) < size;
            pages.extend(page);
            if is_last {
                break;
            }
        }
        assert_eq!(pages, all, "pages of {size}");
    }
    let place = all[0].0;
    assert_eq!(place.to_string().parse(), Ok(place));
    assert!(["", "x.1", "1"].iter().all(|text| text.parse::<ChangePlace>().is_err()));
}

async fn a_plan_holds_what_the_run_did_not_decide_beside_what_it_found(f: Fresh) {
    let first = f.store.plan(f.hold(&[1, 2, 3]).await.plan.unwrap()).await.unwrap().unwrap();
    let approver = alice().into();
    let consent = Consent { by: &approver, comment: "yes", needed: 1, valid_from: Timestamp(0) };
    let rows = f.store.held_rows(first.id).await.unwrap();
    let chosen: Vec<_> =
        rows.iter().filter(|row| row.guid != Some(guid(3))).map(|row| row.digest).collect();
    f.store.approve_plan(&first, Some(&chosen), consent, &f.clock).await.unwrap();
    // The run found the change of 2 again and one of 4. It decided about 3, and not about 1.
    let plan = f.hold_beside(&[2, 4], &[2, 3, 4]).await.plan.unwrap();
    let rows = f.store.held_rows(plan).await.unwrap();
    let mut found: Vec<_> =
        rows.iter().map(|row| (row.guid, row.approved, row.approvals.len())).collect();
    found.sort_unstable();
    let approved = |n| (Some(guid(n)), true, 1);
    assert_eq!(found, [approved(1), approved(2), (Some(guid(4)), false, 0)]);
    let digests: BTreeSet<_> =
        rows.iter().filter(|row| row.approved).map(|row| row.digest).collect();
    assert_eq!(f.store.approved_changes(plan).await.unwrap(), digests);
    assert_eq!(f.store.held_about(plan, guid(4)).await.unwrap(), 1);
    assert_eq!(f.store.held_about(plan, guid(3)).await.unwrap(), 0);
}

#[tokio::test]
async fn a_page_of_a_plan_is_found_without_reading_the_others() {
    let f = on("sqlite").await.unwrap();
    let plan = f.hold(&[1, 2, 3]).await.plan.unwrap();
    let place = f.store.page_of_plan(plan, None, Some(1)).await.unwrap()[0].0;
    let sql = changes::of_plan(plan, Some(place), Some(1)).explained();
    let rows = sql.all(&f.store.readers).await.unwrap();
    let steps: Vec<String> = rows.iter().map(|row| sqlx::Row::get(row, "detail")).collect();
    assert_eq!(
        steps,
        ["SEARCH changes USING INDEX changes_of_plan (plan_id=? AND (run_id,seq)>(?,?))"]
    );
}

async fn a_held_plan_keeps_its_id_until_it_gains_a_change(f: Fresh) {
    let first = f.hold(&[1, 2, 3]).await;
    assert!(first.is_new && first.count == 3);
    assert_eq!(f.hold(&[1, 2, 3]).await, Holding { is_new: false, ..first });
    let fewer = f.hold(&[1, 2]).await;
    assert_eq!((fewer.plan, fewer.count), (first.plan, 2));
    let more = f.hold(&[1, 2, 4]).await;
    assert!(more.plan != first.plan && more.count == 3 && more.is_new);
    assert_eq!(
        f.store.plan(first.plan.unwrap()).await.unwrap().unwrap().state,
        PlanState::Superseded
    );
    assert_eq!(f.store.plan_changes(more.plan.unwrap()).await.unwrap().len(), 3);
    assert_eq!(f.store.waiting(&corp()).await.unwrap().len(), 3);
    assert_eq!(f.hold(&[]).await.plan, None);
    assert_eq!(
        f.store.plan(more.plan.unwrap()).await.unwrap().unwrap().state,
        PlanState::Withdrawn
    );
}

async fn a_rejected_plan_stays_closed_until_a_new_change_is_proposed(f: Fresh) {
    let id = f.hold(&[1, 2]).await.plan.unwrap();
    let plan = f.store.plan(id).await.unwrap().unwrap();
    f.store
        .reject_plan(&plan, Decision { actor: &alice(), comment: "no" }, &f.clock)
        .await
        .unwrap();
    assert_eq!(f.hold(&[1, 2]).await, Holding { plan: None, count: 0, is_new: false });
    let new = f.hold(&[1, 2, 3]).await;
    assert!(new.is_new && new.plan != Some(id));
}

async fn an_approved_change_stays_approved_in_the_superseding_plan(f: Fresh) {
    let id = f.hold(&[1, 2, 3]).await.plan.unwrap();
    let plan = f.store.plan(id).await.unwrap().unwrap();
    let rows = f.store.held_rows(id).await.unwrap();
    let by = alice().into();
    let consent = Consent { by: &by, comment: "one of them", needed: 1, valid_from: Timestamp(0) };
    f.store.approve_plan(&plan, Some(&[rows[0].digest]), consent, &f.clock).await.unwrap();
    let summary = f.store.plan_summary(id).await.unwrap();
    assert_eq!(
        summary.iter().map(|line| (line.count, line.approved)).collect::<Vec<_>>(),
        [(3, 1)]
    );
    let next = f.hold(&[1, 2, 3, 4]).await.plan.unwrap();
    let approved: Vec<_> = f
        .store
        .held_rows(next)
        .await
        .unwrap()
        .into_iter()
        .filter(|row| row.approved)
        .map(|row| row.digest)
        .collect();
    let plan = f.store.plan(next).await.unwrap().unwrap();
    assert_eq!(
        (approved, plan.state, plan.approved_at.is_some()),
        (vec![rows[0].digest], PlanState::Open, true)
    );
    f.store.expire_approval(&plan, &f.clock).await.unwrap();
    let plan = f.store.plan(next).await.unwrap().unwrap();
    assert_eq!((plan.state, plan.approved_at), (PlanState::Open, None));
    assert!(f.store.held_rows(next).await.unwrap().iter().all(|row| !row.approved));
}
