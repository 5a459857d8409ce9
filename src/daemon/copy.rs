//! `rosterd store copy`: the move of a store to another database.

use std::path::PathBuf;

use super::{DaemonError, read_keys};
use crate::model::{DatabaseServer, StoreAt};
use crate::store::{Copied, copy};

/// The files that a store on a server, or its event log, may need.
#[derive(Debug, Clone, Default)]
pub struct StoreFiles {
    pub password: Option<PathBuf>,
    pub ca: Option<PathBuf>,
    pub log_keys: Option<PathBuf>,
}

/// Copies a store to an empty one. `told` gets the rows of a table so far.
pub async fn copy_store(
    from: StoreAt,
    to: StoreAt,
    files: &StoreFiles,
    told: impl FnMut(&str, u64),
) -> Result<Copied, DaemonError> {
    let keys = read_keys(files.log_keys.as_deref())?;
    let with_files = |at| match at {
        StoreAt::Server(server) => StoreAt::Server(DatabaseServer {
            password_file: files.password.clone(),
            ca_file: files.ca.clone(),
            ..server
        }),
        file @ StoreAt::File(_) => file,
    };
    Ok(copy(&with_files(from), &with_files(to), keys, told).await.map_err(Box::new)?)
}
