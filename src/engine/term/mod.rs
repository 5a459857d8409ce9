//! The term: leading a store that several rosterds share begins and ends here.
//!
//! The triggers of directories, deliveries, targets and the periodic tasks of the leader hang on the
//! token of its term. The end of the term cancels the token, and renews everything that
//! these tasks had in memory. A store in a file has one term, from the start of the daemon to its end.
//!
//! A leader trusts its lease by its own monotonic clock, and gives it up before another one can
//! have it. The fence in the store is the guarantee.

pub(in crate::engine) mod cluster;
mod lease;
mod reach;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::json;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::engine::term::reach::Reach;
use crate::engine::{ConfiguredHook, Directory, Engine, EngineError, Target};
use crate::model::{Actor, Event, EventCause, Leader, Sharing};

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
    /// Whether the event log has a key that this rosterd lacks, so that it never leads.
    lacks_key: AtomicBool,
    /// Whether another rosterd has the name of this node.
    has_twin: AtomicBool,
    /// Microseconds of elapsed time at the last proof that this process leads.
    proven: AtomicU64,
    leader: watch::Sender<Option<Leader>>,
    /// The status line of this node, for the other ones.
    health: Mutex<String>,
    reach: Mutex<Reach>,
}

impl Turn {
    pub(in crate::engine) fn of(stop: &CancellationToken) -> Self {
        Self {
            cluster: None,
            token: Mutex::new(stop.child_token()),
            leads: AtomicBool::new(true),
            is_behind: AtomicBool::default(),
            lacks_key: AtomicBool::default(),
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

    /// Returns why this rosterd cannot lead, whatever its configuration says.
    fn unfitness(&self) -> Option<&'static str> {
        let reasons = [(&self.is_behind, cluster::BEHIND), (&self.lacks_key, cluster::KEYLESS)];
        reasons.into_iter().find(|(is_so, _)| is_so.load(Ordering::Relaxed)).map(|(_, told)| told)
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

/// The entries whose tasks are to be run.
#[derive(Debug, Default)]
pub struct Claimed {
    pub directories: Vec<Arc<Directory>>,
    pub hooks: Vec<Arc<ConfiguredHook>>,
    pub targets: Vec<Arc<Target>>,
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

    /// Returns the leader, and its changes.
    pub(in crate::engine) fn watch_leader(&self) -> watch::Receiver<Option<Leader>> {
        self.turn.leader.subscribe()
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
            *configured = Arc::new(crate::engine::Configured { directories, rules });
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
        self.store.release_deliveries(node, now).await?;
        let cause = EventCause { actor: Actor::rosterd(), run: None, account: None, at: now };
        let Term { epoch, before, .. } = term;
        let data = json!({ "node": node, "epoch": epoch, "before": before });
        let event =
            Event::about("cluster.led", node.as_str(), &cause, serde_json::Value::Null, data);
        Ok(self.store.record(&[event], &self.clock).await?)
    }
}
