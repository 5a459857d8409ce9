//! The store as several rosterds share it: who leads, and what each of them says about itself.

use std::path::Path;
use std::sync::PoisonError;
use std::time::Duration;

use sqlx::AnyConnection;
use tokio::sync::MutexGuard;
use uuid::Uuid;

use super::database::Store;
use super::error::{Doing as _, StoreError};
use super::lease::{self, Fence, Look, Noted};
use super::own_lease::OwnLease;
use super::rows::{Row as _, row};
use super::schema::{self, Schema};
use super::sql::Sql;
use crate::model::{Node, Timestamp};

row! {
    Node {
        node: "node",
        version: "version",
        configuration: "configuration",
        takeover: "takeover",
        health: "health" as health,
        heard: "heard",
    }
}

/// The state of a node is JSON. An earlier version wrote its status line alone.
mod health {
    use crate::model::NodeHealth;
    use crate::store::StoreError;
    use crate::store::rows::Columns;

    pub(super) fn read(columns: &mut Columns<'_>) -> Result<NodeHealth, StoreError> {
        let text = columns.text()?;
        Ok(serde_json::from_str(&text).unwrap_or(NodeHealth { line: text, unreadable: None }))
    }
}

/// The connection of the lease, which is put back after an answer.
type Watching<'a> = (MutexGuard<'a, Option<AnyConnection>>, AnyConnection);

