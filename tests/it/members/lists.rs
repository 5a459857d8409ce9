//! The list of users, and the search for contacts.

use std::collections::BTreeSet;

use rosterd::engine::{Sort, UserQuery};
use rosterd::model::{Reason, Standing, Status, Tier};

use super::{refused, with_team};
use crate::firm::{Firm, alice};

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
    let found = firm.engine.contacts("zoe@example.net", "zo", None, 10).await.unwrap();
    assert_eq!(found.next, None);
    let found: Vec<String> =
        found.users.iter().map(|u| u.addresses.primary.as_ref().unwrap().to_string()).collect();
    assert_eq!(
        found,
        ["zora@example.net"],
        "neither herself, nor an invited user, nor another account's users"
    );
    let why = refused(firm.engine.contacts("asked@example.net", "zo", None, 10).await);
    assert!(why.contains("is invited, and has no colleagues"), "{why}");
    assert!(
        firm.engine.contacts("zoe@example.net", "  ", None, 10).await.unwrap().users.is_empty()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_contacts_of_a_user_come_in_pages_without_repeats_and_without_the_user() {
    let firm = Firm::running(60, |_| {}).await;
    let who = firm.users().await.swap_remove(0).id.to_string();
    let all = firm.engine.contacts(&who, "a", None, 1_000).await.unwrap();
    assert!(all.users.len() > 4 && all.next.is_none(), "{}", all.users.len());
    let (mut seen, mut after) = (BTreeSet::new(), None);
    loop {
        let page = firm.engine.contacts(&who, "a", after, 2).await.unwrap();
        assert!(page.users.len() <= 2);
        for user in page.users {
            assert!(user.id.to_string() != who && seen.insert(user.id), "{} again", user.id);
        }
        let Some(next) = page.next else { break };
        after = Some(next.parse().unwrap());
    }
    assert_eq!(seen, all.users.iter().map(|user| user.id).collect());
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
        let ids: BTreeSet<_> = seen.iter().map(|u| u.id).collect();
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
