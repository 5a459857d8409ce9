//! Active Directory over LDAP. It is read and never written.
//!
//! ```text
//! dial ─ TCP, TLS ─► wire ─ relay ─► session ─ bind, identity, one search at a time
//!            kerberos ─ the helper process ─► sasl ─ a bind by ticket
//!   session ─► read, groups, confirm ─ entry frames, as bytes, over a bounded channel
//!   entry frames ─► ber ─► entry: attributes -> Person
//! ```
//!
//! This module draws no conclusions. Observations go to the [`Ledger`](crate::reconcile::Ledger),
//! and [`crate::reconcile`] decides.

mod addresses;
mod authenticate;
mod ber;
mod bind;
mod changes;
mod check;
mod confirm;
mod controls;
mod dial;
mod encode;
mod entry;
mod error;
mod filter;
mod followed;
mod frame;
mod grants;
mod greeting;
mod groups;
mod kerberos;
mod kerberos_error;
mod lookup;
mod members;
mod object;
mod ping;
mod placement;
mod query;
mod read;
mod replication;
mod root_dse;
mod sasl;
mod schema;
mod search;
mod secret;
mod servers;
mod session;
mod settings;
mod similar;
mod tls;
mod watch;
mod wire;
mod wire_error;

pub use authenticate::{
    BadPasswordCount, BindAttempt, Credentials, Password, PasswordFault, authenticate,
};
pub use bind::{BindMethod, BindRefusal, Retry};
pub use changes::{ChangedObject, Changes, ObjectKind, WATCHED_OBJECTS};
pub use check::{CheckReport, check};
pub use entry::{Decoder, Malformed, PERSON_FILTER};
pub use error::DirectoryError;
pub use filter::Assertion;
pub use grants::{Grants, Right};
pub use greeting::Greeting;
pub use groups::{GroupError, MembershipQuery};
pub use kerberos_error::KerberosError;
pub use lookup::{Bases, LookupContext, LookupResults, PendingLookups};
pub use object::Object;
pub use read::Entry;
pub use root_dse::RootDse;
pub use schema::Schema;
pub use secret::secret_mark;
pub use servers::{Elapsed, Failure, Server, Servers, Use};
pub use session::Session;
pub use settings::Settings;
pub use tls::{Certificate, TlsError, Trusted};
pub use watch::Watch;
pub use wire_error::{DialErrors, Step, WireError};
