//! Errors of a directory, each with its remedy.

use std::fmt;
use std::time::Duration;

use super::{BindRefusal, KerberosError, WireError};

/// Failure to read the directory. Displayed as a finding and a remedy.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// The connection failed.
    Wire { server: String, source: WireError },
    /// AD refused the bind of the service account.
    Refused { server: String, refusal: BindRefusal },
    /// The server refused the bind for a reason of its own, and gets no password again for this
    /// time.
    Resting { server: String, refusal: BindRefusal, left: Duration },
    /// Kerberos failed, for a reason other than the account.
    Kerberos { server: String, error: KerberosError },
    /// The password file or keytab cannot be used.
    Secret { kind: &'static str, path: String, problem: String, remedy: &'static str },
    /// The bind succeeded as anonymous (RFC 4513, 5.1.2).
    Anonymous { server: String },
    /// The server cannot serve rosterd: read-only, no domain, or not Active Directory.
    Unsuitable { server: String, problem: &'static str, remedy: &'static str },
    /// A search ended with a result code (RFC 4511) other than success.
    Search { server: String, base: String, code: u32, text: String },
    /// No configured server is usable; one error for each.
    NoServer(Vec<DirectoryError>),
}

impl DirectoryError {
    /// The problem of a server that holds no writable copy of the domain.
    pub(super) const READ_ONLY: &str =
        "is a read-only domain controller, which may withhold attributes";

    /// Returns whether the server is a read-only domain controller.
    pub(super) fn is_read_only(&self) -> bool {
        matches!(self, Self::Unsuitable { problem, .. } if *problem == Self::READ_ONLY)
    }

    /// Returns the refusal of the service account, if that is the cause.
    pub fn refusal(&self) -> Option<&BindRefusal> {
        match self {
            Self::Refused { refusal, .. } => Some(refusal),
            // A refusal that concerns the account is the last, because it ends the attempts.
            Self::NoServer(all) => all.iter().rev().find_map(Self::refusal),
            _ => None,
        }
    }

    /// Returns the finding without its remedy.
    pub fn finding(&self) -> String {
        match self {
            Self::Wire { server, source } => format!("{server}: {source}"),
            Self::Refused { server, refusal } => format!("{server}: {}", refusal.finding()),
            Self::Resting { server, refusal, left } => {
                let left = Duration::from_secs(left.as_secs().max(1));
                let accepted = if refusal.concerns_account() {
                    ", although another server has accepted the same secret"
                } else {
                    ""
                };
                format!(
                    "{server}: {}{accepted}; it is asked again in {}",
                    refusal.finding(),
                    humantime::format_duration(left)
                )
            }
            Self::Kerberos { server, error } => format!("{server}: {error}"),
            Self::Secret { kind, path, problem, .. } => format!("the {kind} {path} {problem}"),
            Self::Anonymous { server } => {
                format!(
                    "{server}: the bind succeeded, but the server treats the connection as anonymous"
                )
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

    /// Returns whether the attempt cost its whole time limit, and the next one would cost it again.
    pub(super) fn is_silence(&self) -> bool {
        matches!(self, Self::Wire { source, .. } if source.is_silence())
    }

    /// Returns whether the server did not answer in time.
    pub fn is_timeout(&self) -> bool {
        matches!(
            self,
            Self::Wire { source: WireError::Timeout { .. }, .. }
                | Self::Kerberos { error: KerberosError::Timeout { .. }, .. }
        )
    }

    /// Returns whether the connection ended, so that another server may do better.
    pub fn is_lost_connection(&self) -> bool {
        matches!(self, Self::Wire { .. })
    }

    /// Returns whether the result is a referral, because the base lies in another domain.
    pub(super) fn is_referral(&self) -> bool {
        matches!(self, Self::Search { code: 10, .. })
    }

    /// Returns the remedy, where the operator has one.
    pub fn remedy(&self) -> Option<&'static str> {
        match self {
            Self::Wire { source, .. } => source.remedy(),
            Self::Resting { refusal, .. } if refusal.concerns_account() => Some(
                "if the password was changed, wait for replication to this server; if not, look at its replication",
            ),
            Self::Refused { refusal, .. } | Self::Resting { refusal, .. } => Some(refusal.remedy()),
            Self::Kerberos { error, .. } => error.remedy(),
            Self::Secret { remedy, .. } | Self::Unsuitable { remedy, .. } => Some(remedy),
            Self::Anonymous { .. } => Some("check the name and the secret of the service account"),
            // RFC 4511, appendix A.
            Self::Search { code, .. } => match code {
                1 => Some("check that the service account may read there"),
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
                51 | 52 => Some(
                    "nothing to do: the server is busy or shutting down, and the search is retried",
                ),
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
