//! The terminal: the only writer of `ctl`, so that a calling program captures all output.

use std::fmt;
use std::io::{self, BufRead as _, ErrorKind, IsTerminal as _, Write};
use std::process::{Command, Stdio};

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use clap::ValueEnum;

use super::text::{Page, View};
use super::zone;

/// The outputs of one call: data goes to `out`, everything else to `err`.
#[expect(clippy::struct_excessive_bools, reason = "each is an independent property of an output")]
pub struct Terminal {
    pub out: Box<dyn Write + Send>,
    /// Receives progress, questions and messages.
    pub err: Box<dyn Write + Send>,
    /// Columns of a line of `out`; `usize::MAX` for no limit.
    pub width: usize,
    /// Colours on `out`.
    pub colour: bool,
    /// Colours on `err`.
    pub err_colour: bool,
    /// Standard input and `err` are terminals, so questions and progress bars are possible.
    pub interactive: bool,
    /// The terminal of `err` can move its cursor (not `TERM=dumb`).
    pub draws: bool,
    /// Lines of the terminal of `out`; longer data goes through a pager. `None` for no pager.
    pub height: Option<usize>,
    /// The time zone of all times.
    pub zone: Tz,
    /// Returns the present time, the reference of ages.
    pub now: Box<dyn Fn() -> DateTime<Utc> + Send>,
}

impl fmt::Debug for Terminal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            out: _,
            err: _,
            width,
            colour,
            err_colour,
            interactive,
            draws,
            height,
            zone,
            now: _,
        } = self;
        let mut debug = f.debug_struct("Terminal");
        debug.field("width", width).field("colour", colour).field("err_colour", err_colour);
        debug.field("interactive", interactive).field("draws", draws);
        debug.field("height", height).field("zone", zone).finish_non_exhaustive()
    }
}

impl Terminal {
    /// Returns the terminal of the process. It honours `NO_COLOR`, `CLICOLOR_FORCE`, `TERM=dumb` and `COLUMNS`.
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
            height: if out_shown && !is_dumb { lines() } else { None },
            zone: zone::local(),
            now: Box::new(now),
        }
    }

    /// Applies the option `--color`, which overrides the environment.
    pub(crate) fn set_colours(&mut self, colours: Colours) {
        let all = match colours {
            Colours::Auto => return,
            Colours::Always => true,
            Colours::Never => false,
        };
        (self.colour, self.err_colour) = (all, all);
    }

    pub fn view(&self) -> View {
        View { width: self.width, now: (self.now)(), zone: self.zone }
    }

    /// Writes data, through a pager if it is longer than the terminal. A closed pipe (`| head`) is
    /// not an error.
    pub fn print(&mut self, page: &Page) -> io::Result<()> {
        let text = if self.colour { page.coloured() } else { page.plain() };
        if self.height.is_some_and(|height| text.lines().count() > height) && paged(&text) {
            return Ok(());
        }
        self.feed(page).map(drop)
    }

    /// Writes a part of endless data and returns whether the reader is still there.
    pub(super) fn feed(&mut self, page: &Page) -> io::Result<Reader> {
        let text = if self.colour { page.coloured() } else { page.plain() };
        match self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush()) {
            Ok(()) => Ok(Reader::There),
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(Reader::Gone),
            Err(error) => Err(error),
        }
    }

    /// Writes a message. A failure is ignored, because there is no other output to report it on.
    pub(crate) fn note(&mut self, page: &Page) {
        let text = if self.err_colour { page.coloured() } else { page.plain() };
        let _ = self.err.write_all(text.as_bytes()).and_then(|()| self.err.flush());
    }

    /// Asks a yes-or-no question. Any answer other than yes is no.
    pub(super) fn ask(&mut self, question: &str) -> bool {
        let answer = self.ask_for(&format!("{question} [y/N] "));
        answer.is_ok_and(|answer| matches!(answer.to_ascii_lowercase().as_str(), "y" | "yes"))
    }

    pub(super) fn ask_for(&mut self, question: &str) -> io::Result<String> {
        self.note(&Page::from(question.to_owned()));
        let mut answer = String::new();
        io::stdin().lock().read_line(&mut answer)?;
        Ok(answer.trim().to_owned())
    }

    /// Asks for a password without echo. Without a terminal it is the first line of standard input.
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

/// The state of the process that reads the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reader {
    There,
    /// The pipe is closed.
    Gone,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Colours {
    /// On a terminal with colours, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Also into a file or a pipe.
    Always,
    Never,
}

/// Colour settings of the environment.
#[derive(Debug, Clone, Copy)]
pub struct Wish {
    /// `NO_COLOR` has any value (no-color.org).
    pub no_color: bool,
    /// `CLICOLOR_FORCE` is set to a value other than 0.
    pub force: bool,
    pub is_dumb: bool,
}

impl Wish {
    /// Returns whether to use colours; `shown` is true if the output is a terminal.
    pub fn colours(self, shown: bool) -> bool {
        let Self { no_color, force, is_dumb } = self;
        !no_color && (force || shown && !is_dumb)
    }
}

/// Shows the text in `$PAGER`, or in less. Returns false where there is no pager.
fn paged(text: &str) -> bool {
    let pager = std::env::var("PAGER").unwrap_or_else(|_| "less".to_owned());
    if matches!(pager.trim(), "" | "cat") {
        return false;
    }
    // F: not for one screen, R: colours, X: the text stays on the terminal. A pager of root runs no shell.
    let started = Command::new("sh")
        .args(["-c", &pager])
        .env("LESS", std::env::var("LESS").unwrap_or_else(|_| "FRX".to_owned()))
        .env("LESSSECURE", "1")
        .stdin(Stdio::piped())
        .spawn();
    let Ok(mut child) = started else { return false };
    if let Some(mut input) = child.stdin.take() {
        // The reader may leave before the end.
        let _ = input.write_all(text.as_bytes());
    }
    // The shell exits with 127 where the pager does not exist, before anything was shown.
    child.wait().is_ok_and(|status| status.code() != Some(127))
}

/// Returns the number of lines of the terminal.
fn lines() -> Option<usize> {
    terminal_size::terminal_size().map(|(_, height)| usize::from(height.0)).filter(|l| *l > 0)
}

/// Returns the width: `COLUMNS`, else the size of the terminal, else 80.
fn columns() -> usize {
    let exported = std::env::var("COLUMNS").ok().and_then(|c| c.parse().ok());
    let asked = || terminal_size::terminal_size().map(|(width, _)| usize::from(width.0));
    exported.or_else(asked).filter(|c| *c > 0).unwrap_or(80)
}
