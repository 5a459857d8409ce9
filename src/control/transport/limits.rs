//! Seats: how many connections there may be, and which one ends when all are taken.
//!
//! Each class of callers has seats of its own, so no class can take those of another: whatever strangers and viewers do,
//! root and operators find a seat. Within a class a connection that asks nothing makes room for a newer one, and a long
//! poll is answered early; what the daemon is at for a caller is never given up.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::phase::{Phase, Phases};
use crate::control::auth::roles::{Role, Roles};

/// Class of a caller: its highest role decides whose seats it takes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(in crate::control) enum Class {
    Root,
    Operators,
    Authenticators,
    Viewers,
    /// Callers without a role. They are told so, and need a seat for it.
    Strangers,
}

impl Class {
    const ALL: [Self; 5] =
        [Self::Root, Self::Operators, Self::Authenticators, Self::Viewers, Self::Strangers];

    /// The class of a user with these roles.
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

    /// Seats of the class, and how many of them one user may take. Each costs a descriptor and some buffers. Applications
    /// have many sign-ins under way, people and their scripts a handful of requests, strangers nothing but a refusal.
    const fn seats(self) -> (usize, usize) {
        match self {
            Self::Root => (48, 48),
            Self::Operators => (48, 32),
            Self::Authenticators => (64, 48),
            Self::Viewers => (48, 24),
            Self::Strangers => (16, 4),
        }
    }
}

/// So many callers of a class who find no seat are told so at once; later ones find the connection closed.
const STANDING: usize = 16;

/// Long polls of one user that wait at once; root's are not counted.
pub(in crate::control) const POLLS_OF_ONE: usize = 8;

/// Descriptors of all connections: the seats, the standing room, and some of those that were told to leave and are about to.
pub(in crate::control) const DESCRIPTORS: usize = {
    let (mut sum, mut at) = (64, 0);
    while at < Class::ALL.len() {
        sum += Class::ALL[at].seats().0 + STANDING;
        at += 1;
    }
    sum
};

/// How often the log says that it is crowded.
const TOLD_AGAIN: Duration = Duration::from_mins(1);

/// The seats of one socket.
#[derive(Clone, Debug, Default)]
pub(in crate::control) struct Seats(Arc<Mutex<Room>>);

#[derive(Debug, Default)]
struct Room {
    classes: BTreeMap<Class, Row>,
    /// Long polls that wait, by user.
    polls: BTreeMap<u32, usize>,
    next: u64,
    told: Option<Instant>,
}

/// The seats of one class.
#[derive(Debug, Default)]
struct Row {
    /// Connections by user, the oldest first.
    taken: BTreeMap<u32, Vec<Chair>>,
    standing: usize,
}

#[derive(Debug)]
struct Chair {
    number: u64,
    phases: Phases,
    signals: Signals,
}

/// What a connection can be told.
#[derive(Clone, Debug)]
pub(in crate::control) struct Signals {
    /// To end at once.
    pub(in crate::control) leave: CancellationToken,
    /// To answer a long poll now, and to end after the answer.
    pub(in crate::control) hurry: CancellationToken,
}

/// A place on the socket; given back when dropped.
#[derive(Debug)]
pub(in crate::control) struct Place {
    seats: Seats,
    class: Class,
    uid: u32,
    /// Number of its chair; `None` for standing room.
    chair: Option<u64>,
}

impl Place {
    /// Whether there was no seat: the caller is told so, and nothing else.
    pub(in crate::control) fn is_standing(&self) -> bool {
        self.chair.is_none()
    }
}

/// A long poll that waits; over when dropped.
#[derive(Debug)]
pub(in crate::control) struct LongPoll {
    seats: Seats,
    uid: u32,
    phases: Phases,
}

impl Drop for LongPoll {
    fn drop(&mut self) {
        self.phases.set(Phase::Answering);
        let mut room = self.seats.room();
        if let Some(count) = room.polls.get_mut(&self.uid) {
            *count -= 1;
            if *count == 0 {
                room.polls.remove(&self.uid);
            }
        }
    }
}

impl Seats {
    fn room(&self) -> MutexGuard<'_, Room> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place for one more connection of this user; `None` when there is not even standing room.
    pub(in crate::control) fn take(
        &self,
        class: Class,
        uid: u32,
        phases: &Phases,
        signals: &Signals,
    ) -> Option<Place> {
        let mut room = self.room();
        let chair = if room.make_room(class, uid) {
            let number = room.next;
            room.next += 1;
            let chair = Chair { number, phases: phases.clone(), signals: signals.clone() };
            room.row(class).taken.entry(uid).or_default().push(chair);
            Some(number)
        } else if room.row(class).standing < STANDING {
            room.row(class).standing += 1;
            None
        } else {
            return None;
        };
        Some(Place { seats: self.clone(), class, uid, chair })
    }

