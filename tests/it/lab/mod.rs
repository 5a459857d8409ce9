//! Tests on a real Active Directory domain controller (Samba), an independent implementation.
//!
//! [`Lab`] is the controller: one folder, one loopback address, removed when dropped. [`branch`]
//! runs the engine over it in process, [`office`] the two binaries; the other modules are the
//! tests.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::folder::Directory;

mod binding;
mod branch;
mod callers;
mod check;
mod day;
mod groups;
mod leavers;
mod live;
mod office;
mod outage;
mod people;
mod rights;
mod sign_in;

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
    facts: BTreeMap<String, String>,
    dir: PathBuf,
    /// Below `$ROSTERD_LAB_DIR`, so that tests/run can clean up after a killed test.
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

fn script() -> Command {
    Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lab/samba"))
}

impl Lab {
    /// Starts a controller of the recipe's domain and waits until it answers.
    pub(crate) fn start() -> Self {
        assert!(
            std::env::var_os("ROSTERD_LAB").is_some(),
            "this test needs a real domain controller: run tests/run, or run tests/lab/install as root and set ROSTERD_LAB=1"
        );
        let folder = match std::env::var_os("ROSTERD_LAB_DIR") {
            Some(parent) => tempfile::tempdir_in(parent),
            None => tempfile::tempdir(),
        };
        let folder = folder.expect("a folder for the lab");
        let dir = folder.path().join("dc");
        let started =
            script().arg("start").arg(&dir).stdin(Stdio::null()).output().expect("tests/lab/samba");
        let lines = text(started, "start");
        let facts = lines
            .lines()
            .filter_map(|line| line.split_once('='))
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .collect();
        Self { facts, dir, folder }
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

    /// Runs a verb of the lab's script. Returns its output.
    pub(crate) fn samba(&self, verb: &str, arguments: &[&str]) -> String {
        let done = script()
            .arg(verb)
            .arg(&self.dir)
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .expect("tests/lab/samba");
        text(done, verb)
    }

    /// Changes the directory as its administrator.
    pub(crate) fn ldif(&self, ldif: &str) {
        let mut child = script()
            .arg("ldapmodify")
            .arg(&self.dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("tests/lab/samba");
        child.stdin.take().expect("a pipe").write_all(ldif.as_bytes()).expect("LDIF");
        text(child.wait_with_output().expect("tests/lab/samba"), ldif);
    }

    /// Replaces attributes of one object; an empty value removes the attribute.
    pub(crate) fn set(&self, dn: &str, attributes: &[(&str, &str)]) {
        let line = |(name, value): &(&str, &str)| match *value {
            "" => format!("replace: {name}\n-\n"),
            value => format!("replace: {name}\n{name}: {value}\n-\n"),
        };
        self.ldif(&format!(
            "dn: {dn}\nchangetype: modify\n{}",
            attributes.iter().map(line).collect::<String>()
        ));
    }

    pub(crate) fn disable(&self, dn: &str) {
        self.set(dn, &[("userAccountControl", "514")]);
    }

    pub(crate) fn enable(&self, dn: &str) {
        self.set(dn, &[("userAccountControl", "512")]);
    }

    /// Adds an enabled person with the address account@example.com and the lab's password.
    pub(crate) fn hire(&self, dn: &str, account: &str, group: &str) {
        // A membership is written on the group.
        self.ldif(&format!(
            "dn: {dn}\nchangetype: add\nobjectClass: user\nsAMAccountName: {account}\nmail: {account}@example.com\n\
             userAccountControl: 544\n\n"
        ));
        self.join(group, dn);
    }

    pub(crate) fn delete(&self, dn: &str) {
        self.ldif(&format!("dn: {dn}\nchangetype: delete\n"));
    }

    pub(crate) fn rename(&self, dn: &str, rdn: &str) {
        self.ldif(&format!("dn: {dn}\nchangetype: modrdn\nnewrdn: {rdn}\ndeleteoldrdn: 1\n"));
    }

    pub(crate) fn move_to(&self, dn: &str, parent: &str) {
        let rdn = dn.split(',').next().unwrap_or(dn);
        self.ldif(&format!(
            "dn: {dn}\nchangetype: modrdn\nnewrdn: {rdn}\ndeleteoldrdn: 1\nnewsuperior: {parent}\n"
        ));
    }

    pub(crate) fn join(&self, group: &str, member: &str) {
        self.ldif(&format!("dn: {group}\nchangetype: modify\nadd: member\nmember: {member}\n"));
    }

    pub(crate) fn leave(&self, group: &str, member: &str) {
        self.ldif(&format!("dn: {group}\nchangetype: modify\ndelete: member\nmember: {member}\n"));
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // The next lab that finds no free address reports a failure here.
        let _ = script().arg("remove").arg(&self.dir).stdin(Stdio::null()).status();
    }
}

fn text(done: Output, what: &str) -> String {
    let told = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "tests/lab/samba {what}: {}\n{told}", done.status);
    String::from_utf8(done.stdout).expect("text")
}
