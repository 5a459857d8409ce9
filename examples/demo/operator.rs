//! The operator of a demonstration: types commands, and shows what they print.

use clap::Parser as _;
use rosterd::clock::Clock;
use rosterd::ctl::{self, Terminal};

/// Runs commands and shows their output.
pub(crate) struct Operator {
    pub(crate) socket: String,
}

impl Operator {
    pub(crate) async fn run(&self, command: &str) -> ctl::Exit {
        println!("\n\x1b[1m$ rosterctl {command}\x1b[0m");
        let words = shell_words(command);
        let line = ["rosterctl", "--socket", &self.socket, "--yes"]
            .into_iter()
            .map(str::to_owned)
            .chain(words);
        let cli = ctl::Cli::parse_from(line);
        let clock = Clock::system();
        let mut terminal = Terminal::standard(move || clock.now().to_utc());
        terminal.interactive = false;
        // A pager would hide the scenes before.
        terminal.height = None;
        let exit = ctl::run(cli, &mut terminal).await;
        if exit != ctl::Exit::Done {
            println!("\x1b[2m(exit status {})\x1b[0m", exit.code());
        }
        exit
    }
}

/// Splits at blanks, but keeps "quoted words" together.
fn shell_words(line: &str) -> Vec<String> {
    line.split('"')
        .enumerate()
        .flat_map(|(n, part)| {
            if n % 2 == 1 {
                vec![part.to_owned()]
            } else {
                part.split_whitespace().map(str::to_owned).collect()
            }
        })
        .collect()
}

/// Prints the heading of a scene.
pub(crate) fn section(text: &str) {
    println!("\n\x1b[36m── {text}\x1b[0m");
}
