//! The one write path of users: admitted changes with their events, in transactions of at most 500.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::approvals::approvals_of;
use super::changes::Recorded;
use super::conflicts::refused;
use super::database::{Commits, Store, Writing};
use super::error::{Doing as _, StoreError};
use super::pending_addresses::add_pending_addresses;
use super::person_rows::write_people;
use super::recording::append;
use super::sql::{Fields, Sql, insert};
use super::user_rows::{
    add_pending_users, clear_history, delete_people, end_incarnations, remove_users, write_users,
};
use super::writer::Writer;
use super::{links, users};
use crate::model::{
    AddressKey, Change, ChangeCounts, ChangeKind, ChangeOutcome, Digest, Dn, Event, Holdable as _,
    Identity, KnownAs, Standing, Timestamp, User, UserId,
};
use crate::reconcile::{Admitted, PersonRow, components};
use crate::telemetry::chain;

/// The number of changes in one transaction, unless more depend on each other.
const BATCH: usize = 500;

/// A change that was dropped within this time is not stored again.
const SAME_DROP: Duration = Duration::from_hours(24);

/// The progress of [`Store::apply`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Applied {
    pub counts: ChangeCounts,
    /// The number of changes dropped because their user had changed.
    pub dropped: u64,
    /// The number of dropped changes that were dropped within the last day, too, and not stored.
    pub dropped_again: u64,
    /// The number of stored changes, applied or dropped.
    pub written: u64,
}

impl Store {
    /// Applies admitted changes. `applied` has what was committed, also after an error.
    ///
    /// Each transaction leaves the store consistent: after an interruption, the next run plans the
    /// rest. A batch that fails is applied again in its smallest parts, so that a refused change
    /// stops no other. The people of refused changes join the pending set. The first error is
    /// returned at the end.
    pub async fn apply(
        &self,
        admitted: &Admitted,
        writer: &Writer<'_>,
        applied: &mut Applied,
    ) -> Result<(), StoreError> {
        let done = self.apply_slice(admitted, writer, applied).await;
        self.end_bulk(applied).await?;
        done
    }

    /// Applies changes as [`Self::apply`] does, before others of the same run. The caller ends with
    /// [`Self::end_bulk`].
    pub async fn apply_slice(
        &self,
        admitted: &Admitted,
        writer: &Writer<'_>,
        applied: &mut Applied,
    ) -> Result<(), StoreError> {
        let mut people: BTreeMap<Option<UserId>, Vec<&PersonRow>> = BTreeMap::new();
        for person in admitted.people() {
            people.entry(person.user).or_default().push(person);
        }
        let mut failure = None;
        for batch in admitted.batches(BATCH) {
            let ids: BTreeSet<UserId> = batch.iter().map(|(c, _)| c.user).collect();
            let rows: Vec<&PersonRow> =
                ids.iter().filter_map(|id| people.remove(&Some(*id))).flatten().collect();
            let Err(error) = self.apply_one(&batch, &rows, writer, applied).await else { continue };
            if !error.is_about_the_values() {
                return Err(error);
            }
            for part in parts(&batch) {
                let ids: BTreeSet<UserId> = part.iter().map(|(c, _)| c.user).collect();
                let rows: Vec<&PersonRow> = rows
                    .iter()
                    .copied()
                    .filter(|row| row.user.is_some_and(|id| ids.contains(&id)))
                    .collect();
                if let Err(error) = self.apply_one(&part, &rows, writer, applied).await {
                    tracing::error!(
                        "writing changes of {} users failed: {}",
                        ids.len(),
                        chain(&error)
                    );
                    if let Some(directory) = writer.directory {
                        self.add_pending_people(
                            directory,
                            &part.iter().filter_map(|(c, _)| c.guid).collect(),
                        )
                        .await?;
                    }
                    failure.get_or_insert(error);
                }
            }
        }
        let rest: Vec<&PersonRow> = people.into_values().flatten().collect();
        for rows in rest.chunks(BATCH) {
            let mut writing = self.begin_as(writer.right, Commits::Safely).await?;
            write_people(&mut writing, rows, &BTreeSet::new(), writer).await?;
            writing.commit().await?;
        }
        failure.map_or(Ok(()), Err)
    }

    /// Frees the writer's cache after the last of many changes.
    pub async fn end_bulk(&self, applied: &Applied) -> Result<(), StoreError> {
        if applied.written > 2 * BATCH as u64 { self.shrink_memory().await } else { Ok(()) }
    }

