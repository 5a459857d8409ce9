//! Limits on connections: how many there may be, and which one is evicted when all slots are taken.
//!
//! Each class of callers has connection slots of its own, and no class can take those of another.
//! So viewers and strangers never keep root and operators out. Within a class, a connection without
//! a request is evicted for a newer one. A long poll is answered early. A connection whose request
//! is being answered is never evicted.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::phase::{Phase, SharedPhase};
use crate::control::auth::roles::{Role, Roles};

/// Class of a caller. Its highest role decides which slots its connections take.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(in crate::control) enum Class {
    Root,
    Operators,
    Authenticators,
    Viewers,
    /// Callers without a role. They need a slot for the answer that refuses them.
    Strangers,
}

impl Class {
    const ALL: [Self; 5] =
        [Self::Root, Self::Operators, Self::Authenticators, Self::Viewers, Self::Strangers];

    /// Returns the class of a user with these roles.
    pub(in crate::control) fn of(uid: u32, roles: Roles) -> Self {
        if uid == 0 {
            Self::Root
        } else if roles.has(Role::Operator) {
            Self::Operators
        } else if roles.has(Role::Authenticator) {
            Self::Authenticators
        } else if roles.has(Role::Viewer) {
            Self::Viewers
        } else {
            Self::Strangers
        }
    }

    /// Returns the slots of the class, and how many of them one user may take.
    ///
    /// Each slot costs a descriptor and some buffers. Applications have many sign-ins under way,
    /// operators and scripts a handful of requests, callers without a role only a refusal.
    const fn slots(self) -> (usize, usize) {
        match self {
            Self::Root => (48, 48),
            Self::Operators => (48, 32),
            Self::Authenticators => (64, 48),
            Self::Viewers => (48, 24),
            Self::Strangers => (16, 4),
        }
    }
}

/// Overflow connections of a class. They are answered with 503 at once; further connections are
/// closed.
const OVERFLOW: usize = 16;

/// Concurrent long polls of one user. Root has no limit.
pub(in crate::control) const POLLS_PER_USER: usize = 8;

/// Descriptors of all connections: slots, overflow, and evicted connections that are about to end.
pub(in crate::control) const DESCRIPTORS: usize = {
    let (mut sum, mut at) = (64, 0);
    while at < Class::ALL.len() {
        sum += Class::ALL[at].slots().0 + OVERFLOW;
        at += 1;
    }
    sum
};

/// Interval between two warnings about full slots, because a flood of connections must not flood
/// the log.
const WARNING_INTERVAL: Duration = Duration::from_mins(1);

/// The connection slots of one socket.
#[derive(Clone, Debug, Default)]
pub(in crate::control) struct Slots(Arc<Mutex<Table>>);

#[derive(Debug, Default)]
struct Table {
    classes: BTreeMap<Class, ClassSlots>,
    /// Long polls that wait, by user.
    polls: BTreeMap<u32, usize>,
    next: u64,
    warned_at: Option<Instant>,
}

#[derive(Debug, Default)]
struct ClassSlots {
    /// Connections by user, the oldest first.
    taken: BTreeMap<u32, Vec<Slot>>,
    overflow: usize,
}

#[derive(Debug)]
struct Slot {
    number: u64,
    phase: SharedPhase,
    signals: Signals,
}

/// Signals to one connection.
#[derive(Clone, Debug)]
pub(in crate::control) struct Signals {
    /// Ends the connection at once.
    pub(in crate::control) abort: CancellationToken,
    /// Answers a long poll now, and ends the connection after the answer.
    pub(in crate::control) finish: CancellationToken,
}

/// A connection's slot or overflow place. It is returned when dropped.
#[derive(Debug)]
pub(in crate::control) struct Lease {
    slots: Slots,
    class: Class,
    uid: u32,
    /// Number of the slot; `None` for an overflow connection.
    slot: Option<u64>,
}

impl Lease {
    /// Returns whether all slots were taken: the connection is answered with 503 only.
    pub(in crate::control) fn is_overflow(&self) -> bool {
        self.slot.is_none()
    }
}

/// A long poll that waits. It ends when dropped.
#[derive(Debug)]
pub(in crate::control) struct LongPoll {
    slots: Slots,
    uid: u32,
    phase: SharedPhase,
}

impl Drop for LongPoll {
    fn drop(&mut self) {
        self.phase.set(Phase::Answering);
        let mut table = self.slots.table();
        if let Some(count) = table.polls.get_mut(&self.uid) {
            *count -= 1;
            if *count == 0 {
                table.polls.remove(&self.uid);
            }
        }
    }
}

