//! The example hooks of the package, run as rosterd runs them.

use std::io::Write as _;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rosterd::hooks::{self, Hook};
use rosterd::model::Program;
use serde_json::{Value, json};

use super::receiver::{Receiver, status};
use super::{Desk, by_program, until};
use crate::service::Site;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/config/hooks");

/// Copies an example with one path replaced into a folder that only its owner can change.
fn installed(folder: &Path, name: &str, from: &str, to: &str) -> PathBuf {
    let path = folder.join(name);
    let text = std::fs::read_to_string(Path::new(FOLDER).join(name)).unwrap();
    crate::folder::write(&path, &text.replace(from, to), 0o755);
    path
}

fn example(desk: &Desk, name: &str, events: &[&str], arguments: &[&str]) -> Hook {
    let folder = desk.folder.path();
    let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    let path = installed(folder, name, "/var/lib/rosterd-hooks", folder.to_str().unwrap());
    let receiver = hooks::Receiver::Exec(Program { path, arguments: owned(arguments), part: None });
    Hook { receiver, events: owned(events), ..by_program(name, PathBuf::new()) }
}

/// Returns the names of a user in an event of the directory corp.
fn named(sam: &str) -> Value {
    json!({ "status": "active", "directory": "corp", "sam_account_name": sam, "primary_email": format!("{sam}@Example.com") })
}

/// Returns an event about a user in the form that programs get.
fn event(kind: &str, before: &Value, after: &Value) -> Value {
    json!({
        "specversion": "1.0", "id": "0193-e1", "source": "rosterd", "type": kind, "time": "2026-11-28T12:00:00Z", "subject": "0193-ab",
        "data": { "actor": "rosterd", "run": null, "before": null, "after": { "status": "x" }, "user": { "before": before, "after": after } },
    })
}

/// Runs an example in the environment that rosterd sets; returns its exit status and output.
fn run(program: &Path, arguments: &[&str], stdin: &str) -> (i32, String) {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .env("LANG", "C.UTF-8");
    command.env("ROSTERD_HOOK", "h").env("ROSTERD_EVENT_ID", "0193-e1").current_dir("/");
    let mut running = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A program that rejects its event may not read it.
    drop(running.stdin.take().unwrap().write_all(stdin.as_bytes()));
    let done = running.wait_with_output().unwrap();
    (
        done.status.code().unwrap(),
        String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned(),
    )
}

/// A folder of keys, in which each file contains its own name.
struct Keys {
    folder: tempfile::TempDir,
}

impl Keys {
    fn of(names: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in names {
            std::fs::write(folder.path().join(name), format!("{name}\n")).unwrap();
        }
        Self { folder }
    }

    /// Runs the hook for a user renamed from `before` to `after`.
    fn told(&self, kind: &str, before: &str, after: &str, more: &[&str]) -> (i32, String) {
        let keys = self.folder.path().to_str().unwrap();
        let arguments: Vec<&str> = [keys, "corp"].into_iter().chain(more.iter().copied()).collect();
        run(
            &Path::new(FOLDER).join("revoke-ssh-keys"),
            &arguments,
            &event(kind, &named(before), &named(after)).to_string(),
        )
    }

