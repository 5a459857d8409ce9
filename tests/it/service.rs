//! The daemon as a process over the simulator: reloads, signals, backups, faults of the machine.

use std::path::Path;
use std::process::Command;

use adsim::{Builder, Fault, Sim, What, When};
use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::folder::{self, Directory};
use crate::process::{Daemon, until};

/// A daemon over a simulated directory.
pub(crate) struct Site {
    // Declared first, because fields are dropped in order: the daemon stops before its simulator.
    pub(crate) daemon: Daemon,
    pub(crate) sim: Sim,
    // The threads of the simulator.
    pub(crate) runtime: Runtime,
    pub(crate) folder: TempDir,
}

/// Returns a configuration. `more` comes before the directory, and `directory` adds keys to it.
pub(crate) fn configuration(sim: &Sim, folder: &Path, more: &str, directory: &str) -> String {
    // No scheduled run comes between the steps of a test, unless the test asks for one.
    let schedule = if directory.contains("schedule =") { "" } else { "schedule = \"@yearly\"\n" };
    let keys = format!(
        "{schedule}timeouts = {{ connect = \"2s\", operation = \"5s\", run = \"30s\" }}\n{directory}"
    );
    Directory::of(sim, folder).configuration(folder, more, &keys)
}

impl Site {
    /// Returns a daemon that has not read its directory yet.
    pub(crate) fn empty(people: usize) -> Self {
        Self::of(Sim::builder().people(people), "", |_, _| {})
    }

