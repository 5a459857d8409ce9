//! Clusters: the users who belong to each now, and those that runs took out within the window.

use std::collections::{BTreeMap, BTreeSet};

use super::database::Store;
use super::error::{Doing as _, StoreError};
use super::rows::Columns;
use super::sql::{Sql, pieces};
use crate::model::{AccountId, DirectoryName, Guid, Timestamp, UserId};
use crate::reconcile::{AppliedAtHome, Cluster, ClusterMembers, ClusterUsers, HomeCounts};

/// The directories whose part of a cluster is counted.
#[derive(Clone, Copy)]
enum Of<'a> {
    This(&'a DirectoryName),
    /// All other directories of the account, removed ones included.
    Others(&'a DirectoryName, AccountId),
}

/// Appends the query for the active users who belong to the cluster now.
fn members(sql: Sql, of: Of<'_>, cluster: &str) -> Sql {
    let sql = sql.push("SELECT u.id FROM people p JOIN users u ON u.id = p.user_id WHERE u.status = 'active' AND p.directory ");
    let sql = match of {
        Of::This(directory) => sql.push("= ").bind(directory.as_str()),
        Of::Others(directory, account) => {
            sql.push("<> ").bind(directory.as_str()).push(" AND u.account_id = ").bind(account.0)
        }
    };
    match cluster.split_once(':') {
        Some(("ou", parent)) => sql.push(" AND p.parent_key = ").bind(parent),
        Some(("group", guid)) => sql.push(" AND p.entitled_by = ").bind(guid.parse::<Guid>().ok()),
        // A value of a filter attribute may concern every user.
        _ => sql,
    }
}

/// Appends the condition for changes of the cluster that runs applied after `since`.
fn taken_out(sql: Sql, of: Of<'_>, cluster: &str, since: Timestamp) -> Sql {
    let sql = sql.push(" FROM changes c WHERE c.outcome = 'applied' AND c.directory ");
    let sql = match of {
        Of::This(directory) => sql.push("= ").bind(directory.as_str()),
        Of::Others(directory, account) => {
            let sql = sql
                .push("IN (SELECT name FROM directories WHERE name <> ")
                .bind(directory.as_str());
            sql.push(") AND c.user_id IN (SELECT id FROM users WHERE account_id = ")
                .bind(account.0)
                .push(")")
        }
    };
    sql.push(" AND c.cluster = ").bind(cluster).push(" AND c.at > ").bind(since)
}

/// Appends the query for changes that made this user a member of the cluster after `since`.
///
/// A change of tier moves a user between groups. A downgrade names the group that was lost.
fn came_in(sql: Sql, user: &'static str, cluster: &str, since: Timestamp) -> Sql {
    let sql = sql.push("SELECT 1 FROM changes j WHERE j.user_id = ").push(user);
    let sql = sql.push(" AND j.at > ").bind(since).push(" AND j.outcome = 'applied'");
    if !cluster.starts_with("group:") {
        return sql.push(" AND j.class IN ('create', 'reactivate')");
    }
    let sql = sql.push(" AND (j.class IN ('create', 'upgrade', 'reactivate')");
    sql.push(" OR j.class = 'downgrade' AND j.cluster <> ").bind(cluster).push(")")
}

impl Store {
    /// Reads clusters of a directory over the window that began at `since`.
    pub async fn clusters(
        &self,
        directory: &DirectoryName,
        account: AccountId,
        clusters: &BTreeSet<String>,
        since: Timestamp,
    ) -> Result<BTreeMap<String, Cluster>, StoreError> {
        let mut found = BTreeMap::new();
        for cluster in clusters {
            let here = self.cluster(Of::This(directory), cluster, since).await?;
            // Filters of two directories are two causes. Groups and OUs are the same everywhere.
            let elsewhere = if cluster.starts_with("attribute:") {
                ClusterMembers::default()
            } else {
                self.cluster(Of::Others(directory, account), cluster, since).await?
            };
            found.insert(cluster.clone(), Cluster { here, elsewhere });
        }
        Ok(found)
    }

    /// Returns those of the users of each cluster who came to it after `since`.
    pub async fn newcomers(
        &self,
        clusters: &ClusterUsers,
        since: Timestamp,
    ) -> Result<ClusterUsers, StoreError> {
        let mut newcomers = ClusterUsers::new();
        for (cluster, users) in clusters {
            let came: &mut BTreeSet<UserId> = newcomers.entry(cluster.clone()).or_default();
            for piece in pieces(users.iter().map(|user| user.0)) {
                let sql = Sql::new("SELECT u.id FROM users u WHERE u.id IN ").list(piece);
                let sql = came_in(sql.push(" AND EXISTS ("), "u.id", cluster, since).push(")");
                for row in sql.all(&self.readers).await.doing("find newcomers")? {
                    came.insert(UserId(Columns::of(&row).uuid()?));
                }
            }
        }
        Ok(newcomers)
    }

    /// Reads the active users of a directory by home, and the changes by home that runs applied after
    /// `since`.
    pub async fn homes(
        &self,
        directory: &DirectoryName,
        since: Timestamp,
    ) -> Result<HomeCounts, StoreError> {
        let active = Sql::new(
            "SELECT p.parent_key, COUNT(*) FROM people p JOIN users u ON u.id = p.user_id WHERE u.status = 'active' AND p.directory = ",
        );
        let active = active.bind(directory.as_str()).push(" GROUP BY p.parent_key");
        let applied = Sql::new(
            "SELECT home, class, approved, COUNT(*) FROM changes WHERE outcome = 'applied' AND class IS NOT NULL AND home IS NOT NULL AND directory = ",
        );
        let applied = applied.bind(directory.as_str()).push(" AND at > ").bind(since);
        let applied = applied.push(" GROUP BY home, class, approved");
        let mut homes = HomeCounts::default();
        for row in active.all(&self.readers).await.doing("count users by OU")? {
            let mut c = Columns::of(&row);
            homes.active.insert(c.read()?, c.int()? as u64);
        }
        for row in applied.all(&self.readers).await.doing("count changes by OU")? {
            let mut c = Columns::of(&row);
            let (home, class) = (c.read()?, c.read()?);
            let approved = c.int()? != 0;
            homes.applied.push(AppliedAtHome { home, class, approved, count: c.int()? as u64 });
        }
        Ok(homes)
    }

    /// Counts the users of a cluster, and reads those that runs took out without an approval.
    async fn cluster(
        &self,
        of: Of<'_>,
        cluster: &str,
        since: Timestamp,
    ) -> Result<ClusterMembers, StoreError> {
        let present = members(Sql::new("SELECT COUNT(*) FROM ("), of, cluster).push(") AS present");
        let present = present.count(&self.readers).await.doing("count a cluster")?;
        let whole = members(Sql::new("SELECT COUNT(*) FROM ("), of, cluster);
        let whole = taken_out(whole.push(" UNION SELECT c.user_id"), of, cluster, since);
        let former =
            came_in(whole.push(") AS whole WHERE NOT EXISTS ("), "whole.id", cluster, since);
        let former = former.push(")").count(&self.readers).await.doing("count a cluster")?;
        let left = taken_out(Sql::new("SELECT DISTINCT c.user_id"), of, cluster, since)
            .push(" AND c.approved = 0");
        let rows = left.all(&self.readers).await.doing("count a cluster")?;
        let left = rows
            .iter()
            .map(|row| Ok(UserId(Columns::of(row).uuid()?)))
            .collect::<Result<_, StoreError>>()?;
        Ok(ClusterMembers { former, present, left })
    }
}