    /// Returns the files that give access and the revoked ones.
    fn files(&self) -> (Vec<String>, Vec<String>) {
        let mut names: Vec<String> = std::fs::read_dir(self.folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names.into_iter().partition(|name| !name.starts_with('.'))
    }
}

const REVOKED: &str = ".revoked.0193-ab";

/// Names that AD allows and that are valid file names.
const ODD: [&str; 14] = [
    "-rf",
    "--",
    "a b",
    " lead",
    "o'neil",
    "\"quoted\"",
    "$(touch pwned)",
    "`touch pwned`",
    "a;b",
    "*",
    "?",
    "zo\u{eb}",
    "\u{202e}gnp",
    "a\\b",
];

#[test]
fn the_keys_of_a_leaver_are_revoked_for_any_name_and_those_of_others_stay() {
    for name in ODD {
        let keys = Keys::of(&[name, "other", "another b"]);
        for round in ["first", "repeated"] {
            let (status, said) = keys.told("user.suspended", name, name, &[]);
            assert_eq!(
                (status, keys.files()),
                (0, (vec!["another b".to_owned(), "other".to_owned()], vec![REVOKED.to_owned()])),
                "{round} {name}: {said}"
            );
        }
        let (status, said) = keys.told("user.reactivated", name, name, &[]);
        assert_eq!((status, keys.files().1), (0, Vec::new()), "{name}: {said}");
        assert_eq!(
            std::fs::read_to_string(keys.folder.path().join(name.to_lowercase())).unwrap(),
            format!("{name}\n")
        );
        assert!(!Path::new("/pwned").exists() && !keys.folder.path().join("pwned").exists());
    }
}

#[test]
fn a_leaver_who_was_renamed_by_the_same_edit_loses_the_keys_of_both_names() {
    for (files, before, after) in [
        (&["anna"][..], "anna", "anna.smith"),
        (&["anna.smith"], "anna", "anna.smith"),
        (&["anna", "anna.smith"], "anna", "anna.smith"),
        (&["Anna"], "ANNA", "Anna.Smith"),
        (&["\u{f6}zg\u{fc}r"], "\u{d6}ZG\u{dc}R", "ozgur"),
    ] {
        let keys = Keys::of(files);
        let (status, said) = keys.told("user.suspended", before, after, &[]);
        assert_eq!(
            (status, keys.files()),
            (0, (Vec::new(), vec![REVOKED.to_owned()])),
            "{files:?}: {said}"
        );
        let kept = std::fs::read_to_string(keys.folder.path().join(REVOKED)).unwrap();
        assert!(files.iter().all(|file| kept.contains(file)), "{files:?}: {kept}");
        // The second event of that edit and a repetition change nothing.
        for kind in ["user.updated", "user.suspended"] {
            assert_eq!(
                (keys.told(kind, before, after, &[]).0, keys.files().0),
                (0, Vec::new()),
                "{kind}"
            );
        }
    }
}

#[test]
fn two_people_with_one_local_part_are_distinguished_by_their_logon_names() {
    let keys = Keys::of(&["jdoe", "jdoe2"]);
    let person = |sam: &str, mail: &str| json!({ "directory": "corp", "sam_account_name": sam, "primary_email": mail });
    let leaver = person("jdoe2", "jdoe@sub.example.com");
    let arguments = [keys.folder.path().to_str().unwrap(), "corp"];
    let (status, said) = run(
        &Path::new(FOLDER).join("revoke-ssh-keys"),
        &arguments,
        &event("user.suspended", &leaver, &leaver).to_string(),
    );
    assert_eq!((status, keys.files().0), (0, vec!["jdoe".to_owned()]), "{said}");
}

#[test]
fn keys_follow_a_new_logon_name_and_never_overwrite_other_keys() {
    let keys = Keys::of(&["anna"]);
    assert_eq!(keys.told("user.updated", "Anna", "anna.smith", &[]).0, 0);
    assert_eq!(keys.files().0, ["anna.smith"]);
    assert_eq!(keys.told("user.updated", "Anna", "anna.smith", &[]).0, 0, "repeated");
    let keys = Keys::of(&["anna", "anna.smith"]);
    let (status, said) = keys.told("user.updated", "anna", "anna.smith", &[]);
    assert_eq!((status, keys.files().0.len()), (1, 2), "{said}");
    let keys = Keys::of(&[REVOKED, "anna"]);
    let (status, said) = keys.told("user.reactivated", "anna", "anna", &[]);
    assert_eq!((status, keys.files().0), (1, vec!["anna".to_owned()]), "both are kept: {said}");
}

#[test]
fn a_hook_that_revoked_no_key_reports_it_and_fails() {
    for (before, after) in [
        ("anna", "anna"),
        ("", ""),
        ("../other", "../other"),
        (".revoked.0193-cd", "x"),
        ("a\nother", "b"),
        (".", ".."),
    ] {
        let keys = Keys::of(&["other", ".revoked.0193-cd"]);
        let (status, said) = keys.told("user.suspended", before, after, &[]);
        assert_eq!(
            (status, keys.files()),
            (1, (vec!["other".to_owned()], vec![".revoked.0193-cd".to_owned()])),
            "{before:?}: {said}"
        );
        assert!(!said.contains("are revoked"), "{said}");
    }
    let keys = Keys::of(&["other"]);
    let (status, said) = keys.told("user.suspended", "anna", "anna", &["not-everybody"]);
    assert!(status == 0 && said.contains("nothing was revoked"), "{said}");
    let script = Path::new(FOLDER).join("revoke-ssh-keys");
    let folder = keys.folder.path().to_str().unwrap();
    let unnamed =
        event("user.suspended", &json!({ "primary_email": "other@example.com" }), &Value::Null)
            .to_string();
    for (arguments, stdin) in [
        (&[folder, "corp"][..], unnamed.as_str()),
        (&["/no/such/folder", "corp"], &unnamed),
        (&[folder, "corp"], ""),
        (&[folder, "corp"], "{}"),
    ] {
        assert_eq!(
            (run(&script, arguments, stdin).0, keys.files().0),
            (1, vec!["other".to_owned()]),
            "{arguments:?} {stdin}"
        );
    }
    let elsewhere = event(
        "user.suspended",
        &json!({ "directory": "branch", "sam_account_name": "other" }),
        &Value::Null,
    )
    .to_string();
    assert_eq!(
        (run(&script, &[folder, "corp"], &elsewhere).0, keys.files().0),
        (0, vec!["other".to_owned()]),
        "another machine's people"
    );
}

#[test]
fn an_event_is_one_line_of_syslog_for_any_characters_in_a_name() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("log");
    let log = UnixDatagram::bind(&socket).unwrap();
    log.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let hostile = "a\r\nBcc: evil@example.com\n.\n\u{2028}$(touch /pwned) `id` \u{1b}[31m "
        .to_owned()
        + &"x".repeat(5_000);
    let mut event = event("user.suspended", &named(&hostile), &named(&hostile));
    event["data"]["after"] = json!({ "title": hostile, &hostile: 1 });
    let (status, said) = run(
        &Path::new(FOLDER).join("to-syslog"),
        &["--socket", socket.to_str().unwrap()],
        &event.to_string(),
    );
    assert_eq!(status, 0, "{said}");
    let mut line = vec![0; 60 * 1024];
    let length = log.recv(&mut line).unwrap();
    let line = String::from_utf8_lossy(&line[..length]).into_owned();
    assert!(
        line.ends_with("id=0193-e1") && !line.chars().any(|c| c.is_control() || c == '\u{2028}'),
        "whole, and one line: {line}"
    );
    log.set_nonblocking(true).unwrap();
    assert!(log.recv(&mut [0; 10]).is_err(), "there is a second line");
    let (status, said) = run(
        &Path::new(FOLDER).join("to-syslog"),
        &["--socket", "/no/such/socket"],
        &event.to_string(),
    );
    assert_ne!(status, 0, "a log that is not there: {said}");
    assert!(!Path::new("/pwned").exists());
}

