//! Objects beside ordinary people, and attributes that AD itself writes.

use rosterd::model::{GroupName, QuarantineReason, Reason, Status, Tier};

use super::branch::{Branch, PROVISIONED};
use super::{BASIC, DOMAIN, file_time, staff};

#[ignore = "needs the lab: tests/run"]
#[tokio::test(flavor = "multi_thread")]
async fn contacts_and_computers_get_no_user_and_an_inetorgperson_does() {
    let branch = Branch::running(|_| {}).await;
    let table = [
        ("contact", "Some Supplier", ""),
        ("computer", "WS01", "sAMAccountName: WS01$\nuserAccountControl: 4096\n"),
        ("inetOrgPerson", "Inet Person", "sAMAccountName: inet.person\nuserAccountControl: 544\n"),
    ];
    for (class, name, attributes) in table {
        let dn = staff("Sales", name);
        let mail = name.to_lowercase().replace(' ', ".");
        branch.lab.ldif(&format!("dn: {dn}\nchangetype: add\nobjectClass: {class}\nmail: {mail}@example.com\n{attributes}\n"));
        branch.lab.join(BASIC, &dn);
    }
    let run = branch.sync().await;
    assert_eq!((run.counts.create, run.counts.total(), run.held), (1, 1, 0), "{run:?}");
    let inet = staff("Sales", "Inet Person");
    assert_eq!(branch.user("inet.person@example.com").await.tier, Tier::Basic);
    branch.quiet("once").await;
    branch.lab.disable(&inet);
    branch.sync().await;
    assert_eq!(branch.reason("inet.person@example.com").await, Some(Reason::Disabled));
    branch.lab.enable(&inet);
    branch.sync().await;
    branch.lab.delete(&inet);
    branch.lab.delete(&staff("Sales", "WS01"));
    branch.sync().await;
    assert_eq!(branch.reason("inet.person@example.com").await, Some(Reason::Vanished));
    assert_eq!(branch.active().await, PROVISIONED);
}

#[ignore = "needs the lab: tests/run"]
#[tokio::test(flavor = "multi_thread")]
async fn account_attributes_are_read_with_the_meaning_that_ad_gives_them() {
    let branch = Branch::running(|_| {}).await;
    let now = rosterd::clock::Clock::system().now().0 / 1_000_000;
    let table = [
        ("Alan Turing", "userAccountControl", "66048".to_owned(), None),
        ("Barbara Liskov", "userAccountControl", "66050".to_owned(), Some(Reason::Disabled)),
        ("Claude Shannon", "userAccountControl", "262656".to_owned(), None),
        ("Dennis Ritchie", "userAccountControl", "546".to_owned(), Some(Reason::Disabled)),
        ("Donald Knuth", "accountExpires", "0".to_owned(), None),
        ("Emmy Noether", "accountExpires", i64::MAX.to_string(), None),
        ("Grace Hopper", "accountExpires", (i64::MAX - 1).to_string(), None),
        ("Hedy Lamarr", "accountExpires", "1".to_owned(), Some(Reason::Expired)),
        ("John McCarthy", "accountExpires", file_time(now - 3_600), Some(Reason::Expired)),
        ("Katherine Johnson", "accountExpires", file_time(now + 86_400), None),
        ("Ken Thompson", "pwdLastSet", "0".to_owned(), None),
    ];
    for (name, attribute, value, _) in &table {
        branch.lab.set(&staff("Engineering", name), &[(attribute, value)]);
    }
    // Any visitor of a sign-in page can lock out an account.
    let margaret = staff("Engineering", "Margaret Hamilton");
    for _ in 0..6 {
        let tried = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            branch.lab.samba("check-password", &[&margaret, "wrong"])
        }));
        assert!(tried.is_err(), "a wrong password is refused");
    }
    let found = branch.lab.samba(
        "search",
        &["(sAMAccountName=margaret.hamilton)", "msDS-User-Account-Control-Computed"],
    );
    assert!(found.contains("msDS-User-Account-Control-Computed: 16"), "she is locked out: {found}");
    let run = branch.sync().await;
    assert_eq!((run.counts.suspend, run.counts.total(), run.held), (4, 4, 0), "{run:?}");
    for (name, attribute, value, reason) in &table {
        let address = format!("{}@example.com", name.to_lowercase().replace(' ', "."));
        assert_eq!(branch.reason(&address).await, *reason, "{name}: {attribute} {value}");
    }
    assert_eq!(branch.user("margaret.hamilton@example.com").await.status(), Status::Active);
}

