//! Two domain controllers that differ about who is in scope. Neither the move of an OU nor a membership
//! writes anything on the people.

use rosterd::model::{Filter, Reason, Status};

use super::sites::{Sites, on_two_controllers, person};
use super::{BASIC, DOMAIN};

const LEAVER: &str = "p0030";
const STAFF: &str = "OU=Staff,DC=corp,DC=example,DC=com";
const EVERYONE: &str = "CN=Everyone here,OU=Groups,DC=corp,DC=example,DC=com";

/// Applies another scope, with the changes that it asks for, and replicates what was prepared.
async fn narrow(sites: &Sites, change: impl FnOnce(&mut rosterd::engine::DirectoryConfig)) {
    sites.dc1.samba("repl", &["dc2"]);
    sites.reconfigure(change);
    sites.sync().await;
    sites.approve_all().await;
    sites.sync().await;
}

/// Checks on dc1 and then on dc2, which has not heard of it, that one person has left and one has come.
async fn one_left_and_one_came(sites: &Sites, joiner: &str) {
    sites.sync().await;
    sites.approve_all().await;
    assert_eq!(sites.reason(LEAVER).await, Some(Reason::OutOfScope));
    let joiner = format!("{joiner}@example.com");
    assert_eq!(sites.user(&joiner).await.status(), Status::Active);
    sites
        .continue_on_dc2(async |when| {
            assert_eq!(sites.reason(LEAVER).await, Some(Reason::OutOfScope), "{when}");
            assert_eq!(sites.user(&joiner).await.status(), Status::Active, "{when}");
        })
        .await;
    sites.dc1.samba("restart", &[]);
    sites.dc1.samba("repl", &["dc2"]);
    sites.sync().await;
    assert_eq!(sites.user(&joiner).await.status(), Status::Active, "dc2 has heard of it");
    assert_eq!(sites.reason(LEAVER).await, Some(Reason::OutOfScope));
}

#[ignore = "needs the lab: tests/run"]
#[test]
fn a_moved_ou_is_not_moved_back_by_a_server_that_has_not_heard_of_it() {
    on_two_controllers(async |sites| {
        let add =
            |dn: &str| format!("dn: {dn}\nchangetype: add\nobjectClass: organizationalUnit\n\n");
        let (sales, archive) = (format!("OU=Sales,{STAFF}"), format!("OU=Archive,{DOMAIN}"));
        let bought = format!("OU=Bought,{archive}");
        sites.dc1.ldif(&(add(&sales) + &add(&archive) + &add(&bought)));
        sites.dc1.move_to(&person(LEAVER), &sales);
        sites.dc1.hire(&format!("CN=bought.one,{bought}"), "bought.one", BASIC);
        narrow(&sites, |config| config.settings.bases = vec![STAFF.to_owned()]).await;
        sites.dc1.move_to(&sales, &archive);
        sites.dc1.move_to(&bought, STAFF);
        one_left_and_one_came(&sites, "bought.one").await;
    });
}

#[ignore = "needs the lab: tests/run"]
#[test]
fn a_membership_of_the_filter_is_not_undone_by_a_server_that_has_not_heard_of_it() {
    on_two_controllers(async |sites| {
        sites.dc1.hire(&person("new.hire"), "new.hire", BASIC);
        let group = format!(
            "dn: {EVERYONE}\nchangetype: add\nobjectClass: group\nsAMAccountName: Everyone here"
        );
        let member = |n: u32| format!("member: {}", person(&format!("p{n:04}")));
        let lines: Vec<String> = std::iter::once(group).chain((0..200).map(member)).collect();
        sites.dc1.ldif(&(lines.join("\n") + "\n"));
        let filter = format!("(memberOf={EVERYONE})");
        let parsed = Filter::parse(&filter).expect("a filter");
        narrow(&sites, |config| config.settings.filter = Some((filter, parsed))).await;
        sites.dc1.leave(EVERYONE, &person(LEAVER));
        sites.dc1.join(EVERYONE, &person("new.hire"));
        one_left_and_one_came(&sites, "new.hire").await;
    });
}
