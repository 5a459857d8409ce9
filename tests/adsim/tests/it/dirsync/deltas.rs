use adsim::{Ad, NewPerson};

use super::{ALL, PEOPLE, Reader, SECURE, few};

#[tokio::test]
async fn an_empty_cookie_returns_everything_and_the_next_one_the_changes_since() {
    let sim = few().await;
    let mut reader = Reader::new(&sim, "(&(objectClass=user)(mail=*))", &["mail", "title"]).await;
    let clerk = |name: &str| format!("{name}: mail={name}@example.com title=Clerk");
    assert_eq!(reader.read().await, [clerk("ann"), clerk("bob"), clerk("cat")]);
    assert_eq!(&reader.cookie[..4], b"MSDS");
    assert!(reader.read().await.is_empty());
    sim.edit(|ad| ad.set("cat", "title", "Chef"));
    sim.edit(|ad| ad.set("bob", "title", "Boss"));
    assert_eq!(
        reader.read().await,
        ["cat: title=Chef", "bob: title=Boss"],
        "in the order of their changes"
    );
    assert!(reader.read().await.is_empty());
}

#[tokio::test]
async fn a_delta_has_the_requested_attributes_that_changed() {
    type Edit = fn(&mut Ad);
    let table: &[(&str, Edit, &[&str])] = &[
        ("one set", |ad| ad.set("bob", "title", "Boss"), &["bob: title=Boss"]),
        ("one removed", |ad| ad.clear("bob", "mail"), &["bob: mail="]),
        ("one that was not asked for", |ad| ad.set("bob", "department", "Sales"), &[]),
        ("the same again", |ad| ad.set("bob", "title", "Clerk"), &[]),
        ("disabled", |ad| ad.disable("bob"), &["bob: userAccountControl=514"]),
        (
            "twice: what it is now",
            |ad| {
                ad.set("bob", "title", "Boss");
                ad.set("bob", "title", "King");
                ad.clear("bob", "mail");
            },
            &["bob: mail= title=King"],
        ),
        ("renamed", |ad| ad.rename("bob", "Robert"), &["Robert: name parentGUID"]),
        ("moved", |ad| ad.move_to("bob", "Leavers"), &["bob: name parentGUID"]),
        (
            "a container renamed: not what is in it",
            |ad| ad.rename("Staff", "Crew"),
            &["Crew: name parentGUID"],
        ),
        ("a container moved", |ad| ad.move_to("Staff", "Leavers"), &["Staff: name parentGUID"]),
        ("a new container", |ad| _ = ad.add_ou("Staff", "Sales"), &["Sales: name parentGUID"]),
        (
            "a new person: all that was asked for",
            |ad| _ = ad.add_person(NewPerson::new("dan").mail("dan@example.com").ou("Staff")),
            &["dan: mail=dan@example.com name parentGUID userAccountControl=512"],
        ),
        (
            "new, and deleted at once",
            |ad| {
                ad.add_person(NewPerson::new("dan").mail("dan@example.com").ou("Staff"));
                ad.delete("dan");
            },
            &["dan: isDeleted=TRUE name parentGUID userAccountControl=512"],
        ),
        ("deleted", |ad| ad.delete("bob"), &["bob: isDeleted=TRUE mail= name parentGUID title="]),
        ("a group's member", |ad| ad.remove_member("Basic", "bob"), &[]),
        ("purged", |ad| ad.purge("bob"), &[]),
    ];
    for (what, edit, expected) in table {
        let sim = few().await;
        sim.edit(|ad| ad.show_tombstones(true));
        let wanted = ["mail", "title", "name", "userAccountControl", "isDeleted"];
        let mut reader = Reader::caught_up(&sim, ALL, &wanted, SECURE).await;
        sim.edit(edit);
        assert_eq!(reader.read().await, *expected, "{what}");
        assert!(reader.read().await.is_empty(), "{what}");
    }
}

#[tokio::test]
async fn a_rename_shows_only_when_the_name_was_requested() {
    let sim = few().await;
    let mut without =
        Reader::caught_up(&sim, ALL, &["mail", "cn", "distinguishedName", "parentGUID"], SECURE)
            .await;
    let mut all = Reader::caught_up(&sim, "(sAMAccountName=cat)", &["*"], SECURE).await;
    sim.edit(|ad| {
        ad.rename("bob", "Robert");
        ad.move_to("cat", "Leavers");
    });
    assert!(without.read().await.is_empty());
    let moved = all.entries().await;
    assert_eq!(moved[0].1["parentGUID"], [sim.look(|ad| ad.guid("Leavers")).to_bytes_le()]);
    assert_eq!(
        moved[0].1.keys().collect::<Vec<_>>(),
        ["instanceType", "name", "objectGUID", "parentGUID"]
    );
    let mut root = Reader::new(&sim, "(objectClass=domainDNS)", &["name"]).await;
    assert_eq!(root.read().await, ["corp: name"], "the root has no parent");
}

