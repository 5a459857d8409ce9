//! The connection over which sign-ins look entries up.

use tokio::sync::Mutex;

use crate::directory::Session;

/// The connection of the last run, used for look-ups without a bind. After it has ended, the next
/// sign-in opens another.
#[derive(Debug, Default)]
pub(in crate::engine) struct LookupConnection(pub(super) Mutex<Option<Session>>);

impl LookupConnection {
    /// Stores a run's connection for look-ups, unless one is in use.
    pub(in crate::engine) fn keep(&self, session: Session) {
        if let Ok(mut kept) = self.0.try_lock() {
            *kept = Some(session);
        }
    }
}
