//! Accounts, their domains and their users, with and without a directory.

use std::collections::BTreeMap;

use adsim::NewPerson;
use rosterd::engine::{
    Decision, EngineError, Invitation, ReleaseEffect, Sort, UserError, UserQuery,
};
use rosterd::model::{
    AccountKind, Address, QuarantineReason, Reason, Standing, Status, Tier, User,
};
use serde_json::{Value, json};

use crate::firm::{Firm, alice};

/// Returns a company before its first run, and a team beside it.
async fn with_team() -> Firm {
    let firm = Firm::of(0, |_| {}).await;
    firm.trust(&["example.org", "example.net"]);
    firm.engine.create_account("club", "The Club", &alice()).await.unwrap();
    firm
}

impl Firm {
    async fn invited(&self, account: &str, text: &str) -> Vec<(String, Invitation)> {
        self.engine.invite(account, &[text.to_owned()], &alice()).await.unwrap()
    }

    async fn kind(&self, account: &str) -> AccountKind {
        self.engine.account(account).await.unwrap().kind
    }

    /// Returns the kinds that accounts were converted to, oldest first.
    async fn conversions(&self) -> Vec<Value> {
        let events = self.events("account.converted").await;
        events.iter().map(|e| e["data"]["after"]["kind"].clone()).collect()
    }

    /// Returns the addresses of all matching users.
    async fn listed(&self, query: UserQuery) -> Vec<String> {
        let page = self
            .engine
            .list_users(UserQuery { limit: 1_000, sort: Sort::Address, ..query })
            .await
            .unwrap();
        page.users.iter().map(|u| u.addresses.primary.as_ref().unwrap().to_string()).collect()
    }
}