    /// Returns a daemon over this simulator. `more` is further configuration. `adapt` runs before the
    /// daemon starts.
    pub(crate) fn of(sim: Builder, more: &str, adapt: impl FnOnce(&Sim, &mut Command)) -> Self {
        let runtime = Runtime::new().unwrap();
        let sim = runtime.block_on(sim.start()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        folder::write_files(folder.path(), &sim.ca_pem(), &sim.service_password());
        std::fs::write(
            folder.path().join("rosterd.toml"),
            configuration(&sim, folder.path(), more, ""),
        )
        .unwrap();
        let mut command = Daemon::command(folder.path());
        adapt(&sim, &mut command);
        Self { daemon: Daemon::start_as(folder.path(), command), sim, runtime, folder }
    }

    /// Returns a daemon whose 60 people are all users.
    pub(crate) fn running() -> Self {
        let site = Self::empty(60);
        let run = site.daemon.import();
        assert!(site.active() > 40, "{run:#}");
        site
    }

    /// Writes another configuration without a reload.
    pub(crate) fn configure(&self, more: &str, directory: &str) {
        self.write(&configuration(&self.sim, self.folder.path(), more, directory));
    }

    pub(crate) fn write(&self, text: &str) {
        std::fs::write(self.folder.path().join("rosterd.toml"), text).unwrap();
    }

    pub(crate) fn done(&self, command: &str) -> Value {
        self.daemon.done(command)
    }

    pub(crate) fn status(&self) -> Value {
        self.done("status")["directories"][0].clone()
    }

    pub(crate) fn active(&self) -> u64 {
        self.status()["users"]["active"].as_u64().unwrap()
    }
}

fn outcome(reloaded: &Value) -> Vec<(&str, &str)> {
    reloaded["directories"]
        .as_array()
        .unwrap()
        .iter()
        .map(|d| (d["name"].as_str().unwrap(), d["outcome"].as_str().unwrap()))
        .collect()
}

#[test]
fn a_reload_reports_its_effect_on_each_directory() {
    let site = Site::running();
    assert_eq!(outcome(&site.done("reload")), [("corp", "unchanged")]);

    site.configure("", "schedule = \"@hourly\"");
    assert_eq!(outcome(&site.done("reload")), [("corp", "changed")]);
    let next = site.status()["next_run"].as_str().unwrap().to_owned();
    assert!(next.ends_with(":00:00.000Z") || next.ends_with(":00:00Z"), "{next}");

    site.configure(
        "[schedule]\ntimezone = \"Europe/Berlin\"",
        "schedule = \"@hourly\"\nexclude = [\"nobody@example.com\"]",
    );
    assert_eq!(outcome(&site.done("reload")), [("corp", "rescoped")]);

    let file = configuration(&site.sim, site.folder.path(), "", "");
    let second = file
        .split("[[directory]]")
        .nth(1)
        .unwrap()
        .replace("\"corp\"", "\"branch\"")
        .replace("\"acme\"", "\"branch\"");
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
fn a_configuration_with_problems_changes_nothing_and_lists_them() {
    let site = Site::running();
    site.configure("[safety]\ngrace-period = \"soon\"", "page-size = 0\nexclude = [\"*\"]");
    let (code, problem) = site.daemon.ctl("reload");
    assert_eq!((code, &problem["status"]), (1, &Value::from(422)), "{problem:#}");
    let detail = problem["detail"].as_str().unwrap();
    assert!(
        detail.lines().count() == 3
            && detail.contains("\"soon\"")
            && detail.contains("rosterd.toml:11:"),
        "{detail}"
    );
    assert_eq!(site.status()["state"], "ok");

    site.write("[[directory]]\nname = ");
    assert_eq!(site.daemon.ctl("reload").0, 1, "a half-written file");
    std::fs::remove_file(site.folder.path().join("rosterd.toml")).unwrap();
    assert_eq!(site.daemon.ctl("reload").0, 1, "no file");
    assert_eq!(site.done("sync corp")["state"], "succeeded", "by the old configuration");

    site.configure("", "");
    std::fs::write(site.folder.path().join("password"), "").unwrap();
    let (code, problem) = site.daemon.ctl("reload");
    assert!(
        code == 1 && problem["detail"].as_str().unwrap().contains("password"),
        "an empty secret: {problem:#}"
    );
}

#[test]
fn a_narrower_scope_only_plans_but_still_suspends_disabled_people() {
    let site = Site::running();
    let active = site.active();
    let engineering = site.sim.look(|ad| ad.dn("Engineering").clone());
    let disabled = site.done("user list --status active")["users"][0]["directory"]["dn"]
        .as_str()
        .unwrap()
        .to_owned();
    site.sim.edit(|ad| ad.disable(disabled.as_str()));
    let root = site.sim.root_dn();
    let file = configuration(&site.sim, site.folder.path(), "[safety]\ngrace-period = \"0s\"", "");
    site.write(&file.replace(&format!("[\"{root}\"]"), &format!("[\"{engineering}\"]")));
    assert_eq!(outcome(&site.done("reload")), [("corp", "rescoped")]);
    let status = until("the run after the reload", || {
        Some(site.status()).filter(|s| s["held"].as_u64() > Some(0))
    });
    assert_eq!(status["users"]["active"].as_u64().unwrap(), active - 1, "{status:#}");
}

#[test]
fn a_reload_cancels_the_current_run_of_a_changed_directory() {
    let site = Site::running();
    let disabled = site.done("user list --status active")["users"][0]["directory"]["dn"]
        .as_str()
        .unwrap()
        .to_owned();
    site.sim.edit(|ad| ad.disable(disabled.as_str()));
    site.sim.faults().push(Fault::new(When::page(1), What::Stall));
    let mut waiting =
        site.daemon.client("sync corp").stdout(std::process::Stdio::piped()).spawn().unwrap();
    until("the run waits for an answer", || (site.sim.faults().fired() > 0).then_some(()));
    site.configure("", "mode = \"plan-only\"");
    site.done("reload");
    let ended = waiting.wait().unwrap();
    assert_ne!(ended.code(), Some(0));
    let given_up = until("it is written down", || {
        let runs = site.done("run list")["runs"].clone();
        runs.as_array().unwrap().iter().find(|r| r["state"] == "cancelled").cloned()
    });
    assert!(given_up["error"].as_str().unwrap().contains("reloaded"), "{given_up:#}");
    let status =
        until("the next run only plans", || Some(site.status()).filter(|s| s["held"] == 1));
    assert_eq!(status["state"], "plan-only");
}

#[test]
fn a_reload_reports_keys_that_need_a_restart() {
    let site = Site::running();
    let file = configuration(&site.sim, site.folder.path(), "", "");
    site.write(&file.replace("rosterd.db", "other.db").replace("control.sock", "other.sock"));
    assert_eq!(
        site.done("reload")["needs_restart"],
        serde_json::json!(["store.url", "control.socket"])
    );
}

#[test]
fn sighup_reloads_and_sigterm_stops_and_both_log_the_sender() {
    let mut site = Site::running();
    site.configure("", "schedule = \"@daily\"");
    site.daemon.signal(Signal::SIGHUP);
    let own = format!("process {}", std::process::id());
    until("the reload is logged", || site.daemon.log().contains("SIGHUP").then_some(()));
    until("it is in force", || {
        site.status()["next_run"].as_str().filter(|at| at.contains("T00:00:00")).map(drop)
    });
    assert!(site.daemon.log().contains(&own), "{}", site.daemon.log());
    let by = format!("SIGHUP from {own} of uid {}", nix::unistd::getuid());
    until("it is an event", || {
        let events = site.done("event list --type configuration.reloaded");
        (events["events"][0]["data"]["actor"] == by.as_str()).then_some(())
    });
    let begun = std::time::Instant::now();
    site.daemon.signal(Signal::SIGTERM);
    assert!(site.daemon.wait().success());
    assert!(begun.elapsed() < std::time::Duration::from_secs(10));
    assert!(site.daemon.log().contains("shutting down"));
}

#[test]
fn a_backup_of_a_live_store_is_complete_and_its_restore_first_plans() {
    let mut site = Site::running();
    let copy = site.folder.path().join("copy.db");
    let said = site.done(&format!("backup {}", copy.display()));
    assert_eq!(said["bytes"].as_u64().unwrap(), std::fs::metadata(&copy).unwrap().len());
    assert_eq!(
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&copy).unwrap().permissions())
            & 0o777,
        0o600
    );
    assert_eq!(
        site.daemon.ctl(&format!("backup {}", copy.display())).0,
        2,
        "what is there is not overwritten"
    );
    let beside: Vec<_> =
        std::fs::read_dir(site.folder.path()).unwrap().map(|f| f.unwrap().file_name()).collect();
    assert!(
        !beside
            .iter()
            .any(|f| f.to_string_lossy().contains("backup-")
                || f.to_string_lossy().ends_with(".part")),
        "{beside:?}"
    );

