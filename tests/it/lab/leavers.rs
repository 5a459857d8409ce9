//! Leaving in all the ways of AD, and returning.

use rosterd::model::{Reason, RunState, Status, Tier};

use super::branch::{Branch, PROVISIONED};
use super::{BASIC, DOMAIN, file_time, staff};

#[ignore = "needs the lab: tests/run"]
#[tokio::test(flavor = "multi_thread")]
async fn the_first_import_creates_users_with_their_tiers_names_and_addresses() {
    let branch = Branch::of(|_| {}).await;
    let run = branch.sync().await;
    assert_eq!(
        (run.state, run.complete, run.error.as_deref()),
        (RunState::Succeeded, true, None),
        "{run:?}"
    );
    let users = branch.users().await;
    let pro: Vec<&str> = users
        .iter()
        .filter(|u| u.tier == Tier::Pro)
        .filter_map(|u| u.profile.surname.as_deref())
        .collect();
    assert_eq!((users.len(), pro.len()), (PROVISIONED, 15), "{pro:?}");
    for (who, tier, why) in [
        ("grace.hopper", Tier::Pro, "by primary group"),
        ("margaret.hamilton", Tier::Pro, "by a group in a group in Roster Pro"),
        ("dennis.ritchie", Tier::Pro, "Pro wins over Basic"),
        ("oskar.nilsson", Tier::Basic, "by primary group"),
        ("sam.o'brien", Tier::Basic, "a name with an apostrophe"),
    ] {
        assert_eq!(branch.user(&format!("{who}@example.com")).await.tier, tier, "{who}: {why}");
    }
    let ada = branch.user("ada@example.com").await;
    let secondary: Vec<&str> =
        ada.addresses.secondary.iter().map(rosterd::model::Address::as_str).collect();
    assert_eq!(secondary, ["ada@example.com"], "countess@example.org is of an unclaimed domain");
    assert_eq!(
        branch.user("chloe.martin@example.com").await.profile.display_name.as_deref(),
        Some("Chloé Martin")
    );
    assert_eq!(
        branch.user("elif.yilmaz@example.com").await.profile.surname.as_deref(),
        Some("Yılmaz")
    );
    for absent in [
        "victor.hugo",
        "tom.becker",
        "uma.patel",
        "ivan.petrov",
        "rita",
        "quentin.roy",
        "administrator",
    ] {
        assert!(
            branch.engine.find_user(&format!("{absent}@example.com")).await.is_err(),
            "{absent} is not provisioned"
        );
    }
    assert!(
        branch.engine.find_user("rita@partner.test").await.is_err(),
        "an unclaimed domain provisions no user"
    );
    branch.quiet("the second run changes nothing").await;
}

#[ignore = "needs the lab: tests/run"]
#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_or_expired_person_is_suspended_and_returns_as_the_same_user() {
    let branch = Branch::running(|_| {}).await;
    let (alan, hana) = (staff("Engineering", "Alan Turing"), staff("Sales", "Hana Suzuki"));
    let before = branch.user("alan.turing@example.com").await;
    branch.lab.disable(&alan);
    branch.lab.set(&hana, &[("accountExpires", &file_time(1_600_000_000))]);
    let run = branch.sync().await;
    assert_eq!((run.counts.suspend, run.counts.total()), (2, 2), "{run:?}");
    assert_eq!(branch.reason("alan.turing@example.com").await, Some(Reason::Disabled));
    assert_eq!(branch.reason("hana.suzuki@example.com").await, Some(Reason::Expired));
    branch.lab.enable(&alan);
    branch.lab.set(&hana, &[("accountExpires", "0")]);
    let run = branch.sync().await;
    assert_eq!((run.counts.reactivate, run.counts.total()), (2, 2), "{run:?}");
    assert_eq!(branch.user("alan.turing@example.com").await.id, before.id);
    branch.quiet("all users are back").await;
}

