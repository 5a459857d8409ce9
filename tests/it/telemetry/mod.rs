//! What the daemon tells of itself: the log as an operator reads it, the metrics as Prometheus does.

use std::path::Path;

use adsim::Sim;
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::process::Daemon;

mod journal;
mod logs;
mod metrics;
mod prometheus;

/// The service account's password.
const SECRET: &str = "Ma4ker!of-the-Secret";

/// A daemon as a process of its own over a simulated directory.
struct Site {
    // First, so that it is ended before what it reads.
    daemon: Daemon,
    sim: Sim,
    // The simulator's threads.
    runtime: Runtime,
    folder: TempDir,
}

impl Site {
    /// Of so many people; `more` is further configuration, `adapt` sees the directory and the command before the daemon does.
    fn of(people: usize, more: &str, adapt: impl FnOnce(&Sim, &mut std::process::Command)) -> Self {
        let runtime = Runtime::new().unwrap();
        let sim = runtime.block_on(Sim::builder().people(people).service("svc-rosterd", SECRET).start()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        write_configuration(&sim, folder.path(), more);
        let mut command = Daemon::command(folder.path());
        adapt(&sim, &mut command);
        let daemon = Daemon::start_as(folder.path(), command);
        let site = Self { daemon, sim, runtime, folder };
        site.done("account create acme --name Acme");
        site.done("domain claim acme example.com");
        site
    }

    fn done(&self, command: &str) -> Value {
        let (code, document) = self.daemon.ctl(command);
        assert_eq!(code, 0, "rosterctl {command}: {document:#}");
        document
    }

    /// The DN of somebody who is a user, and active.
    fn somebody(&self, number: usize) -> String {
        self.done("user list --status active")["users"][number]["directory"]["dn"].as_str().unwrap().to_owned()
    }
}

fn write_configuration(sim: &Sim, folder: &Path, more: &str) {
    std::fs::write(folder.join("ca.pem"), sim.ca_pem()).unwrap();
    let password = folder.join("password");
    std::fs::write(&password, sim.service_password()).unwrap();
    std::fs::set_permissions(&password, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let (url, who, root, folder) = (sim.ldaps_url(), sim.service_upn(), sim.root_dn(), folder.display());
    let text = format!(
        r#"
        [store]
        url = "sqlite://{folder}/rosterd.db"
        [control]
        socket = "{folder}/control.sock"
        [domains]
        trusted = ["example.com"]
        [safety]
        create = {{ percent = 100, at-least = 10000, at-most = 10000 }}
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
        "#
    );
    std::fs::write(Path::new(&folder.to_string()).join("rosterd.toml"), text).unwrap();
}
