//! Components: changes that have to be applied or held together.

use std::collections::BTreeMap;

use super::address_hash;
use crate::model::{AddressKey, Change, UserId};

pub(super) fn root(parent: &mut [usize], mut at: usize) -> usize {
    while parent[at] != at {
        parent[at] = parent[parent[at]];
        at = parent[at];
    }
    at
}

pub(super) fn join(parent: &mut [usize], a: usize, b: usize) {
    let (a, b) = (root(parent, a), root(parent, b));
    parent[a.max(b)] = a.min(b);
}

/// The hashes of the addresses that a change frees, and of those that it takes.
#[derive(Debug)]
pub(super) struct Moves {
    pub leaves: Box<[u64]>,
    pub takes: Box<[u64]>,
}

impl Moves {
    pub fn of(change: &Change) -> Self {
        let (leaves, takes) = change.address_moves();
        let hashes =
            |keys: &std::collections::BTreeSet<AddressKey>| keys.iter().map(address_hash).collect();
        Self { leaves: hashes(&leaves), takes: hashes(&takes) }
    }
}

/// Numbers changes by component: those of one user, and of users who exchange an address.
pub fn components(changes: &[&Change]) -> Vec<usize> {
    let moves: Vec<Moves> = changes.iter().map(|change| Moves::of(change)).collect();
    numbered(changes.iter().map(|change| Some(change.user)).zip(&moves))
}

/// Numbers changes by component: changes that pass an address on belong together, and all of one user
/// that is given. The number is the position of the component's first change.
pub(super) fn numbered<'a>(
    changes: impl Iterator<Item = (Option<UserId>, &'a Moves)>,
) -> Vec<usize> {
    let mut parent: Vec<usize> = Vec::new();
    let mut users: BTreeMap<UserId, usize> = BTreeMap::new();
    let mut leaving: BTreeMap<u64, usize> = BTreeMap::new();
    let mut taking: BTreeMap<u64, usize> = BTreeMap::new();
    for (at, (user, moves)) in changes.enumerate() {
        parent.push(at);
        if let Some(user) = user {
            let first = *users.entry(user).or_insert(at);
            join(&mut parent, first, at);
        }
        for key in &moves.leaves {
            if let Some(other) = taking.get(key) {
                join(&mut parent, *other, at);
            }
            leaving.insert(*key, at);
        }
        for key in &moves.takes {
            if let Some(other) = leaving.get(key) {
                join(&mut parent, *other, at);
            }
            taking.insert(*key, at);
        }
    }
    (0..parent.len()).map(|at| root(&mut parent, at)).collect()
}
