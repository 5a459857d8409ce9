//! Logs: one line per event, readable alone. Under systemd they go to the journal with its fields
//! (`journalctl -u rosterd DIRECTORY=corp`, `RUN_ID=…`), else to stderr.

use std::ffi::OsStr;
use std::io::{self, IsTerminal as _};

use tracing_journald::{Priority, PriorityMappings};
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Registry};

/// What is told unless `ROSTERD_LOG` says otherwise. The libraries report as errors to us whatever matters; what they
/// say beyond that (a connection that ended, a statement that took a second) an operator can do nothing about.
const USUALLY: &str = "info,ldap3=error,sqlx=error,hickory_resolver=error,hickory_proto=error";

/// Begins to log; `ROSTERD_LOG` sets the level (`info`, `debug`, `rosterd::directory=trace` …).
pub fn init() {
    let filter = EnvFilter::try_from_env("ROSTERD_LOG").unwrap_or_else(|_| EnvFilter::new(USUALLY));
    let logs = Registry::default().with(filter);
    let to_stderr = fmt::layer().with_writer(io::stderr).with_target(false);
    if !is_journal(std::env::var_os("JOURNAL_STREAM").as_deref()) {
        return logs.with(to_stderr.with_ansi(io::stderr().is_terminal())).init();
    }
    match tracing_journald::layer() {
        Ok(journal) => {
            // RUN_ID, DIRECTORY and TRIGGER are named as they are; syslog(3) calls our info informational, not a notice.
            let priorities = PriorityMappings { info: Priority::Informational, debug: Priority::Debug, ..PriorityMappings::new() };
            let journal = journal.with_field_prefix(None).with_syslog_identifier("rosterd".to_owned()).with_priority_mappings(priorities);
            logs.with(journal).init();
        }
        // stderr is the journal as well, if without fields. It has its own clock.
        Err(error) => {
            logs.with(to_stderr.without_time().with_ansi(false)).init();
            tracing::warn!("the journal's socket cannot be reached ({error}): log lines go there by stderr, without their fields");
        }
    }
}

/// Whether stderr leads to the journal: the variable alone may be inherited by what writes elsewhere (systemd.exec(5)).
fn is_journal(stream: Option<&OsStr>) -> bool {
    let named = stream.and_then(OsStr::to_str).and_then(|s| s.split_once(':'));
    let named = named.and_then(|(device, inode)| Some((device.parse::<u64>().ok()?, inode.parse::<u64>().ok()?)));
    let is = nix::sys::stat::fstat(io::stderr()).ok().map(|stderr| (stderr.st_dev, stderr.st_ino));
    named.is_some() && named == is
}

/// An error with everything behind it. What a message already ends with is not said twice.
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
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_journal_is_meant_only_when_stderr_is_the_stream_it_names() {
        let stderr = nix::sys::stat::fstat(io::stderr()).expect("stderr");
        let (device, inode) = (stderr.st_dev, stderr.st_ino);
        assert!(is_journal(Some(OsStr::new(&format!("{device}:{inode}")))));
        for other in
            [format!("{device}:{}", inode + 1), format!("{}:{inode}", device + 1), format!("{inode}"), String::new(), "a:b".to_owned()]
        {
            assert!(!is_journal(Some(OsStr::new(&other))), "{other}");
        }
        assert!(!is_journal(None));
    }
}