    /// Begins a long poll of this user; `None` when too many of them wait already.
    pub(in crate::control) fn wait(&self, uid: u32, phases: &Phases) -> Option<LongPoll> {
        let mut room = self.room();
        let count = room.polls.entry(uid).or_default();
        if uid != 0 && *count >= POLLS_OF_ONE {
            return None;
        }
        *count += 1;
        phases.set(Phase::Polling);
        Some(LongPoll { seats: self.clone(), uid, phases: phases.clone() })
    }
}

impl Room {
    fn row(&mut self, class: Class) -> &mut Row {
        self.classes.entry(class).or_default()
    }

    /// Whether there is a seat for this user; another connection of the class may have to end for it.
    fn make_room(&mut self, class: Class, uid: u32) -> bool {
        let (all, of_one) = class.seats();
        let row = self.row(class);
        if row.taken.get(&uid).map_or(0, Vec::len) >= of_one {
            return self.send_away(class, &[uid]);
        }
        if row.taken.values().map(Vec::len).sum::<usize>() < all {
            return true;
        }
        let mut users: Vec<(usize, u32)> =
            row.taken.iter().map(|(uid, chairs)| (chairs.len(), *uid)).collect();
        users.sort_unstable_by(|a, b| b.cmp(a));
        self.send_away(class, &users.into_iter().map(|(_, uid)| uid).collect::<Vec<_>>())
    }

    /// Ends one connection of the first of these users that has one to spare.
    fn send_away(&mut self, class: Class, users: &[u32]) -> bool {
        self.tell(class, users);
        // A connection that has asked nothing goes first, then a long poll, last an answer that is not taken.
        for spare in
            [&[Phase::Listening, Phase::Receiving][..], &[Phase::Polling], &[Phase::Sending]]
        {
            for uid in users {
                let Some(chairs) = self.row(class).taken.get_mut(uid) else { continue };
                if let Some(at) = chairs.iter().position(|c| spare.contains(&c.phases.now())) {
                    let Chair { signals, .. } = chairs.remove(at);
                    // A long poll that is just over is answered, too.
                    if *spare == [Phase::Polling] {
                        signals.hurry.cancel()
                    } else {
                        signals.leave.cancel()
                    }
                    return true;
                }
            }
        }
        false
    }

