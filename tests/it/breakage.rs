//! Failures of the machine: a second daemon, a failing or read-only disk, no file descriptors,
//! SIGKILL. The last good state stays, and the message names a remedy.

use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::process::{Daemon, until};
use crate::service::{Site, configuration, refusal};

impl Site {
    /// Kills the daemon this many milliseconds after a command was sent, and starts it again.
    fn kill_during(&mut self, command: &str, after: u64) {
        let (out, err) = (Stdio::null(), Stdio::null());
        let mut client = self.daemon.client(command).stdout(out).stderr(err).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(after));
        self.daemon.signal(Signal::SIGKILL);
        self.daemon.wait();
        client.wait().unwrap();
        self.daemon = Daemon::start(self.folder.path());
    }
}

#[test]
fn a_second_daemon_is_refused_and_the_first_keeps_running() {
    let site = Site::running();
    let active = site.active();
    let said = refusal(site.folder.path());
    assert!(said.contains("another rosterd"), "{said}");
    assert_eq!(
        (site.done("sync corp")["state"].as_str(), site.active()),
        (Some("succeeded"), active)
    );

    // The same store with another socket, and the same socket with another store.
    let second = tempfile::tempdir().unwrap();
    let text = configuration(&site.sim, site.folder.path(), "", "");
    for (kept, own) in [("rosterd.db", "control.sock"), ("control.sock", "rosterd.db")] {
        let folder = site.folder.path().display().to_string();
        let elsewhere = second.path().display().to_string();
        std::fs::write(
            second.path().join("rosterd.toml"),
            text.replace(&format!("{folder}/{own}"), &format!("{elsewhere}/{own}")),
        )
        .unwrap();
        let said = refusal(second.path());
        assert!(said.contains("another rosterd"), "the same {kept}: {said}");
        assert_eq!(
            (site.done("sync corp")["state"].as_str(), site.active()),
            (Some("succeeded"), active),
            "the same {kept}"
        );
    }
}

#[test]
fn a_stale_socket_is_replaced_and_a_foreign_file_is_not() {
    let mut site = Site::running();
    let active = site.active();
    let socket = site.folder.path().join("control.sock");
    site.daemon.signal(Signal::SIGKILL);
    site.daemon.wait();
    assert!(socket.exists(), "SIGKILL leaves the socket behind");
    site.daemon = Daemon::start(site.folder.path());
    assert_eq!(site.active(), active);
    site.daemon.signal(Signal::SIGTERM);
    assert!(site.daemon.wait().success());
    assert!(!socket.exists(), "a stop removes the socket");

    std::fs::write(&socket, "a letter").unwrap();
    let said = refusal(site.folder.path());
    assert!(said.contains("is not a socket: remove it"), "{said}");
    assert_eq!(std::fs::read_to_string(&socket).unwrap(), "a letter");
    std::fs::remove_file(&socket).unwrap();

    std::os::unix::fs::symlink(site.folder.path().join("elsewhere"), &socket).unwrap();
    let said = refusal(site.folder.path());
    assert!(said.contains("symbolic link"), "{said}");
    std::fs::remove_file(&socket).unwrap();

    let other = UnixListener::bind(&socket).unwrap();
    let said = refusal(site.folder.path());
    assert!(said.contains("another rosterd answers"), "{said}");
    drop(other);
    site.daemon = Daemon::start(site.folder.path());
    assert_eq!(site.active(), active);
}

