//! `explain`: users, people without a user, and unknown names.

use std::time::Duration;

use adsim::NewPerson;
use rosterd::engine::{Entry, Explanation};
use rosterd::model::Status;

use crate::firm::{Firm, alice};

async fn explain(firm: &Firm, who: &str) -> Explanation {
    firm.engine.explain(who).await.unwrap()
}

async fn entry(firm: &Firm, who: &str) -> Entry {
    let mut explained = explain(firm, who).await;
    assert_eq!(explained.entries.len(), 1, "{who}: {:?}", explained.elsewhere);
    explained.entries.remove(0)
}

fn meanings(entry: &Entry) -> Vec<String> {
    let reading = entry.reading.as_ref().expect("an entry that can be read");
    let lines = [&reading.scope].into_iter().chain(&reading.state).chain(&reading.addresses);
    lines.map(|line| format!("{} {}: {}", line.attribute, line.value, line.meaning)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_shows_scope_state_addresses_and_every_path_to_the_tier() {
    let firm = Firm::running(20, |_| {}).await;
    firm.sim.edit(|ad| {
        let new = NewPerson::new("ann")
            .cn("ann")
            .mail("ann@example.com")
            .member_of(adsim::names::PRO_NESTED)
            .member_of(adsim::names::BASIC);
        ad.add_person(new.with_values(
            "proxyAddresses",
            ["SMTP:ann@example.com", "smtp:a@elsewhere.org", "X500:/o=x"],
        ));
    });
    firm.sync().await;
    let user = firm.user("ann@example.com").await;
    let seen = entry(&firm, "ann@example.com").await;
    let dn = user.link.as_ref().unwrap().dn.as_str().to_owned();
    assert_eq!(
        meanings(&seen),
        [
            format!("distinguishedName {dn}: in scope: below a base, and matched by the filter"),
            "userAccountControl 512: enabled".to_owned(),
            "accountExpires never: does not expire".to_owned(),
            "mail ann@example.com: primary: example.com is claimed".to_owned(),
            "proxyAddresses smtp:a@elsewhere.org: left out: the account has not claimed elsewhere.org".to_owned(),
        ]
    );
    assert_eq!(seen.groups, [vec!["Roster Basic"], vec!["Roster Pro Nested", "Roster Pro"]]);
    assert_eq!(
        (seen.reading.unwrap().tier.as_str(), seen.has_user, seen.would.len()),
        ("pro: by group", true, 0)
    );
    let explained = explain(&firm, &user.id.to_string()).await;
    let history: Vec<&str> =
        explained.history.iter().map(|(_, change)| change.kind.as_str()).collect();
    assert_eq!((history, explained.remedies.len()), (vec!["create"], 0));
    assert_eq!(
        explain(&firm, &user.link.unwrap().guid.to_string()).await.user.map(|u| u.id),
        Some(user.id)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_shows_why_a_person_has_no_user_and_the_remedy() {
    let firm = Firm::running(20, |c| c.exclude = vec!["svc-*@example.com".to_owned()]).await;
    let past = firm.sim.now() - Duration::from_hours(48);
    firm.sim.edit(|ad| {
        let pro = |name: &str, mail: &str| {
            NewPerson::new(name).cn(name).mail(mail).member_of(adsim::names::PRO)
        };
        ad.add_person(pro("dis", "dis@example.com").disabled());
        ad.add_person(pro("exp", "exp@example.com").expires(past));
        ad.add_person(pro("svc", "svc-x@example.com"));
        ad.add_person(pro("out", "out@elsewhere.org"));
        ad.add_person(pro("bad", "no address").upn("bad@example.com"));
        ad.add_person(NewPerson::new("non").cn("non").mail("non@example.com"));
        ad.add_person(pro("twin", "twin@example.com"));
        ad.add_person(pro("twin2", "twin@example.com"));
    });
    firm.sync().await;
    for (who, why) in [
        ("dis@example.com", "it is disabled: it gets a user when it is first seen enabled"),
        ("exp@example.com", "it has expired: set a later accountExpires"),
        (
            "svc-x@example.com",
            "it is out of scope: move it, or change base, filter, exclude or exclude-ou",
        ),
        ("out@elsewhere.org", "the account has not claimed elsewhere.org: rosterctl domain claim"),
        ("bad@example.com", "its primary address is not valid: correct it"),
        ("non@example.com", "it is in none of the groups that give a tier: put it in one"),
    ] {
        let seen = entry(&firm, who).await;
        assert_eq!(
            (seen.has_user, &seen.reading.unwrap().obstacles[..]),
            (false, &[why.to_owned()][..]),
            "{who}"
        );
    }
    let twins = explain(&firm, "twin@example.com").await.entries;
    assert_eq!(
        twins.iter().map(|t| t.quarantine.map(|q| q.as_str())).collect::<Vec<_>>(),
        [Some("contested-address"); 2]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_shows_the_remedies_of_suspended_and_overridden_users() {
    let firm = Firm::running(60, |c| c.limits.grace_period = Duration::ZERO).await;
    let users = firm.users().await;
    let (id, dn) = (
        |n: usize| users[n].id.to_string(),
        |n: usize| users[n].link.as_ref().unwrap().dn.as_str().to_owned(),
    );
    firm.sim.edit(|ad| {
        ad.disable(dn(0).as_str());
        for group in [adsim::names::PRO, adsim::names::BASIC, adsim::names::PRO_NESTED] {
            ad.remove_member(group, dn(1).as_str());
        }
        ad.show_tombstones(true);
        ad.delete(dn(2).as_str());
    });
    firm.sync().await;
    firm.engine.suspend(&id(0), "stolen laptop", &alice()).await.unwrap();
    let told = explain(&firm, &id(0)).await;
    assert_eq!(
        told.remedies,
        [
            "operator: suspended by an operator; rosterctl user activate reactivates it",
            "disabled: enable the account in the directory"
        ]
    );
    assert!(
        meanings(&told.entries[0]).contains(&"userAccountControl 514: disabled (bit 2)".to_owned())
    );

    assert_eq!(entry(&firm, &id(2)).await.found, "it is deleted: what is left is the tombstone");
    firm.engine.activate(&id(1), &alice()).await.unwrap();
    let told = explain(&firm, &id(1)).await;
    assert_eq!(told.user.map(|u| u.status()), Some(Status::Active));
    let overridden = "override: it is not suspended as no-group, although the directory says so, until the directory changes or rosterctl user clear-override";
    assert_eq!(told.remedies, [overridden]);
    assert_eq!(
        told.entries[0].reading.as_ref().unwrap().tier,
        "none: in none of the groups, and without-group = \"suspend\""
    );

    firm.sim.edit(|ad| ad.disable(dn(3).as_str()));
    let would = entry(&firm, &id(3)).await.would;
    assert_eq!(
        would.iter().map(|(c, hold)| (c.kind.verb().as_str(), *hold)).collect::<Vec<_>>(),
        [("suspend", None)]
    );
    assert_eq!(firm.user(&id(3)).await.status(), Status::Active, "explaining changes nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_names_the_directories_searched_and_the_held_plan() {
    let firm = Firm::of(120, |_| {}).await;
    let told = explain(&firm, "nobody@example.com").await;
    let why = "no entry has nobody@example.com as objectGUID, address, logon name, DN, employee id or name";
    assert!(told.user.is_none() && told.entries.is_empty());
    assert_eq!(
        told.elsewhere.iter().map(|(name, why)| (name.as_str(), why.as_str())).collect::<Vec<_>>(),
        [("corp", why)]
    );
    firm.sync().await;
    let plan = firm.engine.store.plans(false).await.unwrap().remove(0);
    let guid = firm.engine.store.held_rows(plan.id).await.unwrap()[0].guid.unwrap();
    let waits = entry(&firm, &guid.to_string()).await.waits;
    assert_eq!(
        waits,
        Some(format!(
            "1 change of plan {} wait for approval: rosterctl held show {}",
            plan.id, plan.id
        ))
    );
    let runs = firm.engine.store.runs(None, 100).await.unwrap().len();
    explain(&firm, &guid.to_string()).await;
    assert_eq!(firm.engine.store.runs(None, 100).await.unwrap().len(), runs);
    firm.sim.faults().push(adsim::Fault::new(adsim::When::Bind, adsim::What::Anonymous).always());
    let told = explain(&firm, &guid.to_string()).await;
    assert!(told.elsewhere[0].1.starts_with("it could not be asked: "), "{:?}", told.elsewhere);
}
