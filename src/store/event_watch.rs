//! Event watch: reports to a task whether it committed an event.
//!
//! The router records an event for each operation that committed none. No handler can therefore
//! leave an operation without an event.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::model::Actor;

tokio::task_local! {
    static WATCHED: (Actor, Arc<AtomicBool>);
}

/// Runs `work`, and returns whether it committed an event of this actor.
///
/// Events of tasks that it spawns do not count, because they may be committed later or never.
pub async fn watch_events<T>(actor: &Actor, work: impl Future<Output = T>) -> (T, bool) {
    let is_recorded = Arc::new(AtomicBool::new(false));
    let done = WATCHED.scope((actor.clone(), Arc::clone(&is_recorded)), work).await;
    (done, is_recorded.load(Ordering::Relaxed))
}

/// Records that events of these actors were committed.
pub(super) fn note_committed(actors: &[Actor]) {
    // Work that no request asked for is not watched.
    let _ = WATCHED.try_with(|(actor, is_recorded)| {
        if actors.contains(actor) {
            is_recorded.store(true, Ordering::Relaxed);
        }
    });
}