    // After the backup, one person is disabled and many lose their group.
    let users = site.done("user list --status active")["users"].as_array().unwrap().clone();
    let dn = |n: usize| users[n]["directory"]["dn"].as_str().unwrap().to_owned();
    site.daemon.signal(Signal::SIGKILL);
    site.daemon.wait();
    for file in ["rosterd.db-wal", "rosterd.db-shm"] {
        drop(std::fs::remove_file(site.folder.path().join(file)));
    }
    std::fs::rename(&copy, site.folder.path().join("rosterd.db")).unwrap();
    site.sim.edit(|ad| {
        ad.disable(dn(0).as_str());
        ad.set(dn(1).as_str(), "displayName", "Somebody Else");
    });
    site.daemon = Daemon::start(site.folder.path());
    let status = until("the first run only plans", || {
        Some(site.status()).filter(|s| s["attention"].to_string().contains("restored"))
    });
    assert_eq!(
        status["users"]["suspended"], 1,
        "who is seen disabled is suspended all the same: {status:#}"
    );
    let held = site.done("held list")["held"][0]["id"].as_str().unwrap().to_owned();
    site.done(&format!("held approve {held}"));
    assert_eq!(site.done("sync corp")["held"], 0);
}

/// Returns the output of a daemon that fails to start.
pub(crate) fn refusal(folder: &Path) -> String {
    let done = Daemon::command(folder).output().unwrap();
    assert_eq!(done.status.code(), Some(1));
    String::from_utf8_lossy(&done.stderr).into_owned()
}

#[test]
fn a_damaged_or_newer_store_is_refused_and_not_changed() {
    let mut site = Site::running();
    let file = site.folder.path().join("rosterd.db");
    site.daemon.signal(Signal::SIGTERM);
    site.daemon.wait();
    let good = std::fs::read(&file).unwrap();

    let runtime = Runtime::new().unwrap();
    runtime.block_on(async {
        sqlx::any::install_default_drivers();
        let pool = sqlx::AnyPool::connect(&format!("sqlite://{}", file.display())).await.unwrap();
        let newer =
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (9999, 'later', 1, x'00', 0)";
        sqlx::query(newer).execute(&pool).await.unwrap();
        pool.close().await;
    });
    let before = std::fs::read(&file).unwrap();
    let said = refusal(site.folder.path());
    assert!(said.contains("newer rosterd") && said.contains("restore a backup"), "{said}");
    assert!(before == std::fs::read(&file).unwrap(), "left as it is");

    std::fs::write(&file, b"this is no database, and rosterd must not make one of it").unwrap();
    let said = refusal(site.folder.path());
    assert!(said.contains("damaged") && said.contains("backup"), "{said}");
    assert_eq!(
        std::fs::read(&file).unwrap(),
        b"this is no database, and rosterd must not make one of it"
    );

    std::fs::write(&file, &good).unwrap();
    site.daemon = Daemon::start(site.folder.path());
    assert_eq!(site.done("sync corp")["state"], "succeeded");
}

#[test]
fn a_full_disk_is_reported_and_the_next_run_applies_the_rest() {
    let site = Site::running();
    let active = site.active();
    // A limit of the file size acts like a full disk.
    let file = site.folder.path().join("rosterd.db");
    let users = site.done("user list --status active")["users"].as_array().unwrap().clone();
    let pid = site.daemon.pid();
    let length = std::fs::metadata(&file)
        .unwrap()
        .len()
        .max(std::fs::metadata(file.with_extension("db-wal")).unwrap().len());
    site.sim.edit(|ad| ad.disable(users[0]["directory"]["dn"].as_str().unwrap()));
    prlimit(pid, length);
    let (code, problem) = site.daemon.ctl("sync corp");
    assert!(code == 1 && problem.to_string().contains("disk full"), "{code} {problem:#}");
    let (code, check) = site.daemon.ctl("directory check corp");
    let store = check["steps"].as_array().unwrap().last().unwrap();
    assert_eq!((code, &store["name"]), (1, &serde_json::json!("store")), "{check:#}");
    prlimit(pid, u64::MAX);
    assert_eq!(site.active(), active);
    assert_eq!(site.done("sync corp")["changes"]["suspend"], 1);
    assert_eq!(site.active(), active - 1);
    for about in ["directory.unreachable", "directory.recovered"] {
        let told = site.done(&format!("event list --type {about}"));
        assert_eq!(told["events"], serde_json::json!([]), "the directory was well: {told:#}");
    }
}

/// Sets the limit of the file size of a process.
fn prlimit(pid: u32, length: u64) {
    let length = if length == u64::MAX { "unlimited".to_owned() } else { length.to_string() };
    let done = Command::new("prlimit")
        .arg(format!("--pid={pid}"))
        .arg(format!("--fsize={length}:unlimited"))
        .status();
    assert!(done.unwrap().success());
}
