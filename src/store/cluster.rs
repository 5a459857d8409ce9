//! The store as several rosterds share it: who leads, and what each of them says about itself.

use sqlx::AnyConnection;
use tokio::sync::MutexGuard;
use uuid::Uuid;

use super::database::Store;
use super::error::{Doing as _, StoreError};
use super::lease::{self, Fence, Look};
use super::rows::{Row as _, row};
use super::sql::Sql;
use crate::model::Node;

row! {
    Node {
        node: "node",
        version: "version",
        configuration: "configuration",
        takeover: "takeover",
        health: "health",
        heard: "heard",
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

    /// Connects for the first time to a store that others share. Its schema is brought up to date
    /// only while nobody leads.
    pub async fn prepare_shared(&self) -> Result<(), StoreError> {
        if !super::schema::is_current(&self.readers).await.doing("read its schema")? {
            self.refuse_leader().await?;
        }
        self.prepare().await
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
        let taken = lease::take(&mut conn, holder, node, self.lease).await;
        let taken = taken.doing("take the lease")?;
        *watching = Some(conn);
        if taken {
            self.set_fence(Fence::Holder(holder));
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

    /// Lets another rosterd lead at once.
    pub async fn resign(&self) {
        let Fence::Holder(holder) = self.fence() else { return };
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
    pub async fn note_node(&self, node: &Node) -> Result<(), StoreError> {
        let (mut watching, mut conn) = self.watching().await?;
        lease::note_node(&mut conn, node).await.doing("write a node")?;
        *watching = Some(conn);
        Ok(())
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
