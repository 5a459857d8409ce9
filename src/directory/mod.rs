//! The directory: Active Directory over LDAP, read and never written.
//!
//! ```text
//! wire ─ dial, TLS, relay ─► session ─ bind, identity, one search at a time ─► read, groups, confirm
//!            └─ entry frames, as bytes, over a bounded channel ─► ber ─► entry: attributes -> Person
//! ```
//!
//! Nothing here concludes anything from what it reads. What was seen goes to the
//! [`Ledger`](crate::reconcile::Ledger); what it means is decided in [`crate::reconcile`].

mod authenticate;
mod ber;
mod bind;
mod changes;
mod check;
mod confirm;
mod controls;
mod entry;
mod filter;
mod frame;
mod grants;
mod groups;
mod placement;
mod read;
mod schema;
mod session;
mod settings;
mod tls;
mod watch;
mod wire;

pub use authenticate::{
    Attempted, BadPasswordCount, Credentials, Password, PasswordFault, authenticate,
};
pub use bind::{Again, BindRefusal, parse_refusal};
pub use changes::{Changed, Changes, Kind, WHAT_MATTERS};
pub use check::{Examination, Step, StepOutcome, examine};
pub use confirm::{Bases, Found, Inquiry, Questions};
pub use entry::{Decoder, Malformed, PERSON_FILTER};
pub use filter::Assertion;
pub use grants::{Grants, Right};
pub use groups::{GroupTrouble, Suspect};
pub use read::Entry;
pub use schema::Schema;
pub use session::{Object, RootDse, Session};
pub use settings::Settings;
pub use tls::{Certificate, TlsError, Trusted};
pub use watch::Watch;
pub use wire::WireError;

use std::fmt;

/// Why the directory could not be read. Prints as what was found, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// The connection.
    Wire {
        /// The server, as configured.
        server: String,
        /// What happened.
        source: WireError,
    },
    /// AD did not take the service account's password, or the way it was offered.
    Refused {
        /// The server.
        server: String,
        /// What AD said, and what to do.
        refusal: BindRefusal,
    },
    /// The secret.
    Secret {
        /// The file.
        path: String,
        /// What is wrong with it.
        problem: String,
        /// What to do.
        remedy: &'static str,
    },
    /// The bind went through, but we are nobody.
    Anonymous {
        /// The server.
        server: String,
    },
    /// The server is not what is needed.
    Unsuitable {
        /// The server.
        server: String,
        /// What is wrong.
        problem: &'static str,
        /// What to do.
        remedy: &'static str,
    },
    /// A search ended with an error.
    Search {
        /// The server.
        server: String,
        /// The base.
        base: String,
        /// The result code (RFC 4511).
        code: u32,
        /// The server's diagnostic message.
        text: String,
    },
    /// None of the servers serves.
    NoServer(Vec<DirectoryError>),
}

impl DirectoryError {
    /// AD's refusal of the service account.
    pub fn refusal(&self) -> Option<&BindRefusal> {
        match self {
            Self::Refused { refusal, .. } => Some(refusal),
            Self::NoServer(all) => all.iter().find_map(Self::refusal),
            _ => None,
        }
    }

    /// What was found, without what to do about it.
    pub fn finding(&self) -> String {
        match self {
            Self::Wire { server, source } => format!("{server}: {source}"),
            Self::Refused { server, refusal } => format!("{server}: {}", refusal.finding()),
            Self::Secret { path, problem, .. } => format!("the password file {path} {problem}"),
            Self::Anonymous { server } => {
                format!("{server}: the bind succeeded, but the server treats us as anonymous")
            }
            Self::Unsuitable { server, problem, .. } => format!("{server} {problem}"),
            Self::Search { server, base, code, text } => {
                let base = if base.is_empty() { "the rootDSE" } else { base };
                let text = if text.is_empty() { String::new() } else { format!(": {text}") };
                format!("{server}: searching {base} ended with result {code}{text}")
            }
            Self::NoServer(all) => {
                format!(
                    "no server of this directory can be used: {}",
                    all.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
                )
            }
        }
    }

    /// Whether the server answered with a referral, because the place lies in another domain.
    fn is_elsewhere(&self) -> bool {
        matches!(self, Self::Search { code: 10, .. })
    }

    /// What to do about it, where anything can be done.
    pub fn remedy(&self) -> Option<&'static str> {
        match self {
            Self::Wire { source, .. } => source.remedy(),
            Self::Refused { refusal, .. } => Some(refusal.remedy()),
            Self::Secret { remedy, .. } | Self::Unsuitable { remedy, .. } => Some(remedy),
            Self::Anonymous { .. } => Some("check bind-dn and the password"),
            // RFC 4511, appendix A.
            Self::Search { code, .. } => match code {
                1 => Some("see whether the service account may read there at all"),
                3 | 11 => Some(
                    "the server's own limits are too tight (MaxQueryDuration): lower page-size, or narrow base and filter",
                ),
                4 => Some("the server's own limits are too tight (MaxPageSize): lower page-size"),
                10 => Some("it lies outside the domain that this server holds: check base"),
                12 => {
                    Some("the server lacks a control that rosterd needs: is this Active Directory?")
                }
                32 | 34 => Some("check that it exists, and that the service account may read it"),
                50 => Some("give the service account the right to read it"),
                51 | 52 => Some("the server is busy or shutting down; it will be tried again"),
                _ => None,
            },
            Self::NoServer(_) => None,
        }
    }
}

impl fmt::Display for DirectoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.finding())?;
        self.remedy().map_or(Ok(()), |remedy| write!(f, ": {remedy}"))
    }
}
