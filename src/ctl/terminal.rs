//! Where output goes: the only writer in `ctl`, so that a program that calls it sees everything it says.

use std::fmt;
use std::io::{self, BufRead as _, ErrorKind, IsTerminal as _, Write};

use chrono::{DateTime, Utc};
use clap::ValueEnum;

use super::text::{Page, View};

/// The outside of one call: data goes to `out`, everything else to `err`.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own about the two outputs"
)]
pub struct Terminal {
    /// Data.
    pub out: Box<dyn Write + Send>,
    /// Progress, questions, messages.
    pub err: Box<dyn Write + Send>,
    /// How many columns a line of `out` may have; `usize::MAX` where nothing limits it.
    pub width: usize,
    /// Whether colours may be used on `out`.
    pub colour: bool,
    /// Whether colours may be used on `err`.
    pub err_colour: bool,
    /// Whether somebody sits there who can be asked and shown progress.
    pub interactive: bool,
    /// Whether what has been written to `err` can be drawn over.
    pub draws: bool,
    /// The present instant, for "3 minutes ago".
    pub now: Box<dyn Fn() -> DateTime<Utc> + Send>,
}

impl fmt::Debug for Terminal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { out: _, err: _, width, colour, err_colour, interactive, draws, now: _ } = self;
        let mut debug = f.debug_struct("Terminal");
        debug.field("width", width).field("colour", colour).field("err_colour", err_colour);
        debug.field("interactive", interactive).field("draws", draws).finish_non_exhaustive()
    }
}

impl Terminal {
    /// The process's own. `NO_COLOR`, `CLICOLOR_FORCE`, `TERM=dumb` and `COLUMNS` are honoured.
    pub fn standard(now: impl Fn() -> DateTime<Utc> + Send + 'static) -> Self {
        let (out_shown, err_shown) = (io::stdout().is_terminal(), io::stderr().is_terminal());
        let given = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty());
        let is_dumb = given("TERM").is_some_and(|t| t == "dumb");
        let wish = Wish {
            no_color: given("NO_COLOR").is_some(),
            force: given("CLICOLOR_FORCE").is_some_and(|v| v != "0"),
            is_dumb,
        };
        Self {
            out: Box::new(io::stdout()),
            err: Box::new(io::stderr()),
            width: if out_shown { columns() } else { usize::MAX },
            colour: wish.colours(out_shown),
            err_colour: wish.colours(err_shown),
            interactive: io::stdin().is_terminal() && err_shown,
            draws: !is_dumb,
            now: Box::new(now),
        }
    }

    /// Colours by the caller's word, whatever the environment says.
    pub(super) fn set_colours(&mut self, colours: Colours) {
        let all = match colours {
            Colours::Auto => return,
            Colours::Always => true,
            Colours::Never => false,
        };
        (self.colour, self.err_colour) = (all, all);
    }

    /// What text is to be laid out for.
    pub fn view(&self) -> View {
        View { width: self.width, now: (self.now)() }
    }

    /// Writes data. A reader that has gone away (`| head`) is no error: what is left has nobody to read it.
    pub fn print(&mut self, page: &Page) -> io::Result<()> {
        self.feed(page).map(drop)
    }

    /// Writes data of which there may be no end; says whether anybody still reads it.
    pub(super) fn feed(&mut self, page: &Page) -> io::Result<Reader> {
        let text = if self.colour { page.coloured() } else { page.plain() };
        match self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush()) {
            Ok(()) => Ok(Reader::There),
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(Reader::Gone),
            Err(error) => Err(error),
        }
    }

    /// Writes a message. There is nowhere to report that this failed.
    pub(super) fn note(&mut self, page: &Page) {
        let text = if self.err_colour { page.coloured() } else { page.plain() };
        let _ = self.err.write_all(text.as_bytes()).and_then(|()| self.err.flush());
    }

    /// Asks something that is answered with yes or no; anything but yes is no.
    pub(super) fn ask(&mut self, question: &str) -> bool {
        let answer = self.ask_for(&format!("{question} [y/N] "));
        answer.is_ok_and(|answer| matches!(answer.to_ascii_lowercase().as_str(), "y" | "yes"))
    }

    /// Asks for a line of text.
    pub(super) fn ask_for(&mut self, question: &str) -> io::Result<String> {
        self.note(&Page::from(question.to_owned()));
        let mut answer = String::new();
        io::stdin().lock().read_line(&mut answer)?;
        Ok(answer.trim().to_owned())
    }

    /// Asks for a password, which is not shown; where nobody can be asked, it is the first line of standard input.
    pub(super) fn secret(&mut self, question: &str) -> io::Result<String> {
        if self.interactive {
            self.note(&Page::from(question.to_owned()));
            return rpassword::read_password();
        }
        let mut line = String::new();
        io::stdin().lock().read_line(&mut line)?;
        let line = line.strip_suffix('\n').unwrap_or(&line);
        Ok(line.strip_suffix('\r').unwrap_or(line).to_owned())
    }
}

/// Whoever reads what is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reader {
    /// Still reads.
    There,
    /// Has gone away (`| head`).
    Gone,
}

/// Whether colours are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Colours {
    /// On a terminal that has them, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Also into a file or a pipe.
    Always,
    /// Nowhere.
    Never,
}

/// What the environment says about colours.
#[derive(Debug, Clone, Copy)]
pub struct Wish {
    /// `NO_COLOR` is set, to anything (no-color.org).
    pub no_color: bool,
    /// `CLICOLOR_FORCE` is set, and not to 0.
    pub force: bool,
    /// `TERM` is `dumb`.
    pub is_dumb: bool,
}

impl Wish {
    /// Whether it is to be coloured; `shown` where the output is a terminal.
    pub fn colours(self, shown: bool) -> bool {
        let Self { no_color, force, is_dumb } = self;
        !no_color && (force || shown && !is_dumb)
    }
}

/// The terminal's width: `COLUMNS` where it is exported, else what the terminal says, else the 80 of old.
fn columns() -> usize {
    let exported = std::env::var("COLUMNS").ok().and_then(|c| c.parse().ok());
    let asked = || terminal_size::terminal_size().map(|(width, _)| usize::from(width.0));
    exported.or_else(asked).filter(|c| *c > 0).unwrap_or(80)
}
