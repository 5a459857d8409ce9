//! Seats: how many connections there may be, and who has to leave when somebody comes and all are taken.
//!
//! Whoever keeps a connection without asking anything makes room for whoever comes later; what the daemon
//! is at for a caller is never given up. So piles of idle or dawdling connections keep nobody out, not even
//! others of the same user.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::turn::{Phase, Phases};

/// Each costs a descriptor and some buffers; operators and their scripts need a handful.
const SEATS: usize = 128;

/// One user cannot take the seats of all the others.
const SEATS_OF_ONE: usize = 32;

/// So many who find no seat are told so at once; later ones find the connection closed.
const STANDING: usize = 32;

/// More connections than this there never are: these, and some that have been told to leave and are about to.
pub(super) const DESCRIPTORS: usize = SEATS + STANDING + 32;

/// How often an operator is told that it is crowded.
const TOLD_AGAIN: Duration = Duration::from_mins(1);

/// The seats of one socket.
#[derive(Clone, Debug, Default)]
pub(super) struct Seats(Arc<Mutex<Room>>);

#[derive(Debug, Default)]
struct Room {
    /// Of each user, those who came first first.
    taken: BTreeMap<u32, Vec<Chair>>,
    standing: usize,
    next: u64,
    told: Option<Instant>,
}

#[derive(Debug)]
struct Chair {
    number: u64,
    phases: Phases,
    leave: CancellationToken,
}

/// A place on the socket; given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    seats: Seats,
    uid: u32,
    /// The number of its chair; `None` for who stands.
    chair: Option<u64>,
}

impl Place {
    /// Whether there was no seat: whoever stands is told so, and nothing else.
    pub(super) fn is_standing(&self) -> bool {
        self.chair.is_none()
    }
}

impl Seats {
    fn room(&self) -> MutexGuard<'_, Room> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for one more connection of this user, which ends when `leave` is cancelled; `None` when there is not even standing room.
    pub(super) fn take(&self, uid: u32, phases: &Phases, leave: &CancellationToken) -> Option<Place> {
        let mut room = self.room();
        let chair = if room.make_room(uid) {
            let number = room.next;
            room.next += 1;
            room.taken.entry(uid).or_default().push(Chair { number, phases: phases.clone(), leave: leave.clone() });
            Some(number)
        } else if room.standing < STANDING {
            room.standing += 1;
            None
        } else {
            return None;
        };
        Some(Place { seats: self.clone(), uid, chair })
    }
}

impl Room {
    /// Whether there is a seat for this user, who may be root; somebody may have to leave for it.
    fn make_room(&mut self, uid: u32) -> bool {
        let own = self.taken.get(&uid).map_or(0, Vec::len);
        if uid != 0 && own >= SEATS_OF_ONE {
            return self.send_away([uid]);
        }
        if self.taken.values().map(Vec::len).sum::<usize>() < SEATS {
            return true;
        }
        let mut users: Vec<(usize, u32)> = self.taken.iter().map(|(uid, chairs)| (chairs.len(), *uid)).collect();
        users.sort_unstable_by(|a, b| b.cmp(a));
        self.send_away(users.into_iter().map(|(_, uid)| uid))
    }

    /// Has one connection of the first of these users leave that has one to spare.
    fn send_away(&mut self, users: impl IntoIterator<Item = u32>) -> bool {
        let users: Vec<u32> = users.into_iter().collect();
        self.tell(&users);
        // Who has asked nothing goes before who is taking an answer.
        for spare in [&[Phase::Listening, Phase::Receiving][..], &[Phase::Sending]] {
            for uid in &users {
                let Some(chairs) = self.taken.get_mut(uid) else { continue };
                if let Some(at) = chairs.iter().position(|c| spare.contains(&c.phases.now())) {
                    chairs.remove(at).leave.cancel();
                    return true;
                }
            }
        }
        false
    }

