//! Connections to the control socket, and their limits.

pub mod connection;
pub mod limits;
pub mod phase;
pub mod server;
pub mod socket;
