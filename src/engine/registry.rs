//! The configured entries of one kind, replaced as a whole while the daemon runs.
//!
//! An entry with an equal configuration stays the same object, and its tasks continue. The tasks of
//! a changed or removed entry are cancelled before they apply changes. A run that began earlier
//! must not act on former rights or protections.

use crate::model::words;
use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

/// An entry of a [`Registry`].
pub trait Configurable {
    /// The type of its name.
    type Name: Ord + Clone + std::fmt::Debug;
    /// The type of its configuration.
    type Config: PartialEq;

    /// Returns the name that a configuration gives.
    fn name_of(config: &Self::Config) -> Self::Name;

    /// Makes an entry that takes over the state of the former one.
    fn with(config: Self::Config, former: Option<&Self>, engine: &CancellationToken) -> Self;

    /// Makes an entry of the same configuration for another term, without the state of this one.
    #[must_use]
    fn renewed(&self, term: &CancellationToken) -> Self;

    /// Returns the present configuration.
    fn config(&self) -> &Self::Config;

    /// Returns the token that ends the task of this entry.
    fn cancel_token(&self) -> &CancellationToken;

    /// Returns true to the first caller, which has to run the task of this entry.
    fn claim_task(&self) -> bool;

    /// Returns the outcome of a reload that replaces one configuration by another.
    fn change(_before: &Self::Config, _after: &Self::Config) -> ReloadOutcome {
        ReloadOutcome::Changed
    }
}

/// The configured entries of one kind, by name.
#[derive(Debug)]
pub struct Registry<T: Configurable>(BTreeMap<T::Name, Arc<T>>);

impl<T: Configurable> Default for Registry<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T: Configurable> Deref for Registry<T> {
    type Target = BTreeMap<T::Name, Arc<T>>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<T: Configurable> Registry<T> {
    /// Returns the registry under another configuration, and the outcome for each name.
    pub(in crate::engine) fn replaced(
        &self,
        configs: Vec<T::Config>,
        engine: &CancellationToken,
    ) -> (Self, BTreeMap<T::Name, ReloadOutcome>) {
        let mut outcomes: BTreeMap<T::Name, ReloadOutcome> =
            self.keys().map(|name| (name.clone(), ReloadOutcome::Removed)).collect();
        let mut entries = BTreeMap::new();
        for config in configs {
            let name = T::name_of(&config);
            let former = self.get(&name);
            let (entry, outcome) = match former {
                Some(former) if *former.config() == config => {
                    (Arc::clone(former), ReloadOutcome::Unchanged)
                }
                Some(former) => {
                    let outcome = T::change(former.config(), &config);
                    (Arc::new(T::with(config, Some(former), engine)), outcome)
                }
                None => (Arc::new(T::with(config, None, engine)), ReloadOutcome::Added),
            };
            outcomes.insert(name.clone(), outcome);
            entries.insert(name, entry);
        }
        (Self(entries), outcomes)
    }

    /// Returns the same entries for another term.
    pub(in crate::engine) fn renewed(&self, term: &CancellationToken) -> Self {
        let entry =
            |(name, entry): (&T::Name, &Arc<T>)| (name.clone(), Arc::new(entry.renewed(term)));
        Self(self.0.iter().map(entry).collect())
    }

    /// Returns the entries without a task, whose tasks the caller has to run.
    pub(in crate::engine) fn claimed(&self) -> Vec<Arc<T>> {
        self.values().filter(|entry| entry.claim_task()).map(Arc::clone).collect()
    }

    /// Cancels the tasks of every entry that `present` does not contain any more. Called after
    /// `present` is published, so that a cancelled task finds the new configuration.
    pub(in crate::engine) fn cancel_replaced(&self, present: &Self) {
        for (name, entry) in &self.0 {
            if !present.get(name).is_some_and(|now| Arc::ptr_eq(now, entry)) {
                entry.cancel_token().cancel();
            }
        }
    }
}

words! {
    /// The outcome of a reload for one entry.
    pub enum ReloadOutcome {
        Added = "added",
        Unchanged = "unchanged",
        /// Changed, with the same people in scope.
        Changed = "changed",
        /// The scope has changed: the next run only plans.
        Rescoped = "rescoped",
        /// Not configured any more. The users of a removed directory stay as they are.
        Removed = "removed",
    }
}
