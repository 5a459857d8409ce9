//! Incremental runs (gauntlet 83 to 97): their scope, and the cases that need a full read.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use adsim::{Fault, NewPerson, Sim, What, When, names};
use rosterd::engine::{Following, Request, Scope};
use rosterd::model::{
    Address, ChangeClass, Cron, Reason, RunMode, RunState, ServerUrl, Status, Tier, Trigger,
};
use rosterd::reconcile::Checkpoint;
use rosterd::store::Run;

use crate::firm::{Firm, alice, checkpoint, followed, no_full_runs, tick};
use crate::hooks::until;

impl Firm {
    /// Returns the request of the schedule at this time.
    async fn due(&self) -> Request {
        self.engine.scheduled(&self.engine.directory("corp").expect("corp")).await
    }

    /// Changes the stored checkpoint.
    async fn change_checkpoint(&self, change: impl FnOnce(&mut Checkpoint) + Send) {
        let name = self.engine.directory("corp").expect("corp").config.name.clone();
        let change = |state: &mut rosterd::store::DirectoryState| {
            change(state.checkpoint.as_mut().expect("a position"))
        };
        self.engine.store.change_directory(&name, change).await.expect("a state");
    }

    /// Returns people with an active user: name in the directory and address.
    fn staff(&self, count: usize) -> Vec<(String, String)> {
        self.sim.look(|ad| {
            let people = ad.people().into_iter().filter_map(|guid| {
                Some((ad.value(guid, "sAMAccountName")?, ad.value(guid, "mail")?))
            });
            people.filter(|(name, _)| !name.starts_with("svc")).take(count).collect()
        })
    }

    /// Starts the directory's background task. Returns when it follows changes.
    pub(crate) async fn keep(&self) {
        let directory = self.engine.directory("corp").expect("corp");
        tokio::spawn(Arc::clone(&self.engine).run_triggers(Arc::clone(&directory)));
        let has_begun = |runs: Vec<Run>| {
            runs.iter().any(|run| run.trigger == Trigger::Startup && run.finished_at.is_some())
        };
        until("the first full read is done", async || has_begun(self.runs().await).then_some(()))
            .await;
        until("changes are followed", async || {
            (directory.following() == Following::Live).then_some(())
        })
        .await;
    }

    pub(crate) async fn is_suspended(&self, who: &str) {
        until("a leaver is suspended", async || {
            let user = self.user(who).await;
            (user.status() == Status::Suspended).then_some(())
        })
        .await;
    }

