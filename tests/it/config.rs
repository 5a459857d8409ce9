//! The configuration: problems with their places and remedies, and the shipped files.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::time::Duration;

use rosterd::config::{self, Config, Problems, Receiver, Servers};
use rosterd::model::{
    Adopt, AttributeNames, ChangeClass, Credential, Discovery, Dn, DriftAction, LeaverAction,
    MailTls, Mode, Program, Rate, ServerUrl, StoreAt, TargetCredential, Tier,
};
use rosterd::reconcile::provision::{DEFAULT_MAPPING, Paging};
use rosterd::reconcile::{Limit, Limits};
use rosterd::sources::Source;

use crate::files::{rust_files, text_of};

const SHIPPED: &str = include_str!("../../config/rosterd.toml");
const MINIMAL: &str = include_str!("../../config/examples/minimal.toml");
const KERBEROS: &str = include_str!("../../config/examples/kerberos.toml");

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

#[test]
fn a_further_attribute_that_is_a_secret_or_read_already_is_refused() {
    let machine = Machine::new();
    let extra = |names: &str| {
        let key = format!("name = \"corp\"\nextra = [{names}]");
        machine.parse(&MINIMAL.replacen("name = \"corp\"", &key, 1))
    };
    let config = extra("\"division\", \"extensionAttribute1\"").expect("a configuration");
    assert_eq!(config.directories[0].attributes.extra, ["division", "extensionAttribute1"]);
    for (names, why) in [
        (
            "\"unicodePwd\"",
            "\"unicodePwd\" holds a secret, which no program gets from rosterd: remove it",
        ),
        ("\"msLAPS-Password\"", "holds a secret"),
        ("\"mail\"", "rosterd reads \"mail\" already: remove it"),
        ("\"memberOf\"", "rosterd reads \"memberOf\" already"),
        ("\"samaccountname\"", "rosterd reads \"samaccountname\" already"),
        ("\"division\", \"Division\"", "\"Division\" is listed twice: remove one"),
        ("\"a b\"", "\"a b\" is not the name of an attribute"),
    ] {
        let told = extra(names).expect_err(names).to_string();
        assert!(told.contains(why), "{told}");
    }
}

#[test]
fn the_shipped_file_equals_the_minimal_file_with_all_defaults() {
    let machine = Machine::new();
    let minimal = machine.config(MINIMAL);
    assert_eq!(machine.config(SHIPPED), minimal);
    let written_out = uncomment(SHIPPED, "#");
    assert!(
        written_out.lines().count() == SHIPPED.lines().count()
            && written_out.len() + 40 < SHIPPED.len(),
        "nothing was uncommented"
    );
    assert_eq!(machine.config(&written_out), minimal);
}

