//! Every operation is tried once, with an answer that matches the OpenAPI document.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::Office;

/// Path of the examples of the OpenAPI document.
const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/control/examples.json");

impl Office {
    /// Writes the examples, with the names of a company in place of those of this machine.
    fn write_examples(&self) {
        let folder = self.firm.folder.path().display().to_string();
        let names = [
            (folder.as_str(), "/etc/rosterd"),
            (&format!("\"{}\"", self.me), "\"alice\""),
            (&format!("operator {}", self.me), "operator alice"),
            ("127.0.0.1", "dc1.corp.example.com"),
        ];
        let text = serde_json::to_string_pretty(&self.examples).unwrap();
        let text = names.iter().fold(text, |text, (own, named)| text.replace(own, named));
        std::fs::write(EXAMPLES, text + "\n").unwrap();
    }

    /// Checks that the pages of each list are the whole list.
    async fn check_pages(&mut self) {
        for (path, list) in [
            ("/v1/accounts?", "accounts"),
            ("/v1/domains?", "domains"),
            ("/v1/held?all=true&", "held"),
            ("/v1/quarantine?", "quarantined"),
            ("/v1/targets/app/unmanaged?", "accounts"),
            ("/v1/directories?", "directories"),
            ("/v1/hooks?", "hooks"),
            ("/v1/hooks/vpn/deliveries?", "deliveries"),
            ("/v1/targets?", "targets"),
        ] {
            let whole = self.get(path.trim_end_matches(['?', '&'])).await;
            let (mut pages, mut after) = (Vec::new(), String::new());
            loop {
                let page = self.get(&format!("{path}limit=1{after}")).await;
                assert!(page[list].as_array().unwrap().len() <= 1, "{path}: {page}");
                pages.extend(page[list].as_array().unwrap().iter().cloned());
                let next = page["next"].as_str().map(str::to_owned);
                let Some(next) = next.or_else(|| page["next"].as_u64().map(|n| n.to_string()))
                else {
                    break;
                };
                after = format!("&after={next}");
            }
            // The state of a hook changes between two pages, its name does not.
            let names = |items: &[Value]| -> Vec<Value> {
                let name = |item: &Value| item.get("seq").or(item.get("name")).cloned();
                items.iter().map(|item| name(item).unwrap_or_else(|| item.clone())).collect()
            };
            assert_eq!(names(&pages), names(whole[list].as_array().unwrap()), "{path}");
            // A page of accounts at a target begins after any id.
            if !path.contains("unmanaged") {
                self.expect(400, &format!("get {path}after=nothing"), None).await;
            }
        }
    }
}

