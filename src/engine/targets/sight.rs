//! The findings of a run about one user, and the counterpart that they change.

use crate::engine::targets::Target;
use crate::engine::targets::work::Work;
use crate::model::{Actor, Event, EventCause, ProvisionProblem, Timestamp};
use crate::reconcile::provision::{Account, Followed, Wish};

/// The interval at which the time of a sight is written.
const SEEN_INTERVAL: std::time::Duration = std::time::Duration::from_hours(20);

/// The findings of a run about one user.
pub(in crate::engine) struct Sight<'a> {
    pub(in crate::engine) seen: Option<&'a Account>,
    pub(in crate::engine) problem: Option<ProvisionProblem>,
    /// No step is left.
    pub(in crate::engine) is_settled: bool,
    pub(in crate::engine) now: Timestamp,
}

impl Work {
    /// Takes what a run has seen. Returns the work if something of its row has changed.
    pub(in crate::engine) fn seen(
        mut self,
        sight: &Sight<'_>,
        wish: &Wish,
        followed: &Followed,
        target: &Target,
    ) -> Option<Self> {
        let before = self.row.clone();
        let now = sight.now;
        if let Some(account) = sight.seen {
            self.row.seen_at = Some(now);
            if account.active.is_some() {
                self.row.account.active = account.active;
            }
            // Other rules that alter nothing need no request.
            if let Wish::Present(wanted) = wish
                && sight.is_settled
                && self.row.account.sent != Some(wanted.fingerprint())
            {
                self.row.account.sent = Some(wanted.fingerprint());
                self.row.account.echo = Some(account.echo);
            }
            if sight.is_settled {
                self.row.found_at = None;
            }
        }
        // The push tries these again, and ends them.
        let is_open = self.row.due.at.is_some()
            && matches!(
                self.row.problem,
                Some(
                    ProvisionProblem::Refused
                        | ProvisionProblem::Contested
                        | ProvisionProblem::TakenInvisibly
                        | ProvisionProblem::Ineffective
                )
            );
        if !is_open {
            self.row.problem = sight.problem;
        }
        let is_drift = matches!(
            self.row.problem,
            Some(ProvisionProblem::Drifted | ProvisionProblem::DeactivatedElsewhere)
        );
        if is_drift && self.row.problem != before.problem {
            let cause = EventCause {
                actor: Actor::rosterd(),
                run: None,
                account: Some(followed.handle.clone()),
                at: now,
            };
            let after = serde_json::json!({
                "target": target.config.name,
                "remote_id": self.row.account.id,
                "problem": self.row.problem,
            });
            let (kind, user) = ("provision.drifted", self.user());
            self.events.push(Event::about(kind, user, &cause, serde_json::Value::Null, after));
        }
        // The time alone is written once a day, so that an unchanged run writes nothing.
        let is_recent = before.seen_at.is_some_and(|at| now.since(at) < SEEN_INTERVAL);
        if is_recent && self.differs_only_by_time() {
            return None;
        }
        self.has_changed().then_some(self)
    }
}
