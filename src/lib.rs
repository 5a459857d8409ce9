//! rosterd.
pub mod clock;
pub mod directory;
pub mod model;
pub mod reconcile;
pub mod store;
