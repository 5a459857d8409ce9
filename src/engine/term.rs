//! The term: leading a store that several rosterds share begins and ends here.
//!
//! The triggers of directories, deliveries, targets and the periodic tasks of the leader hang on the
//! token of its term. The end of the term cancels the token, and renews everything that
//! these tasks had in memory. A store in a file has one term, from the start of the daemon to its end.
//!
//! A leader trusts its lease by its own monotonic clock, and gives it up before another one can
//! have it. The fence in the store is the guarantee.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use serde_json::json;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::engine::{Engine, EngineError};
use crate::model::{Actor, Event, EventCause, Leader, Node, Sharing};
use crate::store::{Look, StoreError};
use crate::telemetry::chain;

/// The longest time between two looks at the lease.
const LOOK: Duration = Duration::from_millis(500);

/// The time for one look of a rosterd that does not lead.
const PATIENCE: Duration = Duration::from_secs(40);

/// The time in which a leader tells of lost commits. A node that misses commits waits for it.
const SETTLEMENT: Duration = Duration::from_secs(30);

/// A term of this rosterd.
#[derive(Clone, Debug)]
pub struct Term {
    /// Cancelled at the end of the term.
    pub token: CancellationToken,
    /// The number of the term; 0 where the store has one rosterd.
    pub epoch: u64,
    /// The former leader.
    pub before: String,
}

/// The part of this process in leading.
#[derive(Debug)]
pub(in crate::engine) struct Turn {
    /// `None` where the store is a file.
    cluster: Option<Sharing>,
    /// The token of the present term, or of the time between two.
    token: RwLock<CancellationToken>,
    leads: AtomicBool,
    /// Microseconds of elapsed time at the last proof that this process leads.
    proven: AtomicU64,
    leader: watch::Sender<Option<Leader>>,
    /// The status line of this node, for the other ones.
    health: Mutex<String>,
}

impl Turn {
    pub(in crate::engine) fn of(stop: &CancellationToken) -> Self {
        Self {
            cluster: None,
            token: RwLock::new(stop.child_token()),
            leads: AtomicBool::new(true),
            proven: AtomicU64::default(),
            leader: watch::Sender::default(),
            health: Mutex::default(),
        }
    }

    pub(in crate::engine) fn in_cluster(self, cluster: Sharing) -> Self {
        Self { cluster: Some(cluster), leads: AtomicBool::new(false), ..self }
    }

    pub(in crate::engine) fn cluster(&self) -> Option<&Sharing> {
        self.cluster.as_ref()
    }

    /// Returns the token of the present term.
    pub(in crate::engine) fn token(&self) -> CancellationToken {
        self.token.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn prove(&self, at: Duration) {
        self.proven.store(micros(at), Ordering::Release);
    }

    /// Returns the time for which the lease is still trusted.
    fn trusted_for(&self, now: Duration) -> Duration {
        let Some(cluster) = &self.cluster else { return Duration::MAX };
        let proven = Duration::from_micros(self.proven.load(Ordering::Acquire));
        (proven + cluster.trust()).saturating_sub(now)
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

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
}

/// The reason why an operator's request about the leader is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LeaderError {
    #[error(
        "the store is a file, which one rosterd has for itself: share a PostgreSQL (store.url) to have another one lead"
    )]
    NotShared,
    #[error("no other rosterd is there to lead: {0}")]
    Nobody(String),
    #[error("no rosterd on this store is named {name}: rosterctl leader show lists {known}")]
    Unknown { name: String, known: String },
    #[error("{0} has takeover = false in its configuration, and never leads")]
    NeverLeads(String),
    #[error("{0} did not take over in time, and the leader is who it was: rosterctl leader show")]
    NotTaken(String),
}

/// The nodes of a store, as status shows them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterStatus {
    /// The name of this node.
    pub node: String,
    pub leader: Option<Leader>,
    pub nodes: Vec<Node>,
    pub lease: Duration,
    /// Sentences about what needs attention.
    pub attention: Vec<String>,
}

impl Engine {
    /// Returns whether this rosterd leads.
    pub fn leads(&self) -> bool {
        self.turn.leads.load(Ordering::Acquire)
    }

    /// Returns whether other rosterds may be on the store.
    pub fn shares_store(&self) -> bool {
        self.turn.cluster.is_some()
    }

    /// Returns who leads, as it was last seen.
    pub fn leader(&self) -> Option<Leader> {
        self.turn.leader.borrow().clone()
    }

    /// Returns whether the lease is proven at this moment. A process that was frozen asks this before it
    /// tells anybody anything.
    pub(in crate::engine) fn is_trusted(&self) -> bool {
        !self.turn.trusted_for(self.clock.passed()).is_zero()
    }

