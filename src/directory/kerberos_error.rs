//! Errors of Kerberos that do not concern the account, each with its remedy.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// KDC_ERR_S_PRINCIPAL_UNKNOWN (RFC 4120, 7.5.9).
const NO_SERVICE: u32 = 7;
/// KDC_ERR_ETYPE_NOSUPP: no common encryption type.
const NO_ENCRYPTION: u32 = 14;
/// KRB_AP_ERR_SKEW: clocks that differ.
const SKEW: u32 = 37;
/// KDC_ERR_WRONG_REALM: the account's realm is another one.
const WRONG_REALM: u32 = 68;
/// KRB5_KDC_UNREACH of libkrb5.
const NO_KDC: u32 = 156;
/// KRB5_REALM_UNKNOWN of libkrb5.
const NO_REALM: u32 = 230;

/// Failure to get a ticket, for a reason other than the account.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum KerberosError {
    /// The helper program cannot run, or ended early.
    Helper { path: PathBuf, problem: String },
    /// The library of MIT Kerberos cannot be loaded.
    NoLibrary(String),
    /// The KDC gave no answer in time.
    Timeout { kdc: IpAddr, after: Duration },
    /// A Kerberos error code, with the name of the service and the address of the KDC.
    Failed { code: u32, text: String, service: String, kdc: IpAddr },
}

impl KerberosError {
    /// Returns the remedy, where the operator has one.
    pub fn remedy(&self) -> Option<&'static str> {
        Some(match self {
            Self::Helper { .. } => "install the package of rosterd again",
            Self::NoLibrary(_) => "install libgssapi-krb5-2",
            Self::Timeout { .. } | Self::Failed { code: NO_KDC, .. } => {
                "open TCP port 88 between this machine and the domain controllers"
            }
            Self::Failed { code: NO_SERVICE, .. } => {
                "write the name of a domain controller in servers, as its servicePrincipalName has it"
            }
            Self::Failed { code: NO_ENCRYPTION, .. } => {
                "export a keytab with AES keys, and let the account have them (msDS-SupportedEncryptionTypes = 24)"
            }
            Self::Failed { code: SKEW, .. } => {
                "correct the clock of this machine or of the domain controller"
            }
            Self::Failed { code: WRONG_REALM | NO_REALM, .. } => {
                "for an account of another realm, set krb5-conf to a file that knows both realms"
            }
            Self::Failed { .. } => return None,
        })
    }
}

impl fmt::Display for KerberosError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Helper { path, problem } => {
                write!(f, "the Kerberos helper {} failed: {problem}", path.display())
            }
            Self::NoLibrary(problem) => write!(f, "there is no Kerberos library: {problem}"),
            Self::Timeout { kdc, after } => {
                let after = humantime::format_duration(*after);
                write!(f, "no answer from the KDC {kdc} (port 88) within {after}")
            }
            Self::Failed { code, service, text, kdc } => match *code {
                NO_SERVICE => write!(f, "the KDC knows no service {service} (Kerberos error 7)"),
                NO_ENCRYPTION => f.write_str(
                    "the KDC supports no encryption type of the keytab (Kerberos error 14)",
                ),
                SKEW => f.write_str(
                    "the clocks of this machine and the KDC differ too much (Kerberos error 37)",
                ),
                NO_KDC => write!(f, "the KDC {kdc} (port 88) cannot be reached: {text}"),
                0 => f.write_str(text),
                code => write!(f, "{text} (Kerberos error {code})"),
            },
        }
    }
}