#[test]
fn an_example_hook_without_an_event_fails() {
    let folder = tempfile::tempdir().unwrap();
    let options = folder.path().join("options.curl");
    std::fs::write(&options, "url = \"http://127.0.0.1:9/\"\n").unwrap();
    let (options, keys) = (options.to_str().unwrap(), folder.path().to_str().unwrap());
    let example = |name: &str| Path::new(FOLDER).join(name);
    for (program, arguments) in [
        (example("open-ticket"), &[options][..]),
        (example("to-chat"), &[options]),
        (example("to-syslog"), &[]),
        (example("revoke-ssh-keys"), &[keys, "corp"]),
    ] {
        for stdin in ["", "no JSON", "\n"] {
            let (status, said) = run(&program, arguments, stdin);
            assert_ne!(status, 0, "{} {stdin:?}: {said}", program.display());
        }
    }
    // The secret is missing from the credentials.
    let (status, said) = run(&example("open-ticket"), &["ticket.curl"], "{}");
    assert!(status != 0 && said.contains("examples/hooks.conf"), "{said}");
}

#[test]
fn ssh_keys_are_revoked_and_restored_with_their_person() {
    let site = Site::running();
    let user = site.done("user list --status active --account acme")["users"][0].clone();
    let (id, dn) =
        (user["id"].as_str().unwrap(), user["directory"]["dn"].as_str().unwrap().to_owned());
    let sam = user["profile"]["sam_account_name"].as_str().unwrap().to_owned();
    let folder = site.folder.path();
    let keys = folder.join("keys");
    std::fs::create_dir(&keys).unwrap();
    std::fs::write(keys.join(sam.to_lowercase()), "ssh-ed25519 AAAA").unwrap();
    let program = installed(folder, "revoke-ssh-keys", "", "");
    let hook = format!(
        "[[hook]]\nname = \"ssh-keys\"\nevents = [\"user.suspended\", \"user.reactivated\", \"user.updated\"]\nexec = [\"{}\", \"{}\", \"corp\"]\n",
        program.display(),
        keys.display()
    );
    site.configure(&hook, "");
    site.done("reload");
    assert_eq!(site.done("hook test ssh-keys")["output"], "a sample: nothing was changed");
    let idle = || {
        crate::process::until("it is told", || {
            (site.done("hook list")["hooks"][0]["pending"] == 0).then_some(())
        })
    };
    site.done(&format!("user suspend {id}"));
    idle();
    assert!(
        !keys.join(sam.to_lowercase()).exists() && keys.join(format!(".revoked.{id}")).exists()
    );
    site.done(&format!("user activate {id}"));
    idle();
    assert_eq!(std::fs::read_to_string(keys.join(sam.to_lowercase())).unwrap(), "ssh-ed25519 AAAA");

    // One edit in AD renames and disables the person.
    site.sim.edit(|ad| {
        ad.set(dn.as_str(), "sAMAccountName", "Renamed.Leaver");
        ad.disable(dn.as_str());
    });
    assert_eq!(site.done("sync corp")["changes"]["suspend"], 1);
    idle();
    let left: Vec<_> = std::fs::read_dir(&keys)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(left, [format!(".revoked.{id}")]);
    let hook = site.done("hook list")["hooks"][0].clone();
    assert_eq!(
        (&hook["state"], &hook["failed"]),
        (&Value::from("ok"), &Value::from(0)),
        "{hook:#}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_is_opened_once_and_its_token_is_on_no_command_line() {
    let tickets = Receiver::start(|_, _| status(201)).await;
    let desk = Desk::open().await;
    let options = desk.folder.path().join("ticket.curl");
    std::fs::write(
        &options,
        format!(
            "url = \"http://{}/api\"\nheader = \"Authorization: Bearer token\"\n",
            tickets.address
        ),
    )
    .unwrap();
    desk.hook_up(vec![example(
        &desk,
        "open-ticket",
        &["user.suspended"],
        &[options.to_str().unwrap()],
    )]);
    desk.happens("user.suspended", &["anna"]).await;
    desk.idle("open-ticket").await;
    let told = &tickets.told()[0];
    let event = desk.events("user.suspended").await.remove(0);
    assert_eq!(
        (told.header("authorization"), told.header("idempotency-key")),
        ("Bearer token", event["id"].as_str().unwrap())
    );
    let ticket = told.document();
    assert_eq!(
        (&ticket["title"], &ticket["external_id"]),
        (&serde_json::json!("user.suspended: anna"), &event["id"])
    );
    assert!(ticket["body"].as_str().unwrap().contains("by alice"), "{ticket}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chat_room_gets_the_text_of_a_mail_and_its_error_is_stored_with_the_delivery() {
    let chat = Receiver::start(|_, count| status(if count == 1 { 500 } else { 200 })).await;
    let desk = Desk::open().await;
    let options = desk.folder.path().join("chat.curl");
    std::fs::write(&options, format!("url = \"http://{}/hooks/x\"\n", chat.address)).unwrap();
    desk.hook_up(vec![example(&desk, "to-chat", &["directory.*"], &[options.to_str().unwrap()])]);
    desk.happens("directory.paused", &["corp"]).await;
    let failed = until("it was refused", async || {
        desk.deliveries("to-chat").await.pop().filter(|d| d.attempts == 1)
    })
    .await;
    assert!(failed.output.unwrap().contains("this is 500"));
    desk.idle("to-chat").await;
    let text = chat.told()[1].document()["text"].as_str().unwrap().to_owned();
    assert!(text.starts_with("corp is paused\n\ncorp is paused.\n"), "{text}");
    assert!(text.ends_with("The state: rosterctl status\n"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn syslog_gets_a_line_for_each_event() {
    let desk = Desk::open().await;
    let socket = desk.folder.path().join("log");
    let log = UnixDatagram::bind(&socket).unwrap();
    log.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    desk.hook_up(vec![example(
        &desk,
        "to-syslog",
        &["*"],
        &["--socket", socket.to_str().unwrap()],
    )]);
    desk.happens("user.suspended", &["anna"]).await;
    desk.idle("to-syslog").await;
    let mut line = [0; 2000];
    let length = log.recv(&mut line).unwrap();
    let line = String::from_utf8_lossy(&line[..length]).into_owned();
    // authpriv.notice is 10 * 8 + 5.
    assert!(
        line.starts_with("<85>")
            && line.contains(" rosterd: ")
            && line.contains("user.suspended anna alice {\"status\":\"x\"}"),
        "{line}"
    );
}

#[test]
fn the_example_hooks_pass_the_check_of_rosterd() {
    let folder = tempfile::tempdir().unwrap();
    let text =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/config/examples/hooks.toml"))
            .unwrap();
    let minimal = std::fs::read_to_string(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/config/examples/minimal.toml"
    ))
    .unwrap();
    let password = folder.path().join("password");
    crate::folder::write(&password, "secret", 0o600);
    let file = folder.path().join("rosterd.toml");
    std::fs::write(
        &file,
        format!(
            "{}\n{text}",
            minimal.replace("/etc/rosterd/corp.password", password.to_str().unwrap())
        ),
    )
    .unwrap();
    let done = Command::new(env!("CARGO_BIN_EXE_rosterd"))
        .args(["check-config", "--config"])
        .arg(&file)
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let mut named: Vec<&str> = text
        .split("/usr/libexec/rosterd/")
        .skip(1)
        .map(|t| t.split('"').next().unwrap())
        .filter(|t| !t.contains(' '))
        .collect();
    named.sort_unstable();
    let mut there: Vec<String> = std::fs::read_dir(FOLDER)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
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
