//! The term: leading a store that several rosterds share begins and ends here.
//!
//! The triggers of directories, deliveries, targets and the periodic tasks of the leader hang on the
//! token of its term. The end of the term cancels the token, and renews everything that
//! these tasks had in memory. A store in a file has one term, from the start of the daemon to its end.
//!
//! A leader trusts its lease by its own monotonic clock, and gives it up before another one can
//! have it. The fence in the store is the guarantee.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::json;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::engine::{ConfiguredHook, Directory, Engine, EngineError, Health, Target};
use crate::model::{
    Actor, DirectoryName, Event, EventCause, Leader, Node, NodeHealth, Sharing, Timestamp,
};
use crate::store::{Look, Schema, StoreError};
use crate::telemetry::chain;

/// The longest time between two looks at the lease.
const LOOK: Duration = Duration::from_millis(500);

/// The time for one look of a rosterd that does not lead.
const PATIENCE: Duration = Duration::from_secs(40);

/// The time in which a leader tells of lost commits. A node that misses commits waits for it.
const SETTLEMENT: Duration = Duration::from_secs(30);

/// Checks in a row by which a leader finds that it can read no directory.
const CHECKS: u32 = 3;

/// The time within which leaders make room once because they can read nothing.
const HAND_OVER_INTERVAL: Duration = Duration::from_mins(15);

/// The sentence of a node that lacks steps of the schema.
const BEHIND: &str =
    "this rosterd is of an earlier version than the store: it answers, and never leads; upgrade it";

/// Returns the sentence of a node whose name another one has.
fn twin(node: &str) -> String {
    format!(
        "another rosterd on this store is named {node}, too: give each one its own name ([cluster] node), and restart it"
    )
}

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
    /// The token of the present term, or of the time between two. All entries hang on it: it is held
    /// while they are replaced.
    token: Mutex<CancellationToken>,
    leads: AtomicBool,
    /// Whether the schema has steps that this rosterd does not know, so that it never leads.
    is_behind: AtomicBool,
    /// Whether another rosterd has the name of this node.
    has_twin: AtomicBool,
    /// Microseconds of elapsed time at the last proof that this process leads.
    proven: AtomicU64,
    leader: watch::Sender<Option<Leader>>,
    /// The status line of this node, for the other ones.
    health: Mutex<String>,
    reach: Mutex<Reach>,
}

/// The outcome of the checks of this node.
#[derive(Debug, Default)]
struct Reach {
    is_known: bool,
    /// The directories whose last check failed: how often in a row, and why.
    failed: BTreeMap<DirectoryName, (u32, String)>,
}

impl Turn {
    pub(in crate::engine) fn of(stop: &CancellationToken) -> Self {
        Self {
            cluster: None,
            token: Mutex::new(stop.child_token()),
            leads: AtomicBool::new(true),
            is_behind: AtomicBool::default(),
            has_twin: AtomicBool::default(),
            proven: AtomicU64::default(),
            leader: watch::Sender::default(),
            health: Mutex::default(),
            reach: Mutex::default(),
        }
    }

    fn reach(&self) -> MutexGuard<'_, Reach> {
        self.reach.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(in crate::engine) fn in_cluster(self, cluster: Sharing) -> Self {
        Self { cluster: Some(cluster), leads: AtomicBool::new(false), ..self }
    }

    pub(in crate::engine) fn cluster(&self) -> Option<&Sharing> {
        self.cluster.as_ref()
    }

    /// Returns the token of the present term, which does not change meanwhile.
    pub(in crate::engine) fn hold(&self) -> MutexGuard<'_, CancellationToken> {
        self.token.lock().unwrap_or_else(PoisonError::into_inner)
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
    /// The time in the row of this node, as this process wrote it.
    heard: Option<Timestamp>,
    /// The elapsed time at which another process had written that row.
    twin_at: Option<Duration>,
}

/// The entries whose tasks are to be run.
#[derive(Debug, Default)]
pub struct Claimed {
    pub directories: Vec<Arc<Directory>>,
    pub hooks: Vec<Arc<ConfiguredHook>>,
    pub targets: Vec<Arc<Target>>,
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
    #[error(
        "{0} never leads: takeover = false is in its configuration, or it is of an earlier version than the store"
    )]
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
        Term { token: self.turn.hold().clone(), epoch: 0, before: String::new() }
    }

    /// Returns the entries of a term that have no task yet; none if the term has ended. Each entry is
    /// returned once, so that it has one task in one term.
    pub fn claim_tasks(&self, term: &Term) -> Claimed {
        let present = self.turn.hold();
        // The end of the term has cancelled its token before it released the lock.
        if term.token.is_cancelled() {
            return Claimed::default();
        }
        let directories = self.configured().directories.claimed();
        let (hooks, targets) = (self.hooks().claimed(), self.targets().claimed());
        drop(present);
        Claimed { directories, hooks, targets }
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
        let mut token = self.turn.hold();
        let former = std::mem::replace(&mut *token, next.clone());
        self.configured.send_modify(|configured| {
            let directories = configured.directories.renewed(&next);
            let rules = configured.rules.clone();
            *configured = Arc::new(super::Configured { directories, rules });
        });
        self.hooks.send_modify(|hooks| *hooks = Arc::new(hooks.renewed(&next)));
        self.targets.send_modify(|targets| *targets = Arc::new(targets.renewed(&next)));
        // A cancelled task finds the entries of the next term.
        former.cancel();
        drop(token);
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
        if !self.turn.is_behind.swap(is_behind, Ordering::Relaxed) && is_behind {
            tracing::warn!("{BEHIND}");
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
            if watch.heard.replace(noted.at).is_some_and(|own| noted.before != Some(own)) {
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
        let why = if self.turn.is_behind.load(Ordering::Relaxed) {
            Some("the store is of a newer version")
        } else {
            is_unwanted.then_some("an operator asked for that")
        };
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

    /// Asks for a node that can read the directories, if this one leads and can read none.
    async fn make_room_for_a_reader(
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

    /// Returns the leader, and its changes.
    pub(in crate::engine) fn watch_leader(&self) -> watch::Receiver<Option<Leader>> {
        self.turn.leader.subscribe()
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
        let may_lead = cluster.takeover && !self.turn.is_behind.load(Ordering::Relaxed);
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

    /// Notes the status line of this node, which the other ones show.
    pub fn note_health(&self, line: &str) {
        line.clone_into(&mut self.turn.health.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn own_node(&self, cluster: &Sharing) -> Node {
        let line = self.turn.health.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let configured = self.configured();
        let reach = self.turn.reach();
        let failed =
            reach.failed.iter().filter(|(name, _)| configured.directories.contains_key(*name));
        let unreadable = failed.map(|(name, (_, why))| format!("{name}: {why}")).collect();
        let unreadable = reach.is_known.then_some(unreadable);
        Node {
            node: cluster.node.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            configuration: self.configuration_hash(),
            takeover: cluster.takeover && !self.turn.is_behind.load(Ordering::Relaxed),
            health: NodeHealth { line, unreadable },
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
            let Node { node, configuration, version, heard, health, .. } = other;
            for failed in health.unreadable.iter().flatten() {
                attention.push(format!(
                    "{node} cannot read {failed}; it takes over later than the others: rosterctl directory check on {node} tells what to do"
                ));
            }
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
        if self.turn.has_twin.load(Ordering::Relaxed) {
            attention.push(twin(node));
        }
        if self.turn.is_behind.load(Ordering::Relaxed) {
            attention.push(BEHIND.to_owned());
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
