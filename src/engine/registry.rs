//! The configuration may be replaced while the daemon runs: whole, and at one moment.
//!
//! A directory whose configuration stays as it was does not notice. Of one whose configuration changes, the
//! run in progress is given up before it applies anything: an operator who takes a right away, or protects
//! somebody, is not answered by a run that began earlier.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::engine::{Directory, DirectoryConfig, Engine};
use crate::model::{DirectoryName, Domain, Gate, Resolver, Retention};

/// What holds for all directories.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rules {
    /// Domains whose claim needs no record.
    pub trusted: BTreeSet<Domain>,
    /// Who answers DNS questions.
    pub resolver: Resolver,
    /// How many of a user's sign-ins AD may refuse in a quarter of an hour.
    pub max_failures: u32,
    /// The programs that are asked before anything is applied.
    pub gates: Vec<Gate>,
    /// What is forgotten, and when.
    pub retention: Retention,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            trusted: BTreeSet::new(),
            resolver: Resolver::System,
            max_failures: 3,
            gates: Vec::new(),
            retention: Retention::default(),
        }
    }
}

/// What the administrator says, as it stands.
#[derive(Debug)]
pub struct Configured {
    /// The directories, by name.
    pub directories: BTreeMap<DirectoryName, Arc<Directory>>,
    /// What holds for all of them.
    pub rules: Rules,
}

/// What a reload makes of a directory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It is new.
    Added,
    /// It is as it was.
    Unchanged,
    /// Something is different; nobody comes into scope or leaves it by that.
    Changed,
    /// Who is in scope is different: its next run only plans.
    Rescoped,
    /// It is configured no longer. Its users stay as they are.
    Removed,
}

impl Outcome {
    /// The word in output.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Unchanged => "unchanged",
            Self::Changed => "changed",
            Self::Rescoped => "rescoped",
            Self::Removed => "removed",
        }
    }
}

impl Engine {
    /// What is configured now. Whoever takes several things from it takes them from one answer.
    pub fn configured(&self) -> Arc<Configured> {
        Arc::clone(&self.configured.borrow())
    }

    /// Replaces the configuration; says of each directory what that means for it. Directories that are added or
    /// changed have to be [kept](Engine::run_triggers) anew.
    pub fn reconfigure(
        &self,
        directories: Vec<DirectoryConfig>,
        rules: Rules,
    ) -> BTreeMap<DirectoryName, Outcome> {
        let mut outcomes = BTreeMap::new();
        let mut over: Vec<CancellationToken> = Vec::new();
        self.configured.send_modify(|configured| {
            let mut were = configured.directories.clone();
            let mut are = BTreeMap::new();
            for config in directories {
                let name = config.name.clone();
                let (directory, outcome) = match were.remove(&name) {
                    None => (Arc::new(Directory::new(config, &self.stop)), Outcome::Added),
                    Some(was) if was.config == config => (was, Outcome::Unchanged),
                    Some(was) => {
                        let is_rescoped = was.config.scope_hash() != config.scope_hash();
                        over.push(was.cancel.clone());
                        let directory =
                            Directory::at_work(config, Arc::clone(&was.work), &self.stop);
                        (
                            Arc::new(directory),
                            if is_rescoped { Outcome::Rescoped } else { Outcome::Changed },
                        )
                    }
                };
                outcomes.insert(name.clone(), outcome);
                are.insert(name, directory);
            }
            outcomes.extend(were.keys().map(|name| (name.clone(), Outcome::Removed)));
            over.extend(were.into_values().map(|was| was.cancel.clone()));
            *configured = Arc::new(Configured { directories: are, rules });
        });
        // Only now: whoever is interrupted finds the new configuration.
        over.iter().for_each(CancellationToken::cancel);
        outcomes
    }
}