    /// Applies changes in one transaction.
    async fn apply_one(
        &self,
        batch: &[(&Change, bool)],
        rows: &[&PersonRow],
        writer: &Writer<'_>,
        applied: &mut Applied,
    ) -> Result<(), StoreError> {
        let mut writing = self.begin_as(writer.right, Commits::Safely).await?;
        let mut now = *applied;
        let dropped = apply_batch(&mut writing, batch, rows, writer, &mut now).await?;
        // The person of a refused creation has no user to point to.
        let is_uncreated = |id| {
            batch.iter().any(|(c, _)| c.user == id && c.version.is_none()) && dropped.contains(&id)
        };
        let rows: Vec<&PersonRow> =
            rows.iter().copied().filter(|row| !row.user.is_some_and(is_uncreated)).collect();
        write_people(&mut writing, &rows, &dropped, writer).await?;
        writing.commit().await?;
        self.counters.applied(
            writer.directory,
            (applied.counts, applied.dropped),
            (now.counts, now.dropped),
        );
        for (change, _) in batch.iter().filter(|(change, _)| !dropped.contains(&change.user)) {
            if let ChangeKind::Suspend { cause, was_active: true } = &change.kind {
                self.counters.suspended(writer.directory, cause.reason);
            }
        }
        *applied = now;
        Ok(())
    }
}

/// Returns whether the same change was dropped since `since`.
async fn was_dropped(
    writing: &mut Writing<'_>,
    user: UserId,
    digest: Digest,
    since: Timestamp,
) -> Result<bool, StoreError> {
    let sql =
        Sql::new("SELECT 1 FROM changes WHERE outcome = 'dropped' AND user_id = ").bind(user.0);
    let sql =
        sql.push(" AND digest = ").bind(digest.0).push(" AND at > ").bind(since).push(" LIMIT 1");
    Ok(sql.first(&mut *writing.tx).await.doing("read dropped changes")?.is_some())
}

/// Applies one batch. Returns the users of dropped changes.
async fn apply_batch(
    writing: &mut Writing<'_>,
    batch: &[(&Change, bool)],
    people: &[&PersonRow],
    writer: &Writer<'_>,
    applied: &mut Applied,
) -> Result<BTreeSet<UserId>, StoreError> {
    let now = writer.clock.now();
    let ids: Vec<UserId> =
        batch.iter().map(|(c, _)| c.user).collect::<BTreeSet<_>>().into_iter().collect();
    let mut stored: BTreeMap<UserId, User> =
        users::by_ids(&mut *writing.tx, &ids).await?.into_iter().map(|u| (u.id, u)).collect();
    let before = stored.clone();
    let is_current = |change: &Change| match (before.get(&change.user), change.version) {
        (Some(user), Some(version)) => {
            user.version == version
                && (writer.directory.is_none() || user.observed_from <= writer.observed_from)
        }
        (None, None) => true,
        _ => false,
    };
    let refused = refused(writing, batch, &is_current).await?;
    let approvals = approvals_of(writing, writer.directory, batch).await?;
    let cause = writer.cause(now);
    let mut dropped = BTreeSet::new();
    let mut removed = BTreeSet::new();
    let mut forgotten = BTreeSet::new();
    let mut unlinked = BTreeSet::new();
    let mut events = Vec::new();
    let mut rows: Vec<Fields> = Vec::new();
    for (at, (change, approved)) in batch.iter().enumerate() {
        // The JSON of a change is made once, for its row, its digest and its event.
        let shown = change.shown();
        let creates = matches!(change.kind, ChangeKind::Create(_) | ChangeKind::Invite { .. });
        // One of two first sign-ins at the same moment counts.
        let is_done = matches!(change.kind, ChangeKind::Register { .. })
            && stored
                .get(&change.user)
                .is_some_and(|u| u.joined_at.is_some() && u.standing == Standing::Active);
        let outcome = if !refused.contains(&at)
            && !is_done
            && (creates || stored.contains_key(&change.user))
        {
            match (stored.get_mut(&change.user), &change.kind) {
                (Some(_), ChangeKind::Remove { before, .. }) => {
                    stored.remove(&change.user);
                    if before.is_none() {
                        forgotten.insert(change.user);
                    }
                    removed.insert(change.user);
                }
                (Some(user), kind) => {
                    if matches!(kind, ChangeKind::Unlink { .. }) {
                        unlinked.insert(change.user);
                    }
                    user.apply(kind, now);
                }
                (
                    None,
                    kind @ (ChangeKind::Create(joined) | ChangeKind::Invite { after: joined, .. }),
                ) => {
                    let mut user = User::created(change.user, writer.account.id, joined, now);
                    user.apply(kind, now);
                    stored.insert(change.user, user);
                }
                (None, _) => {}
            }
            applied.counts.add(change.kind.verb(), 1);
            ChangeOutcome::Applied
        } else {
            dropped.insert(change.user);
            if writer.directory.is_some()
                && !approved
                && was_dropped(writing, change.user, shown.digest, now.minus(SAME_DROP)).await?
            {
                applied.dropped_again += 1;
                continue;
            }
            applied.dropped += 1;
            ChangeOutcome::Dropped
        };
        let recorded = Recorded {
            run: writer.run,
            seq: applied.written,
            plan: None,
            directory: writer.directory,
            hold: None,
            outcome,
            approved: *approved,
            approvals: &[],
            at: now,
        };
        rows.push(recorded.fields(&shown));
        applied.written += 1;
        if outcome == ChangeOutcome::Applied {
            let approval = approvals.get(&shown.digest).filter(|_| *approved);
            let of_user = |event| (change.user, Event { approval: approval.cloned(), ..event });
            events.extend(Event::of(change, shown, &cause).into_iter().map(of_user));
        }
    }
    let after = stored.clone();
    let changed: Vec<&mut User> =
        stored.values_mut().filter(|u| before.get(&u.id) != Some(u)).collect();
    if writer.directory.is_none() {
        // The directory may ask for another value: the next run reads the people again.
        add_pending_users(writing, changed.iter().map(|u| u.id)).await?;
    }
    for user in &changed {
        let former = before.get(&user.id).and_then(|b| b.link.as_ref());
        if let (Some(former), Some(now)) = (former, &user.link) {
            links::follow(writing, user, former, now).await?;
        }
    }
    let asked = addresses_to_ask(&changed, &before, &removed);
    add_pending_addresses(writing, writer.asked, asked).await?;
    delete_people(writing, &unlinked).await?;
    remove_users(writing, &removed).await?;
    clear_history(writing, &forgotten).await?;
    let observed = writer.directory.map(|_| writer.observed_from);
    write_users(writing, changed, &before, observed).await?;
    insert(&mut writing.tx, "changes", "", rows).await.doing("write changes")?;
    end_incarnations(writing, &removed, now).await?;
    append(writing, &with_identity(events, &before, &after, people, &forgotten), writer.clock)
        .await?;
    Ok(dropped)
}

