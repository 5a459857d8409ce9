//! The configuration, read again while the daemon runs: all of it takes effect, or nothing.

use sd_notify::NotifyState;
use serde_json::Value;
use tokio::sync::mpsc;

use super::{Daemon, Setup, keys_of, notify};
use crate::config::Problems;
use crate::control::{Ask, Asked, Reloaded, Reloader};
use crate::engine::Outcome;
use crate::model::{Event, EventCause};
use crate::telemetry::chain;

/// How the configuration is read again, and who may ask for it.
pub struct Reload {
    pub(super) read: Read,
    pub(super) reloader: Reloader,
    pub(super) asked: mpsc::Receiver<Ask>,
}

pub(super) type Read = std::sync::Arc<dyn Fn() -> Result<Setup, Problems> + Send + Sync>;

impl Reload {
    /// With this way to read it.
    pub fn new(read: impl Fn() -> Result<Setup, Problems> + Send + Sync + 'static) -> Self {
        let (reloader, asked) = Reloader::new();
        Self { read: std::sync::Arc::new(read), reloader, asked }
    }

    /// Asks for a reload, for those who hear of one elsewhere than on the socket.
    pub fn reloader(&self) -> Reloader {
        self.reloader.clone()
    }
}

impl Daemon {
    /// Answers one who asked.
    pub(super) async fn reload(&mut self, Ask { by, asked, answer }: Ask) {
        tracing::info!("the configuration is read again, asked by {by}");
        notify::tell(&[NotifyState::Reloading]);
        let read = std::sync::Arc::clone(&self.read);
        // Secrets and certificates are looked at, wherever they are.
        let outcome = match tokio::task::spawn_blocking(move || read()).await {
            Ok(Ok(setup)) => Ok(self.take_over(setup).await),
            Ok(Err(problems)) => Err(problems.to_string()),
            Err(panic) => Err(format!("reading the configuration failed: {panic}")),
        };
        if asked == Asked::BySignal && outcome.is_ok() {
            let cause =
                EventCause { actor: by, run: None, account: None, at: self.engine.clock.now() };
            let event = Event::about(
                "configuration.reloaded",
                "configuration",
                &cause,
                Value::Null,
                Value::Null,
            );
            if let Err(error) = self.engine.store.record(&[event], &self.engine.clock).await {
                tracing::error!("reload: the event cannot be written: {}", chain(&error));
            }
        }
        match &outcome {
            Ok(Reloaded { directories, hooks, needs_restart }) => {
                for (directory, outcome) in directories {
                    tracing::info!(%directory, "{directory}: the configuration is in force ({})", outcome.as_str());
                }
                for (hook, outcome) in
                    hooks.iter().filter(|(_, outcome)| **outcome != Outcome::Unchanged)
                {
                    tracing::info!(%hook, "hook {hook}: the configuration is in force ({})", outcome.as_str());
                }
                if !needs_restart.is_empty() {
                    tracing::warn!(
                        "changed in the file, and taken over only by a restart: {}",
                        needs_restart.join(", ")
                    );
                }
            }
            Err(problems) => {
                tracing::error!("the configuration stays as it was: the file has problems");
                problems
                    .lines()
                    .for_each(|problem| tracing::error!("{}", without_addresses(problem)));
            }
        }
        notify::tell(&[NotifyState::Ready]);
        // Whoever asked may have gone.
        drop(answer.send(outcome));
    }

    async fn take_over(&mut self, setup: Setup) -> Reloaded {
        let Setup { store, control, rules, metrics, directories, hooks, runner: _, log_keys } =
            setup;
        let needs_restart = [
            ("store.url", store != self.store_url),
            ("control.socket", control.socket != self.socket),
            ("metrics.listen", metrics != self.metrics),
        ];
        self.callers.regroup(&control);
        match keys_of(log_keys.as_deref()) {
            Ok(keys) => {
                if let Err(error) = self.engine.key_log(keys).await {
                    tracing::error!(
                        "the event log cannot be marked as chained with its key: {}",
                        chain(&error)
                    );
                }
            }
            Err(error) => tracing::error!("{error}; the keys of before are kept"),
        }
        let directories = self.engine.reconfigure(directories, rules);
        self.keep_directories();
        let hooks = self.engine.reconfigure_hooks(hooks);
        self.keep_hooks();
        Reloaded {
            directories,
            hooks,
            needs_restart: needs_restart
                .into_iter()
                .filter(|(_, changed)| *changed)
                .map(|(key, _)| key)
                .collect(),
        }
    }
}

/// A problem as the log may have it: it says where in the file an address stands, and the file says which.
fn without_addresses(problem: &str) -> String {
    let quoted = problem.split('"').enumerate();
    let parts =
        quoted.map(|(number, part)| if number % 2 == 1 && part.contains('@') { "…" } else { part });
    parts.collect::<Vec<_>>().join("\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_says_where_an_address_is_wrong_and_not_which() {
        let problem = "rosterd.toml:7:12: the part of \"the boss@example.com\" before the @ is not plain letters: write ceo@example.com";
        let told = "rosterd.toml:7:12: the part of \"…\" before the @ is not plain letters: write ceo@example.com";
        assert_eq!(without_addresses(problem), told);
        assert_eq!(
            without_addresses("rosterd.toml:3: \"servers\" is missing"),
            "rosterd.toml:3: \"servers\" is missing"
        );
    }
}
