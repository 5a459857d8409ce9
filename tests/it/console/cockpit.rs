//! The module of Cockpit, in Chromium, as users who log in with a password.
//!
//! Root makes the users. The folder of modules and the name `rosterctl` are those of the machine, so
//! the test refuses to run where they are taken.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use fantoccini::Locator;
use rosterd::control::Settings;
use rosterd::store::EventFilter;
use serde_json::json;

use super::browser::Browser;
use super::office_with_leavers;
use crate::socket::{NO_GROUP, Office};

const OPERATOR: &str = "rosterd-lab-op";
const VIEWER: &str = "rosterd-lab-view";
const PASSWORD: &str = "Lab-5f0c-Cockpit";
const ROSTERCTL: &str = "/usr/local/bin/rosterctl";
const MODULE: &str = "/usr/local/share/cockpit/rosterd";
const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/console");

fn done(program: &str, arguments: &[&str]) {
    let status = Command::new(program).args(arguments).status();
    assert!(status.expect(program).success(), "{program} {arguments:?}");
}

/// Cockpit on a port of this machine, with the module and two users. Dropping removes all of it.
struct Cockpit {
    server: Child,
    port: u16,
    /// The folder of the control socket, which other users can traverse.
    _folder: tempfile::TempDir,
}

impl Drop for Cockpit {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
        remove();
    }
}

/// Removes users and files, also those of a test that was killed.
fn remove() {
    for user in [OPERATOR, VIEWER] {
        let mut command = Command::new("userdel");
        let _ = command.args(["--remove", "--force", user]).stderr(Stdio::null()).status();
    }
    let _ = std::fs::remove_file(ROSTERCTL);
    let _ = std::fs::remove_dir_all(MODULE);
}

impl Cockpit {
    async fn start(office: &Office) -> Self {
        assert!(
            nix::unistd::geteuid().is_root() && std::env::var_os("ROSTERD_LAB").is_some(),
            "this test makes users: run tests/run as root"
        );
        let is_own = std::fs::read_to_string(ROSTERCTL).is_ok_and(|text| text.contains("# lab"));
        assert!(is_own || !Path::new(ROSTERCTL).exists(), "{ROSTERCTL} belongs to the machine");
        remove();
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let socket = folder.path().join("control.sock");
        for user in [OPERATOR, VIEWER] {
            let arguments = ["--create-home", "--user-group", "--shell", "/bin/bash", user];
            done("useradd", &arguments);
            let set = format!("echo '{user}:{PASSWORD}' | chpasswd");
            done("sh", &["-c", &set]);
        }
        office
            .serve_also(Settings {
                socket: socket.clone(),
                operators: OPERATOR.into(),
                viewers: VIEWER.into(),
                authenticators: NO_GROUP.into(),
                own_user_operates: false,
            })
            .await;
        let program = folder.path().join("rosterctl");
        std::fs::copy(env!("CARGO_BIN_EXE_rosterctl"), &program).unwrap();
        let script = format!(
            "#!/bin/sh\n# lab\nexec {} --socket {} \"$@\"\n",
            program.display(),
            socket.display()
        );
        std::fs::write(ROSTERCTL, script).unwrap();
        std::fs::set_permissions(ROSTERCTL, std::fs::Permissions::from_mode(0o755)).unwrap();
        install();
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let server = Command::new("/usr/lib/cockpit/cockpit-ws")
            .args(["--no-tls", "--address", "127.0.0.1", "--port", &port.to_string()])
            .stderr(Stdio::null())
            .spawn()
            .expect("cockpit-ws; tests/lab/install has it");
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            tokio::task::yield_now().await;
        }
        Self { server, port, _folder: folder }
    }

    /// Logs a user in, and enters the frame of the module.
    async fn log_in(&self, user: &str) -> Browser {
        let browser = Browser::start().await;
        browser.page.goto(&format!("http://127.0.0.1:{}/rosterd", self.port)).await.unwrap();
        let wait = |css: &'static str| browser.page.wait().for_element(Locator::Css(css));
        wait("#login-user-input").await.unwrap().send_keys(user).await.unwrap();
        wait("#login-password-input").await.unwrap().send_keys(PASSWORD).await.unwrap();
        browser.click("#login-button").await;
        let frame = wait("iframe[src*='/rosterd/index.html']").await.unwrap();
        frame.enter_frame().await.unwrap();
        browser.until_title("Overview").await;
        browser
    }
}

/// Copies the files that the package has in /usr/share/cockpit/rosterd.
fn install() {
    std::fs::create_dir_all(MODULE).unwrap();
    let files = |folder: &str| {
        let entries = std::fs::read_dir(format!("{SOURCE}/{folder}")).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect::<Vec<PathBuf>>()
    };
    for file in files("cockpit").into_iter().chain(files("assets")) {
        std::fs::copy(&file, Path::new(MODULE).join(file.file_name().unwrap())).unwrap();
    }
}

#[ignore = "needs the lab: tests/run"]
#[tokio::test(flavor = "multi_thread")]
async fn an_operator_decides_a_plan_in_cockpit_and_a_viewer_only_sees_it() {
    let (office, id) = office_with_leavers(80, 20).await;
    let active = office.firm.active().await;
    let cockpit = Cockpit::start(&office).await;
    let plan = format!("a[href='/held/{id}']");

    let viewer = cockpit.log_in(VIEWER).await;
    viewer.click("nav a[href='/held']").await;
    viewer.until_title("Waiting for a decision").await;
    viewer.click(&plan).await;
    viewer.until_title("20 changes of corp").await;
    assert!(viewer.text(".me").await.contains("looking only"));
    let fields = viewer.page.find_all(Locator::Css("#decision, main [name=token], #approve")).await;
    assert_eq!(fields.unwrap().len(), 0, "a viewer is offered no decision");
    viewer.save("cockpit-viewer").await;
    // The daemon refuses a viewer, whatever the module sends.
    let forged = format!(
        "const done = arguments[0]; cockpit.spawn(['rosterctl', '--yes', 'held', 'approve', '{id}'], {{ err: 'out' }}).then(() => done('approved'), error => done(String(error.exit_status)))"
    );
    let forged = viewer.page.execute_async(&forged, Vec::new()).await.unwrap();
    assert_eq!((forged, office.firm.active().await), (json!("5"), active));
    viewer.page.clone().close().await.unwrap();

    let operator = cockpit.log_in(OPERATOR).await;
    operator.click("nav a[href='/held']").await;
    operator.until_title("Waiting for a decision").await;
    operator.click(&plan).await;
    operator.until_title("20 changes of corp").await;
    // Another grouping keeps the tick that is off.
    operator.click("tr[data-text] input[name=who]").await;
    operator.click("select[data-swap] option[value=department]").await;
    assert_eq!(operator.text("#chosen").await, "19");
    operator.fill("input[name=comment]", "CHG-102").await;
    operator.save("cockpit-operator").await;
    operator.click("#approve").await;
    operator.until_title("Run of corp").await;
    assert_eq!(office.firm.active().await, active - 19);
    let kinds = vec!["plan.approved".to_owned()];
    let filter = EventFilter { kinds, limit: 1, ..EventFilter::default() };
    let mut events = office.firm.engine.store.events(&filter).await.unwrap();
    let data = events.remove(0).document["data"].clone();
    assert_eq!((&data["actor"], &data["via"]), (&json!(OPERATOR), &json!("console")));
    operator.save("cockpit-run").await;
}
