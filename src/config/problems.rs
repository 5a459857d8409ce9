//! The problems of a configuration, each with its place and a remedy.

use std::fmt;
use std::path::PathBuf;

/// A place in a file. Lines and columns count from 1, columns in characters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Place {
    pub line: usize,
    pub column: usize,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Problem {
    pub file: PathBuf,
    /// `None` for a problem of the whole file.
    pub place: Option<Place>,
    /// One line with the problem and a remedy. It contains no secret.
    pub message: String,
}

/// All problems of the files, each file's in the order of its lines. Each prints as `file:line:column: message`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problems {
    list: Vec<Problem>,
}

impl Problems {
    pub(super) fn new(mut list: Vec<Problem>) -> Self {
        list.sort();
        list.dedup();
        Self { list }
    }

    /// Returns the number of problems, which is at least 1.
    #[expect(
        clippy::len_without_is_empty,
        reason = "there is always one: without problems there is a configuration"
    )]
    pub fn len(&self) -> usize {
        self.list.len()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.list.iter()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, Problem { file, place, message }) in self.list.iter().enumerate() {
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
