//! The hooks and targets of the leader.
//!
//! The leader tells hooks and targets, so its subscriptions count, whichever node writes an event. The row of
//! each node has its own, for the time in which it leads.

use std::sync::{Arc, PoisonError};

use sqlx::AnyConnection;

use super::database::Store;
use super::error::{Doing as _, StoreError};
use super::rows::Columns;
use super::sql::Sql;
use super::subscription::{Follower, Follows, Subscription};

impl Store {
    /// Sets the hooks that get deliveries of all events from now on, while this rosterd leads.
    pub fn subscribe(&self, subscriptions: Vec<Subscription>) {
        let mut follows = self.follows.write().unwrap_or_else(PoisonError::into_inner);
        Arc::make_mut(&mut follows).hooks = subscriptions;
    }

    /// Sets the targets whose counterparts each event of a user makes due, while this rosterd leads.
    pub fn set_followers(&self, followers: Vec<Follower>) {
        let mut follows = self.follows.write().unwrap_or_else(PoisonError::into_inner);
        Arc::make_mut(&mut follows).targets = followers;
    }

    pub(super) fn follows(&self) -> Arc<Follows> {
        Arc::clone(&self.follows.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Returns the hooks and targets of the leader, or of the last one; `None` where no row has them.
pub(super) async fn of_leader(conn: &mut AnyConnection) -> Result<Option<Follows>, StoreError> {
    let sql = Sql::new("SELECT n.follows FROM leaders l JOIN nodes n ON n.node = l.node");
    let row = sql.first(conn).await.doing("read what the leader follows")?;
    let text: Option<String> = row.map(|row| Columns::of(&row).read()).transpose()?.flatten();
    Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
}
