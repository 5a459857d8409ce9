//! `rosterd check-directory` and `rosterd check-target`: checks without a running daemon.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::settings::target_config;
use super::{DaemonError, Setup};
use crate::clock::Clock;
use crate::config::Config;
use crate::control::{api, convert_check, convert_steps};
use crate::engine::{Configurable as _, Engine, Target, check_directory as check_without_store};
use crate::model::{Address, StoreAt};
use crate::store::{Scratch, Store, StoreError};
use crate::telemetry::chain;

/// Checks one directory, or all of them; with `people`, counts the people as well. An existing store records a refused bind, so that
/// repeated checks cannot lock the service account.
pub async fn check_directory(
    setup: Setup,
    name: Option<&str>,
    people: bool,
    clock: Clock,
) -> Result<Vec<api::Check>, DaemonError> {
    let Setup { store: at, rules, directories, .. } = setup;
    let names: Vec<String> = match name {
        Some(name) if directories.iter().all(|d| d.name.as_str() != name) => {
            return Err(DaemonError::NoDirectory(name.to_owned()));
        }
        Some(name) => vec![name.to_owned()],
        None => directories.iter().map(|d| d.name.to_string()).collect(),
    };
    let mut checks = Vec::new();
    // The check creates no store, because its user may not be the daemon's.
    if matches!(&at, StoreAt::File(file) if !file.exists()) {
        for directory in directories.iter().filter(|d| names.contains(&d.name.to_string())) {
            let mut found = check_without_store(directory, rules.resolver, clock.now(), None).await;
            if people {
                let scratch = Scratch::empty().await?;
                let (directories, rules) = (directories.clone(), rules.clone());
                let (store, stop) = (Arc::clone(&scratch.store), CancellationToken::new());
                let engine = Engine::new(store, clock.clone(), directories, rules, stop);
                engine.check_people(directory.name.as_str(), &mut found).await;
                scratch.store.close().await;
            }
            checks.push(convert_check(directory.name.as_str(), found));
        }
        return Ok(checks);
    }
    let store = match Store::open_at(&at).await {
        Ok(store) => Arc::new(store),
        Err(StoreError::InUse { .. }) => return Err(DaemonError::Running),
        Err(error) => return Err(error.into()),
    };
    let engine =
        Engine::new(Arc::clone(&store), clock, directories, rules, CancellationToken::new());
    for name in names {
        let mut found = engine.check_directory(&name).await?;
        if people {
            engine.check_people(&name, &mut found).await;
        }
        checks.push(convert_check(&name, found));
    }
    store.close().await;
    Ok(checks)
}

/// Returns a warning about the server of a store, or the reason why it cannot be used.
pub async fn store_warning(at: &StoreAt) -> Option<String> {
    let StoreAt::Server(_) = at else { return None };
    let asked = async {
        let store = Store::at(at)?;
        store.watch_server().await?;
        Ok::<_, StoreError>(store.warning())
    };
    asked.await.unwrap_or_else(|error| {
        Some(format!("the store cannot be used at this moment: {}", chain(&error)))
    })
}

/// Checks one target. With a trial address it creates, changes, deactivates and deletes one account.
pub async fn check_target(
    config: &Config,
    name: &str,
    trial: Option<&Address>,
    clock: &Clock,
) -> Result<Vec<api::CheckStep>, DaemonError> {
    let target = config.targets.iter().find(|target| target.name.as_str() == name);
    let target = target.ok_or_else(|| DaemonError::NoTarget(name.to_owned()))?;
    let target = Target::with(target_config(target), None, &CancellationToken::new());
    Ok(convert_steps(target.check(trial, clock).await))
}
