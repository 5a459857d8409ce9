//! The control socket of an engine with a simulated directory. Each answer matches the OpenAPI
//! document, and `rosterctl` uses documented operations only.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{CommandFactory as _, Parser as _};
use rosterd::control::{Ask, Callers, Reloaded, Reloader, Settings, bind, serve};
use rosterd::ctl::{self, Cli, Exit, Terminal};
use rosterd::hooks::{Hook, Receiver};
use rosterd::model::{DirectoryName, Mode, Program, Status, User};
use rosterd::store::EventFilter;
use serde_json::{Value, json};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::ctl::Output;
use crate::firm::{Firm, guid_of};
use crate::provision;

pub(crate) const NO_GROUP: &str = "no-such-group-of-rosterd";

/// An engine that serves the control socket.
pub(crate) struct Office {
    pub(crate) firm: Firm,
    /// The service of the target `app`.
    target: scimsim::Sim,
    /// User name of the caller.
    pub(crate) me: String,
    pub(crate) socket: PathBuf,
    http: reqwest::Client,
    stop: CancellationToken,
    document: Value,
    /// Operations with the statuses that they answered.
    seen: BTreeSet<String>,
    /// Documents of operations by id: the `request`, and answers by status.
    examples: BTreeMap<String, BTreeMap<String, Value>>,
}

/// Keeps the document with the most different fields as the example.
fn keep(examples: &mut BTreeMap<String, Value>, which: String, mut document: Value) {
    fn shorten(value: &mut Value) -> usize {
        match value {
            Value::Array(items) => {
                items.truncate(1);
                items.iter_mut().map(shorten).sum()
            }
            Value::Object(fields) => fields.values_mut().map(|value| 1 + shorten(value)).sum(),
            Value::Null => 0,
            _ => 1,
        }
    }
    let size = shorten(&mut document);
    let known = examples.get(&which).cloned().map(|mut known| shorten(&mut known));
    if Some(size) > known {
        examples.insert(which, document);
    }
}

/// Path of the examples of the OpenAPI document.
const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/control/examples.json");

impl Drop for Office {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Answers reloads with success and with problems, alternately.
async fn reloads(mut asked: mpsc::Receiver<Ask>) {
    let mut is_well = true;
    while let Some(Ask { by: _, asked: _, answer }) = asked.recv().await {
        let well = Reloaded {
            directories: BTreeMap::new(),
            hooks: BTreeMap::new(),
            targets: BTreeMap::new(),
            needs_restart: vec!["store.url"],
        };
        let _ = answer.send(if is_well {
            Ok(well)
        } else {
            Err("rosterd.toml:3: one problem\nrosterd.toml:5: another".to_owned())
        });
        is_well = !is_well;
    }
}

impl Office {
    /// Starts in plan-only mode, in which only confirmed suspensions are applied.
    pub(crate) async fn open() -> Self {
        Self::of(40, Mode::PlanOnly).await
    }

