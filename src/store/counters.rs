//! Counters, which only grow, whatever the clocks say.

use super::database::{Commits, Right, Store};
use super::error::{Doing as _, StoreError};
use super::rows::Columns;
use super::sql::Sql;
use crate::model::ObservationNumber;

impl Store {
    /// Issues the next observation number.
    ///
    /// It is committed without waiting for the disk. Rows with the number are committed after it, so
    /// none has a number that a power cut has lost.
    pub async fn next_observation(&self) -> Result<ObservationNumber, StoreError> {
        // Each node numbers what it reads, for an explanation or a plan.
        let mut writing = self.begin_as(Right::Anyone, Commits::Lightly).await?;
        let sql = Sql::new(
            "INSERT INTO counters (name, value) VALUES ('observation', 1) ON CONFLICT (name) DO UPDATE SET value = counters.value + 1 RETURNING value",
        );
        let row = sql.first(&mut *writing.tx).await.doing("number an observation")?;
        let number = row
            .as_ref()
            .map_or(Err(StoreError::Corrupt { what: "counter" }), |row| Columns::of(row).int())?;
        writing.commit().await?;
        Ok(ObservationNumber(number as u64))
    }

    /// Returns the number that was issued last.
    pub async fn last_observation(&self) -> Result<ObservationNumber, StoreError> {
        let sql = Sql::new("SELECT value FROM counters WHERE name = 'observation'");
        let row = sql.first(&self.readers).await.doing("read the number of observations")?;
        let number = row.as_ref().map_or(Ok(0), |row| Columns::of(row).int())?;
        Ok(ObservationNumber(number as u64))
    }
}
