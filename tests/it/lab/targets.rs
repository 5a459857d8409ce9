//! Targets on three independent SCIM servers: scim2-server, scimmy-routers and Canaille.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rosterd::engine::{TargetConfig, TargetRequest};
use rosterd::model::{
    Address, Adopt, CheckOutcome, Cron, DriftAction, Handle, LeaverAction, MatchAttribute, Mode,
    Rate, TargetCredential, TargetName, Tier, Timestamp, Trigger,
};
use rosterd::reconcile::Limits;
use rosterd::reconcile::provision::{
    AttributePath, Capabilities, Mapping, Method, Operation, Outcome, Paging, Quirks, Request,
    USER, meaning,
};
use rosterd::scim::{Client, Settings};

use super::branch::{Branch, PROVISIONED};
use super::controller::{facts, script, text};
use super::staff;
use crate::acme;
use crate::hooks::until;
use crate::targets::{capabilities, checked, list, mapping, settings, step};

/// An independent SCIM server of one test.
struct Server {
    dir: PathBuf,
    facts: BTreeMap<String, String>,
    /// Removed when dropped, after the server has ended.
    _folder: tempfile::TempDir,
}

impl Server {
    fn start(kind: &str) -> Self {
        let folder = super::folder();
        let dir = folder.path().join("scim");
        let mut command = script("scim");
        let done = command.arg("start").arg(&dir).arg(kind).stdin(Stdio::null()).output();
        let facts = facts(&text(done.expect("the script"), "start"));
        Self { dir, facts, _folder: folder }
    }

    fn settings(&self) -> Settings {
        settings(&self.facts["LAB_SCIM_URL"], PathBuf::from(&self.facts["LAB_SCIM_TOKEN_FILE"]))
    }

    fn client(&self) -> Client {
        Client::new(self.settings())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = script("scim").arg("stop").arg(&self.dir).stdin(Stdio::null()).status();
    }
}

const TRIAL: &str = "trial@example.com";

#[ignore = "needs the lab: tests/run"]
#[tokio::test(flavor = "multi_thread")]
async fn a_check_passes_scim2_server_and_leaves_nothing_there() {
    let server = Server::start("scim2");
    let (client, address) = (server.client(), Address::parse(TRIAL).expect("an address"));
    // Twice, so that an account which the first check left would be found.
    for _ in 0..2 {
        let steps = checked(&client, &mapping(&[]), Some(&address)).await;
        for name in
            ["service", "attributes", "list", "filter", "create", "change", "deactivate", "delete"]
        {
            assert_eq!(step(&steps, name).0, CheckOutcome::Ok, "{name}: {steps:#?}");
        }
    }
}

#[ignore = "needs the lab: tests/run"]
#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_patch_and_filter_is_changed_by_put_and_read_by_cursor() {
    let server = Server::start("scim2-limited");
    let (client, address) = (server.client(), Address::parse(TRIAL).expect("an address"));
    let steps = checked(&client, &mapping(&[]), Some(&address)).await;
    for name in ["service", "list", "create", "change", "deactivate", "delete"] {
        assert_eq!(step(&steps, name).0, CheckOutcome::Ok, "{name}: {steps:#?}");
    }
    let named = |n: usize| serde_json::json!({ "schemas": [USER], "userName": format!("u{n}") });
    for n in 0..7 {
        add(&server, &named(n));
    }
    let by_cursor = Capabilities { paging: Paging::Cursor, ..capabilities(&client) };
    let mut seen = 0;
    let listed = list(&client, &by_cursor, |_| seen += 1).await;
    assert_eq!((seen, listed.expect("a whole list").accounts()), (7, 7));
}

#[ignore = "needs the lab: tests/run"]
#[tokio::test(flavor = "multi_thread")]
async fn scimmy_is_found_case_sensitive_and_without_pages() {
    let server = Server::start("scimmy");
    for n in 0..33 {
        let name = format!("user{n}@example.com");
        let emails = serde_json::json!([{ "value": name, "type": "work" }]);
        add(&server, &serde_json::json!({ "schemas": [USER], "userName": name, "emails": emails }));
    }
    let (client, address) = (server.client(), Address::parse(TRIAL).expect("an address"));
    let steps = checked(&client, &mapping(&[]), Some(&address)).await;
    assert!(step(&steps, "filter").1.contains("case-sensitive"), "{steps:#?}");
    for name in ["create", "change", "deactivate", "delete"] {
        assert_eq!(step(&steps, name).0, CheckOutcome::Ok, "{name}: {steps:#?}");
    }
    assert_eq!(step(&steps, "list").0, CheckOutcome::Warning, "{steps:#?}");
    assert_eq!(step(&steps, "paging").0, CheckOutcome::Warning, "{steps:#?}");
}

