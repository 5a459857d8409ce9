//! The file that holds the password of the service account.

use secrecy::SecretString;
use zeroize::Zeroizing;

use super::{DirectoryError, Settings};
use crate::model::secret_line;

/// Reads the password file. A malformed file and one that other users can read are errors.
pub(super) fn read_password(settings: &Settings) -> Result<SecretString, DirectoryError> {
    use std::os::unix::fs::MetadataExt as _;
    let path = &settings.password_file;
    let bad = |problem: String, remedy| DirectoryError::Secret {
        path: path.display().to_string(),
        problem,
        remedy,
    };
    let unreadable = |e: std::io::Error| {
        bad(
            format!("cannot be read: {e}"),
            "write the password into it, and let rosterd's user read it",
        )
    };
    let meta = std::fs::metadata(path).map_err(unreadable)?;
    if meta.mode() & 0o007 != 0 {
        return Err(bad("can be read by every user".to_owned(), "run chmod 600 on it"));
    }
    let content = Zeroizing::new(std::fs::read(path).map_err(unreadable)?);
    let line = secret_line(&content).map_err(|fault| bad(fault.to_string(), fault.remedy()))?;
    Ok(SecretString::from(line.to_owned()))
}
