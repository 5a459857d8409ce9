//! The run, actor and observation in whose name changes are written.

use super::database::Right;
use crate::clock::Clock;
use crate::model::{
    AccountRef, Actor, DirectoryName, EventCause, ObservationNumber, RunId, Timestamp,
};

#[derive(Debug, Clone)]
pub struct Writer<'a> {
    pub run: RunId,
    /// `None` for an operator's write.
    pub directory: Option<&'a DirectoryName>,
    pub right: Right,
    /// The account of new users.
    pub account: AccountRef,
    pub actor: Actor,
    /// The observation of the changes. A change is dropped if its user has a newer one.
    pub observed_from: ObservationNumber,
    pub clock: &'a Clock,
    /// The directories whose pending set gets the addresses of unmanaged users.
    pub asked: &'a [DirectoryName],
}

impl Writer<'_> {
    pub(super) fn cause(&self, at: Timestamp) -> EventCause {
        EventCause {
            actor: self.actor.clone(),
            run: Some(self.run),
            account: Some(self.account.handle.clone()),
            at,
        }
    }
}
