//! Actors: who asked for a change.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::words::words;

/// The origin of a change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Origin {
    Run,
    Operator(Actor),
}

words! {
    /// The program through which an operator acts, where it is not the command line.
    pub enum Means {
        /// The pages of `rosterctl console`.
        Console = "console",
    }
}

/// The name of a local user, or `rosterd` for the daemon itself.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Actor(pub String);

impl Actor {
    pub fn rosterd() -> Self {
        Self("rosterd".to_owned())
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