/// Returns the settings of a client of Canaille by OAuth.
fn by_oauth(server: &Server, client_id: &str) -> Settings {
    let credential = TargetCredential::OAuth {
        token_url: server.facts["LAB_SCIM_TOKEN_URL"].parse().expect("a URL"),
        client_id: client_id.to_owned(),
        secret_file: PathBuf::from(&server.facts["LAB_SCIM_TOKEN_FILE"]),
        scope: None,
    };
    Settings { credential, ..server.settings() }
}

/// Returns the mapping for Canaille, whose lists have no types.
fn without_types() -> Mapping {
    let mut mapping = mapping(&[]);
    for (path, _) in &mut mapping.attributes {
        if let Some(name) = path.to_string().strip_suffix("[work]") {
            *path = AttributePath::parse(name).expect("a path");
        }
    }
    mapping
}

#[ignore = "needs the lab: tests/run"]
#[tokio::test(flavor = "multi_thread")]
async fn canaille_is_reached_by_oauth_and_its_filter_is_found_dishonest() {
    let server = Server::start("canaille");
    let address = Address::parse(TRIAL).expect("an address");
    // It fails at a count, and the remedy says so.
    let steps = checked(&Client::new(by_oauth(&server, "rosterd")), &without_types(), None).await;
    let list = steps.iter().find(|step| step.name == "list").expect("a list");
    assert!(list.remedy.as_ref().is_some_and(|r| r.contains("page-size = 0")), "{steps:#?}");
    let filter = Quirks { filter: Some(true), ..Quirks::default() };
    let settings = Settings { page_size: 0, quirks: filter, ..by_oauth(&server, "rosterd") };
    let client = Client::new(settings);
    let user = serde_json::json!({
        "schemas": [USER], "userName": "known", "displayName": "Known", "active": true,
        "name": { "familyName": "Known", "formatted": "Known" }, "emails": [{ "value": "known@example.com" }],
    });
    let create = Request {
        operation: Operation::Create,
        method: Method::Post,
        body: Some(user),
        ..Request::describe("Users")
    };
    let added =
        client.send(&create, &capabilities(&client), Timestamp(0)).await.expect("an answer");
    assert_eq!(added.status, 201, "{added:?}");
    let steps = checked(&client, &without_types(), Some(&address)).await;
    for name in ["token", "service", "list", "create", "change", "deactivate", "delete"] {
        assert_eq!(step(&steps, name).0, CheckOutcome::Ok, "{name}: {steps:#?}");
    }
    assert!(step(&steps, "filter").1.contains("it gives 1 of 1 accounts"), "{steps:#?}");
    let steps = checked(&Client::new(by_oauth(&server, "unknown")), &without_types(), None).await;
    let (outcome, finding) = step(&steps, "token");
    assert_eq!(outcome, CheckOutcome::Failed, "{steps:#?}");
    assert!(finding.contains("invalid_client"), "{finding}");
}

/// Adds an account as another client, by curl.
fn add(server: &Server, user: &serde_json::Value) {
    let url = format!("{}/Users", server.facts["LAB_SCIM_URL"]);
    let bearer = format!("Authorization: Bearer {}", server.facts["LAB_SCIM_TOKEN"]);
    let body = user.to_string();
    let kind = "Content-Type: application/scim+json";
    let arguments =
        ["--silent", "--show-error", "--fail", "-H", &bearer, "-H", kind, "-d", &body, &url];
    text(Command::new("curl").args(arguments).output().expect("curl"), "curl");
}

#[ignore = "needs the lab: tests/run"]
#[tokio::test(flavor = "multi_thread")]
async fn the_simulated_target_passes_two_conformance_tests_of_others() {
    let sim = scimsim::Sim::start().await.expect("a simulated target");
    for verb in ["test", "sanity"] {
        let (url, token) = (sim.url(), sim.token());
        let done = tokio::task::spawn_blocking(move || {
            script("scim").args([verb, &url, &token]).stdin(Stdio::null()).output()
        });
        let output = text(done.await.expect("a task").expect("the script"), verb);
        assert!(!output.contains("ERROR") && !output.contains("[FAIL]"), "{output}");
    }
}