    /// Returns the present term of a store that is not shared.
    pub fn only_term(&self) -> Term {
        Term { token: self.turn.token(), epoch: 0, before: String::new() }
    }

    /// Ends the term: cancels its tasks, and forgets what they had in memory.
    pub fn end_term(&self) {
        self.turn.leads.store(false, Ordering::Release);
        self.store.lose();
        self.renew_entries();
    }

    /// Replaces the token of the term, and everything that hangs on it.
    fn renew_entries(&self) -> CancellationToken {
        let next = self.stop.child_token();
        let former = {
            let mut token = self.turn.token.write().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *token, next.clone())
        };
        self.configured.send_modify(|configured| {
            let directories = configured.directories.renewed(&next);
            let rules = configured.rules.clone();
            *configured = Arc::new(super::Configured { directories, rules });
        });
        self.hooks.send_modify(|hooks| *hooks = Arc::new(hooks.renewed(&next)));
        self.targets.send_modify(|targets| *targets = Arc::new(targets.renewed(&next)));
        // A cancelled task finds the entries of the next term.
        former.cancel();
        next
    }

    fn begin_term(&self, former: &Leader) -> Term {
        let token = self.renew_entries();
        self.turn.leads.store(true, Ordering::Release);
        Term { token, epoch: former.epoch + 1, before: former.node.clone() }
    }

    /// Gives a term up that could not begin, and lets another rosterd lead.
    pub async fn give_up_term(&self) {
        self.turn.leads.store(false, Ordering::Release);
        self.renew_entries();
        self.store.resign().await;
    }

    /// Does what a term begins with: ends what the former one left, and says who leads.
    pub async fn open_term(&self, term: &Term) -> Result<(), EngineError> {
        self.store.adopt().await?;
        let now = self.clock.now();
        let cut = self.store.cancel_cut_runs(now).await?;
        if cut > 0 {
            tracing::warn!("cancelled {cut} runs that were interrupted; the next runs repeat them");
        }
        let Some(Sharing { node, .. }) = &self.turn.cluster else { return Ok(()) };
        let cause = EventCause { actor: Actor::rosterd(), run: None, account: None, at: now };
        let Term { epoch, before, .. } = term;
        let data = json!({ "node": node, "epoch": epoch, "before": before });
        let event =
            Event::about("cluster.led", node.as_str(), &cause, serde_json::Value::Null, data);
        Ok(self.store.record(&[event], &self.clock).await?)
    }

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
                StoreError::Standby(_) => tracing::info!("{told}"),
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
        opened.notify_one();
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
            self.store.note_node(&node).await?;
            watch.has_drifted = match &leader {
                Some(leader) => {
                    let nodes = self.store.nodes().await?;
                    let theirs = nodes.iter().find(|other| other.node == leader.node);
                    theirs.is_some_and(|theirs| theirs.configuration != node.configuration)
                }
                None => watch.has_drifted,
            };
        }
        Ok(())
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
        } else if look.wanted.as_ref().is_some_and(|wanted| *wanted != cluster.node) {
            tracing::info!("this rosterd makes room for another leader, as an operator asked");
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
        if !look.is_free {
            watch.free_since = None;
            // Another node has led since this one made room.
            watch.makes_room_until = Duration::ZERO;
            // A term that could not begin.
            if look.is_own {
                self.store.resign().await;
            }
            return Ok(());
        }
        let free_for = now.saturating_sub(*watch.free_since.get_or_insert(now));
        let is_first = match &look.wanted {
            Some(wanted) if !wanted.is_empty() => *wanted == cluster.node,
            _ => !watch.has_drifted && now >= watch.makes_room_until,
        };
        let is_turn = is_first || free_for >= cluster.lease;
        if !cluster.takeover || self.stop.is_cancelled() || !is_turn {
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

    /// Notes the status line of this node, which the other ones show.
    pub fn note_health(&self, line: &str) {
        line.clone_into(&mut self.turn.health.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn own_node(&self, cluster: &Sharing) -> Node {
        Node {
            node: cluster.node.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            configuration: self.configuration_hash(),
            takeover: cluster.takeover,
            health: self.turn.health.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            heard: self.clock.now(),
        }
    }

    /// Returns a hash of what the configuration decides. Two nodes of one configuration have the same.
    fn configuration_hash(&self) -> String {
        let configured = self.configured();
        let directories = configured.directories.values().map(|directory| {
            let c = &directory.config;
            let decides = (c.mode, &c.limits, &c.protect, &c.schedule, &c.full, &c.quiet, c.live);
            json!([c.name, c.account, c.scope_hash(), format!("{decides:?}")])
        });
        let hooks = self.hooks();
        let hooks = hooks.values().map(|hook| json!([hook.config.name, hook.config.events]));
        let targets = self.targets();
        let targets = targets.values().map(|t| json!([t.config.name, t.config.rules_hash()]));
        let super::Rules { trusted, max_failures, retention, .. } = &configured.rules;
        let all = json!([
            directories.collect::<Vec<_>>(),
            hooks.collect::<Vec<_>>(),
            targets.collect::<Vec<_>>(),
            format!("{trusted:?}{max_failures}{retention:?}"),
        ]);
        format!("{:016x}", xxhash_rust::xxh3::xxh3_64(all.to_string().as_bytes()))
    }

    /// Returns the nodes of the store; `None` where it is a file.
    pub async fn cluster_status(&self) -> Result<Option<ClusterStatus>, EngineError> {
        let Some(Sharing { node, lease, .. }) = &self.turn.cluster else { return Ok(None) };
        let (leader, nodes) = (self.leader(), self.store.nodes().await?);
        let now = self.clock.now();
        let mut attention = Vec::new();
        let is_leader = |other: &&Node| leader.as_ref().is_some_and(|l| l.node == other.node);
        let theirs = nodes.iter().find(is_leader).map(|node| node.configuration.clone());
        for other in &nodes {
            let Node { node, configuration, version, heard, .. } = other;
            if now.since(*heard) > *lease * 3 {
                attention.push(format!("{node} was last heard of at {heard}: start rosterd there"));
            } else if theirs.as_ref().is_some_and(|theirs| theirs != configuration) {
                attention.push(format!(
                    "{node} has another configuration than the leader, and takes over later: make both the same, then systemctl reload rosterd"
                ));
            } else if version != env!("CARGO_PKG_VERSION") {
                attention.push(format!("{node} runs rosterd {version}: upgrade it"));
            }
        }
        if leader.is_none() {
            attention
                .push("nobody leads at this moment: a node takes over within seconds".to_owned());
        }
        let (node, lease) = (node.clone(), *lease);
        Ok(Some(ClusterStatus { node, leader, nodes, lease, attention }))
    }

    /// Lets this node lead. Returns when it does.
    pub async fn lead_here(&self) -> Result<ClusterStatus, EngineError> {
        let node = self.turn.cluster.as_ref().map(|cluster| cluster.node.as_str());
        self.hand_over(Some(node.ok_or(LeaderError::NotShared)?)).await
    }

    /// Lets another node lead, the named one if there is a name. Returns when it does.
    pub async fn hand_over(&self, to: Option<&str>) -> Result<ClusterStatus, EngineError> {
        let Some(status) = self.cluster_status().await? else {
            return Err(LeaderError::NotShared.into());
        };
        let now = self.clock.now();
        let is_there = |node: &&Node| now.since(node.heard) <= status.lease * 2;
        let there: Vec<&Node> = status.nodes.iter().filter(is_there).collect();
        let Some(leader) = status.leader.clone() else {
            return Err(
                LeaderError::Nobody("nobody leads at this moment; look again".to_owned()).into()
            );
        };
        match to {
            Some(name) => match there.iter().find(|node| node.node == name) {
                None => {
                    let known =
                        there.iter().map(|n| n.node.as_str()).collect::<Vec<_>>().join(", ");
                    return Err(LeaderError::Unknown { name: name.to_owned(), known }.into());
                }
                Some(node) if !node.takeover => {
                    return Err(LeaderError::NeverLeads(name.to_owned()).into());
                }
                Some(_) if leader.node == name => return Ok(status),
                Some(_) => {}
            },
            None if !there.iter().any(|n| n.takeover && n.node != leader.node) => {
                let why = format!("{} leads, and goes on", leader.node);
                return Err(LeaderError::Nobody(why).into());
            }
            None => {}
        }
        let mut changes = self.turn.leader.subscribe();
        self.store.want_leader(leader.epoch, to.unwrap_or_default()).await?;
        let is_new = |now: &Option<Leader>| now.as_ref().is_some_and(|n| n.epoch > leader.epoch);
        // A leader that hangs does not make room by itself.
        let patience = Duration::from_secs(2).min(status.lease);
        if tokio::time::timeout(patience, changes.wait_for(is_new)).await.is_err() {
            self.store.revoke_lease(leader.epoch).await?;
            let patience = status.lease * 2;
            if tokio::time::timeout(patience, changes.wait_for(is_new)).await.is_err() {
                let who = to.unwrap_or("another node").to_owned();
                return Err(LeaderError::NotTaken(who).into());
            }
        }
        self.cluster_status().await?.ok_or_else(|| LeaderError::NotShared.into())
    }
}
