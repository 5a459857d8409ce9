//! Messages of `rosterctl` about answers on its socket: "no daemon", "not allowed" or "wrong
//! answer".

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

const OWN: &str = env!("CARGO_PKG_VERSION");

/// Answers one request with these bytes, and closes the connection.
fn answering(socket: &Path, answer: Vec<u8>) -> std::thread::JoinHandle<()> {
    let listener = UnixListener::bind(socket).unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let (mut heard, mut some) = (Vec::new(), [0; 4096]);
        while !heard.ends_with(b"\r\n\r\n") {
            let n = stream.read(&mut some).unwrap();
            heard.extend_from_slice(&some[..n]);
        }
        stream.write_all(&answer).unwrap();
    })
}

fn rosterctl(socket: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rosterctl"));
    command
        .arg("--socket")
        .arg(socket)
        .args(words)
        .stdin(Stdio::null())
        .env_remove("CLICOLOR_FORCE");
    command
}

/// Runs `rosterctl status`. Returns exit status, output and errors.
fn status_on(answer: &[u8]) -> (i32, String, String) {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("s");
    let server = answering(&socket, answer.to_vec());
    let Output { status, stdout, stderr } = rosterctl(&socket, &["status"]).output().unwrap();
    server.join().unwrap();
    let said = String::from_utf8(stderr).unwrap().replace(socket.to_str().unwrap(), "SOCKET");
    (status.code().unwrap(), String::from_utf8(stdout).unwrap(), said)
}

fn http(status: &str, server: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\nserver: {server}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
        .into_bytes()
}

fn problem(status: &str, kind: &str, detail: &str) -> String {
    let (code, title) = status.split_once(' ').unwrap();
    json!({ "type": kind, "title": title, "status": code.parse::<u16>().unwrap(), "detail": detail }).to_string()
}

#[test]
fn a_wrong_answer_is_reported_with_its_fault() {
    let own = format!("rosterd/{OWN}");
    let table: Vec<(Vec<u8>, &str)> = vec![
        (
            b"SSH-2.0-OpenSSH_9.2\r\n".to_vec(),
            "wrong answer on SOCKET: the answer is not HTTP (invalid HTTP version parsed): check that this is the socket of rosterd",
        ),
        (
            Vec::new(),
            "wrong answer on SOCKET: the connection broke off, as when rosterd restarts: repeat the request",
        ),
        (
            b"HTTP/1.1 200 OK\r\ncontent-le".to_vec(),
            "wrong answer on SOCKET: the connection broke off, as when rosterd restarts: repeat the request",
        ),
        (
            format!(
                "HTTP/1.1 200 OK\r\nserver: {own}\r\ncontent-length: 100\r\n\r\n{{\"version\": "
            )
            .into_bytes(),
            "wrong answer on SOCKET: the connection broke off, as when rosterd restarts: repeat the request",
        ),
        (
            http("200 OK", "nginx/1.22", "<html>"),
            "wrong answer on SOCKET: nginx/1.22 answered (200 OK) instead of rosterd: check the path of the socket",
        ),
        (
            b"HTTP/1.0 404 Not Found\r\n\r\n{\"error\":\"no\"}".to_vec(),
            "wrong answer on SOCKET: another server answered (404 Not Found) instead of rosterd: check the path of the socket",
        ),
        (
            http("302 Found", "Docker/28.0 (linux)", ""),
            "wrong answer on SOCKET: Docker/28.0 (linux) answered (302 Found) instead of rosterd: check the path of the socket",
        ),
        (
            http("200 OK", &own, "<html>"),
            "wrong answer on SOCKET: 200 OK without JSON (expected value at line 1 column 1): see the log of rosterd",
        ),
        (
            http("500 Internal Server Error", &own, ""),
            "wrong answer on SOCKET: 500 Internal Server Error without JSON (EOF while parsing a value at line 1 column 0): see the log of rosterd",
        ),
        (
            http("200 OK", &own, "{}"),
            "wrong answer on SOCKET: the document has an unexpected form (missing field `version`): use the rosterctl of the same version as rosterd; this is OWN",
        ),
        (
            http("409 Conflict", &own, "[]"),
            "wrong answer on SOCKET: the document has an unexpected form (invalid length 0, expected struct Problem with 6 elements): use the rosterctl of the same version as rosterd; this is OWN",
        ),
    ];
    for (answer, sentence) in table {
        let (code, out, said) = status_on(&answer);
        assert_eq!((code, out.as_str()), (1, ""), "{said}");
        assert_eq!(said, format!("error: {}\n", sentence.replace("OWN", OWN)));
    }
}

