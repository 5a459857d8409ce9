//! Numbers that only grow, whatever the clocks say.

use super::sql::{Columns, Sql};
use super::{Commits, Doing as _, Store, StoreError};
use crate::model::ObservationNumber;

impl Store {
    /// Hands out the next observation's number.
    ///
    /// It is committed lightly: whatever is written with the number is committed after it, and a number that a power cut
    /// took back was seen by no user.
    pub async fn next_observation(&self) -> Result<ObservationNumber, StoreError> {
        let mut writing = self.begin_to(Commits::Lightly).await?;
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
}
