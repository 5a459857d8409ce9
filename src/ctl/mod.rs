//! `rosterctl`: the operator's command line.
//!
//! It knows the socket only: no configuration, no store, no secrets. Each noun has a file with its
//! commands and the views of its documents. A view is a function of a document, without I/O. Data
//! goes to standard output, everything else to standard error. With `--json` the data is exactly
//! one document, as the daemon sent it. On failure that is a problem (RFC 9457).

pub mod account;
pub mod backup;
pub(crate) mod change;
pub mod check;
mod complete;
pub(crate) mod console;
pub(crate) mod csv;
pub mod directory;
pub mod domain;
pub mod event;
pub mod explain;
pub mod held;
pub mod hook;
pub mod id;
mod leader;
pub(crate) mod link;
mod new_file;
pub mod plan;
mod progress;
pub mod reload;
pub mod report;
pub mod review;
pub mod run;
pub(crate) mod selection;
mod shell;
mod sign_in;
pub mod status;
mod step;
pub mod sync;
pub(crate) mod target;
pub mod terminal;
pub mod text;
pub mod user;
pub mod users;
pub(crate) mod when;
mod zone;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use serde_json::{Value, json};

use crate::control::api::Status;
use crate::control::client::Route;
use link::{Daemon, Failure};
use text::{Page, View};

use terminal::Colours;

pub use complete::answer_shell;
pub use terminal::Terminal;

/// Operates rosterd, which keeps the user list of your applications in step with Active Directory
#[derive(Debug, Parser)]
#[command(name = "rosterctl", version, max_term_width = HELP_WIDTH, disable_help_subcommand = true, after_help = EXIT_CODES)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of its own")]
pub struct Cli {
    /// The control socket of rosterd; default: $ROSTERD_SOCKET, else /run/rosterd/control.sock
    #[arg(long, global = true, help_heading = GLOBAL)]
    socket: Option<PathBuf>,
    /// Print one JSON document instead of text
    #[arg(long, global = true, help_heading = GLOBAL)]
    json: bool,
    /// Show times in UTC instead of local time
    #[arg(long, global = true, help_heading = GLOBAL)]
    utc: bool,
    /// Colours: auto, always or never
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        default_value = "auto",
        hide_default_value = true,
        hide_possible_values = true,
        help_heading = GLOBAL
    )]
    color: Colours,
    /// Show what the command would change, and change nothing
    #[arg(long, global = true, help_heading = GLOBAL)]
    dry_run: bool,
    /// Assume yes for all questions
    #[arg(long, short, global = true, help_heading = GLOBAL)]
    yes: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

const GLOBAL: &str = "Global options";

const DEFAULT_SOCKET: &str = "/run/rosterd/control.sock";

const EXIT_CODES: &str = "Exit status: 0 done, 1 failed, 2 wrong usage, 3 changes are held for approval, 4 no daemon answers, 5 not allowed";

#[derive(Debug, Subcommand)]
enum Command {
    /// Show the state of all directories and hooks, and what needs attention
    Status,
    Sync(sync::Arguments),
    Plan(plan::Arguments),
    #[command(subcommand)]
    Held(held::Command),
    #[command(subcommand, visible_alias = "users")]
    User(user::Command),
    #[command(visible_aliases = ["find", "who"])]
    Search(users::Search),
    /// List all users
    #[command(name = "ls", hide = true)]
    ListUsers(users::List),
    SignIn(sign_in::Arguments),
    #[command(subcommand)]
    Account(account::Command),
    #[command(subcommand)]
    Domain(domain::Command),
    #[command(subcommand)]
    Directory(directory::Command),
    #[command(subcommand)]
    Target(target::Command),
    #[command(subcommand)]
    Hook(hook::Command),
    /// Reload the configuration of rosterd; an invalid file changes nothing
    Reload,
    #[command(subcommand)]
    Leader(leader::Command),
    #[command(subcommand)]
    Run(run::Command),
    #[command(subcommand)]
    Event(event::Command),
    #[command(subcommand)]
    Report(report::Command),
    Console(console::Arguments),
    Backup(backup::Arguments),
    Completions(shell::Completions),
    /// Print the version
    Version,
    /// Print the man page
    #[command(hide = true)]
    Man,
}

