//! The configuration: problems with their places and remedies, and the shipped files.

mod mail;
mod parts;
mod problems;
mod secrets;
mod settings;
mod shipped;
mod targets;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use rosterd::config::{Config, Problems};
use rosterd::sources::Source;

const SHIPPED: &str = include_str!("../../../config/rosterd.toml");
const MINIMAL: &str = include_str!("../../../config/examples/minimal.toml");
const KERBEROS: &str = include_str!("../../../config/examples/kerberos.toml");

/// A machine whose `/etc/rosterd` is a temporary folder.
struct Machine {
    etc: tempfile::TempDir,
}

impl Machine {
    fn new() -> Self {
        let machine = Self { etc: tempfile::tempdir().expect("a directory") };
        let ca = rcgen::generate_simple_self_signed(["ca.example.com".to_owned()])
            .expect("a certificate");
        machine.file("corp.password", "correct horse\n", 0o640);
        machine.file("store.password", "correct staple\n", 0o600);
        machine.file("store-ca.pem", &ca.cert.pem(), 0o644);
        machine.file("mail.password", "correct battery\n", 0o640);
        machine.file("mail-ca.pem", &ca.cert.pem(), 0o644);
        machine.file("slack.token", "xoxp-1\n", 0o600);
        machine.file("corp-ca.pem", &ca.cert.pem(), 0o644);
        machine.file("krb5.conf", "[libdefaults]\n", 0o644);
        machine.bytes("corp.keytab", &keytab(&["svc-rosterd"]), 0o640);
        machine.file("events.key", "0123456789abcdef0123456789abcdef0123456789\n", 0o600);
        machine.file("siem.secret", "whsec_c2VjcmV0\nwhsec_b2xkZXI=\n", 0o600);
        machine
    }

    fn file(&self, name: &str, text: &str, mode: u32) {
        self.bytes(name, text.as_bytes(), mode);
    }

    fn bytes(&self, name: &str, content: &[u8], mode: u32) {
        let path = self.etc.path().join(name);
        fs::write(&path, content).expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("a mode");
    }

    fn prefix(&self) -> String {
        format!("{}/", self.etc.path().display())
    }

    fn parse(&self, text: &str) -> Result<Config, Problems> {
        self.parse_parts(text, &[])
    }

    /// Parses a main file with parts.
    fn parse_parts(&self, text: &str, parts: &[(&str, &str)]) -> Result<Config, Problems> {
        let main = Path::new("rosterd.toml");
        let here = |text: &str| text.replace("/etc/rosterd/", &self.prefix());
        let parts = parts.iter().map(|(name, text)| Source::part(main, name, &here(text)));
        let sources: Vec<_> =
            std::iter::once(Source::main(main, &here(text))).chain(parts).collect();
        Config::parse(&sources, Some(self.etc.path()))
    }

    /// Returns the configuration of a valid text.
    fn config(&self, text: &str) -> Config {
        self.parse(text).unwrap_or_else(|problems| panic!("{problems}"))
    }

    /// Returns the problems of an invalid text as they print.
    fn problems(&self, text: &str) -> String {
        self.parse(text).expect_err("problems").to_string().replace(&self.prefix(), "/etc/rosterd/")
    }
}

/// Returns a keytab with one AES key for each account of CORP.EXAMPLE.COM.
pub(crate) fn keytab(accounts: &[&str]) -> Vec<u8> {
    let counted =
        |bytes: &[u8]| [&[0, u8::try_from(bytes.len()).expect("short")][..], bytes].concat();
    let record = |account: &&str| {
        let name = [counted(b"CORP.EXAMPLE.COM"), counted(account.as_bytes())].concat();
        // One component; name type 1, no time, kvno 3, aes256-cts-hmac-sha1-96.
        let record = [&[0, 1][..], &name, &[0, 0, 0, 1, 0, 0, 0, 0, 3, 0, 18], &counted(&[7; 32])];
        let record = record.concat();
        [&u32::try_from(record.len()).expect("short").to_be_bytes()[..], &record].concat()
    };
    [vec![5, 2], accounts.iter().flat_map(record).collect()].concat()
}

/// Removes the comment sign before each key and section.
fn uncomment(text: &str, sign: &str) -> String {
    let is_setting = |rest: &str| {
        let key = rest.split(" = ").next().unwrap_or_default();
        (rest.starts_with('[') && rest.ends_with(']'))
            || (rest.contains(" = ")
                && key.chars().all(|c| c.is_ascii_alphanumeric() || "-.[]\"".contains(c)))
    };
    let line = |line: &str| match line.strip_prefix(sign) {
        // The two lines of the legend are no keys.
        Some(rest) if is_setting(rest) && !rest.starts_with("key = ") => rest.to_owned(),
        _ => line.to_owned(),
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

/// Returns the shipped file with all its defaults and examples in force.
fn everything() -> String {
    uncomment(&uncomment(SHIPPED, "# "), "#")
}
