//! The reload of the configuration: all of it takes effect, or nothing.

use sd_notify::NotifyState;
use serde_json::Value;
use tokio::sync::mpsc;

use super::{Daemon, Setup, notify, read_keys};
use crate::config::Problems;
use crate::control::{Ask, Asked, Reloaded, Reloader};
use crate::engine::ReloadOutcome;
use crate::model::{Event, EventCause};
use crate::telemetry::chain;

/// The function that reads the configuration, and the channel of requests to call it.
pub struct Reload {
    pub(super) read: Read,
    pub(super) reloader: Reloader,
    pub(super) asked: mpsc::Receiver<Ask>,
}

pub(super) type Read = std::sync::Arc<dyn Fn() -> Result<Setup, Problems> + Send + Sync>;

impl Reload {
    pub fn new(read: impl Fn() -> Result<Setup, Problems> + Send + Sync + 'static) -> Self {
        let (reloader, asked) = Reloader::new();
        let reloader = reloader.parsing(super::settings::directories);
        Self { read: std::sync::Arc::new(read), reloader, asked }
    }

    /// Returns a handle for reloads that are not requested over the control socket.
    pub fn reloader(&self) -> Reloader {
        self.reloader.clone()
    }
}

impl Daemon {
    /// Reloads the configuration and answers the request.
    pub(super) async fn reload(&mut self, Ask { by, asked, answer }: Ask) {
        tracing::info!("reload requested by {by}");
        notify::send(&[NotifyState::Reloading]);
        let read = std::sync::Arc::clone(&self.read);
        // The check reads secrets and certificates, which may lie on slow file systems.
        let outcome = match tokio::task::spawn_blocking(move || read()).await {
            Ok(Ok(setup)) => Ok(self.apply(setup).await),
            Ok(Err(problems)) => Err(problems.to_string()),
            Err(panic) => Err(format!("reload panicked: {panic}")),
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
            if let Err(error) =
                self.engine.store.record_anywhere(&[event], &self.engine.clock).await
            {
                tracing::error!("reload failed to record its event: {}", chain(&error));
            }
        }
        match &outcome {
            Ok(Reloaded { directories, hooks, targets, needs_restart }) => {
                for (directory, outcome) in directories {
                    tracing::info!(%directory, "{directory}: configuration applied ({})", outcome.as_str());
                }
                for (hook, outcome) in
                    hooks.iter().filter(|(_, outcome)| **outcome != ReloadOutcome::Unchanged)
                {
                    tracing::info!(%hook, "hook {hook}: configuration applied ({})", outcome.as_str());
                }
                for (target, outcome) in
                    targets.iter().filter(|(_, outcome)| **outcome != ReloadOutcome::Unchanged)
                {
                    tracing::info!(scim_target = %target, "target {target}: configuration applied ({})", outcome.as_str());
                }
                if !needs_restart.is_empty() {
                    tracing::warn!("changed keys need a restart: {}", needs_restart.join(", "));
                }
            }
            Err(problems) => {
                tracing::error!(
                    "reload failed: the file has problems, and the previous configuration stays in force"
                );
                problems
                    .lines()
                    .for_each(|problem| tracing::error!("{}", without_addresses(problem)));
            }
        }
        notify::send(&[NotifyState::Ready]);
        // The caller may have disconnected.
        drop(answer.send(outcome));
    }

    async fn apply(&mut self, setup: Setup) -> Reloaded {
        let Setup {
            store,
            control,
            rules,
            metrics,
            directories,
            hooks,
            targets,
            runner: _,
            log_keys,
            state: _,
            cluster,
        } = setup;
        let needs_restart = [
            ("store.url", store != self.store_at),
            ("control.socket", control.socket != self.socket),
            ("metrics.listen", metrics != self.metrics),
            ("cluster", cluster != self.cluster),
        ];
        self.callers.regroup(&control);
        match read_keys(log_keys.as_deref()) {
            // The leader marks the first entry with another key.
            Ok(keys) if self.term.is_none() || !self.engine.leads() => {
                self.engine.store.use_log_keys(keys);
                self.log_keys = log_keys;
            }
            Ok(keys) => match self.engine.key_log(keys).await {
                // The next term begins with it, too.
                Ok(()) => self.log_keys = log_keys,
                Err(error) => {
                    tracing::error!("event log failed to change its key: {}", chain(&error));
                }
            },
            Err(error) => tracing::error!("{error}; the previous keys stay in use"),
        }
        let directories = self.engine.reconfigure(directories, rules);
        let hooks = self.engine.reconfigure_hooks(hooks);
        let targets = self.engine.reconfigure_targets(targets);
        self.spawn_all();
        Reloaded {
            directories,
            hooks,
            targets,
            needs_restart: needs_restart
                .into_iter()
                .filter(|(_, changed)| *changed)
                .map(|(key, _)| key)
                .collect(),
        }
    }
}

/// Returns a problem without the addresses that it quotes, because logs name no person.
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
    fn a_logged_problem_has_the_place_of_an_address_but_not_the_address() {
        let problem = "rosterd.toml:7:12: the part of \"the boss@example.com\" before the @ is not plain letters: write ceo@example.com";
        let logged = "rosterd.toml:7:12: the part of \"…\" before the @ is not plain letters: write ceo@example.com";
        assert_eq!(without_addresses(problem), logged);
        assert_eq!(
            without_addresses("rosterd.toml:3: \"servers\" is missing"),
            "rosterd.toml:3: \"servers\" is missing"
        );
    }
}
