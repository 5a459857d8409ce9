//! Changes on the domain controller of another site, which the one in use has not heard of.

use std::time::{Duration, Instant};

use rosterd::engine::Following;
use rosterd::model::{Address, ChangeClass, FollowedServers, Reason, Status, Timestamp};
use rosterd::reconcile::Limit;

use super::sites::{Sites, on_two_controllers, person};
use super::{BASIC, file_time};
use crate::acme;
use crate::hooks::until;

const DC1: &str = "ldaps://10.77.0.11";
const DC2: &str = "ldaps://10.77.0.12";

/// Follows changes, those of further servers as configured.
async fn watch(sites: &Sites, watch: FollowedServers) {
    sites.reconfigure(|config| (config.live, config.watch) = (true, watch));
    let directory = sites.engine.directory("corp").expect("corp");
    tokio::spawn(
        std::sync::Arc::clone(&sites.engine).run_triggers(std::sync::Arc::clone(&directory)),
    );
    until("changes are followed", async || {
        (directory.following() == Following::Live).then_some(())
    })
    .await;
}

/// Returns since when changes of dc2 are followed, and the highest USN of them.
async fn followed(sites: &Sites) -> Option<(Timestamp, u64)> {
    let directory = sites.engine.directory("corp").expect("corp");
    let status = sites.engine.directory_status(&directory).await.expect("a status");
    let since = status.servers.iter().find(|server| server.url == DC2)?.followed_since?;
    let state = sites.engine.store.directory(&directory.config.name).await.expect("its state");
    let usn = state.followed.values().map(|checkpoint| checkpoint.usn).max()?;
    assert_eq!(state.server.as_deref(), Some(DC1), "it is not the server in use");
    Some((since, usn))
}

/// Waits until dc2 is followed up to its present USN.
async fn caught_up(sites: &Sites) {
    let usn = sites.dc2.highest_usn();
    until("dc2 is followed", async || {
        sites.engine.look_at_servers().await;
        followed(sites).await.filter(|(_, followed)| *followed >= usn)
    })
    .await;
}

async fn left<const N: usize>(sites: &Sites, names: [&str; N], reasons: [Reason; N]) {
    let reasons = reasons.map(Some);
    until("the leavers are suspended", async || {
        (sites.reasons(names).await == reasons).then_some(())
    })
    .await;
}

#[ignore = "needs the lab: tests/run"]
#[test]
fn a_leaver_on_the_server_of_another_site_is_suspended_within_seconds() {
    on_two_controllers(async |sites| {
        watch(&sites, FollowedServers::Sites).await;
        caught_up(&sites).await;
        let names = ["p0040", "p0041", "p0042"];
        let reasons = [Reason::Disabled, Reason::Deleted, Reason::Expired];
        let begun = Instant::now();
        sites.dc2.disable(&person("p0040"));
        left(&sites, ["p0040"], [Reason::Disabled]).await;
        let took = begun.elapsed();
        assert!(took < Duration::from_secs(15), "{took:?}");
        sites.dc2.delete(&person("p0041"));
        sites.dc2.set(&person("p0042"), &[("accountExpires", &file_time(1_600_000_000))]);
        left(&sites, names, reasons).await;
        let user = sites.user("p0040@example.com").await;
        let cause = user.causes.weightiest().expect("a cause");
        assert_eq!(cause.evidence.server, DC2);
        assert!(followed(&sites).await.is_some());
        // No run over dc1 lifts it.
        sites
            .later(async |when| {
                assert_eq!(sites.reasons(names).await, reasons.map(Some), "{when}");
            })
            .await;
    });
}

#[ignore = "needs the lab: tests/run"]
#[test]
fn a_suspended_leaver_on_another_server_stays_out_when_the_first_reason_ends() {
    on_two_controllers(async |sites| {
        watch(&sites, FollowedServers::Sites).await;
        caught_up(&sites).await;
        let (who, alice) = ("p0045@example.com", acme::alice());
        sites.engine.suspend(who, "leave", &alice).await.expect("a suspension");
        sites.dc2.disable(&person("p0045"));
        caught_up(&sites).await;
        let (user, _) = sites.engine.activate(who, &alice).await.expect("a lift");
        assert_eq!(user.status(), Status::Suspended);
        assert_eq!(sites.reason("p0045").await, Some(Reason::Disabled));
        sites.sync().await;
        assert_eq!(sites.reason("p0045").await, Some(Reason::Disabled));
    });
}

