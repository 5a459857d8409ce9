//! The command line of the daemon.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};
use nix::sys::stat::{Mode, umask};
use rosterd::clock::Clock;
use rosterd::config::Config;
use rosterd::control::openapi_document;
use rosterd::ctl::Terminal;
use rosterd::ctl::check::{REQUESTS_WORK, check_steps};
use rosterd::ctl::directory::examined;
use rosterd::daemon::{Orders, Reload, RunnerAt, StoreFiles};
use rosterd::engine::CheckOutcome;
use rosterd::model::{Address, StoreAt};
use rosterd::visible::escaped;
use rosterd::{daemon, manual, telemetry};
use tokio_util::sync::CancellationToken;

/// EX_CONFIG of sysexits.h.
const BAD_CONFIG: u8 = 78;

/// Keeps the user list of your applications in step with Active Directory.
#[derive(Parser)]
#[command(version, about)]
struct Cli {
    /// The configuration file.
    #[arg(
        long,
        short,
        value_name = "FILE",
        default_value = "/etc/rosterd/rosterd.toml",
        global = true
    )]
    config: PathBuf,
    /// Give the role of operators to the user that runs rosterd, for a trial in the foreground.
    /// Programs of hooks have that role then, too. Root has it in any case.
    #[arg(long)]
    own_user_operates: bool,
    /// The socket of the service that runs the programs of hooks and gates (rosterd-hooks.socket).
    /// Without it, a child process runs them as the same user.
    #[arg(long, value_name = "SOCKET")]
    hook_runner: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Check the configuration; changes nothing.
    CheckConfig {
        /// The configuration file. Without it, that of --config.
        file: Option<PathBuf>,
    },
    /// Check everything that a run of a directory needs, step by step. The exit status is 0 if no
    /// step failed. While the daemon runs, use rosterctl directory check.
    CheckDirectory {
        /// The directory. Without it, all directories are checked.
        name: Option<String>,
        /// Read all people as well, and count them: by tier, without mail, in no group. Nothing is
        /// written about them.
        #[arg(long)]
        people: bool,
    },
    /// Check everything that requests to a target need, step by step. The exit status is 0 if no
    /// step failed. Without --write it only reads.
    CheckTarget {
        /// The name of the target.
        name: String,
        /// Create, change, deactivate and delete one account of this address, which has none yet.
        #[arg(long, value_name = "ADDRESS", value_parser = Address::parse)]
        write: Option<Address>,
    },
    /// Move the store to another database.
    Store {
        #[command(subcommand)]
        command: Box<StoreCommand>,
    },
    /// Run programs of hooks and gates by name. Started by rosterd-hooks.socket or by rosterd;
    /// stdin is the socket.
    #[command(hide = true)]
    HookRunner {
        /// The only user whose orders are accepted.
        #[arg(long, value_name = "USER", required_unless_present = "child")]
        user: Option<String>,
        /// Accept orders of the parent process, and exit with it.
        #[arg(long, conflicts_with = "user")]
        child: bool,
    },
    /// Print the completions for a shell.
    #[command(hide = true)]
    Completions {
        /// The name of the shell.
        shell: clap_complete::Shell,
    },
    /// Print the OpenAPI document of the control socket.
    #[command(hide = true)]
    Openapi,
    /// Print a man page.
    #[command(hide = true)]
    Man {
        /// The page to print.
        page: ManPage,
    },
}

#[derive(Subcommand)]
enum StoreCommand {
    /// Copy a store to an empty one: from SQLite to PostgreSQL, or back. No rosterd works on either of
    /// them meanwhile. The copy is verified, and the store that is copied stays as it is.
    Copy {
        /// The URL of the store, as [store] names it, or the path of its file.
        from: String,
        /// The URL of an empty database, or the path of a new file.
        to: String,
        /// The password of the database server, as [store] names it.
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
        /// The certificates that the database server is trusted by, as [store] names them.
        #[arg(long, value_name = "FILE")]
        ca_file: Option<PathBuf>,
        /// The keys of the event log, as [events] names them. The copy is verified by them.
        #[arg(long, value_name = "FILE")]
        key_file: Option<PathBuf>,
    },
}

