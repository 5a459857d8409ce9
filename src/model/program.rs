//! Programs of the administrator.

use std::path::PathBuf;
use std::time::Duration;

/// A program of a hook or gate.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Program {
    /// An absolute path.
    pub path: PathBuf,
    pub arguments: Vec<String>,
    /// Name of the file in `conf.d` that configures it; `None` for the main file.
    pub part: Option<String>,
}

impl Program {
    /// Returns the program of a command line: its path, then its arguments.
    pub fn of(exec: &[String]) -> Self {
        Self {
            path: exec.first().map(Into::into).unwrap_or_default(),
            arguments: exec.iter().skip(1).cloned().collect(),
            part: None,
        }
    }
}

/// A program that decides about each plan before it is applied.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Gate {
    /// The name, which no other gate has.
    pub name: String,
    pub program: Program,
    /// Time limit of the answer, after which the plan is held.
    pub timeout: Duration,
}
