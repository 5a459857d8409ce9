//! Telling a web server: one POST, signed, to exactly the host that is configured.
//!
//! Never to another one: what is told is about people. A server that is moved is told so by an operator. Certificates are
//! always verified; keys are read again for each attempt, and the CA file whenever it has changed.

use std::error::Error as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use reqwest::header::{CONTENT_TYPE, HeaderMap, LOCATION, RETRY_AFTER, USER_AGENT};
use reqwest::{Client, Method, Response, StatusCode, Url};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::{Attempt, Ended, Message, last_lines, sign};
use crate::model::Timestamp;
use crate::telemetry::chain;

/// A web server that is told of events.
#[derive(Clone, Debug)]
pub struct Webhook {
    /// Where.
    pub url: String,
    /// The file of the keys that attempts are signed with; unsigned where there is none.
    pub secret_file: Option<PathBuf>,
    /// A PEM file of the CAs to trust; the system's where there is none.
    pub ca_file: Option<PathBuf>,
    /// The proxy to go through.
    pub proxy: Option<Proxy>,
    /// Keeps connections from one attempt to the next.
    pub connections: Connections,
}

/// The URL of a proxy.
pub type Proxy = String;

impl PartialEq for Webhook {
    fn eq(&self, other: &Self) -> bool {
        let Self { url, secret_file, ca_file, proxy, connections: _ } = self;
        (url, secret_file, ca_file, proxy)
            == (&other.url, &other.secret_file, &other.ca_file, &other.proxy)
    }
}

impl Eq for Webhook {}

/// The client of a web server, made when it is first used.
#[derive(Clone, Debug, Default)]
pub struct Connections(Arc<Mutex<Option<(Stamp, Client)>>>);

/// What a CA file is recognised by.
type Stamp = Option<(SystemTime, u64)>;

/// To reach the server at all; the rest of the time limit is for its answer.
const CONNECT: Duration = Duration::from_secs(10);

/// More of an answer than this is not read.
const ANSWER: usize = 16 * 1024;

/// The whole of an answer's body is read within this time, because it is only shown: the status alone decides.
const LISTEN: Duration = Duration::from_millis(250);

/// How often the same host may send us elsewhere on itself.
const REDIRECTS: usize = 3;

/// Longer than this no server is left alone at its own wish.
const LONGEST_WISH: Duration = Duration::from_hours(1);

/// Posts the message to the server. The time limit covers everything up to the status line and the headers: a server
/// that has answered 200 has taken the event, however slowly its body follows.
pub async fn tell(
    webhook: &Webhook,
    message: &Message,
    limit: Duration,
    now: Timestamp,
) -> Attempt {
    match tokio::time::timeout(limit, exchange(webhook, message, now)).await {
        Ok(Ok((response, url))) => judged(response, &url, webhook.proxy.as_deref(), now).await,
        Ok(Err(attempt)) => attempt,
        Err(_) => down(format!(
            "{} did not answer within {}",
            host(&webhook.url),
            humantime::format_duration(limit)
        )),
    }
}

/// Sends the request, and follows redirects within the origin. Returns the answer and the URL that gave it.
async fn exchange(
    webhook: &Webhook,
    message: &Message,
    now: Timestamp,
) -> Result<(Response, Url), Attempt> {
    let (client, headers) = client(webhook)
        .and_then(|client| Ok((client, headers(webhook, message, now)?)))
        .map_err(down)?;
    let Ok(mut url) = Url::parse(&webhook.url) else {
        return Err(refused(format!("{} is no URL", webhook.url)));
    };
    for _ in 0..=REDIRECTS {
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
        // Only these two say that the same is to be sent there.
        let is_same = matches!(
            response.status(),
            StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT
        );
        match elsewhere.filter(|_| is_same) {
            Some(to) if to.origin() == url.origin() => url = to,
            _ => return Ok((response, url)),
        }
    }
    Err(refused(format!("{} sends us round in circles", host(&webhook.url))))
}

fn down(why: String) -> Attempt {
    Attempt { ended: Ended::Again { why, after: None, is_down: true }, output: String::new() }
}

fn refused(why: String) -> Attempt {
    Attempt { ended: Ended::Refused(why), output: String::new() }
}

/// Of a URL, what may be said of it: its path may be a secret.
fn host(url: &str) -> String {
    Url::parse(url).ok().and_then(|url| Some(url.host_str()?.to_owned())).unwrap_or_default()
}

fn without_url(error: reqwest::Error) -> String {
    let error = error.without_url();
    // "error sending request" says less than what is behind it.
    error.source().map_or_else(|| error.to_string(), chain)
}