#[ignore = "needs the lab: tests/run"]
#[test]
fn a_held_suspension_of_another_site_is_applied_when_it_is_approved() {
    on_two_controllers(async |sites| {
        let protected = Address::parse("p0044@example.com").expect("an address");
        sites.reconfigure(|config| config.protect = vec![protected]);
        sites.sync().await;
        watch(&sites, FollowedServers::Sites).await;
        caught_up(&sites).await;
        sites.dc2.disable(&person("p0044"));
        let plan = until("the suspension is held", async || {
            sites.engine.store.plans(false).await.expect("plans").first().map(|plan| plan.id)
        })
        .await;
        // A run over dc1, which has not heard of it, does not withdraw the plan.
        sites.sync().await;
        assert_eq!(sites.reason("p0044").await, None);
        let approval = sites.engine.approve(plan, acme::alice()).await.expect("an approval");
        assert_eq!(approval.run.server.as_deref(), Some(DC2));
        assert_eq!(sites.reason("p0044").await, Some(Reason::Disabled));
        assert!(approval.waiting.is_none());
    });
}

#[ignore = "needs the lab: tests/run"]
#[test]
fn a_person_enabled_on_the_server_in_use_outlasts_an_older_change_elsewhere() {
    on_two_controllers(async |sites| {
        watch(&sites, FollowedServers::Sites).await;
        caught_up(&sites).await;
        sites.dc2.disable(&person("p0040"));
        left(&sites, ["p0040"], [Reason::Disabled]).await;
        sites.dc1.disable(&person("p0040"));
        sites.dc1.enable(&person("p0040"));
        until("the newer change lifts it", async || {
            sites.reason("p0040").await.is_none().then_some(())
        })
        .await;
        // dc2 reports the person again, who is still disabled there.
        sites.dc2.set(&person("p0040"), &[("accountExpires", "0")]);
        // A person who stays as it is, and whom nobody has written on dc1.
        sites.dc2.set(&person("p0043"), &[("title", "Admiral"), ("mail", "new@example.com")]);
        caught_up(&sites).await;
        assert_eq!(sites.reason("p0040").await, None);
        sites.user("p0043@example.com").await;
    });
}

#[ignore = "needs the lab: tests/run"]
#[test]
fn a_further_server_that_stops_harms_its_own_follower_alone() {
    on_two_controllers(async |sites| {
        watch(&sites, FollowedServers::Sites).await;
        caught_up(&sites).await;
        for (state, back, name) in [("freeze", "thaw", "p0050"), ("crash", "restart", "p0051")] {
            sites.dc2.samba(state, &[]);
            let begun = Instant::now();
            sites.dc1.disable(&person(name));
            left(&sites, [name], [Reason::Disabled]).await;
            let took = begun.elapsed();
            assert!(took < Duration::from_secs(15), "{state}: {took:?}");
            until("the status shows it", async || followed(&sites).await.is_none().then_some(()))
                .await;
            assert_eq!(sites.sync().await.server.as_deref(), Some(DC1));
            sites.dc2.samba(back, &[]);
            caught_up(&sites).await;
        }
        // Its changes during a break are not lost.
        watch(&sites, FollowedServers::One).await;
        until("it is not followed", async || followed(&sites).await.is_none().then_some(())).await;
        sites.dc2.disable(&person("p0052"));
        sites.sync().await;
        assert_eq!(sites.reason("p0052").await, None, "dc1 has not heard of it");
        watch(&sites, FollowedServers::All).await;
        sites.engine.look_at_servers().await;
        left(&sites, ["p0052"], [Reason::Disabled]).await;
    });
}

