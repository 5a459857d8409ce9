//! The lines of the helper, as rosterd reads them. Binds are tested on real domain controllers.

use std::io::Write as _;
use std::process::{Command, Stdio};

/// Returns the answer to some lines.
fn answer(lines: &str) -> String {
    let mut helper = Command::new(env!("CARGO_BIN_EXE_rosterd-gssapi"))
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the helper");
    helper.stdin.take().expect("a pipe").write_all(lines.as_bytes()).expect("a request");
    let done = helper.wait_with_output().expect("an answer");
    assert!(done.status.success(), "{done:?}");
    String::from_utf8(done.stdout).expect("text")
}

#[test]
fn a_malformed_request_is_refused_in_one_line() {
    assert_eq!(answer("YQ== YQ==\n"), "failed 0 a request has five fields\n");
    assert_eq!(answer("? YQ== YQ== YQ== YQ==\n"), "failed 0 a field is not Base64\n");
    assert_eq!(answer("/w== YQ== YQ== YQ== YQ==\n"), "failed 0 a name is not UTF-8\n");
}

#[test]
fn the_helper_ends_without_a_word_when_no_request_comes() {
    assert_eq!(answer(""), "");
}