    pub(crate) async fn of(people: usize, mode: Mode) -> Self {
        let firm = Firm::running(people, |config| config.mode = mode).await;
        firm.engine.reconfigure_hooks(vec![Hook {
            name: "vpn".to_owned(),
            events: vec!["*".to_owned()],
            receiver: Receiver::Exec(Program {
                path: "/bin/true".into(),
                arguments: Vec::new(),
                part: None,
            }),
            timeout: Duration::from_secs(20),
            max_age: Duration::from_hours(1),
            concurrency: 2,
        }]);
        let target = scimsim::Sim::start().await.unwrap();
        firm.engine.reconfigure_targets(vec![provision::config(&target, firm.folder.path())]);
        let hook = firm.engine.hook("vpn").unwrap();
        tokio::spawn(Arc::clone(&firm.engine).run_deliveries(hook));
        let socket = firm.folder.path().join("control.sock");
        let listening = bind(&socket).await.unwrap();
        let settings = Settings {
            socket: socket.clone(),
            operators: NO_GROUP.into(),
            viewers: NO_GROUP.into(),
            authenticators: NO_GROUP.into(),
            own_user_operates: true,
        };
        let stop = CancellationToken::new();
        let (reloader, asked) = Reloader::new();
        let other = firm.engine.directory("corp").unwrap().config.clone();
        let reloader = reloader.parsing(move |sent| match sent.configuration.as_str() {
            "" => Err("rosterd.toml:1: there is no directory".to_owned()),
            _ => Ok(vec![other.clone()]),
        });
        tokio::spawn(reloads(asked));
        tokio::spawn(serve(
            listening,
            Arc::clone(&firm.engine),
            Arc::new(Callers::new(&settings)),
            reloader,
            stop.clone(),
        ));
        let http = rosterd::control::client::Client::builder(&socket).build().unwrap();
        let document = http.get("http://rosterd/v1/openapi.json").send().await.unwrap();
        assert_eq!(document.headers()["content-type"], "application/json");
        let document = document.json().await.unwrap();
        let me = nix::unistd::geteuid();
        let me = nix::unistd::User::from_uid(me)
            .unwrap()
            .map_or_else(|| format!("uid:{me}"), |user| user.name);
        Self {
            firm,
            target,
            me,
            socket,
            http,
            stop,
            document,
            seen: BTreeSet::from(["get /v1/openapi.json 200".to_owned()]),
            examples: BTreeMap::new(),
        }
    }

    /// Serves the same engine on another socket, with other roles.
    pub(crate) async fn serve_also(&self, settings: Settings) {
        let listening = bind(&settings.socket).await.unwrap();
        let (engine, callers) = (Arc::clone(&self.firm.engine), Arc::new(Callers::new(&settings)));
        tokio::spawn(serve(listening, engine, callers, Reloader::new().0, self.stop.clone()));
    }

    /// Returns the documented path of a request. A literal segment goes before a parameter.
    fn template(&self, path: &str) -> String {
        let wanted: Vec<&str> = path.split('/').collect();
        let fits = |template: &&String| {
            let parts: Vec<&str> = template.split('/').collect();
            parts.len() == wanted.len()
                && parts
                    .iter()
                    .zip(&wanted)
                    .all(|(part, word)| part.starts_with('{') || part == word)
        };
        let paths = self.document["paths"].as_object().unwrap();
        paths
            .keys()
            .filter(fits)
            .min_by_key(|t| t.matches('{').count())
            .unwrap_or_else(|| panic!("{path} is not documented"))
            .clone()
    }

    /// Checks a document against a schema.
    fn check(&self, schema: &Value, document: &Value, what: &str) {
        let mut whole = schema.clone();
        whole["components"] = self.document["components"].clone();
        let validator = jsonschema::validator_for(&whole).unwrap();
        let wrong: Vec<String> = validator
            .iter_errors(document)
            .map(|e| format!("{}: {e}", e.instance_path()))
            .collect();
        assert!(wrong.is_empty(), "{what} is not as documented: {wrong:#?}\n{document:#}");
    }

