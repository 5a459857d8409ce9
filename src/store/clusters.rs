//! The users that clusters are measured by: those who belong to each now, and those taken out within the window.

use std::collections::{BTreeMap, BTreeSet};

use super::sql::{Columns, Sql};
use super::{Doing as _, Store, StoreError};
use crate::model::{DirectoryName, Guid, Timestamp, UserId};
use crate::reconcile::Cluster;

/// Appends a query for the ids of the active users who belong to the cluster now.
fn members(sql: Sql, directory: &DirectoryName, cluster: &str) -> Sql {
    let sql = sql.push("SELECT u.id FROM people p JOIN users u ON u.id = p.user_id WHERE u.status = 'active' AND p.directory = ");
    let sql = sql.bind(directory.as_str());
    match cluster.split_once(':') {
        Some(("ou", parent)) => sql.push(" AND p.parent_key = ").bind(parent),
        Some(("group", guid)) => sql.push(" AND p.entitled_by = ").bind(guid.parse::<Guid>().ok()),
        // A value of a filter's attribute may concern every user.
        _ => sql,
    }
}

/// Appends what selects the changes of the cluster that runs applied after `since`.
fn taken_out(sql: Sql, directory: &DirectoryName, cluster: &str, since: Timestamp) -> Sql {
    let sql = sql.push(" FROM changes c WHERE c.outcome = 'applied' AND c.directory = ").bind(directory.as_str());
    sql.push(" AND c.cluster = ").bind(cluster).push(" AND c.at > ").bind(since)
}

impl Store {
    /// Reads these clusters over the window that began at `since`.
    pub async fn clusters(
        &self,
        directory: &DirectoryName,
        clusters: &BTreeSet<String>,
        since: Timestamp,
    ) -> Result<BTreeMap<String, Cluster>, StoreError> {
        let mut found = BTreeMap::new();
        for cluster in clusters {
            let present = members(Sql::new("SELECT COUNT(*) FROM ("), directory, cluster).push(") AS present");
            let present = present.count(&self.readers).await.doing("count a cluster")?;
            let gone = taken_out(Sql::new("SELECT COUNT(DISTINCT c.user_id)"), directory, cluster, since);
            let gone = members(gone.push(" AND c.user_id NOT IN ("), directory, cluster).push(")");
            let gone = gone.count(&self.readers).await.doing("count a cluster")?;
            let left = taken_out(Sql::new("SELECT DISTINCT c.user_id"), directory, cluster, since).push(" AND c.approved = 0");
            let rows = left.all(&self.readers).await.doing("count a cluster")?;
            let left = rows.iter().map(|row| Ok(UserId(Columns::of(row).uuid()?))).collect::<Result<_, StoreError>>()?;
            found.insert(cluster.clone(), Cluster { belonged: present + gone, left });
        }
        Ok(found)
    }
}
