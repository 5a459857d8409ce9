//! The secret of the service account, read from its file for one bind.

use std::path::Path;

use secrecy::SecretString;
use zeroize::Zeroizing;

use super::kerberos::Login;
use super::{DirectoryError, Settings};
use crate::model::{Credential, Keytab, secret_line};
use crate::ownership::{SecretFileError, read_secret as read_secret_file};

/// The secret of one bind.
pub(super) enum Secret {
    /// A DN or a UPN, and the password.
    Password(String, SecretString),
    Kerberos(Login),
}

/// Reads the file of the credential. A malformed file and one that other users can read are errors.
pub(super) fn read_secret(settings: &Settings) -> Result<Secret, DirectoryError> {
    let path = settings.credential.file();
    match &settings.credential {
        Credential::Password { bind_dn, file: _ } => {
            let remedy = "write the password into it, and let rosterd's user read it";
            let content = read(settings, path, remedy)?;
            let line = secret_line(&content)
                .map_err(|fault| bad(settings, fault.to_string(), fault.remedy()))?;
            Ok(Secret::Password(bind_dn.clone(), SecretString::from(line.to_owned())))
        }
        Credential::Kerberos { keytab, principal, krb5_conf, helper } => {
            let content = read(settings, path, "export it, and let rosterd's user read it")?;
            let usable = Keytab::parse(&content)
                .and_then(|keys| Ok((keys.account(principal.as_deref())?, keys)));
            let (principal, keys) =
                usable.map_err(|fault| bad(settings, fault.to_string(), fault.remedy()))?;
            Ok(Secret::Kerberos(Login {
                helper: helper.clone(),
                keytab: keytab.clone(),
                kvno: keys.kvno(&principal),
                has_aes: keys.has_aes(&principal),
                principal,
                krb5_conf: krb5_conf.clone(),
            }))
        }
    }
}

/// Returns a mark of the secret that does not reveal it: the name of the account, change time and size
/// of the file, and the version of the key in a keytab.
pub fn secret_mark(settings: &Settings) -> String {
    use std::os::unix::fs::MetadataExt as _;
    let file = settings.credential.file();
    let (account, version) = match &settings.credential {
        Credential::Password { bind_dn, .. } => (bind_dn.clone(), String::new()),
        Credential::Kerberos { principal, .. } => {
            let keys = std::fs::read(file).ok().and_then(|content| Keytab::parse(&content).ok());
            let account = keys.as_ref().and_then(|keys| keys.account(principal.as_deref()).ok());
            let account = account.unwrap_or_default();
            let version = keys.map_or(0, |keys| keys.kvno(&account));
            (account, format!(".{version}"))
        }
    };
    let account = xxhash_rust::xxh3::xxh3_64(account.as_bytes());
    std::fs::metadata(file).map_or_else(
        |_| "none".to_owned(),
        |m| format!("{account:016x}.{}.{}.{}{version}", m.mtime(), m.mtime_nsec(), m.size()),
    )
}

fn read(
    settings: &Settings,
    path: &Path,
    remedy: &'static str,
) -> Result<Zeroizing<Vec<u8>>, DirectoryError> {
    read_secret_file(path).map_err(|error| match error {
        SecretFileError::OpenToAll => {
            bad(settings, "can be read by every user".to_owned(), "run chmod o= on it")
        }
        SecretFileError::Unreadable(e) => bad(settings, format!("cannot be read: {e}"), remedy),
    })
}

fn bad(settings: &Settings, problem: String, remedy: &'static str) -> DirectoryError {
    let credential = &settings.credential;
    let path = credential.file().display().to_string();
    DirectoryError::Secret { kind: credential.file_kind(), path, problem, remedy }
}
