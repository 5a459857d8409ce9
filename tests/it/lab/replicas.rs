//! Two domain controllers, of which one has not heard of the changes on the other.

use rosterd::engine::UserQuery;
use rosterd::model::{DirectoryName, Reason, Status, Tier, User};

use super::sites::{Sites, on_two_controllers, person};
use super::{BASIC, PRO, file_time};
use crate::acme;

const LEAVERS: [&str; 4] = ["p0030", "p0031", "p0037", "p0033"];
const REASONS: [Option<Reason>; 4] =
    [Some(Reason::Disabled), Some(Reason::Deleted), Some(Reason::Expired), Some(Reason::NoGroup)];

/// Makes four people leave on dc1, and suspends them.
async fn four_leave(sites: &Sites) {
    let [disabled, deleted, expired, without_group] = LEAVERS.map(person);
    sites.dc1.disable(&disabled);
    sites.dc1.delete(&deleted);
    sites.dc1.set(&expired, &[("accountExpires", &file_time(1_600_000_000))]);
    sites.dc1.leave(BASIC, &without_group);
    let run = sites.sync().await;
    assert_eq!((run.counts.suspend, run.held), (4, 0), "{run:?}");
    assert_eq!(sites.reasons(LEAVERS).await, REASONS);
}

#[ignore = "needs the lab: tests/run"]
#[test]
fn a_leaver_stays_suspended_on_a_server_that_has_not_heard_of_it() {
    on_two_controllers(async |sites| {
        four_leave(&sites).await;
        sites
            .continue_on_dc2(async |when| {
                assert_eq!(sites.reasons(LEAVERS).await, REASONS, "{when}");
            })
            .await;
    });
}

#[ignore = "needs the lab: tests/run"]
#[test]
fn a_returner_is_active_as_soon_as_the_second_server_has_caught_up() {
    on_two_controllers(async |sites| {
        sites.dc1.disable(&person("p0030"));
        sites.sync().await;
        sites.read_only_from("ldaps://10.77.0.12");
        sites.sync().await;
        assert_eq!(sites.reason("p0030").await, Some(Reason::Disabled), "dc2 has not heard of it");
        sites.dc1.enable(&person("p0030"));
        sites.sync().await;
        assert_eq!(sites.reason("p0030").await, Some(Reason::Disabled), "dc2 has heard of neither");
        sites.dc1.samba("repl", &["dc2"]);
        let run = sites.sync().await;
        assert_eq!(sites.reason("p0030").await, None, "dc2 knows both: {run:?}");
    });
}

#[ignore = "needs the lab: tests/run"]
#[test]
fn a_person_enabled_again_on_the_second_server_is_active_at_once() {
    on_two_controllers(async |sites| {
        // dc2 hears of it, and enables the account again.
        sites.dc1.disable(&person("p0030"));
        sites.sync().await;
        sites.dc1.samba("repl", &["dc2"]);
        sites.dc2.enable(&person("p0030"));
        sites.dc1.samba("crash", &[]);
        let run = sites.sync().await;
        assert_eq!(sites.reason("p0030").await, None, "without a delay: {run:?}");
    });
}

/// Suspends three people whose departure dc1 then forgets.
async fn three_are_forgotten(sites: &Sites, how: &str) {
    let names = ["p0110", "p0111", "p0112"];
    let reasons = [Some(Reason::Disabled), Some(Reason::Disabled), Some(Reason::Deleted)];
    sites.dc1.samba("snapshot", &[]);
    let [first, second, deleted] = names.map(person);
    sites.dc1.disable(&first);
    sites.dc1.disable(&second);
    sites.dc1.delete(&deleted);
    sites.sync().await;
    assert_eq!(sites.reasons(names).await, reasons);
    sites.dc1.samba(how, &[]);
    let check = async |when: &str| {
        assert_eq!(sites.reasons(names).await, reasons, "{how}, {when}");
    };
    let run = sites.sync().await;
    assert_eq!(run.server.as_deref(), Some("ldaps://10.77.0.11"));
    check("at once").await;
    // Its highest USN is soon above the one of before.
    for name in ["p0120", "p0121", "p0122", "p0123", "p0124", "p0125"] {
        sites.dc1.set(&person(name), &[("description", "after the server was put back")]);
    }
    sites.sync().await;
    check("after further changes").await;
    sites.later(check).await;
}

#[ignore = "needs the lab: tests/run"]
#[test]
fn a_server_that_was_set_back_lifts_nothing_that_it_has_forgotten() {
    on_two_controllers(async |sites| three_are_forgotten(&sites, "set-back").await);
}

