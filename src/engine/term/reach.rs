//! The reach of a node: the directories that it can read. A leader without reach makes room for a
//! node that has it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::engine::{Directory, Engine, Health};
use crate::model::{DirectoryName, Node, Sharing};
use crate::store::{Look, StoreError};

/// Checks in a row by which a leader finds that it can read no directory.
const CHECKS: u32 = 3;

/// The time within which leaders make room once because they can read nothing.
const HAND_OVER_INTERVAL: Duration = Duration::from_mins(15);

/// The outcome of the checks of this node.
#[derive(Debug, Default)]
pub(super) struct Reach {
    pub(super) is_known: bool,
    /// The directories whose last check failed: how often in a row, and why.
    pub(super) failed: BTreeMap<DirectoryName, (u32, String)>,
}

impl Engine {
    /// Notes the outcome of a check of a directory: the reason why it cannot be read.
    pub(in crate::engine) fn note_reach(&self, name: &DirectoryName, failed: Option<String>) {
        let mut reach = self.turn.reach();
        reach.is_known = true;
        let before = reach.failed.remove(name).map_or(0, |(count, _)| count);
        if let Some(why) = failed {
            reach.failed.insert(name.clone(), (before + 1, why));
        }
    }

    /// Returns whether the last check of a configured directory failed.
    pub(in crate::engine) fn cannot_read(&self) -> bool {
        let configured = self.configured();
        let reach = self.turn.reach();
        configured.directories.keys().any(|name| reach.failed.contains_key(name))
    }

    /// Returns whether runs and checks of all directories failed, the checks several times.
    fn reads_nothing(&self) -> bool {
        let configured = self.configured();
        let reach = self.turn.reach();
        let is_out = |(name, directory): (&DirectoryName, &Arc<Directory>)| {
            let checks = reach.failed.get(name).map_or(0, |(count, _)| *count);
            checks >= CHECKS && matches!(*directory.work.health.borrow(), Health::Failing(_))
        };
        !configured.directories.is_empty() && configured.directories.iter().all(is_out)
    }

    /// Asks for a node that can read the directories, if this one leads and can read none.
    pub(super) async fn make_room_for_a_reader(
        &self,
        cluster: &Sharing,
        look: &Look,
        nodes: &[Node],
    ) -> Result<(), StoreError> {
        let now = self.clock.now();
        let reads = |other: &&Node| {
            let is_there = now.since(other.heard) <= cluster.lease * 2;
            is_there && other.takeover && other.health.reads_all() && other.node != cluster.node
        };
        if self.leads()
            && look.wanted.is_none()
            && self.reads_nothing()
            && let Some(other) = nodes.iter().find(reads)
            && self.store.note_hand_over(now, HAND_OVER_INTERVAL).await?
        {
            let Node { node, .. } = other;
            tracing::warn!("this rosterd can read no directory, and {node} can: {node} is to lead");
            self.store.want_leader(look.leader.epoch, node).await?;
        }
        Ok(())
    }
}
