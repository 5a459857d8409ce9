//! Tests on a real Active Directory domain controller (Samba), an independent implementation.
//!
//! [`Lab`] is one controller: one folder, one loopback address, removed when dropped. [`branch`]
//! runs the engine over it in process, [`office`] the two binaries. [`replicas`] is two controllers
//! of one domain; the other modules are the tests.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::path::Path;
use std::process::Stdio;

use self::controller::{Controller, facts, script, text};
use crate::folder::Directory;

mod binding;
mod branch;
mod callers;
mod check;
mod console;
mod controller;
mod day;
mod domains;
mod further_servers;
mod groups;
mod kerberos;
mod leavers;
mod live;
mod names;
mod office;
mod outage;
mod people;
mod read_only;
mod replicas;
mod rights;
mod scope;
mod sign_in;
mod sites;
mod targets;

/// The domain's naming context.
pub(crate) const DOMAIN: &str = "DC=corp,DC=example,DC=com";
/// The group that makes people Pro.
pub(crate) const PRO: &str = "CN=Roster Pro,OU=Groups,DC=corp,DC=example,DC=com";
/// The group that makes people Basic.
pub(crate) const BASIC: &str = "CN=Roster Basic,OU=Groups,DC=corp,DC=example,DC=com";
/// Seconds between 1601, the epoch of Windows, and 1970.
const EPOCH: i64 = 11_644_473_600;

/// A domain controller of one test.
#[derive(Debug)]
pub(crate) struct Lab {
    controller: Controller,
    facts: BTreeMap<String, String>,
    folder: tempfile::TempDir,
}

/// Returns the DN of an object below OU=Staff.
pub(crate) fn staff(ou: &str, name: &str) -> String {
    format!("CN={name},OU={ou},OU=Staff,{DOMAIN}")
}

/// Returns a time in the form of accountExpires.
pub(crate) fn file_time(unix_seconds: i64) -> String {
    ((unix_seconds + EPOCH) * 10_000_000).to_string()
}

/// Returns a folder for a lab and the files of its test, below `$ROSTERD_LAB_DIR`, so that tests/run can
/// clean up after a killed test.
fn folder() -> tempfile::TempDir {
    assert!(
        std::env::var_os("ROSTERD_LAB").is_some(),
        "this test needs a real domain controller: run tests/run, or run tests/lab/install as root and set ROSTERD_LAB=1"
    );
    let folder = match std::env::var_os("ROSTERD_LAB_DIR") {
        Some(parent) => tempfile::tempdir_in(parent),
        None => tempfile::tempdir(),
    };
    folder.expect("a folder for the lab")
}

impl Lab {
    /// Starts a controller of the recipe's domain and waits until it answers.
    pub(crate) fn start() -> Self {
        Self::start_of("")
    }

    /// Does the same by the Samba in a tree of another Debian, or by that of this machine.
    pub(crate) fn start_of(tree: &str) -> Self {
        let folder = folder();
        let controller = Controller { script: "samba", dir: folder.path().join("dc"), host: None };
        let mut command = script("samba");
        command.arg("start").arg(&controller.dir).env("ROSTERD_LAB_TREE", tree);
        let done = command.stdin(Stdio::null()).output().expect("the script");
        let facts = facts(&text(done, "start"));
        Self { controller, facts, folder }
    }

    /// Returns a value that `samba start` printed.
    pub(crate) fn fact(&self, name: &str) -> &str {
        self.facts.get(name).unwrap_or_else(|| panic!("the lab printed no {name}"))
    }

    /// Returns the values of a directory on this controller, from `base` on.
    pub(crate) fn directory(&self, base: &str) -> Directory {
        let [url, ca_file, bind_dn, password_file] =
            ["LAB_URL", "LAB_CA_FILE", "LAB_BIND_UPN", "LAB_PASSWORD_FILE"]
                .map(|name| self.fact(name).to_owned());
        Directory { url, ca_file, bind_dn, password_file, base: base.to_owned() }
    }

    /// Returns a folder for the files of the test.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }
}

impl Deref for Lab {
    type Target = Controller;

    fn deref(&self) -> &Controller {
        &self.controller
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // The next lab that finds no free address reports a failure here.
        let _ = script("samba").arg("remove").arg(&self.dir).stdin(Stdio::null()).status();
    }
}
