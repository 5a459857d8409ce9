//! The check of a target, at the pace of all other requests to it.

use crate::clock::Clock;
use crate::engine::targets::Target;
use crate::engine::targets::pace::{TaskLane, Turn};
use crate::model::{Address, CheckStep, Lane};
use crate::scim::{self, ScimError};

impl Target {
    /// Checks what the target needs. Only reads, unless there is an address for a trial account.
    pub async fn check(&self, trial: Option<&Address>, clock: &Clock) -> Vec<CheckStep> {
        let check = scim::Check {
            mapping: &self.config.mapping,
            token_expires: self.config.token_expires,
            unique: clock.new_id(),
            trial,
        };
        let pace = CheckPace { target: self, lane: TaskLane::new(Lane::Change), clock };
        scim::check(&self.client, &check, &pace, clock.now()).await
    }
}

/// The pace of a check, whose requests take turns with those of all other work.
struct CheckPace<'a> {
    target: &'a Target,
    lane: TaskLane,
    clock: &'a Clock,
}

impl<'a> scim::Pace for CheckPace<'a> {
    type Turn = Turn<'a>;

    async fn turn(&self) -> Result<Turn<'a>, ScimError> {
        self.target.turn(&self.lane, self.clock).await
    }
}
