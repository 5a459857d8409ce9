//! Names that pass from one account to another.

use super::*;

/// Returns a company whose accounts are named by the titles of their users.
async fn titled(people: usize) -> Office {
    let office =
        Office::before(people, |config, _| config.mapping = mapping(&[("userName", "{title}")]))
            .await;
    for (number, user) in office.firm.users().await.iter().enumerate() {
        let guid = crate::firm::guid_of(user);
        office.firm.sim.edit(|ad| ad.set(guid, "title", &format!("t{number}")));
    }
    office.firm.sync().await;
    office.start().await;
    let users = office.firm.active().await;
    until("each user has an account", async || (office.active().len() == users).then_some(()))
        .await;
    office.at_rest().await;
    office
}

fn name_of(office: &Office, user: &User) -> String {
    let account = office.account(user).expect("an account");
    account["userName"].as_str().expect("a name").to_owned()
}

/// Gives titles to users in one run of the directory.
async fn rename(office: &Office, titles: &[(&User, &str)]) {
    office.firm.sim.edit(|ad| {
        for (user, title) in titles {
            let guid = crate::firm::guid_of(user);
            ad.set(guid, "title", title);
            ad.set(guid, "department", "Renamed");
        }
    });
    office.firm.sync().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_move_along_a_chain_arrive_in_any_order() {
    let office = titled(8).await;
    let users = office.firm.users().await;
    for order in [[0, 1, 2], [2, 1, 0]] {
        let names = order.map(|n| name_of(&office, &users[n]));
        let next = [names[1].clone(), names[2].clone(), format!("{}x", names[2])];
        let titles: Vec<(&User, &str)> =
            order.iter().zip(&next).map(|(n, title)| (&users[*n], title.as_str())).collect();
        rename(&office, &titles).await;
        until("each account has its name", async || {
            office.later(Duration::from_secs(10)).await;
            let now = order.map(|n| name_of(&office, &users[n]));
            (now == next).then_some(())
        })
        .await;
    }
    office.at_rest().await;
    // A name that was contested for a moment is tried again when its holder gives it up.
    for user in &users[..3] {
        assert_eq!(office.problem(user).await, None);
    }
    assert_eq!(office.run().await.counts.total(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_users_who_swap_names_are_contested_and_the_remedy_works() {
    let office = titled(8).await;
    let users = office.firm.users().await;
    let (a, b) = (&users[0], &users[1]);
    let names = (name_of(&office, a), name_of(&office, b));
    rename(&office, &[(a, &names.1), (b, &names.0)]).await;
    until("both are contested", async || {
        office.later(Duration::from_secs(30)).await;
        let problems = [office.problem(a).await, office.problem(b).await];
        (problems == [Some(ProvisionProblem::Contested); 2]).then_some(())
    })
    .await;
    // The rest of the user was applied.
    let department = |user| {
        let account = office.account(user).expect("an account");
        account["urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"]["department"].clone()
    };
    assert_eq!((department(a), department(b)), (json!("Renamed"), json!("Renamed")));
    let answer = office.row(a).await.expect("a row").answer.expect("an answer");
    let remedy = format!("run rosterctl target retry {NAME} {}", a.id);
    assert!(answer.contains(&format!("the account of user {} has the name", b.id)), "{answer}");
    assert!(answer.contains(&remedy), "{answer}");
    assert_eq!(office.firm.events("provision.quarantined").await.len(), 2);
    // The remedy, as it is printed.
    let id = id_of(&office.account(b).expect("an account"));
    office.sim.set(&id, "userName", json!("between"));
    office.firm.engine.push_user(NAME, &a.id.to_string(), false).await.expect("a retry");
    until("the names are swapped", async || {
        ((name_of(&office, b), name_of(&office, a)) == names).then_some(())
    })
    .await;
    office.at_rest().await;
    assert_eq!((office.problem(a).await, office.problem(b).await), (None, None));
    assert_eq!(office.run().await.counts.total(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_a_leaver_still_has_is_contested() {
    let office = titled(8).await;
    let users = office.firm.users().await;
    let (leaver, other) = (&users[0], &users[1]);
    office.leave(leaver).await;
    office.becomes(leaver, false).await;
    rename(&office, &[(other, &name_of(&office, leaver))]).await;
    until("the name is contested", async || {
        office.later(Duration::from_secs(30)).await;
        (office.problem(other).await == Some(ProvisionProblem::Contested)).then_some(())
    })
    .await;
    assert_eq!(office.is_active(leaver), Some(false));
    let answer = office.row(other).await.expect("a row").answer.expect("an answer");
    assert!(answer.contains(&format!("the account of user {} has", leaver.id)), "{answer}");
}