fn refused<T: std::fmt::Debug>(result: Result<T, EngineError>) -> String {
    match result.unwrap_err() {
        other @ (EngineError::Store(_) | EngineError::NotFound { .. }) => panic!("{other}"),
        refused => refused.to_string(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_invited_address_gets_its_own_answer_without_naming_a_holder() {
    let firm = with_team().await;
    firm.invited("club", "old@example.net").await;
    firm.engine.create_account("rivals", "Rivals", &alice()).await.unwrap();
    firm.invited("rivals", "spy@example.net").await;
    let answers = firm
        .invited("club", "new@example.net; OLD@example.net,spy@example.net\n bob@example.com  New@Example.NET bücher@ a@bücher.example ;;")
        .await;
    let outcomes: Vec<(&str, bool)> = answers
        .iter()
        .map(|(text, i)| (text.as_str(), matches!(i, Invitation::Invited(_))))
        .collect();
    assert_eq!(
        outcomes,
        [
            ("new@example.net", true),
            ("OLD@example.net", false),
            ("spy@example.net", false),
            ("bob@example.com", false),
            ("bücher@", false),
            ("a@bücher.example", true)
        ],
        "what is written twice is answered once"
    );
    assert!(matches!(answers[1].1, Invitation::AlreadyHere(_)));
    assert!(
        matches!((&answers[2].1, &answers[3].1), (Invitation::Elsewhere, Invitation::Elsewhere)),
        "by itself, or by its domain"
    );
    assert!(matches!(&answers[4].1, Invitation::Malformed(_)));
    let told = firm.events("user.invited").await;
    assert_eq!(told.len(), 4);
    assert_eq!(
        (
            &told[2]["data"]["account"],
            &told[2]["data"]["after"]["account_name"],
            &told[2]["data"]["after"]["status"]
        ),
        (&json!("club"), &json!("The Club"), &json!("invited"))
    );
    assert!(
        refused(firm.engine.invite("club", &["; , ".to_owned()], &alice()).await)
            .contains("1 to 10000 addresses")
    );
    let other = firm.invited("acme", "guest@example.net").await;
    assert_eq!(
        other[0].1,
        Invitation::OtherDomain,
        "an enterprise asks people of its own domains only"
    );
    assert!(matches!(firm.invited("acme", "guest@example.com").await[0].1, Invitation::Invited(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_an_invited_user_of_a_team_is_registered_at_the_first_sign_in() {
    let firm = with_team().await;
    firm.invited("club", "ann@example.net").await;
    let ann = firm.user("ann@example.net").await;
    assert_eq!((ann.status(), ann.tier, ann.joined_at), (Status::Invited, Tier::Pro, None));
    assert!(
        matches!(firm.sign_in("stranger@example.net", None).await, Decision::Redirect),
        "an address of an unclaimed domain"
    );
    for _ in 0..2 {
        let Decision::Allow { account, user } = firm.sign_in("Ann@Example.net", None).await else {
            panic!("she was invited")
        };
        assert_eq!(
            (account.handle.as_str(), user.id, user.status()),
            ("club", ann.id, Status::Active)
        );
    }
    let told = firm.events("user.registered").await;
    assert_eq!(
        (told.len(), &told[0]["data"]["before"]["status"], &told[0]["data"]["actor"]),
        (1, &json!("invited"), &json!("sso"))
    );
    assert!(firm.user("ann@example.net").await.joined_at.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_team_removes_users_and_suspends_none() {
    let firm = with_team().await;
    firm.invited("club", "ann@example.net").await;
    firm.sign_in("ann@example.net", None).await;
    let why = refused(firm.engine.suspend("ann@example.net", "", &alice()).await);
    assert!(why.contains("a team cannot suspend"), "{why}");
    firm.engine.set_tier("ann@example.net", Tier::Basic, &alice()).await.unwrap();
    assert_eq!(firm.user("ann@example.net").await.tier, Tier::Basic);
    let ann = firm.engine.remove("ann@example.net", &alice()).await.unwrap();
    assert!(matches!(
        firm.engine.find_user("ann@example.net").await,
        Err(EngineError::User(UserError::Unknown { .. }))
    ));
    assert!(
        firm.engine
            .store
            .search("ann@", &rosterd::store::UserFilter::default())
            .await
            .unwrap()
            .is_empty(),
        "the removed user is not found"
    );
    let told = firm.events("user.removed").await;
    assert_eq!(
        (told.len(), &told[0]["data"]["before"]["tier"], &told[0]["subject"]),
        (1, &json!("basic"), &json!(ann.id))
    );
    assert!(
        matches!(firm.sign_in("ann@example.net", None).await, Decision::Redirect),
        "she may go elsewhere"
    );
    assert!(
        matches!(firm.invited("club", "ann@example.net").await[0].1, Invitation::Invited(_)),
        "and come back"
    );
}

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
async fn an_account_is_renamed_and_its_policies_set_all_or_none() {
    let firm = with_team().await;
    let before = firm.engine.account("club").await.unwrap();
    firm.engine.rename_account("club", "  The Other Club ", &alice()).await.unwrap();
    let after = firm.engine.account("club").await.unwrap();
    assert_eq!((after.id, after.name.as_str()), (before.id, "The Other Club"));
    firm.invited("club", "ann@example.net").await;
    let invited = firm.events("user.invited").await;
    assert_eq!(
        invited[0]["data"]["after"]["account_name"], "The Other Club",
        "a later invitation shows the new name"
    );
    for bad in ["", " ", "a\nb", &"x".repeat(201)] {
        assert!(
            refused(firm.engine.rename_account("club", bad, &alice()).await)
                .contains("needs a name")
        );
    }
    let set = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect::<BTreeMap<_, _>>()
    };
    let why = refused(
        firm.engine
            .set_policies("club", &set(&[("regions", "eu"), ("colour", "red")]), &alice())
            .await,
    );
    assert!(
        why.contains("colour") && why.contains("outbound-calling"),
        "the valid ones are listed: {why}"
    );
    let why = refused(
        firm.engine
            .set_policies(
                "club",
                &set(&[("regions", "eu"), ("outbound-calling", "maybe")]),
                &alice(),
            )
            .await,
    );
    assert!(why.contains("true or false"), "{why}");
    assert_eq!(
        firm.engine.account("club").await.unwrap().policies,
        before.policies,
        "none of it was set"
    );
    let policies = firm
        .engine
        .set_policies(
            "club",
            &set(&[("regions", "eu, us"), ("outbound-calling", "false")]),
            &alice(),
        )
        .await
        .unwrap();
    assert_eq!(json!(policies.policies)["regions"], json!(["eu", "us"]));
    let told = firm.events("account.*").await;
    let renamed = told.iter().find(|e| e["type"] == "account.renamed").unwrap();
    assert_eq!(
        (&renamed["data"]["before"]["name"], &renamed["data"]["after"]["name"]),
        (&json!("The Club"), &json!("The Other Club"))
    );
    let changed = told.iter().find(|e| e["type"] == "account.policy_changed").unwrap();
    assert_eq!(
        changed["data"]["before"],
        json!({ "outbound-calling": true, "regions": [] }),
        "only what is different"
    );
    let names = |accounts: Vec<rosterd::model::Account>| {
        accounts.into_iter().map(|a| a.handle.to_string()).collect::<Vec<_>>()
    };
    for (text, found) in [
        ("oth clu", vec!["club"]),
        ("ACM", vec!["acme"]),
        ("", vec!["acme", "club"]),
        ("ub", vec![]),
    ] {
        assert_eq!(names(firm.engine.find_accounts(text).await.unwrap()), found, "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_is_deleted_entirely_and_only_without_domains_and_users() {
    let firm = with_team().await;
    firm.engine.claim("club", "example.org", &alice()).await.unwrap();
    firm.sign_in("ann@example.org", None).await;
    firm.engine.create_account("pend", "Pending", &alice()).await.unwrap();
    firm.engine.claim("pend", "unproven.example", &alice()).await.unwrap();
    assert!(
        refused(firm.engine.delete_account("club", "clubs", &alice()).await)
            .contains("confirm it with its handle")
    );
    assert!(
        refused(firm.engine.delete_account("club", "club", &alice()).await)
            .contains("holds example.org")
    );
    firm.engine.release("example.org", None, &alice()).await.unwrap();
    firm.invited("club", "bea@example.net").await;
    assert!(
        refused(firm.engine.delete_account("club", "club", &alice()).await)
            .contains("still has 1 users")
    );
    firm.engine.remove("bea@example.net", &alice()).await.unwrap();
    firm.engine.delete_account("club", "club", &alice()).await.unwrap();
    assert!(matches!(firm.engine.account("club").await, Err(EngineError::NotFound { .. })));
    assert!(firm.users().await.is_empty(), "the released users are deleted with it");
    firm.engine.delete_account("pend", "pend", &alice()).await.unwrap();
    assert_eq!(firm.engine.store.claims(None).await.unwrap().len(), 1, "acme's");
    assert_eq!(firm.events("account.deleted").await.len(), 2);
    firm.engine.create_account("club", "Another", &alice()).await.unwrap();
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
        let found = firm.engine.contacts("li.juan@example.com", text, 10).await.unwrap();
        assert_eq!(found.iter().any(|u| u.id == shirley.id), finds, "{text}");
    }
    firm.engine.claim("acme", "example2.com", &alice()).await.unwrap();
    firm.sync().await;
    assert!(
        matches!(can("shirley.rodriguez@example2.com").await, Decision::Allow { .. }),
        "from the next run on all three work"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_contact_search_finds_active_colleagues_by_the_beginning_of_a_word() {
    let firm = with_team().await;
    for who in ["zoe@example.net", "zora@example.net", "gone@example.net", "asked@example.net"] {
        firm.invited("club", who).await;
    }
    for who in ["zoe@example.net", "zora@example.net"] {
        firm.sign_in(who, None).await;
    }
    firm.engine.claim("acme", "example.org", &alice()).await.unwrap();
    firm.invited("acme", "zog@example.org").await;
    firm.sign_in("zog@example.org", None).await;
    let found = firm.engine.contacts("zoe@example.net", "zo", 10).await.unwrap();
    let found: Vec<String> =
        found.iter().map(|u| u.addresses.primary.as_ref().unwrap().to_string()).collect();
    assert_eq!(
        found,
        ["zora@example.net"],
        "neither herself, nor an invited user, nor another account's users"
    );
    let why = refused(firm.engine.contacts("asked@example.net", "zo", 10).await);
    assert!(why.contains("is invited, and has no colleagues"), "{why}");
    assert!(firm.engine.contacts("zoe@example.net", "  ", 10).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_users_is_filtered_sorted_and_paged_without_repeats() {
    let firm = Firm::running(60, |_| {}).await;
    firm.engine.create_account("club", "Club", &alice()).await.unwrap();
    firm.invited("club", "b@x.example a@x.example c@y.example").await;
    let dn = firm
        .users()
        .await
        .iter()
        .find_map(|u| Some(u.link.as_ref()?.dn.as_str().to_owned()))
        .unwrap();
    firm.sim.edit(|ad| ad.disable(dn.as_str()));
    firm.sync().await;
    let all_users = firm.users().await;
    let of = |query: UserQuery| firm.listed(query);
    assert_eq!(
        of(UserQuery { account: Some("club".into()), ..UserQuery::default() }).await,
        ["a@x.example", "b@x.example", "c@y.example"]
    );
    let domain = rosterd::model::Domain::parse("X.example").ok();
    assert_eq!(
        of(UserQuery { domain, ..UserQuery::default() }).await,
        ["a@x.example", "b@x.example"]
    );
    assert_eq!(
        of(UserQuery { reason: Some(Reason::Disabled), ..UserQuery::default() }).await.len(),
        1
    );
    assert_eq!(
        of(UserQuery {
            status: Some(Status::Invited),
            tier: Some(Tier::Basic),
            ..UserQuery::default()
        })
        .await
        .len(),
        0
    );
    for sort in Sort::ALL {
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let query = UserQuery { sort, after, limit: 7, ..UserQuery::default() };
            let page = firm.engine.list_users(query).await.unwrap();
            seen.extend(page.users);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(seen.len(), all_users.len(), "{sort:?}");
        let ids: std::collections::BTreeSet<_> = seen.iter().map(|u| u.id).collect();
        assert_eq!(ids.len(), all_users.len(), "{sort:?}: no user twice");
        let is_sorted = match sort {
            Sort::Id => seen.is_sorted_by_key(|u| u.id),
            Sort::Address => {
                seen.is_sorted_by_key(|u| u.addresses.primary.as_ref().map(|a| a.key()))
            }
            Sort::Created => seen.is_sorted_by_key(|u| u.created_at),
            Sort::Updated => seen.is_sorted_by_key(|u| u.updated_at),
            Sort::Name => true,
        };
        assert!(is_sorted, "{sort:?}");
    }
    let wrong = UserQuery {
        sort: Sort::Created,
        after: Some("nonsense".into()),
        limit: 1,
        ..UserQuery::default()
    };
    assert!(
        refused(firm.engine.list_users(wrong).await)
            .contains("not where a page of this order ended")
    );
    assert_eq!(all_users.iter().filter(|u| u.standing == Standing::Invited).count(), 3);
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
