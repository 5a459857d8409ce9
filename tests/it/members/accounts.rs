//! Accounts: their names and policies, and their deletion.

use std::collections::BTreeMap;

use rosterd::engine::EngineError;
use serde_json::json;

use super::{refused, with_team};
use crate::firm::alice;

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
