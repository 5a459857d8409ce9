//! Groups with members of another domain, and groups of another directory.

use super::estate::Estate;
use super::*;

/// Configures the groups of `emea`.
async fn groups_of_emea(estate: &Estate, groups: &[(Tier, &str)]) {
    let configured = estate.firm.engine.configured();
    let mut directories: Vec<DirectoryConfig> =
        configured.directories.values().map(|d| d.config.clone()).collect();
    directories[1].settings.groups =
        groups.iter().map(|(tier, name)| (*tier, GroupName::parse(name))).collect();
    configure(&estate.firm, directories);
    approve_held(&estate.firm, "emea").await;
}

/// Adds a person of the second domain to a group of the first one, by SID.
fn join_by_sid(estate: &Estate, group: &str, user: &User) -> uuid::Uuid {
    let guid = guid_of(user);
    let sid = estate.emea.look(|ad| ad.sid(guid));
    estate.firm.sim.edit(|ad| {
        let principal = ad.add_foreign_principal(&sid);
        ad.add_member(group, principal);
        principal
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_of_another_directory_gives_its_foreign_members_a_tier() {
    let estate = Estate::open().await;
    let user = of_directory(&estate.firm, "emea")
        .await
        .into_iter()
        .find(|user| user.tier == Tier::Basic)
        .expect("a basic user");
    estate.firm.sim.edit(|ad| ad.add_group(names::GROUPS, "Company Pro"));
    let principal = join_by_sid(&estate, "Company Pro", &user);
    groups_of_emea(
        &estate,
        &[(Tier::Pro, "corp:Company Pro"), (Tier::Pro, names::PRO), (Tier::Basic, names::BASIC)],
    )
    .await;
    assert_eq!(again(&estate.firm, &user).await.tier, Tier::Pro);
    for full in [true, false] {
        let run = if full {
            sync(&estate.firm, "emea").await
        } else {
            tick_of(&estate.firm, "emea").await
        };
        assert_eq!((run.counts.total(), run.held, run.error.as_deref()), (0, 0, None), "{run:?}");
    }
    // A change of that group is no change of this domain. The next incremental run sees it.
    let second = of_directory(&estate.firm, "emea")
        .await
        .into_iter()
        .find(|user| user.tier == Tier::Basic)
        .expect("another basic user");
    join_by_sid(&estate, "Company Pro", &second);
    let run = tick_of(&estate.firm, "emea").await;
    assert_eq!(
        (run.counts.tier, again(&estate.firm, &second).await.tier),
        (1, Tier::Pro),
        "{run:?}"
    );
    let changes = estate.firm.engine.store.run_changes(run.id).await.expect("the changes");
    let evidence = &changes[0].evidence[0];
    assert_eq!(evidence["attribute"], "member");
    assert_eq!(evidence["server"], estate.firm.sim.ldaps_url(), "the server of the group");
    // Its domain cannot be asked: nobody loses the tier, and the run tells.
    estate.firm.sim.freeze();
    let run = sync(&estate.firm, "emea").await;
    assert_eq!((run.counts.total(), run.held), (0, 0), "{run:?}");
    let is_told = |w: &String| w.contains("the groups of corp could not be read");
    assert!(run.warnings.iter().any(is_told), "{run:?}");
    assert_eq!(again(&estate.firm, &user).await.tier, Tier::Pro);
    estate.firm.sim.thaw();
    estate.later(Duration::from_mins(6));
    // It can be asked, and does not list the person any more.
    estate.firm.sim.edit(|ad| ad.remove_member("Company Pro", principal));
    tick_of(&estate.firm, "emea").await;
    assert_eq!(again(&estate.firm, &user).await.tier, Tier::Basic);
    assert_eq!(again(&estate.firm, &second).await.tier, Tier::Pro);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_of_this_domain_within_a_group_of_another_directory_counts() {
    let estate = Estate::open().await;
    let user = of_directory(&estate.firm, "emea")
        .await
        .into_iter()
        .find(|user| user.tier == Tier::Basic)
        .expect("a basic user");
    let guid = guid_of(&user);
    let sid = estate.emea.edit(|ad| {
        ad.add_group(names::GROUPS, "Emea Pilots");
        ad.add_member("Emea Pilots", guid);
        ad.sid("Emea Pilots")
    });
    estate.firm.sim.edit(|ad| {
        ad.add_group(names::GROUPS, "Company Pro");
        let principal = ad.add_foreign_principal(&sid);
        ad.add_member("Company Pro", principal);
    });
    groups_of_emea(&estate, &[(Tier::Pro, "corp:Company Pro"), (Tier::Basic, names::BASIC)]).await;
    assert_eq!(again(&estate.firm, &user).await.tier, Tier::Pro);
}

#[tokio::test(flavor = "multi_thread")]
async fn members_of_other_domains_are_told_by_number_and_name() {
    let estate = Estate::open().await;
    let user = of_directory(&estate.firm, "emea").await.remove(0);
    join_by_sid(&estate, names::PRO, &user);
    estate.firm.sim.edit(|ad| {
        let stranger = ad.add_foreign_principal("S-1-5-21-1-2-3-1105");
        ad.add_member(names::PRO, stranger);
    });
    let run = sync(&estate.firm, "corp").await;
    let told = run.warnings.iter().find(|w| w.contains("of other domains")).expect("a warning");
    let dn = dn_of(&user);
    assert!(
        told.starts_with("2 members of Roster Pro are of other domains")
            && told.contains("S-1-5-21-1-2-3-1105")
            && told.contains(&format!("{dn} of emea"))
            && told.contains("\"corp:Roster Pro\""),
        "{told}"
    );
    let check = estate.firm.engine.check_directory("corp").await.expect("a check");
    let is_told =
        |step: &CheckStep| step.finding.starts_with("2 members of Roster Pro are of other domains");
    assert!(check.steps.iter().any(is_told), "{check:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_of_another_directory_is_not_read_on_a_server_that_may_lack_its_change() {
    let estate = Estate::open().await;
    let users = of_directory(&estate.firm, "emea").await.into_iter();
    let mut basic = users.filter(|user| user.tier == Tier::Basic);
    let (stays, joins) = (basic.next().expect("a user"), basic.next().expect("another user"));
    estate.firm.sim.edit(|ad| ad.add_group(names::GROUPS, "Company Pro"));
    let leaver = join_by_sid(&estate, "Company Pro", &stays);
    groups_of_emea(&estate, &[(Tier::Pro, "corp:Company Pro"), (Tier::Basic, names::BASIC)]).await;
    assert_eq!(again(&estate.firm, &stays).await.tier, Tier::Pro);
    let behind = estate.firm.sim.lagging_replica("behind").expect("a replica");
    estate.serve("corp", &[&estate.firm.sim, &behind]);
    estate.firm.sim.edit(|ad| ad.remove_member("Company Pro", leaver));
    join_by_sid(&estate, "Company Pro", &joins);
    sync(&estate.firm, "emea").await;
    let tiers = async || {
        let (stays, joins) = (again(&estate.firm, &stays).await, again(&estate.firm, &joins).await);
        (stays.tier, joins.tier)
    };
    assert_eq!(tiers().await, (Tier::Basic, Tier::Pro));
    estate.firm.sim.crash().await.expect("a crash");
    let run = sync(&estate.firm, "emea").await;
    assert_eq!(tiers().await, (Tier::Basic, Tier::Pro), "{run:?}");
    assert!(run.warnings.iter().any(|w| w.contains("has not heard of")), "{run:?}");
    let trust = estate.firm.engine.trust_server("emea", &alice()).await;
    trust.expect("the remedy of the warning");
    sync(&estate.firm, "emea").await;
    assert_eq!(tiers().await, (Tier::Pro, Tier::Basic));
}