    /// Sends a request, and checks its answer and events against the OpenAPI document.
    async fn ask(&mut self, line: &str, body: Option<Value>) -> (u16, Value) {
        let (method, url) = line.split_once(' ').unwrap();
        let template = self.template(url.split('?').next().unwrap());
        let operation = &self.document["paths"][&template][method];
        assert!(operation.is_object(), "{line} is not documented");
        for (name, _) in reqwest::Url::parse(&format!("http://rosterd{url}")).unwrap().query_pairs()
        {
            let parameters = operation["parameters"].as_array().unwrap();
            assert!(
                parameters.iter().any(|p| p["in"] == "query" && p["name"] == *name),
                "{line}: {name} is not documented"
            );
        }
        let mut request = self
            .http
            .request(method.to_uppercase().parse().unwrap(), format!("http://rosterd{url}"));
        if let Some(body) = &body {
            request = request.json(body);
        }
        let before = self.firm.engine.store.event_count().await.unwrap();
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        let leaves = operation["x-rosterd-event"].as_str().map(str::to_owned);
        self.check_events(line, leaves.as_deref(), status, before).await;
        assert_eq!(answer.headers()["server"], format!("rosterd/{}", env!("CARGO_PKG_VERSION")));
        let content_type = answer.headers()["content-type"].to_str().unwrap().to_owned();
        let response = match operation["responses"][status.to_string()].clone() {
            Value::Null => panic!(
                "{line} answers {status}, which is not documented: {}",
                answer.text().await.unwrap()
            ),
            response if response["$ref"].is_string() => {
                assert_eq!(response["$ref"], "#/components/responses/Problem");
                self.document["components"]["responses"]["Problem"].clone()
            }
            response => response,
        };
        let content = &response["content"][&content_type];
        assert!(
            content.is_object(),
            "{line} answers {status} as {content_type}, which is not documented"
        );
        if status < 300 {
            let request = &operation["requestBody"];
            assert!(!request["required"].as_bool().unwrap_or(false) || body.is_some());
            if let Some(body) = &body {
                self.check(
                    &request["content"]["application/json"]["schema"],
                    body,
                    &format!("the body of {line}"),
                );
            }
        }
        self.seen.insert(format!("{method} {template} {status}"));
        let Some(schema) = content.get("schema") else { return (status, Value::Null) };
        let answered: Value = answer.json().await.unwrap();
        self.check(schema, &answered, &format!("{status} of {line}"));
        if status < 300 {
            let id = operation["operationId"].as_str().unwrap().to_owned();
            let examples = self.examples.entry(id).or_default();
            keep(examples, status.to_string(), answered.clone());
            if let Some(body) = body {
                keep(examples, "request".to_owned(), body);
            }
        }
        if status >= 400 {
            assert_eq!(answered["status"], status);
        }
        (status, answered)
    }

    /// Checks that a change or an export left an event of its caller, and a read none.
    async fn check_events(&self, line: &str, leaves: Option<&str>, status: u16, before: u64) {
        let filter = EventFilter { after: Some(before), limit: 1_000, ..EventFilter::default() };
        let events = self.firm.engine.store.events(&filter).await.unwrap();
        let own: Vec<_> = events
            .iter()
            .filter(|e| e.document["data"]["actor"] == json!(self.me))
            .map(|e| e.document["type"].clone())
            .collect();
        let is_dry_run = line.contains("dry_run=true") || line.ends_with("/preview");
        match leaves {
            Some(kind) if status < 300 && !is_dry_run => {
                assert!(!own.is_empty(), "{line} left no event of its caller");
                // The router adds no event to a more specific one of the operation.
                assert!(
                    own.iter().filter(|k| **k == json!(kind)).count() <= 1,
                    "{line} left two events: {own:?}"
                );
            }
            // A run that was requested earlier may end meanwhile.
            None if !line.ends_with("/sign-ins") => {
                let is_of_run = |kind: &Value| {
                    kind.as_str().is_some_and(|k| {
                        ["run.", "directory.", "user."].iter().any(|f| k.starts_with(f))
                    })
                };
                assert!(own.iter().all(is_of_run), "{line} only reads, and left {own:?}");
            }
            _ => {}
        }
    }

    pub(crate) async fn get(&mut self, path: &str) -> Value {
        self.expect(200, &format!("get {path}"), None).await
    }

    pub(crate) async fn post(&mut self, path: &str, body: Option<Value>) -> Value {
        self.expect(200, &format!("post {path}"), body).await
    }

    async fn expect(&mut self, status: u16, line: &str, body: Option<Value>) -> Value {
        let (answered, document) = self.ask(line, body).await;
        assert_eq!(answered, status, "{line}: {document:#}");
        document
    }

