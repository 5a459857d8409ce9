//! Sign-in attempts. Each is written before the bind, and counts until AD's answer clears it.

use std::collections::BTreeMap;
use std::time::Duration;

use uuid::Uuid;

use super::database::Store;
use super::error::{Doing as _, StoreError};
use super::rows::Columns;
use super::sql::Sql;
use crate::model::{DirectoryName, Guid, Timestamp, UserId};

/// The precision of the last sign-in. A finer one would write at each sign-in.
const SIGN_IN_PRECISION: Duration = Duration::from_hours(1);

/// An attempt under way, with the earlier refused attempts of the user.
#[derive(Debug)]
pub struct SignInAttempt {
    id: Uuid,
    /// Each with the server that refused it.
    refused: Vec<(Uuid, String)>,
}

/// The limit of sign-in attempts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AttemptLimit {
    /// The maximum of counting attempts of one user.
    pub at_most: u32,
    /// The time for which an attempt counts.
    pub window: Duration,
    /// The microseconds by which the clock was set since the last attempt. Stored instants move with
    /// it.
    pub clock_step: i64,
}

impl Store {
    /// Writes an attempt of a user. Returns `None` if the limit is reached.
    ///
    /// Count and insertion are one transaction, so two attempts never share the last place.
    pub async fn begin_sign_in(
        &self,
        id: Uuid,
        user: UserId,
        now: Timestamp,
        limit: AttemptLimit,
    ) -> Result<Option<SignInAttempt>, StoreError> {
        let AttemptLimit { at_most, window, clock_step } = limit;
        let mut writing = self.begin_anyone().await?;
        if clock_step != 0 {
            let sql = Sql::new("UPDATE sign_in_attempts SET at = at + ").bind(clock_step);
            sql.execute(&mut *writing.tx).await.doing("move sign-in attempts with the clock")?;
        }
        // An attempt in the future, from before the clock was set back, counts from now on.
        let sql =
            Sql::new("UPDATE sign_in_attempts SET at = ").bind(now).push(" WHERE at > ").bind(now);
        sql.execute(&mut *writing.tx).await.doing("clamp sign-in attempts")?;
        let sql = Sql::new("DELETE FROM sign_in_attempts WHERE at <= ").bind(now.minus(window));
        sql.execute(&mut *writing.tx).await.doing("remove old sign-in attempts")?;
        let sql = Sql::new("SELECT id, server FROM sign_in_attempts WHERE user_id = ").bind(user.0);
        let rows = sql.all(&mut *writing.tx).await.doing("count sign-in attempts")?;
        if rows.len() >= at_most as usize {
            writing.commit().await?;
            return Ok(None);
        }
        let mut refused = Vec::new();
        for row in &rows {
            let mut c = Columns::of(row);
            let (id, server) = (c.uuid()?, c.maybe_text()?);
            refused.extend(server.map(|server| (id, server)));
        }
        let sql = Sql::new("INSERT INTO sign_in_attempts (id, user_id, at) VALUES (")
            .bind(id)
            .push(", ")
            .bind(user.0)
            .push(", ")
            .bind(now);
        sql.push(")").execute(&mut *writing.tx).await.doing("count a sign-in attempt")?;
        writing.commit().await?;
        Ok(Some(SignInAttempt { id, refused }))
    }

    /// Marks an attempt as refused. It counts until the same server accepts a later one.
    pub async fn refuse_sign_in(
        &self,
        attempt: &SignInAttempt,
        server: &str,
    ) -> Result<(), StoreError> {
        let mut writing = self.begin_anyone().await?;
        let sql = Sql::new("UPDATE sign_in_attempts SET server = ")
            .bind(server)
            .push(" WHERE id = ")
            .bind(attempt.id);
        sql.execute(&mut *writing.tx).await.doing("note a refused sign-in")?;
        writing.commit().await
    }

    /// Deletes an attempt that did not count in AD.
    pub async fn take_back_sign_in(&self, attempt: &SignInAttempt) -> Result<(), StoreError> {
        self.remove_attempts(vec![attempt.id]).await
    }

    /// Deletes an accepted attempt, and the earlier ones that the same server refused.
    ///
    /// A successful bind resets the count of its server (badPwdCount). Attempts without an answer
    /// still count, because the server may process them later.
    pub async fn accept_sign_in(
        &self,
        attempt: &SignInAttempt,
        server: &str,
    ) -> Result<(), StoreError> {
        let same_server = attempt.refused.iter().filter(|(_, by)| by == server).map(|(id, _)| *id);
        self.remove_attempts(same_server.chain([attempt.id]).collect()).await
    }

    async fn remove_attempts(&self, ids: Vec<Uuid>) -> Result<(), StoreError> {
        let mut writing = self.begin_anyone().await?;
        let sql = Sql::new("DELETE FROM sign_in_attempts WHERE id IN ").list(ids);
        sql.execute(&mut *writing.tx).await.doing("take sign-in attempts back")?;
        writing.commit().await
    }

    /// Notes a sign-in of a user. A note within an hour of the last one writes nothing.
    pub async fn note_sign_in(&self, user: UserId, now: Timestamp) -> Result<(), StoreError> {
        let sql = Sql::new("SELECT 1 FROM last_sign_ins WHERE user_id = ").bind(user.0);
        let sql = sql.push(" AND at > ").bind(now.minus(SIGN_IN_PRECISION));
        if sql.first(&self.readers).await.doing("read the last sign-in")?.is_some() {
            return Ok(());
        }
        let mut writing = self.begin_anyone().await?;
        // The user may have been removed since.
        let sql = Sql::new("INSERT INTO last_sign_ins (user_id, at) SELECT id, ").bind(now);
        let sql = sql.push(" FROM users WHERE id = ").bind(user.0);
        sql.push(" ON CONFLICT (user_id) DO UPDATE SET at = excluded.at")
            .execute(&mut *writing.tx)
            .await
            .doing("note a sign-in")?;
        writing.commit().await
    }

    /// Returns the last sign-in of these users, to the hour.
    pub async fn last_sign_ins_of(
        &self,
        users: impl IntoIterator<Item = UserId>,
    ) -> Result<BTreeMap<UserId, Timestamp>, StoreError> {
        self.instants_of("SELECT user_id, at FROM last_sign_ins WHERE user_id IN ", users).await
    }

    /// Returns accountExpires of a person, as last read.
    pub async fn expiry(
        &self,
        directory: &DirectoryName,
        person: Guid,
    ) -> Result<Option<Timestamp>, StoreError> {
        let sql = Sql::new("SELECT expires FROM people WHERE directory = ")
            .bind(directory.as_str())
            .push(" AND guid = ")
            .bind(person);
        let row = sql.first(&self.readers).await.doing("read an expiry")?;
        row.map_or(Ok(None), |row| Columns::of(&row).maybe_time())
    }
}
