//! The daemon as a process over the simulator: what the administrator and the machine do to it.

use std::path::Path;

use adsim::{Fault, Sim, What, When};
use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::process::{Daemon, until};

/// A daemon over a simulated directory.
struct Site {
    // First, so that it is ended before what it reads.
    daemon: Daemon,
    sim: Sim,
    // The simulator's threads.
    _runtime: Runtime,
    folder: TempDir,
}

/// What every one of these daemons is told; `more` stands before the directory, `directory` are keys of it.
fn configuration(sim: &Sim, folder: &Path, more: &str, directory: &str) -> String {
    let (url, who, root, folder) = (sim.ldaps_url(), sim.service_upn(), sim.root_dn(), folder.display());
    format!(
        r#"
        [store]
        url = "sqlite://{folder}/rosterd.db"
        [control]
        socket = "{folder}/control.sock"
        [domains]
        trusted = ["example.com"]
        {more}
        [[directory]]
        name = "corp"
        account = "acme"
        servers = ["{url}"]
        ca-file = "{folder}/ca.pem"
        bind-dn = "{who}"
        password-file = "{folder}/password"
        base = ["{root}"]
        pro-groups = ["Roster Pro"]
        basic-groups = ["Roster Basic"]
        timeouts = {{ connect = "2s", operation = "5s", run = "30s" }}
        live = false
        {directory}
        "#
    )
}

impl Site {
    /// A company of 60 people, all of them users.
    fn running() -> Self {
        let runtime = Runtime::new().unwrap();
        let sim = runtime.block_on(Sim::builder().people(60).start()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), sim.ca_pem()).unwrap();
        let password = folder.path().join("password");
        std::fs::write(&password, sim.service_password()).unwrap();
        std::fs::set_permissions(&password, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        std::fs::write(folder.path().join("rosterd.toml"), configuration(&sim, folder.path(), "", "")).unwrap();
        let site = Self { daemon: Daemon::start(folder.path()), sim, _runtime: runtime, folder };
        site.done("account create acme --name Acme");
        site.done("domain claim acme example.com");
        let (code, run) = site.daemon.ctl("sync corp");
        if code == 3 {
            let held = site.done("held list")["held"][0]["id"].as_str().unwrap().to_owned();
            site.done(&format!("held approve {held}"));
        }
        assert!(site.active() > 40, "{run:#}");
        site
    }

    /// Writes another configuration, without telling anybody.
    fn configure(&self, more: &str, directory: &str) {
        self.write(&configuration(&self.sim, self.folder.path(), more, directory));
    }

    fn write(&self, text: &str) {
        std::fs::write(self.folder.path().join("rosterd.toml"), text).unwrap();
    }

    fn done(&self, command: &str) -> Value {
        let (code, document) = self.daemon.ctl(command);
        assert_eq!(code, 0, "rosterctl {command}: {document:#}");
        document
    }

    fn status(&self) -> Value {
        self.done("status")["directories"][0].clone()
    }

    fn active(&self) -> u64 {
        self.status()["users"]["active"].as_u64().unwrap()
    }
}

fn outcome(reloaded: &Value) -> Vec<(&str, &str)> {
    reloaded["directories"].as_array().unwrap().iter().map(|d| (d["name"].as_str().unwrap(), d["outcome"].as_str().unwrap())).collect()
}

#[test]
fn a_reload_says_what_it_means_for_each_directory() {
    let site = Site::running();
    assert_eq!(outcome(&site.done("reload")), [("corp", "unchanged")]);

    site.configure("", "schedule = \"@hourly\"");
    assert_eq!(outcome(&site.done("reload")), [("corp", "changed")]);
    let next = site.status()["next_run"].as_str().unwrap().to_owned();
    assert!(next.ends_with(":00:00.000Z") || next.ends_with(":00:00Z"), "{next}");

    site.configure("[schedule]\ntimezone = \"Europe/Berlin\"", "schedule = \"@hourly\"\nexclude = [\"nobody@example.com\"]");
    assert_eq!(outcome(&site.done("reload")), [("corp", "rescoped")]);

    let file = configuration(&site.sim, site.folder.path(), "", "");
    let second = file.split("[[directory]]").nth(1).unwrap().replace("\"corp\"", "\"branch\"").replace("\"acme\"", "\"branch\"");
    site.write(&format!("{file}\n[[directory]]{second}"));
    assert_eq!(outcome(&site.done("reload")), [("branch", "added"), ("corp", "rescoped")]);
    until("the new directory is read", || {
        let branch = site.done("status")["directories"][0].clone();
        (branch["name"] == "branch" && branch["last_success"].is_string()).then_some(())
    });

    let active = || site.done("user list --status active")["users"].as_array().unwrap().len();
    let before = active();
    site.write(file.split("[[directory]]").next().unwrap());
    assert_eq!(outcome(&site.done("reload")), [("branch", "removed"), ("corp", "removed")]);
    assert_eq!(site.done("status")["directories"], Value::Array(Vec::new()));
    assert_eq!(active(), before, "its users stay as they are");
}

