//! The daemon. `rosterd [--config F]` runs in the foreground; `rosterd check-config` only looks at the file, and
//! `rosterd check-directory` at what a run would need.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use rosterd::clock::Clock;
use rosterd::config::Config;
use rosterd::ctl::Terminal;
use rosterd::ctl::directory::examined;
use rosterd::daemon::Reload;
use rosterd::{daemon, telemetry};
use tokio_util::sync::CancellationToken;

/// EX_CONFIG of sysexits.h.
const BAD_CONFIG: u8 = 78;

/// Keeps the people of an Active Directory reconciled into enterprise accounts.
#[derive(Parser)]
#[command(version, about)]
struct Cli {
    /// The configuration file.
    #[arg(long, value_name = "FILE", default_value = "/etc/rosterd/rosterd.toml", global = true)]
    config: PathBuf,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Say all that is wrong with the configuration, and change nothing.
    CheckConfig,
    /// Look at everything a run of a directory needs, step by step; exit status 0 if nothing failed. For a daemon that
    /// runs: rosterctl directory check.
    CheckDirectory {
        /// The directory; without it, all of them.
        name: Option<String>,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let config = match Config::load(&cli.config, &daemon::checks()) {
        Ok(config) => config,
        Err(problems) => {
            say(&problems.to_string());
            return ExitCode::from(BAD_CONFIG);
        }
    };
    match cli.command {
        Some(Command::CheckConfig) => {
            say(&format!("{}: no problems found", cli.config.display()));
            ExitCode::SUCCESS
        }
        Some(Command::CheckDirectory { name }) => check_directory(&config, name.as_deref()),
        None => run(&config, &cli.config),
    }
}

fn check_directory(config: &Config, name: Option<&str>) -> ExitCode {
    let clock = Clock::system();
    let looked = tokio::runtime::Runtime::new()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| Ok(runtime.block_on(daemon::check_directory(daemon::setup(config), name, clock.clone()))?));
    match looked {
        Ok(checks) => {
            let mut terminal = Terminal::standard(move || clock.now().to_utc());
            match checks.iter().try_for_each(|check| terminal.print(&examined(check, &terminal.view()))) {
                Ok(()) if checks.iter().all(|check| check.ok) => ExitCode::SUCCESS,
                _ => ExitCode::FAILURE,
            }
        }
        Err(error) => {
            say(&format!("rosterd: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(config: &Config, file: &Path) -> ExitCode {
    telemetry::init();
    tracing::info!("rosterd starts with {}", file.display());
    let outcome = tokio::runtime::Runtime::new().map_err(anyhow::Error::from).and_then(|runtime| {
        runtime.block_on(async {
            let stop = CancellationToken::new();
            let path = file.to_owned();
            let reload = Reload::new(move || Config::load(&path, &daemon::checks()).map(|config| daemon::setup(&config)));
            daemon::watch_signals(stop.clone(), reload.reloader())?;
            daemon::run(daemon::setup(config), reload, Clock::system(), stop, || {}).await.map_err(anyhow::Error::from)
        })
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("rosterd: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stderr, reason = "before and after logging there is nothing else to say it with")]
fn say(text: &str) {
    eprintln!("{text}");
}
