//! The groups of a target, and the members that rosterd added.

use super::database::Store;
use super::error::{Doing as _, StoreError};
use super::rows::Columns;
use super::sql::{Sql, insert};
use crate::model::{AccountId, RemoteId, TargetGroup, TargetName, UserId};

/// A user with the id of its account at a target.
pub type Member = (UserId, RemoteId);

fn members(rows: &[sqlx::any::AnyRow]) -> Result<Vec<Member>, StoreError> {
    rows.iter()
        .map(|row| {
            let mut c = Columns::of(row);
            Ok((c.read()?, RemoteId(c.text()?)))
        })
        .collect()
}

impl Store {
    /// Returns the id of a group that rosterd created or was told to use.
    pub async fn target_group(
        &self,
        target: &TargetName,
        name: &str,
    ) -> Result<Option<RemoteId>, StoreError> {
        let sql = Sql::new("SELECT remote_id FROM target_groups WHERE target = ")
            .bind(target.as_str())
            .push(" AND name = ")
            .bind(name);
        let row = sql.first(&self.readers).await.doing("read a group")?;
        row.map(|row| Ok(RemoteId(Columns::of(&row).text()?))).transpose()
    }

    pub async fn save_target_group(
        &self,
        target: &TargetName,
        name: &str,
        id: &RemoteId,
    ) -> Result<(), StoreError> {
        let mut writing = self.begin().await?;
        let row = vec![
            ("target", target.as_str().into()),
            ("name", name.into()),
            ("remote_id", id.0.as_str().into()),
        ];
        let tail = "ON CONFLICT (target, name) DO UPDATE SET remote_id = excluded.remote_id";
        insert(&mut writing.tx, "target_groups", tail, [row]).await.doing("write a group")?;
        writing.commit().await
    }

    /// Returns active users of the tier of a group whom rosterd has not added to it.
    pub async fn joining_members(
        &self,
        target: &TargetName,
        group: &TargetGroup,
        account: AccountId,
        limit: u64,
    ) -> Result<Vec<Member>, StoreError> {
        let sql = Sql::new(
            "SELECT c.user_id, c.remote_id FROM counterparts c JOIN users u ON u.id = c.user_id \
             WHERE c.state = 'linked' AND c.remote_id IS NOT NULL AND u.status = 'active' AND c.target = ",
        );
        let sql = sql.bind(target.as_str()).push(" AND u.tier = ").bind(group.tier.as_str());
        let sql = sql.push(" AND u.account_id = ").bind(account.0);
        let sql = sql.push(
            " AND NOT EXISTS (SELECT 1 FROM target_members m WHERE m.target = c.target AND m.user_id = c.user_id \
             AND m.remote_id = c.remote_id AND m.group_name = ",
        );
        let sql = sql.bind(group.name.as_str()).push(") ORDER BY c.user_id LIMIT ").bind(limit);
        members(&sql.all(&self.readers).await.doing("read joining members")?)
    }

    /// Returns members that rosterd added and whose users are active in another tier. A suspended
    /// user stays a member, so that its return gives the group back.
    pub async fn leaving_members(
        &self,
        target: &TargetName,
        group: &TargetGroup,
        limit: u64,
    ) -> Result<Vec<Member>, StoreError> {
        let sql = Sql::new(
            "SELECT m.user_id, m.remote_id FROM target_members m JOIN users u ON u.id = m.user_id \
             JOIN counterparts c ON c.target = m.target AND c.user_id = m.user_id AND c.remote_id = m.remote_id \
             WHERE u.status = 'active' AND m.target = ",
        );
        let sql = sql.bind(target.as_str()).push(" AND m.group_name = ").bind(group.name.as_str());
        let sql = sql.push(" AND u.tier <> ").bind(group.tier.as_str());
        let sql = sql.push(" ORDER BY m.user_id LIMIT ").bind(limit);
        members(&sql.all(&self.readers).await.doing("read leaving members")?)
    }

    /// Notes members that the target has taken.
    pub async fn add_members(
        &self,
        target: &TargetName,
        group: &str,
        added: &[Member],
    ) -> Result<(), StoreError> {
        let mut writing = self.begin().await?;
        let rows = added.iter().map(|(user, id)| {
            vec![
                ("target", target.as_str().into()),
                ("group_name", group.into()),
                ("user_id", user.0.into()),
                ("remote_id", id.0.as_str().into()),
            ]
        });
        let tail = "ON CONFLICT (target, group_name, user_id) DO UPDATE SET remote_id = excluded.remote_id";
        insert(&mut writing.tx, "target_members", tail, rows).await.doing("write members")?;
        writing.commit().await
    }

    /// Forgets members that the target has removed.
    pub async fn remove_members(
        &self,
        target: &TargetName,
        group: &str,
        removed: &[Member],
    ) -> Result<(), StoreError> {
        let mut writing = self.begin().await?;
        let sql = Sql::new("DELETE FROM target_members WHERE target = ")
            .bind(target.as_str())
            .push(" AND group_name = ")
            .bind(group)
            .push(" AND user_id IN ")
            .list(removed.iter().map(|(user, _)| user.0));
        sql.execute(&mut *writing.tx).await.doing("forget members")?;
        writing.commit().await
    }
}
