//! Event watch: reports to a task whether it committed an event.
//!
//! The router records an event for each operation that committed none. No handler can therefore
//! leave an operation without an event.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::model::{Actor, Means};

/// The request that a task carries out.
struct Watched {
    actor: Actor,
    via: Option<Means>,
    is_recorded: Arc<AtomicBool>,
}

tokio::task_local! {
    static WATCHED: Watched;
}

/// Runs `work`, and returns whether it committed an event of this actor. Each such event names the
/// program through which the actor acts.
///
/// Events of tasks that it spawns do not count, because they may be committed later or never.
pub async fn watch_events<T>(
    actor: &Actor,
    via: Option<Means>,
    work: impl Future<Output = T>,
) -> (T, bool) {
    let is_recorded = Arc::new(AtomicBool::new(false));
    let watched = Watched { actor: actor.clone(), via, is_recorded: Arc::clone(&is_recorded) };
    let done = WATCHED.scope(watched, work).await;
    (done, is_recorded.load(Ordering::Relaxed))
}

/// Returns the program through which this actor acts, for its events.
pub(super) fn means(actor: &Actor) -> Option<Means> {
    WATCHED.try_with(|watched| watched.via.filter(|_| watched.actor == *actor)).ok().flatten()
}

/// Records that events of these actors were committed.
pub(super) fn note_committed(actors: &[Actor]) {
    // Work that no request asked for is not watched.
    let _ = WATCHED.try_with(|watched| {
        if actors.contains(&watched.actor) {
            watched.is_recorded.store(true, Ordering::Relaxed);
        }
    });
}
