//! rosterd.
pub mod model;
pub mod reconcile;