/// The help fits a terminal of this width.
const HELP_WIDTH: usize = 80;

/// The commands by the task of the operator, for the help text.
const GROUPS: [(&str, &[&str]); 4] = [
    ("Every day", &["status", "sync", "plan", "held", "console"]),
    ("People", &["user", "search", "sign-in"]),
    ("Setup", &["account", "domain", "directory", "target", "hook", "reload", "leader"]),
    ("Records", &["run", "event", "report", "backup", "completions", "version", "help"]),
];

/// Returns the definition of the commands, with the help text in groups.
pub fn command() -> clap::Command {
    let command = Cli::command().disable_help_subcommand(false);
    let about = |name: &str| {
        let found = command.find_subcommand(name).and_then(clap::Command::get_about);
        found
            .map_or_else(|| "Print this help, or that of a command".to_owned(), ToString::to_string)
    };
    let mut groups = String::new();
    for (heading, names) in GROUPS {
        let _ = writeln!(groups, "{heading}:");
        for name in names {
            groups += &text::hanging(&format!("  {name:<12} "), &about(name), HELP_WIDTH);
        }
        groups.push('\n');
    }
    command.help_template(format!(
        "{{about}}\n\n{{usage-heading}} {{usage}}\n\n{groups}{GLOBAL}:\n{{options}}{{after-help}}"
    ))
}

impl Cli {
    /// Parses the command line of this process. Wrong usage ends it.
    pub fn of_process() -> Self {
        Self::from_arg_matches(&command().get_matches()).unwrap_or_else(|error| error.exit())
    }

    /// Returns the console that this command line opens, if it opens one.
    pub(crate) fn console(&self, terminal: &mut Terminal) -> Option<console::Opening> {
        let Some(Command::Console(arguments)) = &self.command else { return None };
        terminal.set_colours(self.color);
        if self.utc {
            terminal.zone = chrono_tz::Tz::UTC;
        }
        Some(console::Opening {
            socket: self.socket(),
            arguments: arguments.clone(),
            json: self.json,
        })
    }

    fn socket(&self) -> PathBuf {
        let given = self.socket.clone().or_else(link::socket_of_environment);
        given.unwrap_or(DEFAULT_SOCKET.into())
    }
}

/// Exit statuses, ordered by severity, so that the maximum of several is the worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    Done,
    /// Changes of the directory are held for approval.
    Held,
    /// The command failed, or the daemon refused it.
    Failed,
    /// The command line is invalid.
    Usage,
    NoDaemon,
    NotAllowed,
}

