//! Authentication of callers, and their roles.

pub mod peer;
pub mod roles;
