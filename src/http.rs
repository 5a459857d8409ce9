//! Requests to web servers: TLS, trusted CAs, a proxy, redirects and limits.
//!
//! Certificates are always verified, and the CA file is read again after each change. A request is
//! never repeated at another origin, because it has data about people and may have a secret.

use std::error::Error as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use reqwest::header::{HeaderMap, LOCATION, RETRY_AFTER};
use reqwest::{Client, Method, Response, StatusCode, Url};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::model::Timestamp;
use crate::telemetry::chain;

/// The `User-Agent` of all requests. Some servers refuse requests without one.
pub const USER_AGENT: &str = concat!("rosterd/", env!("CARGO_PKG_VERSION"));

/// Time limit for connecting.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Most redirects within the origin.
const MAX_REDIRECTS: usize = 3;

/// Longest accepted Retry-After.
const MAX_RETRY_AFTER: Duration = Duration::from_hours(1);

/// The way to a web server: its trusted CAs and the proxy. Copies share their connections.
#[derive(Clone, Debug, Default)]
pub struct Transport {
    /// PEM file with the trusted CAs; `None` for the system's trust store.
    pub ca_file: Option<PathBuf>,
    pub proxy: Option<Url>,
    client: Arc<Mutex<Option<(Stamp, Client)>>>,
}

impl PartialEq for Transport {
    fn eq(&self, other: &Self) -> bool {
        (&self.ca_file, &self.proxy) == (&other.ca_file, &other.proxy)
    }
}

impl Eq for Transport {}

/// Time and size of a CA file, by which a change is recognised.
type Stamp = Option<(SystemTime, u64)>;

/// The reason why a request has no response.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum HttpError {
    /// The server or its proxy cannot be reached, or their certificates cannot be verified.
    #[error("{0}")]
    Unreachable(String),
    #[error("{0} redirects in a loop")]
    RedirectLoop(String),
}

impl Transport {
    pub fn new(ca_file: Option<PathBuf>, proxy: Option<Url>) -> Self {
        Self { ca_file, proxy, client: Arc::default() }
    }

    /// Sends a request and follows redirects within the origin; returns the response and its URL.
    pub async fn send(
        &self,
        method: &Method,
        url: &Url,
        headers: &HeaderMap,
        body: Option<&str>,
    ) -> Result<(Response, Url), HttpError> {
        let client = self.client().map_err(HttpError::Unreachable)?;
        let mut url = url.clone();
        for _ in 0..=MAX_REDIRECTS {
            let request = client.request(method.clone(), url.clone()).headers(headers.clone());
            let request = match body {
                Some(body) => request.body(body.to_owned()),
                None => request,
            };
            let response = request.send().await.map_err(|error| {
                HttpError::Unreachable(self.unreached(&url, &without_url(error)))
            })?;
            // Only these two redirects repeat the request with its method and body (RFC 9110, 15.4).
            let is_same = matches!(
                response.status(),
                StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT
            );
            match location(&response, &url).filter(|_| is_same) {
                Some(to) if to.origin() == url.origin() => url = to,
                _ => return Ok((response, url)),
            }
        }
        Err(HttpError::RedirectLoop(host(&url).to_owned()))
    }

    /// Returns the HTTP client, which is created again after a change of the CA file.
    fn client(&self) -> Result<Client, String> {
        let stamp = self
            .ca_file
            .as_ref()
            .and_then(|file| std::fs::metadata(file).ok())
            .and_then(|m| Some((m.modified().ok()?, m.len())));
        let mut made = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, client)) = made.as_ref()
            && *of == stamp
        {
            return Ok(client.clone());
        }
        let mut builder = Client::builder()
            .tls_backend_preconfigured(self.tls()?)
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .tls_info(true)
            .no_proxy();
        if let Some(proxy) = &self.proxy {
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

    fn tls(&self) -> Result<rustls::ClientConfig, String> {
        let mut roots = RootCertStore::empty();
        match &self.ca_file {
            Some(file) => {
                let bad = |error: String| {
                    format!("reading the CAs of {} failed: {error}", file.display())
                };
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
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions();
        Ok(config
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth())
    }

    /// Returns the reason for a missing response, and names the proxy if it is the cause.
    fn unreached(&self, url: &Url, reason: &str) -> String {
        let server = host(url);
        match (&self.proxy, reason.split_once("tunnel error: ")) {
            (Some(proxy), Some((_, reason))) => {
                match reason.split_once("failed to create underlying connection: ") {
                    Some((_, reason)) => {
                        format!("the proxy {} cannot be reached: {reason}", host(proxy))
                    }
                    None if reason == "proxy authorization required" => {
                        proxy_needs_authentication(proxy)
                    }
                    None => {
                        format!("the proxy {} does not connect to {server}: {reason}", host(proxy))
                    }
                }
            }
            _ => format!("{server}: {reason}"),
        }
    }
}

/// Returns the host of a URL for messages, because the path may be a secret.
pub fn host(url: &Url) -> &str {
    url.host_str().unwrap_or_default()
}

/// Returns the URL of a response's `Location`.
pub fn location(response: &Response, url: &Url) -> Option<Url> {
    let to = response.headers().get(LOCATION)?.to_str().ok()?;
    url.join(to).ok()
}

fn without_url(error: reqwest::Error) -> String {
    let error = error.without_url();
    // The source of the error is more specific than "error sending request".
    error.source().map_or_else(|| error.to_string(), chain)
}

pub fn proxy_needs_authentication(proxy: &Url) -> String {
    format!(
        "the proxy {} requires authentication (407), which rosterd does not support: let the proxy admit this machine by its address",
        host(proxy)
    )
}

/// Parses Retry-After: seconds or a date (RFC 9110, 10.2.3).
pub fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            Timestamp::from(chrono::DateTime::parse_from_rfc2822(text).ok()?.to_utc()).since(now)
        }
    };
    Some(wait.min(MAX_RETRY_AFTER))
}

/// The part of a response body that was read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BodyEnd {
    Whole,
    /// The body is longer than the limit.
    TooLong,
}

/// Reads a response body into `read`, up to `max` bytes. After an error `read` has the part that
/// arrived.
pub async fn read_body(
    response: &mut Response,
    max: usize,
    read: &mut Vec<u8>,
) -> Result<BodyEnd, String> {
    while let Some(piece) = response.chunk().await.map_err(without_url)? {
        let room = max.saturating_sub(read.len());
        read.extend_from_slice(&piece[..piece.len().min(room)]);
        if piece.len() > room {
            return Ok(BodyEnd::TooLong);
        }
    }
    Ok(BodyEnd::Whole)
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
