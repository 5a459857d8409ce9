//! Grace periods: absences that wait for a recheck.

use super::database::Store;
use super::error::{Doing as _, StoreError};
use super::rows::{Row as _, StoredRow as _, row};
use super::sql::{Sql, insert};
use crate::model::{DirectoryName, Guid};
use crate::reconcile::GracePeriod;

row! {
    stored GracePeriod {
        user: "user_id",
        cause: "cause",
        guid: "guid",
        first_seen: "first_seen",
        due: "due",
        cluster: "cluster",
        home: "home",
    }
}

impl Store {
    /// Returns the grace periods of a directory.
    pub async fn grace_periods(
        &self,
        directory: &DirectoryName,
    ) -> Result<Vec<GracePeriod>, StoreError> {
        let sql = Sql::select::<GracePeriod>()
            .push(" FROM grace_periods WHERE directory = ")
            .bind(directory.as_str())
            .push(" ORDER BY user_id");
        let rows = sql.all(&self.readers).await.doing("load grace periods")?;
        rows.iter().map(GracePeriod::of).collect()
    }

    /// Writes the grace periods of a run. Those of people outside `is_covered` stay.
    pub async fn save_grace_periods(
        &self,
        directory: &DirectoryName,
        periods: &[GracePeriod],
        is_covered: impl Fn(Guid) -> bool,
    ) -> Result<(), StoreError> {
        let stored = self.grace_periods(directory).await?;
        let gone: Vec<&GracePeriod> = stored
            .iter()
            .filter(|s| {
                is_covered(s.guid)
                    && !periods.iter().any(|c| (c.user, c.cause) == (s.user, s.cause))
            })
            .collect();
        let fresh: Vec<&GracePeriod> = periods.iter().filter(|c| !stored.contains(c)).collect();
        if gone.is_empty() && fresh.is_empty() {
            return Ok(());
        }
        let mut writing = self.begin().await?;
        for row in gone {
            let sql = Sql::new("DELETE FROM grace_periods WHERE directory = ")
                .bind(directory.as_str())
                .push(" AND user_id = ")
                .bind(row.user.0);
            sql.push(" AND cause = ")
                .bind(row.cause.as_str())
                .execute(&mut *writing.tx)
                .await
                .doing("end a grace period")?;
        }
        let rows = fresh.into_iter().map(|period| {
            let mut row = period.fields();
            row.push(("directory", directory.as_str().into()));
            row
        });
        let tail = "ON CONFLICT (directory, user_id, cause) DO UPDATE SET due = excluded.due, cluster = excluded.cluster, home = excluded.home";
        insert(&mut writing.tx, "grace_periods", tail, rows).await.doing("write grace periods")?;
        writing.commit().await
    }
}
