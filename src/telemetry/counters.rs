//! Counters of this process, incremented where the counted thing happens.
//!
//! A counter starts at zero with each process, as Prometheus expects. No label has unbounded
//! values: they are names from the configuration, or words of rosterd.

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;

use crate::model::{ChangeCounts, DirectoryName, Reason, RunMode, RunState, Trigger, words};

pub(super) type Labels = Vec<(&'static str, String)>;

/// Buckets of run durations in seconds. A run of a few people takes a fraction of a second, and a
/// run of a million takes minutes.
const SECONDS: [f64; 11] = [0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0];

/// Sub-codes of a refused bind (MS-ERREF). Any other code counts as `other`, because the server
/// chooses it.
const REFUSALS: [&str; 15] = [
    "525", "52e", "530", "531", "532", "533", "701", "773", "775", "kdc-6", "kdc-12", "kdc-18",
    "kdc-23", "kdc-24", "kdc-31",
];

const ENDS: [RunState; 4] =
    [RunState::Succeeded, RunState::Held, RunState::Failed, RunState::Cancelled];

/// All counters. Clones share them.
#[derive(Clone, Debug)]
pub struct Counters {
    pub(super) runs: Family<Labels, Counter>,
    pub(super) seconds: Family<Labels, Histogram>,
    pub(super) entries: Family<Labels, Counter>,
    pub(super) applied: Family<Labels, Counter>,
    pub(super) suspended: Family<Labels, Counter>,
    pub(super) dropped: Family<Labels, Counter>,
    pub(super) refusals: Family<Labels, Counter>,
    pub(super) requests: Family<Labels, Counter>,
    pub(super) sign_ins: Family<Labels, Counter>,
    pub(super) refused_users: Counter,
    pub(super) deliveries: Family<Labels, Counter>,
    pub(super) target_requests: Family<Labels, Counter>,
    pub(super) target_seconds: Family<Labels, Histogram>,
    pub(super) deactivation_seconds: Family<Labels, Histogram>,
}

words! {
    /// The outcome of one delivery attempt.
    pub enum Delivered {
        Accepted = "delivered",
        Retried = "retried",
        DeadLettered = "dead_lettered",
    }
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            runs: Family::default(),
            seconds: Family::new_with_constructor(|| Histogram::new(SECONDS)),
            entries: Family::default(),
            applied: Family::default(),
            suspended: Family::default(),
            dropped: Family::default(),
            refusals: Family::default(),
            requests: Family::default(),
            sign_ins: Family::default(),
            refused_users: Counter::default(),
            deliveries: Family::default(),
            target_requests: Family::default(),
            target_seconds: Family::new_with_constructor(|| Histogram::new(SECONDS)),
            deactivation_seconds: Family::new_with_constructor(|| Histogram::new(SECONDS)),
        }
    }
}

