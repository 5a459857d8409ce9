//! The kinds of database.

/// The kind of database; opening, locking and migrating differ.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Flavour {
    Sqlite,
    #[cfg(feature = "postgres")]
    Postgres,
}