#[ignore = "needs the lab: tests/run"]
#[tokio::test(flavor = "multi_thread")]
async fn groups_of_every_kind_give_their_tier_and_foreign_members_get_no_user() {
    // Global, domain-local and universal; security and distribution.
    let kinds = [
        ("Global", -2_147_483_646_i64),
        ("Local", -2_147_483_644),
        ("Universal", -2_147_483_640),
        ("List", 2),
        ("Local List", 4),
    ];
    let names = ["Karl Larsen", "Lena Fischer", "Marco Rossi", "Paula Silva", "Oskar Nilsson"];
    let branch = Branch::of(|c| {
        c.settings.groups.extend(
            kinds.iter().map(|(name, _)| (Tier::Pro, GroupName::parse(&format!("Pro {name}")))),
        );
    })
    .await;
    for ((name, kind), member) in kinds.iter().zip(names) {
        let (dn, member) =
            (format!("CN=Pro {name},OU=Groups,{DOMAIN}"), staff("Operations", member));
        branch.lab.ldif(&format!(
            "dn: {dn}\nchangetype: add\nobjectClass: group\nsAMAccountName: Pro {name}\ngroupType: {kind}\nmember: {member}\n"
        ));
    }
    // An account of another forest, known to the domain by its SID alone.
    branch.lab.join(
        &format!("CN=Pro Local,OU=Groups,{DOMAIN}"),
        "<SID=S-1-5-21-1004336348-1177238915-682003330-1105>",
    );
    let run = branch.sync().await;
    assert_eq!((run.counts.create, run.error.as_deref()), (PROVISIONED as u64, None), "{run:?}");
    for name in names {
        let address = format!("{}@example.com", name.to_lowercase().replace(' ', "."));
        assert_eq!(branch.user(&address).await.tier, Tier::Pro, "{name}");
    }
    branch.quiet("nobody else").await;
}

#[ignore = "needs the lab: tests/run"]
#[tokio::test(flavor = "multi_thread")]
async fn swapped_shared_and_broken_mailboxes_suspend_no_user() {
    let branch = Branch::running(|_| {}).await;
    let [lena, marco] = ["Lena Fischer", "Marco Rossi"].map(|name| staff("Operations", name));
    branch.lab.set(&lena, &[("mail", "marco.rossi@example.com"), ("proxyAddresses", "")]);
    branch.lab.set(&marco, &[("mail", "lena.fischer@example.com"), ("proxyAddresses", "")]);
    // A second account of one person with the same address; and an invalid address.
    branch.lab.hire(&staff("Operations", "Admin Paula"), "adm-paula", BASIC);
    branch.lab.set(&staff("Operations", "Admin Paula"), &[("mail", "paula.silva@example.com")]);
    branch.lab.set(&staff("Operations", "Karl Larsen"), &[("mail", "<karl.larsen@example.com>")]);
    let before = branch.user("lena.fischer@example.com").await;
    let run = branch.sync().await;
    assert_eq!(
        (run.counts.create, run.counts.suspend, run.held, run.quarantined),
        (0, 0, 0, 2),
        "{run:?}"
    );
    assert_eq!(
        branch.user("marco.rossi@example.com").await.id,
        before.id,
        "each has the other's address"
    );
    assert_eq!(
        (branch.active().await, branch.user("paula.silva@example.com").await.status()),
        (PROVISIONED, Status::Active)
    );
    let karl = branch.user("karl.larsen@example.com").await;
    let quarantine = branch.engine.store.quarantine_of(karl.id).await.expect("a store");
    assert_eq!(
        (karl.status(), quarantine),
        (Status::Active, vec![QuarantineReason::MalformedAddress])
    );
    // The second account is another person, so its disabling does not concern Paula.
    branch.lab.disable(&staff("Operations", "Admin Paula"));
    branch.lab.disable(&staff("Operations", "Karl Larsen"));
    branch.sync().await;
    assert_eq!(branch.user("paula.silva@example.com").await.status(), Status::Active);
    assert_eq!(
        branch.reason("karl.larsen@example.com").await,
        Some(Reason::Disabled),
        "an invalid address keeps no leaver active"
    );
}
