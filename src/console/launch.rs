//! The start of the console: the link, the browser, and the end with the terminal.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use maud::{DOCTYPE, html};
use serde_json::json;

use super::serve::{Listening, Settings, Unopened};
use super::state::Console;
use super::stdio;
use crate::clock::Clock;
use crate::ctl::console::{Arguments, Opening};
use crate::ctl::link::Failure;
use crate::ctl::text::{Page, bold, yellow};
use crate::ctl::{self, Cli, Exit, Terminal};

/// Interval at which the use of the link is checked.
const CHECKED: Duration = Duration::from_millis(200);

/// Runs a command of `rosterctl`.
pub async fn run(cli: Cli, terminal: &mut Terminal, clock: &Clock) -> Exit {
    match cli.console(terminal) {
        Some(opening) => open(opening, terminal, clock).await.unwrap_or_else(|failure| {
            let page = failure.page(&terminal.view());
            terminal.note(&page);
            failure.exit()
        }),
        None => ctl::run(cli, terminal).await,
    }
}

impl From<Unopened> for Failure {
    fn from(error: Unopened) -> Self {
        match error {
            Unopened::Failure(failure) => failure,
            Unopened::Listen(error) => {
                Self::Unresolved(format!("the console cannot listen on 127.0.0.1: {error}"))
            }
            Unopened::NoRandom(error) => Self::Unresolved(error.to_string()),
        }
    }
}

async fn open(opening: Opening, terminal: &mut Terminal, clock: &Clock) -> Result<Exit, Failure> {
    let Opening { socket, arguments: Arguments { read_only, no_browser, stdio }, json } = opening;
    let settings = Settings { socket, read_only, zone: terminal.view().zone };
    if stdio {
        stdio::serve(settings, clock.clone()).await?;
        return Ok(Exit::Done);
    }
    let listening = Listening::open(settings, clock.clone()).await?;
    let (link, console) = (listening.link(), Arc::clone(&listening.console));
    let redirect = (!no_browser && !json).then(|| Redirect::open(&link, console.port())).flatten();
    if json {
        terminal.print(&Page::from(format!("{}\n", json!({ "link": link }))))?;
    } else {
        terminal.print(&told(&console, &link, redirect.is_some()))?;
    }
    let removed = async {
        while !console.is_opened() {
            tokio::time::sleep(CHECKED).await;
        }
        drop(redirect);
        std::future::pending::<()>().await;
    };
    let ending = tokio::select! {
        ending = listening.serve() => ending?,
        () = removed => return Ok(Exit::Done),
    };
    let mut page = Page::default();
    page.line(ending.sentence());
    terminal.note(&page);
    Ok(Exit::Done)
}

fn told(console: &Console, link: &str, is_shown: bool) -> Page {
    let mut page = Page::default();
    let rights = if console.may_change() { "may look and decide" } else { "may look" };
    page.line(format!("Console of {}, who {rights}. Ctrl-C ends it.", bold(console.caller())));
    page.line("");
    page.line(if is_shown {
        "A browser opens. Otherwise open this link there, within 60 seconds; it works once:"
    } else {
        "Open this link in a browser within 60 seconds; it works once:"
    });
    page.line(format!("  {}", bold(link)));
    if !is_shown {
        let port = console.port();
        page.line("");
        page.line("The browser is on another machine? There first:");
        page.line(format!("  ssh -L {port}:127.0.0.1:{port} <this machine>"));
        page.line("Is the link too old then? Ctrl-C, and again for a new link and its port.");
    }
    if nix::unistd::geteuid().is_root() && std::env::var_os("SUDO_UID").is_some() {
        page.line("");
        page.line(yellow("It answers browsers of root only: run rosterctl console without sudo."));
    }
    page
}

/// A file that leads the browser to the link, so that no command line has the code. It is removed
/// when dropped.
struct Redirect(PathBuf);

impl Redirect {
    /// Opens a browser where there is a desktop.
    fn open(link: &str, port: u16) -> Option<Self> {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        set("DISPLAY").or_else(|| set("WAYLAND_DISPLAY"))?;
        let folder = set("XDG_RUNTIME_DIR")?;
        let redirect = Self::write(Path::new(&folder), link, port).ok()?;
        let mut browser = Command::new("xdg-open");
        browser.arg(&redirect.0).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        browser.spawn().ok().map(|_| redirect)
    }

    /// Writes a file that only its owner can read.
    fn write(folder: &Path, link: &str, port: u16) -> io::Result<Self> {
        let path = folder.join(format!("rosterd-console-{port}.html"));
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        let redirect = Self(path);
        let page = html! {
            (DOCTYPE)
            meta charset="utf-8";
            meta http-equiv="refresh" content=(format!("0; url={link}"));
            title { "rosterd" }
            a href=(link) { "Open the console" }
        };
        file.write_all(page.into_string().as_bytes())?;
        Ok(redirect)
    }
}

impl Drop for Redirect {
    fn drop(&mut self) {
        // The folder is emptied when the user logs out.
        let _ = std::fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_redirect_file_belongs_to_its_owner_and_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let redirect = Redirect::write(folder.path(), "http://127.0.0.1:1/open#<x>", 1).unwrap();
        let path = redirect.0.clone();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains("url=http://127.0.0.1:1/open#&lt;x&gt;"), "{text}");
        assert!(Redirect::write(folder.path(), "", 1).is_err(), "no file of another is followed");
        drop(redirect);
        assert!(!path.exists());
    }
}