#[test]
fn the_shipped_examples_are_valid_except_for_alternatives() {
    insta::assert_snapshot!(Machine::new().problems(&everything()), @r#"
    rosterd.toml:20:1: password-file belongs to a PostgreSQL: remove it, or write url = "postgres://USER@HOST/DATABASE"
    rosterd.toml:22:1: password-credential belongs to a PostgreSQL: remove it, or write url = "postgres://USER@HOST/DATABASE"
    rosterd.toml:22:1: there are both password-file and password-credential: remove one of them
    rosterd.toml:22:23: systemd gave no credential "store": add LoadCredential=store:/etc/rosterd/store.password to the unit, or use password-file
    rosterd.toml:24:1: ca-file belongs to a PostgreSQL: remove it, or write url = "postgres://USER@HOST/DATABASE"
    rosterd.toml:104:1: there are both key-file and key-credential: remove one of them
    rosterd.toml:104:18: systemd gave no credential "events": add LoadCredential=events:/etc/rosterd/events.key to the unit, or use key-file
    rosterd.toml:125:1: there are both servers and discover: remove one of them
    rosterd.toml:143:1: there are both password-file and password-credential: remove one of them
    rosterd.toml:143:23: systemd gave no credential "corp": add LoadCredential=corp:/etc/rosterd/corp.password to the unit, or use password-file
    rosterd.toml:146:1: keytab belongs to a bind by Kerberos: remove it, or write bind = "kerberos"
    rosterd.toml:148:1: keytab-credential belongs to a bind by Kerberos: remove it, or write bind = "kerberos"
    rosterd.toml:148:1: there are both keytab and keytab-credential: remove one of them
    rosterd.toml:148:21: systemd gave no credential "corp": add LoadCredential=corp:/etc/rosterd/corp.keytab to the unit, or use keytab
    rosterd.toml:150:1: principal belongs to a bind by Kerberos: remove it, or write bind = "kerberos"
    rosterd.toml:153:1: krb5-conf belongs to a bind by Kerberos: remove it, or write bind = "kerberos"
    rosterd.toml:253:1: there are both password-file and password-credential: remove one of them
    rosterd.toml:253:23: systemd gave no credential "mail": add LoadCredential=mail:/etc/rosterd/mail.password to the unit, or use password-file
    rosterd.toml:312:1: there are both secret-file and secret-credential: remove one of them
    rosterd.toml:312:21: systemd gave no credential "siem": add LoadCredential=siem:/etc/rosterd/siem.secret to the unit, or use secret-file
    rosterd.toml:343:1: there are both token-file and token-credential: remove one of them
    rosterd.toml:343:20: systemd gave no credential "slack": add LoadCredential=slack:/etc/rosterd/slack.token to the unit, or use token-file
    rosterd.toml:386:1: there are both client-secret-file and client-secret-credential: remove one of them
    rosterd.toml:386:28: systemd gave no credential "slack": add LoadCredential=slack:/etc/rosterd/slack.secret to the unit, or use client-secret-file
    "#);
}

#[test]
fn every_key_occurs_in_the_shipped_file() {
    let text = everything();
    let file: toml::Value = toml::from_str(&text).expect("TOML");
    for key in config::keys() {
        // Keys that a directory can override are explained once.
        let path = key.replace("directory.safety.", "safety.");
        let path = path.replace("target.safety.", "safety.");
        let mut found = vec![&file];
        for part in path.split('.') {
            found = found
                .iter()
                .filter_map(|v| v.get(part))
                .flat_map(|v| {
                    v.as_array()
                        .filter(|a| a.iter().all(toml::Value::is_table) && !a.is_empty())
                        .map_or(vec![v], |a| a.iter().collect())
                })
                .collect();
        }
        assert!(
            !found.is_empty() || path == "safety.confirmed.at-most",
            "{key} is missing from config/rosterd.toml"
        );
    }
}

#[test]
fn a_hook_can_ask_for_every_event_that_is_recorded() {
    const OTHER_TEXTS: [&str; 4] = ["ann.lee", "emails.value", "example.com", "rosterd.db"];
    let is_word = |text: &str| {
        text.len() >= 3 && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
    };
    let is_type = |text: &str| {
        text.split_once('.').is_some_and(|(family, rest)| is_word(family) && is_word(rest))
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut recorded = 0;
    let mut unknown: Vec<String> = Vec::new();
    for file in ["engine", "store"].iter().flat_map(|room| rust_files(&root.join(room))) {
        let text = text_of(&file);
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        for text in code.flat_map(|line| line.split('"').skip(1).step_by(2)) {
            if !is_type(text) || OTHER_TEXTS.contains(&text) {
                continue;
            }
            recorded += 1;
            if !rosterd::model::EVENT_TYPES.contains(&text) {
                unknown.push(format!("{}: {text}", file.display()));
            }
        }
    }
    assert!(recorded > 60, "{recorded} types of events were found");
    assert_eq!(unknown, [""; 0]);
}

#[test]
fn the_guide_lists_every_type_of_event() {
    let guide = include_str!("../../docs/guide/hooks.md");
    let missing =
        rosterd::model::EVENT_TYPES.iter().filter(|kind| !guide.contains(&format!("`{kind}`")));
    assert_eq!(missing.collect::<Vec<_>>(), [&""; 0]);
}

#[test]
fn an_absent_key_has_the_default_of_its_type() {
    let machine = Machine::new();
    let corp = machine.config(MINIMAL).directories.remove(0);
    assert_eq!((corp.limits, corp.attributes), (Limits::default(), AttributeNames::default()));
    assert_eq!(machine.config("").directories, []);
}

#[test]
fn a_file_with_ten_mistakes_has_ten_problems_with_their_lines() {
    let text = r#"
[schedule]
timezone = "Berlin"

[safety]
grace-period = "ten minutes"
gone = { percent = 120 }

[[directory]]
name = "corp"
account = "Acme Inc"
servers = ["ldap://dc1.example.com", "ldaps://dc2.example.com:3268"]
bind_dn = "svc-rosterd@corp.example.com"
bind-dn = "svc-rosterd@corp.example.com"
password = "correct horse"
password-file = "/etc/rosterd/corp.password"
base = ["DC=example,DC=com", "OU=Staff,DC=example,DC=com"]
schedule = "61 * * * *"
"#;
    let machine = Machine::new();
    assert_eq!(machine.parse(text).map_err(|problems| problems.len()), Err(10));
    insta::assert_snapshot!(machine.problems(text), @r#"
    rosterd.toml:3:12: there is no time zone "Berlin": did you mean Europe/Berlin?
    rosterd.toml:6:16: "ten minutes" is not a duration: write a number and a unit, such as "30s", "10m", "24h" or "7d"
    rosterd.toml:7:20: percent is a number from 0 to 100, not 120
    rosterd.toml:11:11: "Acme Inc" is not an account handle: use 1 to 63 of a-z, 0-9 and -
    rosterd.toml:12:12: no bind is sent without TLS: write ldaps://dc1.example.com, or starttls = true
    rosterd.toml:12:38: "ldaps://dc2.example.com:3268" is the global catalog, which does not hold accountExpires and other attributes that rosterd decides by: use port 636
    rosterd.toml:13:1: there is no key bind_dn in [directory]: did you mean bind-dn?
    rosterd.toml:15:1: password is never inline: write it to a file that only rosterd can read, and name that in password-file
    rosterd.toml:17:30: the bases "DC=example,DC=com" and "OU=Staff,DC=example,DC=com" overlap: remove the inner one
    rosterd.toml:18:12: "61 * * * *" is not a schedule: write five fields (minute hour day month weekday), six with seconds first, or @hourly, @daily, @weekly
    "#);
}

const MAIL: &str = r#"
[mail]
server = "mail.example.com"
from = "rosterd <rosterd@example.com>"
to = ["it-team@example.com"]
"#;

#[test]
fn a_mail_section_is_a_hook_with_starttls_and_a_digest() {
    let machine = Machine::new();
    let config = machine.config(MAIL);
    let [hook] = config.hooks.as_slice() else { panic!("one hook") };
    let Receiver::Mail(mail) = &hook.receiver else { panic!("a mail server") };
    assert_eq!((hook.name.as_str(), mail.port, mail.tls), ("mail", 587, MailTls::StartTls));
    assert!(hook.events.contains(&"run.held".to_owned()) && config.digest.is_some());
    for (keys, port, has_digest) in [
        ("tls = \"tls\"", 465, true),
        ("port = 2525\ndigest = \"off\"", 2525, false),
        ("digest = \"30 6 * * mon-fri\"", 587, true),
    ] {
        let config = machine.config(&format!("{MAIL}{keys}\n"));
        let Receiver::Mail(mail) = &config.hooks[0].receiver else { panic!("a mail server") };
        assert_eq!((mail.port, config.digest.is_some()), (port, has_digest), "{keys}");
    }
    let here = MAIL.replace("mail.example.com", "localhost") + "tls = \"off\"\n";
    assert!(machine.parse(&here).is_ok());
    assert_eq!(machine.config("").digest, None);
    let login = "user = \"rosterd\"\npassword-file = \"/etc/rosterd/mail.password\"\n";
    let config = machine.config(&format!("{MAIL}{login}"));
    let Receiver::Mail(mail) = &config.hooks[0].receiver else { panic!("a mail server") };
    assert_eq!(mail.login.as_ref().map(|login| login.user.as_str()), Some("rosterd"));
}

#[test]
fn a_wrong_mail_section_is_reported_with_line_and_remedy() {
    let text = r#"
[mail]
server = "https://mail.example.com"
tls = "ssl"
from = "rosterd"
to = []
events = ["run.hold"]
user = "rosterd"
digest = "at seven"

[[hook]]
name = "mail"
events = ["*"]
exec = ["/bin/true"]
"#;
    insta::assert_snapshot!(Machine::new().problems(text), @r#"
    rosterd.toml:2:1: password-file is missing: write password-file = "/etc/rosterd/mail.password"
    rosterd.toml:3:10: "https://mail.example.com" is not the name of a server: write mail.example.com, and the port as port = 587
    rosterd.toml:4:7: "ssl" is not known here: write "starttls" or "tls" or "off"
    rosterd.toml:5:8: "rosterd" is not a mail address: write it-team@example.com, or "IT <it-team@example.com>"
    rosterd.toml:6:1: to is empty, so no mail is sent: write an address
    rosterd.toml:7:11: there is no event "run.hold": did you mean run.held?
    rosterd.toml:9:10: "at seven" is not a schedule: write five fields (minute hour day month weekday), six with seconds first, or @hourly, @daily, @weekly; or "off"
    rosterd.toml:12:1: the section [mail] has this name: give the hook another one
    "#);
    let machine = Machine::new();
    let open = format!("{MAIL}tls = \"off\"\n");
    assert!(machine.problems(&open).contains("without TLS, others on the network"));
    let twice =
        format!("{MAIL}[[hook]]\nname = \"mail\"\nevents = [\"*\"]\nexec = [\"/bin/true\"]\n");
    assert!(machine.problems(&twice).contains("the section [mail] has this name"));
    insta::assert_snapshot!(machine.problems("[mail]\n"), @r#"
    rosterd.toml:1:1: from is missing: write from = "rosterd <rosterd@example.com>"
    rosterd.toml:1:1: server is missing: write server = "mail.example.com"
    rosterd.toml:1:1: to is missing: write to = ["it-team@example.com"]
    "#);
}

#[test]
fn a_keytab_replaces_name_and_password() {
    let machine = Machine::new();
    let bind = "bind-dn = \"svc-rosterd@corp.example.com\"\npassword-file = \"/etc/rosterd/corp.password\"";
    assert!(MINIMAL.contains(bind));
    let example = machine.config(KERBEROS).directories.remove(0).credential;
    assert_eq!(example.file(), machine.etc.path().join("corp.keytab"));
    let of = |keys: &str| {
        let text = MINIMAL.replace(bind, &format!("bind = \"kerberos\"\n{keys}"));
        machine.config(&text).directories.remove(0).credential
    };
    let Credential::Kerberos { keytab, principal, krb5_conf, helper } =
        of("keytab = \"/etc/rosterd/corp.keytab\"")
    else {
        panic!("a keytab");
    };
    assert_eq!(
        (keytab, principal, krb5_conf),
        (machine.etc.path().join("corp.keytab"), None, None)
    );
    assert!(helper.ends_with("rosterd-gssapi"), "{helper:?}");
    let named = of(
        "keytab-credential = \"corp.keytab\"\nprincipal = \"svc-rosterd@CORP.EXAMPLE.COM\"\nkrb5-conf = \"/etc/rosterd/krb5.conf\"",
    );
    let Credential::Kerberos { principal, krb5_conf, .. } = named else { panic!("a keytab") };
    assert_eq!(principal.as_deref(), Some("svc-rosterd@CORP.EXAMPLE.COM"));
    assert_eq!(krb5_conf, Some(machine.etc.path().join("krb5.conf")));
}

#[test]
fn every_problem_has_a_remedy() {
    let machine = Machine::new();
    machine.file("empty", " \n", 0o600);
    machine.file("public", "correct horse", 0o644);
    machine.file("no.pem", "not a certificate", 0o644);
    machine.bytes("two.keytab", &keytab(&["svc-rosterd", "other"]), 0o600);
    machine.bytes("public.keytab", &keytab(&["svc-rosterd"]), 0o644);
    machine.file("bad.secret", "whsec_c2VjcmV0\nsecret\n", 0o600);
    // A text of the minimal file and its replacement.
    let name = "name = \"corp\"";
    let servers = "servers = [\"ldaps://dc1.corp.example.com\"]";
    let password = "password-file = \"/etc/rosterd/corp.password\"";
    let bind = "bind-dn = \"svc-rosterd@corp.example.com\"\npassword-file = \"/etc/rosterd/corp.password\"";
    let base = "base = [\"DC=corp,DC=example,DC=com\"]";
    let table = [
        (name, "name = \"Corp\""),
        (name, ""),
        (name, "name = 5"),
        (name, "name = \"corp\"\nmode = \"dry-run\""),
        (name, "name = \"corp\"\nlive = \"yes\""),
        (name, "name = \"corp\"\npage-size = 0"),
        (name, "name = \"corp\"\nnonsense = 0"),
        (name, "name = \"corp\"\nfilter = \"(a=b\""),
        (name, "name = \"corp\"\nfull = \"0 0 30 2 *\""),
        (name, "name = \"corp\"\nexclude = [\"svc-*\", \"*@*\", \"a@b\"]"),
        (
            name,
            "name = \"corp\"\nexclude-ou = [\"Robots\", \"OU=R,DC=sub,DC=example,DC=com\", \"DC=corp,DC=example,DC=com\"]",
        ),
        (name, "name = \"corp\"\nrule = [{ ou = \"OU=Interns,DC=corp,DC=example,DC=com\" }]"),
        (
            name,
            "name = \"corp\"\nrule = [{ ou = \"DC=corp,DC=example,DC=com\", safety.deleted.percent = 1, safety.gone.at-most = 2 }]",
        ),
        (
            name,
            "name = \"corp\"\nrule = [{ ou = \"DC=corp,DC=example,DC=com\", tier = \"pro\" }, { ou = \"dc=corp,dc=example,dc=com\", tier = \"gold\" }]",
        ),
        (name, "name = \"corp\"\nquiet-hours = [\"22-6\", \"00:00-24:00\"]"),
        (name, "name = \"corp\"\nprotect = [\"boss\"]"),
        (name, "name = \"corp\"\ncanaries = [\"svc\"]"),
        (name, "name = \"corp\"\nca-file = \"/etc/rosterd/no.pem\""),
        (name, "name = \"corp\"\nca-file = \"/etc/rosterd/none.pem\""),
        (name, "name = \"corp\"\ntimeouts = { connect = \"0s\", write = \"5s\" }"),
        (name, "name = \"corp\"\nsite = \"Berlin\""),
        (name, "name = \"corp\"\ndiscover = \"corp.example.com\""),
        (servers, ""),
        (servers, "servers = []"),
        (servers, "servers = \"ldaps://dc1\""),
        (servers, "servers = [\"dc1\", 5]"),
        (servers, "discover = \"corp example\""),
        (password, ""),
        (password, "password-file = \"corp.password\""),
        (password, "password-file = \"/etc/rosterd/none\""),
        (password, "password-file = \"/etc/rosterd/empty\""),
        (password, "password-file = \"/etc/rosterd/public\""),
        (password, "password-file = \"/etc/rosterd/.\""),
        (password, "password-credential = \"../corp\""),
        (password, "password-credential = \"missing\""),
        (
            password,
            "password-file = \"/etc/rosterd/corp.password\"\nkeytab = \"/etc/rosterd/corp.keytab\"",
        ),
        (password, "bind = \"kerberos\""),
        (bind, "bind = \"gssapi\""),
        (bind, "bind = \"kerberos\""),
        (bind, "bind = \"kerberos\"\nkeytab = \"/etc/rosterd/corp.password\""),
        (bind, "bind = \"kerberos\"\nkeytab = \"/etc/rosterd/public.keytab\""),
        (bind, "bind = \"kerberos\"\nkeytab = \"/etc/rosterd/two.keytab\""),
        (
            bind,
            "bind = \"kerberos\"\nkeytab = \"/etc/rosterd/corp.keytab\"\nkeytab-credential = \"none\"",
        ),
        (
            bind,
            "bind = \"kerberos\"\nkeytab = \"/etc/rosterd/corp.keytab\"\nprincipal = \"svc-rosterd\"",
        ),
        (
            bind,
            "bind = \"kerberos\"\nkeytab = \"/etc/rosterd/corp.keytab\"\nprincipal = \"x@CORP\"",
        ),
        (
            bind,
            "bind = \"kerberos\"\nkeytab = \"/etc/rosterd/corp.keytab\"\nkrb5-conf = \"/etc/rosterd/none\"",
        ),
        ("account = \"acme\"", "account = \"acme\"\nlive = false\nwatch = \"all\""),
        (base, "base = []"),
        (base, "base = [\"corp.example.com\"]"),
        (base, "base = [\"DC=corp\", \"dc=CORP\"]"),
        ("[[directory]]", "[store]\nurl = \"mysql://root:hunter2@db\"\n[[directory]]"),
        (
            "[[directory]]",
            "[store]\nurl = \"postgres://rosterd:hunter2@db/rosterd\"\n[[directory]]",
        ),
        ("[[directory]]", "[store]\nca-file = \"/etc/rosterd/corp-ca.pem\"\n[[directory]]"),
        ("[[directory]]", "[control]\nsocket = \"control.sock\"\nviewers = \"\"\n[[directory]]"),
        ("[[directory]]", "[dns]\nresolver = \"dns.example.com\"\n[[directory]]"),
        ("[[directory]]", "[domains]\ntrusted = [\"co.uk\"]\n[[directory]]"),
        ("[[directory]]", "[sign-in]\nmax-failures = 0\n[[directory]]"),
        ("[[directory]]", "[retention]\nevents = \"never\"\n[[directory]]"),
        ("[[directory]]", "[metrics]\nlisten = \"9464\"\n[[directory]]"),
        ("[[directory]]", "[safty]\n[[directory]]"),
        ("[[directory]]", "safety = 5\n[[directory]]"),
        ("[[directory]]", "[directory]"),
        ("[[directory]]", "[[hook]]\nname = \"a\"\nevents = [\"*\"]\n[[directory]]"),
        (
            "[[directory]]",
            "[[hook]]\nname = \"a\"\nevents = [\"user.suspend\", \"people.*\"]\nexec = [\"revoke vpn\"]\n[[directory]]",
        ),
        (
            "[[directory]]",
            "[[hook]]\nname = \"a b\"\nevents = []\nexec = []\nsecret-file = \"/etc/rosterd/siem.secret\"\n[[directory]]",
        ),
        (
            "[[directory]]",
            "[[hook]]\nname = \"a\"\nevents = [\"*\"]\nexec = [\"/a\"]\nurl = \"https://a:b@example.com\"\n[[directory]]",
        ),
        (
            "[[directory]]",
            "[[hook]]\nname = \"a\"\nevents = [\"*\"]\nurl = \"siem\"\nsecret-file = \"/etc/rosterd/bad.secret\"\nsecret = \"x\"\n[[directory]]",
        ),
        ("[[directory]]", "[[gate]]\nname = \"a\"\n[[directory]]"),
    ];
    let told = table.map(|(there, instead)| {
        let told = machine.problems(&MINIMAL.replacen(there, instead, 1));
        let told = told.replace("rosterd.toml:", "\n    ").replace("\n\n", "\n");
        format!(
            "{}{told}",
            if instead.is_empty() {
                format!("without {there}")
            } else {
                instead.replace("\n[[directory]]", "")
            }
        )
    });
    insta::assert_snapshot!(told.join("\n"), @r#"
    name = "Corp"
        3:8: "Corp" is not a name for a directory: use 1 to 63 of a-z, 0-9 and -
    without name = "corp"
        2:1: name is missing: write name = "corp"
    name = 5
        3:8: name takes text in double quotes; this is a number
    name = "corp"
    mode = "dry-run"
        4:8: "dry-run" is not known here: write "apply" or "plan-only"
    name = "corp"
    live = "yes"
        4:8: live takes true or false; this is text
    name = "corp"
    page-size = 0
        4:13: page-size is a number from 1 to 10000, not 0
    name = "corp"
    nonsense = 0
        4:1: there is no key nonsense in [directory]: remove it; the rosterd.toml that rosterd comes with shows all there are
    name = "corp"
    filter = "(a=b"
        4:10: the filter "(a=b" has unbalanced parentheses: write one pair around each assertion, as in (&(department=Sales)(l=Berlin))
    name = "corp"
    full = "0 0 30 2 *"
        4:8: "0 0 30 2 *" never comes
    name = "corp"
    exclude = ["svc-*", "*@*", "a@b"]
        4:12: "svc-*" matches no address: write a whole address in which * stands for any text, such as svc-*@example.com
        4:21: "*@*" excludes every person: write a whole address in which * stands for any text, such as svc-*@example.com
        4:28: "a@b" matches no address: write a whole address in which * stands for any text, such as svc-*@example.com
    name = "corp"
    exclude-ou = ["Robots", "OU=R,DC=sub,DC=example,DC=com", "DC=corp,DC=example,DC=com"]
        4:15: "Robots" is not a DN: write DC=corp,DC=example,DC=com, for example
        4:25: "OU=R,DC=sub,DC=example,DC=com" is below no base: correct it, or remove it
        4:58: "DC=corp,DC=example,DC=com" excludes the whole base "DC=corp,DC=example,DC=com": name an OU below it
    name = "corp"
    rule = [{ ou = "OU=Interns,DC=corp,DC=example,DC=com" }]
        4:9: this rule changes nothing: write a tier, or limits in [directory.rule.safety]
    name = "corp"
    rule = [{ ou = "DC=corp,DC=example,DC=com", safety.deleted.percent = 1, safety.gone.at-most = 2 }]
        4:52: an OU has no limit of deleted, because it would delay leavers: remove it, or write it in [directory.safety]
        4:80: at-least 5 is more than at-most 2 (what is not written here keeps its general value): raise at-most, or lower at-least
    name = "corp"
    rule = [{ ou = "DC=corp,DC=example,DC=com", tier = "pro" }, { ou = "dc=corp,dc=example,dc=com", tier = "gold" }]
        4:68: "dc=corp,dc=example,dc=com" has a rule already: write one rule for each OU
        4:104: "gold" is not known here: write "pro" or "basic"
    name = "corp"
    quiet-hours = ["22-6", "00:00-24:00"]
        4:16: "22-6" is no time of the day: write "22:00-06:00"
        4:24: "00:00-24:00" is the whole day, so that no user would ever be created: write "22:00-06:00"
    name = "corp"
    protect = ["boss"]
        4:12: "boss" has no @: write a whole address, such as ceo@example.com
    name = "corp"
    canaries = ["svc"]
        4:13: "svc" is neither a DN nor a UPN: write svc-rosterd@corp.example.com, for example
    name = "corp"
    ca-file = "/etc/rosterd/no.pem"
        4:11: /etc/rosterd/no.pem holds no certificate: write the CA's certificate into it in PEM form (-----BEGIN CERTIFICATE-----)
    name = "corp"
    ca-file = "/etc/rosterd/none.pem"
        4:11: /etc/rosterd/none.pem cannot be read (No such file or directory (os error 2)): create it, or correct the path
    name = "corp"
    timeouts = { connect = "0s", write = "5s" }
        4:24: "0s" is no time at all: write more than zero, "30s" for example
        4:30: there is no key write in [directory.timeouts]: remove it, or use one of these: connect, operation, run
    name = "corp"
    site = "Berlin"
        4:1: site only says which servers discover prefers: remove it, or write discover = "corp.example.com"
    name = "corp"
    discover = "corp.example.com"
        4:1: there are both servers and discover: remove one of them
    without servers = ["ldaps://dc1.corp.example.com"]
        2:1: servers is missing: write servers = ["ldaps://dc1.corp.example.com"], or discover = "corp.example.com"
    servers = []
        5:1: servers is empty: write ["ldaps://dc1.corp.example.com"], or discover = "corp.example.com" instead
    servers = "ldaps://dc1"
        5:11: servers takes a list in [ ]; this is text
    servers = ["dc1", 5]
        5:12: "dc1" is not a server: write ldaps://dc1.example.com
        5:19: servers takes a list of texts in double quotes; this is a number
    discover = "corp example"
        5:1: discover needs ca-file, since DNS alone does not say who a server is: write ca-file = "/etc/rosterd/corp-ca.pem", the certificate of the CA that issues the domain controllers' certificates, or list servers
        5:12: "corp example" is not the DNS name of an AD domain, such as corp.example.com
    without password-file = "/etc/rosterd/corp.password"
        2:1: password-file is missing: write password-file = "/etc/rosterd/corp.password", a file that only rosterd can read
    password-file = "corp.password"
        7:17: "corp.password" is not an absolute path: begin it with /
    password-file = "/etc/rosterd/none"
        7:17: /etc/rosterd/none cannot be read (No such file or directory (os error 2)): create it, or correct the path
    password-file = "/etc/rosterd/empty"
        7:17: /etc/rosterd/empty is empty: write the password into it
    password-file = "/etc/rosterd/public"
        7:17: /etc/rosterd/public is open to all users of this machine: run chmod o= on it, and change the secret
    password-file = "/etc/rosterd/."
        7:17: /etc/rosterd/. is open to all users of this machine: run chmod o= on it, and change the secret
    password-credential = "../corp"
        7:23: "../corp" is not the name of a systemd credential: write the name that LoadCredential= gives it
    password-credential = "missing"
        7:23: systemd gave no credential "missing": add LoadCredential=missing:/etc/rosterd/missing.password to the unit, or use password-file
    password-file = "/etc/rosterd/corp.password"
    keytab = "/etc/rosterd/corp.keytab"
        8:1: keytab belongs to a bind by Kerberos: remove it, or write bind = "kerberos"
    bind = "kerberos"
        2:1: keytab is missing: write keytab = "/etc/rosterd/corp.keytab", a file that only rosterd can read
        6:1: bind-dn belongs to a bind with a password, and the keytab says who binds: remove it, or bind = "kerberos"
    bind = "gssapi"
        6:8: "gssapi" is not known here: write "password" or "kerberos"
    bind = "kerberos"
        2:1: keytab is missing: write keytab = "/etc/rosterd/corp.keytab", a file that only rosterd can read
    bind = "kerberos"
    keytab = "/etc/rosterd/corp.password"
        7:10: /etc/rosterd/corp.password is not a keytab: export one with msktutil, ktutil, adcli or ktpass
    bind = "kerberos"
    keytab = "/etc/rosterd/public.keytab"
        7:10: /etc/rosterd/public.keytab is open to all users of this machine: run chmod o= on it, and change the secret
    bind = "kerberos"
    keytab = "/etc/rosterd/two.keytab"
        7:10: /etc/rosterd/two.keytab holds the keys of several principals: other@CORP.EXAMPLE.COM, svc-rosterd@CORP.EXAMPLE.COM: set principal = "svc-rosterd@CORP.EXAMPLE.COM"
    bind = "kerberos"
    keytab = "/etc/rosterd/corp.keytab"
    keytab-credential = "none"
        8:1: there are both keytab and keytab-credential: remove one of them
        8:21: systemd gave no credential "none": add LoadCredential=none:/etc/rosterd/none.keytab to the unit, or use keytab
    bind = "kerberos"
    keytab = "/etc/rosterd/corp.keytab"
    principal = "svc-rosterd"
        8:13: "svc-rosterd" is not a principal: write svc-rosterd@CORP.EXAMPLE.COM, as klist -k shows it
    bind = "kerberos"
    keytab = "/etc/rosterd/corp.keytab"
    principal = "x@CORP"
        7:10: /etc/rosterd/corp.keytab holds no key of x@CORP, but of svc-rosterd@CORP.EXAMPLE.COM: correct principal, in the same spelling, or export its key
    bind = "kerberos"
    keytab = "/etc/rosterd/corp.keytab"
    krb5-conf = "/etc/rosterd/none"
        8:13: /etc/rosterd/none cannot be read (No such file or directory (os error 2)): create it, or correct the path
    account = "acme"
    live = false
    watch = "all"
        6:1: further servers are followed with live and incremental only: remove watch, or the false one of these two
    base = []
        8:1: base is empty: write the DN below which people are, ["DC=corp,DC=example,DC=com"] for example
    base = ["corp.example.com"]
        8:9: "corp.example.com" is not a DN: write DC=corp,DC=example,DC=com, for example
    base = ["DC=corp", "dc=CORP"]
        8:20: the bases "DC=corp" and "dc=CORP" overlap: remove the inner one
    [store]
    url = "mysql://root:hunter2@db"
        3:7: this is not a store: write sqlite:///var/lib/rosterd/rosterd.db, or postgres://USER@HOST/DATABASE
    [store]
    url = "postgres://rosterd:hunter2@db/rosterd"
        3:7: a password is never inline: take it out of the URL, and write password-file below [store]
    [store]
    ca-file = "/etc/rosterd/corp-ca.pem"
        3:1: ca-file belongs to a PostgreSQL: remove it, or write url = "postgres://USER@HOST/DATABASE"
    [control]
    socket = "control.sock"
    viewers = ""
        3:10: "control.sock" is not an absolute path: begin it with /
        4:11: this is empty: write something, or remove it
    [dns]
    resolver = "dns.example.com"
        3:12: "dns.example.com" is not a resolver: write "system", or an address such as "127.0.0.1:53"
    [domains]
    trusted = ["co.uk"]
        3:12: "co.uk" is a public suffix under which any person can register; claim the domain below it that is yours
    [sign-in]
    max-failures = 0
        3:16: max-failures is a number from 1 to 999, not 0
    [retention]
    events = "never"
        3:10: "never" is not a duration: write a number and a unit, such as "30s", "10m", "24h" or "7d"; or "off"
    [metrics]
    listen = "9464"
        3:10: "9464" is not an address to listen on: write an IP address and a port, such as "127.0.0.1:9464"
    [safty]
        2:2: there is no key safty at the top of the file: did you mean safety?
    safety = 5
        2:10: safety takes a table: write [safety] above its keys; this is a number
    [directory]
        2:1: there can be several: write [[directory]], in double brackets
    [[hook]]
    name = "a"
    events = ["*"]
        2:1: exec is missing: write exec = ["/usr/libexec/rosterd/revoke-vpn"], or url = "https://siem.example.com/rosterd"
    [[hook]]
    name = "a"
    events = ["user.suspend", "people.*"]
    exec = ["revoke vpn"]
        4:11: there is no event "user.suspend": did you mean user.suspended?
        4:27: there is no event "people.*": write a type such as user.suspended, a family such as user.*, or *
        5:9: "revoke vpn" is not an absolute path: begin it with /; no shell looks for the program, nor takes a command line apart
    [[hook]]
    name = "a b"
    events = []
    exec = []
    secret-file = "/etc/rosterd/siem.secret"
        3:8: "a b" is not a name: use 1 to 63 letters, digits, dots and dashes
        4:1: events is empty, so this hook receives nothing: write ["*"] for all events
        5:1: exec is empty: write the absolute path of the program, then its arguments
        6:1: secret-file is for hooks with a url, and this one has exec: remove it
    [[hook]]
    name = "a"
    events = ["*"]
    exec = ["/a"]
    url = "https://a:b@example.com"
        6:1: there are both exec and url: make two hooks of them
        6:7: a password is never inline: take it out of the URL
    [[hook]]
    name = "a"
    events = ["*"]
    url = "siem"
    secret-file = "/etc/rosterd/bad.secret"
    secret = "x"
        5:7: this is not a URL: write https://siem.example.com/rosterd, for example
        6:15: line 2 of /etc/rosterd/bad.secret is not a signing key: write whsec_ and the key in Base64
        7:1: secret is never inline: write it to a file that only rosterd can read, and name that in secret-file
    [[gate]]
    name = "a"
        2:1: exec is missing: write exec = ["/usr/libexec/rosterd/change-board"]
    "#);
}

#[test]
fn an_http_url_of_another_machine_needs_allow_http() {
    let machine = Machine::new();
    let hook = |url: &str, more: &str| {
        format!("{MINIMAL}\n[[hook]]\nname = \"a\"\nevents = [\"*\"]\nurl = \"{url}\"\n{more}")
    };
    for url in [
        "http://localhost:8080/x",
        "http://127.0.0.2/",
        "http://[::1]:1/",
        "https://siem.example.com/",
    ] {
        machine.config(&hook(url, ""));
    }
    machine.config(&hook("http://siem.example.com/", "allow-http = true\n"));
    for url in [
        "http://siem.example.com/",
        "http://10.0.0.1/",
        "http://localhost.example.com/",
        "http://127.0.0.1.example.com/",
    ] {
        assert!(
            machine.problems(&hook(url, "")).contains("write https, or add allow-http = true"),
            "{url}"
        );
    }
}

#[test]
fn a_name_is_unique_in_its_array() {
    let machine = Machine::new();
    let hook = "[[hook]]\nname = \"a\"\nevents = [\"*\"]\nexec = [\"/a\"]\n";
    insta::assert_snapshot!(machine.problems(&format!("{MINIMAL}{MINIMAL}{hook}{hook}")), @r#"
    rosterd.toml:13:1: there is another directory "corp": give this one another name
    rosterd.toml:26:1: there is another hook "a": give this one another name
    "#);
}

#[test]
fn a_syntax_error_has_its_line_and_does_not_stop_the_check() {
    let machine = Machine::new();
    let text = "[store]\nurl = sqlite:///x\n[[directory]]\nname = corp\naccount = \"Acme\"\naccount = \"acme\"\nstale-after = \"soon\"\n";
    insta::assert_snapshot!(machine.problems(text), @r#"
    rosterd.toml:2:7: not TOML here: string values must be quoted, expected literal string; text stands in double quotes, lists in [ ]
    rosterd.toml:4:8: not TOML here: string values must be quoted, expected literal string; text stands in double quotes, lists in [ ]
    rosterd.toml:5:11: "Acme" is not an account handle: use 1 to 63 of a-z, 0-9 and -
    rosterd.toml:6:1: not TOML here: duplicate key; remove one of the two
    rosterd.toml:7:15: "soon" is not a duration: write a number and a unit, such as "30s", "10m", "24h" or "7d"
    "#);
}

#[test]
fn an_unclosed_list_is_reported_alone_and_at_its_bracket() {
    let machine = Machine::new();
    let text =
        MINIMAL.replace("[[directory]]", "[[directory]]\npro-groups = [\n  \"Roster ] Pro\",");
    insta::assert_snapshot!(machine.problems(&text), @"rosterd.toml:3:14: this list is not closed: add the missing ]");
    let last = format!("{MINIMAL}exclude = [\"a\"");
    assert_eq!(machine.problems(&last).lines().count(), 1);
}

#[test]
fn an_unreadable_file_is_reported_with_its_name() {
    let problems = Config::load(Path::new("/nonexistent/rosterd.toml")).expect_err("no file");
    assert_eq!(problems.len(), 1);
    insta::assert_snapshot!(problems, @r#"
    /nonexistent/rosterd.toml: the configuration cannot be read (No such file or directory (os error 2)): create it, or correct the path
    "#);
}

#[test]
fn a_secret_may_be_a_symbolic_link_and_a_systemd_credential() {
    let machine = Machine::new();
    symlink(machine.etc.path().join("corp.password"), machine.etc.path().join("corp"))
        .expect("a link");
    let linked = machine.config(&MINIMAL.replace("corp.password", "corp")).directories.remove(0);
    let credential = machine.config(&MINIMAL.replace(
        "password-file = \"/etc/rosterd/corp.password\"",
        "password-credential = \"corp\"",
    ));
    assert_eq!(linked.credential.file(), machine.etc.path().join("corp"));
    assert_eq!(credential.directories[0].credential, linked.credential);
    let problems = Config::parse(
        &[Source::main(Path::new("f"), "[[directory]]\npassword-credential = \"corp\"")],
        None,
    )
    .expect_err("no credentials");
    assert!(
        problems.iter().any(|p| p.message.contains(
            "check with systemd-run --pipe --wait -p LoadCredential=corp:/etc/rosterd/corp.password"
        )),
        "{problems}"
    );
    let hook = "[[hook]]\nname = \"a\"\nevents = [\"*\"]\nurl = \"https://siem.example.com/\"\nsecret-credential = \"siem.secret\"";
    let Receiver::Webhook(signed) =
        &machine.config(&format!("{MINIMAL}\n{hook}")).hooks[0].receiver
    else {
        panic!("no web server")
    };
    assert_eq!(
        signed.secret_file.as_deref(),
        Some(machine.etc.path().join("siem.secret").as_path())
    );
}

#[test]
fn limits_of_a_directory_override_general_limits_key_by_key() {
    let machine = Machine::new();
    let general = "[safety]\nwindow = \"12h\"\ngone = { percent = 3, at-most = 20 }\n";
    let own = "[directory.safety]\ngrace-period = \"0s\"\ngone = { at-most = 10 }\nconfirmed = { at-most = 99 }\n";
    let safety = machine.config(&format!("{general}{MINIMAL}{own}")).directories.remove(0).limits;
    assert_eq!((safety.window, safety.grace_period), (Duration::from_hours(12), Duration::ZERO));
    let limit = |class| {
        (
            safety.classes[&class].percent,
            safety.classes[&class].at_least,
            safety.classes[&class].at_most,
        )
    };
    assert_eq!(limit(ChangeClass::Gone), (3, 5, Some(10)));
    assert_eq!(limit(ChangeClass::Confirmed), (20, 10, Some(99)));
    assert_eq!(limit(ChangeClass::Deleted), (10, 5, Some(100)));
    let text = format!("{general}{MINIMAL}[directory.safety.gone]\nat-least = 30\n");
    insta::assert_snapshot!(machine.problems(&text), @r#"
    rosterd.toml:14:1: at-least 30 is more than at-most 20 (what is not written here keeps its general value): raise at-most, or lower at-least
    "#);
}

#[test]
fn directories_hooks_and_gates_have_their_configured_values() {
    let machine = Machine::new();
    let text = everything()
        .replace("discover = \"corp.example.com\"", "")
        .replace("site = \"Berlin\"", "")
        .replace("discover-suffixes = [\"dc.example.net\"]", "")
        .replace("sqlite:///var/lib/rosterd/rosterd.db", "postgres://rosterd@db1,db2:5433/roster")
        .replace("password-credential = \"store\"", "")
        .replace("password-credential = \"corp\"", "")
        .replace("password-credential = \"mail\"", "")
        .replace("keytab-credential = \"corp\"", "")
        .replace("keytab = \"/etc/rosterd/corp.keytab\"", "")
        .replace("principal = \"svc-rosterd@CORP.EXAMPLE.COM\"", "")
        .replace("krb5-conf = \"/etc/rosterd/krb5.conf\"", "")
        .replace("secret-credential = \"siem\"", "")
        .replace("key-credential = \"events\"", "")
        .replace("token-file = \"/etc/rosterd/slack.token\"", "")
        .replace("token-credential = \"slack\"", "")
        .replace("client-secret-credential = \"slack\"", "")
        .replace("\"svc-*@example.com\"", "\"svc-*@Bücher.example\"");
    let config = machine.config(&text);
    let StoreAt::Server(store) = &config.store else { panic!("{:?}", config.store) };
    assert_eq!((store.hosts[1].name.as_str(), store.hosts[1].port), ("db2", 5433));
    assert_eq!(store.password_file, Some(machine.etc.path().join("store.password")));
    assert_eq!(store.ca_file, Some(machine.etc.path().join("store-ca.pem")));
    let slack = &config.targets[0];
    assert!(
        matches!(&slack.credential, TargetCredential::OAuth { client_id, .. } if client_id == "rosterd")
    );
    assert_eq!((slack.mode, slack.quirks.scim_json), (Mode::PlanOnly, Some(false)));
    let group = &slack.groups[0];
    assert_eq!((group.name.as_str(), group.tier), ("Roster Pro", Tier::Pro));
    assert!(group.id.is_some());
    let corp = &config.directories[0];
    assert_eq!(
        corp.servers,
        Servers::Listed(vec![ServerUrl::parse("ldaps://dc1.corp.example.com").unwrap()])
    );
    let (written, filter) = corp.filter.as_ref().unwrap();
    assert_eq!(
        (written.as_str(), filter.to_string()),
        ("(!(employeeType=robot))", written.clone())
    );
    assert_eq!(corp.exclude, ["svc-*@xn--bcher-kva.example"]);
    let [rule] = &*corp.rules.0 else { panic!("{:?}", corp.rules) };
    assert_eq!(rule.ou.configured, Dn::new("OU=Interns,DC=corp,DC=example,DC=com"));
    assert_eq!(rule.tier, Some(Tier::Basic));
    let limit = Limit { percent: 2, at_least: 1, at_most: Some(3) };
    assert_eq!(rule.limits, [(ChangeClass::Gone, limit)].into());
    assert_eq!(corp.exclude_ou, [Dn::new("OU=Robots,DC=corp,DC=example,DC=com")]);
    assert_eq!(corp.ca_file.as_deref(), Some(&*machine.etc.path().join("corp-ca.pem")));
    let [vpn, siem, mail] = &*config.hooks else { panic!("{:?}", config.hooks) };
    assert_eq!((mail.name.as_str(), config.digest.is_some()), ("mail", true));
    assert_eq!(
        vpn.receiver,
        Receiver::Exec(Program::of(&["/usr/libexec/rosterd/revoke-vpn".to_owned()]))
    );
    let Receiver::Webhook(webhook) = &siem.receiver else { panic!("{siem:?}") };
    assert!(webhook.allow_http);
    assert_eq!(
        webhook.proxy.as_ref().map(|url| url.as_str()),
        Some("http://proxy.example.com:3128/")
    );
    // The first hook has its defaults written out, the second has none.
    assert_eq!(
        (vpn.timeout, vpn.max_age, vpn.concurrency),
        (siem.timeout, siem.max_age, siem.concurrency)
    );
    assert_eq!(config.gates[0].timeout, siem.timeout);
    assert_eq!(config.metrics_listen.map(|a| a.port()), Some(9464));

    let discovered = MINIMAL.replace(
        "servers = [\"ldaps://dc1.corp.example.com\"]",
        &[
            "discover = \"corp.example.com\"",
            "site = \"Berlin\"",
            "discover-suffixes = [\"dc.example.net\"]",
            "ca-file = \"/etc/rosterd/corp-ca.pem\"",
        ]
        .join("\n"),
    );
    let found = machine.config(&discovered).directories.remove(0).servers;
    assert!(
        matches!(&found, Servers::Discovered(Discovery { domain, site, suffixes })
            if domain.as_str() == "corp.example.com" && site.as_deref() == Some("Berlin") && suffixes[0].as_str() == "dc.example.net"),
        "{found:?}"
    );
}

#[test]
fn a_group_of_another_directory_is_one_of_a_directory_of_the_account() {
    let machine = Machine::new();
    let second = |name: &str, account: &str, group: &str| {
        let section = MINIMAL.replace("name = \"corp\"", &format!("name = \"{name}\""));
        let section = section.replace("account = \"acme\"", &format!("account = \"{account}\""));
        let at = section.find("[[directory]]").expect("a section");
        let keys = section[at..].lines().filter(|line| !line.contains("-groups"));
        let keys = keys.collect::<Vec<_>>().join("\n");
        format!(
            "{MINIMAL}\n{}\n",
            keys.replacen(
                "[[directory]]",
                &format!("[[directory]]\npro-groups = [\"{group}\"]"),
                1
            )
        )
    };
    let config = machine.config(&second("emea", "acme", "corp:Roster Pro"));
    let (_, group) = &config.directories[1].groups[0];
    assert_eq!(
        (group.directory().map(ToString::to_string).as_deref(), group.name()),
        (Some("corp"), "Roster Pro")
    );
    for (account, group, problem) in [
        (
            "acme",
            "crop:Roster Pro",
            "there is no directory crop: correct the name before the colon",
        ),
        ("acme", "emea:Roster Pro", "emea is this directory: write \"Roster Pro\""),
        ("other", "corp:Roster Pro", "the directory corp is for the account acme"),
        ("acme", "corp:", "names no group"),
    ] {
        let problems = machine.problems(&second("emea", account, group));
        assert!(problems.contains(problem), "{problems}");
    }
}

const TARGET: &str = "[[target]]\nname = \"app\"\naccount = \"acme\"\nurl = \"https://app.example.com/scim/v2?tenant=7\"\ntoken-file = \"/etc/rosterd/slack.token\"\n";

#[test]
fn a_target_has_safe_defaults_and_a_preset_gives_way_to_keys() {
    let machine = Machine::new();
    let target = |more: &str| machine.config(&format!("{TARGET}{more}")).targets.remove(0);
    let app = target("");
    assert_eq!(app.url.query(), Some("tenant=7"));
    assert_eq!(
        (app.adopt, app.leaver, app.drift),
        (Adopt::Ask, LeaverAction::Deactivate, DriftAction::Report)
    );
    assert_eq!(app.limits.allowed(ChangeClass::Deleted, 1000), 0, "each deletion is held");
    assert_eq!(
        app.limits.allowed(ChangeClass::Create, 10),
        Limits::default().allowed(ChangeClass::Create, 10)
    );
    let paths = |target: &config::Target| {
        target.mapping.attributes.iter().map(|(path, _)| path.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(paths(&app), DEFAULT_MAPPING.map(|(path, _)| path.to_owned()));
    let slack = target("preset = \"slack\"\npage-size = 0\n");
    assert_eq!(
        (slack.rate, slack.page_size),
        (Rate { requests: 180, per: Duration::from_mins(1) }, 0)
    );
    assert_eq!(
        target("preset = \"slack\"\nrate = \"9/h\"\n").rate,
        Rate { requests: 9, per: Duration::from_hours(1) }
    );
    let aws = target("preset = \"aws\"\nquirks = { paging = \"cursor\" }\n");
    assert_eq!((aws.quirks.paging, aws.quirks.members), (Some(Paging::Cursor), Some(false)));
    let mapped = target(
        "[target.attributes]\nemails = \"{primary-email:lower}\"\ntitle = \"\"\n\"urn:example:1.0:App:seat\" = \"{tier} seat\"\n[target.values]\ntier = { pro = \"Pro\" }\n",
    );
    let paths = paths(&mapped);
    assert!(
        paths.contains(&"emails".to_owned()) && !paths.contains(&"emails[work]".to_owned()),
        "{paths:?}"
    );
    assert!(
        !paths.contains(&"title".to_owned())
            && paths.contains(&"urn:example:1.0:App:seat".to_owned()),
        "{paths:?}"
    );
}

#[test]
fn all_mistakes_of_a_target_are_reported_together_with_their_remedies() {
    let machine = Machine::new();
    machine.file("open.token", "xoxp-1\n", 0o644);
    let text = r#"[[target]]
name = "corp"
account = "Acme Inc"
url = "http://app.example.com/scim"
token-file = "/etc/rosterd/open.token"
preset = "okta"
tiers = ["gold"]
rate = "fast"
full = "daily"
token-expires = "soon"
[target.oauth]
token-url = "https://login.example.com/token"
client-id = "rosterd"
[target.attributes]
userName = ""
active = "true"
title = "{titl}"
"emails[home]" = "{primary-email}"
"emails[work]" = "{primary-email:upper}"
name.givenName = "{given-name}"
[target.values]
tier = { gold = "Gold" }
departement = { x = "y" }
[target.quirks]
paging = "sometimes"
[[target.group]]
name = "Roster Pro"
tier = "pro"
[[target.group]]
name = "Roster Pro"
tier = "pro"
"#;
    let problems = machine.problems(&format!("{MINIMAL}\n{text}"));
    let offset = format!("{MINIMAL}\n").lines().count();
    for (line, words) in [
        (2, "there is a directory \"corp\""),
        (3, "not an account handle"),
        (4, "add allow-http = true"),
        (5, "run chmod o= on it"),
        (6, "\"okta\" is not known here: write \"generic\" or"),
        (7, "\"gold\" is not known here"),
        (8, "is not a rate: write"),
        (9, "daily"),
        (10, "is not a date: write"),
        (11, "there are both token-file and oauth"),
        (11, "client-secret-file is missing"),
        (16, "active is not for the mapping"),
        (17, "there is no field titl: did you mean title?"),
        (19, "emails[home] writes the same attribute"),
        (20, "write the whole name in double quotes"),
        (22, "there is no tier \"gold\""),
        (23, "there is no key departement in [target.values]: did you mean department?"),
        (25, "\"sometimes\" is not known here"),
        (30, "there is another group \"Roster Pro\""),
    ] {
        let place = format!("rosterd.toml:{}:", offset + line);
        assert!(
            problems.lines().any(|l| l.starts_with(&place) && l.contains(words)),
            "{line} {words}:\n{problems}"
        );
    }
    let left_out = machine.problems(&format!("{TARGET}[target.attributes]\nexternalId = \"\"\n"));
    assert!(left_out.contains("externalId is left out"), "{left_out}");
}

#[test]
fn the_parts_of_a_configuration_become_one() {
    let machine = Machine::new();
    let whole = format!(
        "{MINIMAL}schedule = \"@daily\"\n[control]\nviewers = \"hr\"\noperators = \"it\"\n{}",
        hook("vpn")
    );
    let parts = [
        ("10-roles.toml", "[control]\noperators = \"it\"\n".to_owned()),
        ("20-hooks.toml", hook("vpn")),
        ("30-schedule.toml", "[[directory]]\nname = \"corp\"\nschedule = \"@daily\"\n".to_owned()),
    ];
    let parts = parts.each_ref().map(|(name, text)| (*name, text.as_str()));
    let mut config = machine.config(&whole);
    let merged = machine.parse_parts(&format!("{MINIMAL}[control]\nviewers = \"hr\"\n"), &parts);
    if let Receiver::Exec(program) = &mut config.hooks[0].receiver {
        program.part = Some("20-hooks.toml".to_owned());
    }
    assert_eq!(merged, Ok(config), "the order of files is that of their names");
    assert_eq!(machine.parse_parts("", &[("corp.toml", MINIMAL)]), machine.parse(MINIMAL));
}

/// Returns a hook with a program.
fn hook(name: &str) -> String {
    format!("[[hook]]\nname = \"{name}\"\nevents = [\"*\"]\nexec = [\"/bin/true\"]\n")
}

#[test]
fn a_key_that_two_parts_give_is_reported_with_both_places() {
    let machine = Machine::new();
    let main = format!("[control]\nviewers = \"hr\"\n\n{MINIMAL}");
    let parts = [
        ("10.toml", "[[directory]]\nname = \"corp\"\nservers = [\"ldaps://dc9\"]\n"),
        ("20.toml", "[control]\nviewers = \"it\"\nwiewers = \"it\"\n"),
        ("30.toml", "hook = 3\n[schedule]\ntimezone = \"Mars\""),
        ("40.toml", "[[hook]]\nname = \"vpn\"\nevents = [\"*\"]\nexec = ["),
    ];
    let problems = |parts| machine.parse_parts(&main, parts).expect_err("problems").to_string();
    insta::assert_snapshot!(problems(&parts), @"conf.d/40.toml:4:8: this list is not closed: add the missing ]");
    insta::assert_snapshot!(problems(&parts[..3]), @r#"
    conf.d/10.toml:3:1: servers is given at rosterd.toml:8 as well: remove one of the two
    conf.d/20.toml:2:1: viewers is given at rosterd.toml:2 as well: remove one of the two
    conf.d/20.toml:3:1: there is no key wiewers in [control]: did you mean viewers?
    conf.d/30.toml:1:8: there can be several: write [[hook]], in double brackets
    conf.d/30.toml:3:12: there is no time zone "Mars": write a name such as Europe/Berlin, or UTC
    "#);
}