impl Slots {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a slot or an overflow place for a connection of this user. Returns `None` when there
    /// is neither.
    pub(in crate::control) fn take(
        &self,
        class: Class,
        uid: u32,
        phase: &SharedPhase,
        signals: &Signals,
    ) -> Option<Lease> {
        let mut table = self.table();
        let slot = if table.make_room(class, uid) {
            let number = table.next;
            table.next += 1;
            let slot = Slot { number, phase: phase.clone(), signals: signals.clone() };
            table.class(class).taken.entry(uid).or_default().push(slot);
            Some(number)
        } else if table.class(class).overflow < OVERFLOW {
            table.class(class).overflow += 1;
            None
        } else {
            return None;
        };
        Some(Lease { slots: self.clone(), class, uid, slot })
    }

    /// Begins a long poll of this user. Returns `None` when the user has too many already.
    pub(in crate::control) fn begin_poll(&self, uid: u32, phase: &SharedPhase) -> Option<LongPoll> {
        let mut table = self.table();
        let count = table.polls.entry(uid).or_default();
        if uid != 0 && *count >= POLLS_PER_USER {
            return None;
        }
        *count += 1;
        phase.set(Phase::Polling);
        Some(LongPoll { slots: self.clone(), uid, phase: phase.clone() })
    }
}

impl Table {
    fn class(&mut self, class: Class) -> &mut ClassSlots {
        self.classes.entry(class).or_default()
    }

    /// Returns whether there is a slot for this user. Another connection of the class may be
    /// evicted for it.
    fn make_room(&mut self, class: Class, uid: u32) -> bool {
        let (all, per_user) = class.slots();
        let slots = self.class(class);
        if slots.taken.get(&uid).map_or(0, Vec::len) >= per_user {
            return self.evict(class, &[uid]);
        }
        if slots.taken.values().map(Vec::len).sum::<usize>() < all {
            return true;
        }
        let mut users: Vec<(usize, u32)> =
            slots.taken.iter().map(|(uid, of_user)| (of_user.len(), *uid)).collect();
        users.sort_unstable_by(|a, b| b.cmp(a));
        self.evict(class, &users.into_iter().map(|(_, uid)| uid).collect::<Vec<_>>())
    }

    /// Evicts one connection, of the first of these users that has one to spare.
    fn evict(&mut self, class: Class, users: &[u32]) -> bool {
        self.warn(class, users);
        // Order: a connection without a request, then a long poll, last an answer that the caller
        // does not read.
        for spare in [&[Phase::Idle, Phase::Receiving][..], &[Phase::Polling], &[Phase::Sending]] {
            for uid in users {
                let Some(slots) = self.class(class).taken.get_mut(uid) else { continue };
                if let Some(at) = slots.iter().position(|slot| spare.contains(&slot.phase.get())) {
                    let Slot { signals, .. } = slots.remove(at);
                    // A long poll that has just ended is answered, too.
                    if *spare == [Phase::Polling] {
                        signals.finish.cancel()
                    } else {
                        signals.abort.cancel()
                    }
                    return true;
                }
            }
        }
        false
    }

