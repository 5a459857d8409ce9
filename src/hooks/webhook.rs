//! Delivery to a web server: one signed POST to the configured host.
//!
//! Redirects to other hosts are not followed, because events are about people. Certificates are
//! always verified. Keys are read again for each attempt, and the CA file after each change.

use std::error::Error as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use reqwest::header::{CONTENT_TYPE, HeaderMap, LOCATION, RETRY_AFTER, USER_AGENT};
use reqwest::{Client, Method, Response, StatusCode, Url};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::{Attempt, AttemptOutcome, Message, last_lines, sign};
use crate::model::Timestamp;
use crate::telemetry::chain;

/// A configured web server.
#[derive(Clone, Debug)]
pub struct Webhook {
    pub url: Url,
    /// File with the signing keys; `None` sends unsigned requests.
    pub secret_file: Option<PathBuf>,
    /// PEM file with the trusted CAs; `None` for the system's trust store.
    pub ca_file: Option<PathBuf>,
    pub proxy: Option<Url>,
    /// Connections, kept between attempts.
    pub connections: Connections,
}

impl PartialEq for Webhook {
    fn eq(&self, other: &Self) -> bool {
        let Self { url, secret_file, ca_file, proxy, connections: _ } = self;
        (url, secret_file, ca_file, proxy)
            == (&other.url, &other.secret_file, &other.ca_file, &other.proxy)
    }
}

impl Eq for Webhook {}

/// The HTTP client of a web server, created on first use.
#[derive(Clone, Debug, Default)]
pub struct Connections(Arc<Mutex<Option<(Stamp, Client)>>>);

/// Time and size of a CA file, by which a change is recognised.
type Stamp = Option<(SystemTime, u64)>;

/// Time limit for connecting.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Most bytes of a response body.
const MAX_BODY: usize = 16 * 1024;

/// Time limit for the body. It is only shown; the status alone decides.
const BODY_TIMEOUT: Duration = Duration::from_millis(250);

/// Most redirects within the origin.
const MAX_REDIRECTS: usize = 3;

/// Longest accepted Retry-After.
const MAX_RETRY_AFTER: Duration = Duration::from_hours(1);

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
        Ok(Ok((response, url))) => attempt_of(response, &url, webhook.proxy.as_ref(), now).await,
        Ok(Err(attempt)) => attempt,
        Err(_) => down(format!(
            "{} did not answer within {}",
            host(&webhook.url),
            humantime::format_duration(limit)
        )),
    }
}

/// Sends the request and follows redirects within the origin; returns the response and its URL.
async fn exchange(
    webhook: &Webhook,
    message: &Message,
    now: Timestamp,
) -> Result<(Response, Url), Attempt> {
    let (client, headers) = client(webhook)
        .and_then(|client| Ok((client, headers(webhook, message, now)?)))
        .map_err(down)?;
    let mut url = webhook.url.clone();
    for _ in 0..=MAX_REDIRECTS {
        let request = client
            .request(Method::POST, url.clone())
            .headers(headers.clone())
            .body(message.document.clone());
        let response =
            request.send().await.map_err(|error| down(unreached(webhook, &without_url(error))))?;
        let elsewhere = response
            .headers()
            .get(LOCATION)
            .and_then(|to| to.to_str().ok())
            .and_then(|to| url.join(to).ok());
        // Only these two redirects repeat the request with its method and body (RFC 9110, 15.4).
        let is_same = matches!(
            response.status(),
            StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT
        );
        match elsewhere.filter(|_| is_same) {
            Some(to) if to.origin() == url.origin() => url = to,
            _ => return Ok((response, url)),
        }
    }
    Err(refused(format!("{} redirects in a loop", host(&webhook.url))))
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

/// Returns the host of a URL for messages, because the path may be a secret.
fn host(url: &Url) -> &str {
    url.host_str().unwrap_or_default()
}

fn without_url(error: reqwest::Error) -> String {
    let error = error.without_url();
    // The source of the error is more specific than "error sending request".
    error.source().map_or_else(|| error.to_string(), chain)
}

/// Returns the reason for a missing response, and names the proxy if it is the cause.
fn unreached(Webhook { url, proxy, .. }: &Webhook, reason: &str) -> String {
    let server = host(url);
    match (proxy, reason.split_once("tunnel error: ")) {
        (Some(proxy), Some((_, reason))) => {
            match reason.split_once("failed to create underlying connection: ") {
                Some((_, reason)) => {
                    format!("the proxy {} cannot be reached: {reason}", host(proxy))
                }
                None if reason == "proxy authorization required" => {
                    proxy_needs_authentication(proxy)
                }
                None => format!("the proxy {} does not connect to {server}: {reason}", host(proxy)),
            }
        }
        _ => format!("{server}: {reason}"),
    }
}

fn proxy_needs_authentication(proxy: &Url) -> String {
    format!(
        "the proxy {} requires authentication (407), which rosterd does not support: let the proxy admit this machine by its address",
        host(proxy)
    )
}

/// Interprets a response.
async fn attempt_of(response: Response, url: &Url, proxy: Option<&Url>, now: Timestamp) -> Attempt {
    let status = response.status();
    let after = retry_after(response.headers(), now);
    let to = response
        .headers()
        .get(LOCATION)
        .and_then(|to| to.to_str().ok())
        .and_then(|to| url.join(to).ok());
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
            reason: proxy.map_or(said, proxy_needs_authentication),
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

/// Parses Retry-After: seconds or a date (RFC 9110, 10.2.3).
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            Timestamp::from(chrono::DateTime::parse_from_rfc2822(text).ok()?.to_utc()).since(now)
        }
    };
    Some(wait.min(MAX_RETRY_AFTER))
}

