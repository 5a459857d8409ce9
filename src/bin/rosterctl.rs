//! The operator's tool of rosterd.

use std::process::ExitCode;

use rosterd::clock::Clock;
use rosterd::ctl::{Cli, Terminal, run};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let clock = Clock::system();
    run(Cli::of_process(), &mut Terminal::standard(move || clock.now().to_utc())).await.into()
}
