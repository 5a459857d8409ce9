//! Conflicts: changes of a batch that cannot be applied any more.

use std::collections::{BTreeMap, BTreeSet};

use super::database::Writing;
use super::error::{Doing as _, StoreError};
use super::rows::Columns;
use super::sql::{Sql, pieces};
use crate::model::{AddressKey, Change, ChangeKind, UserId};

/// Returns the indices of changes that cannot be applied.
///
/// Their user has changed since they were planned, or they take an address that is not free. A
/// refused change also refuses the changes that need its address.
pub(super) async fn refused(
    writing: &mut Writing<'_>,
    batch: &[(&Change, bool)],
    is_current: impl Fn(&Change) -> bool,
) -> Result<BTreeSet<usize>, StoreError> {
    let mut refused: BTreeSet<usize> =
        (0..batch.len()).filter(|at| !is_current(batch[*at].0)).collect();
    let moves: Vec<_> = batch.iter().map(|(change, _)| change.address_moves()).collect();
    let wanted: BTreeSet<&AddressKey> = moves.iter().flat_map(|(_, takes)| takes).collect();
    let mut holders: BTreeMap<String, UserId> = BTreeMap::new();
    for piece in pieces(wanted.into_iter().map(|key| key.0.clone())) {
        let sql = Sql::new("SELECT address_key, user_id FROM addresses WHERE address_key IN ")
            .list(piece);
        for row in sql.all(&mut *writing.tx).await.doing("read the holders of addresses")? {
            let mut c = Columns::of(&row);
            holders.insert(c.read()?, c.read()?);
        }
    }
    loop {
        let mut leaving: BTreeSet<(UserId, &AddressKey)> = BTreeSet::new();
        let mut gone: BTreeSet<UserId> = BTreeSet::new();
        let mut taking: BTreeMap<&AddressKey, UserId> = BTreeMap::new();
        let mut next = BTreeSet::new();
        for at in (0..batch.len()).filter(|at| !refused.contains(at)) {
            let change = batch[at].0;
            leaving.extend(moves[at].0.iter().map(|key| (change.user, key)));
            if matches!(change.kind, ChangeKind::Release { .. } | ChangeKind::Remove { .. }) {
                gone.insert(change.user);
            }
        }
        for at in (0..batch.len()).filter(|at| !refused.contains(at)) {
            let user = batch[at].0.user;
            for key in &moves[at].1 {
                let holder =
                    holders.get(&key.0).filter(|holder| **holder != user && !gone.contains(holder));
                let is_held = holder.is_some_and(|holder| !leaving.contains(&(*holder, key)));
                let is_taken = *taking.entry(key).or_insert(user) != user;
                if is_held || is_taken {
                    next.insert(at);
                }
            }
        }
        if next.is_empty() {
            return Ok(refused);
        }
        refused.extend(next);
    }
}
