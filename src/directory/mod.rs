//! The directory: Active Directory over LDAP, read and never written.
//!
//! ```text
//! wire ─ dial, TLS, relay ─► session ─ bind, identity, one search at a time ─► read, groups, confirm
//!            └─ entry frames, as bytes, over a bounded channel ─► ber ─► entry: attributes -> Person
//! ```
//!
//! Nothing here concludes anything from what it reads. What was seen goes to the
//! [`Ledger`](crate::reconcile::Ledger); what it means is decided in [`crate::reconcile`].

mod ber;
mod bind;
mod confirm;
mod entry;
mod filter;
mod frame;
mod groups;
mod read;
mod session;
mod settings;
mod wire;

pub use bind::{BindRefusal, parse_refusal};
pub use confirm::Found;
pub use entry::{Decoder, Malformed, PERSON_FILTER};
pub use filter::Assertion;
pub use groups::{GroupName, GroupTrouble, Suspect};
pub use read::Entry;
pub use session::{Object, RootDse, Session};
pub use settings::{AttributeNames, ServerUrl, Settings, Timeouts};
pub use wire::WireError;

/// Why the directory could not be read.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// The connection.
    #[error("{server}: {source}")]
    Wire {
        /// The server, as configured.
        server: String,
        /// What happened.
        source: WireError,
    },
    /// AD did not take the service account's password, or the way it was offered.
    #[error("{server}: {refusal}")]
    Refused {
        /// The server.
        server: String,
        /// What AD said, and what to do.
        refusal: BindRefusal,
    },
    /// The secret.
    #[error("the password file {path} {problem}")]
    Secret {
        /// The file.
        path: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The bind went through, but we are nobody.
    #[error("{server}: the bind succeeded, but the server treats us as anonymous: check bind-dn and the password")]
    Anonymous {
        /// The server.
        server: String,
    },
    /// The server is not what is needed.
    #[error("{server}: {problem}")]
    Unsuitable {
        /// The server.
        server: String,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// A search ended with an error.
    #[error("{server}: searching {base} ended with result {code}{}", if .text.is_empty() { String::new() } else { format!(": {text}") })]
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
    #[error("no server of this directory can be used: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    NoServer(Vec<DirectoryError>),
}

impl DirectoryError {
    /// AD's refusal of the service account, after which no further bind is tried with the same secret.
    pub fn refusal(&self) -> Option<&BindRefusal> {
        match self {
            Self::Refused { refusal, .. } => Some(refusal),
            Self::NoServer(all) => all.iter().find_map(Self::refusal),
            _ => None,
        }
    }
}
