//! A company with a domain controller in each of two sites. The controllers replicate. The engine
//! runs in process, and the process in the network of the lab.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use rosterd::clock::Clock;
use rosterd::engine::{DirectoryConfig, Engine};
use rosterd::model::{Reason, RunState, ServerUrl, Status, Timeouts, User};
use rosterd::store::Run;

use super::controller::{Controller, facts, script, text};
use super::{DOMAIN, folder};
use crate::acme;
use crate::folder::Directory;

/// The folder of the lab, for the process inside its network.
const LAB: &str = "ROSTERD_TEST_REPLICAS";
/// The exit status of the script on a machine without network namespaces.
const UNSUPPORTED: i32 = 77;
/// The number of people, all of whom are provisioned.
const PEOPLE: usize = 200;

pub(crate) struct Sites {
    /// The controller that rosterd reads first.
    pub(crate) dc1: Controller,
    pub(crate) dc2: Controller,
    pub(crate) engine: Arc<Engine>,
    clock: Clock,
}

/// A running lab, removed when dropped.
struct Running<'a>(&'a Path);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let _ = script("replicas").arg("remove").arg(self.0).stdin(Stdio::null()).status();
    }
}

/// Runs a test on two controllers that have stopped replicating, after all people were imported from
/// dc1. The test's binary runs again in the lab's network, with this test alone.
#[expect(clippy::print_stderr, reason = "a skipped test gives its reason")]
pub(crate) fn on_two_controllers<T: AsyncFnOnce(Sites)>(test: T) {
    if let Some(dir) = std::env::var_os(LAB) {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        return runtime.block_on(async { test(Sites::open(dir.into()).await).await });
    }
    let folder = folder();
    let dir = folder.path().join("lab");
    let running = Running(&dir);
    let started = script("replicas").arg("start").arg(running.0).stdin(Stdio::null()).output();
    let started = started.expect("tests/lab/replicas");
    if started.status.code() == Some(UNSUPPORTED) {
        return eprintln!("skipped: {}", String::from_utf8_lossy(&started.stderr).trim());
    }
    text(started, "start");
    // The type of a closure is named by the function around it.
    let name = std::any::type_name::<T>().trim_end_matches("::{{closure}}");
    let (_, name) = name.split_once("::").expect("a path");
    let done = script("replicas")
        .arg("in")
        .arg(&dir)
        .arg("hub")
        .arg(std::env::current_exe().expect("this binary"))
        .args(["--ignored", "--exact", name])
        .env(LAB, &dir)
        .stdin(Stdio::null())
        .output()
        .expect("tests/lab/replicas");
    let report = String::from_utf8_lossy(&done.stdout);
    assert!(
        done.status.success() && report.contains("1 passed"),
        "{report}\n{}",
        String::from_utf8_lossy(&done.stderr)
    );
}

/// Returns the DN of a person.
pub(crate) fn person(name: &str) -> String {
    format!("CN={name},OU=Staff,{DOMAIN}")
}

fn config(lines: &str) -> DirectoryConfig {
    let facts = facts(lines);
    let fact = |name: &str| facts.get(name).unwrap_or_else(|| panic!("no {name}")).clone();
    let mut config = acme::config(Directory {
        url: fact("LAB_DC1_URL"),
        ca_file: fact("LAB_CA_FILE"),
        bind_dn: fact("LAB_BIND_UPN"),
        password_file: fact("LAB_PASSWORD_FILE"),
        base: DOMAIN.to_owned(),
    });
    config.settings.servers.push(ServerUrl::parse(&fact("LAB_DC2_URL")).expect("a URL"));
    // A busy machine is no failure of a controller.
    let (connect, operation) = (Duration::from_secs(5), Duration::from_secs(30));
    config.settings.timeouts = Timeouts { connect, operation, run: Duration::from_mins(2) };
    config.limits.grace_period = Duration::ZERO;
    config
}

