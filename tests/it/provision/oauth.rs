//! Tokens of OAuth client credentials, in runs and pushes.

use super::*;
use crate::telemetry::logs::Lines;

const TOKENS: &str = "/oauth/token";

/// Returns a company whose target gets its tokens by OAuth, and writes the client secret.
async fn office() -> Office {
    Office::with(9, |config, sim| {
        let TargetCredential::Token(file) = &config.client.credential else { unreachable!() };
        let secret_file = file.with_file_name("client.secret");
        crate::folder::write(&secret_file, "client-secret", 0o600);
        config.client.credential = TargetCredential::OAuth {
            token_url: sim.token_url().parse().expect("a URL"),
            client_id: "rosterd".to_owned(),
            secret_file,
            scope: Some("scim".to_owned()),
        };
        config.client.page_size = 3;
    })
    .await
}

fn write_secret(office: &Office, secret: &str) {
    let new = office.firm.folder.path().join("new");
    crate::folder::write(&new, secret, 0o600);
    std::fs::rename(new, office.firm.folder.path().join("client.secret")).expect("a file");
}

fn renewals(office: &Office) -> usize {
    office.sim.log().iter().filter(|request| request.target == TOKENS).count()
}

/// Checks that no event, status or log line shows a secret.
async fn shows_no_secret(office: &Office, lines: &[String]) {
    let filter = rosterd::store::EventFilter { limit: 10_000, ..Default::default() };
    let events = office.firm.engine.store.events(&filter).await.expect("events");
    let shown = format!("{lines:?} {events:?} {:?}", office.status().await);
    for secret in ["client-secret", "wrong-secret", office.sim.token().as_str()] {
        assert!(!shown.contains(secret), "{secret}");
    }
}

#[tokio::test]
async fn a_token_that_is_revoked_or_expires_during_a_run_is_renewed_once() {
    let (lines, _guard) = Lines::of(tracing::Level::TRACE);
    let office = office().await;
    let before = renewals(&office);
    office.sim.fail(Fault::status("GET", 401).at("startIndex=4").times(1));
    let run = office.run().await;
    assert_eq!((run.error, run.complete), (None, true));
    assert_eq!(renewals(&office), before + 1);
    office.firm.later(Duration::from_hours(2));
    office.sim.set_token("second-token-value");
    let run = office.run().await;
    assert_eq!((run.error, run.complete), (None, true));
    assert_eq!(renewals(&office), before + 2, "it expired, and was not refused first");
    shows_no_secret(&office, &lines.take()).await;
}

#[tokio::test]
async fn a_refused_renewal_stops_its_target_alone_until_the_secret_changes() {
    let (lines, _guard) = Lines::of(tracing::Level::TRACE);
    let office = office().await;
    let other = Sim::start().await.expect("a simulator");
    let first = office.firm.engine.target(NAME).expect("the target").config.clone();
    let mut second = config(&other, office.firm.folder.path());
    second.name = TargetName::parse("other").expect("a name");
    second.limits.classes = first.limits.classes.clone();
    office.firm.engine.reconfigure_targets(vec![first, second]);
    office.follow();
    let users = office.firm.active().await;
    until("each user has an account", async || (other.users().len() == users).then_some(())).await;
    let user = office.someone().await;
    write_secret(&office, "wrong-secret");
    office.leave(&user).await;
    until("the target refuses the client", async || {
        office.firm.events("target.unauthorized").await.first().map(drop)
    })
    .await;
    until("the account is inactive elsewhere", async || {
        let accounts = other.users();
        let account = accounts.iter().find(|a| a["externalId"] == user.id.to_string())?;
        (account["active"] == json!(false)).then_some(())
    })
    .await;
    assert_eq!(office.is_active(&user), Some(true));
    let status = office.status().await;
    assert_eq!(status.condition.as_str(), "unauthorized");
    assert!(status.attention.iter().any(|line| line.contains("invalid_client")), "{status:?}");
    let before = renewals(&office);
    office.later(Duration::from_hours(1)).await;
    assert_eq!(renewals(&office), before, "no storm");
    shows_no_secret(&office, &lines.take()).await;
    write_secret(&office, "client-secret");
    until("the account is inactive", async || {
        office.later(Duration::from_secs(10)).await;
        (office.is_active(&user) == Some(false)).then_some(())
    })
    .await;
    assert_eq!(office.firm.events("target.unauthorized").await.len(), 1);
}

#[tokio::test]
async fn a_token_server_that_is_down_refuses_nobody() {
    let (lines, _guard) = Lines::of(tracing::Level::TRACE);
    let office = office().await;
    let faults = [
        Fault::cut_before("POST"),
        Fault::answer("POST", 503, &[], "{}"),
        Fault::answer("POST", 429, &[], r#"{"error":"slow_down"}"#),
        Fault::login_page("POST", 200),
        Fault::login_page("POST", 403),
    ];
    let users = office.firm.users().await;
    for (number, (fault, user)) in faults.into_iter().zip(&users).enumerate() {
        office.sim.fail(fault.at(TOKENS));
        office.firm.later(Duration::from_hours(2));
        office.leave(user).await;
        until("the target is unreachable", async || {
            let told = office.firm.events("target.unreachable").await.len();
            (told > number).then_some(())
        })
        .await;
        office.sim.clear_faults();
        until("the account is inactive", async || {
            office.later(Duration::from_mins(1)).await;
            (office.is_active(user) == Some(false)).then_some(())
        })
        .await;
        office.at_rest().await;
        until("the target has recovered", async || {
            let told = office.firm.events("target.recovered").await.len();
            (told > number).then_some(())
        })
        .await;
    }
    assert!(office.firm.events("target.unauthorized").await.is_empty());
    shows_no_secret(&office, &lines.take()).await;
}

#[tokio::test]
async fn a_secret_that_a_server_repeats_is_neither_shown_nor_stored() {
    let (lines, _guard) = Lines::of(tracing::Level::TRACE);
    let office = office().await;
    let user = office.someone().await;
    let echo = json!({ "detail": format!("your header was Bearer {}", office.sim.token()) });
    office.sim.fail(Fault::answer("PATCH", 401, &[], &echo.to_string()));
    office.leave(&user).await;
    let refused = async |number: usize| {
        until("the target refuses the secret", async || {
            office.firm.events("target.unauthorized").await.get(number).map(drop)
        })
        .await;
    };
    refused(0).await;
    assert!(format!("{:?}", office.status().await).contains("[hidden]"));
    shows_no_secret(&office, &lines.take()).await;
    // The token server does the same.
    let echo = json!({ "error": "no client of the secret client-secret" });
    office.sim.fail(Fault::answer("POST", 401, &[], &echo.to_string()).at(TOKENS));
    office.firm.later(Duration::from_hours(2));
    office.firm.engine.unlock_target(NAME).await.expect("a status");
    let reason = until("the token server refuses the client", async || {
        let refused = office.status().await.state.refused?;
        refused.reason.contains("token server").then_some(refused.reason)
    })
    .await;
    assert!(reason.contains("no client of the secret [hidden]"), "{reason}");
    shows_no_secret(&office, &lines.take()).await;
}