#[ignore = "needs the lab: tests/run"]
#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_person_is_suspended_with_or_without_visible_tombstones() {
    for (can_see, reason) in [(true, Reason::Deleted), (false, Reason::Vanished)] {
        let branch = Branch::running(|_| {}).await;
        if can_see {
            branch.lab.samba("grant-tombstones", &[]);
        }
        branch.lab.delete(&staff("Sales", "George Smith"));
        let run = branch.sync().await;
        assert_eq!(
            (run.state, run.counts.suspend, run.counts.total()),
            (RunState::Succeeded, 1, 1),
            "{run:?}"
        );
        assert_eq!(
            branch.reason("george.smith@example.com").await,
            Some(reason),
            "tombstones visible: {can_see}"
        );
        branch.quiet("a second run changes nothing").await;
        assert_eq!(branch.active().await, PROVISIONED - 1);
    }
}

#[ignore = "needs the lab: tests/run"]
#[tokio::test(flavor = "multi_thread")]
async fn a_restored_object_is_the_same_user_again() {
    let branch = Branch::running(|_| {}).await;
    branch.lab.samba("grant-tombstones", &[]);
    let george = staff("Sales", "George Smith");
    let before = branch.user("george.smith@example.com").await;
    branch.lab.delete(&george);
    branch.sync().await;
    assert_eq!(branch.reason("george.smith@example.com").await, Some(Reason::Deleted));
    let guid = before.link.as_ref().expect("a link").guid;
    let found = branch.lab.samba(
        "search",
        &["-E", "1.2.840.113556.1.4.417", "(&(isDeleted=TRUE)(sAMAccountName=george.smith))", "dn"],
    );
    let tombstone = found.lines().find(|l| l.starts_with("dn")).expect("a tombstone");
    branch.lab.ldif(&format!(
        "{tombstone}\ncontrol: 1.2.840.113556.1.4.417 true\nchangetype: modify\ndelete: isDeleted\n-\nreplace: distinguishedName\ndistinguishedName: {george}\n-\n"
    ));
    // A tombstone loses most attributes and its groups.
    branch.lab.set(&george, &[("mail", "george.smith@example.com"), ("userAccountControl", "544")]);
    branch.lab.join(BASIC, &george);
    let run = branch.sync().await;
    let after = branch.user("george.smith@example.com").await;
    assert_eq!(
        (after.id, after.link.map(|l| l.guid), after.causes.is_empty()),
        (before.id, Some(guid), true),
        "{run:?}"
    );
}

#[ignore = "needs the lab: tests/run"]
#[tokio::test(flavor = "multi_thread")]
async fn a_move_within_the_base_changes_nothing_and_a_move_out_of_it_suspends() {
    let base = format!("OU=Staff,{DOMAIN}");
    let branch = Branch::running(|c| c.settings.bases = vec![base]).await;
    let amy = staff("Sales", "Amy Farah");
    branch.lab.move_to(&amy, &format!("OU=Operations,OU=Staff,{DOMAIN}"));
    let run = branch.sync().await;
    assert_eq!((run.counts.suspend, run.counts.reactivate, run.held), (0, 0, 0), "{run:?}");
    branch.lab.move_to(&staff("Operations", "Amy Farah"), &format!("OU=Leavers,{DOMAIN}"));
    let run = branch.sync().await;
    assert_eq!(run.counts.suspend, 1, "{run:?}");
    let amy = branch.user("amy.farah@example.com").await;
    let cause = amy.causes.weightiest().expect("a cause");
    assert_eq!(
        (cause.reason, cause.evidence.attribute.as_str()),
        (Reason::OutOfScope, "distinguishedName")
    );
    assert!(cause.evidence.value.contains("OU=Leavers"), "{cause:?}");
    assert_eq!(amy.status(), Status::Suspended);
}

#[ignore = "needs the lab: tests/run"]
#[tokio::test(flavor = "multi_thread")]
async fn a_renamed_ou_changes_nothing_and_its_people_can_still_leave() {
    let branch = Branch::running(|_| {}).await;
    branch.lab.rename(&format!("OU=Sales,OU=Staff,{DOMAIN}"), "OU=Vertrieb");
    let run = branch.sync().await;
    assert_eq!((run.counts.suspend, run.counts.tier, run.held), (0, 0, 0), "{run:?}");
    branch.quiet("the new names are known").await;
    branch.lab.delete(&staff("Vertrieb", "George Smith"));
    let run = branch.sync().await;
    assert_eq!(
        (run.counts.suspend, run.held),
        (1, 0),
        "there is a witness in his last OU: {run:?}"
    );
}