#[test]
fn sigkill_at_any_moment_of_an_import_loses_nothing_and_repeats_nothing() {
    let mut site = Site::empty(100);
    let mut all = 0;
    // Milliseconds, from before the request arrives until after the plan was applied; 400 is the
    // yardstick.
    for after in [400, 0, 5, 10, 20, 30, 45, 60, 80, 110, 150] {
        site.daemon.signal(Signal::SIGKILL);
        site.daemon.wait();
        for file in ["rosterd.db", "rosterd.db-wal", "rosterd.db-shm"] {
            drop(std::fs::remove_file(site.folder.path().join(file)));
        }
        site.daemon = Daemon::start(site.folder.path());
        site.done("account create acme --name Acme");
        site.done("domain claim acme example.com");
        let (code, run) = site.daemon.ctl("sync corp");
        assert_eq!(code, 3, "an import beyond the limit is held: {run:#}");
        let id = site.done("held list")["held"][0]["id"].as_str().unwrap().to_owned();
        site.kill_during(&format!("held approve {id}"), after);
        until("all people are imported", || {
            site.daemon.ctl("sync corp");
            match site.done("held list")["held"][0]["id"].as_str() {
                Some(id) => drop(site.daemon.ctl(&format!("held approve {id}"))),
                None => return Some(()),
            }
            None
        });
        all = all.max(site.active());
        assert_eq!(site.active(), all, "killed after {after} ms");
        one_user_and_one_event_for_each(&site, after);
    }
}

fn one_user_and_one_event_for_each(site: &Site, after: u64) {
    let guids = |document: &Value, list: &str, path: &str| {
        let mut all: Vec<String> = document[list]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one.pointer(path).unwrap().to_string())
            .collect();
        let count = all.len();
        all.sort();
        all.dedup();
        (count, all.len())
    };
    let (users, people) = guids(&site.done("user list"), "users", "/directory/object_guid");
    assert_eq!(users, people, "killed after {after} ms: one user each");
    let created = site.done("event list --type user.created --limit 1000");
    let (events, subjects) = guids(&created, "events", "/subject");
    assert_eq!(
        (events, subjects),
        (users, users),
        "killed after {after} ms: one event for each user"
    );
    let quiet = site.done("sync corp");
    assert!(
        quiet["changes"].as_object().unwrap().values().all(|n| *n == 0),
        "killed after {after} ms: {quiet:#}"
    );
}

#[test]
fn sigkill_at_any_moment_of_a_suspension_suspends_once() {
    let mut site = Site::running();
    let users = site.done("user list --status active")["users"].as_array().unwrap().clone();
    for (user, after) in users.iter().zip([0, 10, 20, 30, 40, 60, 80, 120]) {
        let dn = user["directory"]["dn"].as_str().unwrap();
        site.sim.edit(|ad| ad.disable(dn));
        site.kill_during("sync corp", after);
        until("the person is suspended", || {
            site.daemon.ctl("sync corp");
            let id = user["id"].as_str().unwrap();
            (site.done(&format!("user show {id}"))["status"] == "suspended").then_some(())
        });
    }
    let suspended = site.done("event list --type user.suspended --limit 1000")["events"]
        .as_array()
        .unwrap()
        .len();
    assert_eq!(suspended, 8, "one event for each user");
}

#[test]
fn a_read_only_store_is_reported_and_stays_unchanged() {
    if !nix::unistd::geteuid().is_root() {
        // Only root can take the write permission from a process of its own.
        return;
    }
    let mut site = Site::running();
    let active = site.active();
    site.daemon.signal(Signal::SIGTERM);
    site.daemon.wait();
    let folder = site.folder.path().to_owned();
    let before = std::fs::read(folder.join("rosterd.db")).unwrap();

    let out = within_mounts(&folder, "mount -o remount,ro,bind \"$0\"").output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(1), "{said}");
    assert!(said.contains("read-only") || said.contains("Read-only"), "{said}");
    assert!(before == std::fs::read(folder.join("rosterd.db")).unwrap(), "the store is unchanged");

    site.daemon = Daemon::start(&folder);
    assert_eq!(
        (site.done("sync corp")["state"].as_str(), site.active()),
        (Some("succeeded"), active)
    );
}

/// A file system of its own, mounted over a folder until it is dropped.
struct Disk {
    over: std::path::PathBuf,
    image: tempfile::NamedTempFile,
}

