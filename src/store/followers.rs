//! Followers: the targets whose counterparts become due with the events of users.
//!
//! The transaction that writes an event of a user makes its counterparts due. So no change of a user
//! is lost, and ten changes are one piece of work.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::counterpart_rows::fields;
use super::database::Writing;
use super::error::{Doing as _, StoreError};
use super::sql::insert;
use super::subscription::Follower;
use crate::model::{CounterpartRow, Due, Event, Lane, RunId, Timestamp, UserId};

/// The pending work of a user after an event.
struct Woken {
    lane: Lane,
    seq: i64,
    run: Option<RunId>,
}

/// Makes the counterparts of the users of these events due. `first` is the number of the first.
pub(super) async fn make_due(
    writing: &mut Writing<'_>,
    events: &[Event],
    first: i64,
    now: Timestamp,
) -> Result<(), StoreError> {
    let follows = Arc::clone(&writing.follows);
    for Follower { target, account } in &follows.targets {
        let mut woken: BTreeMap<UserId, Woken> = BTreeMap::new();
        for (event, seq) in events.iter().zip(first..) {
            let is_of_account = event.cause.account.as_ref().is_none_or(|of| of == account);
            let Ok(user) = event.subject.0.parse() else { continue };
            if !event.kind.starts_with("user.") || !is_of_account {
                continue;
            }
            let lane = match event.kind {
                "user.suspended" | "user.released" | "user.removed" | "user.transferred" => {
                    Lane::Leaver
                }
                _ => Lane::Change,
            };
            let one = woken.entry(user).or_insert(Woken { lane, seq, run: None });
            *one = Woken { lane: one.lane.min(lane), seq, run: event.cause.run };
        }
        let rows = woken.into_iter().map(|(user, Woken { lane, seq, run })| {
            let due = Due {
                at: Some(now),
                since: Some(now),
                lane: Some(lane),
                seq: seq as u64,
                run,
                is_followed: true,
                ..Due::default()
            };
            fields(target, &CounterpartRow { due, ..CounterpartRow::absent(user) })
        });
        let tail = "ON CONFLICT (target, user_id) DO UPDATE SET due_since = CASE WHEN counterparts.due_at IS NOT NULL \
                    AND counterparts.lane <= excluded.lane THEN counterparts.due_since ELSE excluded.due_since END, \
                    due_at = excluded.due_at, due_seq = excluded.due_seq, \
                    due_run = excluded.due_run, is_followed = 1, attempts = 0, \
                    lane = CASE WHEN counterparts.due_at IS NOT NULL AND counterparts.lane < excluded.lane \
                    THEN counterparts.lane ELSE excluded.lane END";
        insert(&mut writing.tx, "counterparts", tail, rows).await.doing("make counterparts due")?;
    }
    Ok(())
}
