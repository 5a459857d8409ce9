//! Delivery to a web server: one signed POST to the configured host.
//!
//! Signing keys are read again for each attempt.

use std::path::PathBuf;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderMap, USER_AGENT};
use reqwest::{Method, Response, StatusCode, Url};

use super::{Attempt, AttemptOutcome, Message, last_lines, sign};
use crate::http::{self, HttpError, Transport};
use crate::model::Timestamp;

/// A configured web server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Webhook {
    pub url: Url,
    /// File with the signing keys; `None` sends unsigned requests.
    pub secret_file: Option<PathBuf>,
    pub transport: Transport,
}

/// Most bytes of a response body.
const MAX_BODY: usize = 16 * 1024;

/// Time limit for the body. It is only shown; the status alone decides.
const BODY_TIMEOUT: Duration = Duration::from_millis(250);

/// Posts the message to the server.
///
/// The time limit covers status line and headers only, because a server that responds 200 has
/// accepted the event.
pub async fn deliver(
    webhook: &Webhook,
    message: &Message,
    limit: Duration,
    now: Timestamp,
) -> Attempt {
    match tokio::time::timeout(limit, exchange(webhook, message, now)).await {
        Ok(Ok((response, url))) => {
            attempt_of(response, &url, webhook.transport.proxy.as_ref(), now).await
        }
        Ok(Err(attempt)) => attempt,
        Err(_) => down(format!(
            "{} did not answer within {}",
            http::host(&webhook.url),
            humantime::format_duration(limit)
        )),
    }
}

/// Sends the request; returns the response and its URL.
async fn exchange(
    webhook: &Webhook,
    message: &Message,
    now: Timestamp,
) -> Result<(Response, Url), Attempt> {
    let headers = headers(webhook, message, now).map_err(down)?;
    let sent =
        webhook.transport.send(&Method::POST, &webhook.url, &headers, Some(&message.document));
    sent.await.map_err(|error| match error {
        HttpError::Unreachable(reason) => down(reason),
        HttpError::RedirectLoop(_) => refused(error.to_string()),
    })
}

fn down(reason: String) -> Attempt {
    Attempt {
        ended: AttemptOutcome::Retry { reason, after: None, is_down: true },
        output: String::new(),
    }
}

fn refused(reason: String) -> Attempt {
    Attempt { ended: AttemptOutcome::Rejected(reason), output: String::new() }
}

/// Interprets a response.
async fn attempt_of(response: Response, url: &Url, proxy: Option<&Url>, now: Timestamp) -> Attempt {
    let status = response.status();
    let after = http::retry_after(response.headers(), now);
    let to = http::location(&response, url);
    let output = last_lines(&body_beginning(response).await);
    let said = format!("it answered {status}");
    let ended = match status {
        _ if status.is_success() => AttemptOutcome::Delivered,
        StatusCode::GONE => AttemptOutcome::Gone,
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::BAD_GATEWAY
        | StatusCode::GATEWAY_TIMEOUT => {
            AttemptOutcome::Retry { reason: said, after, is_down: true }
        }
        // Only a proxy sends this status, so the event is not the cause.
        StatusCode::PROXY_AUTHENTICATION_REQUIRED => AttemptOutcome::Retry {
            reason: proxy.map_or(said, http::proxy_needs_authentication),
            after,
            is_down: true,
        },
        // A slow request is not an invalid one.
        StatusCode::REQUEST_TIMEOUT => {
            AttemptOutcome::Retry { reason: said, after, is_down: false }
        }
        _ if status.is_server_error() => {
            AttemptOutcome::Retry { reason: said, after, is_down: false }
        }
        _ if status.is_redirection() => {
            let to = to.as_ref().and_then(Url::host_str).unwrap_or("nowhere");
            AttemptOutcome::Rejected(format!(
                "{said}, to {to}; events are sent to the configured host only: write the final URL into url"
            ))
        }
        _ => AttemptOutcome::Rejected(said),
    };
    Attempt { ended, output }
}

/// Reads the beginning of a response body.
async fn body_beginning(mut response: Response) -> Vec<u8> {
    let mut read = Vec::new();
    let reading = http::read_body(&mut response, MAX_BODY, &mut read);
    // The part that has arrived at the time limit is kept.
    let _ = tokio::time::timeout(BODY_TIMEOUT, reading).await;
    read
}

fn headers(webhook: &Webhook, message: &Message, now: Timestamp) -> Result<HeaderMap, String> {
    let seconds = now.0.div_euclid(1_000_000);
    let mut headers = HeaderMap::new();
    let mut add = |name: &'static str, value: &str| match value.parse() {
        Ok(value) => drop(headers.insert(name, value)),
        Err(_) => tracing::debug!("header {name} omitted: invalid value"),
    };
    add(CONTENT_TYPE.as_str(), "application/cloudevents+json; charset=utf-8");
    add(USER_AGENT.as_str(), http::USER_AGENT);
    add("webhook-id", &message.id);
    add("webhook-timestamp", &seconds.to_string());
    if let Some(seq) = message.seq {
        add("rosterd-sequence", &seq.to_string());
    }
    if let Some(head) = &message.head {
        add("rosterd-log-head", head);
    }
    if let Some(file) = &webhook.secret_file {
        add(
            "webhook-signature",
            &sign::signature(&sign::keys(file)?, &message.id, seconds, message.document.as_bytes()),
        );
    }
    Ok(headers)
}
