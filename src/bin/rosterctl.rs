//! The operator's tool of rosterd.

use std::process::ExitCode;

use rosterd::clock::Clock;
use rosterd::ctl::{Cli, Terminal, answer_shell, run};

fn main() -> ExitCode {
    // Before there is a runtime, because a completion has one of its own.
    answer_shell();
    operate()
}

#[tokio::main(flavor = "current_thread")]
async fn operate() -> ExitCode {
    let clock = Clock::system();
    run(Cli::of_process(), &mut Terminal::standard(move || clock.now().to_utc())).await.into()
}