    /// Returns three user ids and a GUID: a leaver who was created again, a leaver, a user with an
    /// override; and the new GUID of the first.
    pub(crate) async fn leavers(&mut self) -> [String; 4] {
        self.firm.reconfigure(|config| {
            (config.mode, config.limits.grace_period) = (Mode::Apply, Duration::ZERO)
        });
        // The first run that begins after a rebaseline only plans.
        self.firm.sync().await;
        let users = self.get("/v1/users?status=active&account=acme").await;
        let of = |n: usize, at: &str| {
            users["users"][n].pointer(at).unwrap().as_str().unwrap().to_owned()
        };
        let ids = [0, 1, 2].map(|n| of(n, "/id"));
        let dns = [0, 1, 2].map(|n| of(n, "/directory/dn"));
        let mail = of(0, "/primary_email");
        let person = self.firm.sim.edit(|ad| {
            ad.delete(dns[0].as_str());
            ad.delete(dns[1].as_str());
            for group in [adsim::names::PRO, adsim::names::PRO_NESTED, adsim::names::BASIC] {
                ad.remove_member(group, dns[2].as_str());
            }
            let person = ad.add_person(adsim::NewPerson::new("anew").mail(&mail));
            ad.add_member(adsim::names::BASIC, person);
            person
        });
        self.firm.sync().await;
        let [recreated, left, overruled] = ids;
        self.post(&format!("/v1/users/{overruled}/activate"), None).await;
        [recreated, left, overruled, person.to_string()]
    }

    /// Adds a section whose OU has an entry with the former SID of a person of the present one.
    async fn migrate_one(&self) {
        let users = self.firm.users().await;
        let is_there = |user: &&User| user.status() == Status::Active && user.link.is_some();
        let guid = guid_of(users.iter().find(is_there).expect("an active user"));
        self.firm.sim.edit(|ad| {
            let sid = ad.values(guid, "objectSid");
            ad.add_ou("", "Abroad");
            let person = adsim::NewPerson::new("abroad").ou("Abroad");
            ad.add_person(person.with_values("sIDHistory", sid));
        });
        let was = self.firm.engine.configured();
        let corp = self.firm.engine.directory("corp").unwrap().config.clone();
        let mut emea = corp.clone();
        emea.name = DirectoryName::parse("emea").unwrap();
        emea.settings.bases = vec![format!("OU=Abroad,{}", self.firm.sim.root_dn())];
        self.firm.engine.reconfigure(vec![corp, emea], was.rules.clone());
    }

    /// Notes a loss of commits, which no file has.
    async fn lose_commits(&self) {
        let file = self.firm.folder.path().join("rosterd.db");
        let options = SqliteConnectOptions::new().filename(file);
        let mut store = options.connect().await.unwrap();
        let noted = sqlx::raw_sql("INSERT INTO counters (name, value) VALUES ('loss', 2)");
        noted.execute(&mut store).await.unwrap();
        store.close().await.unwrap();
    }

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
            self.expect(400, &format!("get {path}after=nothing"), None).await;
        }
    }

    /// Removes the target from the configuration.
    fn remove_target(&self) {
        self.firm.engine.reconfigure_targets(Vec::new());
    }

    /// Renames the directory in the configuration.
    fn rename_section(&self) {
        self.firm.reconfigure(|config| config.name = DirectoryName::parse("hq").unwrap());
    }

    /// Renames a person, so that a run holds a change. Returns the user id.
    async fn rename_person(&mut self) -> String {
        let users = self.get("/v1/users?status=active&limit=3").await;
        let who = &users["users"][0];
        let dn = who["directory"]["dn"].as_str().unwrap().to_owned();
        self.firm.sim.edit(|ad| ad.set(dn.as_str(), "displayName", "Somebody Else"));
        who["id"].as_str().unwrap().to_owned()
    }
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

/// Runs a command. Returns exit status, output and errors.
pub(crate) async fn rosterctl(office: &Office, command: &str) -> (Exit, String, String) {
    let out = Output::default();
    let (exit, err) = rosterctl_to(office, command, out.clone()).await;
    (exit, out.text(), err)
}

