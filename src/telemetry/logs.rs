//! Logs: one line per event, to the journal with fields under systemd, else to stderr.
//!
//! `journalctl -u rosterd DIRECTORY=corp` and `RUN_ID=…` select by field.

use std::ffi::OsStr;
use std::io::{self, IsTerminal as _};

use tracing_journald::{Priority, PriorityMappings};
use tracing_subscriber::Registry;
use tracing_subscriber::filter::{LevelFilter, ParseError, Targets};
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::visible::escaped;

/// Starts logging. `ROSTERD_LOG` sets the filter (`info`, `debug`, `rosterd::directory=trace`).
pub fn init() {
    let named = std::env::var("ROSTERD_LOG").unwrap_or_default();
    let filter = filter_of(&named);
    start(filter.as_ref().map_or_else(|_| defaults(), Targets::clone));
    if let Err(error) = filter {
        tracing::warn!(
            "ROSTERD_LOG={named:?} is not a log filter: {error}; the default filter is used; \
             write a level (info, debug, trace), or pairs such as rosterd::directory=debug"
        );
    }
}

/// Returns the filter that `ROSTERD_LOG` asks for. An empty text asks for the default.
fn filter_of(text: &str) -> Result<Targets, ParseError> {
    if text.trim().is_empty() { Ok(defaults()) } else { text.parse() }
}

/// Returns the filter without `ROSTERD_LOG`. Libraries are limited to errors, because rosterd logs
/// their failures itself. Operators cannot act on the rest, such as a closed connection.
fn defaults() -> Targets {
    let libraries = ["ldap3", "sqlx", "hickory_resolver", "hickory_proto"];
    Targets::new()
        .with_default(LevelFilter::INFO)
        .with_targets(libraries.map(|name| (name, LevelFilter::ERROR)))
}

fn start(filter: Targets) {
    let logs = Registry::default().with(filter);
    let is_terminal = io::stderr().is_terminal();
    if !is_journal(std::env::var_os("JOURNAL_STREAM").as_deref()) {
        let to_stderr =
            fmt::layer().with_writer(move || Lines { ansi: is_terminal }).with_target(false);
        return logs.with(to_stderr.with_ansi(is_terminal)).init();
    }
    match tracing_journald::layer() {
        Ok(journal) => {
            // Fields have no prefix: RUN_ID, DIRECTORY, TRIGGER. Info is LOG_INFO of syslog(3), not
            // LOG_NOTICE.
            let priorities = PriorityMappings {
                info: Priority::Informational,
                debug: Priority::Debug,
                ..PriorityMappings::new()
            };
            let journal = journal
                .with_field_prefix(None)
                .with_syslog_identifier("rosterd".to_owned())
                .with_priority_mappings(priorities);
            logs.with(journal).init();
        }
        // stderr leads to the journal as well, but without fields. The journal adds the time.
        Err(error) => {
            let to_stderr = fmt::layer().with_writer(|| Lines { ansi: false }).with_target(false);
            logs.with(to_stderr.without_time().with_ansi(false)).init();
            tracing::warn!("journal socket failed: {error}; log lines go to stderr without fields");
        }
    }
}

/// A writer to stderr that escapes invisible characters and line breaks within a line.
struct Lines {
    /// Whether the formatter writes colours. It escapes the colours of messages itself.
    ansi: bool,
}

impl io::Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        io::Write::write_all(
            &mut io::stderr(),
            shown(&String::from_utf8_lossy(line), self.ansi).as_bytes(),
        )?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::Write::flush(&mut io::stderr())
    }
}

/// Returns a log line with invisible characters escaped, except the colours of the formatter.
fn shown(line: &str, ansi: bool) -> String {
    let (text, end) = line.strip_suffix('\n').map_or((line, ""), |text| (text, "\n"));
    let parts = text.split('\u{1b}').map(escaped).collect::<Vec<_>>();
    format!("{}{end}", parts.join(if ansi { "\u{1b}" } else { "\\u{1b}" }))
}

/// Returns whether stderr leads to the journal. `$JOURNAL_STREAM` alone proves nothing, because
/// child processes with another stderr inherit it (systemd.exec(5)).
fn is_journal(stream: Option<&OsStr>) -> bool {
    let named = stream.and_then(OsStr::to_str).and_then(|s| s.split_once(':'));
    let named = named.and_then(|(device, inode)| {
        Some((device.parse::<u64>().ok()?, inode.parse::<u64>().ok()?))
    });
    let is = nix::sys::stat::fstat(io::stderr()).ok().map(|stderr| (stderr.st_dev, stderr.st_ino));
    named.is_some() && named == is
}

/// Returns an error with its sources. Invisible characters are escaped, because texts of servers
/// are untrusted. A source that the message already ends with is left out.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let more = error.to_string();
        if !text.ends_with(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        source = error.source();
    }
    text.split('\n').map(escaped).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_line_stays_one_line_and_shows_invisible_characters() {
        let line = "WARN corp: \u{202e}gnp.exe\u{200b}\nINFO forged\u{9b}31m\u{1b}[31m\n";
        assert_eq!(
            shown(line, false),
            "WARN corp: \\u{202e}gnp.exe\\u{200b}\\nINFO forged\\u{9b}31m\\u{1b}[31m\n"
        );
        assert_eq!(shown("\u{1b}[2mINFO\u{1b}[0m well\n", true), "\u{1b}[2mINFO\u{1b}[0m well\n");
    }

    #[test]
    fn invisible_characters_in_a_servers_text_are_escaped() {
        let error = io::Error::other("00002020: \u{202e}nwod \u{0}\u{9b}2J\u{200b}");
        assert_eq!(chain(&error), "00002020: \\u{202e}nwod \\u{0}\\u{9b}2J\\u{200b}");
    }

    #[test]
    fn a_log_filter_is_read_and_a_malformed_one_refused() {
        let is_on = |text: &str, target| {
            filter_of(text).map(|filter| filter.would_enable(target, &tracing::Level::DEBUG))
        };
        for (text, ours, theirs) in [
            ("", false, false),
            ("debug", true, true),
            ("rosterd=debug", true, false),
            ("debug,ldap3=error", true, false),
        ] {
            let read = (is_on(text, "rosterd::engine"), is_on(text, "ldap3::conn"));
            assert!(matches!(read, (Ok(a), Ok(b)) if (a, b) == (ours, theirs)), "{text}");
        }
        assert!(filter_of("rosterd=loud").is_err());
    }

    #[test]
    fn the_journal_is_used_only_when_stderr_is_the_stream_it_names() {
        let stderr = nix::sys::stat::fstat(io::stderr()).expect("stderr");
        let (device, inode) = (stderr.st_dev, stderr.st_ino);
        assert!(is_journal(Some(OsStr::new(&format!("{device}:{inode}")))));
        for other in [
            format!("{device}:{}", inode + 1),
            format!("{}:{inode}", device + 1),
            format!("{inode}"),
            String::new(),
            "a:b".to_owned(),
        ] {
            assert!(!is_journal(Some(OsStr::new(&other))), "{other}");
        }
        assert!(!is_journal(None));
    }
}
