//! The resources of the API.

pub mod backup;
pub mod events;
pub mod hooks;
