//! Logs: one line per event, people by id only. Under systemd the journal adds time and priority.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

/// Writes logs to stderr; `ROSTERD_LOG` sets the level (`info`, `debug`, `rosterd::directory=trace` …).
pub fn init() {
    let filter = EnvFilter::try_from_env("ROSTERD_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    // The journal has its own clock.
    if std::env::var_os("JOURNAL_STREAM").is_some() {
        builder.without_time().with_ansi(false).init();
    } else {
        use std::io::IsTerminal as _;
        builder.with_ansi(std::io::stderr().is_terminal()).init();
    }
}