impl Store {
    async fn watching(&self) -> Result<Watching<'_>, StoreError> {
        let mut watching = self.watching.lock().await;
        match watching.take() {
            Some(conn) => Ok((watching, conn)),
            None => Err(StoreError::Unreachable("its connection was lost".to_owned())),
        }
    }

    /// Connects for the first time to a store that others share. Call it after
    /// [`Self::watch_server`]. A new store gets its schema, and an earlier one waits for the
    /// next term ([`Self::migrate`]).
    pub async fn prepare_shared(&self) -> Result<(), StoreError> {
        self.refuse_pooler().await?;
        let (mut watching, mut conn) = self.watching().await?;
        let found = schema::found(&mut conn).await.doing("read its schema")?;
        *watching = Some(conn);
        drop(watching);
        match found {
            None => self.migrate().await,
            Some(Schema::Alone(step)) => Err(StoreError::Newer(step)),
            Some(_) => Ok(()),
        }
    }

    /// Notes the holder of the lease in this folder. A former process that had the lease there, and is
    /// gone, has to be waited for no longer.
    pub fn note_lease_in(&self, folder: &Path) {
        if !self.is_remote() {
            return;
        }
        match OwnLease::open(folder) {
            Ok((own, former)) => {
                *self.own_lease.lock().unwrap_or_else(PoisonError::into_inner) = Some(own);
                if let Some(former) = former {
                    self.set_fence(Fence::Former(former));
                }
            }
            Err(error) => tracing::warn!(
                "lease is not noted in {}: {error}; rosterd waits for its own lease after a crash",
                folder.display()
            ),
        }
    }

    fn note_holder(&self, holder: Uuid) {
        let mut own = self.own_lease.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = own.as_mut()
            && let Err(error) = own.note(holder)
        {
            tracing::warn!("lease is not noted: {error}; rosterd waits for it after a crash");
        }
    }

    /// Refuses a server on which a rosterd leads. Call it after [`Self::watch_server`].
    pub(super) async fn refuse_leader(&self) -> Result<(), StoreError> {
        if !self.is_remote() {
            return Ok(());
        }
        let (mut watching, mut conn) = self.watching().await?;
        let leader = lease::leader(&mut conn).await.doing("read who leads")?;
        *watching = Some(conn);
        leader.map_or(Ok(()), |node| Err(StoreError::Standby(node)))
    }

    /// Looks at the lease. Call it after [`Self::watch_server`].
    pub async fn look(&self) -> Result<Look, StoreError> {
        let (mut watching, mut conn) = self.watching().await?;
        let look = lease::look(&mut conn, self.fence()).await.doing("read who leads")?;
        *watching = Some(conn);
        Ok(look)
    }

    /// Takes a lease that has run out. Returns whether this process leads now.
    pub async fn bid(&self, node: &str) -> Result<bool, StoreError> {
        let (mut watching, mut conn) = self.watching().await?;
        let holder = Uuid::new_v4();
        let taken = lease::take(&mut conn, holder, self.fence(), node, self.lease).await;
        let taken = taken.doing("take the lease")?;
        *watching = Some(conn);
        if taken {
            self.set_fence(Fence::Holder(holder));
            self.note_holder(holder);
        }
        Ok(taken)
    }

    /// Prolongs the lease of this process. Returns whether it still leads.
    pub async fn prolong(&self) -> Result<bool, StoreError> {
        let Fence::Holder(holder) = self.fence() else { return Ok(false) };
        let (mut watching, mut conn) = self.watching().await?;
        let kept = lease::prolong(&mut conn, holder, self.lease).await.doing("keep its lease")?;
        *watching = Some(conn);
        Ok(kept)
    }

    /// Writes nothing more as the leader.
    pub fn lose(&self) {
        if matches!(self.fence(), Fence::Holder(_)) {
            self.set_fence(Fence::Waiting);
        }
    }

    /// Returns whether this process follows a killed one of the same folder, whose lease it may take.
    pub fn has_former_lease(&self) -> bool {
        matches!(self.fence(), Fence::Former(_))
    }

    /// Lets another rosterd lead at once.
    pub async fn resign(&self) {
        let (Fence::Holder(holder) | Fence::Former(holder)) = self.fence() else { return };
        self.set_fence(Fence::Waiting);
        let released = async {
            let (mut watching, mut conn) = self.watching().await?;
            lease::release(&mut conn, holder).await.doing("end its lease")?;
            *watching = Some(conn);
            Ok::<_, StoreError>(())
        };
        if let Err(error) = released.await {
            tracing::warn!("lease runs out by itself: {error}");
        }
    }

    /// Asks the leader of a term to make room for a node, or for any other one if it is empty.
    pub async fn want_leader(&self, epoch: u64, node: &str) -> Result<(), StoreError> {
        let (mut watching, mut conn) = self.watching().await?;
        lease::want(&mut conn, epoch, node).await.doing("ask for another leader")?;
        *watching = Some(conn);
        Ok(())
    }

    /// Ends the lease of a term, whoever has it.
    pub async fn revoke_lease(&self, epoch: u64) -> Result<(), StoreError> {
        let (mut watching, mut conn) = self.watching().await?;
        lease::revoke(&mut conn, epoch).await.doing("end a lease")?;
        *watching = Some(conn);
        Ok(())
    }

    /// Writes what this rosterd says about itself.
    pub async fn note_node(&self, node: &Node) -> Result<Noted, StoreError> {
        let (mut watching, mut conn) = self.watching().await?;
        let noted =
            lease::note_node(&mut conn, node, &self.follows()).await.doing("write a node")?;
        *watching = Some(conn);
        Ok(noted)
    }

    /// Deletes what a rosterd has said about itself.
    pub async fn forget_node(&self, node: &str) -> Result<(), StoreError> {
        let (mut watching, mut conn) = self.watching().await?;
        lease::forget_node(&mut conn, node).await.doing("forget a node")?;
        *watching = Some(conn);
        Ok(())
    }

    /// Notes that the leader makes room for another node because it can read nothing. Returns false if a
    /// leader did so within `interval`.
    pub async fn note_hand_over(
        &self,
        now: Timestamp,
        interval: Duration,
    ) -> Result<bool, StoreError> {
        let mut writing = self.begin().await?;
        let sql = Sql::new("INSERT INTO counters (name, value) VALUES ('handed over', ").bind(now);
        let sql = sql.push(
            ") ON CONFLICT (name) DO UPDATE SET value = excluded.value WHERE counters.value < ",
        );
        let sql = sql.bind(now.minus(interval));
        let noted = sql.execute(&mut *writing.tx).await.doing("note a hand-over")?;
        writing.commit().await?;
        Ok(noted == 1)
    }

    /// Returns the rosterds on this store, by name.
    pub async fn nodes(&self) -> Result<Vec<Node>, StoreError> {
        let sql = Sql::select::<Node>().push(" FROM nodes ORDER BY node");
        let rows = sql.all(&self.readers).await.doing("read the nodes")?;
        rows.iter().map(Node::of).collect()
    }

    /// Wakes the tasks that wait for events, because another rosterd has written some.
    pub fn note_news(&self) {
        self.news.send_modify(|count| *count += 1);
    }
}