#[ignore = "needs the lab: tests/run"]
#[tokio::test(flavor = "multi_thread")]
async fn check_target_prints_findings_and_remedies_and_its_exit_status() {
    let server = Server::start("scim2");
    let folder = super::folder();
    let token = Path::new(&server.facts["LAB_SCIM_TOKEN_FILE"]).display().to_string();
    let url = &server.facts["LAB_SCIM_URL"];
    let section = format!(
        "[store]\nurl = \"sqlite://{0}/rosterd.db\"\n[control]\nsocket = \"{0}/control.sock\"\n\
         [[target]]\nname = \"app\"\naccount = \"acme\"\nurl = \"{url}\"\ntoken-file = \"{token}\"\n",
        folder.path().display()
    );
    let file = folder.path().join("rosterd.toml");
    crate::folder::write(&file, &section, 0o600);
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rosterd"));
        command.arg("--config").arg(&file).arg("check-target").args(arguments);
        let done = command.output().expect("rosterd");
        let output = String::from_utf8_lossy(&done.stdout).into_owned();
        (done.status.code(), output, String::from_utf8_lossy(&done.stderr).into_owned())
    };
    let (status, output, errors) = run(&["app", "--write", TRIAL]);
    assert_eq!(status, Some(0), "{output}{errors}");
    assert!(output.contains("the account was deleted"), "{output}");
    assert!(output.ends_with("app: requests can work\n"), "{output}");
    let (status, _, errors) = run(&["other"]);
    assert_eq!((status, errors.contains("no target \"other\"")), (Some(1), true), "{errors}");
}

/// Returns the configuration of a target with these settings of its client.
fn target(name: &str, client: Settings) -> TargetConfig {
    TargetConfig {
        name: TargetName::parse(name).expect("a name"),
        account: Handle::parse("acme").expect("a handle"),
        mode: Mode::Apply,
        client,
        token_expires: None,
        rate: Rate { requests: 100, per: Duration::from_secs(1) },
        concurrency: 2,
        tiers: Tier::ALL.into(),
        exclude: Vec::new(),
        adopt: Adopt::Ask,
        matched_by: MatchAttribute::UserName,
        leaver: LeaverAction::Deactivate,
        delete_after: None,
        drift: DriftAction::Report,
        full: Cron::parse("0 0 29 2 *", chrono_tz::Tz::UTC).expect("a schedule"),
        mapping: mapping(&[]),
        limits: Limits::default(),
        groups: Vec::new(),
    }
}

/// Follows the users at targets, and waits until each user has an account.
async fn follow(branch: &Branch, targets: Vec<TargetConfig>) -> Vec<TargetName> {
    let names: Vec<TargetName> = targets.iter().map(|target| target.name.clone()).collect();
    branch.engine.reconfigure_targets(targets);
    for target in branch.engine.targets().values() {
        tokio::spawn(Arc::clone(&branch.engine).follow_users(Arc::clone(target)));
    }
    for name in &names {
        until("each user has an account", async || {
            let counts = branch.engine.store.counterpart_counts(name).await.expect("counts");
            (counts.active == PROVISIONED as u64 && counts.pending == 0).then_some(())
        })
        .await;
    }
    names
}

