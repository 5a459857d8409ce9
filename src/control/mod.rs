//! The control socket: HTTP with JSON over a Unix socket, for operators and their scripts.
//!
//! It only asks the engine and puts the answers into words that scripts rely on ([`api`]). Who may do
//! what is decided by the kernel's word about the caller and the groups of the user database
//! ([`peer`]), in the table of routes and never in a handler. It must never hold up a run: connections are
//! bounded in number, size and time, and what an operator has set going goes on without him.

pub mod api;
mod backup;
pub mod client;
mod convert;
mod events;
mod hooks;
mod line;
mod metrics;
mod openapi;
pub mod peer;
mod problem;
mod read;
mod record;
mod reload;
pub mod roles;
mod routes;
mod seats;
mod server;
mod socket;
#[cfg(test)]
mod tests;
mod turn;
mod write;

use std::path::PathBuf;

pub use convert::check as check_shown;
pub use metrics::{Port, bind_port, export};
pub use peer::Callers;
pub use reload::{Ask, Asked, Reloaded, Reloader};
pub use server::serve;
pub use socket::{Listening, ServeError, bind};

/// Where the socket is, and who may use it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// Where the socket is; the directory it is in must exist.
    pub socket: PathBuf,
    /// The Unix group of operators: they change things and read. Root always may.
    pub operators: String,
    /// The Unix group of viewers: they read.
    pub viewers: String,
    /// The Unix group of authenticators: they ask for sign-in decisions.
    pub authenticators: String,
    /// Whether the daemon's own user has every role: for a trial in the foreground.
    pub own_user_operates: bool,
}
