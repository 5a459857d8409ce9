//! The mail server and the recipients of `[mail]`.

use std::path::PathBuf;

use lettre::message::Mailbox;

/// A mail server, with sender and recipients.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mail {
    pub server: String,
    pub port: u16,
    pub tls: MailTls,
    /// A PEM file of trusted CAs; `None` is the system's trust store.
    pub ca_file: Option<PathBuf>,
    pub login: Option<MailLogin>,
    pub from: Mailbox,
    /// At least one recipient.
    pub to: Vec<Mailbox>,
}

/// The encryption of the connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MailTls {
    /// STARTTLS (RFC 3207). A server without it is refused.
    StartTls,
    /// TLS from the first byte (RFC 8314).
    Implicit,
    /// Plain text, to this machine only.
    Off,
}

/// The login at a mail server. The password is read for each mail.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MailLogin {
    pub user: String,
    pub password_file: PathBuf,
}
