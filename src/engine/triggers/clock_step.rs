//! The clock was set back: instants that were stored while it was ahead lie in the future.
//!
//! Nothing is corrected on the word of one clock. A directory's server has to show the same time as ours: a clock that is
//! behind would make everything that is stored look as if it had happened long ago, grace periods and windows included.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use crate::clock::Clock;
use crate::engine::sync::observe::policy::MAX_SKEW;
use crate::engine::{Directory, Engine, EngineError};
use crate::model::Timestamp;
use crate::store::StoreError;
use crate::telemetry::chain;

/// Servers are asked for the time this often at most.
const ASKED_EVERY: Duration = Duration::from_mins(1);

/// What is known about stored instants and the present.
#[derive(Debug, Default)]
pub(in crate::engine) struct ClockStep {
    /// Whether no stored instant lay in the future when that was last checked.
    is_checked: AtomicBool,
    /// One task corrects at a time; when servers were last asked for the time.
    asked: Mutex<Option<Instant>>,
}

impl ClockStep {
    /// Has the store checked again: something may have been written by another time.
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
    /// Corrects stored instants that lie in the future, once a directory's server has shown the time that we have.
    ///
    /// Costs nothing while the clock runs on. Called before anything is decided by a stored instant.
    pub(in crate::engine) async fn check_clock(&self) -> Result<(), StoreError> {
        if self.clock_step.is_settled(&self.clock) {
            return Ok(());
        }
        let mut asked = self.clock_step.asked.lock().await;
        if self.clock_step.is_settled(&self.clock) {
            return Ok(());
        }
        if asked.is_some_and(|at| at.elapsed() < ASKED_EVERY) {
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

    /// Asks the directories' servers for the time, and returns whether one of them shows ours; so it is where there is no
    /// directory to ask. What lay in the future is corrected by then.
    pub(in crate::engine) async fn is_time_confirmed(&self) -> Result<bool, StoreError> {
        let directories: Vec<_> = self.configured().directories.values().cloned().collect();
        for directory in &directories {
            match self.open(directory).await {
                Ok((session, _)) => {
                    if self.confirm_clock(session.root.current_time).await? {
                        return Ok(true);
                    }
                }
                Err(EngineError::Store(error)) => return Err(error),
                Err(error) => tracing::debug!(
                    "the clock cannot be compared with that of {}: {error}",
                    directory.config.name
                ),
            }
        }
        Ok(directories.is_empty())
    }

    /// Corrects stored instants if the server's clock confirms ours. Returns whether it does.
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
            self.tell_step(&text);
        }
        *asked = None;
        self.clock_step.is_checked.store(true, Ordering::Release);
        Ok(true)
    }

    /// Logs the correction, and has the next run of each directory warn of it, whose event of attention is the only one.
    fn tell_step(&self, text: &str) {
        tracing::warn!("{text}");
        for directory in self.configured().directories.values() {
            directory.note_clock(Some(text.to_owned()));
        }
    }

    /// As [`Self::check_clock`], for tasks that go on whatever becomes of it.
    pub(in crate::engine) async fn check_clock_or_log(&self) {
        if let Err(error) = self.check_clock().await {
            tracing::error!("stored instants cannot be compared with the clock: {}", chain(&error));
        }
    }
}

impl Directory {
    /// Keeps what the next run is to warn of, and returns what it was to warn of until now.
    pub(in crate::engine) fn note_clock(&self, text: Option<String>) -> Option<String> {
        let mut note =
            self.work.clock_note.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        std::mem::replace(&mut *note, text)
    }
}
