//! Delivery to real programs and web servers, also by daemons that are killed meanwhile.

mod examples;
mod exec;
mod killed;
mod mail;
mod proxy;
mod receiver;
mod removed;
mod runner;
mod smtp;
mod stale;
mod webhook;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rosterd::clock::Clock;
use rosterd::engine::{Configurable as _, Engine, HookStatus, ReloadOutcome, Rules};
use rosterd::hooks::{self, Hook, Webhook};
use rosterd::http::Transport;
use rosterd::model::{Actor, Event, EventCause, Program};
use rosterd::store::{Delivery, DeliveryFilter, EventFilter, Store};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

/// Time limit for every expected condition.
const PATIENCE: Duration = Duration::from_secs(30);

/// An engine with hooks and without directories.
struct Desk {
    engine: Arc<Engine>,
    clock: Clock,
    folder: tempfile::TempDir,
}

impl Drop for Desk {
    fn drop(&mut self) {
        self.engine.stop.cancel();
    }
}

/// Returns a hook for all events with this program.
fn by_program(name: &str, path: PathBuf) -> Hook {
    let receiver = hooks::Receiver::Exec(Program { path, arguments: Vec::new(), part: None });
    Hook {
        name: name.to_owned(),
        events: vec!["*".to_owned()],
        receiver,
        timeout: Duration::from_secs(20),
        max_age: Duration::from_hours(24),
        concurrency: 4,
    }
}

/// Returns a hook for all events with this server.
fn by_server(name: &str, url: &str) -> Hook {
    let webhook =
        Webhook { url: url.parse().unwrap(), secret_file: None, transport: Transport::default() };
    Hook { receiver: hooks::Receiver::Webhook(webhook), ..by_program(name, PathBuf::new()) }
}

/// Writes a shell script with the ownership of a hook.
fn script(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    crate::folder::write(&path, &format!("#!/bin/sh\n{text}\n"), 0o755);
    path
}

impl Desk {
    async fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store =
            Store::open(&format!("sqlite://{}", folder.path().join("rosterd.db").display()))
                .await
                .unwrap();
        let clock = Clock::system();
        let stop = CancellationToken::new();
        let engine =
            Engine::new(Arc::new(store), clock.clone(), Vec::new(), Rules::default(), stop);
        Self { engine: Arc::new(engine), clock, folder }
    }

    /// Replaces the hooks by these.
    fn hook_up(&self, hooks: Vec<Hook>) -> Vec<(String, ReloadOutcome)> {
        let outcomes = self.engine.reconfigure_hooks(hooks);
        for hook in self.engine.hooks().values().filter(|hook| hook.claim_task()) {
            tokio::spawn(Arc::clone(&self.engine).run_deliveries(Arc::clone(hook)));
        }
        outcomes.into_iter().collect()
    }

    fn script(&self, name: &str, text: &str) -> PathBuf {
        script(self.folder.path(), name, text)
    }

    /// Returns the lines that a script wrote into a file beside it.
    fn written(&self, file: &str) -> Vec<String> {
        let text = std::fs::read_to_string(self.folder.path().join(file)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Records an event for each of these subjects.
    async fn happens(&self, kind: &'static str, subjects: &[&str]) {
        let cause = EventCause {
            actor: Actor("alice".to_owned()),
            run: None,
            account: None,
            at: self.clock.now(),
        };
        let events: Vec<Event> = subjects
            .iter()
            .map(|s| Event::about(kind, *s, &cause, Value::Null, json!({ "status": "x" })))
            .collect();
        self.engine.store.record(&events, &self.clock).await.unwrap();
    }

    async fn status(&self, name: &str) -> HookStatus {
        let all = self.engine.hook_statuses().await.unwrap();
        all.into_iter()
            .find(|hook| hook.name == name)
            .unwrap_or_else(|| panic!("there is no hook {name}"))
    }

    async fn deliveries(&self, name: &str) -> Vec<Delivery> {
        let mut all =
            self.engine.deliveries(name, &DeliveryFilter::default(), 10_000).await.unwrap();
        all.reverse();
        all
    }

    /// Returns the latest events of a type.
    async fn events(&self, kind: &str) -> Vec<Value> {
        let filter =
            EventFilter { kinds: vec![kind.to_owned()], limit: 100, ..EventFilter::default() };
        self.engine.store.events(&filter).await.unwrap().into_iter().map(|e| e.document).collect()
    }

    /// Waits until the backlog is empty.
    async fn idle(&self, name: &str) {
        until(&format!("{name} is told everything"), async || {
            (self.status(name).await.deliveries.pending == 0).then_some(())
        })
        .await;
    }
}

/// Polls until the function returns a value.
pub(crate) async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let asking = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, asking)
        .await
        .unwrap_or_else(|_| panic!("not within {PATIENCE:?}: {what}"))
}
