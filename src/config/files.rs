//! Checks of the files that a configuration names.
//!
//! Their contents are discarded, because a secret is read again whenever it is used.

use std::fs;
use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use zeroize::Zeroizing;

use crate::model::{Keytab, secret_line};
use crate::ownership::{self, Owners, SecretFileError};

/// Checks that only root and the daemon's user can change a file.
fn trusted(path: &Path) -> Result<(), String> {
    ownership::refusal(path, &Owners::here()).map_or(Ok(()), Err)
}

/// Checks the folder of a file that rosterd creates, because others must not replace that file.
pub(super) fn folder_of(file: &Path) -> Result<(), String> {
    file.parent().map_or(Ok(()), trusted)
}

/// Checks a program. An absent program is no problem until it has to run.
pub(super) fn program(path: &Path) -> Result<(), String> {
    trusted(path)
}

/// Returns the file of a systemd credential by its name in `LoadCredential=`. `what` is the suffix
/// of its source file, and `instead` the key of a plain file.
pub(super) fn credential(
    name: &str,
    what: &str,
    instead: &str,
    credentials: Option<&Path>,
) -> Result<PathBuf, String> {
    if name.is_empty() || name.contains('/') || name == ".." {
        return Err(format!(
            "\"{name}\" is not the name of a systemd credential: write the name that LoadCredential= gives it"
        ));
    }
    let load = format!("LoadCredential={name}:/etc/rosterd/{name}.{what}");
    match credentials {
        None => Err(format!(
            "there are no credentials outside the unit: check with systemd-run --pipe --wait -p {load} rosterd check-config, or use {instead}"
        )),
        Some(directory) => Some(directory.join(name))
            .filter(|path| path.exists())
            .ok_or_else(|| format!("systemd gave no credential \"{name}\": add {load} to the unit, or use {instead}")),
    }
}

/// Checks the mode and the content of a password file.
pub(super) fn password(path: &Path) -> Result<(), String> {
    let content = secret(path)?;
    secret_line(&content)
        .map(drop)
        .map_err(|fault| format!("{} {fault}: {}", path.display(), fault.remedy()))
}

/// Checks the mode and the content of a file with a token or a client secret.
pub(super) fn token(path: &Path) -> Result<(), String> {
    let content = secret(path)?;
    secret_line(&content).map(drop).map_err(|fault| {
        format!(
            "{} {fault}: write it alone into the file, on one line of UTF-8 text",
            path.display()
        )
    })
}

/// The Kerberos helper of the package.
const KERBEROS_HELPER: &str = "/usr/libexec/rosterd/rosterd-gssapi";

/// Checks the mode and the content of a keytab.
pub(super) fn keytab(path: &Path, principal: Option<&str>) -> Result<(), String> {
    let content = secret(path)?;
    Keytab::parse(&content)
        .and_then(|keys| keys.account(principal))
        .map(drop)
        .map_err(|fault| format!("{} {fault}: {}", path.display(), fault.remedy()))
}

/// Checks a file that a library reads.
pub(super) fn readable(path: &Path) -> Result<(), String> {
    trusted(path)?;
    fs::File::open(path).map(drop).map_err(|e| unreadable(path, &e))
}

/// Returns the Kerberos helper: the one of the package, or in a folder of built programs the one
/// beside this program.
pub(super) fn kerberos_helper() -> PathBuf {
    let beside = std::env::current_exe().map(|program| program.with_file_name("rosterd-gssapi"));
    beside.ok().filter(|helper| helper.exists()).unwrap_or_else(|| KERBEROS_HELPER.into())
}

/// Checks a file of signing keys, which are `whsec_` and Base64 (Standard Webhooks), one a line.
pub(super) fn signing_keys(path: &Path) -> Result<(), String> {
    let content = secret(path)?;
    let text = keys(&content, path)?;
    let is_key = |line: &str| {
        let base64 = |c: char| c.is_ascii_alphanumeric() || "+/=".contains(c);
        line.strip_prefix("whsec_").is_some_and(|key| !key.is_empty() && key.chars().all(base64))
    };
    let mut lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()).peekable();
    if lines.peek().is_none() {
        return Err(format!(
            "{} is empty: write whsec_ and a key in Base64 into it",
            path.display()
        ));
    }
    match lines.find(|(_, line)| !is_key(line.trim())) {
        Some((n, _)) => Err(format!(
            "line {} of {} is not a signing key: write whsec_ and the key in Base64",
            n + 1,
            path.display()
        )),
        None => Ok(()),
    }
}

fn keys<'a>(content: &'a [u8], path: &Path) -> Result<&'a str, String> {
    std::str::from_utf8(content).map_err(|_| {
        format!("{} is not UTF-8 text: write the keys into it as text", path.display())
    })
}

/// Minimal length of a key. RFC 2104, section 3, requires the length of the hash.
const SHORTEST_KEY: usize = 32;

/// Checks a file of keys for the event log, one a line.
pub(super) fn log_keys(path: &Path) -> Result<(), String> {
    let content = secret(path)?;
    let text = keys(&content, path)?;
    let mut lines =
        text.lines().map(str::trim).enumerate().filter(|(_, line)| !line.is_empty()).peekable();
    if lines.peek().is_none() {
        return Err(format!(
            "{} is empty: write a key into it (openssl rand -base64 48)",
            path.display()
        ));
    }
    match lines.find(|(_, line)| line.len() < SHORTEST_KEY) {
        Some((n, _)) => Err(format!(
            "the key on line {} of {} is shorter than {SHORTEST_KEY} characters: openssl rand -base64 48 makes one",
            n + 1,
            path.display()
        )),
        None => Ok(()),
    }
}

/// Checks a PEM file of CA certificates.
pub(super) fn certificates(path: &Path) -> Result<(), String> {
    let bad = |problem: String| format!("{} {problem}", path.display());
    trusted(path)?;
    let pem = fs::read(path).map_err(|e| unreadable(path, &e))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|e| bad(format!("is damaged: {e}")))?;
        roots
            .add(certificate)
            .map_err(|e| bad(format!("holds a certificate that cannot be used: {e}")))?;
    }
    if roots.is_empty() {
        return Err(bad("holds no certificate: write the CA's certificate into it in PEM form (-----BEGIN CERTIFICATE-----)".to_owned()));
    }
    Ok(())
}

fn secret(path: &Path) -> Result<Zeroizing<Vec<u8>>, String> {
    let content = ownership::read_secret(path).map_err(|error| match error {
        SecretFileError::OpenToAll => format!(
            "{} is open to all users of this machine: run chmod o= on it, and change the secret",
            path.display()
        ),
        SecretFileError::Unreadable(error) => unreadable(path, &error),
    })?;
    trusted(path).map(|()| content)
}

fn unreadable(path: &Path, error: &std::io::Error) -> String {
    format!("{} cannot be read ({error}): {}", path.display(), remedy(error))
}

/// Returns the remedy for a file that cannot be read.
pub(super) fn remedy(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::NotFound => "create it, or correct the path",
        std::io::ErrorKind::PermissionDenied => {
            "let the user or group that rosterd runs as read it"
        }
        _ => "see that it is a plain file of UTF-8 text",
    }
}
