//! The HTTP client of one target.

use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, USER_AGENT};
use reqwest::tls::TlsInfo;
use reqwest::{Response, StatusCode, Url};

use super::auth::Auth;
use super::error::{MAX_BODY, ScimError};
use super::redaction::Redaction;
use crate::http::{self, BodyEnd, Transport};
use crate::model::{TargetCredential, Timestamp};
use crate::reconcile::provision::{
    Answer, AnswerBody, Capabilities, Method, Quirks, Request, Resource,
};

/// The settings of a target's client.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// The base URL. Its query is sent with each request.
    pub url: Url,
    pub credential: TargetCredential,
    pub transport: Transport,
    /// Time limit of one request and its answer.
    pub timeout: Duration,
    /// Accounts in one answer; 0 lets the target decide.
    pub page_size: u32,
    pub quirks: Quirks,
}

/// The client of one target. Its connections and its token are shared by all requests.
pub struct Client {
    pub(super) settings: Settings,
    pub(super) auth: Auth,
}

impl Client {
    pub fn new(settings: Settings) -> Self {
        let auth = Auth::new(settings.credential.clone());
        Self { settings, auth }
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Returns the identity of the secret's file, which changes with the secret; `None` if the file
    /// cannot be read.
    pub fn secret_identity(&self) -> Option<String> {
        self.auth.secret_identity()
    }

    /// Returns the end of the token's validity: its own word if it is a JWT from a file, otherwise
    /// the configured one.
    pub fn token_expires(&self, configured: Option<Timestamp>) -> Option<Timestamp> {
        self.auth.expiry().or(configured)
    }

    /// Sends a request and reads its answer.
    pub async fn send(
        &self,
        request: &Request,
        capabilities: &Capabilities,
        now: Timestamp,
    ) -> Result<Answer, ScimError> {
        self.exchange(request, capabilities, now).await.map(|(answer, _)| answer)
    }

    /// Does the same; returns the server's certificate as well.
    pub(super) async fn exchange(
        &self,
        request: &Request,
        capabilities: &Capabilities,
        now: Timestamp,
    ) -> Result<(Answer, Option<Vec<u8>>), ScimError> {
        let limit = self.settings.timeout;
        let transport = &self.settings.transport;
        let one = async {
            let token = self.auth.header(transport, now).await?;
            let answered = self.attempt(request, capabilities, token.clone(), now).await?;
            if answered.0.status != StatusCode::UNAUTHORIZED.as_u16() || !self.auth.can_renew() {
                return Ok(answered);
            }
            // A token may be revoked before it expires, and only a fresh one shows that.
            self.auth.forget(&token);
            let token = self.auth.header(transport, now).await?;
            self.attempt(request, capabilities, token, now).await
        };
        tokio::time::timeout(limit, one).await.unwrap_or(Err(ScimError::TimedOut(limit)))
    }

    async fn attempt(
        &self,
        request: &Request,
        capabilities: &Capabilities,
        authorization: HeaderValue,
        now: Timestamp,
    ) -> Result<(Answer, Option<Vec<u8>>), ScimError> {
        let Settings { url, transport, .. } = &self.settings;
        let redaction = Redaction::of_header(authorization.as_bytes());
        let headers = headers(request, *capabilities, authorization);
        let body = request.body.as_ref().map(ToString::to_string);
        let method = match request.method {
            Method::Get => reqwest::Method::GET,
            Method::Post => reqwest::Method::POST,
            Method::Put => reqwest::Method::PUT,
            Method::Patch => reqwest::Method::PATCH,
            Method::Delete => reqwest::Method::DELETE,
        };
        let (mut response, url) = transport
            .send(&method, &address(url, request), &headers, body.as_deref())
            .await
            .map_err(|error| ScimError::Unreachable(error.to_string()))?;
        let certificate = response
            .extensions()
            .get::<TlsInfo>()
            .and_then(|info| info.peer_certificate().map(<[u8]>::to_vec));
        Ok((answer(&mut response, &url, &redaction, now).await?, certificate))
    }
}

/// Reads an answer without the secret that was sent.
async fn answer(
    response: &mut Response,
    url: &Url,
    redaction: &Redaction,
    now: Timestamp,
) -> Result<Answer, ScimError> {
    let mut read = Vec::new();
    let end = http::read_body(response, MAX_BODY, &mut read)
        .await
        .map_err(|error| ScimError::Unreachable(format!("the answer broke off: {error}")))?;
    if end == BodyEnd::TooLong {
        return Err(ScimError::TooLong);
    }
    let status = response.status();
    let body = if let Some(to) = http::location(response, url).filter(|_| status.is_redirection()) {
        AnswerBody::Redirect(redaction.hide(&place(&to, url)))
    } else if read.iter().all(u8::is_ascii_whitespace) {
        AnswerBody::Empty
    } else {
        Resource::parse(&read).map_or(AnswerBody::Other, |mut body| {
            redaction.hide_in(&mut body);
            AnswerBody::Object(body)
        })
    };
    let retry_after = http::retry_after(response.headers(), now);
    Ok(Answer { status: status.as_u16(), body, retry_after })
}

/// Returns the place of a redirect: another origin, or a path in the same one. A query may be secret.
fn place(to: &Url, from: &Url) -> String {
    if to.origin() == from.origin() {
        to.path().to_owned()
    } else {
        to.origin().ascii_serialization()
    }
}

/// Returns the URL of a request. Path and query are encoded already, and keep every byte.
fn address(base: &Url, request: &Request) -> Url {
    let mut url = base.clone();
    url.set_path(&format!("{}/{}", base.path().trim_end_matches('/'), request.path));
    let queries: Vec<&str> = base
        .query()
        .into_iter()
        .chain([request.query.as_str()])
        .filter(|q| !q.is_empty())
        .collect();
    url.set_query(Some(queries.join("&").as_str()).filter(|query| !query.is_empty()));
    url.set_fragment(None);
    url
}

fn headers(request: &Request, capabilities: Capabilities, authorization: HeaderValue) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(AUTHORIZATION, authorization);
    headers.insert(USER_AGENT, HeaderValue::from_static(http::USER_AGENT));
    let accept = match (request.method, capabilities.scim_json) {
        // An answer to DELETE has no body, and servers refuse a type that they cannot send.
        (Method::Delete, _) => "*/*",
        (_, true) => "application/scim+json, application/json;q=0.9, */*;q=0.1",
        (_, false) => "application/json, */*;q=0.1",
    };
    headers.insert(ACCEPT, HeaderValue::from_static(accept));
    if request.body.is_some() {
        let kind =
            if capabilities.scim_json { "application/scim+json" } else { "application/json" };
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::RemoteId;

    #[test]
    fn an_id_stays_below_the_base_url_and_a_query_of_the_base_is_kept() {
        for (base, id, url) in [
            ("https://a.example/scim/v2", "7", "https://a.example/scim/v2/Users/7"),
            (
                "https://a.example/scim/v2/?t=1",
                "a/b ?c",
                "https://a.example/scim/v2/Users/a%2Fb%20%3Fc?t=1",
            ),
            ("https://a.example", "../x", "https://a.example/Users/..%2Fx"),
            ("https://a.example/v2#x", "ü@x", "https://a.example/v2/Users/%C3%BC%40x"),
        ] {
            let request = Request::read(&RemoteId(id.to_owned()));
            assert_eq!(address(&base.parse().unwrap(), &request).as_str(), url);
        }
        let search = Request::search("userName", "a+b");
        let url = address(&"https://a.example/v2?t=1".parse().unwrap(), &search);
        assert_eq!(url.query(), Some("t=1&filter=userName%20eq%20%22a%2Bb%22"));
    }
}
