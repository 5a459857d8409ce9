//! The operator's tool of rosterd.

use std::process::ExitCode;

use rosterd::clock::Clock;
use rosterd::console::run;
use rosterd::ctl::{Cli, Terminal, answer_shell};

fn main() -> ExitCode {
    // Before there is a runtime, because a completion has one of its own.
    answer_shell();
    operate()
}

#[tokio::main(flavor = "current_thread")]
async fn operate() -> ExitCode {
    let clock = Clock::system();
    let now = clock.clone();
    let mut terminal = Terminal::standard(move || now.now().to_utc());
    run(Cli::of_process(), &mut terminal, &clock).await.into()
}
