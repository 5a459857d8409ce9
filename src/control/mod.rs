//! The control socket: HTTP with JSON over a Unix socket, for operators and their scripts.
//!
//! A handler calls the engine and converts the result to a document of the [`api`]. Authorization
//! is in the route table and never in a handler. The kernel reports the caller, and the user
//! database the caller's groups. Requests never delay a run, because connections are limited in
//! number, size and time. A change that has begun is finished even when its caller hangs up.

pub mod api;
mod auth;
pub mod client;
mod gate;
mod metrics;
mod openapi;
mod operation;
mod problem;
mod record;
mod rehearsal;
mod reloader;
mod resources;
mod routes;
mod settings;
mod state;
#[cfg(test)]
mod tests;
mod transport;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

pub use auth::peer::Callers;
pub use metrics::{Port, bind_port, export};
pub use reloader::{Ask, Asked, Reloaded, Reloader};
pub use resources::directories::{convert_check, convert_steps};
pub use routes::openapi_document;
pub use settings::Settings;
pub use transport::socket::{Listening, ServeError, bind};

use crate::engine::Engine;

/// Serves the API on the socket until `stop`.
pub async fn serve(
    listening: Listening,
    engine: Arc<Engine>,
    callers: Arc<Callers>,
    reloader: Reloader,
    stop: CancellationToken,
) -> Result<(), ServeError> {
    let control = Arc::new(state::Control::new(engine, Arc::clone(&callers), reloader));
    let api = routes::api(&control);
    transport::server::run(listening, callers, api, &control.changing, stop).await
}
