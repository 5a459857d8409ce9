//! A console on stdin and stdout, for the module of Cockpit.
//!
//! Cockpit has logged the user in, and starts `rosterctl` as that user. So there is no port, no link
//! and no cookie: only the process that started this one can write to its stdin. Each line is a
//! request, and each line of stdout the answer to one, in the same order.

use std::io::{self, Write as _};
use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{Method, StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse as _, Response};
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use serde::{Deserialize, Serialize};

use super::door::Secret;
use super::guard::pass_own;
use super::layout::Fault;
use super::serve::{Settings, connect, pages};
use super::state::Console;
use crate::clock::Clock;
use crate::ctl::link::Failure;

/// A request of the module.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    /// Path and query of a page.
    path: String,
    /// The encoded fields of a form, which is then posted.
    form: Option<String>,
}

/// The answer to a request.
#[derive(Debug, Serialize)]
struct Answered {
    status: u16,
    /// Path of the page to show instead.
    location: Option<String>,
    /// Name of the file that the body is.
    file: Option<String>,
    body: String,
}

/// Answers requests until stdin ends.
pub(super) async fn serve(settings: Settings, clock: Clock) -> Result<(), Failure> {
    let Settings { socket, read_only, zone } = settings;
    let (daemon, caller) = connect(&socket).await?;
    let secret = || Secret::random().map_err(|error| Failure::Unresolved(error.to_string()));
    // No link has the code, so the door stays closed.
    let console = Console::new(daemon, caller, (read_only, zone), 0, secret()?, clock);
    let console = Arc::new(console);
    let pass = from_fn_with_state((Arc::clone(&console), secret()?), pass_own);
    let router = TowerToHyperService::new(pages().layer(pass).with_state(console));
    while let Some(line) = next_line().await? {
        let response = match request(&line) {
            Ok(request) => router.call(request).await.into_response(),
            Err(error) => Fault::new(StatusCode::BAD_REQUEST, format!("{error}.")).into_response(),
        };
        let mut answer =
            serde_json::to_string(&answer(response).await?).map_err(io::Error::from)?;
        answer.push('\n');
        let mut out = io::stdout().lock();
        out.write_all(answer.as_bytes())?;
        out.flush()?;
    }
    Ok(())
}

/// Returns the next line of stdin; `None` at its end.
async fn next_line() -> io::Result<Option<String>> {
    let read = || {
        let mut line = String::new();
        io::stdin().read_line(&mut line).map(|length| (length > 0).then_some(line))
    };
    tokio::task::spawn_blocking(read).await.map_err(io::Error::other)?
}

fn request(line: &str) -> Result<Request, Box<dyn std::error::Error>> {
    let Asked { path, form } = serde_json::from_str(line)?;
    let request = Request::builder().uri(path);
    Ok(match form {
        None => request.body(Body::empty())?,
        Some(form) => request
            .method(Method::POST)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Body::from(form))?,
    })
}

async fn answer(response: Response) -> io::Result<Answered> {
    let (head, body) = response.into_parts();
    let text = |name| head.headers.get(name).and_then(|value| value.to_str().ok());
    let location = text(header::LOCATION).map(str::to_owned);
    let disposition = text(header::CONTENT_DISPOSITION).and_then(|value| value.split('"').nth(1));
    let file = disposition.map(str::to_owned);
    let body = to_bytes(body, usize::MAX).await.map_err(io::Error::other)?;
    let body = String::from_utf8_lossy(&body).into_owned();
    Ok(Answered { status: head.status.as_u16(), location, file, body })
}
