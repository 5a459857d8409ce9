//! What is wrong with a configuration: everything at once, each with its place and a remedy.

use std::fmt;
use std::path::{Path, PathBuf};

/// Where in the file: both count from 1, columns in characters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

/// One thing that is wrong.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Problem {
    /// Where; `None` when it is about the file as a whole.
    pub place: Option<Place>,
    /// What is wrong and what to do, on one line. Never holds a secret.
    pub message: String,
}

/// Everything that is wrong with one file, in the order of its lines. Prints as one `file:line:column: message` a line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problems {
    file: PathBuf,
    list: Vec<Problem>,
}

impl Problems {
    pub(super) fn new(file: &Path, mut list: Vec<Problem>) -> Self {
        list.sort();
        list.dedup();
        Self { file: file.to_owned(), list }
    }

    /// How many there are; never none.
    #[expect(
        clippy::len_without_is_empty,
        reason = "there is always one: without problems there is a configuration"
    )]
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Each of them, in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.list.iter()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, list } = self;
        for (n, Problem { place, message }) in list.iter().enumerate() {
            if n > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{}:", file.display())?;
            if let Some(Place { line, column }) = place {
                write!(f, "{line}:{column}:")?;
            }
            write!(f, " {message}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}
