//! A failed query is no answer: it affects only its own result, and suspends or keeps active no
//! user.

use std::time::Duration;

use adsim::{Fault, NewPerson, What, When, names};
use rosterd::engine::Request;
use rosterd::model::{Dn, Guid, HoldReason, Reason, RunState, Status, Tier, Trigger, User};

use super::{DAY, again, dn_of, followed, guid_of, held_plan, see_tombstones, tick};
use crate::firm::Firm;

/// The OID of the DirSync control.
const DIRSYNC: &str = "1.2.840.113556.1.4.841";
const QUARTER: Duration = Duration::from_mins(15);

fn asks_for_changes() -> When {
    When::search().containing("organizationalunit")
}

/// Returns the octets of a GUID in the form of a search filter.
fn octets(guid: Guid) -> String {
    let octets: Vec<String> = guid.to_ad().iter().map(|byte| format!("\\{byte:02x}")).collect();
    octets.concat()
}

/// Returns a user whose GUID is no text, so that the simulator writes it as octets.
fn with_octets(users: &[User]) -> User {
    let is_text = |user: &&User| {
        std::str::from_utf8(&user.link.as_ref().expect("a link").guid.to_ad()).is_ok()
    };
    users.iter().find(|user| !is_text(user)).expect("a GUID that is no text").clone()
}