#[ignore = "needs the lab: tests/run"]
#[tokio::test(flavor = "multi_thread")]
async fn a_leaver_of_samba_is_out_at_an_honest_target_beside_three_bad_ones() {
    let branch = Branch::running(|_| {}).await;
    let server = Server::start("scim2");
    let (down, slow, lying) = (
        scimsim::Sim::start().await.expect("a target"),
        scimsim::Sim::start().await.expect("a target"),
        scimsim::Sim::start().await.expect("a target"),
    );
    let folder = super::folder();
    let simulated = |name: &str, sim: &scimsim::Sim| {
        let file = folder.path().join(name);
        crate::folder::write(&file, &sim.token(), 0o600);
        target(name, settings(&sim.url(), file))
    };
    let mut targets = vec![
        simulated("down", &down),
        simulated("slow", &slow),
        simulated("lying", &lying),
        target("honest", server.settings()),
    ];
    for target in &mut targets {
        target.client.timeout = Duration::from_secs(20);
    }
    follow(&branch, targets).await;
    down.fail(scimsim::Fault::cut_before(""));
    slow.fail(scimsim::Fault::wait("", Duration::from_secs(4)));
    lying.set_manners(scimsim::Manners { ignores_active: true, ..Default::default() });
    let begun = Instant::now();
    branch.lab.disable(&staff("Sales", "Diego García"));
    branch.sync().await;
    let suspended = Instant::now();
    println!("the run took {:?}", suspended - begun);
    let user = branch.user("diego.garcia@example.com").await;
    let row = async |name: &str| {
        let name = TargetName::parse(name).expect("a name");
        branch.engine.store.counterpart(&name, user.id).await.expect("a row").expect("a row")
    };
    for name in ["honest", "slow"] {
        until("the account is inactive", async || {
            (row(name).await.account.active == Some(false)).then_some(())
        })
        .await;
        println!("inactive at {name} {:?} after the run", suspended.elapsed());
    }
    until("the lie is noticed", async || {
        let problem = row("lying").await.problem?;
        (problem == rosterd::model::ProvisionProblem::Ineffective).then_some(())
    })
    .await;
    println!("the lie is noticed {:?} after the run", suspended.elapsed());
    for status in branch.engine.target_statuses().await.expect("statuses") {
        println!("{}: {} {:?}", status.name, status.condition, status.attention);
    }
    assert!(row("down").await.due.at.is_some());
    down.clear_faults();
    lying.set_manners(scimsim::Manners::default());
    for name in ["down", "lying"] {
        until("the account is inactive", async || {
            branch.engine.resume_target(name).await.expect("a status");
            branch.engine.push_user(name, &user.id.to_string(), false).await.expect("a retry");
            (row(name).await.account.active == Some(false)).then_some(())
        })
        .await;
        println!("inactive at {name} {:?} after the run", suspended.elapsed());
    }
}

#[ignore = "needs the lab: tests/run"]
#[tokio::test(flavor = "multi_thread")]
async fn a_leaver_of_samba_is_inactive_at_three_independent_servers() {
    let branch = Branch::running(|_| {}).await;
    let kinds = ["scim2", "scim2-limited", "scimmy"];
    let servers = kinds.map(Server::start);
    let targets: Vec<TargetConfig> =
        kinds.iter().zip(&servers).map(|(kind, server)| target(kind, server.settings())).collect();
    let names = follow(&branch, targets).await;
    for (who, dn) in [
        ("diego.garcia@example.com", staff("Sales", "Diego García")),
        ("hana.suzuki@example.com", staff("Sales", "Hana Suzuki")),
    ] {
        branch.lab.disable(&dn);
        branch.sync().await;
        let suspended = Instant::now();
        let user = branch.user(who).await;
        for (name, server) in names.iter().zip(&servers) {
            let id = until("the account is inactive", async || {
                let row = branch.engine.store.counterpart(name, user.id).await.expect("a row")?;
                row.account.id.filter(|_| row.account.active == Some(false))
            })
            .await;
            println!("{who}: inactive at {name} {:?} after the run", suspended.elapsed());
            // The server says so itself.
            let client = server.client();
            let request = Request::read(&id);
            let answer = client.send(&request, &capabilities(&client), Timestamp(0)).await;
            match meaning(&request, &answer.expect("an answer")) {
                Outcome::Done(account) => assert_eq!(account.active(), Some(false), "{name}"),
                other => panic!("{name}: {other:?}"),
            }
        }
        branch.lab.enable(&dn);
        branch.sync().await;
        for name in &names {
            until("the account is active again", async || {
                let row = branch.engine.store.counterpart(name, user.id).await.expect("a row")?;
                (row.account.active == Some(true)).then_some(())
            })
            .await;
        }
    }
    for name in &names {
        let target = branch.engine.target(name.as_str()).expect("the target");
        let request = TargetRequest::full(Trigger::Manual, Some(acme::alice()));
        let run = branch.engine.run_target(&target, request).await.expect("a run");
        assert_eq!((run.counts.total(), run.held, run.error), (0, 0, None), "{name}");
    }
}
