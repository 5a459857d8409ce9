//! `rosterd` as a process of its own, driven through `rosterctl`, and what it has taken of the machine.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use nix::sys::signal::{Signal, kill};
use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;
use serde_json::Value;

use crate::front::Front;
use crate::population::{READER, ROOT, TIER_GROUPS};
use crate::server::PASSWORD;

/// Writes everything a daemon in this folder is started with.
pub fn configure(folder: &Path, front: &Front) -> anyhow::Result<()> {
    std::fs::write(folder.join("ca.pem"), &front.ca)?;
    let password = folder.join("password");
    std::fs::write(&password, PASSWORD)?;
    std::fs::set_permissions(&password, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    let ([pro, basic], port, folder_name) = (TIER_GROUPS, front.port, folder.display());
    let text = format!(
        r#"
[store]
url = "sqlite://{folder_name}/rosterd.db"
[control]
socket = "{folder_name}/control.sock"
[domains]
trusted = ["example.com"]
[[directory]]
name = "corp"
account = "acme"
servers = ["ldaps://127.0.0.1:{port}"]
ca-file = "{folder_name}/ca.pem"
bind-dn = "{READER}"
password-file = "{folder_name}/password"
base = ["{ROOT}"]
pro-groups = ["{pro}"]
basic-groups = ["{basic}"]
schedule = "@yearly"
live = false
timeouts = {{ connect = "5s", operation = "10m", run = "6h" }}
"#
    );
    Ok(std::fs::write(folder.join("rosterd.toml"), text)?)
}

/// What is measured.
#[derive(Clone, Debug)]
pub struct Programs {
    /// The daemon.
    pub rosterd: PathBuf,
    /// The client that drives it.
    pub rosterctl: PathBuf,
}

/// A running rosterd.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    rosterctl: PathBuf,
    socket: PathBuf,
}

impl Daemon {
    /// Starts one, and waits until it answers and its first run has ended.
    pub fn start(folder: &Path, programs: &Programs) -> anyhow::Result<Self> {
        let log = File::options().create(true).append(true).open(folder.join("rosterd.log"))?;
        let mut command = Command::new(&programs.rosterd);
        command.arg("--config").arg(folder.join("rosterd.toml")).stdin(Stdio::null());
        let child = command.stdout(log.try_clone()?).stderr(log).spawn().context("rosterd")?;
        let mut daemon = Self { child, rosterctl: programs.rosterctl.clone(), socket: folder.join("control.sock") };
        let (begun, at) = (Instant::now(), rosterd::clock::Clock::system().now().to_string());
        while !daemon.command("status").stdout(Stdio::null()).stderr(Stdio::null()).status()?.success() {
            ensure!(daemon.child.try_wait()?.is_none(), "rosterd has ended: see {}/rosterd.log", folder.display());
            ensure!(begun.elapsed() < Duration::from_secs(30), "rosterd does not answer");
            std::thread::sleep(Duration::from_millis(20));
        }
        loop {
            let runs = daemon.ctl("run list --limit 1")?;
            let newest = &runs["runs"][0];
            if newest["started_at"].as_str() >= Some(at.as_str()) && newest["state"] != "running" {
                return Ok(daemon);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn command(&self, words: &str) -> Command {
        let mut command = Command::new(&self.rosterctl);
        command.args(["--json", "--yes", "--socket"]).arg(&self.socket).args(words.split_whitespace()).stdin(Stdio::null());
        command
    }

    /// One command; whatever it was asked to do has been done, or waits for an operator.
    pub fn ctl(&self, words: &str) -> anyhow::Result<Value> {
        let done = self.command(words).output()?;
        let told = || format!("rosterctl {words}: {}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
        ensure!(matches!(done.status.code(), Some(0 | 3)), told());
        serde_json::from_slice(&done.stdout).with_context(told)
    }

    /// The CPU time it has taken, user and system, all threads.
    pub fn cpu(&self) -> anyhow::Result<Duration> {
        let clock = clock_getcpuclockid(Pid::from_raw(self.child.id().cast_signed()))?;
        Ok(clock_gettime(clock)?.into())
    }

    /// The most memory it has ever held, in MiB.
    pub fn peak(&self) -> anyhow::Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
        let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
        Ok(kib / 1024.0)
    }

    /// Ends it as an administrator would, and waits.
    pub fn stop(mut self) -> anyhow::Result<()> {
        kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGTERM)?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
