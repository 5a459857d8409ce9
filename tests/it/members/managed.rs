//! Users whom a directory manages: their links, tiers, suspensions and addresses.

use adsim::NewPerson;
use rosterd::engine::{Decision, UserQuery};
use rosterd::model::{Address, QuarantineReason, Reason, Status, Tier, User};
use serde_json::json;

use super::refused;
use crate::firm::{Firm, alice};

#[tokio::test(flavor = "multi_thread")]
async fn an_unmanaged_user_is_linked_when_the_directory_shows_the_address() {
    let firm = Firm::of(0, |c| c.settings.groups.clear()).await;
    firm.reconfigure(|c| c.tiers.grouped = false);
    for who in ["ann@example.com", "ben@example.com", "guest@example.com"] {
        firm.invited("acme", who).await;
    }
    firm.sign_in("ann@example.com", None).await;
    let (ann, ben) = (firm.user("ann@example.com").await, firm.user("ben@example.com").await);
    firm.engine.suspend("ann@example.com", "an investigation", &alice()).await.unwrap();
    firm.sim.edit(|ad| {
        ad.add_person(NewPerson::new("ann").mail("Ann@example.com"));
        ad.add_person(NewPerson::new("ben").mail("ben@example.com").disabled());
    });
    let run = firm.sync().await;
    assert_eq!((run.counts.link, run.counts.create), (2, 0), "{run:?}");
    let linked = firm.user("ann@example.com").await;
    assert_eq!(
        (linked.id, linked.link.is_some(), linked.joined_at),
        (ann.id, true, ann.joined_at.or(linked.joined_at))
    );
    assert!(linked.causes.has(Reason::Operator), "an operator's suspension stays");
    let barred = firm.user("ben@example.com").await;
    assert_eq!(
        (barred.id, barred.status(), barred.causes.has(Reason::Disabled)),
        (ben.id, Status::Suspended, true)
    );
    assert!(matches!(
        firm.sign_in("ben@example.com", None).await,
        Decision::Deny(rosterd::engine::Denied::Credentials)
    ));

    assert_eq!(
        firm.listed(UserQuery { unmanaged: true, ..UserQuery::default() }).await,
        ["guest@example.com"]
    );
    let status =
        firm.engine.directory_status(&firm.engine.directory("corp").unwrap()).await.unwrap();
    assert!(
        status
            .attention
            .iter()
            .any(|a| a.contains("1 person has an address in your domains, but is not in AD")),
        "{:?}",
        status.attention
    );

    // A managed user is never linked to another person, even if that person has the address now.
    firm.sim.edit(|ad| {
        ad.set("ann", "mail", "elsewhere@partner.test");
        ad.add_person(NewPerson::new("thief").mail("ann@example.com"));
    });
    firm.sync().await;
    assert_eq!(firm.user("ann@example.com").await.link, linked.link);
}

#[tokio::test(flavor = "multi_thread")]
async fn ad_decides_a_managed_users_tier_and_keeps_an_operators_suspension() {
    let firm = Firm::running(30, |_| {}).await;
    let user = firm.users().await.remove(0);
    let (who, dn) = (user.id.to_string(), user.link.as_ref().unwrap().dn.as_str().to_owned());
    let why = refused(firm.engine.set_tier(&who, Tier::Basic, &alice()).await);
    assert!(why.contains("the groups of the directory corp decide"), "{why}");
    assert!(refused(firm.engine.remove(&who, &alice()).await).contains("would bring them back"));
    // The order of events does not matter.
    firm.engine.suspend(&who, "stolen laptop", &alice()).await.unwrap();
    firm.sim.edit(|ad| ad.disable(dn.as_str()));
    firm.sync().await;
    firm.sim.edit(|ad| ad.enable(dn.as_str()));
    firm.sync().await;
    let reasons: Vec<Reason> = firm.user(&who).await.causes.iter().map(|c| c.reason).collect();
    assert_eq!(reasons, [Reason::Operator], "AD lifts only its own causes");
    firm.sim.edit(|ad| ad.disable(dn.as_str()));
    firm.sync().await;
    let (user, remains) = firm.engine.activate(&who, &alice()).await.unwrap();
    assert_eq!((user.status(), remains.len()), (Status::Suspended, 1), "{remains:?}");
    assert!(
        remains[0].contains("disabled") && remains[0].contains("AD has to say otherwise first")
    );
    firm.sim.edit(|ad| ad.enable(dn.as_str()));
    firm.sync().await;
    assert_eq!(firm.user(&who).await.status(), Status::Active);
}

