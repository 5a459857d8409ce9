//! A domain controller as its administrator sees it.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A domain controller of a lab.
#[derive(Debug)]
pub(crate) struct Controller {
    /// The program below tests/lab.
    pub(super) script: &'static str,
    pub(super) dir: PathBuf,
    /// The host, in a lab with several.
    pub(super) host: Option<&'static str>,
}

/// Returns a program below tests/lab.
pub(super) fn script(name: &str) -> Command {
    Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lab").join(name))
}

/// Returns the output of a program that must succeed.
pub(super) fn text(done: Output, verb: &str) -> String {
    let errors = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "the lab's {verb}: {}\n{errors}", done.status);
    String::from_utf8(done.stdout).expect("text")
}

/// Parses the KEY=VALUE lines of a script.
pub(super) fn facts(lines: &str) -> BTreeMap<String, String> {
    let lines = lines.lines().filter_map(|line| line.split_once('='));
    lines.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

impl Controller {
    /// Runs a verb of its script. Returns the output.
    pub(crate) fn samba(&self, verb: &str, arguments: &[&str]) -> String {
        let mut command = self.command(verb);
        let done = command.args(arguments).stdin(Stdio::null()).output().expect("the script");
        text(done, verb)
    }

    fn command(&self, verb: &str) -> Command {
        let mut command = script(self.script);
        command.arg(verb).arg(&self.dir).args(self.host);
        command
    }

    /// Changes the directory as its administrator.
    pub(crate) fn ldif(&self, ldif: &str) {
        let mut child = self
            .command("ldapmodify")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the script");
        child.stdin.take().expect("a pipe").write_all(ldif.as_bytes()).expect("LDIF");
        text(child.wait_with_output().expect("the script"), ldif);
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

    /// Returns the highest USN of the server.
    pub(crate) fn highest_usn(&self) -> u64 {
        let root = self.samba("search", &["-s", "base", "-b", "", "highestCommittedUSN"]);
        let line = root.lines().find_map(|line| line.strip_prefix("highestCommittedUSN: "));
        line.and_then(|usn| usn.parse().ok()).unwrap_or_else(|| panic!("no USN in {root}"))
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
