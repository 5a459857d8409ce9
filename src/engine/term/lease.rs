//! The lease: each node looks at it again and again, bids when it is free, and prolongs its own.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::engine::Engine;
use crate::engine::term::Term;
use crate::engine::term::cluster::twin;
use crate::model::{Leader, Sharing, Timestamp};
use crate::store::{Look, Schema, StoreError};
use crate::telemetry::chain;

/// The longest time between two looks at the lease.
const LOOK: Duration = Duration::from_millis(500);

/// The time for one look of a rosterd that does not lead.
const PATIENCE: Duration = Duration::from_secs(40);

/// The time in which a leader tells of lost commits. A node that misses commits waits for it.
const SETTLEMENT: Duration = Duration::from_secs(30);

/// The memory of the loop from look to look.
#[derive(Debug, Default)]
struct Watch {
    is_open: bool,
    /// The elapsed time at the last beat.
    beat_at: Option<Duration>,
    /// The elapsed time since which nobody leads.
    free_since: Option<Duration>,
    /// No bid before this elapsed time, because this process made room for another one.
    makes_room_until: Duration,
    /// The number of the last event that was seen.
    head: u64,
    /// Whether the configuration differs from that of the leader.
    has_drifted: bool,
    /// The elapsed time since which the store lacks commits.
    missed_since: Option<Duration>,
    /// The time in the row of this node, as this process wrote it.
    heard: Option<Timestamp>,
    /// The elapsed time at which another process had written that row.
    twin_at: Option<Duration>,
}

impl Engine {
    /// Watches the store and the lease until `until`, and leads when it is this rosterd's turn.
    /// `opened` is told when the store can be read; `terms` has the present term.
    pub async fn share_store(
        self: Arc<Self>,
        opened: Arc<tokio::sync::Notify>,
        terms: watch::Sender<Option<Term>>,
        until: CancellationToken,
    ) -> Result<(), StoreError> {
        let Some(cluster) = self.turn.cluster.clone() else { return Ok(()) };
        let mut watch = Watch::default();
        while !until.is_cancelled() {
            // Both hold after a time in which the process was frozen, too.
            if self.leads() && !self.is_trusted() {
                self.lose(&terms, "the store has not confirmed its lease");
            }
            let trusted = self.turn.trusted_for(self.clock.passed());
            let limit = if self.leads() { trusted } else { PATIENCE };
            let look = self.look_at_lease(&cluster, &mut watch, &opened, &terms);
            match tokio::time::timeout(limit, look).await {
                Ok(Ok(())) if self.store.lacks_commits() => self.await_settlement(&mut watch).await,
                Ok(Ok(())) => {
                    watch.missed_since = None;
                    if self.store.outage().is_some() {
                        tracing::info!("store answers");
                        self.store.note_outage(None);
                    }
                }
                Ok(Err(error)) if error.is_final() => return Err(error),
                Ok(Err(error)) => self.note_outage(&error),
                Err(_) => {
                    let silence = format!("no answer in {}ms", limit.as_millis());
                    self.note_outage(&StoreError::Unreachable(silence));
                    continue;
                }
            }
            tokio::select! {
                () = until.cancelled() => {}
                () = tokio::time::sleep(LOOK.min(cluster.beat())) => {}
            }
        }
        Ok(())
    }

    async fn look_at_lease(
        &self,
        cluster: &Sharing,
        watch: &mut Watch,
        opened: &tokio::sync::Notify,
        terms: &watch::Sender<Option<Term>>,
    ) -> Result<(), StoreError> {
        self.store.watch_server().await?;
        if !watch.is_open {
            self.store.prepare_shared().await?;
            watch.is_open = true;
        }
        let asked = self.clock.passed();
        let look = self.store.look().await?;
        let round_trip = self.clock.passed().saturating_sub(asked);
        self.clock.follow(look.now, round_trip + Duration::from_millis(100));
        match look.schema {
            Schema::Alone(step) => return Err(StoreError::Newer(step)),
            Schema::Current | Schema::Newer(_) => opened.notify_one(),
            // The tasks of each node begin with the term that brings it up to date.
            Schema::Older => {}
        }
        let is_behind = matches!(look.schema, Schema::Newer(_));
        let lacks_key = look.is_keyed && self.store.has_no_log_keys();
        let before = self.turn.unfitness();
        self.turn.is_behind.store(is_behind, Ordering::Relaxed);
        self.turn.lacks_key.store(lacks_key, Ordering::Relaxed);
        if let Some(told) = self.turn.unfitness().filter(|told| before != Some(told)) {
            tracing::warn!("{told}");
        }
        if std::mem::replace(&mut watch.head, look.head) < look.head {
            self.store.note_news();
        }
        // A former term of this node has ended, whatever its lease says.
        let is_former = look.leader.node == cluster.node && !self.leads();
        let leader = (!look.is_free && !is_former).then(|| look.leader.clone());
        self.turn.leader.send_if_modified(|was| {
            let is_new = *was != leader;
            if is_new && let Some(Leader { node, epoch, .. }) = &leader {
                tracing::info!("rosterd on {node} leads, term {epoch}");
            }
            was.clone_from(&leader);
            is_new
        });
        let is_beat =
            watch.beat_at.is_none_or(|at| self.clock.passed().saturating_sub(at) >= cluster.beat());
        if self.leads() {
            self.go_on_leading(cluster, watch, &look, is_beat, terms).await?;
        } else {
            self.wait_for_turn(cluster, watch, &look, terms).await?;
        }
        if is_beat {
            watch.beat_at = Some(asked);
            let node = self.own_node(cluster);
            let noted = self.store.note_node(&node).await?;
            if watch.heard.replace(noted.at).is_some_and(|own| noted.before > Some(own)) {
                watch.twin_at = Some(asked);
            }
            let has_twin = watch.twin_at.is_some_and(|at| asked.saturating_sub(at) < cluster.lease);
            if !self.turn.has_twin.swap(has_twin, Ordering::Relaxed) && has_twin {
                tracing::error!("{}", twin(&cluster.node));
            }
            if let Some(leader) = &leader {
                let nodes = self.store.nodes().await?;
                let theirs = nodes.iter().find(|other| other.node == leader.node);
                watch.has_drifted =
                    theirs.is_some_and(|theirs| theirs.configuration != node.configuration);
                self.make_room_for_a_reader(cluster, &look, &nodes).await?;
            }
        }
        match (look.schema, leader) {
            (Schema::Older, Some(leader)) if leader.node != cluster.node => {
                Err(StoreError::Standby(leader.node))
            }
            (Schema::Older, _) => Err(StoreError::Older),
            _ => Ok(()),
        }
    }

