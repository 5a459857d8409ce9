//! Users of a team: invited, registered at the first sign-in, and removed.

use rosterd::engine::{Decision, EngineError, Invitation, UserError};
use rosterd::model::{Status, Tier};
use serde_json::json;

use super::{refused, with_team};
use crate::firm::alice;

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
