use std::collections::BTreeSet;

use adsim::{Ad, Sim};

use super::{ALL, INCREMENTAL, PEOPLE, Reader, SECURE, few};

#[tokio::test]
async fn members_come_as_made_and_undone_links_or_as_the_whole_list() {
    type Edit = fn(&mut Ad);
    let table: &[(&str, Edit, &[&str], &[&str])] = &[
        (
            "added and removed",
            |ad| {
                ad.add_member("Pro", "bob");
                ad.add_member("Pro", "cat");
                ad.remove_member("Basic", "cat");
            },
            &["Pro: member;range=1-1=bob+cat", "Basic: member;range=0-0=cat"],
            &["Pro: member=bob+cat", "Basic: member=ann+bob"],
        ),
        (
            "one in, one out",
            |ad| {
                ad.add_member("Basic", "Pro");
                ad.remove_member("Basic", "ann");
            },
            &["Basic: member;range=0-0=ann member;range=1-1=Pro"],
            &["Basic: member=Pro+bob+cat"],
        ),
        (
            "there and back",
            |ad| {
                ad.remove_member("Basic", "ann");
                ad.add_member("Basic", "ann");
            },
            &["Basic: member;range=1-1=ann"],
            &["Basic: member=ann+bob+cat"],
        ),
        ("who is in already", |ad| ad.add_member("Basic", "ann"), &[], &[]),
        (
            "the last ones",
            |ad| {
                for sam in ["ann", "bob", "cat"] {
                    ad.remove_member("Basic", sam);
                }
            },
            &["Basic: member;range=0-0=ann+bob+cat"],
            &["Basic: member="],
        ),
        (
            "a new group",
            |ad| {
                ad.add_group("Staff", "Late");
                ad.add_member("Late", "ann");
                ad.add_member("Late", "bob");
                ad.remove_member("Late", "bob");
            },
            &["Late: member;range=1-1=ann"],
            &["Late: member=ann"],
        ),
        ("a member renamed", |ad| ad.rename("bob", "Robert"), &[], &[]),
        ("a member deleted", |ad| ad.delete("cat"), &[], &[]),
        ("a manager deleted", |ad| ad.delete("ann"), &[], &[]),
        (
            "added, and deleted",
            |ad| {
                ad.add_member("Pro", "cat");
                ad.delete("cat");
            },
            &[],
            &[],
        ),
        ("a group deleted", |ad| ad.delete("Basic"), &[], &[]),
        (
            "a primary group",
            |ad| ad.set_primary_group("bob", "Basic"),
            &["Domain Users: member;range=1-1=bob", "Basic: member;range=0-0=bob"],
            &["Domain Users: member=bob", "Basic: member=ann+cat"],
        ),
        (
            "a manager",
            |ad| ad.set("cat", "manager", "ann"),
            &["cat: manager;range=1-1=ann"],
            &["cat: manager=ann"],
        ),
        (
            "another manager",
            |ad| ad.set("bob", "manager", "cat"),
            &["bob: manager;range=0-0=ann manager;range=1-1=cat"],
            &["bob: manager=cat"],
        ),
    ];
    for (what, edit, links, lists) in table {
        for (flags, expected) in [(INCREMENTAL, links), (0, lists)] {
            let sim = few().await;
            sim.edit(|ad| {
                ad.grant_replication(true);
                ad.set("bob", "manager", "ann");
            });
            let mut reader = Reader::caught_up(&sim, ALL, &["member", "manager"], flags).await;
            sim.edit(edit);
            let mut told = reader.read().await;
            for line in &mut told {
                if let Some((group, members)) = line.split_once(": member=") {
                    let members: BTreeSet<&str> = members.split('+').collect();
                    *line = format!(
                        "{group}: member={}",
                        members.into_iter().collect::<Vec<_>>().join("+")
                    );
                }
            }
            assert_eq!(told, *expected, "{what} {flags}");
        }
    }
}

#[tokio::test]
async fn the_first_read_of_a_group_has_all_its_members_as_made_links() {
    let sim = Sim::builder().people(2100).max_val_range(20).start().await.expect("starts");
    for (flags, name) in [(SECURE, "member"), (SECURE + INCREMENTAL, "member;range=1-1")] {
        let mut reader = Reader {
            flags,
            ..Reader::new(&sim, "(&(objectClass=group)(name=Roster Basic))", &["member"]).await
        };
        let found = reader.entries().await;
        assert_eq!(found[0].1[name].len(), 1575, "MaxValRange does not limit DirSync");
    }
    let mut reader = Reader::new(&sim, PEOPLE, &["mail"]).await;
    assert_eq!(reader.entries().await.len(), 2100, "MaxPageSize does not limit DirSync");
}