    /// Prolongs the lease, or makes room for another node.
    async fn go_on_leading(
        &self,
        cluster: &Sharing,
        watch: &mut Watch,
        look: &Look,
        is_beat: bool,
        terms: &watch::Sender<Option<Term>>,
    ) -> Result<(), StoreError> {
        if !look.is_own {
            self.lose(terms, &format!("{} does", look.leader.node));
            return Ok(());
        }
        let is_unwanted = look.wanted.as_ref().is_some_and(|wanted| *wanted != cluster.node);
        let is_unwanted = is_unwanted.then_some("an operator asked for that");
        let why = self.turn.unfitness().or(is_unwanted);
        if let Some(why) = why {
            tracing::info!("this rosterd makes room for another leader: {why}");
            watch.makes_room_until = self.clock.passed() + cluster.lease;
            self.turn.leads.store(false, Ordering::Release);
            self.renew_entries();
            terms.send_replace(None);
            self.store.resign().await;
        } else if is_beat && !self.prolong().await? {
            self.lose(terms, "its lease was taken");
        }
        Ok(())
    }

    /// Prolongs the lease, which is trusted from before the question. Returns whether this rosterd leads.
    async fn prolong(&self) -> Result<bool, StoreError> {
        let asked = self.clock.passed();
        let is_kept = self.store.prolong().await?;
        if is_kept {
            self.turn.prove(asked);
        }
        Ok(is_kept)
    }

    /// Bids for a lease that nobody has.
    async fn wait_for_turn(
        &self,
        cluster: &Sharing,
        watch: &mut Watch,
        look: &Look,
        terms: &watch::Sender<Option<Term>>,
    ) -> Result<(), StoreError> {
        let now = self.clock.passed();
        let may_lead = cluster.takeover && self.turn.unfitness().is_none();
        // A process that was killed has started again, and follows itself.
        let is_restart =
            look.is_own && self.store.has_former_lease() && may_lead && look.wanted.is_none();
        if !look.is_free && !is_restart {
            watch.free_since = None;
            // Another node has led since this one made room.
            watch.makes_room_until = Duration::ZERO;
            // A term that could not begin, or that of a killed process that is to lead no longer.
            if look.is_own {
                self.store.resign().await;
            }
            return Ok(());
        }
        let free_for = now.saturating_sub(*watch.free_since.get_or_insert(now));
        let is_first = match &look.wanted {
            Some(wanted) if !wanted.is_empty() => *wanted == cluster.node,
            _ => !watch.has_drifted && !self.cannot_read() && now >= watch.makes_room_until,
        };
        let is_turn = is_restart || is_first || free_for >= cluster.lease;
        if !may_lead || self.stop.is_cancelled() || !is_turn {
            return Ok(());
        }
        // The bid may have waited for a transaction of the former leader.
        if self.store.bid(&cluster.node).await? && self.prolong().await? {
            let term = self.begin_term(&look.leader);
            let Term { epoch, .. } = &term;
            tracing::info!("rosterd on {} leads now, term {epoch}", cluster.node);
            terms.send_replace(Some(term));
            watch.free_since = None;
        }
        Ok(())
    }

    /// Answers nobody while the store lacks commits: a lost suspension would let its user in. The
    /// leader tells of the loss at the beginning of its term. Another node puts the brakes on
    /// again that it knows of, when the loss was told, or if no leader misses anything.
    async fn await_settlement(&self, watch: &mut Watch) {
        self.store.note_outage(Some("the store lacks commits that were confirmed".to_owned()));
        let now = self.clock.passed();
        let missed_for = now.saturating_sub(*watch.missed_since.get_or_insert(now));
        let is_turn = missed_for >= SETTLEMENT || self.store.is_loss_told().await.unwrap_or(false);
        if !self.leads()
            && is_turn
            && let Err(error) = self.settle_lost_commits().await
        {
            tracing::error!("lost commits are not settled: {}", chain(&error));
        }
    }

    fn note_outage(&self, error: &StoreError) {
        let told = chain(error);
        if self.store.outage().as_ref() != Some(&told) {
            match error {
                StoreError::Standby(_) | StoreError::Older => tracing::info!("{told}"),
                _ => tracing::error!("{told}"),
            }
        }
        self.store.note_outage(Some(told));
    }

    fn lose(&self, terms: &watch::Sender<Option<Term>>, why: &str) {
        tracing::warn!("this rosterd leads no longer: {why}");
        self.end_term();
        terms.send_replace(None);
    }
}
