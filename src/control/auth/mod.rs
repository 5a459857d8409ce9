//! The caller of a request and its roles.

pub mod peer;
pub mod roles;
