//! The command line, its terminal, and its exit statuses.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use clap::{CommandFactory as _, Parser as _};
use rosterd::control::api;
use rosterd::ctl::terminal::Wish;
use rosterd::ctl::{Cli, Exit, Terminal, command, domain, held, plan, run};
use serde_json::{Value, json};

use super::{a_claim, a_held_plan, a_plan, a_run, change, sent, view, with};

/// An output whose text can be read afterwards.
#[derive(Clone, Default)]
pub(crate) struct Output(Arc<Mutex<Vec<u8>>>);

impl Output {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().expect("a lock").clone()).expect("text")
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("a lock").write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// An output whose reader has closed the pipe.
struct ClosedPipe;

impl Write for ClosedPipe {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

async fn typed(out: impl Write + Send + 'static, err: &Output, words: &[&str]) -> Exit {
    let cli = Cli::try_parse_from(
        ["rosterctl", "--socket", "/nonexistent/control.sock"].iter().chain(words),
    )
    .expect("a command");
    let (out, err) = (Box::new(out), Box::new(err.clone()));
    let (colour, interactive) = (false, false);
    let mut terminal = Terminal {
        out,
        err,
        width: 100,
        colour,
        err_colour: colour,
        interactive,
        draws: interactive,
        height: None,
        zone: chrono_tz::Tz::UTC,
        now: Box::new(|| view().now),
    };
    run(cli, &mut terminal).await
}

#[test]
fn the_command_line_is_well_formed() {
    Cli::command().debug_assert();
}

#[test]
fn colours_depend_on_the_terminal_and_the_environment() {
    let wish = |no_color, force, is_dumb| Wish { no_color, force, is_dumb };
    for (wish, on_a_terminal, into_a_file) in [
        (wish(false, false, false), true, false),
        (wish(true, false, false), false, false),
        (wish(false, true, false), true, true),
        (wish(true, true, false), false, false),
        (wish(false, false, true), false, false),
    ] {
        assert_eq!(
            (wish.colours(true), wish.colours(false)),
            (on_a_terminal, into_a_file),
            "{wish:?}"
        );
    }
}

#[tokio::test]
async fn the_command_line_overrides_the_environment_about_colours() {
    for (words, coloured) in [
        (&["status"][..], false),
        (&["status", "--color", "always"], true),
        (&["--color=never", "status"], false),
    ] {
        let err = Output::default();
        typed(Output::default(), &err, words).await;
        assert_eq!(err.text().contains("\u{1b}[31merror:"), coloured, "{words:?}");
    }
}

#[tokio::test]
async fn without_a_daemon_the_message_names_the_socket_and_the_remedy() {
    let (out, err) = (Output::default(), Output::default());
    assert_eq!(typed(out.clone(), &err, &["status"]).await, Exit::NoDaemon);
    assert_eq!(out.text(), "");
    insta::assert_snapshot!(err.text(), @"
    error: no rosterd answers on /nonexistent/control.sock (there is no such socket): is it running?
           systemctl status rosterd
    ");
}

#[tokio::test]
async fn with_json_a_failure_is_a_problem_on_standard_output() {
    let (out, err) = (Output::default(), Output::default());
    assert_eq!(typed(out.clone(), &err, &["status", "--json"]).await, Exit::NoDaemon);
    let problem: api::Problem = serde_json::from_str(&out.text()).expect("one document");
    assert_eq!((problem.status, problem.kind.as_str()), (503, "about:blank"));
}

#[tokio::test]
async fn a_suspending_command_without_a_terminal_requires_yes() {
    for words in [["held", "approve", "4e2b8c22"], ["user", "suspend", "ben@example.com"]] {
        let (out, err) = (Output::default(), Output::default());
        assert_eq!(typed(out, &err, &words).await, Exit::Usage);
        assert!(err.text().contains("add --yes"), "{}", err.text());
        let with_yes = [words.as_slice(), &["--yes"]].concat();
        assert_eq!(
            typed(Output::default(), &Output::default(), &with_yes).await,
            Exit::NoDaemon,
            "it was asked for"
        );
    }
}

#[tokio::test]
async fn a_closed_output_pipe_is_no_failure() {
    let err = Output::default();
    assert_eq!(typed(ClosedPipe, &err, &["completions", "bash"]).await, Exit::Done);
    assert_eq!(err.text(), "");
}

#[test]
fn every_outcome_has_its_exit_status() {
    let run_ends = |state: &str, held: u64| {
        run::exit(&sent(with(a_run(state), &json!({ "held": held })))).code()
    };
    assert_eq!(
        [
            run_ends("succeeded", 0),
            run_ends("succeeded", 1),
            run_ends("held", 2),
            run_ends("failed", 2),
            run_ends("cancelled", 0)
        ],
        [0, 3, 3, 1, 1]
    );
    let plan_ends = |held: Value| {
        plan::exit(&sent(a_plan(&json!([change("suspend", "a@b.c", &json!({ "held": held }))]))))
            .code()
    };
    let holds = [Value::Null, json!("grace-period"), json!("rejected"), json!("limit")];
    assert_eq!(holds.map(plan_ends), [0, 0, 0, 3]);
    let approval_ends = |waiting: Value| {
        held::exit(&sent(with(a_run("succeeded"), &json!({ "waiting": waiting })))).code()
    };
    assert_eq!([approval_ends(Value::Null), approval_ends(a_held_plan())], [0, 3]);
    assert_eq!(
        [
            domain::exit(&sent(a_claim("verified"))).code(),
            domain::exit(&sent(a_claim("pending"))).code()
        ],
        [0, 1]
    );
    let all = [Exit::Done, Exit::Failed, Exit::Usage, Exit::Held, Exit::NoDaemon, Exit::NotAllowed]
        .map(Exit::code);
    assert_eq!(all, [0, 1, 2, 3, 4, 5]);
    assert_eq!(
        [Exit::Done, Exit::Held, Exit::Failed].into_iter().max(),
        Some(Exit::Failed),
        "a failed run outweighs a held one"
    );
}

#[test]
fn the_help_lists_every_command_in_one_of_four_groups() {
    let help = command().render_help().to_string();
    for heading in ["Every day:", "People:", "Setup:", "Records:", "Global options:"] {
        assert!(help.contains(heading), "{heading}: {help}");
    }
    for name in command().get_subcommands().filter(|c| !c.is_hide_set()) {
        let line = format!("\n  {:<12} ", name.get_name());
        assert!(help.contains(&line), "{line}: {help}");
    }
}

/// Returns the lines of a command's help, and of those below it, that are wider than a terminal.
fn wide(command: &mut clap::Command) -> Vec<String> {
    let help = command.render_long_help().to_string();
    let mut lines: Vec<String> = help
        .lines()
        .filter(|line| line.chars().count() > 80 && !line.starts_with("Usage"))
        .map(str::to_owned)
        .collect();
    for below in command.get_subcommands_mut() {
        lines.extend(wide(below));
    }
    lines
}

#[test]
fn the_help_of_every_command_fits_eighty_columns() {
    let mut command = command();
    command.build();
    assert_eq!(wide(&mut command), [""; 0]);
}

#[test]
fn commands_are_found_by_the_words_that_operators_type() {
    for line in [
        "",
        "version",
        "users ls",
        "ls --suspended --limit 5",
        "ls --count",
        "user list --department Berlin",
        "user rm ada@example.com",
        "user disable ada@example.com",
        "user enable ada@example.com",
        "search ada",
        "who ada",
        "find ada",
        "sync --dry-run",
        "run undo latest",
        "run show",
        "run list --failed --since yesterday",
        "held show --by ou",
        "held show 4e2b8c22 --csv",
        "held approve --ou Sales --first 10",
        "event list --user ada@example.com --since monday",
        "directory show",
        "directory check",
        "directory pause corp --for 18:00",
        "--utc status",
        "held approve --dry-run",
        "--dry-run user suspend ada@example.com",
        "user note ada@example.com leave",
        "user note ada@example.com --clear",
    ] {
        let words = ["rosterctl"].into_iter().chain(line.split_whitespace());
        assert!(Cli::try_parse_from(words).is_ok(), "rosterctl {line}");
    }
}

#[tokio::test]
async fn the_version_needs_no_daemon() {
    let (out, err) = (Output::default(), Output::default());
    assert_eq!(typed(out.clone(), &err, &["version"]).await, Exit::Done);
    assert_eq!(out.text(), format!("rosterctl {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn usage_does_not_name_the_socket_of_the_environment() {
    let usage = |words: &[&str]| {
        let refused = Cli::try_parse_from(["rosterctl"].iter().chain(words)).expect_err("usage");
        refused.to_string()
    };
    assert!(!usage(&["user", "show"]).contains("--socket"), "{}", usage(&["user", "show"]));
}