    fn tell(&mut self, users: &[u32]) {
        if self.told.is_some_and(|at| at.elapsed() < TOLD_AGAIN) {
            return;
        }
        self.told = Some(Instant::now());
        let uid = users.first().copied().unwrap_or_default();
        let connections = self.taken.get(&uid).map_or(0, Vec::len);
        tracing::warn!(uid, connections, "the control socket is crowded: connections that ask nothing are ended to make room");
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut room = self.seats.room();
        let Some(number) = self.chair else {
            room.standing -= 1;
            return;
        };
        if let Some(chairs) = room.taken.get_mut(&self.uid) {
            // Whoever was sent away has no chair any more.
            chairs.retain(|c| c.number != number);
            if chairs.is_empty() {
                room.taken.remove(&self.uid);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Guest {
        phases: Phases,
        leave: CancellationToken,
        place: Option<Place>,
    }

    fn comes(seats: &Seats, uid: u32) -> Guest {
        let (phases, leave) = (Phases::default(), CancellationToken::new());
        let place = seats.take(uid, &phases, &leave);
        Guest { phases, leave, place }
    }

    #[test]
    fn whoever_asks_nothing_makes_room_and_the_oldest_goes_first() {
        let seats = Seats::default();
        let pile: Vec<Guest> = (0..1_000).map(|_| comes(&seats, 1000)).collect();
        assert!(pile.iter().all(|g| g.place.as_ref().is_some_and(|p| !p.is_standing())));
        let stay: Vec<bool> = pile.iter().map(|g| !g.leave.is_cancelled()).collect();
        assert_eq!(stay.iter().filter(|s| **s).count(), SEATS_OF_ONE);
        assert!(stay[1_000 - SEATS_OF_ONE..].iter().all(|s| *s), "the latest stay");
    }

    #[test]
    fn what_the_daemon_is_at_is_never_given_up_and_who_finds_no_seat_is_told_so_or_turned_away() {
        let seats = Seats::default();
        let busy: Vec<Guest> = (0..SEATS_OF_ONE).map(|_| comes(&seats, 1000)).collect();
        let turns: Vec<_> = busy.iter().map(|g| g.phases.begin()).collect();
        for turn in &turns {
            turn.goes_on(Phase::Answering);
        }
        let more: Vec<Guest> = (0..STANDING).map(|_| comes(&seats, 1000)).collect();
        assert!(more.iter().all(|g| g.place.as_ref().is_some_and(Place::is_standing)));
        assert!(comes(&seats, 1000).place.is_none());
        assert!(busy.iter().all(|g| !g.leave.is_cancelled()));
        assert!(comes(&seats, 1001).place.is_some_and(|p| !p.is_standing()), "another user is not touched by it");
        drop(more);
        assert!(comes(&seats, 1000).place.is_some_and(|p| p.is_standing()), "standing room is given back");
        turns[3].goes_on(Phase::Sending);
        assert!(comes(&seats, 1000).place.is_some_and(|p| !p.is_standing()));
        assert!(busy[3].leave.is_cancelled(), "who is only slow to take an answer goes when it must be");
    }

    #[test]
    fn when_all_seats_are_taken_the_user_with_the_most_gives_one_up() {
        let seats = Seats::default();
        let few: Vec<Guest> = (0..8).map(|_| comes(&seats, 2000)).collect();
        let piles: Vec<Guest> = (0..4).flat_map(|user| std::iter::repeat_n(user, SEATS_OF_ONE)).map(|u| comes(&seats, u + 1)).collect();
        assert!(few.iter().all(|g| !g.leave.is_cancelled()));
        let honest = comes(&seats, 3000);
        assert!(honest.place.is_some_and(|p| !p.is_standing()));
        assert!(few.iter().all(|g| !g.leave.is_cancelled()));
        assert_eq!(piles.iter().filter(|g| !g.leave.is_cancelled()).count(), SEATS - 8 - 1);
    }
}