/// Reads the beginning of a response body.
async fn body_beginning(mut response: Response) -> Vec<u8> {
    let mut read = Vec::new();
    let reading = async {
        while let Ok(Some(piece)) = response.chunk().await {
            read.extend_from_slice(&piece[..piece.len().min(MAX_BODY - read.len())]);
            if read.len() >= MAX_BODY {
                break;
            }
        }
    };
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
    add(USER_AGENT.as_str(), concat!("rosterd/", env!("CARGO_PKG_VERSION")));
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

/// Returns the HTTP client, which is created again after a change of the CA file.
fn client(webhook: &Webhook) -> Result<Client, String> {
    let stamp = webhook
        .ca_file
        .as_ref()
        .and_then(|file| std::fs::metadata(file).ok())
        .and_then(|m| Some((m.modified().ok()?, m.len())));
    let mut made = webhook.connections.0.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((of, client)) = made.as_ref()
        && *of == stamp
    {
        return Ok(client.clone());
    }
    let mut builder = Client::builder()
        .tls_backend_preconfigured(tls(webhook)?)
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT_TIMEOUT)
        .no_proxy();
    if let Some(proxy) = &webhook.proxy {
        builder = builder.proxy(
            reqwest::Proxy::all(proxy.clone())
                .map_err(|error| format!("the proxy cannot be used: {error}"))?,
        );
    }
    let client = builder
        .build()
        .map_err(|error| format!("creating the HTTP client failed: {}", chain(&error)))?;
    *made = Some((stamp, client.clone()));
    Ok(client)
}

fn tls(Webhook { ca_file, .. }: &Webhook) -> Result<rustls::ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    match ca_file {
        Some(file) => {
            let bad =
                |error: String| format!("reading the CAs of {} failed: {error}", file.display());
            let certificates =
                CertificateDer::pem_file_iter(file).map_err(|error| bad(error.to_string()))?;
            for certificate in certificates {
                roots
                    .add(certificate.map_err(|error| bad(error.to_string()))?)
                    .map_err(|error| bad(error.to_string()))?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config =
        rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    Ok(config
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_read_as_seconds_or_as_a_date() {
        let now = Timestamp::from(
            chrono::DateTime::parse_from_rfc3339("2026-11-26T12:00:00Z").unwrap().to_utc(),
        );
        let asked = |text: &str| {
            retry_after(&HeaderMap::from_iter([(RETRY_AFTER, text.parse().unwrap())]), now)
                .map(|d| d.as_secs())
        };
        for (text, seconds) in [
            ("120", Some(120)),
            ("Thu, 26 Nov 2026 12:00:30 GMT", Some(30)),
            ("Thu, 26 Nov 2026 11:00:00 GMT", Some(0)),
            ("99999999", Some(3600)),
            ("soon", None),
            ("-1", None),
        ] {
            assert_eq!(asked(text), seconds, "{text}");
        }
    }

    #[test]
    fn a_proxy_that_asks_for_a_password_is_not_given_one_in_its_url() {
        let text = proxy_needs_authentication(&"http://proxy.example.com:3128".parse().unwrap());
        assert!(text.contains("let the proxy admit this machine"), "{text}");
        assert!(!text.contains("PASSWORD"), "the configuration refuses such a URL: {text}");
    }
}