/// Why there is no answer: a proxy that does not let us through is not taken for the server.
fn unreached(Webhook { url, proxy, .. }: &Webhook, why: &str) -> String {
    let server = host(url);
    match (proxy, why.split_once("tunnel error: ")) {
        (Some(proxy), Some((_, why))) => match why
            .split_once("failed to create underlying connection: ")
        {
            Some((_, why)) => format!("the proxy {} cannot be reached: {why}", host(proxy)),
            None if why == "proxy authorization required" => wants_a_name(proxy),
            None => format!("the proxy {} does not connect us with {server}: {why}", host(proxy)),
        },
        _ => format!("{server}: {why}"),
    }
}

fn wants_a_name(proxy: &str) -> String {
    format!(
        "the proxy {} wants to know who we are (407): write http://NAME:PASSWORD@… into proxy",
        host(proxy)
    )
}

/// What an answer means.
async fn judged(response: Response, url: &Url, proxy: Option<&str>, now: Timestamp) -> Attempt {
    let status = response.status();
    let after = wish(response.headers(), now);
    let to = response
        .headers()
        .get(LOCATION)
        .and_then(|to| to.to_str().ok())
        .and_then(|to| url.join(to).ok());
    let output = last_lines(&beginning(response).await);
    let said = format!("it answered {status}");
    let ended = match status {
        _ if status.is_success() => Ended::Taken,
        StatusCode::GONE => Ended::Gone,
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::BAD_GATEWAY
        | StatusCode::GATEWAY_TIMEOUT => Ended::Again { why: said, after, is_down: true },
        // Nobody but a proxy answers so, and the event is not to blame for it.
        StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
            Ended::Again { why: proxy.map_or(said, wants_a_name), after, is_down: true }
        }
        // That the request took too long to arrive is not the request's fault.
        StatusCode::REQUEST_TIMEOUT => Ended::Again { why: said, after, is_down: false },
        _ if status.is_server_error() => Ended::Again { why: said, after, is_down: false },
        _ if status.is_redirection() => {
            let to = to.as_ref().and_then(Url::host_str).unwrap_or("nowhere");
            Ended::Refused(format!(
                "{said}, to {to}; what is told goes to the configured address alone: write the final one into url"
            ))
        }
        _ => Ended::Refused(said),
    };
    Attempt { ended, output }
}

/// How long the server wants to be left alone: seconds, or until when (RFC 9110, 10.2.3).
fn wish(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wish = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            Timestamp::from(chrono::DateTime::parse_from_rfc2822(text).ok()?.to_utc()).since(now)
        }
    };
    Some(wish.min(LONGEST_WISH))
}

/// The beginning of an answer; the rest is not waited for.
async fn beginning(mut response: Response) -> Vec<u8> {
    let mut read = Vec::new();
    let reading = async {
        while let Ok(Some(piece)) = response.chunk().await {
            read.extend_from_slice(&piece[..piece.len().min(ANSWER - read.len())]);
            if read.len() >= ANSWER {
                break;
            }
        }
    };
    // The part of a slow body that has come by then is kept.
    let _ = tokio::time::timeout(LISTEN, reading).await;
    read
}

fn headers(webhook: &Webhook, message: &Message, now: Timestamp) -> Result<HeaderMap, String> {
    let seconds = now.0.div_euclid(1_000_000);
    let mut headers = HeaderMap::new();
    let mut add = |name: &'static str, value: &str| match value.parse() {
        Ok(value) => drop(headers.insert(name, value)),
        Err(_) => tracing::debug!("a header {name} is left out: its value is none"),
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

/// The client: the one of before, unless the CA file has changed since.
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
        .connect_timeout(CONNECT)
        .no_proxy();
    if let Some(proxy) = &webhook.proxy {
        builder = builder.proxy(
            reqwest::Proxy::all(proxy)
                .map_err(|error| format!("the proxy cannot be used: {error}"))?,
        );
    }
    let client =
        builder.build().map_err(|error| format!("no request can be made: {}", chain(&error)))?;
    *made = Some((stamp, client.clone()));
    Ok(client)
}

fn tls(Webhook { ca_file, .. }: &Webhook) -> Result<rustls::ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    match ca_file {
        Some(file) => {
            let bad =
                |error: String| format!("the CAs of {} cannot be read: {error}", file.display());
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
    fn a_server_may_ask_for_patience_in_seconds_or_until_when() {
        let now = Timestamp::from(
            chrono::DateTime::parse_from_rfc3339("2026-11-26T12:00:00Z").unwrap().to_utc(),
        );
        let asked = |text: &str| {
            wish(&HeaderMap::from_iter([(RETRY_AFTER, text.parse().unwrap())]), now)
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
}