/// Parses the place of a store: its URL, or the path of its file.
fn store_at(text: &str) -> Result<StoreAt, String> {
    if text.starts_with('/') { Ok(StoreAt::File(text.into())) } else { StoreAt::parse(text) }
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum ManPage {
    #[value(name = "rosterd")]
    Daemon,
    #[value(name = "rosterd.toml")]
    Configuration,
    #[value(name = "rosterd-setup")]
    Setup,
    #[value(name = "rosterd-held")]
    Held,
}

fn main() -> ExitCode {
    let Cli { config: file, own_user_operates, hook_runner, command } = Cli::parse();
    // Files of rosterd are for its user alone, whatever umask it inherits.
    umask(Mode::from_bits_truncate(0o077));
    match command {
        None => with_config(&file, |config| run(config, &file, own_user_operates, hook_runner)),
        Some(Command::HookRunner { user, child: _ }) => run_hooks(&file, user.as_deref()),
        Some(Command::CheckConfig { file: given }) => {
            with_config(given.as_ref().unwrap_or(&file), |config| {
                let file = given.as_ref().unwrap_or(&file);
                let warnings = config.warnings().into_iter().chain(store_warning(config));
                warnings
                    .for_each(|warning| say(&format!("{}: warning: {warning}", file.display())));
                say(&format!("{}: no problems found", file.display()));
                ExitCode::SUCCESS
            })
        }
        Some(Command::CheckDirectory { name, people }) => {
            with_config(&file, |config| check_directory(config, name.as_deref(), people))
        }
        Some(Command::CheckTarget { name, write }) => {
            with_config(&file, |config| check_target(config, &name, write.as_ref()))
        }
        Some(Command::Store { command }) => {
            let StoreCommand::Copy { from, to, password_file: password, ca_file: ca, key_file } =
                *command;
            let files = StoreFiles { password, ca, log_keys: key_file };
            // The argument is not quoted, because it may have a password.
            let parsed = store_at(&from).and_then(|from| Ok((from, store_at(&to)?)));
            let copied = parsed.map_err(anyhow::Error::msg);
            exit(copied.and_then(|(from, to)| copy_store(from, to, &files)))
        }
        // Completions and man pages are made on machines without a configuration.
        Some(Command::Completions { shell }) => {
            exit(print(&completions(shell)).map_err(Into::into))
        }
        Some(Command::Openapi) => exit(print(openapi_document().as_bytes()).map_err(Into::into)),
        Some(Command::Man { page }) => {
            exit(man(page).and_then(|page| print(page.as_bytes())).map_err(Into::into))
        }
    }
}

fn with_config(file: &Path, action: impl FnOnce(&Config) -> ExitCode) -> ExitCode {
    match Config::load(file) {
        Ok(config) => action(&config),
        Err(problems) => {
            say(&problems.to_string());
            ExitCode::from(BAD_CONFIG)
        }
    }
}

fn completions(shell: clap_complete::Shell) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "rosterd", &mut script);
    script
}

fn man(page: ManPage) -> io::Result<String> {
    match page {
        ManPage::Daemon => {
            manual::of_command(Cli::command(), "8", include_str!("manual/rosterd.8"))
        }
        ManPage::Setup => {
            Ok(manual::of_task("rosterd-setup", include_str!("manual/rosterd-setup.7")))
        }
        ManPage::Held => Ok(manual::of_task("rosterd-held", include_str!("manual/rosterd-held.7"))),
        ManPage::Configuration => Ok(manual::of_configuration(
            include_str!("manual/rosterd.toml.5"),
            include_str!("../config/rosterd.toml"),
        )),
    }
}

fn print(text: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text)?;
    out.flush()
}

fn check_directory(config: &Config, name: Option<&str>, people: bool) -> ExitCode {
    let clock = Clock::system();
    let looked = tokio::runtime::Runtime::new().map_err(anyhow::Error::from).and_then(|runtime| {
        let setup = daemon::setup(config);
        Ok(runtime.block_on(daemon::check_directory(setup, name, people, clock.clone()))?)
    });
    match looked {
        Ok(checks) => {
            let mut terminal = Terminal::standard(move || clock.now().to_utc());
            match checks
                .iter()
                .try_for_each(|check| terminal.print(&examined(check, &terminal.view())))
            {
                Ok(()) if checks.iter().all(|check| check.ok) => ExitCode::SUCCESS,
                _ => ExitCode::FAILURE,
            }
        }
        Err(error) => exit(Err(error)),
    }
}