#[test]
fn the_openapi_document_describes_each_tag_of_its_operations_and_no_other() {
    let document: Value = serde_json::from_str(rosterd::control::openapi_document()).unwrap();
    let described: Vec<&str> = document["tags"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|tag| tag["description"].as_str().is_some_and(|text| text.ends_with('.')))
        .map(|tag| tag["name"].as_str().unwrap())
        .collect();
    let used: BTreeSet<&str> = document["paths"]
        .as_object()
        .unwrap()
        .values()
        .flat_map(|path| path.as_object().unwrap().values())
        .map(|operation| operation["tags"][0].as_str().unwrap())
        .collect();
    assert_eq!(described, Vec::from_iter(used));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_matches_the_openapi_document() {
    let mut office = Office::open().await;
    office.get("/v1/status").await;
    let me = office.me.clone();
    assert_eq!(office.get("/v1/caller").await["actor"], me.as_str());
    office.get("/v1/directories").await;
    office.get("/v1/directories/corp/progress").await;
    office.get("/v1/accounts").await;
    office.get("/v1/accounts/acme").await;
    office.get("/v1/domains").await;
    office.get("/v1/domains?account=acme").await;
    let first = office.get("/v1/users?account=acme&limit=3").await;
    let next = first["next"].as_str().unwrap().to_owned();
    office.get(&format!("/v1/users?after={next}&quarantined=true")).await;
    office.get("/v1/users/search?q=a&limit=5").await;
    let who = office.rename_person().await;
    office.get(&format!("/v1/users/{who}")).await;

    office.get("/v1/metrics").await;
    office.get("/v1/directories/corp/check").await;
    let plan = office.get("/v1/directories/corp/plan").await;
    assert_eq!(plan["changes"][0]["kind"], "update");
    let run = office.post("/v1/directories/corp/sync", None).await;
    assert_eq!(run["held"], 1);
    let held = office.get("/v1/held").await["held"][0]["id"].as_str().unwrap().to_owned();
    office.get(&format!("/v1/held/{held}")).await;
    office.post(&format!("/v1/held/{held}/reject"), Some(json!({}))).await;
    office.get("/v1/held?all=true").await;
    assert_eq!(
        office.get("/v1/held").await["held"],
        json!([]),
        "a rejected plan does not wait for approval"
    );
    assert_eq!(office.get("/v1/held?rejected=true").await["held"][0]["id"], held.as_str());
    office.expect(409, &format!("post /v1/held/{held}/approve"), None).await;
    assert_eq!(
        office
            .post(
                &format!("/v1/held/{held}/reopen"),
                Some(json!({ "comment": "The date was wrong" }))
            )
            .await["state"],
        "open"
    );
    office.expect(409, &format!("post /v1/held/{held}/reopen"), None).await;
    office.post(&format!("/v1/held/{held}/reject"), Some(json!({ "comment": "again" }))).await;
    office
        .expect(
            409,
            &format!("post /v1/held/{held}/approve"),
            Some(json!({ "causes": ["ou:nowhere"] })),
        )
        .await;
    let approving = json!({ "people": [who], "comment": "as she asked" });
    let applied = office.post(&format!("/v1/held/{held}/approve"), Some(approving)).await;
    office.expect(409, &format!("post /v1/held/{held}/approve"), None).await;
    let id = run["id"].as_str().unwrap().to_owned();
    office.get(&format!("/v1/runs/{id}")).await;
    office.get("/v1/runs?directory=corp&limit=2").await;
    let explained = office.get(&format!("/v1/users/{who}/explain")).await;
    assert_eq!(explained["outlook"][0]["target"], "app", "{explained}");
    assert_eq!(explained["outlook"][0]["error"], Value::Null, "{explained}");
    assert_eq!(
        (&explained["entries"][0]["directory"], &explained["history"][0]["kind"]),
        (&json!("corp"), &json!("update"))
    );
    office.get("/v1/users/nobody@example.com/explain").await;
    let undo = format!("/v1/runs/{}/undo", applied["id"].as_str().unwrap());
    assert_eq!(office.post(&format!("{undo}?dry_run=true"), None).await["run"], Value::Null);
    assert_eq!(office.post(&undo, None).await["run"]["undoes"], applied["id"]);
    office.get(&format!("/v1/runs/{}", applied["id"].as_str().unwrap())).await;
    office.expect(404, "post /v1/runs/x/undo", None).await;
    let later = json!({ "reason": "last day", "at": "2099-12-31T00:00:00Z" });
    let scheduled = office.post(&format!("/v1/users/{who}/suspend"), Some(later)).await;
    assert_eq!(scheduled["scheduled_suspension"]["reason"], "last day", "{scheduled}");
    assert_eq!(scheduled["status"], "active");
    let cancelled = office.post(&format!("/v1/users/{who}/cancel-suspension"), None).await;
    assert_eq!(cancelled["scheduled_suspension"], Value::Null);
    let note = format!("post /v1/users/{who}/note");
    let noted = office.post(&note[5..], Some(json!({ "text": "legal hold" }))).await;
    assert_eq!(noted["note"]["text"], "legal hold", "{noted}");
    office.expect(400, &note, Some(json!({ "text": "" }))).await;
    assert_eq!(office.post(&note[5..], Some(json!({ "text": null }))).await["note"], Value::Null);
    office.expect(409, &note, Some(json!({ "text": null }))).await;
    office.get("/v1/users?noted=true").await;

    office
        .post(&format!("/v1/users/{who}/suspend"), Some(json!({ "reason": "stolen laptop" })))
        .await;
    office.get(&format!("/v1/users/{who}")).await;
    office.post(&format!("/v1/users/{who}/activate"), None).await;
    office.post(&format!("/v1/users/{who}/sync"), None).await;
    office.post("/v1/sync", None).await;
    office.expect(202, "post /v1/sync?wait=false", None).await;
    office.expect(202, "post /v1/directories/corp/sync?wait=false", None).await;
    office.post("/v1/directories/corp/pause", Some(json!({ "for": "4h" }))).await;
    office.post("/v1/directories/corp/pause", None).await;
    office.expect(400, "post /v1/directories/corp/pause", Some(json!({ "for": "8d" }))).await;
    for what in ["resume", "unlock", "trust-server", "rebaseline"] {
        office.post(&format!("/v1/directories/corp/{what}"), None).await;
    }
    office.post("/v1/accounts", Some(json!({ "handle": "lab", "name": "Lab" }))).await;
    office.expect(409, "post /v1/accounts", Some(json!({ "handle": "lab", "name": "Lab" }))).await;
    office.post("/v1/accounts/lab/domains", Some(json!({ "domain": "example.org" }))).await;
    office.post("/v1/domains/example.com/verify?account=acme", None).await;
    office.post("/v1/accounts/lab/domains", Some(json!({ "domain": "bücher.example" }))).await;
    let release = office.post("/v1/domains/example.com/release?dry_run=true", None).await;
    assert_eq!(
        (&release["dry_run"], &release["becomes_team"]),
        (&json!(true), &json!(true)),
        "{release:#}"
    );
    office.post("/v1/domains/bücher.example/release", None).await;
    office.get("/v1/accounts?q=la").await;
    office.post("/v1/accounts/lab/rename", Some(json!({ "name": "Laboratory" }))).await;
    let policies =
        json!({ "outbound-calling": false, "regions": ["eu", "us"], "external-users": "true" });
    office.post("/v1/accounts/lab/policies", Some(policies)).await;
    let addresses = json!({ "addresses": ["guest@example.net; guest@example.com", "no address"] });
    office.post("/v1/accounts/lab/invitations", Some(addresses)).await;
    let sign_in = json!({ "address": "guest@example.net", "authenticated_by": "external" });
    let nowhere = json!({ "address": "guest@example.net", "password": "x", "client_address": "192.0.2.7:443" });
    let refused = office.expect(400, "post /v1/sign-ins", Some(nowhere)).await;
    assert!(
        !refused.to_string().contains("192.0.2.7:443"),
        "the error quotes no document with a password: {refused:#}"
    );
    let allowed = office.post("/v1/sign-ins", Some(sign_in)).await;
    assert_eq!(
        (&allowed["decision"], &allowed["account"]),
        (&json!("allow"), &json!("lab")),
        "{allowed:#}"
    );
    office.get("/v1/users/guest@example.net/contacts?q=a&limit=3").await;
    office.post("/v1/users/guest@example.net/tier", Some(json!({ "tier": "basic" }))).await;
    office.post("/v1/users/guest@example.net/remove", None).await;
    office.post("/v1/accounts/lab/delete", Some(json!({ "confirm": "lab" }))).await;
    office.get("/v1/quarantine").await;
    office.post("/v1/targets/app/sync", None).await;
    office.post("/v1/targets/app/sync", Some(json!({ "user": who }))).await;
    office.get("/v1/targets").await;
    office.get("/v1/targets/app").await;
    let check = office.get("/v1/targets/app/check").await;
    assert_eq!(check["ok"], true, "{check}");
    office.get("/v1/targets/app/accounts?state=pending&limit=2").await;
    office.get("/v1/targets/app/unmanaged").await;
    office.check_pages().await;
    office.get(&format!("/v1/targets/app/plan?user={who}")).await;
    office.post("/v1/targets/app/push", Some(json!({ "user": who, "again": true }))).await;
    let account = office.target.add_user("other@example.net");
    office.post("/v1/targets/app/adopt", Some(json!({ "user": who, "id": account }))).await;
    let nowhere = Some(json!({ "user": who, "id": "nowhere" }));
    office.expect(409, "post /v1/targets/app/adopt", nowhere).await;
    office.get(&format!("/v1/users/{who}")).await;
    office.post("/v1/targets/app/disown", Some(json!({ "user": who }))).await;
    office.post("/v1/targets/app/pause", Some(json!({ "for": "4h" }))).await;
    for what in ["resume", "unlock"] {
        office.post(&format!("/v1/targets/app/{what}"), None).await;
    }
    office.expect(409, "post /v1/targets/app/forget", None).await;
    office.remove_target();
    office.post("/v1/targets/app/forget", None).await;
    office.expect(404, "post /v1/targets/app/forget", None).await;
    let [recreated, left, overruled, person] = office.leavers().await;
    office
        .post(&format!("/v1/users/{recreated}/relink"), Some(json!({ "object_guid": person })))
        .await;
    office.post(&format!("/v1/users/{left}/release-address"), None).await;
    office.post(&format!("/v1/users/{overruled}/clear-override"), None).await;
    office.expect(409, &format!("post /v1/users/{overruled}/clear-override"), None).await;
    office
        .get("/v1/users?tier=pro&domain=example.com&reason=disabled&unmanaged=true&sort=name")
        .await;
    office.get("/v1/events?type=user.*&limit=50").await;
    office
        .get(&format!("/v1/events?run={id}&since=2020-01-01T00:00:00Z&after=3&subject={who}"))
        .await;
    office
        .get(&format!(
            "/v1/events?person={who}&account=acme&until=2120-01-01T00:00:00Z&after=0&wait=1"
        ))
        .await;
    office.expect(404, "get /v1/events?person=nobody@example.com", None).await;
    office.expect(400, "get /v1/events?wait=1", None).await;
    let head = office.get("/v1/events/verify").await["head"].as_str().unwrap().to_owned();
    assert_eq!(office.get(&format!("/v1/events/verify?head={head}")).await["intact"], true);
    office.expect(409, "post /v1/events/accept-loss", None).await;
    office.lose_commits().await;
    let told = office.get("/v1/status").await["store"]["attention"].to_string();
    assert!(told.contains("the database has lost commits (event 2)"), "{told}");
    assert_eq!(office.post("/v1/events/accept-loss", None).await["attention"], json!([]));
    assert!(office.get("/v1/hooks").await["hooks"][0]["delivered"].is_u64());
    assert_eq!(office.post("/v1/hooks/vpn/test", None).await["delivered"], true);
    office
        .post(
            "/v1/hooks/vpn/redeliver",
            Some(json!({ "type": "user.*", "subject": who, "since": "2020-01-01T00:00:00Z" })),
        )
        .await;
    office.post("/v1/hooks/vpn/redeliver", None).await;
    office.expect(409, "post /v1/hooks/vpn/redeliver", Some(json!({ "seq": 1_000_000 }))).await;
    assert!(
        office.post("/v1/hooks/vpn/replay", Some(json!({ "since": "2020-01-01T00:00:00Z" }))).await
            ["deliveries"]
            .as_u64()
            > Some(3)
    );
    office
        .get(&format!("/v1/hooks/vpn/deliveries?state=delivered&type=user.*&subject={who}&limit=3"))
        .await;
    office.get("/v1/hooks/vpn/deliveries?seq=2").await;
    office.expect(400, "get /v1/hooks/vpn/deliveries?state=lost", None).await;
    office.expect(404, "post /v1/hooks/nobody/test", None).await;
    office.expect(400, "post /v1/hooks/vpn/replay", Some(json!({ "since": "yesterday" }))).await;
    office.post("/v1/reload", None).await;
    office.expect(422, "post /v1/reload", None).await;
    office.expect(200, "post /v1/backup", None).await;

    office.expect(404, "get /v1/directories/lab/plan", None).await;
    let preview = |text: &str| Some(json!({ "configuration": text }));
    office.expect(200, "post /v1/directories/corp/preview", preview("as it is")).await;
    office.expect(400, "post /v1/directories/corp/preview", preview("")).await;
    office.expect(404, "get /v1/users/nobody@example.com", None).await;
    office.expect(404, "get /v1/users?account=nobody", None).await;
    office.expect(404, "post /v1/held/x/approve", None).await;
    office.expect(404, "post /v1/domains/example.net/verify", None).await;
    office
        .expect(400, "post /v1/accounts/acme/domains", Some(json!({ "domain": "no domain" })))
        .await;

    office.expect(409, "get /v1/leader", None).await;
    office.expect(409, "post /v1/leader/step-down", Some(json!({ "to": "other" }))).await;
    office.expect(409, "post /v1/leader/take", None).await;
    office.expect(409, "post /v1/leader/forget", Some(json!({ "node": "other" }))).await;

    office.migrate_one().await;
    office.post("/v1/directories/emea/relink-by-sid-history", None).await;
    office.rename_section();
    office.post("/v1/directories/corp/rename", Some(json!({ "to": "hq" }))).await;
    office.expect(404, "post /v1/directories/corp/rename", Some(json!({ "to": "hq" }))).await;

    if std::env::var_os("ROSTERD_WRITE_EXAMPLES").is_some() {
        office.write_examples();
    }
    let paths = office.document["paths"].as_object().unwrap();
    let operations = paths.iter().flat_map(|(path, methods)| {
        methods.as_object().unwrap().iter().map(move |(m, o)| (path, m, o))
    });
    for (path, method, operation) in operations {
        // Only a store that several rosterds share has them: tests/it/cluster.
        let is_shared = path.starts_with("/v1/leader");
        for status in
            operation["responses"].as_object().unwrap().keys().filter(|s| s.starts_with('2'))
        {
            assert!(
                is_shared || office.seen.contains(&format!("{method} {path} {status}")),
                "{method} {path} {status} was never tried here"
            );
        }
        let answers = operation["responses"].as_object().unwrap().iter();
        let answers = answers.filter(|(status, _)| status.starts_with('2')).map(|(_, a)| a);
        for part in answers.chain(operation.get("requestBody")) {
            let content = &part["content"]["application/json"];
            if content["schema"].is_object() {
                let what = format!("the example of {method} {path}");
                assert!(
                    !content["example"].is_null(),
                    "{what} is missing: set ROSTERD_WRITE_EXAMPLES=1 once"
                );
                office.check(&content["schema"], &content["example"], &what);
            }
        }
    }
}
