//! The hooks that come with the package, run as rosterd runs them.

use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rosterd::hooks::{Hook, Program, Target};

use super::receiver::{Receiver, status};
use super::{Desk, by_program, until};
use crate::service::Site;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/config/hooks");

/// A copy of one that finds something elsewhere, in a folder that only its owner can write, as it has to be.
fn installed(folder: &Path, name: &str, from: &str, to: &str) -> PathBuf {
    let path = folder.join(name);
    let text = std::fs::read_to_string(Path::new(FOLDER).join(name)).unwrap();
    crate::folder::write(&path, &text.replace(from, to), 0o755);
    path
}

fn example(desk: &Desk, name: &str, events: &[&str], arguments: &[&str]) -> Hook {
    let folder = desk.folder.path();
    let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    let path = installed(folder, name, "/var/lib/rosterd", folder.to_str().unwrap());
    let target = Target::Exec(Program { path, arguments: owned(arguments) });
    Hook { target, events: owned(events), ..by_program(name, PathBuf::new()) }
}

#[test]
fn ssh_keys_go_and_come_with_their_person() {
    let site = Site::running();
    let user = site.done("user list --status active --account acme")["users"][0].clone();
    let (id, mail) = (user["id"].as_str().unwrap(), user["primary_email"].as_str().unwrap());
    let name = mail.split('@').next().unwrap();
    let folder = site.folder.path();
    let keys = folder.join("keys");
    std::fs::create_dir(&keys).unwrap();
    std::fs::write(keys.join(name), "ssh-ed25519 AAAA").unwrap();
    // The program looks for rosterctl where programs are; here it is elsewhere.
    let program = installed(folder, "revoke-ssh-keys", "$(rosterctl ", concat!("$(", env!("CARGO_BIN_EXE_rosterctl"), " "));
    let (program, socket) = (program.display(), folder.join("control.sock"));
    let (keys_shown, socket) = (keys.display(), socket.display());
    let events = "events = [\"user.suspended\", \"user.reactivated\"]";
    let hook = format!("[[hook]]\nname = \"ssh-keys\"\n{events}\nexec = [\"{program}\", \"{keys_shown}\", \"--socket\", \"{socket}\"]\n");
    site.configure(&hook, "");
    site.done("reload");
    assert_eq!(site.done("hook test ssh-keys")["output"], "a sample: nothing was changed");
    let done = || site.done("hook list")["hooks"][0]["delivered"].as_u64().unwrap();
    site.done(&format!("user suspend {id}"));
    crate::process::until("the keys are gone", || (done() == 1).then_some(()));
    assert!(!keys.join(name).exists() && keys.join(format!(".revoked.{name}")).exists());
    site.done(&format!("user activate {id}"));
    crate::process::until("the keys are back", || (done() == 2).then_some(()));
    assert_eq!(std::fs::read_to_string(keys.join(name)).unwrap(), "ssh-ed25519 AAAA");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_is_opened_once_with_a_token_that_is_on_no_command_line() {
    let tickets = Receiver::start(|_, _| status(201)).await;
    let desk = Desk::open().await;
    let options = desk.folder.path().join("ticket.curl");
    std::fs::write(&options, format!("url = \"http://{}/api\"\nheader = \"Authorization: Bearer token\"\n", tickets.address)).unwrap();
    desk.hook_up(vec![example(&desk, "open-ticket", &["user.suspended"], &[options.to_str().unwrap()])]);
    desk.happens("user.suspended", &["anna"]).await;
    desk.idle("open-ticket").await;
    let told = &tickets.told()[0];
    let event = desk.events("user.suspended").await.remove(0);
    assert_eq!((told.header("authorization"), told.header("idempotency-key")), ("Bearer token", event["id"].as_str().unwrap()));
    let ticket = told.document();
    assert_eq!((&ticket["title"], &ticket["external_id"]), (&serde_json::json!("user.suspended: anna"), &event["id"]));
    assert!(ticket["body"].as_str().unwrap().contains("by alice"), "{ticket}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chat_room_gets_a_line_and_its_refusal_is_kept_with_the_delivery() {
    let chat = Receiver::start(|_, count| status(if count == 1 { 500 } else { 200 })).await;
    let desk = Desk::open().await;
    let options = desk.folder.path().join("chat.curl");
    std::fs::write(&options, format!("url = \"http://{}/hooks/x\"\n", chat.address)).unwrap();
    desk.hook_up(vec![example(&desk, "to-chat", &["run.held"], &[options.to_str().unwrap()])]);
    desk.happens("run.held", &["7"]).await;
    let failed = until("it was refused", async || desk.deliveries("to-chat").await.pop().filter(|d| d.attempts == 1)).await;
    assert!(failed.output.unwrap().contains("this is 500"));
    desk.idle("to-chat").await;
    assert_eq!(chat.told()[1].document()["text"], "rosterd: run.held 7: {\"status\":\"x\"}");
}

#[tokio::test(flavor = "multi_thread")]
async fn syslog_gets_a_line_for_each_event() {
    let desk = Desk::open().await;
    let socket = desk.folder.path().join("log");
    let log = UnixDatagram::bind(&socket).unwrap();
    log.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    desk.hook_up(vec![example(&desk, "to-syslog", &["*"], &["--socket", socket.to_str().unwrap()])]);
    desk.happens("user.suspended", &["anna"]).await;
    desk.idle("to-syslog").await;
    let mut line = [0; 2000];
    let length = log.recv(&mut line).unwrap();
    let line = String::from_utf8_lossy(&line[..length]).into_owned();
    // authpriv.notice is 10 * 8 + 5.
    assert!(
        line.starts_with("<85>") && line.contains(" rosterd: ") && line.contains("user.suspended anna alice {\"status\":\"x\"}"),
        "{line}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_needs_attention_comes_in_one_mail_and_again_when_it_was_not_taken() {
    let desk = Desk::open().await;
    // Refuses the first mail.
    let sendmail = desk.script("sendmail", "cat > \"$0.$$\"; [ -e \"$0.was\" ] || { touch \"$0.was\"; rm \"$0.$$\"; exit 75; }");
    let arguments = ["it@example.com", "1", sendmail.to_str().unwrap()];
    desk.hook_up(vec![example(&desk, "mail-digest", &["run.held", "directory.stale", "hook.dead_lettered"], &arguments)]);
    desk.happens("run.held", &["7"]).await;
    desk.happens("directory.stale", &["corp"]).await;
    desk.happens("hook.dead_lettered", &["vpn"]).await;
    desk.idle("mail-digest").await;
    let mails: Vec<String> = std::fs::read_dir(desk.folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.file_name().unwrap().to_str().unwrap().strip_prefix("sendmail.").is_some_and(|n| n != "was"))
        .map(|path| std::fs::read_to_string(path).unwrap())
        .collect();
    assert_eq!(mails.len(), 1, "{mails:#?}");
    let mail = &mails[0];
    assert!(mail.starts_with("To: it@example.com\nSubject: rosterd: 3 events need attention\n"), "{mail}");
    for told in ["run.held  7", "see: rosterctl held list", "directory.stale  corp", "rosterctl hook deliveries vpn --state failed"] {
        assert_eq!(mail.matches(told).count(), 1, "{told}: {mail}");
    }
}

#[test]
fn the_example_hooks_are_ones_that_rosterd_takes() {
    let folder = tempfile::tempdir().unwrap();
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/config/examples/hooks.toml")).unwrap();
    let minimal = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/config/examples/minimal.toml")).unwrap();
    let password = folder.path().join("password");
    crate::folder::write(&password, "secret", 0o600);
    let file = folder.path().join("rosterd.toml");
    std::fs::write(&file, format!("{}\n{text}", minimal.replace("/etc/rosterd/corp.password", password.to_str().unwrap()))).unwrap();
    let done = Command::new(env!("CARGO_BIN_EXE_rosterd")).args(["check-config", "--config"]).arg(&file).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let mut named: Vec<&str> =
        text.split("/usr/libexec/rosterd/").skip(1).map(|t| t.split('"').next().unwrap()).filter(|t| !t.contains(' ')).collect();
    named.sort_unstable();
    let mut there: Vec<String> = std::fs::read_dir(FOLDER).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    there.sort();
    assert_eq!(named, there, "each is shown in use");
}

#[test]
#[ignore = "needs the lab: tests/run"]
fn shellcheck_finds_nothing_wrong_with_the_example_hooks() {
    let mut check = Command::new("shellcheck");
    for entry in std::fs::read_dir(FOLDER).unwrap() {
        check.arg(entry.unwrap().path());
    }
    let done = check.output().expect("shellcheck; tests/lab/install has it");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stdout));
}
