//! Sign-in attempts: each is written before the password is sent, and counts until AD's answer says that it does not.

use std::time::Duration;

use uuid::Uuid;

use super::sql::{Columns, Sql};
use super::{Doing as _, Flavour, Store, StoreError, Writing};
use crate::model::{DirectoryName, Guid, Timestamp, UserId};

/// One attempt that is under way, and the user's refused attempts before it.
#[derive(Debug)]
pub struct SignInAttempt {
    id: Uuid,
    /// The refused attempts that were known when this one began, each with the server that refused it.
    refused: Vec<(Uuid, String)>,
}

/// The rules by which attempts are counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AttemptLimit {
    /// The attempts of one user that may count at the same time.
    pub at_most: u32,
    /// How long an attempt counts.
    pub window: Duration,
    /// The microseconds by which the clock was set since the last attempt: stored instants move with it.
    pub clock_step: i64,
}

impl Store {
    /// Counts one more attempt of a user, unless as many as allowed count already. Two that come at the same moment never both
    /// get the last one: the count and the new row are one transaction, and writers wait for each other.
    pub async fn begin_sign_in(
        &self,
        id: Uuid,
        user: UserId,
        now: Timestamp,
        limit: AttemptLimit,
    ) -> Result<Option<SignInAttempt>, StoreError> {
        let AttemptLimit { at_most, window, clock_step } = limit;
        let mut writing = self.begin().await?;
        lock_attempts(&mut writing, self.flavour).await?;
        if clock_step != 0 {
            let sql = Sql::new("UPDATE sign_in_attempts SET at = at + ").bind(clock_step);
            sql.execute(&mut *writing.tx).await.doing("move sign-in attempts with the clock")?;
        }
        // The clock was set back between two starts: an attempt of the future counts from now on.
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

    /// Notes that a server refused an attempt. It goes on counting, until that server accepts a later one.
    pub async fn refuse_sign_in(
        &self,
        attempt: &SignInAttempt,
        server: &str,
    ) -> Result<(), StoreError> {
        let mut writing = self.begin().await?;
        let sql = Sql::new("UPDATE sign_in_attempts SET server = ")
            .bind(server)
            .push(" WHERE id = ")
            .bind(attempt.id);
        sql.execute(&mut *writing.tx).await.doing("note a refused sign-in")?;
        writing.commit().await
    }

    /// Takes an attempt back: AD's answer says that it did not count.
    pub async fn take_back_sign_in(&self, attempt: &SignInAttempt) -> Result<(), StoreError> {
        self.remove_attempts(vec![attempt.id]).await
    }

    /// Takes an attempt back, and what the same server refused before it began: a bind that succeeds resets the server's count.
    /// Attempts without an answer go on counting, since the server may still come to them.
    pub async fn accept_sign_in(
        &self,
        attempt: &SignInAttempt,
        server: &str,
    ) -> Result<(), StoreError> {
        let same_server = attempt.refused.iter().filter(|(_, by)| by == server).map(|(id, _)| *id);
        self.remove_attempts(same_server.chain([attempt.id]).collect()).await
    }

    async fn remove_attempts(&self, ids: Vec<Uuid>) -> Result<(), StoreError> {
        let mut writing = self.begin().await?;
        let sql = Sql::new("DELETE FROM sign_in_attempts WHERE id IN ").list(ids);
        sql.execute(&mut *writing.tx).await.doing("take sign-in attempts back")?;
        writing.commit().await
    }

    /// When a person's account expires, as it was last read.
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

/// Keeps other processes that share the store from counting at the same moment. SQLite has one writer anyway.
#[cfg_attr(
    not(feature = "postgres"),
    expect(clippy::unused_async, reason = "only PostgreSQL is asked")
)]
async fn lock_attempts(writing: &mut Writing<'_>, flavour: Flavour) -> Result<(), StoreError> {
    match flavour {
        Flavour::Sqlite => {
            let _ = writing;
            Ok(())
        }
        #[cfg(feature = "postgres")]
        Flavour::Postgres => {
            let sql = Sql::new("LOCK TABLE sign_in_attempts IN SHARE ROW EXCLUSIVE MODE");
            sql.execute(&mut *writing.tx).await.doing("lock sign-in attempts").map(drop)
        }
    }
}
