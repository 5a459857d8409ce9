//! The answers of a directory about people who are asked for by GUID.

use crate::model::{Broken, Dn, Person};

/// The answer of the directory about one GUID.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Confirmation {
    /// The entry is alive. Its placement says whether base and filter include it.
    Alive(Box<Person>),
    Tombstone(Dn),
    /// A complete answer had neither an entry nor a tombstone.
    Nowhere(Look),
    /// The entry exists but could not be decoded.
    Malformed(Broken),
}

/// Whether a missing person would have been visible.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Look {
    /// A witness was read: the last known parent is readable, and so is another person below it.
    /// Tombstones are not visible at all, so the person is gone.
    Witnessed,
    /// No witness was read, or this tombstone is missing among visible ones although its lifetime has
    /// not passed. The person is rather invisible than gone.
    Unwitnessed,
}
