//! The pace of the requests to a target. The engine keeps it, for all that ask the target.

use super::error::ScimError;

/// The pace of the requests to one target.
pub trait Pace: Sync {
    /// A request under way, until it is dropped.
    type Turn: Send;

    /// Waits for the turn of a request. Fails if the target has asked for a long pause.
    fn turn(&self) -> impl Future<Output = Result<Self::Turn, ScimError>> + Send;
}
