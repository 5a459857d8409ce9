//! Errors of a connection to a server, each with its remedy.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use super::frame::FrameError;
use super::tls::TlsError;
use crate::model::ServerUrl;

/// A step of a connection that waits for the network, with a time limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    Dns,
    Connect,
    StartTls,
    Bind,
    Search,
    /// A "Who am I?" request (RFC 4532), which tests the connection.
    Ping,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dns => "a DNS query",
            Self::Connect => "a TCP connection",
            Self::StartTls => "StartTLS",
            Self::Bind => "the bind",
            Self::Search => "a search",
            Self::Ping => "a Who am I? request",
        })
    }
}

/// Failure of a connection to a server.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    #[error("the name {host} has no address: {reason}")]
    Resolve { host: String, reason: String },
    #[error("cannot connect: {0}")]
    Connect(#[source] io::Error),
    /// The errors of all addresses of the server.
    #[error("{0}")]
    Addresses(DialErrors),
    #[error("no answer to {step} within {}", humantime::format_duration(*.after))]
    Timeout { step: Step, after: Duration },
    /// An `ldap://` URL without StartTLS, where the password would cross the network in the clear.
    #[error("{0} without TLS is refused")]
    Plaintext(ServerUrl),
    /// The result code of a refused StartTLS request.
    #[error("the server refuses StartTLS (result {0})")]
    StartTlsRefused(u32),
    /// Bytes between the StartTLS response and the handshake: an injection (CVE-2011-0411 in other
    /// software).
    #[error("the server sent something in the clear behind its StartTLS answer")]
    StartTlsInjection,
    #[error("{0}")]
    Tls(#[source] Box<TlsError>),
    #[error("the server sent an invalid LDAP message: {0}")]
    Frame(#[from] FrameError),
    /// The message id of a response that matches no open request.
    #[error("the server answered message {0}, which is not a request that awaits this response")]
    Unexpected(i32),
    /// The limit of entries that the search exceeded.
    #[error("the server sent more than {0} entries where fewer were requested")]
    Overfull(usize),
    /// Notice of Disconnection (RFC 4511, 4.4.1).
    #[error("the server ended the connection (Notice of Disconnection)")]
    Notice,
    #[error("the connection was cut")]
    Cut,
    #[error("the LDAP driver failed: {0}")]
    Driver(String),
}

impl From<TlsError> for WireError {
    fn from(error: TlsError) -> Self {
        Self::Tls(Box::new(error))
    }
}

impl WireError {
    /// Returns whether the time limit of the connection passed without an answer.
    pub(super) fn is_silence(&self) -> bool {
        match self {
            Self::Resolve { .. } | Self::Timeout { .. } => true,
            Self::Tls(error) => matches!(**error, TlsError::Timeout(_)),
            Self::Addresses(DialErrors(all)) => all.iter().any(|(_, error)| error.is_silence()),
            _ => false,
        }
    }

    /// Returns whether TCP was connected before the failure.
    pub(super) fn is_after_tcp(&self) -> bool {
        match self {
            Self::Resolve { .. }
            | Self::Connect(_)
            | Self::Plaintext(_)
            | Self::Timeout { step: Step::Dns | Step::Connect, .. } => false,
            Self::Addresses(DialErrors(all)) => all.iter().all(|(_, error)| error.is_after_tcp()),
            _ => true,
        }
    }

    /// Returns the remedy, where the operator has one.
    pub fn remedy(&self) -> Option<&'static str> {
        match self {
            Self::Resolve { .. } => Some("check the name in servers, and this machine's DNS"),
            Self::Connect(_) | Self::Timeout { step: Step::Connect, .. } => {
                Some("check that the server runs, and that no firewall stands between")
            }
            Self::Plaintext(_) => Some("use ldaps://, or starttls = true"),
            Self::StartTlsRefused(_) => Some("use ldaps://, or install a certificate on it"),
            Self::StartTlsInjection => {
                Some("the connection may be tampered with: find out who sits between")
            }
            Self::Tls(error) => error.remedy(),
            Self::Addresses(errors) => errors.first().and_then(Self::remedy),
            Self::Timeout { .. }
            | Self::Frame(_)
            | Self::Unexpected(_)
            | Self::Overfull(_)
            | Self::Notice
            | Self::Cut
            | Self::Driver(_) => None,
        }
    }
}

/// The failure of every address of a server.
#[derive(Debug)]
pub struct DialErrors(pub(super) Vec<(IpAddr, WireError)>);

impl DialErrors {
    /// Returns the error of the first address that failed.
    fn first(&self) -> Option<&WireError> {
        self.0.first().map(|(_, error)| error)
    }
}

impl fmt::Display for DialErrors {
    /// Addresses with the same error share a sentence.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut groups: Vec<(String, Vec<String>)> = Vec::new();
        for (address, error) in &self.0 {
            let (text, address) = (error.to_string(), address.to_string());
            match groups.iter_mut().find(|(known, _)| *known == text) {
                Some((_, addresses)) => addresses.push(address),
                None => groups.push((text, vec![address])),
            }
        }
        let sentences: Vec<String> = groups
            .into_iter()
            .map(|(text, addresses)| format!("{text} ({})", addresses.join(", ")))
            .collect();
        f.write_str(&sentences.join("; "))
    }
}
