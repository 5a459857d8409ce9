//! The ownership that a program needs to be run, and its digest.

use std::fmt::Write as _;
use std::fs::Metadata;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use nix::unistd::geteuid;
use sha2::Digest as _;

use crate::model::Program;

impl Program {
    /// Returns a hash of path and arguments, which the daemon and the hook runner compare.
    pub(super) fn digest(&self) -> String {
        let Self { path, arguments, part: _ } = self;
        let line = serde_json::json!([path.display().to_string(), arguments]).to_string();
        let mut text = String::new();
        for byte in sha2::Sha256::digest(line.as_bytes()) {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
        text
    }

    /// Returns the reason why this program must not be run.
    ///
    /// Only root and the user of this process may be able to change or replace it.
    pub fn refusal(&self) -> Option<String> {
        let path = &self.path;
        if !path.is_absolute() {
            return Some(format!("{} is not an absolute path", path.display()));
        }
        let real = match std::fs::canonicalize(path) {
            Ok(real) => real,
            Err(error) => return Some(format!("{} cannot be run: {error}", path.display())),
        };
        // The folders of a symbolic link count, too, because replacing the link chooses the
        // program.
        let above_the_link = path.ancestors().skip(1).map(|folder| (1, folder));
        for (at, each) in real.ancestors().enumerate().chain(above_the_link) {
            match std::fs::metadata(each) {
                Ok(metadata) => {
                    if let Some(reason) = changeable(&metadata, at > 0) {
                        return Some(format!(
                            "{} must not be run: {} {reason}",
                            path.display(),
                            each.display()
                        ));
                    }
                }
                Err(error) => return Some(format!("{} cannot be run: {error}", path.display())),
            }
        }
        None
    }
}

/// Returns how another user could change a file or folder.
fn changeable(metadata: &Metadata, is_above: bool) -> Option<String> {
    let mode = metadata.permissions().mode();
    let owner = metadata.uid();
    if owner != 0 && owner != geteuid().as_raw() {
        return Some(format!(
            "belongs to uid {owner}, not to root or the user that hooks run as: chown it"
        ));
    }
    // In a folder with the sticky bit, a user can only replace files of their own.
    let is_sticky = is_above && mode & 0o1000 != 0;
    if mode & 0o022 != 0 && !is_sticky {
        return Some("can be written by others: run chmod go-w on it".to_owned());
    }
    if !is_above && !metadata.is_file() {
        return Some("is not a file".to_owned());
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes a script that only its owner can change.
    fn script(text: &str) -> (tempfile::TempDir, Program) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hook");
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        (folder, Program { path, arguments: Vec::new(), part: None })
    }

    #[test]
    fn a_program_that_another_user_could_change_is_not_run() {
        let (folder, program) = script("exit 0");
        let other = |path: &str| Program { path: path.into(), arguments: Vec::new(), part: None };
        assert_eq!(program.refusal(), None);
        let missing = other("/no/such/program").refusal().unwrap();
        assert!(missing.contains("No such file"), "{missing}");
        assert!(other("bin/true").refusal().unwrap().contains("absolute"));
        let path = |mode| {
            std::fs::set_permissions(&program.path, std::fs::Permissions::from_mode(mode)).unwrap();
            program.refusal().unwrap_or_default()
        };
        assert!(
            path(0o775).contains("can be written by others") && path(0o757).contains("chmod go-w")
        );
        assert_eq!(path(0o755), "");
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        assert!(
            program.refusal().unwrap().contains("can be written by others"),
            "the program could be replaced"
        );
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        assert!(
            other(folder.path().to_str().unwrap()).refusal().unwrap().contains("is not a file")
        );
        let open = tempfile::tempdir().unwrap();
        let link = open.path().join("link");
        std::os::unix::fs::symlink(&program.path, &link).unwrap();
        let linked = Program { path: link, arguments: Vec::new(), part: None };
        assert_eq!(linked.refusal(), None);
        std::fs::set_permissions(open.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        assert!(
            linked.refusal().unwrap().contains("can be written by others"),
            "the link could be replaced"
        );
        if geteuid().is_root() {
            nix::unistd::chown(&program.path, Some(nix::unistd::Uid::from_raw(12_345)), None)
                .unwrap();
            assert!(program.refusal().unwrap().contains("belongs to uid 12345"));
        }
    }
}
