//! Whether the event log has a noted head.

use sqlx::AnyConnection;

use super::error::{Doing as _, StoreError};
use super::events::beginning;
use super::log_keys::LogHead;
use super::rows::Columns;
use super::sql::Sql;

/// Whether a log has a noted head.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Compared {
    Whole,
    /// The log ends before it, here.
    Behind(LogHead),
    /// Another entry has its number.
    Other,
    /// The numbers went on after it.
    Told,
}

/// Refuses to append to a log that lacks what was committed.
pub(super) async fn check(
    conn: &mut AnyConnection,
    noted: LogHead,
    last: LogHead,
) -> Result<(), StoreError> {
    // Others write as well, and a commit may have been done without an answer.
    if noted == last || noted.seq < last.seq && compare(conn, noted).await? == Compared::Whole {
        Ok(())
    } else {
        Err(StoreError::Rewound)
    }
}

pub(super) async fn compare(
    conn: &mut AnyConnection,
    noted: LogHead,
) -> Result<Compared, StoreError> {
    let sql = Sql::new("SELECT hash FROM events WHERE seq = ").bind(noted.seq);
    if let Some(row) = sql.first(&mut *conn).await.doing("read the event log")? {
        let is_same = Columns::of(&row).hash()? == noted.hash;
        return Ok(if is_same { Compared::Whole } else { Compared::Other });
    }
    let (begins, hash) = beginning(&mut *conn).await?;
    let begins = begins as u64;
    if noted.seq < begins {
        // Retention has deleted it, or the store of another time has been.
        return Ok(Compared::Whole);
    }
    if noted.seq == begins {
        let is_same = noted.hash == hash;
        return Ok(if is_same { Compared::Whole } else { Compared::Other });
    }
    match end(conn).await? {
        Some(end) if end.seq > noted.seq => Ok(Compared::Told),
        Some(end) => Ok(Compared::Behind(end)),
        None => Ok(Compared::Behind(LogHead { seq: begins, hash })),
    }
}

/// Returns the last entry of the log.
pub(super) async fn end(conn: &mut AnyConnection) -> Result<Option<LogHead>, StoreError> {
    let sql = Sql::new("SELECT seq, hash FROM events ORDER BY seq DESC LIMIT 1");
    let row = sql.first(conn).await.doing("read the event log")?;
    row.map(|row| {
        let mut c = Columns::of(&row);
        Ok(LogHead { seq: c.read()?, hash: c.hash()? })
    })
    .transpose()
}
