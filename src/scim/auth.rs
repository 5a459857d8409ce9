//! The token of a target: from a file, or by OAuth client credentials.
//!
//! The file is read again when it changes. A token never occurs in an error.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, Url};
use secrecy::{ExposeSecret as _, SecretString};

use super::error::ScimError;
use super::redaction::{Redaction, form_encoded};
use crate::http::{self, Transport};
use crate::model::{TargetCredential, Timestamp, secret_line};
use crate::ownership::{SecretFileError, read_secret};
use crate::reconcile::provision::Resource;

/// A token of OAuth is replaced this long before it expires, because requests take time.
const RENEW_BEFORE: Duration = Duration::from_secs(30);

/// The validity of a token whose server does not say (RFC 6749, 5.1).
const DEFAULT_VALIDITY: Duration = Duration::from_mins(5);

/// The beginning of the header `Authorization` (RFC 6750, 2.1).
const SCHEME: &[u8] = b"Bearer ";

/// Most bytes of an answer with a token.
const MAX_ANSWER: usize = 64 * 1024;

/// The identity of a file's content: inode, size and time of change.
type Stamp = (u64, u64, i64, i64);

struct Token {
    value: SecretString,
    /// The file that it was read from, or whose secret got it.
    of: Stamp,
    /// `None` for a token from a file.
    until: Option<Timestamp>,
}

/// The tokens of one target.
pub(super) struct Auth {
    credential: TargetCredential,
    cached: Mutex<Option<Token>>,
    /// Held while a token is got, so that concurrent requests get one.
    renewal: tokio::sync::Mutex<()>,
}

impl Auth {
    pub(super) fn new(credential: TargetCredential) -> Self {
        Self { credential, cached: Mutex::default(), renewal: tokio::sync::Mutex::default() }
    }

    /// Returns whether a fresh token may be accepted where this one was refused.
    pub(super) fn can_renew(&self) -> bool {
        matches!(self.credential, TargetCredential::OAuth { .. })
    }

    pub(super) fn secret_identity(&self) -> Option<String> {
        let (inode, size, seconds, nanoseconds) = stamp(self.credential.file()).ok()?;
        Some(format!("{inode} {size} {seconds} {nanoseconds}"))
    }

    /// Forgets the token of a refused header. A token that came after it is kept.
    pub(super) fn forget(&self, refused: &HeaderValue) {
        let mut cached = self.cached.lock().unwrap_or_else(PoisonError::into_inner);
        let is_it = |token: &Token| {
            refused.as_bytes().strip_prefix(SCHEME) == Some(token.value.expose_secret().as_bytes())
        };
        if cached.as_ref().is_some_and(is_it) {
            *cached = None;
        }
    }

    /// Returns the value of the header `Authorization`.
    pub(super) async fn header(
        &self,
        transport: &Transport,
        now: Timestamp,
    ) -> Result<HeaderValue, ScimError> {
        let token = self.token(transport, now).await?;
        let mut value = HeaderValue::try_from(format!("Bearer {}", token.expose_secret()))
            .map_err(|_| self.bad("has a character that a token cannot have"))?;
        value.set_sensitive(true);
        Ok(value)
    }

    /// Returns the known token of this file, if it is valid.
    fn cached(&self, of: Stamp, now: Timestamp) -> Option<SecretString> {
        let cached = self.cached.lock().unwrap_or_else(PoisonError::into_inner);
        let token = cached.as_ref().filter(|token| token.of == of)?;
        token.until.is_none_or(|until| now < until).then(|| token.value.clone())
    }

    /// Returns the token.
    pub(super) async fn token(
        &self,
        transport: &Transport,
        now: Timestamp,
    ) -> Result<SecretString, ScimError> {
        let file = self.credential.file();
        let of = stamp(file).map_err(|error| self.bad(&format!("cannot be read: {error}")))?;
        if let Some(token) = self.cached(of, now) {
            return Ok(token);
        }
        let _renewal = self.renewal.lock().await;
        // Another request may have got it meanwhile.
        if let Some(token) = self.cached(of, now) {
            return Ok(token);
        }
        let secret = self.secret(file)?;
        let (value, until) = match &self.credential {
            TargetCredential::Token(_) => (secret, None),
            TargetCredential::OAuth { token_url, client_id, scope, .. } => {
                let (token, validity) =
                    request_token(transport, token_url, client_id, &secret, scope.as_deref())
                        .await?;
                (token, Some(now.plus(validity.saturating_sub(RENEW_BEFORE))))
            }
        };
        let token = Token { value: value.clone(), of, until };
        *self.cached.lock().unwrap_or_else(PoisonError::into_inner) = Some(token);
        Ok(value)
    }

    /// Returns the end of its validity that a token from a file states. A token of OAuth is replaced
    /// before it expires.
    pub(super) fn expiry(&self) -> Option<Timestamp> {
        let TargetCredential::Token(file) = &self.credential else { return None };
        expiry(&self.secret(file).ok()?)
    }

    fn secret(&self, file: &Path) -> Result<SecretString, ScimError> {
        let content = read_secret(file).map_err(|error| match error {
            SecretFileError::OpenToAll => self.bad("can be read by every user"),
            SecretFileError::Unreadable(error) => self.bad(&format!("cannot be read: {error}")),
        })?;
        let line = secret_line(&content).map_err(|fault| self.bad(&fault.to_string()))?;
        Ok(SecretString::from(line.to_owned()))
    }

