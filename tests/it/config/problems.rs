//! Mistakes: each with its line and a remedy.

use std::path::Path;

use rosterd::config::Config;

use super::{MINIMAL, Machine, keytab};

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
        3:7: a password is never inline: take it out of the URL, and name a file that has it: password-file below [store], or --password-file of store copy
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
