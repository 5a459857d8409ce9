//! Components: changes that have to be applied or held together.

use std::collections::BTreeMap;

use crate::model::{AddressKey, Change, UserId};

fn root(parent: &mut [usize], mut at: usize) -> usize {
    while parent[at] != at {
        parent[at] = parent[parent[at]];
        at = parent[at];
    }
    at
}

fn join(parent: &mut [usize], a: usize, b: usize) {
    let (a, b) = (root(parent, a), root(parent, b));
    parent[a.max(b)] = a.min(b);
}

/// Numbers changes by component: those of one user, and of users who exchange an address.
pub fn components(changes: &[&Change]) -> Vec<usize> {
    numbered(changes.iter().copied(), true)
}

/// Numbers changes by component: changes that pass an address on belong together, and with `by_user`
/// all of one user. The number is the position of the component's first change.
pub(super) fn numbered<'a>(changes: impl Iterator<Item = &'a Change>, by_user: bool) -> Vec<usize> {
    let mut parent: Vec<usize> = Vec::new();
    let mut users: BTreeMap<UserId, usize> = BTreeMap::new();
    let mut leaving: BTreeMap<AddressKey, usize> = BTreeMap::new();
    let mut taking: BTreeMap<AddressKey, usize> = BTreeMap::new();
    for (at, change) in changes.enumerate() {
        parent.push(at);
        if by_user {
            let first = *users.entry(change.user).or_insert(at);
            join(&mut parent, first, at);
        }
        let (leaves, takes) = change.address_moves();
        for key in leaves {
            if let Some(other) = taking.get(&key) {
                join(&mut parent, *other, at);
            }
            leaving.insert(key, at);
        }
        for key in takes {
            if let Some(other) = leaving.get(&key) {
                join(&mut parent, *other, at);
            }
            taking.insert(key, at);
        }
    }
    (0..parent.len()).map(|at| root(&mut parent, at)).collect()
}
