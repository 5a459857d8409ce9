//! Callers that are idle, that are web browsers, or whose sign-in is undecided.

use std::time::Duration;

use serde_json::{Value, json};

use super::Office;

#[tokio::test(flavor = "multi_thread")]
async fn idle_callers_delay_neither_runs_nor_backups() {
    let mut office = Office::open().await;
    let mut idle = Vec::new();
    for _ in 0..400 {
        idle.push(tokio::net::UnixStream::connect(&office.socket).await.unwrap());
    }
    let begun = std::time::Instant::now();
    assert_eq!(office.post("/v1/directories/corp/sync", None).await["state"], "succeeded");
    office.expect(200, "post /v1/backup", None).await;
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    drop(idle);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_of_a_web_browser_is_refused_before_anything_is_done() {
    let office = Office::open().await;
    for (header, value) in [("origin", "http://evil.example"), ("sec-fetch-site", "cross-site")] {
        let request = office.http.post("http://rosterd/v1/directories/corp/pause");
        let answer = request.header(header, value).body("{}").send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 403, "{header}");
        let problem: Value = answer.json().await.unwrap();
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains("refuses web browsers"), "{detail}");
    }
    let directory = office.firm.engine.directory("corp").unwrap();
    let status = office.firm.engine.directory_status(&directory).await.unwrap();
    assert_eq!(status.paused_until, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_undecided_sign_in_has_a_retry_after() {
    let office = Office::open().await;
    let address = office.firm.users().await.remove(0).addresses.primary.unwrap().to_string();
    office.firm.sim.crash().await.unwrap();
    let body = json!({ "address": address, "password": "secret", "client_address": "2001:db8::7" });
    let answer = office.http.post("http://rosterd/v1/sign-ins").json(&body).send().await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), answer.headers()["retry-after"].to_str().unwrap()),
        (200, "5")
    );
    let answer: Value = answer.json().await.unwrap();
    assert_eq!(
        (&answer["decision"], &answer["retry_after"]),
        (&json!("unavailable"), &json!(5)),
        "{answer:#}"
    );
}