#[tokio::test]
async fn a_delta_has_only_entries_that_match_the_filter_now() {
    let sim = few().await;
    let mut reader = Reader::caught_up(&sim, "(title=Clerk)", &["mail", "title"], SECURE).await;
    let mut mails = Reader::caught_up(&sim, "(title=Boss)", &["mail"], SECURE).await;
    sim.edit(|ad| ad.set("bob", "title", "Boss"));
    assert!(reader.read().await.is_empty(), "an entry that leaves the filter is not reported");
    assert!(
        mails.read().await.is_empty(),
        "an entry that enters the filter has no requested attribute that changed"
    );
}

#[tokio::test]
async fn an_attribute_that_is_not_replicated_puts_no_entry_into_a_delta() {
    let sim = few().await;
    let never = [
        "cn",
        "distinguishedName",
        "memberOf",
        "uSNChanged",
        "whenChanged",
        "objectGUID",
        "instanceType",
        "parentGUID",
    ];
    let mut reader = Reader::new(&sim, PEOPLE, &never).await;
    assert!(reader.read().await.is_empty());
    sim.edit(|ad| {
        ad.add_member("Pro", "bob");
        ad.set("bob", "title", "Boss");
        ad.rename("cat", "Kat");
    });
    assert!(reader.read().await.is_empty());
    let never = [&never[..], &["title"]].concat();
    let mut reader = Reader::new(&sim, "(sAMAccountName=bob)", &never).await;
    assert_eq!(reader.read().await, ["bob: title=Boss"]);
}

#[tokio::test]
async fn tombstones_appear_when_they_are_visible_and_match_the_filter() {
    for (filter, flags, shown, granted, expected) in [
        (PEOPLE, SECURE, true, false, 1),
        (PEOPLE, SECURE, false, false, 0),
        (PEOPLE, SECURE, false, true, 0),
        (PEOPLE, 0, false, true, 1),
        ("(sAMAccountName=bob)", SECURE, true, false, 1),
        ("(isDeleted=TRUE)", SECURE, true, false, 1),
        ("(objectCategory=person)", SECURE, true, false, 0),
        ("(&(objectClass=user)(mail=*))", SECURE, true, false, 0),
        ("(sAMAccountType=805306368)", SECURE, true, false, 0),
    ] {
        let sim = few().await;
        sim.edit(|ad| {
            ad.show_tombstones(shown);
            ad.grant_replication(granted);
        });
        let wanted =
            ["isDeleted", "lastKnownParent", "sAMAccountName", "sAMAccountType", "objectCategory"];
        let mut reader = Reader::caught_up(&sim, filter, &wanted, flags).await;
        sim.edit(|ad| ad.delete("bob"));
        let line = "bob: isDeleted=TRUE lastKnownParent=Staff objectCategory= sAMAccountType=";
        assert_eq!(reader.read().await, vec![line; expected], "{filter} {flags} {shown} {granted}");
        let mut first =
            Reader { flags, ..Reader::new(&sim, filter, &["isDeleted", "sAMAccountName"]).await };
        let all = first.read().await;
        assert_eq!(
            all.iter().filter(|line| *line == "bob: isDeleted=TRUE sAMAccountName=bob").count(),
            expected,
            "{filter}"
        );
    }
}

#[tokio::test]
async fn a_restored_entry_shows_is_deleted_without_values() {
    for (bin, expected) in [
        (
            false,
            "bob: isDeleted= lastKnownParent= name objectCategory=Person parentGUID userAccountControl=514",
        ),
        (true, "bob: isDeleted= lastKnownParent= name objectCategory=Person parentGUID"),
    ] {
        let sim = few().await;
        let bob = sim.edit(|ad| {
            ad.show_tombstones(true);
            ad.set_recycle_bin(bin);
            let bob = ad.guid("bob");
            ad.delete(bob);
            bob
        });
        let wanted = [
            "isDeleted",
            "lastKnownParent",
            "name",
            "userAccountControl",
            "mail",
            "member",
            "objectCategory",
        ];
        let mut reader = Reader::caught_up(&sim, ALL, &wanted, SECURE).await;
        sim.edit(|ad| ad.restore(bob));
        assert_eq!(
            reader.read().await,
            [expected],
            "groups have not changed, even if they list the person again"
        );
    }
}

#[tokio::test]
async fn unreadable_attributes_are_left_out() {
    let sim = few().await;
    sim.edit(|ad| {
        ad.add_person(NewPerson::new("dan").ou("Leavers").with("title", "Clerk"));
        ad.hide_subtree("Leavers");
        ad.hide_entry("ann");
        ad.hide_attribute("mail", None);
        ad.hide_members("Basic");
    });
    let mut reader =
        Reader::new(&sim, "(|(title=*)(member=*))", &["title", "mail", "member"]).await;
    assert_eq!(reader.read().await, ["bob: title=Clerk", "cat: title=Clerk"]);
    sim.edit(|ad| {
        for sam in ["ann", "bob", "dan"] {
            ad.clear(sam, "mail");
        }
        ad.set("dan", "title", "Chef");
        ad.remove_member("Basic", "cat");
    });
    assert!(reader.read().await.is_empty());
    sim.edit(|ad| ad.show_subtree("Leavers"));
    assert!(
        reader.read().await.is_empty(),
        "a change of rights reports no change that was invisible before"
    );
}
