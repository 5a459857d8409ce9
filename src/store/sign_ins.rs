//! The sign-ins that AD refused.

use super::sql::{Columns, Sql};
use super::{Doing as _, Store, StoreError};
use crate::model::{DirectoryName, Guid, Timestamp, UserId};

impl Store {
    /// AD refused a sign-in.
    pub async fn refuse_sign_in(&self, user: UserId, at: Timestamp) -> Result<(), StoreError> {
        let mut writing = self.begin().await?;
        let sql = Sql::new("INSERT INTO refused_sign_ins (user_id, at) VALUES (").bind(user.0).push(", ").bind(at);
        sql.push(") ON CONFLICT (user_id, at) DO NOTHING").execute(&mut *writing.tx).await.doing("note a refused sign-in")?;
        writing.commit().await
    }

    /// The refused sign-ins since then; older ones are forgotten.
    pub async fn refused_sign_ins(&self, since: Timestamp) -> Result<Vec<(UserId, Timestamp)>, StoreError> {
        let mut writing = self.begin().await?;
        let sql = Sql::new("DELETE FROM refused_sign_ins WHERE at <= ").bind(since);
        sql.execute(&mut *writing.tx).await.doing("forget refused sign-ins")?;
        writing.commit().await?;
        let rows = Sql::new("SELECT user_id, at FROM refused_sign_ins").all(&self.readers).await.doing("read refused sign-ins")?;
        rows.iter()
            .map(|row| {
                let mut c = Columns::of(row);
                Ok((UserId(c.uuid()?), c.time()?))
            })
            .collect()
    }

    /// AD took a password: what it refused before counts no more.
    pub async fn forget_refusals(&self, user: UserId) -> Result<(), StoreError> {
        let mut writing = self.begin().await?;
        let sql = Sql::new("DELETE FROM refused_sign_ins WHERE user_id = ").bind(user.0);
        sql.execute(&mut *writing.tx).await.doing("forget refused sign-ins")?;
        writing.commit().await
    }

    /// When a person's account expires, as it was last read.
    pub async fn expiry(&self, directory: &DirectoryName, person: Guid) -> Result<Option<Timestamp>, StoreError> {
        let sql = Sql::new("SELECT expires FROM people WHERE directory = ").bind(directory.as_str()).push(" AND guid = ").bind(person);
        let row = sql.first(&self.readers).await.doing("read an expiry")?;
        row.map_or(Ok(None), |row| Columns::of(&row).maybe_time())
    }
}