    fn bad(&self, problem: &str) -> ScimError {
        ScimError::Secret(format!("{} {problem}", self.credential.file().display()))
    }
}

fn stamp(file: &Path) -> std::io::Result<Stamp> {
    let metadata = std::fs::metadata(file)?;
    Ok((metadata.ino(), metadata.size(), metadata.mtime(), metadata.mtime_nsec()))
}

/// Gets a token by client credentials (RFC 6749, 4.4).
async fn request_token(
    transport: &Transport,
    url: &Url,
    client_id: &str,
    secret: &SecretString,
    scope: Option<&str>,
) -> Result<(SecretString, Duration), ScimError> {
    // RFC 6749, 2.3.1: both parts are form-encoded before they are joined.
    let basic = format!("{}:{}", form_encoded(client_id), form_encoded(secret.expose_secret()));
    let redaction = Redaction::of(&[secret.expose_secret(), &basic]);
    let mut authorization = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(basic)))
        .map_err(|_| ScimError::Secret("the client secret cannot be sent".to_owned()))?;
    authorization.set_sensitive(true);
    let mut headers = HeaderMap::new();
    headers.insert(AUTHORIZATION, authorization);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(reqwest::header::USER_AGENT, HeaderValue::from_static(http::USER_AGENT));
    let scope = scope.map_or_else(String::new, |scope| format!("&scope={}", form_encoded(scope)));
    let body = format!("grant_type=client_credentials{scope}");
    let (mut response, _) = transport
        .send(&Method::POST, url, &headers, Some(&body))
        .await
        .map_err(|error| ScimError::Unreachable(format!("the token server: {error}")))?;
    let status = response.status();
    let mut answer = Vec::new();
    http::read_body(&mut response, MAX_ANSWER, &mut answer).await.map_err(|error| {
        ScimError::Unreachable(format!("the answer of the token server broke off: {error}"))
    })?;
    let answer = Resource::parse(&answer).unwrap_or_default();
    let Some(token) = answer.text("access_token").filter(|_| status.is_success()) else {
        let error = answer.text("error").map(|error| redaction.hide(error));
        let reason = error.as_ref().map_or_else(String::new, |error| {
            let error: String = error.chars().filter(|c| !c.is_control()).take(100).collect();
            format!(" {error}")
        });
        let reason = format!("{} answered {}{reason}", http::host(url), status.as_u16());
        // RFC 6749, 5.2. Any other answer is one of a server that is down, or of a proxy.
        let is_refused = match status.as_u16() {
            401 => true,
            400 | 403 => error.is_some(),
            _ => false,
        };
        return Err(if is_refused {
            ScimError::TokenRefused(reason)
        } else {
            ScimError::Unreachable(format!("the token server: {reason}"))
        });
    };
    let validity = answer.number("expires_in").map_or(DEFAULT_VALIDITY, Duration::from_secs);
    Ok((SecretString::from(token.to_owned()), validity))
}

/// Returns the end of a token's validity, if the token is a JWT that says so (RFC 7519, 4.1.4).
fn expiry(token: &SecretString) -> Option<Timestamp> {
    let mut parts = token.expose_secret().split('.');
    let (_, claims, _, None) = (parts.next()?, parts.next()?, parts.next()?, parts.next()) else {
        return None;
    };
    let claims = Resource::parse(&URL_SAFE_NO_PAD.decode(claims).ok()?)?;
    Some(Timestamp::from_seconds(i64::try_from(claims.number("exp")?).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_expiry_of_a_token_is_read_where_the_token_is_a_jwt() {
        let claims = URL_SAFE_NO_PAD.encode(r#"{"exp":1900000000}"#);
        let jwt = SecretString::from(format!("eyJhbGciOiJub25lIn0.{claims}.sig"));
        assert_eq!(expiry(&jwt), Some(Timestamp::from_seconds(1_900_000_000)));
        for other in ["tok", "a.b.c", "a.b", "xoxp-1.2.3"] {
            assert_eq!(expiry(&SecretString::from(other.to_owned())), None, "{other}");
        }
    }

    #[tokio::test]
    async fn a_token_file_is_read_again_when_it_changes_and_only_if_others_cannot_read_it() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        let write = |text: &str, mode| {
            // A file that replaces another has an inode of its own.
            let new = folder.path().join("new");
            std::fs::write(&new, text).unwrap();
            std::fs::set_permissions(&new, std::fs::Permissions::from_mode(mode)).unwrap();
            std::fs::rename(new, &file).unwrap();
        };
        write("one\n", 0o600);
        let auth = Auth::new(TargetCredential::Token(file.clone()));
        let transport = Transport::default();
        let header = async || auth.header(&transport, Timestamp(0)).await;
        assert_eq!(header().await.unwrap(), "Bearer one");
        assert!(header().await.unwrap().is_sensitive());
        write("two\n", 0o600);
        assert_eq!(header().await.unwrap(), "Bearer two");
        write("MARKER\n", 0o644);
        let error = header().await.unwrap_err().to_string();
        assert!(error.contains("every user") && !error.contains("MARKER"), "{error}");
    }
}
