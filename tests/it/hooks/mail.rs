//! Mail: the encryption, the login, a server that is down, and the texts.

use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use rosterd::hooks::{self, Hook, text_of};
use rosterd::model::{Mail, MailLogin, MailTls};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpSocket};

use super::smtp::{Offer, Smtp};
use super::{Desk, by_program, until};

/// Returns deliveries to a server on `localhost`, which trusts this CA.
fn mail(desk: &Desk, port: u16, tls: MailTls, ca: Option<&str>) -> Hook {
    let ca_file = ca.map(|pem| {
        let path = desk.folder.path().join("mail.ca");
        std::fs::write(&path, pem).unwrap();
        path
    });
    let mail = Mail {
        server: "localhost".to_owned(),
        port,
        tls,
        ca_file,
        login: None,
        from: "rosterd <rosterd@example.com>".parse().unwrap(),
        to: vec!["it@example.com".parse().unwrap(), "Ann <ann@example.com>".parse().unwrap()],
    };
    let receiver = hooks::Receiver::Mail(Box::new(mail));
    Hook { receiver, concurrency: 1, ..by_program("mail", PathBuf::new()) }
}

fn with_login(desk: &Desk, mut hook: Hook) -> Hook {
    let password_file = desk.folder.path().join("mail.password");
    crate::folder::write(&password_file, "s3cret\n", 0o600);
    let hooks::Receiver::Mail(mail) = &mut hook.receiver else { panic!("it is no mail") };
    mail.login = Some(MailLogin { user: "rosterd".to_owned(), password_file });
    hook
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_is_encrypted_and_has_the_id_of_its_event() {
    for (offer, tls) in [(Offer::StartTls, MailTls::StartTls), (Offer::Implicit, MailTls::Implicit)]
    {
        let (server, ca) = Smtp::start(offer).await;
        let desk = Desk::open().await;
        desk.hook_up(vec![with_login(&desk, mail(&desk, server.address.port(), tls, Some(&ca)))]);
        desk.happens("directory.stale", &["corp"]).await;
        desk.idle("mail").await;
        let [mail] = server.mails().try_into().unwrap();
        assert!(mail.is_encrypted);
        assert_eq!(mail.recipients, ["it@example.com", "ann@example.com"]);
        let login = base64::engine::general_purpose::STANDARD.decode(mail.login.unwrap()).unwrap();
        assert_eq!(login, b"\0rosterd\0s3cret");
        let id = desk.events("directory.stale").await[0]["id"].as_str().unwrap().to_owned();
        for header in [
            "From: rosterd <rosterd@example.com>",
            "Subject: corp was not read completely for too long",
            "Auto-Submitted: auto-generated",
            &format!("Message-ID: <{id}@example.com>"),
        ] {
            assert!(mail.text.contains(header), "{header}\n{}", mail.text);
        }
        assert!(mail.text.contains("rosterctl directory check corp"), "{}", mail.text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_starttls_or_with_an_unknown_certificate_gets_no_mail() {
    let (plain, ca) = Smtp::start(Offer::Plain).await;
    let (other, _) = Smtp::start(Offer::StartTls).await;
    for (server, reason) in [(&plain, "STARTTLS"), (&other, "certificate")] {
        let desk = Desk::open().await;
        let port = server.address.port();
        desk.hook_up(vec![with_login(&desk, mail(&desk, port, MailTls::StartTls, Some(&ca)))]);
        desk.happens("directory.stale", &["corp"]).await;
        let failed = until("it failed", async || {
            desk.deliveries("mail").await.pop().filter(|d| d.attempts > 0)
        })
        .await;
        let error = failed.error.unwrap();
        assert!(error.contains(reason), "{error}");
        assert_eq!(server.mails().len(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mails_of_a_server_that_is_down_wait_and_all_come_when_it_is_back() {
    let closed = TcpSocket::new_v4().unwrap();
    closed.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let port = closed.local_addr().unwrap().port();
    let desk = Desk::open().await;
    desk.hook_up(vec![mail(&desk, port, MailTls::Off, None)]);
    let subjects = ["a", "b", "c", "d", "e"];
    desk.happens("directory.stale", &subjects).await;
    let failed = until("it failed", async || {
        desk.deliveries("mail").await.into_iter().find(|d| d.error.is_some())
    })
    .await;
    assert!(failed.error.unwrap().contains("localhost"));
    let listener: TcpListener = closed.listen(16).unwrap();
    let (server, _) = Smtp::on(listener, Offer::Plain);
    desk.idle("mail").await;
    let mails = server.mails();
    assert_eq!(mails.len(), subjects.len());
    for subject in subjects {
        let header = format!("Subject: {subject} was not read");
        assert_eq!(mails.iter().filter(|m| m.text.contains(&header)).count(), 1, "{mails:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_login_is_retried_and_a_refused_recipient_is_a_dead_letter() {
    let (server, _) = Smtp::start(Offer::Plain).await;
    let desk = Desk::open().await;
    let plain = mail(&desk, server.address.port(), MailTls::Off, None);
    desk.hook_up(vec![with_login(&desk, plain)]);
    server.refuse("AUTH", "535 wrong password");
    server.refuse("MAIL", "451 try again later");
    desk.happens("directory.stale", &["corp"]).await;
    desk.idle("mail").await;
    assert_eq!((server.mails().len(), desk.deliveries("mail").await[0].attempts), (1, 3));
    server.refuse("RCPT", "550 no such user here");
    desk.happens("directory.stale", &["emea"]).await;
    desk.idle("mail").await;
    let status = desk.status("mail").await.deliveries;
    assert_eq!((status.failed, server.mails().len()), (1, 1));
    let error = desk.deliveries("mail").await[1].error.clone().unwrap();
    assert!(error.contains("no such user here"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_mail_is_sent_by_the_command_that_tests_hooks() {
    let (server, _) = Smtp::start(Offer::Plain).await;
    let desk = Desk::open().await;
    desk.hook_up(vec![mail(&desk, server.address.port(), MailTls::Off, None)]);
    let actor = rosterd::model::Actor("alice".to_owned());
    desk.engine.test_hook("mail", &actor).await.unwrap();
    let [mail] = server.mails().try_into().unwrap();
    assert!(mail.text.contains("Subject: rosterd: a test"), "{}", mail.text);
    assert_eq!(desk.status("mail").await.target, format!("localhost:{}", server.address.port()));
}

fn event(kind: &str, after: &Value) -> String {
    json!({ "id": "e1", "type": kind, "time": "2026-11-28T12:00:00Z", "subject": "corp",
        "data": { "actor": "rosterd", "after": after } })
    .to_string()
}

fn text(kind: &str, after: &Value) -> String {
    text_of(&event(kind, after)).map(|text| text.whole()).unwrap_or_default()
}

#[test]
fn a_mail_about_a_held_plan_says_what_waits_why_for_whom_and_what_to_type() {
    let after = json!({
        "plan": "019ab4c1-7d10-7c3a-9a51-0d6f443b4ff5", "directory": "corp", "count": 152, "held": 152,
        "by": [
            { "kind": "suspend", "class": "gone", "reason": "out-of-scope", "cause": "attribute:title", "held": "cluster", "count": 150 },
            { "kind": "suspend", "class": "gone", "reason": "no-group", "cause": "group:6f9619ff-8b86-d011-b42d-00c04fc964aa",
              "name": "Roster Pro", "held": "limit", "count": 1 },
            { "kind": "tier", "class": "downgrade", "reason": null, "cause": null, "held": "limit", "count": 1 },
        ],
        "people": [
            { "display_name": "Ann Lee", "primary_email": "ann@example.com", "sam_account_name": "ann",
              "note": "parental leave until March" },
            { "display_name": null, "primary_email": "bo@example.com", "sam_account_name": null },
        ],
    });
    insta::assert_snapshot!(text("run.held", &after), @"
    corp: 152 changes wait for approval

    152 changes wait for your approval. None of them was applied.

      150 people would be suspended as out-of-scope (attribute title)
        cluster: many changes share one cause
      1 person would be suspended as no-group (group Roster Pro)
        limit: more than [safety] allows in one window
      1 person would go from Pro to Basic
        limit: more than [safety] allows in one window

    Concerned:
      Ann Lee <ann@example.com>
        note: parental leave until March
      bo@example.com
      and 150 more

    Review:  rosterctl held show 443b4ff5
    Approve: rosterctl held approve 443b4ff5
    Reject:  rosterctl held reject 443b4ff5
    ");
    let again = json!({ "directory": "corp", "held": 152, "changes": { "update": 1 } });
    assert_eq!(text("run.held", &again), "", "the plan was reported before");
}

#[test]
fn a_digest_says_who_left_and_what_waits() {
    let after = json!({ "since": "2026-11-27T07:00:00Z", "joiners": 2, "leavers": 13, "returned": 1,
        "causes": { "disabled": 12, "no-group": 1 }, "waiting": 150, "expiring": 3,
        "people": [{ "display_name": "Ann Lee", "primary_email": "ann@example.com" }],
        "attention": ["corp: 150 changes wait for approval: rosterctl held show 443b4ff5"] });
    insta::assert_snapshot!(text("digest.daily", &after), @"
    rosterd: 13 left, 2 joined, 150 waiting for approval

    Since 2026-11-27T07:00:00Z:
      2 people got access
      13 people lost access: 12 disabled, 1 no-group
      1 person got access again

    Concerned:
      Ann Lee <ann@example.com>
      and 12 more

    ! corp: 150 changes wait for approval: rosterctl held show 443b4ff5
    3 accounts expire within 14 days: rosterctl report expiring --until 14d

    All of it: rosterctl report changes --since yesterday
    ");
}

#[test]
fn a_text_names_the_state_and_the_command_for_each_kind_of_event() {
    let all = [
        ("run.failed", json!({ "directory": "corp", "error": "no domain controller answers" })),
        (
            "plan.expiring",
            json!({ "directory": "corp", "count": 3, "approved_by": "alice", "expires_at": "2026-11-29T12:00:00Z" }),
        ),
        ("plan.expired", json!({ "directory": "corp", "count": 1 })),
        ("directory.unreachable", json!({ "error": "dc1: the connection was cut" })),
        ("directory.attention", json!({ "attention": ["Group Roster Pro looks empty."] })),
        ("domain.lapsed", json!({ "domain": "example.com", "finding": "DNS has no TXT record" })),
        ("hook.dead_lettered", json!({ "type": "user.suspended", "error": "exit status 1" })),
        (
            "store.rewound",
            json!({ "from": 8, "to": 9, "lost": 2, "brakes": [{ "seq": 9, "subject": "corp", "actor": "alice" }] }),
        ),
    ];
    let texts: Vec<String> = all.iter().map(|(kind, after)| text(kind, after)).collect();
    insta::assert_snapshot!(texts.join("---\n"), @"
    corp: a run failed

    A run of corp failed: no domain controller answers

    The run:       rosterctl run show corp
    The directory: rosterctl directory check corp
    ---
    corp: an approval expires soon

    3 changes approved by alice could not be applied yet. The approval expires at 2026-11-29T12:00:00Z.

    Find out why: rosterctl directory check corp
    Apply now:    rosterctl held approve corp
    ---
    corp: an approval has expired

    1 change was approved, and not applied in time. It needs another approval.

    What waits:    rosterctl held list
    The directory: rosterctl directory check corp
    ---
    corp cannot be read

    corp cannot be read.
      error: dc1: the connection was cut

    Find out why: rosterctl directory check corp
    ---
    corp needs attention

    corp needs attention.

    Group Roster Pro looks empty.

    The state: rosterctl status
    ---
    example.com: the domain claim has lapsed

    The claim of example.com is not confirmed any more: DNS has no TXT record

    After the TXT record is back: rosterctl domain verify example.com
    ---
    hook corp: an event was given up

    The hook corp gave up an event, so what it does was not done.
      error: exit status 1
      type: user.suspended

    All of them:   rosterctl hook deliveries corp --state failed
    Deliver again: rosterctl hook redeliver corp --all
    ---
    the database has lost commits

    The database has lost what was committed: 2 events (8 to 9). All runs only plan until you approve.

    Lost, and put on again:
      corp (by alice)

    What was lost: rosterctl event list --type store.rewound
    What waits:    rosterctl held list
    You know it:   rosterctl event accept-loss
    ");
}

#[test]
fn a_hostile_name_adds_no_line_and_no_header() {
    let hostile = "Ann\r\nBcc: evil@example.com\n\u{202e}\u{1b}[31m";
    let names = json!({ "display_name": hostile, "primary_email": "ann@example.com" });
    let document = json!({ "id": "e1", "type": "user.suspended", "subject": hostile,
        "data": { "actor": hostile, "after": { "cause": hostile }, "user": { "before": names, "after": null } } });
    let text = text_of(&document.to_string()).unwrap();
    assert!(!text.subject.contains(['\r', '\n', '\u{202e}', '\u{1b}']), "{:?}", text.subject);
    assert!(!text.whole().lines().any(|line| line.starts_with("Bcc")), "{}", text.whole());
    assert!(text.subject.chars().count() <= 151);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_digest_is_recorded_once_when_its_time_has_come() {
    let firm = crate::firm::Firm::running(5, |_| {}).await;
    let configured = firm.engine.configured();
    let mut rules = configured.rules.clone();
    rules.digest = Some(rosterd::model::Cron::parse("0 7 * * *", chrono_tz::Tz::UTC).unwrap());
    let directories = configured.directories.values().map(|d| d.config.clone()).collect();
    firm.engine.reconfigure(directories, rules);
    let user = firm.users().await.into_iter().find(|user| user.link.is_some()).unwrap();
    let (id, alice) = (user.id.to_string(), crate::firm::alice());
    firm.engine.suspend(&id, "left", &alice).await.unwrap();
    firm.engine.record_digest().await.unwrap();
    assert_eq!(firm.events("digest.daily").await.len(), 0, "07:00 is to come");
    firm.later(Duration::from_hours(24));
    firm.engine.record_digest().await.unwrap();
    firm.engine.record_digest().await.unwrap();
    let [digest] = firm.events("digest.daily").await.try_into().unwrap();
    let after = &digest["data"]["after"];
    assert_eq!((&after["leavers"], &after["causes"]), (&json!(1), &json!({ "operator": 1 })));
    assert_eq!(after["people"][0]["primary_email"], json!(user.addresses.primary));
    let text = text_of(&digest.to_string()).unwrap();
    assert!(text.subject.starts_with("rosterd: 1 left"), "{}", text.subject);
}

#[tokio::test]
async fn a_digest_counts_users_of_a_released_domain_as_leavers() {
    let firm = crate::firm::Firm::running(5, |_| {}).await;
    let configured = firm.engine.configured();
    let mut rules = configured.rules.clone();
    rules.digest = Some(rosterd::model::Cron::parse("0 7 * * *", chrono_tz::Tz::UTC).unwrap());
    let directories = configured.directories.values().map(|d| d.config.clone()).collect();
    firm.engine.reconfigure(directories, rules);
    let active = firm.active().await;
    firm.engine.release("example.com", None, &crate::firm::alice()).await.unwrap();
    firm.later(Duration::from_hours(24));
    firm.engine.record_digest().await.unwrap();
    let [digest] = firm.events("digest.daily").await.try_into().unwrap();
    assert_eq!(digest["data"]["after"]["causes"], json!({ "released": active }));
}
