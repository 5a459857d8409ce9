//! The head office: `rosterd` as a process over a domain controller, driven through `rosterctl
//! --json` only.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, ExitStatus, Stdio};

use nix::sys::signal::Signal;
use rosterd::store::Store;
use serde_json::Value;

use super::{DOMAIN, Lab};
use crate::process::Daemon;

/// A running daemon.
#[derive(Debug)]
pub(crate) struct Office {
    // First, so that it is stopped before the controller that it reads.
    daemon: Daemon,
    pub(crate) lab: Lab,
}

/// Returns the configuration of a directory on this lab from `base` on; `directory` are further
/// keys of it.
fn configuration(lab: &Lab, base: &str, directory: &str) -> String {
    let dns = format!("[dns]\nresolver = \"{}\"\n", lab.fact("LAB_DNS_SERVER"));
    let keys = format!(
        "timeouts = {{ connect = \"2s\", operation = \"2s\", run = \"30s\" }}\npage-size = 20\n{directory}"
    );
    lab.directory(base).configuration(lab.folder(), &dns, &keys)
}

impl Office {
    /// Starts a daemon over a controller of its own. `directory` are further keys of the directory.
    pub(crate) fn open(directory: &str) -> Self {
        Self::open_below(DOMAIN, directory)
    }

    /// Does the same for the people below this base.
    pub(crate) fn open_below(base: &str, directory: &str) -> Self {
        let lab = Lab::start();
        std::fs::write(lab.folder().join("rosterd.toml"), configuration(&lab, base, directory))
            .expect("a configuration");
        let daemon = Daemon::start(lab.folder());
        Self { daemon, lab }
    }

    /// Does the same with the account `acme`, which holds example.com.
    pub(crate) fn of_acme(directory: &str) -> Self {
        let office = Self::open(directory);
        office.create_acme();
        office
    }

    /// Creates the account `acme`, which holds example.com.
    pub(crate) fn create_acme(&self) {
        self.daemon.create_acme();
    }

    /// Runs `rosterctl`. Returns its exit status and the printed document.
    pub(crate) fn ctl(&self, command: &str) -> (i32, Value) {
        self.daemon.ctl(command)
    }

    /// Starts a command without waiting for its end.
    pub(crate) fn begin(&self, command: &str) -> Child {
        self.daemon
            .client(command)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("rosterctl")
    }

    /// Starts a console. Returns its process and its link.
    pub(crate) fn console(&self) -> (Child, String) {
        let mut console =
            self.daemon.client("console").stdout(Stdio::piped()).spawn().expect("rosterctl");
        let mut line = String::new();
        let output = console.stdout.as_mut().expect("a pipe");
        BufReader::new(output).read_line(&mut line).expect("a line");
        let printed: Value = serde_json::from_str(&line).expect("a document");
        (console, printed["link"].as_str().expect("a link").to_owned())
    }

    /// Returns the document of a command that must succeed.
    pub(crate) fn done(&self, command: &str) -> Value {
        self.daemon.done(command)
    }

    /// Returns the status of the directory.
    pub(crate) fn status(&self) -> Value {
        self.done("status")["directories"][0].clone()
    }

    pub(crate) fn user(&self, who: &str) -> Value {
        self.done(&format!("user show {who}"))
    }

    /// Runs and expects success without held changes. Returns the number of changes by kind.
    pub(crate) fn sync(&self) -> Value {
        let run = self.done("sync corp");
        assert_eq!(
            (&run["state"], &run["held"]),
            (&Value::from("succeeded"), &Value::from(0)),
            "{run:#}"
        );
        run["changes"].clone()
    }

    pub(crate) fn users(&self) -> Vec<Value> {
        self.done("user list")["users"].as_array().expect("users").clone()
    }

    pub(crate) fn events(&self, kind: &str) -> Vec<Value> {
        self.done(&format!("event list --type {kind} --limit 1000"))["events"]
            .as_array()
            .expect("events")
            .clone()
    }

    /// Kills the daemon without a warning, as a power cut does.
    pub(crate) fn kill(&mut self) {
        self.daemon.signal(Signal::SIGKILL);
        self.daemon.wait();
    }

    /// Stops the daemon as systemd does.
    pub(crate) fn stop(&mut self) -> ExitStatus {
        self.daemon.signal(Signal::SIGTERM);
        self.daemon.wait()
    }

    pub(crate) fn start(&mut self) {
        self.daemon = Daemon::start(self.lab.folder());
    }

    /// Checks the chain of the event log of a stopped daemon.
    pub(crate) fn verify_events(&self) {
        let url = format!("sqlite://{}", self.lab.folder().join("rosterd.db").display());
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let verified = runtime.block_on(async {
            let store = Store::open(&url).await.expect("a free and complete store");
            let verified = store.verify_events(None).await.expect("events");
            store.close().await;
            verified
        });
        assert!(verified.is_ok(), "the event log is broken: {verified:?}");
    }

    /// Deletes the store of a stopped daemon.
    pub(crate) fn delete_store(&self) {
        for file in std::fs::read_dir(self.lab.folder()).expect("the folder") {
            let file = file.expect("a file");
            if file.file_name().to_string_lossy().starts_with("rosterd.db") {
                std::fs::remove_file(file.path()).expect("a file of the store");
            }
        }
    }

    /// Starts a second daemon on the same store. Returns its output.
    pub(crate) fn second_daemon(&self) -> (ExitStatus, String) {
        let done = Daemon::command(self.lab.folder()).output().expect("rosterd");
        (done.status, String::from_utf8_lossy(&done.stderr).into_owned())
    }
}