async fn held(firm: &Firm) -> u64 {
    firm.engine.store.plans(false).await.expect("plans").first().map_or(0, |plan| plan.count)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_run_succeeds_however_the_dirsync_query_fails() {
    for what in [
        What::Cut,
        What::CutInsideFrame,
        What::Stall,
        What::result(53, "unwilling"),
        What::OmitDirSyncControl,
    ] {
        let firm =
            Firm::running(20, |c| c.settings.timeouts.operation = Duration::from_secs(1)).await;
        let user = firm.users().await.remove(0);
        firm.sim.edit(|ad| ad.disable(dn_of(&user).as_str()));
        firm.sim.faults().push(Fault::new(asks_for_changes(), what.clone()).always());
        let run = firm.sync().await;
        assert_eq!(
            (run.state, run.error.as_deref()),
            (RunState::Succeeded, None),
            "{what:?}: {run:?}"
        );
        assert!(
            run.warnings.iter().any(|w| w.starts_with("changes are not followed")),
            "{what:?}: {:?}",
            run.warnings
        );
        assert_eq!(again(&firm, &user).await.status(), Status::Suspended, "{what:?}");
        // The next tick is a full read, with its reason.
        let run = tick(&firm).await;
        assert_eq!(
            (run.mode.as_str(), run.state),
            ("full", RunState::Succeeded),
            "{what:?}: {run:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tick_is_a_full_read_when_the_dirsync_query_is_cut() {
    let firm = followed(20, |c| c.settings.timeouts.operation = Duration::from_secs(1)).await;
    let user = firm.users().await.remove(0);
    firm.sim.edit(|ad| ad.disable(dn_of(&user).as_str()));
    firm.sim.faults().push(Fault::new(asks_for_changes(), What::Cut).always());
    let run = tick(&firm).await;
    assert_eq!(
        (run.mode.as_str(), run.state, run.counts.suspend),
        ("full", RunState::Succeeded, 1),
        "{run:?}"
    );
    assert!(
        run.full_read_reason
            .as_deref()
            .is_some_and(|why| why.starts_with("changes cannot be asked for")),
        "{run:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_never_asked_for_changes_without_incremental() {
    let firm = followed(20, |c| {
        c.incremental = false;
        c.live = true;
    })
    .await;
    let user = firm.users().await.remove(0);
    firm.sim.edit(|ad| ad.disable(dn_of(&user).as_str()));
    let run = tick(&firm).await;
    assert_eq!(
        (run.mode.as_str(), run.counts.suspend, run.full_read_reason.as_deref()),
        ("full", 1, Some("incremental = false")),
        "{run:?}"
    );
    assert_eq!(
        run.warnings,
        Vec::<String>::new(),
        "what the configuration says needs no attention"
    );
    let found = firm.engine.check_directory("corp").await.expect("a check");
    assert!(
        found.steps.iter().any(|step| step.finding.contains("incremental = false")),
        "{found:?}"
    );
    let asked =
        firm.sim.log().searches().iter().filter(|search| search.has_control(DIRSYNC)).count();
    assert_eq!(asked, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leaver_is_suspended_although_a_query_beside_the_read_ends_the_connection() {
    for what in [What::Cut, What::result(51, "busy")] {
        let firm = Firm::running(20, |_| {}).await;
        let service = firm.sim.look(|ad| ad.guid("svc-rosterd"));
        let questions: [(&str, When); 4] = [
            ("the schema", When::search().containing("attributeschema")),
            ("a canary", When::search().based_at(&format!("<guid={service}>"))),
            ("the groups", When::search().containing("objectcategory=group")),
            ("the changes", asks_for_changes()),
        ];
        for (place, (name, when)) in questions.into_iter().enumerate() {
            let user = firm.users().await.remove(place);
            firm.sim.edit(|ad| ad.disable(guid_of(&user)));
            firm.sim.faults().push(Fault::new(when, what.clone()).always());
            let run = firm.sync().await;
            assert_eq!(
                again(&firm, &user).await.status(),
                Status::Suspended,
                "{name}, {what:?}: {run:?}"
            );
            firm.sim.faults().clear();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_that_does_not_exist_keeps_no_leaver_active() {
    let firm = Firm::running(20, |_| {}).await;
    firm.reconfigure(|c| c.settings.canaries = vec!["CN=Nobody,OU=Nowhere,DC=corp".to_owned()]);
    let user = firm.users().await.remove(0);
    firm.sim.edit(|ad| ad.disable(guid_of(&user)));
    let run = firm.sync().await;
    assert!(
        run.error.as_deref().is_some_and(|error| error.contains("canary CN=Nobody")),
        "{run:?}"
    );
    assert_eq!(again(&firm, &user).await.status(), Status::Suspended);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tombstone_counts_after_a_read_that_was_not_complete() {
    for what in [What::result(51, "busy"), What::Cut] {
        let firm = followed(40, |_| {}).await;
        let users = firm.users().await;
        firm.sim.edit(|ad| {
            ad.delete(guid_of(&users[0]));
            ad.disable(guid_of(&users[1]));
        });
        // The first page of people fails, so that no person is seen at all.
        firm.sim
            .faults()
            .push(Fault::new(When::page(1).containing("objectcategory=person"), what.clone()));
        let run = firm.sync().await;
        assert_eq!(run.state, RunState::Failed, "{what:?}: {run:?}");
        let reasons = [again(&firm, &users[0]).await, again(&firm, &users[1]).await]
            .map(|u| u.causes.weightiest().map(|c| c.reason));
        assert_eq!(reasons, [Some(Reason::Deleted), Some(Reason::Disabled)], "{what:?}: {run:?}");
        assert_eq!(firm.active().await, firm.users().await.len() - 2, "{what:?}: no other user");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_query_about_one_person_affects_only_that_person() {
    for what in [What::result(1, "operations error"), What::Cut] {
        let firm = followed(60, |_| {}).await;
        let users = firm.users().await;
        let poison = with_octets(&users);
        let other = users.iter().find(|u| u.id != poison.id).expect("another user").clone();
        firm.sim.edit(|ad| [&poison, &other].into_iter().for_each(|u| ad.delete(guid_of(u))));
        let about = When::search().containing(&octets(poison.link.as_ref().expect("a link").guid));
        firm.sim.faults().push(Fault::new(about, what.clone()).always());
        let run = tick(&firm).await;
        assert_eq!(run.mode.as_str(), "incremental", "{run:?}");
        assert_eq!(again(&firm, &other).await.status(), Status::Suspended, "{what:?}: {run:?}");
        assert_eq!(
            again(&firm, &poison).await.status(),
            Status::Active,
            "{what:?}: nothing was seen of this person"
        );
        assert!(
            run.warnings.iter().any(|w| w.contains("could not be asked for")),
            "{what:?}: {run:?}"
        );
        // The next tick repeats the failed query, although nothing changes.
        firm.sim.faults().clear();
        let run = tick(&firm).await;
        assert_eq!(
            (run.mode.as_str(), again(&firm, &poison).await.status()),
            ("incremental", Status::Suspended),
            "{what:?}: {run:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_base_that_is_gone_keeps_no_leaver_active() {
    let firm = Firm::running(60, |c| {
        let root = c.settings.bases[0].clone();
        c.settings.bases =
            vec![format!("OU=Engineering,OU=Staff,{root}"), format!("OU=Finance,OU=Staff,{root}")];
        c.limits.grace_period = Duration::ZERO;
    })
    .await;
    let mut engineers = firm.users().await.into_iter().filter(|u| dn_of(u).contains("Engineering"));
    let (user, other, bystander) =
        (engineers.next().unwrap(), engineers.next().unwrap(), engineers.next().unwrap());
    // Finance is dissolved: its people move, and the OU is deleted.
    firm.sim.edit(|ad| {
        for person in ad.people() {
            if ad.dn(person).contains("OU=Finance") {
                ad.move_to(person, "Engineering");
            }
        }
        ad.delete("Finance");
    });
    firm.sync().await;
    firm.sim.edit(|ad| {
        ad.disable(guid_of(&user));
        ad.move_to(guid_of(&user), "Sales");
        ad.disable(guid_of(&other));
        ad.set(guid_of(&bystander), "title", "Chief");
    });
    let directory = firm.engine.directory("corp").unwrap();
    let people = [&other, &bystander].map(|u| u.link.as_ref().unwrap().guid);
    let run =
        firm.engine.run(&directory, Request::people(Trigger::Live, people, None)).await.unwrap();
    assert_eq!(
        (run.state, run.counts.suspend, run.counts.update),
        (RunState::Succeeded, 1, 1),
        "the base of both answers: {run:?}"
    );
    firm.sync().await;
    let now = (again(&firm, &user).await.status(), again(&firm, &other).await.status());
    assert_eq!(now, (Status::Suspended, Status::Suspended), "both are disabled, and readable");
    // Moved out of the remaining base, and enabled. The base that holds the entry is unknown.
    firm.sim.edit(|ad| ad.move_to(guid_of(&bystander), "Sales"));
    firm.sync().await;
    assert_eq!(again(&firm, &bystander).await.status(), Status::Active);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invisible_user_is_held_where_tombstones_are_visible_however_old_its_row_is() {
    for days in [1, 200] {
        let firm = Firm::running(60, |_| {}).await;
        see_tombstones(&firm).await;
        let user = firm.users().await.remove(0);
        for _ in 0..4 {
            firm.later(DAY * days / 4);
            assert_eq!(firm.sync().await.error, None, "every run is full");
        }
        // The right to see this entry is lost.
        firm.sim.edit(|ad| ad.hide_entry(guid_of(&user)));
        firm.sync().await;
        firm.later(Duration::from_mins(11));
        let second = firm.sync().await;
        let now = again(&firm, &user).await;
        assert_eq!(
            (now.status(), second.held),
            (Status::Active, 1),
            "after {days} days: {:?}",
            now.causes.weightiest()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_deleted_during_half_a_year_without_runs_has_left() {
    let firm = Firm::running(60, |_| {}).await;
    see_tombstones(&firm).await;
    let user = firm.users().await.remove(0);
    // No run for longer than a tombstone lives: it may have come and gone.
    firm.later(DAY * 200);
    firm.sim.edit(|ad| ad.purge(guid_of(&user)));
    firm.sync().await;
    // The last read could have seen the person; the one before it is too long ago.
    firm.later(Duration::from_mins(11));
    let held = firm.sync().await;
    let now = again(&firm, &user).await;
    assert!(now.status() == Status::Suspended || held.held == 1, "{:?} {held:?}", now.status());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_moved_to_an_invisible_ou_is_noticed_by_the_next_tick() {
    for is_disabled in [true, false] {
        let firm = followed(60, |_| {}).await;
        let user = firm.users().await.remove(0);
        firm.sim.edit(|ad| {
            ad.add_ou("", "Leavers");
            ad.hide_subtree("Leavers");
            if is_disabled {
                ad.disable(guid_of(&user));
            }
            ad.move_to(guid_of(&user), "Leavers");
        });
        firm.later(QUARTER);
        let run = tick(&firm).await;
        assert_eq!(
            (run.mode.as_str(), run.held, held(&firm).await),
            ("incremental", 1, 1),
            "disabled {is_disabled}: {run:?}"
        );
        assert_eq!(held_plan(&firm).await.count, 1);
        // Once the OU is readable, the leaver is suspended, and the other user stays active.
        firm.sim.edit(|ad| ad.show_subtree("Leavers"));
        let run = tick(&firm).await;
        let expected = if is_disabled { Status::Suspended } else { Status::Active };
        assert_eq!(
            (again(&firm, &user).await.status(), held(&firm).await),
            (expected, 0),
            "disabled {is_disabled}: {run:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_incremental_run_continues_when_visible_people_cannot_be_listed() {
    let firm = followed(40, |_| {}).await;
    let user = firm.users().await.remove(0);
    firm.sim.edit(|ad| ad.disable(guid_of(&user)));
    let listing = When::page(1)
        .containing("(&(objectcategory=person)(objectclass=user)(!(samaccounttype=805306370)))");
    firm.sim.faults().push(Fault::new(listing, What::result(51, "busy")));
    let run = tick(&firm).await;
    assert_eq!(
        (run.mode.as_str(), run.state, run.counts.suspend),
        ("incremental", RunState::Succeeded, 1),
        "{run:?}"
    );
    assert!(run.warnings.iter().any(|w| w.contains("could not be compared")), "{run:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_without_a_guid_proves_no_absence() {
    let firm = Firm::running(40, |c| c.limits.grace_period = Duration::ZERO).await;
    let users = firm.users().await;
    // One entry hides its GUID, so it may be any person, also the absent one.
    firm.sim.edit(|ad| {
        ad.hide_attribute("objectGUID", Some(dn_of(&users[1]).into()));
        ad.purge(guid_of(&users[0]));
    });
    let run = firm.sync().await;
    let now = [again(&firm, &users[0]).await.status(), again(&firm, &users[1]).await.status()];
    assert_eq!(now, [Status::Active, Status::Active], "{run:?}");
    firm.sim.edit(|ad| ad.show_attribute("objectGUID"));
    firm.sync().await;
    assert_eq!(
        again(&firm, &users[0]).await.status(),
        Status::Suspended,
        "no other person remains that it could be"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_members_of_a_nested_group_that_is_restored_have_their_tier_by_the_next_tick() {
    let firm = followed(20, |_| {}).await;
    let user = firm.users().await.remove(0);
    firm.sim.edit(|ad| {
        ad.set_recycle_bin(true);
        let (middle, inner) =
            (ad.add_group(names::GROUPS, "Middle"), ad.add_group(names::GROUPS, "Inner"));
        ad.add_member(names::PRO, middle);
        ad.add_member(middle, inner);
        for group in [names::PRO, names::PRO_NESTED] {
            ad.remove_member(group, guid_of(&user));
        }
        ad.add_member(inner, guid_of(&user));
        ad.add_member(names::BASIC, guid_of(&user));
    });
    tick(&firm).await;
    assert_eq!(again(&firm, &user).await.tier, Tier::Pro);
    let middle = firm.sim.look(|ad| ad.guid("Middle"));
    firm.sim.edit(|ad| ad.delete(middle));
    tick(&firm).await;
    assert_eq!(again(&firm, &user).await.tier, Tier::Basic);
    firm.sim.edit(|ad| ad.restore(middle));
    let run = tick(&firm).await;
    assert_eq!(
        (run.mode.as_str(), again(&firm, &user).await.tier),
        ("incremental", Tier::Pro),
        "{run:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_joiner_after_a_failed_query_is_created_by_the_next_tick() {
    let firm = followed(20, |_| {}).await;
    let joiner =
        NewPerson::new("joiner").mail("joiner@example.com").ou("Finance").member_of(names::BASIC);
    firm.sim.edit(|ad| ad.add_person(joiner));
    firm.sim.faults().push(
        Fault::new(When::search().containing("(objectguid="), What::result(51, "busy")).always(),
    );
    let run = tick(&firm).await;
    assert!(run.state == RunState::Failed, "no person could be queried: {run:?}");
    firm.sim.faults().clear();
    let run = tick(&firm).await;
    assert_eq!(
        (run.mode.as_str(), firm.user("joiner@example.com").await.status()),
        ("incremental", Status::Active),
        "{run:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_of_an_ou_below_is_no_witness_of_an_absence() {
    let firm = followed(40, |c| c.limits.grace_period = Duration::ZERO).await;
    firm.sim.edit(|ad| {
        ad.hide_tombstones(true);
        ad.add_ou("Sales", "Interns");
        let intern = NewPerson::new("intern").mail("intern@example.com").ou("Interns");
        ad.add_person(intern.member_of(names::BASIC));
    });
    firm.sync().await;
    let before = firm.active().await;
    // AD lets a reader list each container by a right of its own.
    firm.sim.edit(|ad| ad.hide_children("Sales"));
    for _ in 0..2 {
        firm.sync().await;
        firm.later(DAY);
    }
    let held = firm.engine.store.plan_summary(held_plan(&firm).await.id).await.expect("a plan");
    assert!(held.iter().all(|group| group.hold == Some(HoldReason::NoWitness)), "{held:?}");
    assert_eq!(firm.active().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_joiner_whom_an_unknown_ou_left_undecided_joins_with_the_next_tick() {
    let firm = followed(40, |_| {}).await;
    let robots = firm.sim.edit(|ad| ad.add_ou("Staff", "Robots"));
    let ou = Dn::new(firm.sim.look(|ad| ad.dn("Robots")));
    firm.reconfigure(|c| c.settings.exclude_ou = vec![ou]);
    for _ in 0..2 {
        assert_eq!(firm.sync().await.error, None);
    }
    let is_asked = When::search().based_at(&format!("<GUID={robots}>"));
    firm.sim.faults().push(Fault::new(is_asked, What::result(51, "busy")));
    firm.sim.edit(|ad| {
        let new = NewPerson::new("eve").mail("eve@example.com").ou("Finance");
        ad.add_person(new.member_of(names::BASIC));
    });
    let (undecided, next) = (tick(&firm).await, tick(&firm).await);
    assert_eq!(undecided.mode.as_str(), "incremental", "{undecided:?}");
    assert_eq!((undecided.counts.create, next.counts.create), (0, 1), "{undecided:?} {next:?}");
}