/// Runs a command with this output. Returns exit status and errors.
pub(crate) async fn rosterctl_to(
    office: &Office,
    command: &str,
    out: impl std::io::Write + Send + 'static,
) -> (Exit, String) {
    let socket = office.socket.to_str().unwrap();
    let cli = Cli::try_parse_from(
        ["rosterctl", "--yes", "--socket", socket].into_iter().chain(command.split(' ')),
    )
    .unwrap();
    let err = Output::default();
    let mut terminal = Terminal {
        out: Box::new(out),
        err: Box::new(err.clone()),
        width: 80,
        colour: false,
        err_colour: false,
        interactive: false,
        draws: false,
        height: None,
        zone: chrono_tz::Tz::UTC,
        now: Box::new(|| rosterd::clock::Clock::system().now().to_utc()),
    };
    let exit = ctl::run(cli, &mut terminal).await;
    (exit, err.text())
}

/// Runs a command that succeeds with output of 80 columns at most.
async fn succeeds(office: &Office, command: &str) {
    let (exit, out, err) = rosterctl(office, command).await;
    // A check that finds a problem has its own exit status.
    let is_made = matches!(exit, Exit::Done | Exit::Held) || command.starts_with("directory check");
    assert!(is_made && err.is_empty(), "rosterctl {command}: {exit:?}\n{err}");
    assert!(!out.is_empty(), "rosterctl {command} prints nothing");
    let too_long = out.lines().find(|l| l.chars().count() > 80 && l.contains("  "));
    assert_eq!(too_long, None, "rosterctl {command} does not fit 80 columns:\n{out}");
}