impl Disk {
    /// Mounts one that turns read-only at its first error. `None` without loop devices or ext4 in
    /// the kernel.
    fn over(folder: &Path) -> Option<Self> {
        let image = tempfile::NamedTempFile::new().unwrap();
        image.as_file().set_len(64 << 20).unwrap();
        let disk = Self { over: folder.to_owned(), image };
        let is_made = Command::new("mkfs.ext4")
            .arg("-q")
            .arg(disk.image.path())
            .status()
            .is_ok_and(|s| s.success());
        (is_made && disk.mount()).then_some(disk)
    }

    fn mount(&self) -> bool {
        let mut mount = Command::new("mount");
        mount
            .args(["-o", "loop,errors=remount-ro"])
            .arg(self.image.path())
            .arg(&self.over)
            .stderr(Stdio::null());
        mount.status().is_ok_and(|s| s.success())
    }

    fn unmount(&self) {
        assert!(Command::new("umount").arg(&self.over).status().unwrap().success());
    }

    /// Turns the file system read-only, as an error of the disk does.
    fn fail(&self) {
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
        let device = mounts.lines().find(|l| l.split(' ').nth(1) == self.over.to_str()).unwrap();
        let device = device.split(' ').next().unwrap().trim_start_matches("/dev/");
        std::fs::write(format!("/sys/fs/ext4/{device}/trigger_fs_error"), "tested").unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // It may be unmounted already.
        let _ = Command::new("umount").arg("-l").arg(&self.over).stderr(Stdio::null()).status();
    }
}

#[test]
fn a_disk_that_turns_read_only_is_reported_and_the_next_run_completes_the_work() {
    let mut site = Site::running();
    site.daemon.signal(Signal::SIGTERM);
    site.daemon.wait();
    let folder = site.folder.path().to_owned();
    let copy = tempfile::tempdir().unwrap();
    let copied = |from: &Path, to: &Path| {
        Command::new("cp").arg("-a").arg(from.join(".")).arg(to).status().unwrap().success()
    };
    assert!(copied(&folder, copy.path()));
    let Some(disk) = nix::unistd::geteuid().is_root().then(|| Disk::over(&folder)).flatten() else {
        eprintln!("skipped: there are no loop devices, no ext4, or no right to mount");
        return;
    };
    assert!(copied(copy.path(), &folder));
    // Unwritten pages would be lost with the journal.
    assert!(Command::new("sync").arg("-f").arg(&folder).status().unwrap().success());
    site.daemon = Daemon::start(&folder);
    let active = site.active();
    let dn = site.done("user list --status active")["users"][0]["directory"]["dn"]
        .as_str()
        .unwrap()
        .to_owned();
    site.sim.edit(|ad| ad.disable(dn.as_str()));
    disk.fail();
    let (code, said) = site.daemon.ctl("sync corp");
    assert_eq!(code, 1, "{said:#}");
    assert!(said.to_string().contains("disk full, read-only or broken?"), "{said:#}");
    assert_eq!(site.active(), active, "the last good state is still served");
    let directory = &site.done("status")["directories"][0];
    assert_eq!(directory["state"], "degraded", "{directory:#}");
    site.daemon.signal(Signal::SIGTERM);
    site.daemon.wait();
    disk.unmount();
    assert!(disk.mount());
    site.daemon = Daemon::start(&folder);
    until("the next run does the rest", || {
        site.daemon.ctl("sync corp");
        (site.active() == active - 1).then_some(())
    });
    site.daemon.signal(Signal::SIGTERM);
    site.daemon.wait();
}

/// Returns a daemon in a private mount namespace, after this command was run in it.
fn within_mounts(folder: &Path, first: &str) -> Command {
    let mut command = Command::new("unshare");
    let script = format!("mount --bind \"$0\" \"$0\" && {first} && exec \"$@\"");
    command.args(["--mount", "sh", "-c", &script]).arg(folder).arg(env!("CARGO_BIN_EXE_rosterd"));
    command.arg("--config").arg(folder.join("rosterd.toml")).stdin(Stdio::null());
    command
}

