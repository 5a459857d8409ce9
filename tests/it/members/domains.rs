//! Claimed and released domains, and the effects on the users of their addresses.

use std::collections::BTreeMap;

use adsim::NewPerson;
use rosterd::engine::{Decision, Invitation, ReleaseEffect};
use rosterd::model::{AccountKind, Address, Status, Tier, User};
use serde_json::json;

use super::{refused, with_team};
use crate::firm::{Firm, alice};

#[tokio::test(flavor = "multi_thread")]
async fn the_first_claimed_domain_makes_an_enterprise_and_gathers_its_people() {
    let firm = with_team().await;
    for who in ["ann@example.org", "late@example.org", "bea@example.net"] {
        firm.invited("club", who).await;
    }
    firm.sign_in("ann@example.org", None).await;
    firm.sign_in("bea@example.net", None).await;
    let ann = firm.user("ann@example.org").await;
    firm.engine.create_account("orgs", "Orgs", &alice()).await.unwrap();
    firm.engine.claim("orgs", "example.org", &alice()).await.unwrap();
    assert_eq!(
        (firm.kind("orgs").await, firm.kind("club").await),
        (AccountKind::Enterprise, AccountKind::Team)
    );
    let orgs = firm.engine.account("orgs").await.unwrap().id;
    let after = firm.user("ann@example.org").await;
    assert_eq!(
        (after.id, after.account, after.joined_at),
        (ann.id, orgs, ann.joined_at),
        "the same user, transferred"
    );
    assert!(
        firm.engine.find_user("late@example.org").await.is_err(),
        "an open invitation elsewhere is cancelled"
    );
    assert_ne!(firm.user("bea@example.net").await.account, orgs);
    let accounts: Vec<_> = firm
        .events("user.transferred")
        .await
        .iter()
        .map(|e| e["data"]["account"].clone())
        .collect();
    assert_eq!(accounts, [json!("club"), json!("orgs")], "both accounts get the event");
    assert_eq!(
        firm.invited("club", "new@example.org").await[0].1,
        Invitation::Elsewhere,
        "and no new invitation elsewhere"
    );
    assert_eq!(
        firm.conversions().await,
        [json!("enterprise"), json!("enterprise")],
        "acme's, and orgs'"
    );
    // Work that a crash interrupted is done at the next start.
    firm.invited("club", "crash@example.net").await;
    firm.engine.claim("orgs", "example.net", &alice()).await.unwrap();
    assert!(firm.engine.find_user("crash@example.net").await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn people_of_a_domain_without_a_directory_join_at_the_first_sign_in() {
    let firm = with_team().await;
    firm.engine.claim("club", "example.org", &alice()).await.unwrap();
    assert!(
        matches!(firm.sign_in("ann@example.org", Some("secret")).await, Decision::Redirect),
        "the external provider is asked"
    );
    assert!(firm.users().await.is_empty());
    let both =
        tokio::join!(firm.sign_in("ann@example.org", None), firm.sign_in("ANN@example.org", None));
    assert!(matches!(both, (Decision::Allow { .. }, Decision::Allow { .. })));
    let users = firm.users().await;
    assert_eq!(
        (users.len(), users[0].tier, users[0].status()),
        (1, Tier::Pro, Status::Active),
        "two at once are one user"
    );
    let kinds: Vec<String> = firm
        .events("user.*")
        .await
        .iter()
        .map(|e| e["type"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(kinds, ["user.created", "user.registered"]);
    firm.engine.suspend("ann@example.org", "lost badge", &alice()).await.unwrap();
    assert!(matches!(
        firm.sign_in("ann@example.org", None).await,
        Decision::Deny(rosterd::engine::Denied::Credentials)
    ));
    let (ann, remains) = firm.engine.activate("ann@example.org", &alice()).await.unwrap();
    assert_eq!((ann.status(), remains.len()), (Status::Active, 0));
    let why = refused(firm.engine.remove("ann@example.org", &alice()).await);
    assert!(why.contains("would be back at the next sign-in"), "{why}");
    let no_guests = BTreeMap::from([("external-users".to_owned(), "false".to_owned())]);
    firm.engine.set_policies("club", &no_guests, &alice()).await.unwrap();
    for who in ["ann@example.org", "new@example.org"] {
        assert!(
            matches!(
                firm.sign_in(who, None).await,
                Decision::Deny(rosterd::engine::Denied::Credentials)
            ),
            "{who}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_domain_release_lists_its_users_and_a_new_claim_restores_the_same_ones() {
    let firm = Firm::of(0, |c| c.settings.groups.clear()).await;
    firm.reconfigure(|c| c.tiers.grouped = false);
    firm.trust(&["example.org"]);
    firm.engine.claim("acme", "example.org", &alice()).await.unwrap();
    let person = |sam: &str, mail: &str| NewPerson::new(sam).mail(mail);
    firm.sim.edit(|ad| {
        ad.add_person(
            person("ann", "ann@example.com")
                .with_values("proxyAddresses", ["smtp:ann@example.org", "SMTP:ann@example.com"]),
        );
        ad.add_person(person("ben", "ben@example.org"));
        ad.add_person(person("cat", "cat@example.org"));
    });
    firm.sync().await;
    firm.sim.edit(|ad| ad.disable("cat"));
    firm.sync().await;
    let before: BTreeMap<String, User> = firm
        .users()
        .await
        .into_iter()
        .map(|u| (u.addresses.primary.clone().unwrap().to_string(), u))
        .collect();
    assert_eq!(before.len(), 3);

    let shown = firm.engine.plan_release("example.org", None).await.unwrap();
    let mut effects: Vec<_> =
        shown.people.iter().map(|t| (t.email.clone().unwrap().to_string(), t.effect)).collect();
    effects.sort();
    let expected = [
        ("ann@example.com", ReleaseEffect::LosesAddress),
        ("ben@example.org", ReleaseEffect::Released),
        ("cat@example.org", ReleaseEffect::StaysSuspended),
    ];
    assert_eq!(effects, expected.map(|(who, effect)| (who.to_owned(), effect)));
    assert!(
        !shown.is_last && firm.user("ben@example.org").await.status() == Status::Active,
        "nothing was done"
    );

    firm.engine.release("example.org", None, &alice()).await.unwrap();
    let ben = firm.user(&before["ben@example.org"].id.to_string()).await;
    assert_eq!((ben.status(), ben.link.is_some()), (Status::Released, true), "it keeps its link");
    let key = Address::parse("ben@example.org").unwrap().key();
    assert_eq!(
        firm.engine.store.user_by_address(&key).await.unwrap(),
        None,
        "and holds no address"
    );
    assert_eq!(
        firm.user("ben@example.org").await.id,
        ben.id,
        "but an operator finds it by the last one"
    );
    assert!(firm.user("ann@example.com").await.addresses.secondary.is_empty());
    assert_eq!(firm.user("cat@example.org").await.status(), Status::Suspended);
    let quiet = firm.sync().await;
    assert_eq!(
        (quiet.counts.total(), quiet.quarantined),
        (0, 1),
        "no user returns; only cat, who still holds an address, is reported: {quiet:?}"
    );

    firm.engine.release("example.com", None, &alice()).await.unwrap();
    assert_eq!(firm.kind("acme").await, AccountKind::Team, "the last domain was released");
    let status =
        firm.engine.directory_status(&firm.engine.directory("corp").unwrap()).await.unwrap();
    assert_eq!(status.state.as_str(), "no-domain", "{:?}", status.attention);
    assert_eq!(firm.sync().await.counts.total(), 0, "a directory of a team provisions no user");
    assert_eq!(firm.active().await, 0);

    firm.engine.claim("acme", "example.com", &alice()).await.unwrap();
    firm.engine.claim("acme", "example.org", &alice()).await.unwrap();
    firm.sync().await;
    firm.sync().await;
    let after = firm.users().await;
    assert_eq!(after.len(), 3, "none is duplicated");
    for user in &after {
        let was = &before[user.addresses.primary.as_ref().unwrap().as_str()];
        assert_eq!(
            (user.id, user.status(), &user.addresses),
            (was.id, was.status(), &was.addresses),
            "as before"
        );
    }
    assert_eq!(firm.conversions().await, [json!("enterprise"), json!("team"), json!("enterprise")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_domain_released_during_a_run_reactivates_no_user() {
    let firm = Firm::running(20, |_| {}).await;
    assert!(firm.active().await > 10);
    // Every decision uses the claims at the beginning of the read.
    let slow = adsim::Fault::new(
        adsim::When::search().containing("objectCategory=person"),
        adsim::What::Delay(std::time::Duration::from_secs(1)),
    );
    firm.sim.faults().push(slow);
    let mut progress = firm.engine.directory("corp").unwrap().progress();
    let running = async {
        progress.wait_for(|p| p.phase == rosterd::engine::Phase::Reading).await.unwrap();
        firm.engine.release("example.com", None, &alice()).await.unwrap();
    };
    let (run, ()) = tokio::join!(firm.sync(), running);
    assert_eq!((run.counts.total(), firm.active().await), (0, 0), "{run:?}");
}