#[ignore = "needs the lab: tests/run"]
#[test]
fn a_further_server_that_was_set_back_is_followed_anew_and_lifts_nothing() {
    on_two_controllers(async |sites| {
        watch(&sites, FollowedServers::Sites).await;
        sites.dc2.samba("snapshot", &[]);
        caught_up(&sites).await;
        sites.dc2.disable(&person("p0053"));
        left(&sites, ["p0053"], [Reason::Disabled]).await;
        sites.dc2.samba("set-back", &[]);
        caught_up(&sites).await;
        assert_eq!(sites.reason("p0053").await, Some(Reason::Disabled));
        sites.dc2.disable(&person("p0054"));
        left(&sites, ["p0053", "p0054"], [Reason::Disabled; 2]).await;
        assert_eq!(sites.sync().await.held, 0);
    });
}

#[ignore = "needs the lab: tests/run"]
#[test]
fn a_joiner_who_is_disabled_on_another_server_before_the_approval_gets_no_user() {
    on_two_controllers(async |sites| {
        let nobody = Limit { percent: 0, at_least: 0, at_most: None };
        sites.reconfigure(|config| {
            config.limits.classes.insert(ChangeClass::Create, nobody);
        });
        let names = ["early", "late"];
        for name in names {
            sites.dc1.hire(&person(name), name, BASIC);
        }
        sites.dc1.samba("repl", &["dc2"]);
        watch(&sites, FollowedServers::Sites).await;
        let plan = until("the creations are held", async || {
            let plans = sites.engine.store.plans(false).await.expect("plans");
            plans.first().filter(|plan| plan.count == 2).map(|plan| plan.id)
        })
        .await;
        caught_up(&sites).await;
        sites.dc2.disable(&person("early"));
        caught_up(&sites).await;
        sites.engine.approve(plan, acme::alice()).await.expect("an approval");
        sites.user("late@example.com").await;
        let found = sites.engine.find_user("early@example.com").await;
        assert!(found.is_err(), "{found:?}");
        // The server in use hears of it and of the return before the next run, so that the approval
        // is still valid.
        sites.reconfigure(|config| config.live = false);
        sites.dc2.samba("repl", &["dc1"]);
        sites.dc1.enable(&person("early"));
        sites.sync().await;
        assert_eq!(sites.user("early@example.com").await.status(), Status::Active);
    });
}

#[ignore = "needs the lab: tests/run"]
#[test]
fn a_leaver_whom_only_the_former_server_shows_is_found_when_that_server_is_followed() {
    on_two_controllers(async |sites| {
        sites.dc1.disable(&person("p0060"));
        sites.dc1.samba("crash", &[]);
        assert_eq!(sites.sync().await.server.as_deref(), Some(DC2));
        assert_eq!(sites.reason("p0060").await, None, "dc2 has not heard of it");
        sites.dc1.samba("restart", &[]);
        watch(&sites, FollowedServers::Sites).await;
        until("dc1 is followed", async || {
            sites.engine.look_at_servers().await;
            (sites.reason("p0060").await == Some(Reason::Disabled)).then_some(())
        })
        .await;
        let cause = sites.user("p0060@example.com").await.causes.weightiest().cloned();
        assert_eq!(cause.expect("a cause").evidence.server, DC1);
    });
}

#[ignore = "needs the lab: tests/run"]
#[test]
fn a_leaver_of_before_another_server_was_followed_is_suspended_when_it_is() {
    on_two_controllers(async |sites| {
        sites.dc2.disable(&person("p0020"));
        watch(&sites, FollowedServers::Sites).await;
        until("dc2 is followed", async || {
            sites.engine.look_at_servers().await;
            (sites.reason("p0020").await == Some(Reason::Disabled)).then_some(())
        })
        .await;
    });
}

#[ignore = "needs the lab: tests/run"]
#[test]
fn a_leaver_whom_a_full_run_saw_before_it_had_a_user_gets_none_from_a_server_behind() {
    on_two_controllers(async |sites| {
        for name in ["early", "late"] {
            sites.dc1.hire(&person(name), name, BASIC);
        }
        sites.dc1.samba("repl", &["dc2"]);
        sites.dc1.disable(&person("early"));
        sites.sync().await;
        sites.user("late@example.com").await;
        sites
            .continue_on_dc2(async |when| {
                let found = sites.engine.find_user("early@example.com").await;
                assert!(found.is_err(), "{when}: {found:?}");
            })
            .await;
    });
}
