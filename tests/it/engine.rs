//! Whole runs against the simulated directory.

use std::collections::BTreeSet;
use std::sync::{Arc, Barrier};
use std::time::Duration;

use adsim::{Fault, NewPerson, What, When};
use rosterd::engine::{Directory, DirectoryConfig, ReloadOutcome, Request};
use rosterd::model::{Reason, RunState, Status, Trigger};
use rosterd::reconcile::Verdict;

use crate::firm::{self, Firm, alice, held_plan};

const GRACE_PERIOD: Duration = Duration::from_mins(11);

/// Ends of a term that each meet a reload.
const ROUNDS: usize = 5_000;

/// Adds a joiner with the address new.bie@example.com.
fn hire(firm: &Firm) {
    firm.sim.edit(|ad| {
        let new = ad.add_person(
            NewPerson::new("newbie")
                .name("New", "Bie")
                .mail("new.bie@example.com")
                .ou("Engineering"),
        );
        ad.add_member(adsim::names::BASIC, new);
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_import_waits_for_approval_and_is_applied_exactly() {
    let firm = Firm::of(200, |_| {}).await;
    let run = firm.sync().await;
    assert_eq!((run.state, run.complete), (RunState::Held, true), "{run:?}");
    assert!(run.held > 50 && firm.users().await.is_empty());
    let plan = firm.engine.store.plans(false).await.unwrap().remove(0);
    let again = firm.sync().await;
    assert_eq!(again.held, run.held);
    assert_eq!(
        firm.engine.store.plans(false).await.unwrap()[0].id,
        plan.id,
        "the same plan keeps its id"
    );
    let approval = firm.engine.approve(plan.id, alice()).await.unwrap();
    assert_eq!(
        (approval.run.state, approval.run.counts.create),
        (RunState::Succeeded, run.held),
        "{approval:?}"
    );
    assert_eq!(firm.active().await as u64, run.held);
    let quiet = firm.sync().await;
    assert_eq!(
        (quiet.state, quiet.counts.total(), quiet.held),
        (RunState::Succeeded, 0, 0),
        "{quiet:?}"
    );
    assert_eq!(
        firm.engine.store.verify_events(None).await.unwrap().map(|head| head.seq > run.held),
        Ok(true)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_plans_the_same_in_slices_as_in_one_piece() {
    let firm = Firm::of(120, |_| {}).await;
    let whole = crate::acme::restarted_with(&firm.engine, usize::MAX);
    let both = async || {
        let mut plans = Vec::new();
        for engine in [&firm.engine, &whole] {
            let directory = engine.directory("corp").unwrap();
            let request = Request::full(Trigger::Manual, Some(alice()));
            let Verdict { admitted, held, quarantined, .. } =
                engine.dry_run(&directory, &request).await.unwrap().planned.verdict;
            let applied = admitted.changes().map(|(change, _)| (change.digest(), None));
            let held = held.iter().map(|held| (held.change.digest(), Some(held.hold)));
            let rows = admitted.people().iter().map(|row| format!("{row:?}"));
            let plan: BTreeSet<_> = applied.chain(held).collect();
            plans.push((plan, rows.collect::<BTreeSet<_>>(), quarantined.len()));
        }
        let [sliced, whole] = plans.try_into().unwrap();
        assert_eq!(sliced, whole);
        whole.0.len()
    };
    assert!(both().await > 60, "everyone is created");
    firm.sync().await;
    firm.engine.approve(held_plan(&firm).await.id, alice()).await.unwrap();
    assert_eq!(both().await, 0);

    let users = firm.users().await;
    let (dn, mail) = (
        |n: usize| firm::dn_of(&users[n]),
        |n: usize| users[n].addresses.primary.as_ref().unwrap().as_str().to_owned(),
    );
    firm.sim.edit(|ad| {
        // Two people swap addresses, a third one wants that of a fourth, and some leave.
        ad.set(dn(0).as_str(), "mail", &mail(40));
        ad.set(dn(40).as_str(), "mail", &mail(0));
        ad.set(dn(1).as_str(), "mail", &mail(30));
        (10..25).for_each(|n| ad.disable(dn(n).as_str()));
    });
    hire(&firm);
    assert!(both().await > 10);
    let run = firm.sync().await;
    assert!(run.counts.suspend > 0 && run.quarantined > 0, "{run:?}");
    both().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unchanged_run_sends_few_searches_beside_its_pages_and_writes_no_user() {
    let firm = Firm::running(200, |c| c.settings.page_size = 1000).await;
    let before = firm.users().await;
    firm.sim.clear_log();
    firm.sync().await;
    let searches = firm.sim.log().searches().len();
    // Four more searches open the connection for DirSync, one reads the server's up-to-dateness, one the
    // moved containers, and one the foreign members of the groups.
    assert!(searches <= 1 + 15 + 4 + 4 + 1 + 1 + 1, "{searches} searches");
    assert_eq!(firm.users().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_user_is_suspended_and_an_enabled_one_reactivated() {
    let firm = Firm::running(100, |_| {}).await;
    let user = firm.users().await.remove(0);
    let dn = user.link.as_ref().unwrap().dn.as_str().to_owned();
    firm.sim.edit(|ad| ad.disable(dn.as_str()));
    let run = firm.sync().await;
    assert_eq!((run.counts.suspend, run.counts.total()), (1, 1), "{run:?}");
    let gone = firm.user(&user.id.to_string()).await;
    assert_eq!(
        gone.causes.weightiest().map(|c| (c.reason, c.evidence.value.clone())),
        Some((Reason::Disabled, "514".to_owned()))
    );
    firm.sim.edit(|ad| ad.enable(dn.as_str()));
    firm.sync().await;
    assert_eq!(firm.user(&user.id.to_string()).await.status(), Status::Active);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_user_without_a_visible_tombstone_is_suspended_after_a_recheck() {
    for visible in [true, false] {
        let firm = Firm::running(100, |_| {}).await;
        firm.sim.edit(|ad| ad.show_tombstones(visible));
        let user = firm.users().await.remove(0);
        firm.sim.edit(|ad| ad.delete(user.link.as_ref().unwrap().dn.as_str()));
        let run = firm.sync().await;
        let after = firm.user(&user.id.to_string()).await;
        if visible {
            assert_eq!(
                after.causes.weightiest().map(|c| c.reason),
                Some(Reason::Deleted),
                "{run:?}"
            );
            continue;
        }
        assert_eq!(after.status(), Status::Active, "{run:?}");
        assert_eq!(run.held, 0, "a grace period is not held");
        firm.later(GRACE_PERIOD);
        firm.sync().await;
        assert_eq!(
            firm.user(&user.id.to_string()).await.causes.weightiest().map(|c| c.reason),
            Some(Reason::Vanished)
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ou_that_becomes_invisible_is_held_and_suspends_no_user() {
    let firm = Firm::running(200, |_| {}).await;
    let before = firm.active().await;
    firm.sim.edit(|ad| ad.hide_subtree("Sales"));
    let run = firm.sync().await;
    firm.later(GRACE_PERIOD);
    let later = firm.sync().await;
    assert_eq!(firm.active().await, before);
    assert_eq!(later.state, RunState::Held, "{run:?}\n{later:?}");
    firm.sim.edit(|ad| ad.show_subtree("Sales"));
    let back = firm.sync().await;
    assert_eq!((back.held, firm.active().await), (0, before), "{back:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crashed_directory_fails_its_runs_until_it_is_back() {
    let firm = Firm::running(100, |_| {}).await;
    let before = firm.active().await;
    firm.sim.crash().await.unwrap();
    assert_eq!(firm.sync().await.state, RunState::Failed);
    firm.sim.restart().await.unwrap();
    assert_eq!(firm.sync().await.state, RunState::Succeeded);
    assert_eq!(firm.active().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_right_to_an_attribute_fails_the_run_and_names_the_attribute() {
    for attribute in ["userAccountControl", "mail", "primaryGroupID", "displayName"] {
        let firm = Firm::running(100, |_| {}).await;
        let before = firm.users().await;
        firm.sim.edit(|ad| ad.hide_attribute(attribute, None));
        let run = firm.sync().await;
        assert_eq!(run.state, RunState::Failed, "{attribute}");
        assert!(run.error.as_ref().unwrap().contains(attribute), "{run:?}");
        assert_eq!(firm.users().await, before, "{attribute}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_with_hidden_members_changes_no_user() {
    let firm = Firm::running(100, |_| {}).await;
    let before = firm.active().await;
    firm.sim.edit(|ad| {
        ad.hide_members(adsim::names::BASIC);
        ad.hide_members(adsim::names::PRO);
        ad.hide_attribute("memberOf", None);
    });
    firm.sync().await;
    firm.later(GRACE_PERIOD);
    firm.sync().await;
    assert_eq!(firm.active().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_tried_once_and_not_again_until_it_changes() {
    let firm = Firm::running(10, |_| {}).await;
    let file = firm.folder.path().join("password");
    std::fs::write(&file, "wrong").unwrap();
    firm.sim.clear_log();
    for _ in 0..3 {
        let run = firm.sync().await;
        assert_eq!(run.state, RunState::Failed);
        assert!(run.error.as_ref().unwrap().contains("52e"), "{run:?}");
    }
    assert_eq!(firm.sim.log().binds().len(), 1);
    std::fs::write(&file, format!("{}\n", firm.sim.service_password())).unwrap();
    assert_eq!(firm.sync().await.state, RunState::Succeeded);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_password_is_never_sent() {
    let firm = Firm::running(10, |_| {}).await;
    std::fs::write(firm.folder.path().join("password"), "\n").unwrap();
    firm.sim.clear_log();
    let run = firm.sync().await;
    assert!(run.error.as_ref().unwrap().contains("is empty"), "{run:?}");
    assert!(firm.sim.log().binds().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_narrowed_base_only_plans_until_it_is_approved() {
    let firm = Firm::running(60, |_| {}).await;
    let before = firm.active().await;
    let engineering = firm.sim.look(|ad| ad.dn("Engineering").clone());
    assert_eq!(firm.reconfigure(|c| c.settings.bases = vec![engineering]), ReloadOutcome::Rescoped);
    let run = firm.sync().await;
    assert_eq!(run.state, RunState::Held, "{run:?}");
    firm.later(GRACE_PERIOD);
    let run = firm.sync().await;
    assert_eq!((run.state, firm.active().await), (RunState::Held, before), "{run:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_warning_that_points_to_a_held_plan_ends_with_the_plan() {
    let firm = Firm::running(60, |c| c.limits.grace_period = Duration::ZERO).await;
    let address = firm.users().await[0].addresses.primary.clone().unwrap().to_string();
    firm.reconfigure(|c| c.exclude = vec![address]);
    assert_eq!(firm.sync().await.held, 1);
    let pointing = async |firm: &Firm| {
        let directory = firm.engine.directory("corp").unwrap();
        let status = firm.engine.directory_status(&directory).await.unwrap();
        let attention = status.attention.into_iter();
        attention.filter(|said| said.contains("rosterctl held")).collect::<Vec<_>>()
    };
    let said = pointing(&firm).await;
    assert_eq!(said.len(), 2, "the scope and the plan: {said:?}");
    assert!(said[0].starts_with("the configuration changed who is in scope"), "{said:?}");
    let plan = held_plan(&firm).await;
    let approval = firm.engine.approve(plan.id, alice()).await.unwrap();
    assert_eq!((approval.run.counts.suspend, approval.waiting.is_none()), (1, true));
    // No full run has taken place since.
    assert_eq!(pointing(&firm).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_accepts_the_scope_of_its_plan_and_no_later_one() {
    let firm = Firm::running(60, |c| c.limits.grace_period = Duration::ZERO).await;
    let before = firm.active().await;
    let address = firm.users().await[0].addresses.primary.clone().unwrap().to_string();
    firm.reconfigure(|c| c.exclude = vec![address]);
    assert_eq!(firm.sync().await.held, 1);
    let plan = firm.engine.store.plans(false).await.unwrap().remove(0);
    firm.reconfigure(|c| c.exclude.push("*@example.com".to_owned()));
    let approval = firm.engine.approve(plan.id, alice()).await.unwrap();
    assert_eq!((approval.run.counts.suspend, firm.active().await), (1, before - 1), "{approval:?}");
    let run = firm.sync().await;
    assert!(
        run.warnings.iter().any(|w| w.contains("the configuration changed who is in scope")),
        "no operator has seen the plan of the newer scope: {run:?}"
    );
    assert_eq!((run.state, firm.active().await), (RunState::Held, before - 1));
    let held = firm
        .engine
        .store
        .plan_summary(firm.engine.store.plans(false).await.unwrap()[0].id)
        .await
        .unwrap();
    assert!(held.iter().all(|h| h.hold == Some(rosterd::model::HoldReason::PlanOnly)), "{held:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_excluded_by_the_filter_is_suspended_with_the_attribute_as_evidence() {
    let text = "(!(employeeType=robot))";
    let filter = rosterd::model::Filter::parse(text).unwrap();
    let firm = Firm::running(60, |c| c.settings.filter = Some((text.to_owned(), filter))).await;
    let user = firm.users().await.remove(0);
    let dn = user.link.as_ref().unwrap().dn.as_str().to_owned();
    firm.sim.edit(|ad| ad.set(dn.as_str(), "employeeType", "robot"));
    firm.sync().await;
    firm.later(GRACE_PERIOD);
    let run = firm.sync().await;
    let cause = firm.user(&user.id.to_string()).await.causes.weightiest().cloned();
    assert_eq!(
        cause.map(|c| (c.reason, c.evidence.attribute, c.evidence.value)),
        Some((Reason::OutOfScope, "employeeType".into(), "robot".into())),
        "{run:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_joiner_is_created_and_an_operator_suspends_and_activates_it() {
    let firm = Firm::running(60, |_| {}).await;
    hire(&firm);
    let run = firm.sync().await;
    assert_eq!(run.counts.create, 1, "{run:?}");
    let suspended =
        firm.engine.suspend("new.bie@example.com", "left in anger", &alice()).await.unwrap();
    assert_eq!(suspended.status(), Status::Suspended);
    firm.sync().await;
    assert_eq!(firm.user("new.bie@example.com").await.status(), Status::Suspended);
    let (active, remains) = firm.engine.activate("new.bie@example.com", &alice()).await.unwrap();
    assert_eq!((active.status(), remains.len()), (Status::Active, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_that_times_out_fails_the_run_and_suspends_the_disabled_users_it_saw() {
    let firm = Firm::running(300, |c| c.settings.timeouts.run = Duration::from_secs(1)).await;
    let before = firm.active().await;
    let users: Vec<_> =
        firm.users().await.into_iter().filter_map(|u| u.link).map(|l| l.guid.to_string()).collect();
    let first = firm
        .sim
        .look(|ad| ad.people().into_iter().find(|p| users.contains(&p.to_string())))
        .unwrap();
    firm.sim.edit(|ad| ad.disable(first));
    firm.sim.faults().push(Fault::new(
        When::page(2).containing("objectcategory=person"),
        What::Delay(Duration::from_secs(3)),
    ));
    let run = firm.sync().await;
    assert_eq!(
        (run.state, run.counts.suspend, before - firm.active().await),
        (RunState::Failed, 1, 1),
        "{run:?}"
    );
    assert!(run.error.unwrap().contains("longer than 1s"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bind_that_ends_as_anonymous_fails_the_run() {
    let firm = Firm::running(20, |_| {}).await;
    let before = firm.active().await;
    firm.sim.faults().push(Fault::new(When::Bind, What::Anonymous).always());
    let run = firm.sync().await;
    assert_eq!((run.state, firm.active().await), (RunState::Failed, before), "{run:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_server_takes_over_and_absences_wait_for_its_replication() {
    let firm = Firm::running(60, |c| c.limits.grace_period = Duration::ZERO).await;
    let other = firm.sim.replica("DC2").unwrap();
    let url = rosterd::model::ServerUrl::parse(&other.ldaps_url()).unwrap();
    assert_eq!(firm.reconfigure(|c| c.settings.servers.push(url)), ReloadOutcome::Changed);
    let users = firm.users().await;
    let dn = |n: usize| users[n].link.as_ref().unwrap().dn.as_str().to_owned();
    firm.sim.crash().await.unwrap();
    firm.sim.edit(|ad| {
        ad.disable(dn(0).as_str());
        ad.purge(dn(1).as_str());
    });
    let run = firm.sync().await;
    assert_eq!(
        (run.error.as_deref(), run.counts.suspend),
        (None, 1),
        "a disabled user was seen, an absence waits: {run:?}"
    );
    firm.clock.advance(GRACE_PERIOD);
    other.set_clock_skew(11 * 60);
    let later = firm.sync().await;
    assert_eq!(later.counts.suspend, 1, "{later:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejected_import_stays_rejected_when_a_newcomer_is_created() {
    let firm = Firm::of(200, |_| {}).await;
    firm.sync().await;
    let plan = firm.engine.store.plans(false).await.unwrap().remove(0);
    firm.engine.reject(plan.id, "", &alice()).await.unwrap();
    let quiet = firm.sync().await;
    assert_eq!(
        (quiet.state, quiet.held, firm.users().await.len()),
        (RunState::Succeeded, 0, 0),
        "{quiet:?}"
    );
    hire(&firm);
    let again = firm.sync().await;
    assert_eq!(
        (again.counts.create, again.held),
        (1, 0),
        "one newcomer is within the limit, and the others stay rejected: {again:?}"
    );
    assert!(plan.count > 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_has_one_task_however_reloads_and_ends_of_terms_meet() {
    let firm = Firm::of(4, |_| {}).await;
    let configured = firm.engine.configured();
    let config = configured.directories.values().next().unwrap().config.clone();
    let (begins, ends) = (Barrier::new(2), Barrier::new(2));
    std::thread::scope(|threads| {
        threads.spawn(|| {
            for _ in 0..ROUNDS {
                begins.wait();
                firm.engine.end_term();
                ends.wait();
            }
        });
        let mut running: Vec<Arc<Directory>> = Vec::new();
        let claim = |running: &mut Vec<Arc<Directory>>| {
            let term = firm.engine.only_term();
            running.extend(firm.engine.claim_tasks(&term).directories);
        };
        for round in 0..ROUNDS {
            begins.wait();
            let config = DirectoryConfig { live: round % 2 == 0, ..config.clone() };
            firm.engine.reconfigure(vec![config], configured.rules.clone());
            claim(&mut running);
            ends.wait();
            claim(&mut running);
            running.retain(|directory| !directory.cancel_token().is_cancelled());
            assert_eq!(running.len(), 1, "round {round}");
        }
    });
}
