//! Slices: the people of a run, divided into parts that are planned one after the other.
//!
//! People whose plans depend on each other are in one slice. They want one address, one wants what the
//! other one's user holds, or both may get one user. So the plan of a slice is the same as its part of
//! the plan of all.

use std::collections::HashMap;

use super::components::{join, root};
use super::{Desired, Known, Observation, address_hash};
use crate::model::{Guid, User, UserId};

/// The division of people into slices.
#[derive(Debug, Default)]
pub struct Division {
    people: Vec<Guid>,
    parent: Vec<usize>,
    /// The first person who is concerned with each address or user, by hash.
    first: HashMap<u64, usize>,
}

impl Division {
    /// Adds a person. `known` has the users whom it concerns.
    pub fn add(&mut self, guid: Guid, observation: &Observation, known: &Known) {
        let at = self.people.len();
        self.people.push(guid);
        self.parent.push(at);
        let account = observation.policy.account;
        let desired = observation.desired.get(&guid);
        let wanted = desired.map(Desired::wanted_keys).unwrap_or_default();
        let own = [known.of_person(guid), known.user(UserId::of_person(account, guid))];
        let successor = observation.successors.get(&guid).and_then(|id| known.user(*id));
        let holders = wanted.iter().filter_map(|key| known.holder(key));
        let users: Vec<&User> = own.into_iter().flatten().chain(successor).chain(holders).collect();
        let of_users = users.into_iter().flat_map(|user| {
            let keys = user.addresses.keys();
            keys.iter().map(address_hash).chain([user_hash(user.id)]).collect::<Vec<u64>>()
        });
        for concern in wanted.iter().map(address_hash).chain(of_users) {
            let first = *self.first.entry(concern).or_insert(at);
            join(&mut self.parent, first, at);
        }
    }

    /// Returns the people by slice, of at most `size` where they do not depend on each other.
    pub fn slices(mut self, size: usize) -> Vec<Vec<Guid>> {
        let roots: Vec<usize> =
            (0..self.people.len()).map(|at| root(&mut self.parent, at)).collect();
        let mut sizes = vec![0_usize; roots.len()];
        for root in &roots {
            sizes[*root] += 1;
        }
        let mut slices: Vec<Vec<Guid>> = Vec::new();
        let mut slice_of = vec![0_usize; roots.len()];
        // A component is reserved as a whole when its first person comes.
        let mut reserved = 0;
        for (at, (guid, root)) in self.people.into_iter().zip(roots).enumerate() {
            if at == root {
                if slices.is_empty() || reserved + sizes[root] > size {
                    slices.push(Vec::new());
                    reserved = 0;
                }
                reserved += sizes[root];
                slice_of[root] = slices.len() - 1;
            }
            slices[slice_of[root]].push(guid);
        }
        slices
    }
}

fn user_hash(id: UserId) -> u64 {
    xxhash_rust::xxh3::xxh3_64(id.0.as_bytes())
}
