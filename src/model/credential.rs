//! The credential of a service account.

use std::path::{Path, PathBuf};

/// The way in which a service account proves its identity. No value holds a secret: the files are
/// read at each bind.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Credential {
    /// A simple bind with a DN or a UPN, and the password in a file.
    Password { bind_dn: String, file: PathBuf },
    /// A SASL bind with a ticket, which the key in a keytab gets.
    Kerberos {
        keytab: PathBuf,
        /// The principal with its realm; `None` for the only account in the keytab.
        principal: Option<String>,
        /// A configuration of libkrb5 instead of the generated one.
        krb5_conf: Option<PathBuf>,
        /// The program that speaks Kerberos.
        helper: PathBuf,
    },
}

impl Credential {
    /// Returns the file that holds the secret.
    pub fn file(&self) -> &Path {
        match self {
            Self::Password { file, .. } => file,
            Self::Kerberos { keytab, .. } => keytab,
        }
    }

    /// Returns the noun for that file.
    pub fn file_kind(&self) -> &'static str {
        match self {
            Self::Password { .. } => "password file",
            Self::Kerberos { .. } => "keytab",
        }
    }
}