#[test]
fn a_configuration_with_problems_changes_nothing_and_all_of_them_are_told() {
    let site = Site::running();
    site.configure("[safety]\nsettle = \"soon\"", "page-size = 0\nexclude = [\"*\"]");
    let (code, problem) = site.daemon.ctl("reload");
    assert_eq!((code, &problem["status"]), (1, &Value::from(422)), "{problem:#}");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.lines().count() == 3 && detail.contains("\"soon\"") && detail.contains("rosterd.toml:9:"), "{detail}");
    assert_eq!(site.status()["state"], "ok");

    site.write("[[directory]]\nname = ");
    assert_eq!(site.daemon.ctl("reload").0, 1, "a half-written file");
    std::fs::remove_file(site.folder.path().join("rosterd.toml")).unwrap();
    assert_eq!(site.daemon.ctl("reload").0, 1, "no file");
    assert_eq!(site.done("sync corp")["state"], "succeeded", "by the old configuration");

    site.configure("", "");
    std::fs::write(site.folder.path().join("password"), "").unwrap();
    let (code, problem) = site.daemon.ctl("reload");
    assert!(code == 1 && problem["detail"].as_str().unwrap().contains("password"), "an empty secret: {problem:#}");
}

#[test]
fn a_narrower_scope_only_plans_after_a_reload_and_who_is_seen_disabled_is_suspended_all_the_same() {
    let site = Site::running();
    let active = site.active();
    let engineering = site.sim.look(|ad| ad.dn("Engineering").clone());
    let disabled = site.done("user list --status active")["users"][0]["directory"]["dn"].as_str().unwrap().to_owned();
    site.sim.edit(|ad| ad.disable(disabled.as_str()));
    let root = site.sim.root_dn();
    let file = configuration(&site.sim, site.folder.path(), "[safety]\nsettle = \"0s\"", "");
    site.write(&file.replace(&format!("[\"{root}\"]"), &format!("[\"{engineering}\"]")));
    assert_eq!(outcome(&site.done("reload")), [("corp", "rescoped")]);
    let status = until("the run after the reload", || Some(site.status()).filter(|s| s["held"].as_u64() > Some(0)));
    assert_eq!(status["users"]["active"].as_u64().unwrap(), active - 1, "{status:#}");
}

#[test]
fn a_run_under_way_is_given_up_when_its_directory_is_configured_anew() {
    let site = Site::running();
    let disabled = site.done("user list --status active")["users"][0]["directory"]["dn"].as_str().unwrap().to_owned();
    site.sim.edit(|ad| ad.disable(disabled.as_str()));
    site.sim.faults().push(Fault::new(When::page(1), What::Stall));
    let mut waiting = site.daemon.client("sync corp").stdout(std::process::Stdio::piped()).spawn().unwrap();
    until("the run reads", || site.done("run list --limit 1")["runs"][0]["state"].as_str().filter(|s| *s == "running").map(drop));
    site.configure("", "mode = \"plan-only\"");
    site.done("reload");
    let ended = waiting.wait().unwrap();
    assert_ne!(ended.code(), Some(0));
    let given_up = until("it is written down", || {
        let runs = site.done("run list")["runs"].clone();
        runs.as_array().unwrap().iter().find(|r| r["state"] == "cancelled").cloned()
    });
    assert!(given_up["error"].as_str().unwrap().contains("reloaded"), "{given_up:#}");
    let status = until("the next run only plans", || Some(site.status()).filter(|s| s["held"] == 1));
    assert_eq!(status["state"], "plan-only");
}

#[test]
fn what_only_a_restart_can_change_is_said() {
    let site = Site::running();
    let file = configuration(&site.sim, site.folder.path(), "", "");
    site.write(&file.replace("rosterd.db", "other.db").replace("control.sock", "other.sock"));
    assert_eq!(site.done("reload")["needs_restart"], serde_json::json!(["store.url", "control.socket"]));
}

#[test]
fn sighup_reloads_and_sigterm_ends_within_seconds_and_both_say_who_sent_them() {
    let mut site = Site::running();
    site.configure("", "schedule = \"@daily\"");
    site.daemon.signal(Signal::SIGHUP);
    let own = format!("process {}", std::process::id());
    until("the reload is logged", || site.daemon.log().contains("SIGHUP").then_some(()));
    until("it is in force", || site.status()["next_run"].as_str().filter(|at| at.contains("T00:00:00")).map(drop));
    assert!(site.daemon.log().contains(&own), "{}", site.daemon.log());
    let begun = std::time::Instant::now();
    site.daemon.signal(Signal::SIGTERM);
    assert!(site.daemon.wait().success());
    assert!(begun.elapsed() < std::time::Duration::from_secs(10));
    assert!(site.daemon.log().contains("stopping"));
}
