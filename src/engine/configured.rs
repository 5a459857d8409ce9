//! The configuration of the engine, and its replacement while the daemon runs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::engine::registry::{Registry, ReloadOutcome};
use crate::engine::{ConfiguredHook, Directory, DirectoryConfig, Engine};
use crate::hooks::Hook;
use crate::model::{Cron, DirectoryName, Domain, Gate, Resolver, Retention};

/// The configuration that holds for all directories.
#[derive(Clone, PartialEq, Debug)]
pub struct Rules {
    /// Domains whose claim needs no record.
    pub trusted: BTreeSet<Domain>,
    pub resolver: Resolver,
    /// Refused sign-ins of one user that are sent to AD within a quarter of an hour.
    pub max_failures: u32,
    pub gates: Vec<Gate>,
    pub retention: Retention,
    /// The times of the digest.
    pub digest: Option<Cron>,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            trusted: BTreeSet::new(),
            resolver: Resolver::System,
            max_failures: 3,
            gates: Vec::new(),
            retention: Retention::default(),
            digest: None,
        }
    }
}

/// The configuration of one moment.
#[derive(Debug)]
pub struct Configured {
    pub directories: Registry<Directory>,
    pub rules: Rules,
}

impl Engine {
    /// Returns the present configuration. A caller that reads several values takes them from one
    /// answer.
    pub fn configured(&self) -> Arc<Configured> {
        Arc::clone(&self.configured.borrow())
    }

    /// Replaces the configuration and returns the outcome for each directory. The caller has to
    /// [run the triggers](Engine::run_triggers) of directories that were added or changed.
    pub fn reconfigure(
        &self,
        directories: Vec<DirectoryConfig>,
        rules: Rules,
    ) -> BTreeMap<DirectoryName, ReloadOutcome> {
        let mut outcomes = BTreeMap::new();
        let mut former = self.configured();
        let term = self.turn.hold();
        self.configured.send_modify(|configured| {
            let (directories, found) = configured.directories.replaced(directories, &term);
            outcomes = found;
            let present = Arc::new(Configured { directories, rules });
            former = std::mem::replace(configured, present);
        });
        former.directories.cancel_replaced(&self.configured().directories);
        outcomes
    }

    /// Returns the configured hooks.
    pub fn hooks(&self) -> Arc<Registry<ConfiguredHook>> {
        Arc::clone(&self.hooks.borrow())
    }

    /// Replaces the hooks and returns the outcome for each. The caller has to
    /// [run the deliveries](Engine::run_deliveries) of hooks that were added or changed. Deliveries
    /// of a removed hook are stored until its max-age has passed.
    pub fn reconfigure_hooks(&self, hooks: Vec<Hook>) -> BTreeMap<String, ReloadOutcome> {
        let mut outcomes = BTreeMap::new();
        let mut former = self.hooks();
        let term = self.turn.hold();
        self.hooks.send_modify(|registry| {
            let (present, found) = registry.replaced(hooks, &term);
            outcomes = found;
            self.store.subscribe(present.values().map(|hook| hook.subscription()).collect());
            former = std::mem::replace(registry, Arc::new(present));
        });
        former.cancel_replaced(&self.hooks());
        outcomes
    }
}
