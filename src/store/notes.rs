//! Notes of operators on users.

use std::collections::BTreeMap;

use super::database::Store;
use super::error::{Doing as _, StoreError};
use super::recording::append;
use super::rows::Columns;
use super::sql::Sql;
use crate::clock::Clock;
use crate::model::{Event, Note, UserId};

impl Store {
    /// Returns the texts of all notes, by user.
    pub(super) async fn notes(&self) -> Result<BTreeMap<UserId, String>, StoreError> {
        let sql = Sql::new("SELECT id, note FROM users WHERE note IS NOT NULL");
        let rows = sql.all(&self.readers).await.doing("read notes")?;
        let note = |row| {
            let mut columns = Columns::of(row);
            Ok((columns.read()?, columns.read()?))
        };
        rows.iter().map(note).collect()
    }

    /// Writes or clears the note of a user, with its event.
    ///
    /// The version of the user stays, because no planned change depends on a note. So held changes
    /// and approvals stay valid.
    pub async fn set_note(
        &self,
        user: UserId,
        note: Option<&Note>,
        event: Event,
        clock: &Clock,
    ) -> Result<(), StoreError> {
        let mut writing = self.begin().await?;
        let sql = Sql::new("UPDATE users SET note = ")
            .bind(note.map(|note| note.text.as_str()))
            .push(", noted_by = ")
            .bind(note.map(|note| note.actor.0.as_str()))
            .push(", noted_at = ")
            .bind(note.map(|note| note.at));
        let sql = sql.push(" WHERE id = ").bind(user.0);
        sql.execute(&mut *writing.tx).await.doing("write a note")?;
        append(&mut writing, &[event], clock).await?;
        writing.commit().await
    }
}
