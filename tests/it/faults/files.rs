//! Files that rosterd trusts belong to root or its user, and files that it makes are for its user alone.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use adsim::Sim;
use nix::unistd::geteuid;
use rosterd::config::Config;
use rosterd::daemon;
use rosterd::store::Store;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::folder::{self, Directory};
use crate::process::Daemon;

/// A user that is neither root nor the daemon's.
const STRANGER: u32 = 61_041;

/// A folder with all files that a configuration names.
struct Files {
    folder: TempDir,
    _sim: Sim,
    _runtime: Runtime,
}

impl Files {
    fn write() -> Self {
        let runtime = Runtime::new().unwrap();
        let sim = runtime.block_on(Sim::builder().people(1).start()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["etc", "hooks", "state", "run"] {
            fs::create_dir(at(name)).unwrap();
            mode(&at(name), 0o755);
        }
        folder::write_files(&at("etc"), &sim.ca_pem(), &sim.service_password());
        folder::write(&at("etc/siem.secret"), "whsec_c2VjcmV0\n", 0o600);
        folder::write(&at("hooks/revoke"), "#!/bin/sh\n", 0o755);
        let hooks = format!(
            "[[hook]]\nname = \"a\"\nevents = [\"*\"]\nexec = [\"{0}/hooks/revoke\"]\n[[hook]]\nname = \"b\"\nevents = [\"*\"]\nurl = \"https://siem.example.com/\"\nsecret-file = \"{0}/etc/siem.secret\"\n",
            folder.path().display()
        );
        let text = Directory::of(&sim, &at("etc")).configuration(&at("etc"), &hooks, "");
        let text = text
            .replace("/etc/rosterd.db", "/state/rosterd.db")
            .replace("/etc/control.sock", "/run/control.sock");
        folder::write(&at("etc/rosterd.toml"), &text, 0o640);
        Self { folder, _sim: sim, _runtime: runtime }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Returns the problems of the configuration.
    fn problems(&self) -> Option<String> {
        let problems = Config::load(&self.at("etc/rosterd.toml")).err();
        problems.map(|problems| problems.to_string())
    }
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

const TRUSTED: [&str; 9] = [
    "etc/rosterd.toml",
    "etc/password",
    "etc/ca.pem",
    "etc/siem.secret",
    "hooks/revoke",
    "etc",
    "hooks",
    "state",
    "run",
];

#[test]
fn a_file_that_others_can_write_is_refused_with_its_path_and_the_remedy() {
    let files = Files::write();
    assert_eq!(files.problems(), None);
    for name in TRUSTED {
        let path = files.at(name);
        let was = fs::metadata(&path).unwrap().mode() & 0o7777;
        mode(&path, was | 0o002);
        let problems = files.problems().unwrap_or_else(|| panic!("{name}: writable by all users"));
        let mends = [format!("chmod go-w {}", path.display()), "chmod o=".to_owned()];
        assert!(
            problems.contains(&path.display().to_string())
                && mends.iter().any(|m| problems.contains(m)),
            "{name}: {problems}"
        );
        mode(&path, was);
        assert_eq!(files.problems(), None, "{name} is mended");
    }
}

#[test]
fn a_file_of_another_user_or_writable_by_a_group_is_refused() {
    if !geteuid().is_root() {
        return;
    }
    let files = Files::write();
    for name in TRUSTED {
        let path = files.at(name);
        chown(&path, Some(STRANGER), None).unwrap();
        let problems = files.problems().unwrap_or_else(|| panic!("{name} belongs to a stranger"));
        assert!(
            problems.contains("belongs to uid 61041")
                && problems.contains(&format!("chown -h root {}", path.display())),
            "{problems}"
        );
        chown(&path, Some(0), Some(STRANGER)).unwrap();
        let was = fs::metadata(&path).unwrap().mode() & 0o7777;
        mode(&path, was | 0o020);
        let problems = files.problems().unwrap_or_else(|| panic!("{name}: a group may write it"));
        assert!(problems.contains(&format!("chmod g-w {}", path.display())), "{problems}");
        mode(&path, was);
        chown(&path, Some(0), Some(0)).unwrap();
    }
    assert_eq!(files.problems(), None);
}

#[test]
fn a_link_is_as_good_as_every_folder_on_its_way() {
    let files = Files::write();
    let real = files.at("real");
    fs::create_dir(&real).unwrap();
    fs::rename(files.at("etc/ca.pem"), real.join("ca.pem")).unwrap();
    // Through a second link, in a folder of neither the first link nor the file.
    let between = files.at("between");
    fs::create_dir(&between).unwrap();
    symlink(&real, between.join("to")).unwrap();
    symlink(between.join("to/ca.pem"), files.at("etc/ca.pem")).unwrap();
    assert_eq!(files.problems(), None);
    for folder in [&real, &between] {
        mode(folder, 0o777);
        let problems = files.problems().expect("a user that can write there chooses the CA");
        assert!(
            problems.contains(&format!("{} can be written by all users", folder.display())),
            "{problems}"
        );
        // In a folder with the sticky bit, other users cannot replace the file.
        mode(folder, 0o1777);
        assert_eq!(files.problems(), None);
        mode(folder, 0o755);
    }
}

#[test]
fn a_secret_that_a_role_can_read_and_a_role_that_is_the_daemons_group_are_warned_of() {
    if !geteuid().is_root() {
        return;
    }
    let files = Files::write();
    let text = fs::read_to_string(files.at("etc/rosterd.toml")).unwrap();
    let with = |operators: &str| {
        let text = text.replace(
            "[control]",
            &format!("[control]\noperators = \"{operators}\"\nviewers = \"adm\""),
        );
        folder::write(&files.at("etc/rosterd.toml"), &text, 0o640);
        Config::load(&files.at("etc/rosterd.toml")).unwrap().warnings()
    };
    assert_eq!(with("users"), [""; 0]);
    let gid = |name: &str| nix::unistd::Group::from_name(name).unwrap().unwrap().gid.as_raw();
    for (file, group) in [("etc/password", "adm"), ("etc/siem.secret", "users")] {
        let path = files.at(file);
        chown(&path, None, Some(gid(group))).unwrap();
        mode(&path, 0o640);
        let warnings = with("users");
        let told = |w: &String| {
            w.contains(&format!("the members of {group} can read")) && w.contains("LoadCredential")
        };
        assert!(warnings.len() == 1 && told(&warnings[0]), "{warnings:?}");
        mode(&path, 0o600);
    }
    let warnings = with("rosterd");
    assert!(
        warnings
            .iter()
            .any(|w| w.contains("the daemon's own group") && w.contains("rosterd-operators")),
        "{warnings:?}"
    );
    let warnings = with("no-such-group-of-rosterd");
    assert!(
        warnings.iter().any(|w| w.contains("does not exist") && w.contains("groupadd --system")),
        "{warnings:?}"
    );
    let said = Command::new(env!("CARGO_BIN_EXE_rosterd"))
        .arg("--config")
        .arg(files.at("etc/rosterd.toml"))
        .arg("check-config")
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(
        said.status.success() && told.contains("warning:") && told.contains("no problems found"),
        "{told}"
    );
}

/// Returns owner and mode of each file in a folder, without sockets and the test's own files.
fn made(folder: &Path) -> Vec<(String, u32, u32)> {
    let mut all: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), entry.metadata().unwrap()))
        .filter(|(_, metadata)| metadata.is_file())
        .map(|(name, metadata)| (name, metadata.uid(), metadata.mode() & 0o777))
        .collect();
    all.sort();
    all
}

