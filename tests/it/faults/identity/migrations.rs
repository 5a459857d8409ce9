//! Migrations between forests: an entry of the same person in another domain, linked by an operator
//! or by its former SID.

use super::estate::{Estate, causes};
use super::*;

/// Adds an entry of the same person to the second domain, as a migration tool does.
fn migrate(estate: &Estate, user: &User, sam: &str) -> Guid {
    let mail = user.addresses.primary.as_ref().expect("an address").to_string();
    let guid = estate.emea.edit(|ad| {
        ad.add_person(NewPerson::new(sam).cn(sam).mail(&mail).ou("Sales").member_of(names::BASIC))
    });
    Guid(guid.into_bytes())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_links_a_migrated_user_to_its_entry_in_another_directory() {
    for is_disabled in [false, true] {
        let estate = Estate::open().await;
        let user = estate.mover().await;
        let entry = migrate(&estate, &user, "migrated");
        if is_disabled {
            estate.firm.sim.edit(|ad| ad.disable(guid_of(&user)));
            tick_of(&estate.firm, "corp").await;
        }
        tick_of(&estate.firm, "emea").await;
        let waits = quarantine(&estate.firm, "emea").await;
        let expected = if is_disabled {
            QuarantineReason::AddressHeld
        } else {
            QuarantineReason::ContestedAddress
        };
        assert_eq!(waits, [expected]);
        let who = user.id.to_string();
        let run = estate.firm.engine.relink(&who, &entry.to_string(), &alice()).await;
        let run = run.expect("a run");
        let now = again(&estate.firm, &user).await;
        assert_eq!((now.status(), directory_of(&now)), (Status::Active, "emea"), "{run:?}");
        assert_eq!(now.link.as_ref().map(|link| link.guid), Some(entry));
        assert_eq!(now.addresses.primary, user.addresses.primary);
        // The former entry does not become a second user, nor does it suspend the first.
        for of in ["corp", "emea", "corp"] {
            let run = sync(&estate.firm, of).await;
            assert_eq!((run.counts.total(), run.held), (0, 0), "{of}: {run:?}");
        }
        assert_eq!(quarantine(&estate.firm, "emea").await, []);
        estate.emea.edit(|ad| ad.disable(uuid::Uuid::from_bytes(entry.0)));
        tick_of(&estate.firm, "emea").await;
        assert_eq!(causes(&again(&estate.firm, &user).await), [Reason::Disabled]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relink_that_would_suspend_or_mislead_is_refused_with_a_remedy() {
    let estate = Estate::open().await;
    let user = estate.mover().await;
    let entry = migrate(&estate, &user, "migrated");
    let sibling = of_directory(&estate.firm, "corp").await.remove(1);
    let refused = async |guid: Guid| {
        let (who, entry) = (user.id.to_string(), guid.to_string());
        let refused = estate.firm.engine.relink(&who, &entry, &alice()).await;
        refused.expect_err("a refusal").to_string()
    };
    let other = refused(sibling.link.as_ref().expect("a link").guid).await;
    assert!(other.contains("is the user"), "{other}");
    let nobody = refused(Guid([7; 16])).await;
    assert!(nobody.contains("is not in another directory of the account"), "{nobody}");
    let entry_there = uuid::Uuid::from_bytes(entry.0);
    estate.emea.edit(|ad| ad.disable(entry_there));
    let disabled = refused(entry).await;
    assert!(
        disabled.contains("is disabled in emea") && disabled.contains("correct the entry in AD"),
        "{disabled}"
    );
    estate.emea.edit(|ad| {
        ad.enable(entry_there);
        ad.add_ou("", "Elsewhere");
        ad.move_to(entry_there, "Elsewhere");
    });
    let configured = estate.firm.engine.configured();
    let mut directories: Vec<DirectoryConfig> =
        configured.directories.values().map(|d| d.config.clone()).collect();
    directories[1].settings.bases = vec![format!("OU=Staff,{}", estate.emea.root_dn())];
    configure(&estate.firm, directories);
    let outside = refused(entry).await;
    assert!(outside.contains("out of the scope of emea"), "{outside}");
    estate.emea.freeze();
    let unasked = refused(entry).await;
    assert!(unasked.contains("no answer"), "{unasked}");
    assert_eq!(directory_of(&again(&estate.firm, &user).await), "corp");
}

/// Returns the SID of a user's entry in the domain of `corp`.
fn sid_of(estate: &Estate, user: &User) -> Vec<u8> {
    let guid = guid_of(user);
    estate.firm.sim.look(|ad| ad.values(guid, "objectSid")).remove(0)
}

/// Adds entries of these people to the second domain, with the SIDs that they had.
fn migrate_with_history(estate: &Estate, users: &[User]) -> Vec<Guid> {
    let entries = users.iter().enumerate().map(|(n, user)| {
        let entry = migrate(estate, user, &format!("migrated{n}"));
        let sid = sid_of(estate, user);
        let who = uuid::Uuid::from_bytes(entry.0);
        estate.emea.edit(|ad| ad.set_values(who, "sIDHistory", [sid]));
        entry
    });
    entries.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn users_are_proposed_to_be_linked_by_sid_history_and_linked_on_approval() {
    let estate = Estate::open().await;
    let users: Vec<User> = of_directory(&estate.firm, "corp").await.drain(..3).collect();
    let entries = migrate_with_history(&estate, &users);
    estate.firm.sim.edit(|ad| ad.disable(guid_of(&users[0])));
    tick_of(&estate.firm, "corp").await;
    tick_of(&estate.firm, "emea").await;
    let run = estate.firm.engine.relink_by_sid_history("emea", &alice()).await.expect("a run");
    assert_eq!((run.error.as_deref(), run.held, run.counts.total()), (None, 3, 0), "{run:?}");
    // A later run of any kind proposes the same, and links nobody.
    for full in [false, true] {
        let run = if full {
            sync(&estate.firm, "emea").await
        } else {
            tick_of(&estate.firm, "emea").await
        };
        assert_eq!((run.held, run.counts.link), (3, 0), "{run:?}");
    }
    assert_eq!(directory_of(&again(&estate.firm, &users[0]).await), "corp");
    let plan = held_plan(&estate.firm).await;
    let which =
        Selection { causes: Vec::new(), people: vec![users[0].id.to_string()], digest: None };
    let approval = estate.firm.engine.approve_part(plan.id, &which, "", alice().into()).await;
    let approval = approval.expect("an approval");
    assert_eq!(approval.run.counts.link, 1, "{:?}", approval.run);
    let now = again(&estate.firm, &users[0]).await;
    assert_eq!((now.status(), directory_of(&now)), (Status::Active, "emea"), "{now:?}");
    assert_eq!(now.link.as_ref().map(|link| link.guid), Some(entries[0]));
    let rest = held_plan(&estate.firm).await;
    assert_eq!(rest.count, 2);
    estate.firm.engine.reject(rest.id, "not yet", &alice()).await.expect("a rejection");
    for of in ["emea", "corp", "emea"] {
        let run = sync(&estate.firm, of).await;
        assert_eq!((run.counts.link, run.counts.suspend), (0, 0), "{run:?}");
    }
    assert_eq!(directory_of(&again(&estate.firm, &users[1]).await), "corp");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unclear_sid_history_proposes_no_link() {
    let estate = Estate::open().await;
    let users: Vec<User> = of_directory(&estate.firm, "corp").await.drain(..2).collect();
    let none = estate.firm.engine.relink_by_sid_history("emea", &alice()).await;
    let none = none.expect_err("nothing to propose").to_string();
    assert!(none.starts_with("0 entries of emea have a sIDHistory"), "{none}");
    let entries = migrate_with_history(&estate, &users[..1]);
    // A second entry with the SID of the same person.
    let sid = sid_of(&estate, &users[0]);
    let second = migrate(&estate, &users[1], "second");
    estate.emea.edit(|ad| ad.set_values(uuid::Uuid::from_bytes(second.0), "sIDHistory", [sid]));
    let unclear = estate.firm.engine.relink_by_sid_history("emea", &alice()).await;
    let unclear = unclear.expect_err("nothing to propose").to_string();
    assert!(unclear.contains("2 are unclear"), "{unclear}");
    // An entry that would suspend an active user is not proposed.
    estate.emea.edit(|ad| {
        ad.delete(uuid::Uuid::from_bytes(second.0));
        ad.disable(uuid::Uuid::from_bytes(entries[0].0));
    });
    let run = estate.firm.engine.relink_by_sid_history("emea", &alice()).await.expect("a run");
    assert_eq!((run.held, run.counts.total()), (0, 0), "{run:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stored_person_without_a_sid_gets_one_without_a_change() {
    let estate = Estate::open().await;
    let users: Vec<User> = of_directory(&estate.firm, "corp").await.drain(..1).collect();
    migrate_with_history(&estate, &users);
    let url = format!("sqlite://{}", estate.firm.folder.path().join("rosterd.db").display());
    let pool = sqlx::SqlitePool::connect(&url).await.expect("the database");
    sqlx::query("UPDATE people SET object_sid = NULL").execute(&pool).await.expect("an update");
    let refused = estate.firm.engine.relink_by_sid_history("emea", &alice()).await;
    assert!(refused.is_err(), "as after an upgrade");
    let run = sync(&estate.firm, "corp").await;
    assert_eq!((run.counts.total(), run.held), (0, 0), "{run:?}");
    let missing: i64 = sqlx::query_scalar(
        "SELECT COUNT(*) FROM people WHERE object_sid IS NULL AND directory = 'corp'",
    )
    .fetch_one(&pool)
    .await
    .expect("a count");
    assert_eq!(missing, 0);
    let run = estate.firm.engine.relink_by_sid_history("emea", &alice()).await.expect("a run");
    assert_eq!(run.held, 1, "{run:?}");
}