    fn warn(&mut self, class: Class, users: &[u32]) {
        if self.warned_at.is_some_and(|at| at.elapsed() < WARNING_INTERVAL) {
            return;
        }
        self.warned_at = Some(Instant::now());
        let uid = users.first().copied().unwrap_or_default();
        let connections = self.class(class).taken.get(&uid).map_or(0, Vec::len);
        tracing::warn!(
            uid,
            connections,
            "control socket has no free connection slot ({class:?}): idle connections are evicted, long polls answered early"
        );
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut table = self.slots.table();
        let class = table.class(self.class);
        let Some(number) = self.slot else {
            class.overflow -= 1;
            return;
        };
        if let Some(slots) = class.taken.get_mut(&self.uid) {
            // An evicted connection has no slot any more.
            slots.retain(|slot| slot.number != number);
            if slots.is_empty() {
                class.taken.remove(&self.uid);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Connection {
        phase: SharedPhase,
        signals: Signals,
        lease: Option<Lease>,
    }

    impl Connection {
        fn has_slot(&self) -> bool {
            self.lease.as_ref().is_some_and(|lease| !lease.is_overflow()) && !self.was_evicted()
        }

        fn was_evicted(&self) -> bool {
            self.signals.abort.is_cancelled() || self.signals.finish.is_cancelled()
        }
    }

    fn connect(slots: &Slots, class: Class, uid: u32) -> Connection {
        let (phase, signals) = (
            SharedPhase::default(),
            Signals { abort: CancellationToken::new(), finish: CancellationToken::new() },
        );
        let lease = slots.take(class, uid, &phase, &signals);
        Connection { phase, signals, lease }
    }

    #[test]
    fn the_oldest_connection_without_a_request_is_evicted_first() {
        let slots = Slots::default();
        let flood: Vec<Connection> =
            (0..1_000).map(|_| connect(&slots, Class::Viewers, 1000)).collect();
        assert!(flood.iter().all(|c| c.lease.as_ref().is_some_and(|l| !l.is_overflow())));
        let (_, per_user) = Class::Viewers.slots();
        assert_eq!(flood.iter().filter(|c| c.has_slot()).count(), per_user);
        assert!(flood[1_000 - per_user..].iter().all(Connection::has_slot), "the latest stay");
    }

    #[test]
    fn a_request_in_progress_is_never_evicted_and_later_connections_overflow() {
        let slots = Slots::default();
        let (_, per_user) = Class::Operators.slots();
        let busy: Vec<Connection> =
            (0..per_user).map(|_| connect(&slots, Class::Operators, 1000)).collect();
        let exchanges: Vec<_> = busy.iter().map(|c| c.phase.begin()).collect();
        for exchange in &exchanges {
            exchange.enter(Phase::Answering);
        }
        let more: Vec<Connection> =
            (0..OVERFLOW).map(|_| connect(&slots, Class::Operators, 1000)).collect();
        assert!(more.iter().all(|c| c.lease.as_ref().is_some_and(Lease::is_overflow)));
        assert!(connect(&slots, Class::Operators, 1000).lease.is_none());
        assert!(busy.iter().all(Connection::has_slot));
        assert!(connect(&slots, Class::Operators, 1001).has_slot(), "another user has its own");
        drop(more);
        assert!(
            connect(&slots, Class::Operators, 1000).lease.is_some_and(|l| l.is_overflow()),
            "overflow places are returned"
        );
        exchanges[3].enter(Phase::Sending);
        assert!(connect(&slots, Class::Operators, 1000).has_slot());
        assert!(
            busy[3].signals.abort.is_cancelled(),
            "a caller that does not read is evicted last"
        );
    }

    #[test]
    fn the_user_with_the_most_connections_loses_one_when_the_class_is_full() {
        let slots = Slots::default();
        let few: Vec<Connection> = (0..4).map(|_| connect(&slots, Class::Viewers, 2000)).collect();
        let (all, per_user) = Class::Viewers.slots();
        let floods: Vec<Connection> = (0..4)
            .flat_map(|user| std::iter::repeat_n(user, per_user))
            .map(|user| connect(&slots, Class::Viewers, user + 1))
            .collect();
        assert!(few.iter().all(Connection::has_slot));
        assert!(connect(&slots, Class::Viewers, 3000).has_slot());
        assert!(few.iter().all(Connection::has_slot));
        assert_eq!(floods.iter().filter(|c| c.has_slot()).count(), all - 4 - 1);
    }

    /// Each class fills its own slots with requests in progress; every other class still finds all
    /// of its own.
    #[test]
    fn no_class_can_take_the_slots_of_another() {
        for filling in Class::ALL {
            let slots = Slots::default();
            let crowd: Vec<Connection> =
                (0..2_000).map(|n| connect(&slots, filling, 1 + n % 100)).collect();
            let exchanges: Vec<_> = crowd.iter().map(|c| c.phase.begin()).collect();
            for exchange in &exchanges {
                exchange.enter(Phase::Answering);
            }
            for other in Class::ALL.into_iter().filter(|other| *other != filling) {
                let (all, per_user) = other.slots();
                let connections: Vec<Connection> = (0..all)
                    .map(|n| connect(&slots, other, (5_000 + n / per_user) as u32))
                    .collect();
                assert!(
                    connections.iter().all(Connection::has_slot),
                    "{filling:?} keep {other:?} out"
                );
            }
        }
    }

    #[test]
    fn a_long_poll_ends_early_when_slots_are_scarce_and_polls_per_user_are_limited() {
        let slots = Slots::default();
        let (all, per_user) = Class::Viewers.slots();
        let user = |n: usize| (n / per_user) as u32 + 1;
        let connections: Vec<Connection> =
            (0..all).map(|n| connect(&slots, Class::Viewers, user(n))).collect();
        let exchanges: Vec<_> = connections.iter().map(|c| c.phase.begin()).collect();
        for exchange in &exchanges {
            exchange.enter(Phase::Answering);
        }
        let polls: Vec<_> = connections
            .iter()
            .enumerate()
            .map(|(n, c)| slots.begin_poll(user(n), &c.phase))
            .collect();
        assert_eq!(polls.iter().flatten().count(), all / per_user * POLLS_PER_USER);
        assert!(connect(&slots, Class::Viewers, 3000).has_slot());
        assert_eq!(connections.iter().filter(|c| c.signals.finish.is_cancelled()).count(), 1);
        assert!(
            connections.iter().all(|c| !c.signals.abort.is_cancelled()),
            "a poll is answered, not cut off"
        );
        drop(polls);
        assert!(slots.begin_poll(1, &connections[0].phase).is_some());
    }
}