#[test]
fn damaged_pages_of_the_store_are_reported_at_the_start_and_while_running() {
    let mut site = Site::running();
    site.daemon.signal(Signal::SIGTERM);
    site.daemon.wait();
    let file = site.folder.path().join("rosterd.db");
    let good = std::fs::read(&file).unwrap();

    // The first pages stay intact, so that the file opens.
    overwrite(&file, 3 * 4096);
    let said = refusal(site.folder.path());
    assert!(said.contains("damaged") && said.contains("backup"), "{said}");

    std::fs::write(&file, &good).unwrap();
    site.daemon = Daemon::start(site.folder.path());
    site.sim.edit(|ad| {
        for person in ad.people() {
            ad.set(person, "title", "Keeper of the Minutes");
        }
    });
    // Caches and the write-ahead log hide the file's contents, so they are written back first.
    site.done("sync corp");
    site.daemon.signal(Signal::SIGTERM);
    site.daemon.wait();
    site.daemon = Daemon::start(site.folder.path());
    until("the first run is over", || site.status()["last_success"].as_str().map(drop));
    overwrite(&file, 3 * 4096);
    let told = until("it is noticed", || {
        site.sim.edit(|ad| {
            for person in ad.people() {
                ad.set(person, "department", "Archive");
            }
        });
        let (_, problem) = site.daemon.ctl("sync corp");
        problem.to_string().contains("damaged").then_some(problem)
    });
    assert!(told.to_string().contains("backup"), "{told:#}");
}

/// Overwrites every other page from an offset on with noise.
fn overwrite(file: &Path, from: u64) {
    let length = std::fs::metadata(file).unwrap().len();
    let mut file = std::fs::File::options().write(true).open(file).unwrap();
    for at in (from..length).step_by(2 * 4096) {
        file.seek(SeekFrom::Start(at)).unwrap();
        file.write_all(&[0xa5; 4096]).unwrap();
    }
    file.sync_all().unwrap();
}

#[test]
fn a_daemon_without_file_descriptors_reports_it_and_recovers() {
    let site = Site::running();
    let active = site.active();
    let users = site.done("user list --status active")["users"].as_array().unwrap().clone();
    site.sim.edit(|ad| ad.disable(users[0]["directory"]["dn"].as_str().unwrap()));
    let pid = site.daemon.pid();
    let open = || std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    let few = open() + 6;
    limit_descriptors(pid, few);
    // Idle callers hold every file descriptor.
    let socket = site.folder.path().join("control.sock");
    let callers: Vec<UnixStream> =
        (0..40).filter_map(|_| UnixStream::connect(&socket).ok()).collect();
    until("nothing is left", || (open() >= few - 1).then_some(()));
    std::thread::sleep(Duration::from_millis(200));
    drop(callers);

    // With two or three free descriptors a run fails with a message or succeeds. It does not hang.
    limit_descriptors(pid, open().min(few) + 2);
    let (code, run) = site.daemon.ctl("sync corp");
    assert!(code == 0 || run.to_string().contains("open files"), "{code} {run:#}");
    limit_descriptors(pid, 1024);
    until("it answers as before", || (site.daemon.ctl("sync corp").0 == 0).then_some(()));
    assert_eq!(site.active(), active - 1, "only the disabled user is suspended");
    let mut alive = UnixStream::connect(&socket).unwrap();
    alive
        .write_all(b"GET /v1/status HTTP/1.1\r\nHost: rosterd\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    alive.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

fn limit_descriptors(pid: u32, count: usize) {
    let done = Command::new("prlimit")
        .arg(format!("--pid={pid}"))
        .arg(format!("--nofile={count}:4096"))
        .status();
    assert!(done.unwrap().success());
}