#[ignore = "needs the lab: tests/run"]
#[test]
fn a_server_that_was_restored_lifts_nothing_that_it_has_forgotten() {
    on_two_controllers(async |sites| three_are_forgotten(&sites, "restore").await);
}

#[ignore = "needs the lab: tests/run"]
#[test]
fn a_new_hire_is_not_suspended_by_a_server_that_has_not_heard_of_the_hire() {
    on_two_controllers(async |sites| {
        // Without access to deleted objects, an absence is the only sign of a deletion.
        sites.dc1.samba("revoke-tombstones", &[]);
        sites.dc2.samba("revoke-tombstones", &[]);
        sites.dc1.hire(&person("new.hire"), "new.hire", BASIC);
        sites.sync().await;
        assert_eq!(sites.user("new.hire@example.com").await.status(), Status::Active);
        sites
            .continue_on_dc2(async |when| {
                assert_eq!(sites.reason("new.hire").await, None, "{when}");
            })
            .await;
    });
}

#[ignore = "needs the lab: tests/run"]
#[test]
fn an_address_change_is_not_undone_by_a_server_that_has_not_heard_of_it() {
    on_two_controllers(async |sites| {
        sites.dc1.set(&person("p0035"), &[("mail", "renamed@example.com")]);
        sites.sync().await;
        let id = sites.user("renamed@example.com").await.id.to_string();
        let primary =
            async || sites.user(&id).await.addresses.primary.map(|a| a.as_str().to_owned());
        assert_eq!(primary().await.as_deref(), Some("renamed@example.com"));
        sites
            .continue_on_dc2(async |when| {
                assert_eq!(primary().await.as_deref(), Some("renamed@example.com"), "{when}");
            })
            .await;
    });
}

#[ignore = "needs the lab: tests/run"]
#[test]
fn a_tier_change_is_not_undone_by_a_server_that_has_not_heard_of_it() {
    on_two_controllers(async |sites| {
        for (name, from, to) in [("p0036", PRO, BASIC), ("p0034", BASIC, PRO)] {
            sites.dc1.leave(from, &person(name));
            sites.dc1.join(to, &person(name));
        }
        sites.sync().await;
        let tier = async |name| sites.user(&format!("{name}@example.com")).await.tier;
        let tiers = async || (tier("p0036").await, tier("p0034").await);
        assert_eq!(tiers().await, (Tier::Basic, Tier::Pro));
        sites
            .continue_on_dc2(async |when| {
                assert_eq!(tiers().await, (Tier::Basic, Tier::Pro), "{when}");
            })
            .await;
    });
}

#[ignore = "needs the lab: tests/run"]
#[test]
fn a_server_that_knows_more_suspends_at_once() {
    on_two_controllers(async |sites| {
        sites.dc2.disable(&person("p0040"));
        sites.dc2.delete(&person("p0041"));
        sites.sync().await;
        assert_eq!(sites.reasons(["p0040", "p0041"]).await, [None, None], "dc1 has not heard");
        sites.dc1.samba("crash", &[]);
        sites.sync().await;
        assert_eq!(
            sites.reasons(["p0040", "p0041"]).await,
            [Some(Reason::Disabled), Some(Reason::Deleted)]
        );
    });
}

#[ignore = "needs the lab: tests/run"]
#[test]
fn a_server_is_trusted_about_the_users_that_were_named_before() {
    on_two_controllers(async |sites| {
        let behind = async || {
            let behind = Some(DirectoryName::parse("corp").expect("a name"));
            let query = UserQuery { behind, limit: 10, ..UserQuery::default() };
            let users = sites.engine.list_users(query).await.expect("users").users;
            let name = |user: User| user.addresses.primary.expect("an address").to_string();
            users.into_iter().map(name).collect::<Vec<_>>()
        };
        sites.dc1.disable(&person("p0036"));
        sites.sync().await;
        assert_eq!(behind().await, Vec::<String>::new());
        sites.dc1.samba("crash", &[]);
        sites.sync().await;
        assert_eq!(sites.reason("p0036").await, Some(Reason::Disabled));
        assert_eq!(behind().await, ["p0036@example.com"]);
        sites.engine.trust_server("corp", &acme::alice()).await.expect("a status");
        sites.sync().await;
        assert_eq!(sites.reason("p0036").await, None);
        assert_eq!(behind().await, Vec::<String>::new());
    });
}