#[test]
fn a_check_by_root_leaves_no_file_that_the_daemon_cannot_open() {
    if !geteuid().is_root() {
        return;
    }
    for is_new in [true, false] {
        let files = Files::write();
        let state = files.at("state");
        let store = format!("sqlite://{}", state.join("rosterd.db").display());
        if !is_new {
            let runtime = Runtime::new().unwrap();
            runtime.block_on(async { Store::open(&store).await.unwrap().close().await });
            fs::remove_file(state.join("rosterd.db.lock")).unwrap();
            chown(state.join("rosterd.db"), Some(STRANGER), Some(STRANGER)).unwrap();
        }
        // The daemon's user. The configuration is loaded first, because it must not belong to
        // another user.
        let config = Config::load(&files.at("etc/rosterd.toml")).unwrap();
        chown(&state, Some(STRANGER), Some(STRANGER)).unwrap();
        let runtime = Runtime::new().unwrap();
        let clock = rosterd::clock::Clock::system();
        runtime
            .block_on(daemon::check_directory(daemon::setup(&config), None, false, clock))
            .unwrap();
        assert!(made(&state).iter().all(|(_, uid, _)| *uid == STRANGER), "{:?}", made(&state));
        // The daemon, started once as root.
        runtime.block_on(async { Store::open(&store).await.unwrap().close().await });
        let made = made(&state);
        assert!(
            made.len() >= 2
                && made.iter().all(|(_, uid, mode)| *uid == STRANGER && mode.trailing_zeros() >= 6),
            "{made:?}"
        );
    }
}

#[test]
fn files_of_the_daemon_are_for_its_user_alone_under_any_umask() {
    let files = Files::write();
    let state = files.at("state");
    folder::write(
        &files.at("state/rosterd.toml"),
        &fs::read_to_string(files.at("etc/rosterd.toml"))
            .unwrap()
            .replace("/run/control.sock", "/state/control.sock"),
        0o600,
    );
    let mut command = Command::new("sh");
    command
        .args(["-c", "umask 000; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_rosterd"), "--config"])
        .arg(state.join("rosterd.toml"));
    if !geteuid().is_root() {
        command.arg("--own-user-operates");
    }
    let daemon = Daemon::start_as(&state, command);
    daemon.done("account create acme --name Acme");
    let made: Vec<_> =
        made(&state).into_iter().filter(|(name, ..)| name.starts_with("rosterd.db")).collect();
    assert!(
        made.len() >= 3 && made.iter().all(|(_, _, mode)| mode.trailing_zeros() >= 6),
        "{made:?}"
    );
}

#[test]
fn a_world_readable_store_is_closed_to_others_when_it_is_opened() {
    let files = Files::write();
    let file = files.at("state/rosterd.db");
    let runtime = Runtime::new().unwrap();
    let open = || {
        runtime.block_on(async {
            Store::open(&format!("sqlite://{}", file.display())).await.unwrap().close().await
        })
    };
    open();
    mode(&file, 0o644);
    open();
    assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o640);
}

#[test]
fn a_backup_that_root_makes_belongs_to_the_daemons_user() {
    if !geteuid().is_root() {
        return;
    }
    let files = Files::write();
    let state = files.at("state");
    folder::write(
        &state.join("rosterd.toml"),
        &fs::read_to_string(files.at("etc/rosterd.toml"))
            .unwrap()
            .replace("/run/control.sock", "/state/control.sock"),
        0o600,
    );
    let daemon = Daemon::start(&state);
    // As if this user were the daemon's, and owned the socket.
    chown(state.join("control.sock"), Some(STRANGER), Some(STRANGER)).unwrap();
    let copy = files.at("copy.db");
    daemon.done(&format!("backup {}", copy.display()));
    let found = fs::metadata(&copy).unwrap();
    assert_eq!((found.uid(), found.gid(), found.mode() & 0o777), (STRANGER, STRANGER, 0o600));
}