pub(super) fn labels<const N: usize>(pairs: [(&'static str, &str); N]) -> Labels {
    pairs.into_iter().map(|(name, value)| (name, value.to_owned())).collect()
}

fn kinds(counts: ChangeCounts) -> [(&'static str, u64); 7] {
    let ChangeCounts { create, update, suspend, reactivate, tier, link, release } = counts;
    [
        ("create", create),
        ("update", update),
        ("suspend", suspend),
        ("reactivate", reactivate),
        ("tier", tier),
        ("link", link),
        ("release", release),
    ]
}

impl Counters {
    /// Starts the series of a directory at zero, so that `increase()` sees the first event.
    pub(super) fn start_directory(&self, directory: &str) {
        for state in ENDS {
            // Every directory has runs of these triggers.
            for trigger in [Trigger::Schedule, Trigger::Startup] {
                let series = labels([
                    ("directory", directory),
                    ("trigger", trigger.as_str()),
                    ("state", state.as_str()),
                ]);
                drop(self.runs.get_or_create(&series));
            }
        }
        let directory = ("directory", directory);
        for (kind, _) in kinds(ChangeCounts::default()) {
            drop(self.applied.get_or_create(&labels([directory, ("kind", kind)])));
        }
        for cause in Reason::ALL {
            drop(self.suspended.get_or_create(&labels([directory, ("cause", cause.as_str())])));
        }
        drop(self.entries.get_or_create(&labels([directory])));
        drop(self.dropped.get_or_create(&labels([directory])));
    }

    /// Starts the series of a hook at zero.
    pub(super) fn start_hook(&self, hook: &str) {
        for outcome in Delivered::ALL {
            drop(
                self.deliveries
                    .get_or_create(&labels([("hook", hook), ("outcome", outcome.as_str())])),
            );
        }
    }

    /// Counts a request to a target. The outcome is a status of HTTP, or `none` without an answer.
    pub fn target_asked(&self, target: &str, operation: &str, outcome: &str, took: Duration) {
        let series = [("target", target), ("operation", operation), ("outcome", outcome)];
        self.target_requests.get_or_create(&labels(series)).inc();
        self.target_seconds
            .get_or_create(&labels([("target", target)]))
            .observe(took.as_secs_f64());
    }

    /// Counts a leaver whose account is verified as inactive, by the time since the suspension.
    pub fn deactivated(&self, target: &str, took: Duration) {
        self.deactivation_seconds
            .get_or_create(&labels([("target", target)]))
            .observe(took.as_secs_f64());
    }

    /// Counts a delivery attempt whose outcome is stored.
    pub fn delivery(&self, hook: &str, outcome: Delivered) {
        self.deliveries
            .get_or_create(&labels([("hook", hook), ("outcome", outcome.as_str())]))
            .inc();
    }

    /// Counts a run that is stored. A run of an operator's write has no directory and no duration.
    pub fn run_ended(
        &self,
        directory: Option<&DirectoryName>,
        trigger: Trigger,
        state: RunState,
        mode: RunMode,
        took: Duration,
        entries: u64,
    ) {
        let name = directory.map_or("", DirectoryName::as_str);
        let series =
            labels([("directory", name), ("trigger", trigger.as_str()), ("state", state.as_str())]);
        self.runs.get_or_create(&series).inc();
        if directory.is_some() {
            self.seconds
                .get_or_create(&labels([("directory", name), ("mode", mode.as_str())]))
                .observe(took.as_secs_f64());
            self.entries.get_or_create(&labels([("directory", name)])).inc_by(entries);
        }
    }

    /// Counts committed changes: the difference between the run's totals before and now, each as
    /// applied and dropped changes.
    pub fn applied(
        &self,
        directory: Option<&DirectoryName>,
        before: (ChangeCounts, u64),
        now: (ChangeCounts, u64),
    ) {
        let directory = directory.map_or("", DirectoryName::as_str);
        for ((kind, before), (_, now)) in kinds(before.0)
            .into_iter()
            .zip(kinds(now.0))
            .filter(|((_, before), (_, now))| now > before)
        {
            self.applied
                .get_or_create(&labels([("directory", directory), ("kind", kind)]))
                .inc_by(now - before);
        }
        self.dropped.get_or_create(&labels([("directory", directory)])).inc_by(now.1 - before.1);
    }

    /// Counts a committed suspension of an active user.
    pub fn suspended(&self, directory: Option<&DirectoryName>, cause: Reason) {
        let directory = directory.map_or("", DirectoryName::as_str);
        let series = labels([("directory", directory), ("cause", cause.as_str())]);
        self.suspended.get_or_create(&series).inc();
    }

    /// Counts a refused bind of the service account by its sub-code, or by the code of the KDC.
    pub fn bind_refused(&self, directory: &str, code: &str) {
        let code = if REFUSALS.contains(&code) { code } else { "other" };
        self.refusals.get_or_create(&labels([("directory", directory), ("code", code)])).inc();
    }

    /// Counts a user at the first refused sign-in within the window of an event.
    pub fn sign_in_refused_of_user(&self) {
        self.refused_users.inc();
    }

    /// Counts a sign-in decision. The reason is empty where there is none.
    pub fn signed_in(&self, decision: &str, reason: &str) {
        self.sign_ins.get_or_create(&labels([("decision", decision), ("reason", reason)])).inc();
    }

    /// Counts an answered request of the control socket. The route is a pattern, never a path.
    pub fn answered(&self, method: &str, route: &str, status: u16) {
        let method = if ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"].contains(&method) {
            method
        } else {
            "other"
        };
        self.requests
            .get_or_create(&labels([
                ("method", method),
                ("route", route),
                ("status", &status.to_string()),
            ]))
            .inc();
    }
}
