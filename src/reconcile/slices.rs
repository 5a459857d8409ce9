//! Slices: the people of a run, divided into parts that are planned one after the other.
//!
//! People whose plans depend on each other are in one slice. They want one address, one wants what the
//! other one's user holds, or both may get one user. So the plan of a slice is the same as its part of
//! the plan of all.

use std::collections::HashMap;

use super::components::{join, root};
use super::{Desired, Known, Observation, address_hash};
use crate::model::{Guid, User, UserId};

/// People who are planned at once, in order.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Slice {
    pub people: Vec<Guid>,
    /// Those about whom the store has something. The plan of all others needs no look at the store.
    pub known: Vec<Guid>,
}

/// The division of people into slices.
#[derive(Debug, Default)]
pub struct Division {
    /// The people, each with whether the store has something about them.
    people: Vec<(Guid, bool)>,
    parent: Vec<usize>,
    /// The first person who is concerned with each address or user, by hash.
    first: HashMap<u64, usize>,
}

impl Division {
    /// Adds a person. `known` has the users whom it concerns.
    pub fn add(&mut self, guid: Guid, observation: &Observation, known: &Known) {
        let at = self.people.len();
        self.parent.push(at);
        let account = observation.policy.account;
        let desired = observation.desired.get(&guid);
        let wanted = desired.map(Desired::wanted_keys).unwrap_or_default();
        let own = [known.of_person(guid), known.user(UserId::of_person(account, guid))];
        let successor = observation.successors.get(&guid).and_then(|id| known.user(*id));
        let holders = wanted.iter().filter_map(|key| known.holder(key));
        let users: Vec<&User> = own.into_iter().flatten().chain(successor).chain(holders).collect();
        self.people.push((guid, !users.is_empty() || known.people.contains_key(&guid)));
        let of_users = users.into_iter().flat_map(|user| {
            let keys = user.addresses.keys();
            keys.iter().map(address_hash).chain([user_hash(user.id)]).collect::<Vec<u64>>()
        });
        for concern in wanted.iter().map(address_hash).chain(of_users) {
            let first = *self.first.entry(concern).or_insert(at);
            join(&mut self.parent, first, at);
        }
    }

    /// Returns the slices, of at most `size` where they do not depend on each other.
    pub fn slices(mut self, size: usize) -> Vec<Slice> {
        let roots: Vec<usize> =
            (0..self.people.len()).map(|at| root(&mut self.parent, at)).collect();
        let mut sizes = vec![0_usize; roots.len()];
        for root in &roots {
            sizes[*root] += 1;
        }
        let mut slices: Vec<Slice> = Vec::new();
        let mut slice_of = vec![0_usize; roots.len()];
        // A component is reserved as a whole when its first person comes.
        let mut reserved = 0;
        for (at, ((guid, is_known), root)) in self.people.into_iter().zip(roots).enumerate() {
            if at == root {
                if slices.is_empty() || reserved + sizes[root] > size {
                    slices.push(Slice::default());
                    reserved = 0;
                }
                reserved += sizes[root];
                slice_of[root] = slices.len() - 1;
            }
            let slice = &mut slices[slice_of[root]];
            slice.people.push(guid);
            slice.known.extend(is_known.then_some(guid));
        }
        slices
    }
}

fn user_hash(id: UserId) -> u64 {
    xxhash_rust::xxh3::xxh3_64(id.0.as_bytes())
}
