//! What systemd is told: readiness, one line of status, and that the daemon is alive (sd_notify(3)).
//!
//! Alive means that the runtime takes turns and that the store answers: a daemon that hangs in either syncs nobody, and
//! is better started again. How long a run or a transaction takes does not count.

use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio_util::sync::CancellationToken;

use crate::engine::{DirectoryStatus, Engine};

/// The status line is made anew this often.
const OFTEN: Duration = Duration::from_secs(5);

/// Tells systemd. Without systemd there is nobody to tell.
pub(super) fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!("systemd cannot be told: {error}");
    }
}

/// Tells systemd how things stand, for as long as the daemon runs.
pub(super) async fn keep_telling(engine: Arc<Engine>, stop: CancellationToken) {
    // Twice within the time systemd allows.
    let watchdog = sd_notify::watchdog_enabled().map(|limit| limit / 2);
    let every = watchdog.map_or(OFTEN, |limit| limit.min(OFTEN));
    let mut told = String::new();
    let mut is_silent = false;
    loop {
        let patience = watchdog.unwrap_or(OFTEN);
        match tokio::time::timeout(patience, line(&engine)).await {
            Ok(Some(line)) => {
                if std::mem::take(&mut is_silent) {
                    tracing::info!("the store answers again");
                }
                if watchdog.is_some() {
                    tell(&[NotifyState::Watchdog]);
                }
                if line != told {
                    tell(&[NotifyState::Status(&line)]);
                    told = line;
                }
            }
            // systemd ends what is not heard of, and the journal says why.
            Ok(None) | Err(_) => {
                if !std::mem::replace(&mut is_silent, true) {
                    tracing::error!(
                        "the store does not answer: systemd is not told that rosterd is alive"
                    );
                }
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(every) => {}
        }
    }
}

/// How all directories stand, on one line; nothing when the store does not say.
async fn line(engine: &Engine) -> Option<String> {
    let mut parts = Vec::new();
    for directory in engine.configured().directories.values() {
        parts.push(part(&engine.directory_status(directory).await.ok()?));
    }
    if parts.is_empty() {
        parts.push("no directory is configured".to_owned());
    }
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
    use crate::model::Timestamp;

    #[test]
    fn the_status_line_says_what_an_operator_looks_for_first() {
        let status = DirectoryStatus {
            name: "corp".to_owned(),
            account: "acme".to_owned(),
            state: "ok",
            server: None,
            live: false,
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
            quarantined: 0,
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
