//! Notes of operators on users.

use super::database::Store;
use super::error::{Doing as _, StoreError};
use super::recording::append;
use super::sql::Sql;
use crate::clock::Clock;
use crate::model::{Event, Note, UserId};

impl Store {
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
