//! Where output goes: the only writer in `ctl`, so that a program that calls it sees everything it says.

use std::fmt;
use std::io::{self, BufRead as _, ErrorKind, IsTerminal as _, Write};

use chrono::{DateTime, Utc};

use super::text::{Page, View};

/// The outside of one call: data goes to `out`, everything else to `err`.
pub struct Terminal {
    /// Data.
    pub out: Box<dyn Write + Send>,
    /// Progress, questions, messages.
    pub err: Box<dyn Write + Send>,
    /// How many columns a line of `out` may have; `usize::MAX` where nothing limits it.
    pub width: usize,
    /// Whether colours may be used.
    pub colour: bool,
    /// Whether somebody sits there who can be asked and shown progress.
    pub interactive: bool,
    /// The present instant, for "3 minutes ago".
    pub now: Box<dyn Fn() -> DateTime<Utc> + Send>,
}

impl fmt::Debug for Terminal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { out: _, err: _, width, colour, interactive, now: _ } = self;
        f.debug_struct("Terminal").field("width", width).field("colour", colour).field("interactive", interactive).finish_non_exhaustive()
    }
}

impl Terminal {
    /// The process's own. `NO_COLOR` and `COLUMNS` are honoured.
    pub fn standard(now: impl Fn() -> DateTime<Utc> + Send + 'static) -> Self {
        let shown = io::stdout().is_terminal();
        let wants_colour =
            std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()) && std::env::var_os("TERM").is_none_or(|t| t != "dumb");
        Self {
            out: Box::new(io::stdout()),
            err: Box::new(io::stderr()),
            width: if shown { columns() } else { usize::MAX },
            colour: shown && wants_colour,
            interactive: io::stdin().is_terminal() && io::stderr().is_terminal(),
            now: Box::new(now),
        }
    }

    /// What text is to be laid out for.
    pub fn view(&self) -> View {
        View { width: self.width, now: (self.now)() }
    }

    /// Writes data. A reader that has gone away (`| head`) is no error: what is left has nobody to read it.
    pub fn print(&mut self, page: &Page) -> io::Result<()> {
        let text = if self.colour { page.coloured() } else { page.plain() };
        let written = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
        written.or_else(|error| if error.kind() == ErrorKind::BrokenPipe { Ok(()) } else { Err(error) })
    }

    /// Writes a message. There is nowhere to report that this failed.
    pub(super) fn note(&mut self, page: &Page) {
        let text = if self.colour { page.coloured() } else { page.plain() };
        let _ = self.err.write_all(text.as_bytes()).and_then(|()| self.err.flush());
    }

    /// Asks something that is answered with yes or no; anything but yes is no.
    pub(super) fn ask(&mut self, question: &str) -> bool {
        self.note(&Page::from(format!("{question} [y/N] ")));
        let mut answer = String::new();
        let read = io::stdin().lock().read_line(&mut answer);
        read.is_ok() && matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
    }
}

/// The terminal's width: `COLUMNS` where it is exported, else what the terminal says, else the 80 of old.
fn columns() -> usize {
    let exported = std::env::var("COLUMNS").ok().and_then(|c| c.parse().ok());
    let asked = || terminal_size::terminal_size().map(|(width, _)| usize::from(width.0));
    exported.or_else(asked).filter(|c| *c > 0).unwrap_or(80)
}
