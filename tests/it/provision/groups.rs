//! The groups of a target, whose members are the accounts of one tier.

use super::*;

fn group(name: &str, tier: Tier) -> TargetGroup {
    TargetGroup { name: name.to_owned(), tier, id: None }
}

fn both() -> Vec<TargetGroup> {
    vec![group("Roster Pro", Tier::Pro), group("Roster Basic", Tier::Basic)]
}

/// Returns the ids of the accounts of the active users of a tier, in order.
async fn accounts_of(office: &Office, tier: Tier) -> Vec<String> {
    let users = office.firm.users().await;
    let of_tier = users.iter().filter(|user| user.tier == tier && user.causes.is_empty());
    let mut ids: Vec<String> =
        of_tier.filter_map(|user| Some(id_of(&office.account(user)?))).collect();
    ids.sort();
    ids
}

async fn complete(office: &Office) {
    until("the groups are complete", async || {
        let pro = office.sim.members("Roster Pro")?;
        let basic = office.sim.members("Roster Basic")?;
        let wanted = (accounts_of(office, Tier::Pro).await, accounts_of(office, Tier::Basic).await);
        ((pro, basic) == wanted).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_join_the_group_of_their_tier_in_requests_of_a_hundred() {
    let office = Office::with(300, |config, _| config.groups = both()).await;
    complete(&office).await;
    let log = office.sim.log();
    let added = log.iter().filter(|r| r.method == "PATCH" && r.target.contains("/Groups/"));
    let sizes: Vec<usize> = added
        .map(|request| request.body["Operations"][0]["value"].as_array().expect("members").len())
        .collect();
    let members = office.sim.users().len();
    assert!(sizes.iter().all(|size| *size <= 100), "{sizes:?}");
    assert_eq!(sizes.iter().sum::<usize>(), members);
    assert!(sizes.len() <= members / 100 + 2, "{sizes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_moves_with_the_tier_and_members_of_others_stay() {
    let office = Office::with(20, |config, _| config.groups = both()).await;
    complete(&office).await;
    let users = office.firm.users().await;
    let of = |tier| users.iter().find(|u| u.tier == tier && u.causes.is_empty()).expect("a user");
    let (leaver, mover) = (of(Tier::Pro), of(Tier::Basic));
    let stranger = office.sim.add_user("stranger@elsewhere.example");
    office.sim.join("Roster Basic", &stranger);
    let leaver_id = id_of(&office.account(leaver).expect("an account"));
    office.leave(leaver).await;
    let guid = crate::firm::guid_of(mover);
    office.firm.sim.edit(|ad| ad.add_member(adsim::names::PRO, guid));
    office.firm.sync().await;
    let mover_id = id_of(&office.account(mover).expect("an account"));
    until("the mover is a member of the other group", async || {
        let is_in = office.sim.members("Roster Pro")?.contains(&mover_id);
        let is_out = !office.sim.members("Roster Basic")?.contains(&mover_id);
        (is_in && is_out).then_some(())
    })
    .await;
    assert!(office.sim.members("Roster Basic").expect("a group").contains(&stranger));
    assert!(office.sim.members("Roster Pro").expect("a group").contains(&leaver_id));
    for request in office.sim.log().iter().filter(|r| r.target.contains("/Groups/")) {
        let none = Vec::new();
        for operation in request.body["Operations"].as_array().unwrap_or(&none) {
            let is_whole = operation["path"] == "members" && operation["op"] != "add";
            assert!(!is_whole, "a removal without a filter empties the group: {operation}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_existing_group_is_used_only_by_its_configured_id() {
    let office = Office::before(12, |config, _| config.groups = both()).await;
    let id = office.sim.add_group("roster pro");
    office.start().await;
    until("the group is reported", async || {
        let status = office.firm.engine.target_statuses().await.expect("a status");
        status[0].attention.iter().find(|line| line.contains("did not create it")).map(drop)
    })
    .await;
    assert_eq!(office.sim.members("roster pro"), Some(Vec::new()));
    office.reconfigure(|config| {
        config.groups[0].id = Some(rosterd::model::RemoteId(id.clone()));
    });
    until("the rules wait or are accepted", async || {
        office.approve_all().await;
        let members = office.sim.members("roster pro")?;
        (members == accounts_of(&office, Tier::Pro).await).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_loses_members_is_reported_and_not_filled_again_and_again() {
    let office = Office::before(12, |config, _| config.groups = both()).await;
    let loses = Fault::answer("PATCH", 204, &[], "").at("/Groups/");
    office.sim.fail(loses);
    office.start().await;
    until("the loss is reported", async || {
        let status = office.firm.engine.target_statuses().await.expect("a status");
        status[0].attention.iter().find(|line| line.contains("does not show")).map(drop)
    })
    .await;
    office.at_rest().await;
    let count = || {
        let log = office.sim.log();
        log.iter().filter(|r| r.method == "PATCH" && r.target.contains("/Groups/")).count()
    };
    let before = count();
    office.later(Duration::from_hours(1)).await;
    assert_eq!(count(), before);
    office.sim.clear_faults();
    office.run().await;
    complete(&office).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn members_whom_the_target_does_not_know_yet_join_later_by_our_record() {
    for status in [404, 500] {
        // No member is shown, as at AWS.
        let office = Office::before(260, |config, sim| {
            config.groups =
                vec![group("Roster Pro", Tier::Pro), group("Roster Basic", Tier::Basic)];
            config.client.quirks.members = Some(false);
            sim.fail(Fault::status("PATCH", status).at("/Groups/").times(3));
        })
        .await;
        office.start().await;
        office.approve_all().await;
        until("the group is reported", async || {
            let attention = office.status().await.attention;
            attention.iter().find(|line| line.contains("and is tried again")).map(drop)
        })
        .await;
        let tried = || {
            let log = office.sim.log();
            log.iter().filter(|r| r.method == "PATCH" && r.target.contains("/Groups/")).count()
        };
        // A refused request is not repeated at once.
        let before = tried();
        assert!(before <= 3, "{before} requests");
        until("the members have joined", async || {
            office.later(Duration::from_mins(1)).await;
            let joined = office.sim.members("Roster Pro")?;
            (joined == accounts_of(&office, Tier::Pro).await && !joined.is_empty()).then_some(())
        })
        .await;
        complete(&office).await;
        let log = office.sim.log();
        let reads = log.iter().filter(|r| r.method == "GET" && r.target.contains("/Groups/"));
        assert_eq!(reads.count(), 0, "members that are not shown are not asked for");
    }
}