impl Exit {
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Held => 3,
            Self::NoDaemon => 4,
            Self::NotAllowed => 5,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Runs a command and returns its exit status.
pub async fn run(cli: Cli, terminal: &mut Terminal) -> Exit {
    let socket = cli.socket();
    let Cli { socket: _, json, utc, color, dry_run, yes, command } = cli;
    terminal.set_colours(color);
    if utc {
        terminal.zone = chrono_tz::Tz::UTC;
    }
    let command = command.unwrap_or(Command::Status);
    // Nothing is changed, so nothing is asked.
    let mut output = Output { terminal, json, dry_run, yes: yes || dry_run };
    let result = match Daemon::on(&socket, dry_run) {
        Ok(daemon) => command.run(&socket, &daemon, &mut output).await,
        Err(failure) => Err(failure),
    };
    result.unwrap_or_else(|failure| output.fail(&failure))
}

impl Command {
    async fn run(
        &self,
        socket: &Path,
        daemon: &Daemon,
        output: &mut Output<'_>,
    ) -> Result<Exit, Failure> {
        match self {
            Self::Status => {
                let status = daemon.get::<Status>(&Route::to(["status"])).await?;
                output.data(&status.raw, |view| status::page(&status.value, view))?;
                Ok(Exit::Done)
            }
            Self::Sync(arguments) => sync::call(arguments, daemon, output).await,
            Self::Plan(arguments) => plan::call(arguments, daemon, output).await,
            Self::Held(command) => held::call(command, daemon, output).await,
            Self::Run(command) => run::call(command, daemon, output).await,
            Self::User(command) => user::call(command, daemon, output).await,
            Self::Search(arguments) => users::search(arguments, daemon, output).await,
            Self::ListUsers(arguments) => users::call(arguments, daemon, output).await,
            Self::Account(command) => account::call(command, daemon, output).await,
            Self::Domain(command) => domain::call(command, daemon, output).await,
            Self::Directory(command) => directory::call(command, daemon, output).await,
            Self::Target(command) => target::call(command, daemon, output).await,
            Self::Hook(command) => hook::call(command, daemon, output).await,
            Self::Report(command) => report::call(command, daemon, output).await,
            Self::Event(command) => event::call(command, daemon, output).await,
            Self::SignIn(arguments) => sign_in::call(arguments, daemon, output).await,
            Self::Console(_) => {
                Err(Failure::Usage("the console needs the program rosterctl".to_owned()))
            }
            Self::Backup(arguments) => backup::call(arguments, socket, daemon, output).await,
            Self::Reload => reload::call(daemon, output).await,
            Self::Leader(command) => leader::call(command, daemon, output).await,
            Self::Completions(arguments) => shell::completions(arguments, output),
            Self::Version => {
                let version = env!("CARGO_PKG_VERSION");
                output.data(&json!({ "version": version }), |_| {
                    Page::from(format!("rosterctl {version}\n"))
                })?;
                Ok(Exit::Done)
            }
            Self::Man => shell::man(output),
        }
    }
}

/// The destination and the form of a command's results.
struct Output<'a> {
    terminal: &'a mut Terminal,
    json: bool,
    dry_run: bool,
    yes: bool,
}

impl Output<'_> {
    /// Prints the document as JSON or as a page.
    fn data(&mut self, raw: &Value, page: impl FnOnce(&View) -> Page) -> Result<(), Failure> {
        if self.json {
            return Ok(self.terminal.print(&Page::from(format!("{raw}\n")))?);
        }
        let mut shown = Page::default();
        if self.dry_run {
            shown.line(text::yellow("Dry run: nothing is changed. Without --dry-run:"));
        }
        shown.append(&page(&self.terminal.view()));
        Ok(self.terminal.print(&shown)?)
    }

    /// Writes a message to standard error.
    fn note(&mut self, page: &Page) {
        self.terminal.note(page);
    }

    /// Refuses a command that needs a confirmation without a terminal, before any request is sent.
    fn can_ask(&self, command: &str) -> Result<(), Failure> {
        if self.yes || self.terminal.interactive {
            return Ok(());
        }
        Err(Failure::Usage(format!(
            "{command} needs a confirmation, and there is no terminal: add --yes"
        )))
    }

    /// Asks for a confirmation, unless `--yes` is set.
    fn ask(&mut self, question: &str) -> Result<(), Failure> {
        if self.yes || self.terminal.ask(question) { Ok(()) } else { Err(Failure::Declined) }
    }

    /// Asks for the name of the object, because the change cannot be undone.
    fn ask_to_type(&mut self, effect: &str, action: &str, name: &str) -> Result<(), Failure> {
        if self.yes {
            return Ok(());
        }
        let question = format!("{effect} To {action}, type {name}: ");
        if self.terminal.ask_for(&question)? == name { Ok(()) } else { Err(Failure::Declined) }
    }

    fn fail(&mut self, failure: &Failure) -> Exit {
        let page = failure.page(&self.terminal.view());
        self.terminal.note(&page);
        if self.json && !matches!(failure, Failure::Declined) {
            // If this write fails too, the exit status still reports the failure.
            let _ = self.terminal.print(&Page::from(format!("{}\n", json!(failure.problem()))));
        }
        failure.exit()
    }
}
