//! The control socket: HTTP with JSON over a Unix socket, for operators and their scripts.
//!
//! It only asks the engine and puts the answers into words that scripts rely on ([`api`]). Who may do
//! what is decided by the kernel's word about the caller and the groups of the user database
//! ([`peer`]), in the table of routes and never in a handler. It must never hold up a run: connections are
//! bounded in number, size and time, and what an operator has set going goes on without him.

pub mod api;
mod auth;
pub mod client;
mod convert;
mod metrics;
mod openapi;
mod problem;
mod read;
mod record;
mod reloader;
mod resources;
mod routes;
mod server;
mod settings;
#[cfg(test)]
mod tests;
mod transport;
mod write;

pub use auth::peer::Callers;
pub use convert::check as check_shown;
pub use metrics::{Port, bind_port, export};
pub use reloader::{Ask, Asked, Reloaded, Reloader};
pub use server::serve;
pub use settings::Settings;
pub use transport::socket::{Listening, ServeError, bind};