    async fn runs(&self) -> Vec<Run> {
        self.engine.store.runs(Some("corp"), 1_000).await.expect("runs")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_incremental_run_reads_only_changed_people_in_any_number_of_rounds() {
    for round in [0, 1, 2] {
        let firm = followed(40, |_| {}).await;
        assert_eq!(
            (tick(&firm).await.mode.as_str(), tick(&firm).await.entries),
            ("incremental", 0),
            "nothing has changed"
        );
        firm.sim.set_dirsync_round(round);
        let leavers = firm.staff(3);
        firm.sim.edit(|ad| leavers.iter().for_each(|(name, _)| ad.disable(name.as_str())));
        firm.sim.clear_log();
        let run = tick(&firm).await;
        assert_eq!(
            (run.mode.as_str(), run.entries, run.counts.suspend, run.state),
            ("incremental", 3, 3, RunState::Succeeded),
            "{run:?}"
        );
        let asked = firm
            .sim
            .log()
            .searches()
            .iter()
            .filter(|search| search.has_control("1.2.840.113556.1.4.841"))
            .count();
        assert_eq!(
            asked,
            if round == 0 { 1 } else { 3_usize.div_ceil(round) },
            "rounds of {round}"
        );
        assert_eq!(tick(&firm).await.entries, 0, "the changes were handled");
    }
}

/// An event, and the full-read reason that it causes.
type Obstacle = (&'static str, fn(&Sim), fn(&mut Checkpoint), &'static str);

#[tokio::test(flavor = "multi_thread")]
async fn an_unusable_checkpoint_causes_a_full_read_with_its_reason() {
    let nothing: fn(&mut Checkpoint) = |_| {};
    let faults: [fn(&Sim); 3] = [
        |sim| {
            sim.faults().push(Fault::new(
                When::search().containing("organizationalunit"),
                What::OmitDirSyncControl,
            ))
        },
        |sim| {
            sim.faults().push(
                Fault::new(When::search().containing("organizationalunit"), What::RepeatCookie)
                    .always(),
            )
        },
        |sim| {
            sim.faults().push(Fault::new(
                When::search().containing("organizationalunit"),
                What::result(51, "busy"),
            ))
        },
    ];
    let table: &[Obstacle] = &[
        (
            "an invalid cookie",
            |_| {},
            |position| position.cookie = b"garbage".to_vec(),
            "cannot be asked for",
        ),
        ("a server that was set back", |sim| sim.set_usn_offset(-10_000), nothing, "set back"),
        (
            "another database",
            |sim| sim.set_invocation_id(uuid::Uuid::from_u128(7)),
            nothing,
            "another copy of its database",
        ),
        (
            "another server",
            |_| {},
            |position| position.server.ds_service_name = "CN=elsewhere".to_owned(),
            "another server",
        ),
        (
            "another scope fingerprint",
            |_| {},
            |position| position.measure = "another".to_owned(),
            "the configuration has changed",
        ),
        (
            "a long absence",
            |_| {},
            |position| position.at = position.at.minus(Duration::from_hours(31 * 24)),
            "is too old",
        ),
        (
            "deletions that cannot be seen",
            |sim| sim.edit(|ad| ad.show_tombstones(false)),
            nothing,
            "sees no deleted objects",
        ),
        ("an answer without its control", faults[0], nothing, "no control"),
        ("an answer without progress", faults[1], nothing, "circles"),
        ("a refusal", faults[2], nothing, "51"),
    ];
    for (what, obstacle, memory, told) in table {
        let firm = followed(20, |_| {}).await;
        let (name, address) = firm.staff(1).remove(0);
        firm.sim.edit(|ad| ad.disable(name.as_str()));
        obstacle(&firm.sim);
        firm.change_checkpoint(memory).await;
        let due = firm.due().await;
        let because = due.full_read_reason.as_ref().map(ToString::to_string).unwrap_or_default();
        assert!(due.scope == Scope::All && because.contains(told), "{what}: {due:?}");
        firm.sim.faults().clear();
        let run =
            firm.engine.run(&firm.engine.directory("corp").unwrap(), due).await.expect("a run");
        assert_eq!(
            (run.mode.as_str(), run.full_read_reason.as_deref(), run.counts.suspend),
            ("full", Some(because.as_str()), 1),
            "{what}: {run:?}"
        );
        let is_alarm = run.warnings.iter().any(|warning| warning.contains("set back"));
        assert_eq!(is_alarm, *told == "set back", "{what}: {:?}", run.warnings);
        assert_eq!(
            firm.user(&address).await.causes.weightiest().map(|c| c.reason),
            Some(Reason::Disabled),
            "{what}"
        );
        firm.sim.edit(|ad| ad.show_tombstones(true));
        let after = tick(&firm).await;
        assert_eq!(
            (after.mode.as_str(), after.error.as_deref()),
            ("incremental", None),
            "{what}: later runs are incremental: {after:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_run_keeps_the_checkpoint_so_that_its_changes_are_read_again() {
    let firm = followed(20, |_| {}).await;
    let (name, address) = firm.staff(1).remove(0);
    firm.sim.edit(|ad| ad.disable(name.as_str()));
    let before = checkpoint(&firm).await;
    firm.sim.faults().push(Fault::new(When::search().containing("(objectguid="), What::Cut));
    let failed = tick(&firm).await;
    assert_eq!(
        (failed.mode.as_str(), failed.state),
        ("incremental", RunState::Failed),
        "{failed:?}"
    );
    assert_eq!(checkpoint(&firm).await, before, "the checkpoint has not moved");
    let run = tick(&firm).await;
    assert_eq!((run.mode.as_str(), run.counts.suspend), ("incremental", 1), "{run:?}");
    assert_eq!(firm.user(&address).await.status(), Status::Suspended);
    assert_ne!(checkpoint(&firm).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_deletion_of_a_group_changes_the_tier_of_its_nested_members() {
    let firm = followed(20, |_| {}).await;
    let (name, address) = firm.staff(1).remove(0);
    firm.sim.edit(|ad| {
        let (middle, inner) =
            (ad.add_group(names::GROUPS, "Middle"), ad.add_group(names::GROUPS, "Inner"));
        ad.add_member(names::PRO, middle);
        ad.add_member(middle, inner);
        for group in [names::PRO, names::PRO_NESTED] {
            ad.remove_member(group, name.as_str());
        }
        ad.add_member(inner, name.as_str());
        ad.add_member(names::BASIC, name.as_str());
    });
    assert_eq!(tick(&firm).await.mode, RunMode::Incremental);
    assert_eq!(firm.user(&address).await.tier, Tier::Pro);
    firm.sim.edit(|ad| ad.delete("Middle"));
    let run = tick(&firm).await;
    assert_eq!(
        (run.mode.as_str(), firm.user(&address).await.tier),
        ("incremental", Tier::Basic),
        "{run:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_user_is_suspended_although_no_entry_has_changed() {
    let firm = followed(20, |_| {}).await;
    let (name, address) = firm.staff(1).remove(0);
    let at = firm.clock.now().plus(Duration::from_mins(5));
    firm.sim.edit(|ad| ad.set(name.as_str(), "accountExpires", &at.to_filetime().to_string()));
    assert_eq!(
        (tick(&firm).await.entries, firm.user(&address).await.status()),
        (1, Status::Active)
    );
    firm.later(Duration::from_mins(6));
    let run = tick(&firm).await;
    assert_eq!(
        (run.mode.as_str(), run.entries, run.counts.suspend),
        ("incremental", 1, 1),
        "{run:?}"
    );
    assert_eq!(
        firm.user(&address).await.causes.weightiest().map(|c| c.reason),
        Some(Reason::Expired)
    );
    assert_eq!(tick(&firm).await.entries, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_with_an_unreadable_attribute_is_read_again_by_every_run() {
    let firm = followed(20, |_| {}).await;
    let (name, address) = firm.staff(1).remove(0);
    firm.sim.edit(|ad| ad.hide_attribute("userAccountControl", Some(name.as_str().into())));
    assert_eq!(firm.sync().await.error, None);
    firm.sim.edit(|ad| ad.disable(name.as_str()));
    assert_eq!(
        (tick(&firm).await.mode.as_str(), firm.user(&address).await.status()),
        ("incremental", Status::Active),
        "the attribute is unreadable"
    );
    firm.sim.edit(|ad| ad.show_attribute("userAccountControl"));
    assert_eq!(
        (tick(&firm).await.mode.as_str(), firm.user(&address).await.status()),
        ("incremental", Status::Suspended)
    );
    assert_eq!(tick(&firm).await.entries, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_on_another_server_does_not_move_the_checkpoint() {
    let firm = followed(20, |_| {}).await;
    let replica = firm.sim.replica("DC2").expect("another server");
    firm.reconfigure(|config| {
        config.settings.servers.push(ServerUrl::parse(&replica.ldaps_url()).expect("a URL"))
    });
    assert_eq!(tick(&firm).await.mode, RunMode::Incremental);
    let (name, _) = firm.staff(1).remove(0);
    firm.sim.edit(|ad| ad.disable(name.as_str()));
    let (before, due) = (checkpoint(&firm).await, firm.due().await);
    firm.sim.crash().await.expect("a crash");
    let run = firm.engine.run(&firm.engine.directory("corp").unwrap(), due).await.expect("a run");
    assert_eq!(
        (run.mode.as_str(), run.error.as_deref(), run.counts.suspend),
        ("incremental", None, 1),
        "{run:?}"
    );
    assert_eq!(checkpoint(&firm).await, before, "the other server may be behind");
    let because =
        firm.due().await.full_read_reason.map(|doubt| doubt.to_string()).unwrap_or_default();
    assert!(because.contains("another server"), "{because}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_during_the_dirsync_query_is_not_lost() {
    type During = (&'static str, fn(&Firm, String));
    let during: [During; 3] = [
        ("during the DirSync query", |firm, name| {
            let edit = What::edit(move |ad| ad.disable(name.as_str()));
            firm.sim.faults().push(Fault::new(
                When::search().containing("organizationalunit").after_entries(1),
                edit,
            ));
        }),
        ("during the read of the changed people", |firm, name| {
            let edit = What::edit(move |ad| ad.disable(name.as_str()));
            firm.sim.faults().push(Fault::new(When::search().containing("(objectguid="), edit));
        }),
        ("during the full read", |firm, name| {
            let edit = What::edit(move |ad| ad.disable(name.as_str()));
            firm.sim.faults().push(Fault::new(
                When::search().containing("objectcategory=person").after_entries(9),
                edit,
            ));
        }),
    ];
    for (when, arm) in during {
        let firm = followed(10, |_| {}).await;
        let [(first, _), (second, address)] =
            <[_; 2]>::try_from(firm.staff(2)).expect("two people");
        firm.sim.edit(|ad| ad.set(first.as_str(), "title", "First"));
        arm(&firm, second);
        if when.contains("full read") {
            firm.sync().await;
        } else {
            tick(&firm).await;
        }
        assert_eq!(firm.sim.faults().pending(), 0, "{when}: the fault has occurred");
        let run = tick(&firm).await;
        assert_eq!(
            (run.mode.as_str(), firm.user(&address).await.status()),
            ("incremental", Status::Suspended),
            "{when}: {run:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_incomplete_full_read_is_not_repaired_by_an_incremental_run() {
    let firm = followed(20, |_| {}).await;
    let directory = firm.engine.directory("corp").expect("corp");
    let state =
        async || firm.engine.directory_status(&directory).await.expect("a status").state.as_str();
    firm.sim.faults().push(Fault::new(
        When::search().containing("objectcategory=person"),
        What::result(53, "no"),
    ));
    assert_eq!((firm.sync().await.state, state().await), (RunState::Failed, "degraded"));
    let (name, address) = firm.staff(1).remove(0);
    firm.sim.edit(|ad| ad.disable(name.as_str()));
    let person = firm.user(&address).await.link.expect("a managed user").guid;
    let run = firm
        .engine
        .run(&directory, Request::people(Trigger::Manual, [person], None))
        .await
        .expect("a run");
    assert_eq!(
        (run.counts.suspend, state().await),
        (1, "degraded"),
        "the change is applied, and the directory stays degraded: {run:?}"
    );
    let run = tick(&firm).await;
    assert_eq!(
        (run.mode.as_str(), run.error.as_deref(), state().await),
        ("full", None, "ok"),
        "{run:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_read_follows_its_schedule_and_every_rebaseline() {
    let firm = followed(20, |config| {
        config.full = Cron::parse("@daily", chrono_tz::Tz::UTC).expect("a schedule")
    })
    .await;
    assert_ne!(firm.due().await.scope, Scope::All);
    firm.later(Duration::from_hours(25));
    let due = firm.due().await;
    assert_eq!((due.scope, due.full_read_reason), (Scope::All, None), "the full read is due");
    tick(&firm).await;
    assert_ne!(firm.due().await.scope, Scope::All);
    firm.engine.rebaseline("corp", &alice()).await.expect("a rebaseline");
    assert_eq!(firm.due().await.scope, Scope::All, "a rebaseline needs a full read");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leaver_does_not_wait_for_a_long_full_read() {
    let firm = followed(30, |config| {
        (config.live, config.settings.page_size) = (true, 10);
        config.settings.timeouts.operation = Duration::from_mins(1);
    })
    .await;
    firm.keep().await;
    let (name, address) = firm.staff(1).remove(0);
    firm.sim.faults().push(Fault::new(When::page(2), What::Stall));
    let engine = Arc::clone(&firm.engine);
    let full = tokio::spawn(async move {
        let directory = engine.directory("corp").expect("corp");
        engine.run(&directory, Request::full(Trigger::Manual, Some(alice()))).await
    });
    until("the full read is under way", async || (firm.sim.faults().fired() > 0).then_some(()))
        .await;
    firm.sim.edit(|ad| ad.disable(name.as_str()));
    firm.is_suspended(&address).await;
    assert!(!full.is_finished(), "the full read continues");
    full.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_of_a_followed_change_is_recorded_though_a_reload_ends_it() {
    let firm = followed(10, |config| {
        config.live = true;
        config.settings.timeouts.operation = Duration::from_mins(1);
    })
    .await;
    firm.keep().await;
    let (name, _) = firm.staff(1).remove(0);
    firm.sim.faults().push(Fault::new(When::search().containing("objectguid="), What::Stall));
    firm.sim.edit(|ad| ad.set(name.as_str(), "title", "Chief"));
    let running = async || firm.runs().await.into_iter().find(|run| run.state == RunState::Running);
    let run = until("a live run reads", async || {
        let is_stalled = firm.sim.faults().fired() > 0;
        running().await.filter(|run| is_stalled && run.trigger == Trigger::Live)
    })
    .await;
    firm.reconfigure(|config| config.exclude.push("nobody@example.com".to_owned()));
    until("its end is recorded", async || running().await.is_none().then_some(())).await;
    let ended = firm.runs().await.into_iter().find(|other| other.id == run.id).expect("the run");
    assert_eq!(ended.state, RunState::Cancelled, "{ended:?}");
    let directory = firm.engine.directory("corp").expect("corp");
    let status = firm.engine.directory_status(&directory).await.expect("a status");
    assert!(status.running.is_none(), "{:?}", status.running);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_notifications_is_polled() {
    type Silence = (&'static str, fn(&Sim));
    let silence: [Silence; 2] = [
        ("a refusal", |sim| sim.set_notifications(false)),
        ("silence after accepting the search", |sim| sim.mute_notifications(true)),
    ];
    for (what, silence) in silence {
        // Without a scheduled run, only the poll can find the change.
        let firm = followed(10, |config| {
            config.live = true;
            config.schedule = no_full_runs();
        })
        .await;
        silence(&firm.sim);
        firm.keep().await;
        let (name, address) = firm.staff(1).remove(0);
        firm.sim.edit(|ad| ad.disable(name.as_str()));
        firm.is_suspended(&address).await;
        let run = until("its run is recorded", async || {
            firm.runs().await.into_iter().find(|run| run.counts.suspend > 0)
        })
        .await;
        assert_eq!((run.trigger, run.mode.as_str()), (Trigger::Live, "incremental"), "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_in_quick_succession_share_runs() {
    let firm = followed(60, |config| config.live = true).await;
    firm.keep().await;
    let before = firm.runs().await.len();
    let people = firm.staff(50);
    for (n, (name, _)) in people.iter().enumerate() {
        firm.sim.edit(|ad| ad.set(name.as_str(), "title", &format!("Title {n}")));
    }
    let last = people.last().expect("a person").1.clone();
    until("the last change is applied", async || {
        (firm.user(&last).await.profile.title.as_deref() == Some("Title 49")).then_some(())
    })
    .await;
    let runs = firm.runs().await.len() - before;
    assert!(runs < 25, "{runs} runs");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_leavers_share_runs_and_let_an_operator_s_run_between() {
    let firm = followed(1_400, |config| {
        config.live = true;
        let confirmed = config.limits.classes.get_mut(&ChangeClass::Confirmed);
        confirmed.expect("a limit").percent = 100;
    })
    .await;
    firm.keep().await;
    let before = firm.runs().await.len();
    let active = async || -> BTreeSet<String> {
        let users = firm.users().await.into_iter().filter(|user| user.status() == Status::Active);
        users.filter_map(|user| user.addresses.primary).map(|a| a.as_str().to_owned()).collect()
    };
    let with_user = active().await;
    let mut staff = firm.staff(1_400);
    staff.retain(|(_, mail)| with_user.contains(mail));
    let leavers: BTreeSet<String> =
        staff.iter().take(1_000).map(|(_, mail)| mail.clone()).collect();
    let staying: BTreeSet<String> = with_user.difference(&leavers).cloned().collect();
    assert_eq!(leavers.len(), 1_000);
    for (name, _) in &staff[..1_000] {
        firm.sim.edit(|ad| ad.disable(name.as_str()));
    }
    let one = staying.first().expect("somebody stays");
    let run = firm.engine.sync_user(one, &alice()).await.expect("a run");
    assert_eq!(run.error, None);
    until("all leavers are suspended", async || active().await.is_disjoint(&leavers).then_some(()))
        .await;
    assert_eq!(active().await, staying, "nobody else is suspended");
    let runs = firm.runs().await.len() - before;
    assert!(runs < 50, "{runs} runs");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_directory_is_not_followed_and_catches_up_when_resumed() {
    let firm = followed(10, |config| config.live = true).await;
    firm.keep().await;
    let (other, their_address) = firm.staff(2).remove(1);
    firm.sim.edit(|ad| ad.disable(other.as_str()));
    firm.is_suspended(&their_address).await;
    firm.engine.pause("corp", None, &alice()).await.expect("a pause");
    let directory = firm.engine.directory("corp").expect("corp");
    let (name, address) = firm.staff(1).remove(0);
    firm.sim.edit(|ad| ad.disable(name.as_str()));
    until("the directory is not followed", async || {
        (directory.following() == Following::Inactive(None)).then_some(())
    })
    .await;
    assert_eq!(firm.user(&address).await.status(), Status::Active);
    firm.engine.resume("corp", &alice()).await.expect("the end of the pause");
    firm.is_suspended(&address).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_domain_released_during_the_read_gets_no_user() {
    let firm = Firm::running(10, |_| {}).await;
    firm.sim.edit(|ad| {
        ad.add_person(NewPerson::new("new").mail("new@example.com").member_of(names::BASIC))
    });
    let (begun, is_begun) = std::sync::mpsc::channel();
    let (proceed, may_proceed) = std::sync::mpsc::channel();
    let gate = std::sync::Mutex::new((begun, may_proceed));
    firm.sim.faults().push(Fault::new(
        When::search().containing("objectcategory=person").after_entries(1),
        What::edit(move |_| {
            let (begun, may_proceed) = &*gate.lock().expect("one read");
            begun.send(()).expect("a test that waits");
            may_proceed.recv().expect("a released domain");
        }),
    ));
    let engine = Arc::clone(&firm.engine);
    let full = tokio::spawn(async move {
        let directory = engine.directory("corp").expect("corp");
        engine.run(&directory, Request::full(Trigger::Manual, Some(alice()))).await
    });
    tokio::task::spawn_blocking(move || is_begun.recv()).await.expect("a read").expect("an entry");
    firm.engine.release("example.com", None, &alice()).await.expect("a release");
    proceed.send(()).expect("a read that waits");
    let run = full.await.expect("no panic").expect("a run");
    assert_eq!((run.error.as_deref(), run.counts.create), (None, 0), "{run:?}");
    let address = Address::parse("new@example.com").expect("an address");
    assert_eq!(firm.engine.store.user_by_address(&address.key()).await.expect("no user"), None);
}