/// Collects every command, such as `user show`.
fn leaves(command: &clap::Command, before: &str, into: &mut BTreeSet<String>) {
    for sub in command.get_subcommands() {
        let words = format!("{before} {}", sub.get_name()).trim().to_owned();
        if sub.has_subcommands() {
            leaves(sub, &words, into);
        } else {
            into.insert(words);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_of_rosterctl_uses_the_api_and_parses_its_answers() {
    let mut office = Office::open().await;
    let who = office.rename_person().await;
    office.post("/v1/directories/corp/sync", None).await;
    let held = office.get("/v1/held").await["held"][0]["id"].as_str().unwrap().to_owned();
    let run = office.get("/v1/runs?limit=1").await["runs"][0]["id"].as_str().unwrap().to_owned();
    let id = office.target.add_user("other@example.net");
    let copy = office.firm.folder.path().join("copy.db").display().to_string();
    let configuration = office.firm.folder.path().join("new.toml").display().to_string();
    std::fs::write(&configuration, "as it is").unwrap();
    let report = office.firm.folder.path().join("review.html").display().to_string();
    let commands = [
        "status".to_owned(),
        "plan corp".to_owned(),
        "plan".to_owned(),
        format!("plan corp --config {configuration}"),
        "plan --csv".to_owned(),
        "sync corp --dry-run".to_owned(),
        "sync corp".to_owned(),
        "sync --no-wait".to_owned(),
        "held list --all".to_owned(),
        format!("held show {held}"),
        "held show --by ou".to_owned(),
        "held show --csv".to_owned(),
        format!("held reject {}", &held[28..]),
        "held list --rejected".to_owned(),
        format!("held reopen {} --comment again", &held[28..]),
        "held approve --first 1".to_owned(),
        "run list corp".to_owned(),
        format!("run show {run}"),
        "run show latest --all".to_owned(),
        "run list --failed --since yesterday".to_owned(),
        format!("run undo {run} --dry-run"),
        "user list --account acme --status active".to_owned(),
        "user list --quarantined".to_owned(),
        "user list --behind corp".to_owned(),
        "user search a --limit 3".to_owned(),
        "search a".to_owned(),
        "ls --suspended --limit 2".to_owned(),
        "ls --count".to_owned(),
        format!("user show {who}"),
        format!("user explain {who}"),
        format!("user sync {who}"),
        format!("user suspend {who} --reason x"),
        format!("user activate {who}"),
        format!("user note {who} leave"),
        "account create lab --name Lab".to_owned(),
        "account list".to_owned(),
        "account show acme".to_owned(),
        "domain claim lab example.org".to_owned(),
        "domain verify example.com --account acme".to_owned(),
        "domain list".to_owned(),
        "directory list".to_owned(),
        "directory show".to_owned(),
        "directory show corp".to_owned(),
        "directory check corp --people".to_owned(),
        "directory pause corp --for tomorrow".to_owned(),
        "directory resume corp".to_owned(),
        "directory unlock corp".to_owned(),
        "directory trust-server corp".to_owned(),
        "directory rebaseline corp".to_owned(),
        "domain release example.org --dry-run".to_owned(),
        "account rename lab --name Laboratory".to_owned(),
        "account policy lab outbound-calling=false".to_owned(),
        "user invite lab guest@example.net".to_owned(),
        "sign-in guest@example.net --external".to_owned(),
        "user contacts guest@example.net a".to_owned(),
        "user tier guest@example.net basic".to_owned(),
        "user remove guest@example.net".to_owned(),
        "account delete lab lab".to_owned(),
        format!("event list --type user.* --since 2h --run {run}"),
        format!("event list --person {who} --csv"),
        "event tail --after 1 --limit 2".to_owned(),
        "event verify".to_owned(),
        "report leavers --since 90d --csv".to_owned(),
        "report leavers --by cause".to_owned(),
        "report joiners --until 1h".to_owned(),
        "report joiners --by ou --json".to_owned(),
        "report changes --limit 3".to_owned(),
        "report access-review --by manager".to_owned(),
        "report expiring --until 14d --json".to_owned(),
        "report inactive --since 0s --by department --csv".to_owned(),
        "report licences".to_owned(),
        format!("report access-review --html {report}"),
        "hook list".to_owned(),
        "hook test vpn".to_owned(),
        "hook replay vpn --since 2h".to_owned(),
        "hook deliveries vpn --limit 5".to_owned(),
        "hook deliveries vpn --seq 1".to_owned(),
        "hook redeliver vpn --all".to_owned(),
        "target sync app".to_owned(),
        "target list".to_owned(),
        "target show app".to_owned(),
        "target plan app".to_owned(),
        "target accounts app".to_owned(),
        "target accounts app --unmanaged".to_owned(),
        format!("target adopt app {who} --id {id}"),
        format!("target push app {who}"),
        format!("target retry app {who}"),
        format!("target disown app {who}"),
        "target pause app --for 2h".to_owned(),
        "target resume app".to_owned(),
        "target unlock app".to_owned(),
        "reload".to_owned(),
        format!("backup {copy}"),
    ];
    for command in &commands {
        succeeds(&office, command).await;
    }
    let [recreated, left, overruled, person] = office.leavers().await;
    let of_leavers = [
        format!("user relink {recreated} {person}"),
        format!("user release-address {left}"),
        format!("user clear-override {overruled}"),
    ];
    for command in &of_leavers {
        succeeds(&office, command).await;
    }
    office.lose_commits().await;
    let of_loss = "event accept-loss".to_owned();
    succeeds(&office, &of_loss).await;
    office.remove_target();
    let of_target = "target forget app".to_owned();
    succeeds(&office, &of_target).await;
    office.migrate_one().await;
    let of_migration = "directory relink emea --sid-history".to_owned();
    succeeds(&office, &of_migration).await;
    office.rename_section();
    let of_section = "directory rename corp hq".to_owned();
    succeeds(&office, &of_section).await;
    let (exit, _, err) = rosterctl(&office, "reload").await;
    assert_eq!(
        (exit, err.as_str()),
        (Exit::Failed, "error: rosterd.toml:3: one problem\n  rosterd.toml:5: another\n")
    );

    let mut all = BTreeSet::new();
    leaves(&Cli::command(), "", &mut all);
    let missing: Vec<_> = all
        .iter()
        .filter(|leaf| {
            !commands
                .iter()
                .chain(&of_leavers)
                .chain([&of_loss, &of_migration, &of_section, &of_target])
                .any(|c| format!("{c} ").starts_with(&format!("{leaf} ")))
        })
        .collect();
    assert_eq!(
        missing,
        [
            "completions",
            "console",
            "leader show",
            "leader step-down",
            "leader take",
            "man",
            "version"
        ],
        "these need no daemon, or have tests of their own in console and cluster; add every other \
         command here"
    );
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
async fn an_export_of_events_has_all_of_them_and_a_list_says_what_it_leaves_out() {
    let office = Office::open().await;
    let events: Vec<_> = (0..2_500)
        .map(|n| {
            let cause = rosterd::model::EventCause {
                actor: rosterd::model::Actor("root".to_owned()),
                run: None,
                account: None,
                at: office.firm.clock.now(),
            };
            rosterd::model::Event::about(
                "user.suspended",
                format!("{n}"),
                &cause,
                Value::Null,
                Value::Null,
            )
        })
        .collect();
    office.firm.engine.store.record(&events, &office.firm.clock).await.unwrap();
    let (_, csv, _) = rosterctl(&office, "event list --type user.suspended --csv").await;
    assert_eq!(csv.lines().count(), 2_501);
    let (_, json, _) = rosterctl(&office, "event list --type user.suspended --json").await;
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["events"].as_array().unwrap().len(), 2_500);
    let (_, text, _) = rosterctl(&office, "event list --type user.suspended").await;
    assert!(
        text.ends_with("… 2,300 older ones: --limit, --since\n"),
        "{}",
        &text[text.len() - 200..]
    );
    let (_, text, _) = rosterctl(&office, "event list --type user.suspended --limit 1200").await;
    assert!(
        text.ends_with("… 1,300 older ones: --limit, --since\n"),
        "{}",
        &text[text.len() - 200..]
    );
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

/// A plan that comes in pages is one document to the operator.
#[tokio::test(flavor = "multi_thread")]
async fn a_plan_of_several_pages_is_shown_and_approved_whole() {
    let mut office = Office::of(1_500, Mode::PlanOnly).await;
    let sim = &office.firm.sim;
    let people: Vec<String> = sim.look(|ad| {
        let people = ad.people().into_iter();
        people.filter_map(|guid| ad.value(guid, "sAMAccountName")).collect()
    });
    for name in people {
        sim.edit(|ad| ad.set(name.as_str(), "displayName", "Somebody Else"));
    }
    let run = office.post("/v1/directories/corp/sync", None).await;
    let held = run["held"].as_u64().unwrap();
    assert!(held > 1_000, "{run}");
    let id = office.get("/v1/held").await["held"][0]["id"].as_str().unwrap().to_owned();
    let whole = office.get(&format!("/v1/held/{id}")).await;
    let all = whole["changes"].as_array().unwrap();
    assert_eq!((all.len() as u64, whole.get("next")), (held, None));

    let (mut pages, mut after, mut of_groups) = (Vec::new(), String::new(), Vec::new());
    loop {
        let page = office.get(&format!("/v1/held/{id}?limit=500{after}")).await;
        of_groups.push(page["by"].as_array().unwrap().len());
        pages.extend(page["changes"].as_array().unwrap().iter().cloned());
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    assert_eq!(&pages, all);
    assert!(of_groups[0] > 0 && of_groups[1..].iter().all(|groups| *groups == 0), "{of_groups:?}");
    office.expect(400, &format!("get /v1/held/{id}?after=nothing"), None).await;

    let (_, json, _) = rosterctl(&office, "held show --json").await;
    let shown: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(shown, whole);
    assert_eq!(rosterctl(&office, "held approve").await.0, Exit::Done);
    let users = office.firm.users().await;
    let renamed = |user: &&User| user.profile.display_name.as_deref() == Some("Somebody Else");
    assert_eq!(users.iter().filter(renamed).count() as u64, held);
}
