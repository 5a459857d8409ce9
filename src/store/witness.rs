//! Which operations left an event: what is committed is noted for the task that asked for it.
//!
//! The router relies on it. An operation that committed no event of its caller gets one there, so a handler that
//! records nothing cannot exist.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::model::Actor;

tokio::task_local! {
    static WATCHED: (Actor, Arc<AtomicBool>);
}

/// Carries out `work`, and reports whether it committed an event of this actor. Events of tasks that it spawns do not
/// count: they may be committed later, or never.
pub async fn watch_events<T>(actor: &Actor, work: impl Future<Output = T>) -> (T, bool) {
    let is_recorded = Arc::new(AtomicBool::new(false));
    let done = WATCHED.scope((actor.clone(), Arc::clone(&is_recorded)), work).await;
    (done, is_recorded.load(Ordering::Relaxed))
}

/// Notes that events of these actors were committed.
pub(super) fn note_committed(actors: &[Actor]) {
    // Work that no request asked for is not watched.
    let _ = WATCHED.try_with(|(actor, is_recorded)| {
        if actors.contains(actor) {
            is_recorded.store(true, Ordering::Relaxed);
        }
    });
}
