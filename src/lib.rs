//! rosterd.
pub mod clock;
pub mod directory;
pub mod dns;
pub mod engine;
pub mod model;
pub mod reconcile;
pub mod store;
