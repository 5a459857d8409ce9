//! Backups. The copy is sent over the socket, because the daemon may write only beside its store.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use axum::body::Body;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use tokio_util::io::ReaderStream;

use super::request::Shared;
use crate::control::operation::{Content, OCTET_STREAM, Operation, REFUSED, act};
use crate::control::problem::Refusal;
use crate::store::StoreError;

pub(in crate::control) fn operations() -> Vec<Operation> {
    vec![
        act("store.backed_up", "/backup", backup, "Copy the store consistently")
            .answer(StatusCode::OK, "The copy of the store", Content::File)
            .fails(&[REFUSED]),
    ]
}

async fn backup(State(control): Shared) -> Result<Response, Refusal> {
    let file = control.engine.store.file().ok_or(StoreError::NoBackup)?;
    let copy = Copy::beside(file, control.engine.clock.new_id())?;
    control.engine.store.backup(&copy.file()).await?;
    let opened = tokio::fs::File::open(copy.file()).await.map_err(|e| unreadable(&e))?;
    let length = opened.metadata().await.map_err(|e| unreadable(&e))?.len();
    // Removes the file now. The open descriptor can still be read to its end.
    drop(copy);
    let headers = [
        (header::CONTENT_TYPE, OCTET_STREAM.to_owned()),
        (header::CONTENT_LENGTH, length.to_string()),
    ];
    Ok((headers, Body::from_stream(ReaderStream::with_capacity(opened, 64 * 1024))).into_response())
}

fn unreadable(error: &std::io::Error) -> Refusal {
    Refusal::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        format!("backup cannot read the copy of the store: {error}"),
    )
}

/// A folder beside the store that only this user can enter. It is removed when dropped.
struct Copy(PathBuf);

impl Copy {
    fn beside(store: &Path, name: uuid::Uuid) -> Result<Self, Refusal> {
        let folder = store.with_extension(format!("backup-{}", name.simple()));
        let made = DirBuilder::new().mode(0o700).create(&folder);
        made.map_err(|e| {
            Refusal::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                format!("backup cannot create a folder beside the store: {e}"),
            )
        })?;
        Ok(Self(folder))
    }

    fn file(&self) -> PathBuf {
        self.0.join("copy.db")
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(
                "backup cannot remove its folder {}: {error}; remove it",
                self.0.display()
            );
        }
    }
}
