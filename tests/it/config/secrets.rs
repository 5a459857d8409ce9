//! Keytabs, symbolic links and systemd credentials.

use std::os::unix::fs::symlink;
use std::path::Path;

use rosterd::config::{Config, Receiver};
use rosterd::model::Credential;
use rosterd::sources::Source;

use super::{KERBEROS, MINIMAL, Machine};

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
