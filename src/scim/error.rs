//! The reasons why a request to a target has no answer.

use std::time::Duration;

/// Most bytes of an answer: a page of a thousand large accounts.
pub(super) const MAX_BODY: usize = 16 * 1024 * 1024;

/// The reason why a request has no answer.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ScimError {
    /// The file of the token or of the client secret cannot be used.
    #[error("{0}")]
    Secret(String),
    /// The token server refuses the client.
    #[error("the token server refuses the client: {0}")]
    TokenRefused(String),
    #[error("{0}")]
    Unreachable(String),
    #[error("no answer within {}", humantime::format_duration(*.0))]
    TimedOut(Duration),
    #[error("the answer is longer than {MAX_BODY} bytes")]
    TooLong,
    /// The request was not sent.
    #[error("the target has asked for a pause of {}", humantime::format_duration(*.0))]
    Paused(Duration),
}
