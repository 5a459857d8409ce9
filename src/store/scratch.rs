//! Stores that are thrown away: copies for previews, and empty ones for checks before the first start.

use std::fs::DirBuilder;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::database::Store;
use super::error::StoreError;

/// A store in a folder of its own, which is removed at the end.
#[derive(Debug)]
pub struct Scratch {
    pub store: Arc<Store>,
    folder: PathBuf,
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A folder that stays costs disk space, and only its user can read it.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Scratch {
    /// Returns an empty store.
    pub async fn empty() -> Result<Self, StoreError> {
        let folder = folder(&std::env::temp_dir())?;
        Self::open(folder).await
    }

    /// Returns an exact copy of a store. Its disk has to have room for it.
    pub async fn copy_of(store: &Store) -> Result<Self, StoreError> {
        let folder = folder_beside(store)?;
        let written = store.copy_to(&folder.join(DATABASE)).await;
        let copy = Self::open_written(folder, written).await?;
        copy.store.set_log_keys(store.log_keys());
        Ok(copy)
    }

    async fn open_written(
        folder: PathBuf,
        written: Result<(), StoreError>,
    ) -> Result<Self, StoreError> {
        if let Err(error) = written {
            let _ = std::fs::remove_dir_all(&folder);
            return Err(error);
        }
        Self::open(folder).await
    }

    async fn open(folder: PathBuf) -> Result<Self, StoreError> {
        let url = format!("sqlite://{}", folder.join(DATABASE).display());
        match Store::open(&url).await {
            Ok(store) => Ok(Self { store: Arc::new(store), folder }),
            Err(error) => {
                let _ = std::fs::remove_dir_all(&folder);
                Err(error)
            }
        }
    }
}

const DATABASE: &str = "rosterd.db";

/// Creates a folder beside the file of a store. A copy has the personal data of the store.
fn folder_beside(store: &Store) -> Result<PathBuf, StoreError> {
    let file = store.file().ok_or(StoreError::NoCopy)?;
    folder(file.parent().unwrap_or_else(|| Path::new(".")))
}

/// Creates a folder for this user alone. One that a killed process left stays as it is.
fn folder(parent: &Path) -> Result<PathBuf, StoreError> {
    let process = std::process::id();
    let mut number = 0;
    loop {
        let path = parent.join(format!(".rosterd-scratch-{process}-{number}"));
        match DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => number += 1,
            Err(source) => return Err(StoreError::Lock { path, source }),
        }
    }
}