fn check_target(config: &Config, name: &str, trial: Option<&Address>) -> ExitCode {
    let clock = Clock::system();
    let checked = tokio::runtime::Runtime::new().map_err(anyhow::Error::from).and_then(|runtime| {
        Ok(runtime.block_on(daemon::check_target(config, name, trial, &clock))?)
    });
    match checked {
        Ok(steps) => {
            let mut terminal = Terminal::standard(move || clock.now().to_utc());
            let printed =
                terminal.print(&check_steps(name, &steps, REQUESTS_WORK, &terminal.view()));
            if printed.is_ok() && steps.iter().all(|step| step.outcome != CheckOutcome::Failed) {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }
        }
        Err(error) => exit(Err(error)),
    }
}

fn store_warning(config: &Config) -> Option<String> {
    let runtime = tokio::runtime::Runtime::new().ok()?;
    runtime.block_on(daemon::store_warning(&config.store))
}

/// Rows of a large table between two lines about it.
const ROWS_A_LINE: u64 = 100_000;

fn copy_store(from: StoreAt, to: StoreAt, files: &StoreFiles) -> anyhow::Result<()> {
    let line = |text: String| print((text + "\n").as_bytes());
    let told = |table: &str, rows: u64| {
        if rows.is_multiple_of(ROWS_A_LINE) {
            // The copy goes on where nobody reads about it.
            let _ = line(format!("{table}: {rows} rows so far"));
        }
    };
    let (shown, next) = (from.to_string(), to.to_string());
    let copied =
        tokio::runtime::Runtime::new()?.block_on(daemon::copy_store(from, to, files, told))?;
    let tables = copied.tables.iter().filter(|(_, rows)| *rows > 0);
    tables.clone().try_for_each(|(table, rows)| line(format!("{table}: {rows} rows")))?;
    if copied.mended > 0 {
        let mended = copied.mended;
        line(format!("{mended} texts had the character U+0000, which PostgreSQL does not take"))?;
    }
    let rows: u64 = tables.map(|(_, rows)| rows).sum();
    line(format!("copied {rows} rows of {shown}; the event log is verified: {}", copied.head))?;
    line(format!("next: write url = \"{next}\" below [store] in rosterd.toml, and start rosterd"))?;
    Ok(())
}

fn run_hooks(file: &Path, user: Option<&str>) -> ExitCode {
    telemetry::init();
    daemon::confine();
    let orders = user.map_or(Orders::OfParent, Orders::OfUser);
    let runtime = tokio::runtime::Runtime::new().map_err(anyhow::Error::from);
    exit(runtime.and_then(|runtime| Ok(runtime.block_on(daemon::run_hooks(file, orders))?)))
}

fn run(
    config: &Config,
    file: &Path,
    own_user_operates: bool,
    hook_runner: Option<PathBuf>,
) -> ExitCode {
    telemetry::init();
    daemon::confine();
    tracing::info!("rosterd starting with {}", file.display());
    let outcome = tokio::runtime::Runtime::new().map_err(anyhow::Error::from).and_then(|runtime| {
        runtime.block_on(async {
            let stop = CancellationToken::new();
            let path = file.to_owned();
            let set_up = move |config: &Config| {
                config.warnings().iter().for_each(|warning| tracing::warn!("{warning}"));
                let mut setup = daemon::setup(config);
                setup.control.own_user_operates = own_user_operates;
                setup
            };
            let reload = Reload::new(move || Config::load(&path).map(|config| set_up(&config)));
            daemon::watch_signals(stop.clone(), reload.reloader())?;
            let configuration = std::path::absolute(file)?;
            let runner = match hook_runner {
                Some(socket) => RunnerAt::Service { socket, configuration },
                None => RunnerAt::Child(configuration),
            };
            let setup = daemon::Setup { runner, ..set_up(config) };
            daemon::run(setup, reload, Clock::system(), stop, || {})
                .await
                .map_err(anyhow::Error::from)
        })
    });
    exit(outcome)
}

fn exit(outcome: anyhow::Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("rosterd: {error:#}"));
            match error.downcast_ref::<daemon::DaemonError>() {
                Some(error) if error.is_about_configuration() => ExitCode::from(BAD_CONFIG),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

#[expect(
    clippy::print_stderr,
    reason = "logging is not available before and after the daemon runs"
)]
fn say(text: &str) {
    // The text may quote the configuration.
    text.lines().for_each(|line| eprintln!("{}", escaped(line)));
}