    fn tell(&mut self, class: Class, users: &[u32]) {
        if self.told.is_some_and(|at| at.elapsed() < TOLD_AGAIN) {
            return;
        }
        self.told = Some(Instant::now());
        let uid = users.first().copied().unwrap_or_default();
        let connections = self.row(class).taken.get(&uid).map_or(0, Vec::len);
        tracing::warn!(
            uid,
            connections,
            "the control socket is crowded ({class:?}): connections that ask nothing are ended, and long polls answered early"
        );
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut room = self.seats.room();
        let row = room.row(self.class);
        let Some(number) = self.chair else {
            row.standing -= 1;
            return;
        };
        if let Some(chairs) = row.taken.get_mut(&self.uid) {
            // A connection that was sent away has no chair any more.
            chairs.retain(|c| c.number != number);
            if chairs.is_empty() {
                row.taken.remove(&self.uid);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Guest {
        phases: Phases,
        signals: Signals,
        place: Option<Place>,
    }

    impl Guest {
        fn sits(&self) -> bool {
            self.place.as_ref().is_some_and(|place| !place.is_standing()) && !self.was_sent_away()
        }

        fn was_sent_away(&self) -> bool {
            self.signals.leave.is_cancelled() || self.signals.hurry.is_cancelled()
        }
    }

    fn comes(seats: &Seats, class: Class, uid: u32) -> Guest {
        let (phases, signals) = (
            Phases::default(),
            Signals { leave: CancellationToken::new(), hurry: CancellationToken::new() },
        );
        let place = seats.take(class, uid, &phases, &signals);
        Guest { phases, signals, place }
    }

    #[test]
    fn a_connection_that_asks_nothing_makes_room_and_the_oldest_goes_first() {
        let seats = Seats::default();
        let pile: Vec<Guest> = (0..1_000).map(|_| comes(&seats, Class::Viewers, 1000)).collect();
        assert!(pile.iter().all(|g| g.place.as_ref().is_some_and(|p| !p.is_standing())));
        let (_, of_one) = Class::Viewers.seats();
        assert_eq!(pile.iter().filter(|g| g.sits()).count(), of_one);
        assert!(pile[1_000 - of_one..].iter().all(Guest::sits), "the latest stay");
    }

    #[test]
    fn what_the_daemon_is_at_is_never_given_up_and_who_finds_no_seat_is_told_so_or_turned_away() {
        let seats = Seats::default();
        let (_, of_one) = Class::Operators.seats();
        let busy: Vec<Guest> = (0..of_one).map(|_| comes(&seats, Class::Operators, 1000)).collect();
        let turns: Vec<_> = busy.iter().map(|g| g.phases.begin()).collect();
        for turn in &turns {
            turn.goes_on(Phase::Answering);
        }
        let more: Vec<Guest> =
            (0..STANDING).map(|_| comes(&seats, Class::Operators, 1000)).collect();
        assert!(more.iter().all(|g| g.place.as_ref().is_some_and(Place::is_standing)));
        assert!(comes(&seats, Class::Operators, 1000).place.is_none());
        assert!(busy.iter().all(Guest::sits));
        assert!(comes(&seats, Class::Operators, 1001).sits(), "another user is not touched by it");
        drop(more);
        assert!(
            comes(&seats, Class::Operators, 1000).place.is_some_and(|p| p.is_standing()),
            "standing room is given back"
        );
        turns[3].goes_on(Phase::Sending);
        assert!(comes(&seats, Class::Operators, 1000).sits());
        assert!(
            busy[3].signals.leave.is_cancelled(),
            "who is only slow to take an answer goes when it must be"
        );
    }

    #[test]
    fn when_all_seats_of_a_class_are_taken_the_user_with_the_most_gives_one_up() {
        let seats = Seats::default();
        let few: Vec<Guest> = (0..4).map(|_| comes(&seats, Class::Viewers, 2000)).collect();
        let (all, of_one) = Class::Viewers.seats();
        let piles: Vec<Guest> = (0..4)
            .flat_map(|user| std::iter::repeat_n(user, of_one))
            .map(|u| comes(&seats, Class::Viewers, u + 1))
            .collect();
        assert!(few.iter().all(Guest::sits));
        assert!(comes(&seats, Class::Viewers, 3000).sits());
        assert!(few.iter().all(Guest::sits));
        assert_eq!(piles.iter().filter(|g| g.sits()).count(), all - 4 - 1);
    }

    /// Every class fills its own seats with what is never given up; each other class finds all of its own.
    #[test]
    fn no_class_can_take_the_seats_of_another() {
        for filling in Class::ALL {
            let seats = Seats::default();
            let crowd: Vec<Guest> =
                (0..2_000).map(|n| comes(&seats, filling, 1 + n % 100)).collect();
            let turns: Vec<_> = crowd.iter().map(|g| g.phases.begin()).collect();
            for turn in &turns {
                turn.goes_on(Phase::Answering);
            }
            for other in Class::ALL.into_iter().filter(|other| *other != filling) {
                let (all, of_one) = other.seats();
                let guests: Vec<Guest> =
                    (0..all).map(|n| comes(&seats, other, (5_000 + n / of_one) as u32)).collect();
                assert!(guests.iter().all(Guest::sits), "{filling:?} keep {other:?} out");
            }
        }
    }

    #[test]
    fn long_polls_yield_when_seats_are_scarce_and_one_user_has_only_so_many() {
        let seats = Seats::default();
        let (all, of_one) = Class::Viewers.seats();
        let guests: Vec<Guest> =
            (0..all).map(|n| comes(&seats, Class::Viewers, (n / of_one) as u32 + 1)).collect();
        let turns: Vec<_> = guests.iter().map(|g| g.phases.begin()).collect();
        for turn in &turns {
            turn.goes_on(Phase::Answering);
        }
        let polls: Vec<_> = guests
            .iter()
            .enumerate()
            .map(|(n, g)| seats.wait((n / of_one) as u32 + 1, &g.phases))
            .collect();
        assert_eq!(polls.iter().flatten().count(), all / of_one * POLLS_OF_ONE);
        assert!(comes(&seats, Class::Viewers, 3000).sits());
        assert_eq!(guests.iter().filter(|g| g.signals.hurry.is_cancelled()).count(), 1);
        assert!(
            guests.iter().all(|g| !g.signals.leave.is_cancelled()),
            "a poll is answered, not cut off"
        );
        drop(polls);
        assert!(seats.wait(1, &guests[0].phases).is_some());
    }
}
