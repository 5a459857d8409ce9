//! The state of a console, which its pages share.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use chrono_tz::Tz;

use super::door::{Door, Ending, Opened, Secret, Shut, Use};
use crate::clock::Clock;
use crate::control::api::{Caller, HeldPlan};
use crate::ctl::link::Daemon;
use crate::ctl::text::View;

/// Interval at which the end of the session is checked.
const CHECKED: Duration = Duration::from_secs(1);
/// Plans that are remembered. A person decides about one or two.
const REMEMBERED: usize = 4;

/// A console on a port of its own, with its one code.
#[derive(Debug)]
pub struct Console {
    daemon: Daemon,
    clock: Clock,
    zone: Tz,
    caller: String,
    /// Why the pages offer no changes, if they do not.
    only_looks: Option<&'static str>,
    port: u16,
    door: Door,
    /// The plans that pages have shown, the latest last, so that a refusal can say what changed.
    shown: Mutex<VecDeque<HeldPlan>>,
}

impl Console {
    pub(super) fn new(
        daemon: Daemon,
        caller: Caller,
        (read_only, zone): (bool, Tz),
        port: u16,
        code: Secret,
        clock: Clock,
    ) -> Self {
        Self {
            daemon,
            door: Door::new(code, clock.passed()),
            clock,
            zone,
            only_looks: match (read_only, caller.is_operator()) {
                (true, _) => Some("it was started with --read-only"),
                (false, false) => Some("its user is no operator"),
                (false, true) => None,
            },
            caller: caller.actor,
            port,
            shown: Mutex::default(),
        }
    }

    /// Notes the plan that a page shows.
    pub(super) fn remember(&self, plan: &HeldPlan) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        shown.retain(|other| other.digest != plan.digest);
        shown.push_back(plan.clone());
        while shown.len() > REMEMBERED {
            shown.pop_front();
        }
    }

    /// Returns the plan with this digest, as a page has shown it.
    pub(super) fn shown(&self, digest: &str) -> Option<HeldPlan> {
        let shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        shown.iter().find(|plan| plan.digest == digest).cloned()
    }

    pub(super) fn daemon(&self) -> &Daemon {
        &self.daemon
    }

    pub(super) fn view(&self) -> View {
        View { width: usize::MAX, now: self.clock.now().to_utc(), zone: self.zone }
    }

    pub(super) fn caller(&self) -> &str {
        &self.caller
    }

    pub(super) fn may_change(&self) -> bool {
        self.only_looks.is_none()
    }

    /// Returns why the pages offer no changes, if they do not.
    pub(super) fn only_looks(&self) -> Option<&'static str> {
        self.only_looks
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Returns the values of `Host` under which the console answers.
    pub(super) fn hosts(&self) -> [String; 2] {
        ["127.0.0.1", "localhost"].map(|name| format!("{name}:{}", self.port))
    }

    /// Returns the name of the cookie. It has the port, because cookies of all ports are one set.
    pub(super) fn cookie_name(&self) -> String {
        format!("rosterd-console-{}", self.port)
    }

    pub(super) fn pass(&self, cookie: Option<&str>, by: Use) -> Result<Secret, Shut> {
        self.door.pass(cookie, self.clock.passed(), by)
    }

    /// Returns whether the link was opened, or is not valid any more.
    pub(super) fn is_opened(&self) -> bool {
        self.door.is_opened(self.clock.passed())
    }

    pub(super) async fn ended(&self) -> Ending {
        loop {
            if let Some(ending) = self.door.ending(self.clock.passed()) {
                // The last page reaches the browser.
                tokio::time::sleep(CHECKED).await;
                return ending;
            }
            tokio::time::sleep(CHECKED).await;
        }
    }

    /// Swaps the code for a session.
    pub(super) fn open(&self, code: &str, new: [Secret; 2]) -> Result<Opened, Shut> {
        self.door.open(code, self.clock.passed(), new)
    }

    /// Ends the session.
    pub(super) fn leave(&self) {
        self.door.leave(self.clock.passed());
    }
}
