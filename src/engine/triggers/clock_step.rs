//! Corrects stored instants after the clock was set back, because they lie in the future.
//!
//! One clock alone is not believed: a server of a directory has to confirm it. Under a clock that
//! is behind, all stored instants would seem old, grace periods and windows included.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use crate::clock::Clock;
use crate::directory::Use;
use crate::engine::sync::observe::policy::MAX_SKEW;
use crate::engine::{Directory, Engine, EngineError};
use crate::model::Timestamp;
use crate::store::StoreError;
use crate::telemetry::chain;

/// Minimum interval between queries of the servers' time.
const QUERY_INTERVAL: Duration = Duration::from_mins(1);

/// The state of the check.
#[derive(Debug, Default)]
pub(in crate::engine) struct ClockStep {
    /// Whether the last check found no instant in the future.
    is_checked: AtomicBool,
    /// Held by the one task that corrects; the time of the last query.
    asked: Mutex<Option<Instant>>,
}

impl ClockStep {
    /// Requires another check, because an instant of another clock may have been written.
    pub(in crate::engine) fn forget(&self) {
        self.is_checked.store(false, Ordering::Release);
    }

    fn is_settled(&self, clock: &Clock) -> bool {
        if clock.take_step_back().is_some() {
            self.forget();
        }
        self.is_checked.load(Ordering::Acquire)
    }
}

impl Engine {
    /// Corrects stored instants in the future once a server has confirmed our time.
    ///
    /// Free while the clock is not set. Called before every decision by a stored instant.
    pub(in crate::engine) async fn check_clock(&self) -> Result<(), StoreError> {
        if self.clock_step.is_settled(&self.clock) {
            return Ok(());
        }
        let mut asked = self.clock_step.asked.lock().await;
        if self.clock_step.is_settled(&self.clock) {
            return Ok(());
        }
        if asked.is_some_and(|at| at.elapsed() < QUERY_INTERVAL) {
            return Ok(());
        }
        if self.store.future_instants(self.clock.now()).await?.is_none() {
            self.clock_step.is_checked.store(true, Ordering::Release);
            return Ok(());
        }
        *asked = Some(Instant::now());
        drop(asked);
        self.is_time_confirmed().await?;
        Ok(())
    }

    /// Returns whether a server of a directory shows our time, or no directory is configured.
    /// Corrects stored instants then.
    pub(in crate::engine) async fn is_time_confirmed(&self) -> Result<bool, StoreError> {
        let directories: Vec<_> = self.configured().directories.values().cloned().collect();
        for directory in &directories {
            match self.open(directory, Use::LookUp).await {
                Ok((session, _)) => {
                    if self.confirm_clock(session.root.current_time).await? {
                        return Ok(true);
                    }
                }
                Err(EngineError::Store(error)) => return Err(error),
                Err(error) => {
                    tracing::debug!("clock check against {} failed: {error}", directory.config.name)
                }
            }
        }
        Ok(directories.is_empty())
    }

    /// Corrects stored instants if the server's clock confirms ours, and returns whether it does.
    pub(in crate::engine) async fn confirm_clock(
        &self,
        theirs: Option<Timestamp>,
    ) -> Result<bool, StoreError> {
        let now = self.clock.now();
        if theirs.is_none_or(|theirs| theirs.distance(now) > MAX_SKEW) {
            return Ok(false);
        }
        if self.clock_step.is_settled(&self.clock) {
            return Ok(true);
        }
        let mut asked = self.clock_step.asked.lock().await;
        if self.clock_step.is_settled(&self.clock) {
            return Ok(true);
        }
        if let Some(future) = self.store.future_instants(now).await? {
            self.store.correct_instants(now).await?;
            let ahead =
                humantime::format_duration(Duration::from_secs(future.latest.since(now).as_secs()));
            let text = format!(
                "the clock was ahead by {ahead} or more: {} stored instants lay in the future and were set to the present; see to it that \
                 the clock is synchronised before rosterd starts",
                future.count
            );
            self.report_step(&text);
        }
        *asked = None;
        self.clock_step.is_checked.store(true, Ordering::Release);
        Ok(true)
    }

    /// Logs the correction, and makes it a warning of the next run of each directory.
    fn report_step(&self, text: &str) {
        tracing::warn!("{text}");
        for directory in self.configured().directories.values() {
            directory.note_clock(Some(text.to_owned()));
        }
    }

    /// Logs an error of [`Self::check_clock`] for tasks that continue anyway.
    pub(in crate::engine) async fn check_clock_or_log(&self) {
        if let Err(error) = self.check_clock().await {
            tracing::error!("clock check failed: {}", chain(&error));
        }
    }
}

impl Directory {
    /// Replaces the warning for the next run, and returns the former one.
    pub(in crate::engine) fn note_clock(&self, text: Option<String>) -> Option<String> {
        let mut note =
            self.work.clock_note.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        std::mem::replace(&mut *note, text)
    }
}