#[ignore = "needs the lab: tests/run"]
#[tokio::test(flavor = "multi_thread")]
async fn names_full_of_syntax_are_read_unchanged() {
    let branch = Branch::running(|_| {}).await;
    let group = format!("CN=Night\\, Shift (A/B) *\\#1\\+,OU=Groups,{DOMAIN}");
    branch.lab.ldif(&format!(
        "dn: {group}\nchangetype: add\nobjectClass: group\nsAMAccountName: night\n"
    ));
    branch.lab.join(BASIC, &group);
    for (n, name) in
        ["Becker\\, Tom (ext.)", "O\\\"Neil \\<x\\>\\;", "\\#1 \\\\ Łódź *", "a\\=b\\+c/d"]
            .iter()
            .enumerate()
    {
        branch.lab.hire(&staff("Operations", name), &format!("odd{n}"), &group);
    }
    let run = branch.sync().await;
    assert_eq!((run.counts.create, run.held), (4, 0), "{run:?}");
    branch.quiet("once").await;
    branch.lab.set(&group, &[("description", "still there")]);
    for name in ["Becker\\, Tom (ext.)", "\\#1 \\\\ Łódź *"] {
        branch.lab.leave(&group, &staff("Operations", name));
    }
    let run = branch.sync().await;
    assert_eq!((run.counts.suspend, run.held), (2, 0), "{run:?}");
    branch.lab.delete(&staff("Operations", "a\\=b\\+c/d"));
    let run = branch.sync().await;
    assert_eq!((run.counts.suspend, run.held), (1, 0), "{run:?}");
}

#[ignore = "needs the lab: tests/run"]
#[tokio::test(flavor = "multi_thread")]
async fn a_filter_is_evaluated_by_ad_and_never_hides_a_disabled_leaver() {
    // The usual notation of such a filter.
    let text = "(&(mail=*)(!(userAccountControl:1.2.840.113556.1.4.803:=2))(!(title=Architect)))";
    let filter = rosterd::model::Filter::parse(text).expect("a filter");
    let branch = Branch::of(|c| c.settings.filter = Some((text.to_owned(), filter))).await;
    let run = branch.sync().await;
    assert_eq!(
        (run.state, run.counts.create),
        (RunState::Succeeded, PROVISIONED as u64 - 1),
        "all but the architect: {run:?}"
    );
    branch.lab.disable(&staff("Engineering", "Alan Turing"));
    branch.lab.set(&staff("Engineering", "Donald Knuth"), &[("title", "Architect")]);
    let run = branch.sync().await;
    assert_eq!((run.counts.suspend, run.held), (2, 0), "{run:?}");
    assert_eq!(branch.reason("alan.turing@example.com").await, Some(Reason::Disabled));
    let donald = branch.user("donald.knuth@example.com").await;
    let cause = donald.causes.weightiest().expect("a cause");
    assert_eq!(
        (cause.reason, cause.evidence.attribute.as_str(), cause.evidence.value.as_str()),
        (Reason::OutOfScope, "title", "Architect")
    );
    // For an active user only the weightiest reason is planned. The filter's reason follows and
    // changes no status.
    let run = branch.sync().await;
    assert_eq!((run.state, run.counts.total()), (RunState::Succeeded, 1), "{run:?}");
    branch.quiet("no change is left to apply").await;
    branch.lab.enable(&staff("Engineering", "Alan Turing"));
    branch.sync().await;
    assert_eq!(
        branch.user("alan.turing@example.com").await.status(),
        Status::Active,
        "an enabled person is back, whatever the filter said before"
    );
}

#[ignore = "needs the lab: tests/run"]
#[tokio::test(flavor = "multi_thread")]
async fn an_expired_password_and_a_recycle_bin_suspend_no_user() {
    let branch = Branch::running(|_| {}).await;
    branch.lab.samba("recycle-bin", &[]);
    branch.lab.samba("grant-tombstones", &[]);
    branch.lab.set(&staff("Engineering", "Hedy Lamarr"), &[("pwdLastSet", "0")]);
    branch.quiet("a person who must change the password is no leaver").await;
    branch.lab.delete(&staff("Sales", "George Smith"));
    branch.sync().await;
    assert_eq!(branch.reason("george.smith@example.com").await, Some(Reason::Deleted));
}