#[test]
fn an_error_of_the_daemon_is_quoted_and_another_version_is_reported() {
    let unknown = "urn:rosterd:problem:unknown-route";
    let versions = format!(
        "; the versions differ: this is rosterctl {OWN}, rosterd is 9.9.9; use the rosterctl that came with it, or restart rosterd after an upgrade"
    );
    let own = format!("rosterd/{OWN}");
    let other = "rosterd/9.9.9".to_owned();
    let blank = "about:blank";
    for (status, server, kind, detail, code, says) in [
        (
            "403 Forbidden",
            &own,
            blank,
            "anna (uid 1000) may not read",
            5,
            "not allowed: anna (uid 1000) may not read".to_owned(),
        ),
        (
            "503 Service Unavailable",
            &own,
            blank,
            "rosterd is stopping",
            1,
            "rosterd is stopping".to_owned(),
        ),
        (
            "404 Not Found",
            &other,
            blank,
            "there is no user \"x\"",
            1,
            "there is no user \"x\"".to_owned(),
        ),
        (
            "404 Not Found",
            &other,
            unknown,
            "no resource at /v1/x",
            1,
            format!("no resource at /v1/x{versions}"),
        ),
        (
            "405 Method Not Allowed",
            &other,
            unknown,
            "/v1/x does not support POST",
            1,
            format!("/v1/x does not support POST{versions}"),
        ),
        (
            "400 Bad Request",
            &other,
            blank,
            "unknown field `x`",
            1,
            format!("unknown field `x`{versions}"),
        ),
        (
            "404 Not Found",
            &own,
            unknown,
            "no resource at /v1/x",
            1,
            "no resource at /v1/x".to_owned(),
        ),
        ("409 Conflict", &own, blank, "", 1, "Conflict".to_owned()),
        (
            "409 Conflict",
            &own,
            blank,
            "a\u{1b}[2J\nerror: b",
            1,
            "a\\u{1b}[2J\n  error: b".to_owned(),
        ),
    ] {
        let (exit, _, said) = status_on(&http(status, server, &problem(status, kind, detail)));
        assert_eq!((exit, said.as_str()), (code, format!("error: {says}\n").as_str()));
    }
}

/// Returns the status document of a newer daemon with this state of a directory.
fn newer_status(state: &str) -> String {
    let directory = json!({
        "name": "corp", "account": "acme", "state": state, "server": null, "live": false, "last_attempt": null, "last_success": null,
        "last_complete_read": null, "next_run": "whenever", "paused_until": null, "users": { "active": 1, "suspended": 0, "asleep": 3 },
        "held": 0, "quarantined": 0, "attention": [], "mood": { "deep": [1, 2] }
    });
    json!({ "version": "9.9.9", "started_at": "2026-11-24T02:58:00.000Z", "hooks": { "pending": 0, "failed": 0 }, "directories": [directory], "more": 1 })
        .to_string()
}

#[test]
fn unknown_fields_of_a_newer_daemon_are_ignored() {
    let (code, out, said) = status_on(&http("200 OK", "rosterd/9.9.9", &newer_status("ok")));
    assert_eq!((code, said.as_str()), (0, ""));
    assert!(out.contains("corp → account acme: ok") && out.contains("whenever"), "{out}");
}

#[test]
fn an_unknown_word_of_a_newer_daemon_is_reported_with_the_version_to_use() {
    let newer = newer_status("hibernating");
    let (code, out, said) = status_on(&http("200 OK", "rosterd/9.9.9", &newer));
    assert_eq!((code, out.as_str()), (1, ""), "{said}");
    let advice = format!("use the rosterctl of the same version as rosterd; this is {OWN}");
    assert!(said.contains("unknown variant `hibernating`") && said.contains(&advice), "{said}");
}

#[test]
fn a_socket_without_a_daemon_is_reported_as_a_problem_document_with_json() {
    let folder = tempfile::tempdir().unwrap();
    let (absent, refused, file) =
        (folder.path().join("absent"), folder.path().join("refused"), folder.path().join("file"));
    drop(UnixListener::bind(&refused).unwrap());
    std::fs::write(&file, "").unwrap();
    for (socket, why) in [
        (&absent, "there is no such socket"),
        (&refused, "the connection was refused"),
        (&file, "the connection was refused"),
    ] {
        let Output { status, stdout, stderr } =
            rosterctl(socket, &["status", "--json"]).output().unwrap();
        assert_eq!(status.code(), Some(4));
        let sentence = format!(
            "no rosterd answers on {} ({why}): is it running? systemctl status rosterd",
            socket.display()
        );
        assert_eq!(String::from_utf8(stderr).unwrap(), format!("error: {sentence}\n"));
        let problem: Value = serde_json::from_slice(&stdout).unwrap();
        assert_eq!((&problem["status"], &problem["detail"]), (&json!(503), &json!(sentence)));
    }
}

#[test]
fn a_closed_output_ends_the_command_quietly() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = rosterctl(&folder.path().join("s"), &["completions", "bash"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let Output { status, stderr, .. } = child.wait_with_output().unwrap();
    assert_eq!((status.code(), String::from_utf8(stderr).unwrap().as_str()), (Some(0), ""));

    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let Output { status, stderr, .. } =
        rosterctl(&folder.path().join("s"), &["completions", "bash"])
            .stdout(full)
            .output()
            .unwrap();
    let said = String::from_utf8(stderr).unwrap();
    assert!(
        status.code() == Some(1) && said.starts_with("error: cannot write the output: "),
        "{said}"
    );
}