impl Sites {
    async fn open(dir: PathBuf) -> Self {
        let controller =
            |host| Controller { script: "replicas", dir: dir.clone(), host: Some(host) };
        let lines = script("replicas").arg("env").arg(&dir).output().expect("tests/lab/replicas");
        let config = config(&text(lines, "env"));
        let clock = Clock::system();
        let store = acme::store(dir.parent().expect("the test's folder")).await;
        let engine = acme::engine(store, &clock, config);
        acme::create(&engine).await;
        let sites = Self { dc1: controller("dc1"), dc2: controller("dc2"), engine, clock };
        sites.replication("off");
        sites.import().await;
        sites
    }

    async fn import(&self) {
        let run = self.sync().await;
        assert_eq!(run.error, None, "{run:?}");
        self.approve_all().await;
        assert_eq!(self.active().await, PEOPLE);
        assert_eq!(self.sync().await.server.as_deref(), Some("ldaps://10.77.0.11"));
    }

    /// Approves all plans.
    pub(crate) async fn approve_all(&self) {
        for plan in self.engine.store.plans(false).await.expect("plans") {
            self.engine.approve(plan.id, acme::alice()).await.expect("an approval");
        }
    }

    /// Switches replication between the controllers on or off.
    pub(crate) fn replication(&self, state: &str) {
        for controller in [&self.dc1, &self.dc2] {
            let (dir, host) = (&controller.dir, controller.host);
            let done = script("replicas").arg("repl").arg(dir).arg(state).args(host).output();
            text(done.expect("tests/lab/replicas"), "repl");
        }
    }

    /// Carries out a full run that must succeed.
    pub(crate) async fn sync(&self) -> Run {
        let run = acme::sync(&self.engine, "corp").await;
        assert!(
            matches!(run.state, RunState::Succeeded | RunState::Held) && run.error.is_none(),
            "{run:?}"
        );
        run
    }

    /// Changes to dc2 after a crash of dc1, and carries out runs: at once, after the time for which
    /// a change of server delays changes, and after a day. Each is followed by the check.
    pub(crate) async fn continue_on_dc2(&self, check: impl AsyncFn(&str)) {
        self.dc1.samba("crash", &[]);
        let run = self.sync().await;
        assert_eq!(run.server.as_deref(), Some("ldaps://10.77.0.12"));
        check("at once").await;
        self.later(&check).await;
    }

    /// Carries out runs after twelve minutes and after a day. Each is followed by the check.
    pub(crate) async fn later(&self, check: impl AsyncFn(&str)) {
        let day = Duration::from_hours(24);
        for (after, when) in [(Duration::from_mins(12), "after 12 minutes"), (day, "after a day")] {
            self.clock.advance(after);
            self.sync().await;
            check(when).await;
        }
    }

    /// Makes rosterd read this controller alone.
    pub(crate) fn read_only_from(&self, url: &str) {
        let servers = vec![ServerUrl::parse(url).expect("a URL")];
        self.reconfigure(|config| config.settings.servers = servers);
    }

    /// Changes the configuration while the engine runs.
    pub(crate) fn reconfigure(&self, change: impl FnOnce(&mut DirectoryConfig)) {
        let was = self.engine.configured();
        let mut config = self.engine.directory("corp").expect("corp").config.clone();
        change(&mut config);
        self.engine.reconfigure(vec![config], was.rules.clone());
    }

    pub(crate) async fn active(&self) -> usize {
        let users = acme::users(&self.engine.store).await;
        users.iter().filter(|u| u.status() == Status::Active).count()
    }

    pub(crate) async fn user(&self, who: &str) -> User {
        self.engine.find_user(who).await.unwrap_or_else(|e| panic!("{who}: {e}"))
    }

    /// Returns the reason why the user of a person is suspended.
    pub(crate) async fn reason(&self, name: &str) -> Option<Reason> {
        self.user(&format!("{name}@example.com")).await.causes.weightiest().map(|c| c.reason)
    }

    /// Returns the reasons why the users of these people are suspended.
    pub(crate) async fn reasons<const N: usize>(&self, names: [&str; N]) -> Vec<Option<Reason>> {
        let mut reasons = Vec::new();
        for name in names {
            reasons.push(self.reason(name).await);
        }
        reasons
    }
}
