//! Names of people: finding a user by each of them, further attributes, and people who are missed.

use std::time::Duration;

use adsim::{NewPerson, names};
use rosterd::engine::{EngineError, Selection, UserError, UserQuery};
use rosterd::model::{Override, Profile, QuarantineReason, Reason, Status, Timestamp, User};
use serde_json::json;

use crate::firm::{Firm, alice, dn_of, followed, guid_of, held_plan};

async fn refused(firm: &Firm, who: &str) -> String {
    firm.engine.find_user(who).await.expect_err(who).to_string()
}

/// Adds Ada, who is called by another name in each system.
fn add_ada(firm: &Firm) {
    firm.sim.edit(|ad| {
        let ada = NewPerson::new("alovelace")
            .name("Ada", "Lovelace")
            .cn("Ada Lovelace")
            .mail("ada.lovelace@example.com")
            .upn("ada@corp.example.com")
            .with("employeeID", "E-1815")
            .member_of(names::PRO);
        ad.add_person(ada);
    });
}

async fn with_ada() -> (Firm, User) {
    let firm = Firm::running(20, |_| {}).await;
    add_ada(&firm);
    firm.sync().await;
    let ada = firm.user("ada.lovelace@example.com").await;
    (firm, ada)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_name_of_a_person_finds_its_user() {
    let (firm, ada) = with_ada().await;
    let dn = dn_of(&ada);
    for who in [
        "Ada.Lovelace@example.com",
        &ada.id.to_string(),
        &guid_of(&ada).to_string(),
        "alovelace",
        "ALovelace",
        r"CORP\alovelace",
        r"corp.example.com\alovelace",
        "ada@corp.example.com",
        &dn,
        &dn.to_uppercase(),
        "E-1815",
        "ada lovelace",
    ] {
        assert_eq!(firm.user(who).await.id, ada.id, "{who}");
    }
    for who in [r"OTHER\alovelace", "ada", "lovelace", "E-18", "ada@example.com"] {
        let error = firm.engine.find_user(who).await.expect_err(who);
        assert!(matches!(error, EngineError::User(UserError::Unknown { .. })), "{who}: {error}");
    }
    // A move to another OU, with a name that a held plan may still have.
    firm.sim.edit(|ad| {
        ad.add_ou(names::STAFF, "Elsewhere");
        ad.move_to("alovelace", "Elsewhere");
    });
    firm.sync().await;
    let moved = dn_of(&firm.user("alovelace").await);
    assert_ne!(moved, dn);
    assert_eq!(firm.user(&moved).await.id, ada.id);
    assert!(refused(&firm, &dn).await.starts_with("no user has the name CN=Ada Lovelace"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_name_is_refused_with_the_users_of_similar_names() {
    let (firm, _) = with_ada().await;
    let ada = "By name: ada.lovelace@example.com (Ada Lovelace)";
    for (who, why) in [
        ("ada", "no user has the name ada. "),
        ("Lovelace", "no user has the name Lovelace. "),
        ("ada@example.com", "no user has the address ada@example.com. "),
        (r"OTHER\ada", r"no user has the name OTHER\ada. "),
    ] {
        assert_eq!(refused(&firm, who).await, format!("{why}{ada}"));
    }
    for misspelt in ["ada.lovelase@example.com", "Ada Lovelase"] {
        let why = refused(&firm, misspelt).await;
        assert!(why.ends_with(ada), "{misspelt}: {why}");
    }
    let nothing = refused(&firm, "xyzzy").await;
    assert!(nothing.starts_with("no user has the name xyzzy: give an address, an id"), "{nothing}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_of_several_users_is_refused_with_ten_of_them_and_changes_nothing() {
    let (firm, ada) = with_ada().await;
    firm.sim.edit(|ad| {
        for n in 0..11 {
            let namesake = NewPerson::new(format!("twin{n:02}"))
                .mail(&format!("twin{n:02}@example.com"))
                .with("displayName", "Grace Twin")
                .member_of(names::PRO);
            ad.add_person(namesake);
        }
        // The logon name of one user is the employee id of another.
        ad.set("twin00", "employeeID", "alovelace");
    });
    firm.sync().await;
    let why = refused(&firm, "grace twin").await;
    assert!(why.starts_with("grace twin means 11 users: "), "{why}");
    assert_eq!(why.matches("active in acme").count(), 10, "{why}");
    assert!(why.contains(", and 1 more; name one of them by its id"), "{why}");
    let why = firm.engine.suspend("alovelace", "", &alice()).await.expect_err("two").to_string();
    assert!(why.starts_with("alovelace means 2 users: "), "{why}");
    assert_eq!(firm.user(&ada.id.to_string()).await.status(), Status::Active);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_without_a_user_is_explained_and_read_by_each_name() {
    let firm = Firm::running(20, |_| {}).await;
    let guid = firm.sim.edit(|ad| {
        let new = NewPerson::new("gwhale").cn("Grace Whale").mail("grace.whale@example.com");
        ad.add_person(new.with("displayName", "Grace Whale").upn("grace@corp.example.com"))
    });
    firm.sync().await;
    let dn = firm.sim.look(|ad| ad.dn(guid));
    for who in [
        "gwhale",
        r"CORP\gwhale",
        "grace@corp.example.com",
        "grace.whale@example.com",
        "Grace Whale",
        &guid.to_string(),
        &dn,
    ] {
        let explained = firm.engine.explain(who).await.expect(who);
        let names = explained.entries.iter().filter_map(|e| e.reading.as_ref());
        let names: Vec<String> =
            names.flat_map(|reading| &reading.names).map(|line| line.value.clone()).collect();
        assert_eq!(names, ["gwhale", "grace@corp.example.com"], "{who}");
        let found: Vec<String> = explained.entries.iter().map(|e| e.guid.to_string()).collect();
        assert_eq!((explained.user, found), (None, vec![guid.to_string()]), "{who}");
    }
    firm.sim.edit(|ad| ad.add_member(names::PRO, "gwhale"));
    let run = firm.engine.sync_user("gwhale", &alice()).await.expect("a run");
    assert_eq!(run.counts.create, 1, "{run:?}");
    assert!(firm.engine.sync_user("nobody.here", &alice()).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_of_a_plan_is_approved_by_the_logon_names_of_users_and_joiners() {
    let firm = Firm::of(80, |_| {}).await;
    add_ada(&firm);
    firm.sync().await;
    let plan = held_plan(&firm).await;
    let which = Selection { people: vec!["alovelace".to_owned()], ..Selection::default() };
    firm.engine.approve_part(plan.id, &which, "", alice().into()).await.expect("an approval");
    let users = firm.users().await;
    assert_eq!(users.len(), 1, "the joiner alone");
    assert_eq!(users[0].profile.sam_account_name.as_deref(), Some("alovelace"));
    // The stored change still names her.
    let history = firm.engine.history(&users[0]).await.expect("a history");
    assert_eq!(history[0].1.names.sam_account_name.as_deref(), Some("alovelace"));
    assert_eq!(history[0].1.names.display_name.as_deref(), Some("Ada Lovelace"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_store_gets_its_logon_names_when_it_is_opened() {
    let (firm, ada) = with_ada().await;
    firm.engine.store.close().await;
    let file = firm.folder.path().join("rosterd.db");
    {
        use sqlx::Connection as _;
        let url = format!("sqlite://{}", file.display());
        let mut old = sqlx::AnyConnection::connect(&url).await.expect("the database");
        sqlx::query("DELETE FROM logon_names").execute(&mut old).await.expect("deleted");
        old.close().await.expect("closed");
    }
    drop(firm.engine);
    let store = crate::acme::store(firm.folder.path()).await;
    let found = store.users_by_logon_name("alovelace").await.expect("users");
    assert_eq!(found.iter().map(|user| user.id).collect::<Vec<_>>(), [ada.id]);
}

fn division(user: &User) -> Vec<&str> {
    user.profile.extra.get("division").into_iter().flatten().map(String::as_str).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_further_attribute_is_kept_without_an_event_and_its_change_is_one() {
    let firm = followed(30, |_| {}).await;
    firm.sim.edit(|ad| {
        for person in ad.people() {
            ad.set_values(person, "division", ["Trade", "Sales"]);
        }
    });
    firm.sync().await;
    let told = firm.events("user.*").await.len();
    let (users, active) = (firm.users().await, firm.active().await);
    firm.reconfigure(|config| config.settings.attributes.extra = vec!["division".to_owned()]);
    // The checkpoint is of the former configuration, so the scheduled run reads all people.
    let run = crate::firm::tick(&firm).await;
    assert_eq!(
        (run.error.as_deref(), run.held, run.counts.update, run.counts.suspend),
        (None, 0, users.len() as u64, 0),
        "{run:?}"
    );
    assert!(firm.engine.store.plans(false).await.expect("plans").is_empty());
    assert_eq!((firm.events("user.*").await.len(), firm.active().await), (told, active));
    assert!(firm.users().await.iter().all(|user| division(user) == ["Sales", "Trade"]));

    let user = firm.users().await.into_iter().find(|u| u.status() == Status::Active).expect("one");
    firm.sim.edit(|ad| ad.set(dn_of(&user).as_str(), "division", "Research"));
    let run = crate::firm::tick(&firm).await;
    assert_eq!((run.counts.update, run.entries), (1, 1), "DirSync reports it: {run:?}");
    let event = firm.events("user.updated").await.pop().expect("an event");
    assert_eq!(
        (&event["data"]["before"], &event["data"]["after"]),
        (&json!({ "division": ["Sales", "Trade"] }), &json!({ "division": ["Research"] }))
    );
    let extra = |when: &str| event["data"]["user"][when]["extra"]["division"].clone();
    assert_eq!((extra("before"), extra("after")), (json!(["Sales", "Trade"]), json!(["Research"])));
    // The right to read it is lost: the values stay.
    firm.sim.edit(|ad| ad.hide_attribute("division", None));
    let run = firm.sync().await;
    assert_eq!((run.error.as_deref(), run.counts.update), (None, 0), "{run:?}");
    firm.reconfigure(|config| config.settings.attributes.extra.clear());
    firm.sync().await;
    assert!(firm.users().await.iter().all(|user| user.profile.extra.is_empty()));
    assert_eq!(firm.events("user.*").await.len(), told + 1, "one change of a value, one event");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejected_creation_stays_rejected_when_a_further_attribute_is_read() {
    let firm = Firm::of(80, |_| {}).await;
    firm.sync().await;
    let plan = held_plan(&firm).await;
    firm.engine.reject(plan.id, "not yet", &alice()).await.expect("a rejection");
    firm.sim.edit(|ad| {
        for person in ad.people() {
            ad.set(person, "division", "Sales");
        }
    });
    firm.reconfigure(|config| config.settings.attributes.extra = vec!["division".to_owned()]);
    let run = firm.sync().await;
    assert_eq!(run.counts.total(), 0, "{run:?}");
    assert!(firm.engine.store.plans(false).await.expect("plans").is_empty(), "no new plan");
}

#[tokio::test(flavor = "multi_thread")]
async fn further_attributes_follow_the_directory_while_other_attributes_are_overridden() {
    let firm = Firm::running(20, |_| {}).await;
    let user = firm.users().await.remove(0);
    let title = |firm: &Firm, title: &str, division: &str| {
        firm.sim.edit(|ad| {
            ad.set(dn_of(&user).as_str(), "title", title);
            ad.set(dn_of(&user).as_str(), "division", division);
        });
    };
    title(&firm, "Chief", "Sales");
    firm.reconfigure(|config| config.settings.attributes.extra = vec!["division".to_owned()]);
    let run = firm.sync().await;
    firm.engine.undo(run.id, &alice()).await.expect("an undo");
    title(&firm, "Chief", "Research");
    firm.sync().await;
    let now = crate::firm::again(&firm, &user).await;
    assert_eq!(
        (now.profile.title.as_ref(), division(&now)),
        (user.profile.title.as_ref(), vec!["Research"])
    );
    let wanted = Profile { title: Some("Chief".to_owned()), ..now.profile.clone() };
    assert!(now.overrides.contains(&Override::attributes(&wanted)));
}

#[tokio::test(flavor = "multi_thread")]
async fn members_of_groups_whom_their_address_keeps_out_are_quarantined() {
    let firm = Firm::running(30, |_| {}).await;
    let active = firm.active().await;
    let [bob, eve, service] = firm.sim.edit(|ad| {
        [
            ad.add_person(NewPerson::new("bob").cn("bob").member_of(names::BASIC)),
            ad.add_person(
                NewPerson::new("eve").cn("eve").mail("eve@subsidiary.test").member_of(names::PRO),
            ),
            ad.add_person(NewPerson::new("svc-print").cn("svc-print")),
        ]
        .map(|guid| guid.to_string())
    });
    firm.sim.edit(|ad| {
        for (name, mail) in [("left", None), ("old", Some("old@subsidiary.test"))] {
            let person = NewPerson::new(name).cn(name).member_of(names::PRO).disabled();
            ad.add_person(match mail {
                Some(mail) => person.mail(mail),
                None => person,
            });
        }
    });
    let run = firm.sync().await;
    assert_eq!((run.error.as_deref(), run.counts.total()), (None, 0), "{run:?}");
    let missed = |reason| {
        let store = &firm.engine.store;
        async move {
            let all = store.quarantine().await.expect("entries");
            let of = all.into_iter().filter(|entry| entry.reason == reason);
            of.map(|entry| entry.person.to_string()).collect::<Vec<_>>()
        }
    };
    let no_address = missed(QuarantineReason::NoAddress).await;
    assert!(no_address.contains(&bob) && !no_address.contains(&service), "{no_address:?}");
    assert!(missed(QuarantineReason::UnclaimedDomain).await.contains(&eve));
    let told = firm.events("user.quarantined").await;
    assert!(told.iter().any(|event| event["subject"] == bob.as_str()
        && event["data"]["after"]["dn"].as_str().is_some_and(|dn| dn.starts_with("CN=bob,"))));
    let disabled: Vec<String> = firm
        .engine
        .store
        .quarantine()
        .await
        .expect("entries")
        .into_iter()
        .map(|q| q.dn.name())
        .collect();
    assert!(!disabled.iter().any(|name| name == "left" || name == "old"), "{disabled:?}");

    // They are read again only when their entries or the claims change.
    let directory = firm.engine.directory("corp").expect("corp").config.name.clone();
    let pending = firm.engine.store.pending(&directory, firm.clock.now()).await.expect("people");
    assert!(!pending.iter().any(|guid| [&bob, &eve].contains(&&guid.to_string())), "{pending:?}");
    firm.sim.edit(|ad| {
        ad.set("bob", "mail", "bob@example.com");
        ad.remove_member(names::PRO, "eve");
    });
    firm.sync().await;
    assert_eq!(firm.active().await, active + 1);
    assert!(!missed(QuarantineReason::NoAddress).await.contains(&bob));
    assert!(!missed(QuarantineReason::UnclaimedDomain).await.contains(&eve));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_created_anew_is_relinked_by_the_command_that_explain_prints() {
    // The service account cannot see deleted objects.
    let (firm, ada) = with_ada().await;
    firm.sim.edit(|ad| ad.disable("alovelace"));
    firm.sync().await;
    assert!(firm.user("alovelace").await.causes.has(Reason::Disabled));
    firm.sim.edit(|ad| ad.delete("alovelace"));
    add_ada(&firm);
    firm.sync().await;
    let explained = firm.engine.explain("ada.lovelace@example.com").await.expect("entries");
    assert_eq!(explained.entries.len(), 2, "the former entry and the new one");
    let remedies = explained.remedies.join("; ");
    assert!(!remedies.contains("enable the account") && remedies.contains("is gone"), "{remedies}");
    let old = guid_of(&ada).to_string();
    let new = explained.entries.iter().find(|e| e.guid.to_string() != old).expect("the new one");
    let command = format!("rosterctl user relink ada.lovelace@example.com {}", new.guid);
    let remedy = new.remedy.clone().expect("a remedy");
    assert!(remedy.contains(&command), "{remedy}");
    let who = "ada.lovelace@example.com";
    firm.engine.relink(who, &new.guid.to_string(), &alice()).await.expect("a run");
    let again = firm.user(who).await;
    assert_eq!((again.id, again.status()), (ada.id, Status::Active));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_whose_entry_is_there_is_not_relinked_in_its_directory() {
    let (firm, _) = with_ada().await;
    let other = firm.sim.edit(|ad| {
        ad.disable("alovelace");
        ad.add_person(NewPerson::new("ada2").mail("ada.lovelace@example.com").member_of(names::PRO))
    });
    firm.sync().await;
    let who = "ada.lovelace@example.com";
    let why = firm.engine.relink(who, &other.to_string(), &alice()).await.expect_err("refused");
    assert!(why.to_string().contains("has not left corp"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn active_users_who_expire_before_a_time_are_listed_page_by_page() {
    let firm = Firm::running(30, |_| {}).await;
    let users = firm.users().await;
    let active: Vec<&User> = users.iter().filter(|u| u.status() == Status::Active).collect();
    let now = firm.sim.now();
    let days = |n: u64| now + Duration::from_hours(24 * n);
    firm.sim.edit(|ad| {
        for (n, user) in active.iter().take(4).enumerate() {
            ad.set_expiry(dn_of(user).as_str(), days([3, 10, 13, 40][n]));
        }
        ad.disable(dn_of(active[2]).as_str());
    });
    firm.sync().await;
    let before = Timestamp::from(chrono::DateTime::<chrono::Utc>::from(days(14)));
    let query =
        |after| UserQuery { expires_before: Some(before), after, limit: 1, ..UserQuery::default() };
    let first = firm.engine.list_users(query(None)).await.expect("a page");
    let second = firm.engine.list_users(query(first.next.clone())).await.expect("a page");
    assert_eq!((first.users.len(), second.users.len(), second.next), (1, 1, None));
    let mut listed = vec![first.users[0].id, second.users[0].id];
    listed.sort();
    let mut wanted = vec![active[0].id, active[1].id];
    wanted.sort();
    assert_eq!(listed, wanted);
    let expiries = firm.engine.store.expiries_of([active[0].id]).await.expect("expiries");
    let whole = |t: Timestamp| t.0 / 1_000_000;
    let expected = Timestamp::from(chrono::DateTime::<chrono::Utc>::from(days(3)));
    assert_eq!(expiries.get(&active[0].id).map(|t| whole(*t)), Some(whole(expected)));
}