/// The example of the administration guide.
#[tokio::test(flavor = "multi_thread")]
async fn a_user_is_shown_by_one_address_and_signs_in_by_every_claimed_one() {
    let firm = Firm::of(0, |c| c.settings.groups.clear()).await;
    firm.reconfigure(|c| c.tiers.grouped = false);
    firm.trust(&["example.org", "example2.com"]);
    firm.engine.claim("acme", "example.org", &alice()).await.unwrap();
    let password = firm.sim.default_password();
    let proxies = [
        "SMTP:shirley.rodriguez@example.com",
        "smtp:shirley.rodriguez@example2.com",
        "smtp:srodriguez@example.org",
        "X500:/o=x",
    ];
    firm.sim.edit(|ad| {
        let shirley = NewPerson::new("shirley")
            .name("Shirley", "Rodriguez")
            .mail("shirley.rodriguez@example.com");
        ad.add_person(shirley.with_values("proxyAddresses", proxies));
        ad.add_person(NewPerson::new("li").name("Li", "Juan").mail("li.juan@example.com"));
    });
    firm.sync().await;
    let shirley = firm.user("shirley.rodriguez@example.com").await;
    assert_eq!(shirley.addresses.primary, Address::parse("shirley.rodriguez@example.com").ok());
    let can = async |address: &str| firm.sign_in(address, Some(&password)).await;
    for address in ["shirley.rodriguez@example.com", "srodriguez@example.org"] {
        let decision = can(address).await;
        assert!(
            matches!(&decision, Decision::Allow { user, .. } if user.id == shirley.id),
            "{address}: {decision:?}"
        );
    }
    let unclaimed = can("shirley.rodriguez@example2.com").await;
    assert!(
        matches!(unclaimed, Decision::Redirect),
        "it is not part of the account: {unclaimed:?}"
    );
    for (text, finds) in [
        ("shirley.rod", true),
        ("srodriguez@example.org", true),
        ("shirley.rodriguez@example2", false),
        ("RODRÍG", true),
    ] {
        let found = firm.engine.contacts("li.juan@example.com", text, None, 10).await.unwrap();
        assert_eq!(found.users.iter().any(|u| u.id == shirley.id), finds, "{text}");
    }
    firm.engine.claim("acme", "example2.com", &alice()).await.unwrap();
    firm.sync().await;
    assert!(
        matches!(can("shirley.rodriguez@example2.com").await, Decision::Allow { .. }),
        "from the next run on all three work"
    );
}

/// Returns a company whose ann has left, and in which a newcomer has her address.
async fn with_a_second_ann() -> (Firm, User, String) {
    let firm = Firm::of(0, |c| c.settings.groups.clear()).await;
    firm.reconfigure(|c| c.tiers.grouped = false);
    firm.sim.edit(|ad| ad.add_person(NewPerson::new("ann").mail("ann@example.com")));
    firm.sync().await;
    let ann = firm.user("ann@example.com").await;
    let person = firm.sim.edit(|ad| {
        ad.show_tombstones(true);
        ad.delete("ann");
        ad.add_person(NewPerson::new("ann").mail("ann@example.com"))
    });
    firm.sync().await;
    assert_eq!(
        firm.user("ann@example.com").await.causes.weightiest().map(|c| c.reason),
        Some(Reason::Deleted)
    );
    // The address was contested while she was there.
    firm.sync().await;
    let entries = firm.engine.store.quarantine().await.unwrap();
    assert_eq!(
        (entries.len(), entries[0].reason, entries[0].user),
        (1, QuarantineReason::AddressHeld, None),
        "{entries:?}"
    );
    (firm, ann, person.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recreated_entry_is_the_same_user_when_an_operator_relinks_it() {
    let (firm, ann, person) = with_a_second_ann().await;
    let stranger = uuid::Uuid::from_u128(7).to_string();
    assert!(
        refused(firm.engine.relink("ann@example.com", &stranger, &alice()).await)
            .contains("is not quarantined")
    );
    let run = firm.engine.relink("ann@example.com", &person, &alice()).await.unwrap();
    assert_eq!((run.counts.reactivate, run.counts.total() - run.counts.update), (1, 1), "{run:?}");
    let again = firm.user("ann@example.com").await;
    assert_eq!(
        (again.id, again.status(), again.link.unwrap().guid.to_string()),
        (ann.id, Status::Active, person.clone())
    );
    assert!(firm.engine.store.quarantine().await.unwrap().is_empty());
    let told = firm.events("user.linked").await;
    assert_eq!(
        (&told[0]["data"]["after"]["object_guid"], &told[0]["data"]["actor"]),
        (&json!(person), &json!("alice"))
    );
    let quiet = firm.sync().await;
    assert_eq!(
        (quiet.counts.total(), quiet.held, firm.users().await.len()),
        (0, 0, 1),
        "{quiet:?}"
    );
    let why = refused(firm.engine.relink("ann@example.com", &person, &alice()).await);
    assert!(why.contains("already"), "the person of the user is not relinked: {why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_gets_the_address_of_a_leaver_when_an_operator_frees_it() {
    let (firm, ann, person) = with_a_second_ann().await;
    let freed = firm.engine.release_address("ann@example.com", &alice()).await.unwrap();
    assert_eq!(
        (freed.id, freed.status(), &freed.addresses.primary),
        (ann.id, Status::Suspended, &None)
    );
    let new = firm.user("ann@example.com").await;
    assert_eq!((new.status(), new.link.unwrap().guid.to_string()), (Status::Active, person));
    assert_ne!(new.id, ann.id);
    assert!(firm.engine.store.quarantine().await.unwrap().is_empty());
    let quiet = firm.sync().await;
    assert_eq!((quiet.counts.total(), quiet.held), (0, 0), "{quiet:?}");
    assert_eq!(firm.user(&ann.id.to_string()).await.status(), Status::Suspended);
    assert!(
        refused(firm.engine.release_address("ann@example.com", &alice()).await)
            .contains("is active")
    );
    assert!(
        refused(firm.engine.release_address(&ann.id.to_string(), &alice()).await)
            .contains("holds no address any more")
    );
    assert!(
        refused(firm.engine.clear_override("ann@example.com", &alice()).await)
            .contains("has no override")
    );
}
