//! Notifications to systemd: readiness, one line of status, and the watchdog (sd_notify(3)).
//!
//! The watchdog is served while the async runtime schedules tasks and an embedded store answers. A
//! daemon that hangs in either cannot sync and has to be restarted. The length of a run does not
//! matter. A restart mends no database server, so one that is away does not count.

use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;

use crate::engine::{DirectoryStatus, Engine, EngineError, Periodic};

/// Period of the status line.
const PERIOD: Duration = Duration::from_secs(5);

/// Sends a notification. Without systemd, it does nothing.
pub(super) fn send(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!("sd-notify failed: {error}");
    }
}

/// The periodic task that sends status and watchdog notifications.
pub(super) struct SystemdStatus {
    engine: Arc<Engine>,
    /// Half the watchdog's limit, as sd_watchdog_enabled(3) recommends; `None` without a watchdog.
    watchdog: Option<Duration>,
    sent: String,
    is_down: bool,
}

impl SystemdStatus {
    pub(super) fn new(engine: Arc<Engine>) -> Self {
        let watchdog = sd_notify::watchdog_enabled().map(|limit| limit / 2);
        Self { engine, watchdog, sent: String::new(), is_down: false }
    }
}

impl Periodic for SystemdStatus {
    fn name(&self) -> &'static str {
        "sd-notify"
    }

    fn period(&self) -> Duration {
        self.watchdog.map_or(PERIOD, |half| half.min(PERIOD))
    }

    async fn round(&mut self) -> Result<(), EngineError> {
        let limit = self.watchdog.unwrap_or(PERIOD);
        if self.watchdog.is_some() && self.engine.store.is_remote() {
            send(&[NotifyState::Watchdog]);
        }
        match tokio::time::timeout(limit, line(&self.engine)).await {
            Ok(Some(line)) => {
                if std::mem::take(&mut self.is_down) {
                    tracing::info!("store answers again");
                }
                if self.watchdog.is_some() {
                    send(&[NotifyState::Watchdog]);
                }
                self.engine.note_health(&line);
                if line != self.sent {
                    send(&[NotifyState::Status(&line)]);
                    self.sent = line;
                }
            }
            // systemd kills a daemon without watchdog notifications; this line is the reason in the
            // journal.
            Ok(None) | Err(_) => {
                if !std::mem::replace(&mut self.is_down, true) && !self.engine.store.is_remote() {
                    tracing::error!(
                        "store does not answer: watchdog notifications are suspended; systemd restarts rosterd after WatchdogSec"
                    );
                }
            }
        }
        Ok(())
    }
}

/// Returns the status of all directories on one line, or `None` when the store does not answer.
async fn line(engine: &Engine) -> Option<String> {
    if let Some(outage) = engine.store.outage() {
        return Some(format!("no-store: {outage}"));
    }
    let mut parts = Vec::new();
    for directory in engine.configured().directories.values() {
        parts.push(part(&engine.directory_status(directory).await.ok()?));
    }
    if parts.is_empty() {
        parts.push("no directory is configured".to_owned());
    }
    parts.extend(engine.failed_tasks().iter().map(|name| format!("{name} fails")));
    Some(parts.join("; "))
}

fn part(status: &DirectoryStatus) -> String {
    let DirectoryStatus { name, state, active, held, next_run, .. } = status;
    let held =
        if *held > 0 { format!(", {held} changes wait for approval") } else { String::new() };
    let next = next_run
        .map_or_else(String::new, |at| format!(", next run {}", at.to_utc().format("%H:%M UTC")));
    format!("{name}: {state}, {active} active{held}{next}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::DirectoryCondition;
    use crate::model::Timestamp;

    #[test]
    fn the_status_line_shows_state_held_changes_and_next_run() {
        let status = DirectoryStatus {
            name: "corp".to_owned(),
            account: "acme".to_owned(),
            state: DirectoryCondition::Ok,
            server: None,
            servers: Vec::new(),
            live: false,
            running: None,
            last_attempt: None,
            last_success: None,
            last_complete_read: None,
            next_run: Some(Timestamp(1_795_530_600_000_000)),
            paused_until: None,
            stale: false,
            bind_refused: false,
            active: 812,
            suspended: 3,
            held: 7,
            held_since: None,
            approval_expires: None,
            overdue_expiries: 0,
            quarantined: 0,
            quiet: None,
            attention: Vec::new(),
        };
        assert_eq!(
            part(&status),
            "corp: ok, 812 active, 7 changes wait for approval, next run 14:30 UTC"
        );
        assert_eq!(
            part(&DirectoryStatus { held: 0, next_run: None, ..status }),
            "corp: ok, 812 active"
        );
    }
}