/// Returns the smallest parts of a batch: the changes of a user, and of users that exchange
/// addresses with it.
fn parts<'a>(batch: &[(&'a Change, bool)]) -> Vec<Vec<(&'a Change, bool)>> {
    let changes: Vec<&Change> = batch.iter().map(|(change, _)| *change).collect();
    let mut parts: BTreeMap<usize, Vec<(&Change, bool)>> = BTreeMap::new();
    for (at, part) in components(&changes).into_iter().enumerate() {
        parts.entry(part).or_default().push(batch[at]);
    }
    parts.into_values().collect()
}

/// Returns the new and former addresses of changed users. A person of a directory may have one of
/// them.
fn addresses_to_ask(
    changed: &[&mut User],
    before: &BTreeMap<UserId, User>,
    removed: &BTreeSet<UserId>,
) -> BTreeSet<AddressKey> {
    let mut asked = BTreeSet::new();
    for user in changed {
        let former = before.get(&user.id);
        if user.link.is_none()
            || former.is_none_or(|former| {
                former.addresses != user.addresses || former.standing != user.standing
            })
        {
            asked.extend(user.addresses.keys());
            asked.extend(former.into_iter().flat_map(|former| former.addresses.keys()));
        }
    }
    asked.extend(
        removed.iter().filter_map(|id| before.get(id)).flat_map(|user| user.addresses.keys()),
    );
    asked
}

/// Adds the names of the user before and after the batch to each event.
///
/// An entry that one edit renames and disables has several changes, and each event has both names.
/// Events of forgotten users have no names.
fn with_identity(
    events: Vec<(UserId, Event)>,
    before: &BTreeMap<UserId, User>,
    after: &BTreeMap<UserId, User>,
    people: &[&PersonRow],
    forgotten: &BTreeSet<UserId>,
) -> Vec<Event> {
    let located: BTreeMap<UserId, &Dn> =
        people.iter().filter_map(|person| Some((person.user?, person.dn.as_ref()?))).collect();
    let known = |id: UserId| {
        let was = before.get(&id).map(|user| Identity::of(user, None));
        let is = after.get(&id).map(|user| Identity::of(user, located.get(&id).copied()));
        Box::new(KnownAs { before: was, after: is })
    };
    events
        .into_iter()
        .map(|(id, event)| Event { user: (!forgotten.contains(&id)).then(|| known(id)), ..event })
        .collect()
}
