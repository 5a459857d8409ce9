//! The mail section.

use rosterd::config::Receiver;
use rosterd::model::MailTls;

use super::Machine;

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
