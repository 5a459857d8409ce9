//! The warning about a scope that no operator has accepted. It is true until the held plan ends.

use crate::store::ScopeState;

const RESTORED: &str = "the store was restored from a backup";
const REBASELINED: &str = "bases, groups and rights were accepted anew";
const NEW_SCOPE: &str = "the configuration changed who is in scope";

fn about_scope(reason: &str) -> String {
    format!("{reason}: changes wait for your approval; see rosterctl held show")
}

/// Returns the warning about a scope that is not accepted yet; `None` when it is the stored one.
pub(in crate::engine) fn scope_warning(stored: &ScopeState, configured: &str) -> Option<String> {
    let reason = match stored {
        ScopeState::Restored => RESTORED,
        ScopeState::Rebaselined => REBASELINED,
        ScopeState::Accepted(hash) if hash == configured => return None,
        ScopeState::Accepted(_) => NEW_SCOPE,
    };
    Some(about_scope(reason))
}

/// Returns whether the warning of a run points to its held plan. It ends with that plan, and not with
/// the next full run.
pub(in crate::engine) fn ends_with_plan(warning: &str) -> bool {
    [RESTORED, REBASELINED, NEW_SCOPE].iter().any(|reason| about_scope(reason) == warning)
}
