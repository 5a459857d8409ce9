//! The one write path of users: what the guard admitted, with its events, in transactions of at most 500.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::sql::{Columns, Sql, Value, insert, json, pieces};
use super::{Doing as _, Store, StoreError, Writing, events, links, users};
use crate::clock::Clock;
use crate::model::{
    AccountRef, Actor, AddressKey, Change, ChangeCounts, ChangeKind, DirectoryName, Dn, Event,
    EventCause, Identity, KnownAs, ObservationNumber, RunId, Standing, Timestamp, User, UserId,
};
use crate::reconcile::{Admitted, Entitlement, Fingerprint, GracePeriod, PersonRow, components};
use crate::telemetry::chain;

/// Changes in one transaction, unless more belong together.
const BATCH: usize = 500;

/// A change that is dropped again within this time is the same one still.
const SAME_DROP: Duration = Duration::from_hours(24);

/// In whose name, and on what observation, changes are written.
#[derive(Debug, Clone)]
pub struct Writer<'a> {
    /// The run.
    pub run: RunId,
    /// The directory; none for an operator's write.
    pub directory: Option<&'a DirectoryName>,
    /// Where new users go.
    pub account: AccountRef,
    /// Who.
    pub actor: Actor,
    /// The observation behind the changes; older ones than a user already goes by are dropped.
    pub observed_from: ObservationNumber,
    /// The clock.
    pub clock: &'a Clock,
    /// The directories that read the people of addresses that come into this account, or out of it, by no directory.
    pub asked: &'a [DirectoryName],
}

impl Writer<'_> {
    fn cause(&self, at: Timestamp) -> EventCause {
        EventCause {
            actor: self.actor.clone(),
            run: Some(self.run),
            account: Some(self.account.handle.clone()),
            at,
        }
    }
}

/// What was applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Applied {
    /// By kind.
    pub counts: ChangeCounts,
    /// Changes whose user had become another one in the meantime.
    pub dropped: u64,
    /// Changes that were dropped although rosterd had dropped the same ones within the last day: not written down again.
    pub dropped_again: u64,
    /// Changes written so far, applied or dropped: the next one's number.
    pub written: u64,
}

impl Store {
    /// Applies what was admitted. Each transaction leaves the store consistent, so a cut between two loses nothing:
    /// the next run's plan is the rest. `applied` says what was committed, also when something fails.
    ///
    /// A batch that fails is applied again in its smallest parts, so that one change the database refuses costs itself alone.
    /// The people of what could not be written are in the pending set; the first error is returned at the end.
    pub async fn apply(
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
                        "changes of {} users could not be written: {}",
                        ids.len(),
                        chain(&error)
                    );
                    if let Some(directory) = writer.directory {
                        self.look_again(
                            directory,
                            &part.iter().filter_map(|(c, _)| c.guid).collect(),
                        )
                        .await?;
                    }
                    failure.get_or_insert(error);
                }
            }
        }
        let is_bulk = applied.written > 2 * BATCH as u64;
        let rest: Vec<&PersonRow> = people.into_values().flatten().collect();
        for rows in rest.chunks(BATCH) {
            let mut writing = self.begin().await?;
            write_people(&mut writing, rows, &BTreeSet::new(), writer).await?;
            writing.commit().await?;
        }
        if is_bulk {
            self.give_memory_back().await?;
        }
        failure.map_or(Ok(()), Err)
    }

    /// Applies changes in one transaction.
    async fn apply_one(
        &self,
        batch: &[(&Change, bool)],
        rows: &[&PersonRow],
        writer: &Writer<'_>,
        applied: &mut Applied,
    ) -> Result<(), StoreError> {
        let mut writing = self.begin().await?;
        let mut now = *applied;
        let dropped = apply_batch(&mut writing, batch, rows, writer, &mut now).await?;
        // The person of a creation that was refused has no user to point to.
        let is_uncreated = |id| {
            batch.iter().any(|(c, _)| c.user == id && c.version.is_none()) && dropped.contains(&id)
        };
        let rows: Vec<&PersonRow> =
            rows.iter().copied().filter(|row| !row.user.is_some_and(is_uncreated)).collect();
        write_people(&mut writing, &rows, &dropped, writer).await?;
        writing.commit().await?;
        let directory = writer.directory.map_or("", DirectoryName::as_str);
        self.counters.applied(
            directory,
            (applied.counts, applied.dropped),
            (now.counts, now.dropped),
        );
        *applied = now;
        Ok(())
    }

    /// Remembers who waits for a recheck, among the people that were judged; the others' rows stay.
    pub async fn save_grace_periods(
        &self,
        directory: &DirectoryName,
        candidates: &[GracePeriod],
        is_judged: impl Fn(crate::model::Guid) -> bool,
    ) -> Result<(), StoreError> {
        let stored = self.grace_periods(directory).await?;
        let gone: Vec<&GracePeriod> = stored
            .iter()
            .filter(|s| {
                is_judged(s.guid)
                    && !candidates.iter().any(|c| (c.user, c.cause) == (s.user, s.cause))
            })
            .collect();
        let fresh: Vec<&GracePeriod> = candidates.iter().filter(|c| !stored.contains(c)).collect();
        if gone.is_empty() && fresh.is_empty() {
            return Ok(());
        }
        let mut writing = self.begin().await?;
        for row in gone {
            let sql = Sql::new("DELETE FROM grace_periods WHERE directory = ")
                .bind(directory.as_str())
                .push(" AND user_id = ")
                .bind(row.user.0);
            sql.push(" AND cause = ")
                .bind(row.cause.as_str())
                .execute(&mut *writing.tx)
                .await
                .doing("forget what settled")?;
        }
        let rows = fresh.into_iter().map(|s| {
            let GracePeriod { user, guid, cause, first_seen, due, cluster } = s;
            vec![
                directory.as_str().into(),
                user.0.into(),
                cause.as_str().into(),
                (*guid).into(),
                (*first_seen).into(),
                (*due).into(),
                cluster.as_deref().into(),
            ]
        });
        let tail = "ON CONFLICT (directory, user_id, cause) DO UPDATE SET due = excluded.due, cluster = excluded.cluster";
        insert(
            &mut writing.tx,
            "INSERT INTO grace_periods (directory, user_id, cause, guid, first_seen, due, cluster)",
            tail,
            rows,
        )
        .await
        .doing("write grace periods")?;
        writing.commit().await
    }
}

/// Returns whether the same change was dropped since then.
async fn was_dropped(
    writing: &mut Writing<'_>,
    change: &Change,
    since: Timestamp,
) -> Result<bool, StoreError> {
    let sql = Sql::new("SELECT 1 FROM changes WHERE outcome = 'dropped' AND user_id = ")
        .bind(change.user.0);
    let sql = sql
        .push(" AND digest = ")
        .bind(change.digest().0)
        .push(" AND at > ")
        .bind(since)
        .push(" LIMIT 1");
    Ok(sql
        .first(&mut *writing.tx)
        .await
        .doing("look for a change that was dropped before")?
        .is_some())
}

/// Applies one batch; returns the users that had become others in the meantime.
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
    let cause = writer.cause(now);
    let mut dropped = BTreeSet::new();
    let mut removed = BTreeSet::new();
    let mut forgotten = BTreeSet::new();
    let mut unlinked = BTreeSet::new();
    let mut events = Vec::new();
    let mut rows: Vec<Vec<Value>> = Vec::new();
    for (at, (change, approved)) in batch.iter().enumerate() {
        let creates = matches!(change.kind, ChangeKind::Create(_) | ChangeKind::Invite { .. });
        // Two sign-ins at the same moment are one first one.
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
            applied.counts.count(&change.kind);
            events.extend(Event::of(change, &cause).into_iter().map(|event| (change.user, event)));
            "applied"
        } else {
            dropped.insert(change.user);
            if writer.directory.is_some()
                && !approved
                && was_dropped(writing, change, now.minus(SAME_DROP)).await?
            {
                applied.dropped_again += 1;
                continue;
            }
            applied.dropped += 1;
            "dropped"
        };
        rows.push(super::plans::change_row(
            change,
            writer.run,
            applied.written,
            None,
            writer.directory,
            None,
            outcome,
            *approved,
            now,
        ));
        applied.written += 1;
    }
    let after = stored.clone();
    let changed: Vec<&mut User> =
        stored.values_mut().filter(|u| before.get(&u.id) != Some(u)).collect();
    if writer.directory.is_none() {
        // What no directory asked for may not be what a directory wants: the next run looks again.
        forget_fingerprints(writing, changed.iter().map(|u| u.id)).await?;
    }
    for user in &changed {
        let former = before.get(&user.id).and_then(|b| b.link.as_ref());
        if let (Some(former), Some(now)) = (former, &user.link) {
            links::follow(writing, user, former, now).await?;
        }
    }
    let asked = addresses_to_ask(&changed, &before, &removed);
    links::ask_again(writing, writer.asked, asked).await?;
    forget_people(writing, &unlinked).await?;
    remove_users(writing, &removed).await?;
    forget_history(writing, &forgotten).await?;
    write_users(writing, changed, &before, writer).await?;
    insert(&mut writing.tx, super::plans::INSERT_CHANGES, "", rows).await.doing("write changes")?;
    end_incarnations(writing, &removed, now).await?;
    events::append(
        writing,
        &with_identity(events, &before, &after, people, &forgotten),
        writer.clock,
    )
    .await?;
    Ok(dropped)
}

/// The smallest parts of a batch that hold together: the changes of one user, and of those it exchanges an address with.
fn parts<'a>(batch: &[(&'a Change, bool)]) -> Vec<Vec<(&'a Change, bool)>> {
    let changes: Vec<&Change> = batch.iter().map(|(change, _)| *change).collect();
    let mut parts: BTreeMap<usize, Vec<(&Change, bool)>> = BTreeMap::new();
    for (at, part) in components(&changes).into_iter().enumerate() {
        parts.entry(part).or_default().push(batch[at]);
    }
    parts.into_values().collect()
}

/// The places in the batch of changes that are not applied: the user has become another one since, or the change takes an
/// address that is not free once such changes are left out. A refused change takes along whatever needs its address.
async fn refused(
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
        for row in sql.all(&mut *writing.tx).await.doing("look up who holds addresses")? {
            let mut c = Columns::of(&row);
            holders.insert(c.text()?, UserId(c.uuid()?));
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

/// The addresses of users without a directory that came, went or changed: somebody in a directory may have one of them.
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

/// Adds to each event how its user is known elsewhere: before the first, and after the last of the changes in the batch. An
/// entry that is renamed and disabled by one edit is several changes, and each of their events has both names. A user that
/// is to be forgotten is not named again.
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

fn forget_fingerprints<'a>(
    writing: &'a mut Writing<'_>,
    users: impl Iterator<Item = UserId>,
) -> impl Future<Output = Result<(), StoreError>> + Send + 'a {
    let users: Vec<uuid::Uuid> = users.map(|u| u.0).collect();
    async move {
        if users.is_empty() {
            return Ok(());
        }
        let sql = Sql::new("UPDATE people SET fingerprint = 0 WHERE user_id IN ").list(users);
        sql.execute(&mut *writing.tx).await.doing("forget fingerprints")?;
        Ok(())
    }
}

/// What was remembered of the people that these users were: they are others now.
async fn forget_people(
    writing: &mut Writing<'_>,
    users: &BTreeSet<UserId>,
) -> Result<(), StoreError> {
    if users.is_empty() {
        return Ok(());
    }
    for table in
        ["DELETE FROM people WHERE user_id IN ", "DELETE FROM grace_periods WHERE user_id IN "]
    {
        Sql::new(table)
            .list(users.iter().map(|id| id.0))
            .execute(&mut *writing.tx)
            .await
            .doing("forget people")?;
    }
    Ok(())
}

/// Takes users out, with everything that points to them. Leaving addresses come off first here, too.
async fn remove_users(
    writing: &mut Writing<'_>,
    removed: &BTreeSet<UserId>,
) -> Result<(), StoreError> {
    if removed.is_empty() {
        return Ok(());
    }
    forget_people(writing, removed).await?;
    for table in [
        "DELETE FROM addresses WHERE user_id IN ",
        "DELETE FROM name_keys WHERE user_id IN ",
        "DELETE FROM sign_in_attempts WHERE user_id IN ",
        "DELETE FROM users WHERE id IN ",
    ] {
        Sql::new(table)
            .list(removed.iter().map(|id| id.0))
            .execute(&mut *writing.tx)
            .await
            .doing("remove users")?;
    }
    Ok(())
}

/// Ends the history and the rejections of removed users. A user's id is derived from the person, so that the next user with
/// such an id is another one.
async fn end_incarnations(
    writing: &mut Writing<'_>,
    removed: &BTreeSet<UserId>,
    now: Timestamp,
) -> Result<(), StoreError> {
    if removed.is_empty() {
        return Ok(());
    }
    let sql = Sql::new("UPDATE changes SET former = 1 WHERE outcome <> 'held' AND user_id IN ")
        .list(removed.iter().map(|id| id.0));
    sql.execute(&mut *writing.tx).await.doing("end the history of users")?;
    super::rejections::forget_users(writing, removed, now).await
}

/// What was written down of these users' changes says no longer whose they were, nor what.
async fn forget_history(
    writing: &mut Writing<'_>,
    users: &BTreeSet<UserId>,
) -> Result<(), StoreError> {
    if users.is_empty() {
        return Ok(());
    }
    let sql = Sql::new(
        "UPDATE changes SET guid = NULL, email = NULL, before = 'null', after = 'null', evidence = '[]' WHERE user_id IN ",
    );
    sql.list(users.iter().map(|id| id.0))
        .execute(&mut *writing.tx)
        .await
        .doing("forget what was changed")?;
    Ok(())
}

async fn write_users(
    writing: &mut Writing<'_>,
    mut changed: Vec<&mut User>,
    before: &BTreeMap<UserId, User>,
    writer: &Writer<'_>,
) -> Result<(), StoreError> {
    for user in &mut changed {
        // That somebody signed in for the first time is nothing that a run's decision about them rests on.
        let only_joined = |b: &User| {
            b.joined_at != user.joined_at
                && User { joined_at: user.joined_at, updated_at: user.updated_at, ..b.clone() }
                    == **user
        };
        if before.get(&user.id).is_some_and(only_joined) {
            continue;
        }
        user.version += 1;
        if writer.directory.is_some() {
            user.observed_from = writer.observed_from;
        }
    }
    if changed.is_empty() {
        return Ok(());
    }
    let tail = "ON CONFLICT (id) DO UPDATE SET account_id = excluded.account_id, standing = excluded.standing, tier = excluded.tier, addresses = excluded.addresses, \
         profile = excluded.profile, directory = excluded.directory, guid = excluded.guid, dn = excluded.dn, causes = excluded.causes, overrides = excluded.overrides, \
         version = excluded.version, observed_from = excluded.observed_from, invited_at = excluded.invited_at, joined_at = excluded.joined_at, \
         updated_at = excluded.updated_at, status = excluded.status";
    let head = format!("INSERT INTO users ({})", users::COLUMNS);
    insert(&mut writing.tx, &head, tail, changed.iter().map(|u| users::values(u)))
        .await
        .doing("write users")?;

    // Leaving addresses come off first, so that somebody else in this batch can take them.
    let readdressed: Vec<&User> = changed
        .iter()
        .map(|u| &**u)
        .filter(|u| {
            before.get(&u.id).is_none_or(|b| b.addresses != u.addresses || b.standing != u.standing)
        })
        .collect();
    let known: Vec<_> =
        readdressed.iter().filter(|u| before.contains_key(&u.id)).map(|u| u.id.0).collect();
    if !known.is_empty() {
        Sql::new("DELETE FROM addresses WHERE user_id IN ")
            .list(known)
            .execute(&mut *writing.tx)
            .await
            .doing("take addresses off")?;
    }
    let rows = readdressed.iter().filter(|u| u.standing != Standing::Released).flat_map(|user| {
        let primary = user.addresses.primary.as_ref().map(|a| a.key());
        user.addresses.keys().into_iter().map(move |key| {
            let is_primary = Some(&key) == primary.as_ref();
            vec![key.0.into(), user.id.0.into(), is_primary.into()]
        })
    });
    insert(&mut writing.tx, "INSERT INTO addresses (address_key, user_id, is_primary)", "", rows)
        .await
        .doing("write addresses")?;

    let renamed: Vec<&User> = changed
        .iter()
        .map(|u| &**u)
        .filter(|u| {
            before.get(&u.id).is_none_or(|b| users::search_keys(b) != users::search_keys(u))
        })
        .collect();
    let known: Vec<_> =
        renamed.iter().filter(|u| before.contains_key(&u.id)).map(|u| u.id.0).collect();
    if !known.is_empty() {
        Sql::new("DELETE FROM name_keys WHERE user_id IN ")
            .list(known)
            .execute(&mut *writing.tx)
            .await
            .doing("take search keys off")?;
    }
    let rows = renamed.iter().flat_map(|user| {
        users::search_keys(user).into_iter().map(|key| vec![Value::from(key), user.id.0.into()])
    });
    insert(&mut writing.tx, "INSERT INTO name_keys (name_key, user_id)", "", rows)
        .await
        .doing("write search keys")
}

async fn write_people(
    writing: &mut Writing<'_>,
    people: &[&PersonRow],
    dropped: &BTreeSet<UserId>,
    writer: &Writer<'_>,
) -> Result<(), StoreError> {
    let (Some(directory), false) = (writer.directory, people.is_empty()) else { return Ok(()) };
    let now = writer.clock.now();
    let (gone, kept): (Vec<&&PersonRow>, Vec<&&PersonRow>) =
        people.iter().partition(|p| p.user.is_none() && p.quarantine.is_none());
    if !gone.is_empty() {
        let sql = Sql::new("DELETE FROM people WHERE directory = ")
            .bind(directory.as_str())
            .push(" AND guid IN ")
            .list(gone.iter().map(|p| p.guid));
        sql.execute(&mut *writing.tx).await.doing("forget people")?;
    }
    let quarantined: Vec<&&PersonRow> =
        kept.iter().copied().filter(|p| p.quarantine.is_some()).collect();
    tell_quarantine(writing, directory, &quarantined, writer, now).await?;
    let is_dropped = |person: &PersonRow| person.user.is_some_and(|u| dropped.contains(&u));
    let row = |person: &PersonRow| {
        let PersonRow {
            guid,
            user,
            fingerprint,
            dn,
            expires,
            entitled_by,
            keeps_place: _,
            quarantine,
            notes,
        } = person;
        let fingerprint = if is_dropped(person) { Fingerprint::Revisit } else { *fingerprint };
        let group = match entitled_by {
            Entitlement::By(group) => Some(*group),
            Entitlement::Nothing | Entitlement::Unknown => None,
        };
        let parent =
            dn.as_ref().and_then(Dn::parent).map_or_else(String::new, |p| p.key().to_owned());
        vec![
            directory.as_str().into(),
            (*guid).into(),
            (fingerprint.to_stored() as i64).into(),
            user.map(|u| u.0).into(),
            dn.as_ref().map_or("", |d| d.as_str()).into(),
            parent.into(),
            (*expires).into(),
            group.into(),
            quarantine.map(|q| q.as_str()).into(),
            quarantine.map(|_| now).into(),
            now.into(),
            (!notes.is_empty()).then(|| json(notes)).into(),
        ]
    };
    let tail = "ON CONFLICT (directory, guid) DO UPDATE SET fingerprint = excluded.fingerprint, user_id = excluded.user_id, \
         expires = CASE WHEN excluded.dn = '' THEN people.expires ELSE excluded.expires END, \
         quarantine = excluded.quarantine, notes = excluded.notes, \
         quarantined_at = CASE WHEN people.quarantine = excluded.quarantine THEN people.quarantined_at ELSE excluded.quarantined_at END, \
         dn = CASE WHEN excluded.dn = '' THEN people.dn ELSE excluded.dn END, \
         seen_at = CASE WHEN excluded.dn = '' THEN people.seen_at ELSE excluded.seen_at END";
    // Where a person belonged (parent, group) is kept until its whole change is applied: mass events are measured by it.
    let keeps = |person: &PersonRow| {
        (person.keeps_place || is_dropped(person), person.entitled_by == Entitlement::Unknown)
    };
    let places = [
        ((true, true), ""),
        ((true, false), ""),
        ((false, true), ", parent_key = excluded.parent_key"),
        ((false, false), ", parent_key = excluded.parent_key, entitled_by = excluded.entitled_by"),
    ];
    let head = "INSERT INTO people (directory, guid, fingerprint, user_id, dn, parent_key, expires, entitled_by, quarantine, quarantined_at, seen_at, notes)";
    for (which, place) in places {
        let rows: Vec<_> =
            kept.iter().filter(|person| keeps(person) == which).map(|person| row(person)).collect();
        insert(&mut writing.tx, head, &format!("{tail}{place}"), rows)
            .await
            .doing("write people")?;
    }
    let moved: Vec<_> =
        kept.iter().filter(|p| p.dn.is_some()).filter_map(|p| p.user.map(|u| u.0)).collect();
    if !moved.is_empty() {
        let sql = Sql::new(
            "UPDATE users SET dn = (SELECT p.dn FROM people p WHERE p.directory = users.directory AND p.guid = users.guid) WHERE directory = ",
        );
        sql.bind(directory.as_str())
            .push(" AND id IN ")
            .list(moved)
            .execute(&mut *writing.tx)
            .await
            .doing("write where people stand")?;
    }
    Ok(())
}

/// One event for each quarantine that is new.
async fn tell_quarantine(
    writing: &mut Writing<'_>,
    directory: &DirectoryName,
    people: &[&&PersonRow],
    writer: &Writer<'_>,
    now: Timestamp,
) -> Result<(), StoreError> {
    if people.is_empty() {
        return Ok(());
    }
    let sql = Sql::new(
        "SELECT guid, quarantine FROM people WHERE quarantine IS NOT NULL AND directory = ",
    )
    .bind(directory.as_str());
    let known = sql
        .push(" AND guid IN ")
        .list(people.iter().map(|p| p.guid))
        .all(&mut *writing.tx)
        .await
        .doing("read the quarantine")?;
    let known: Result<BTreeSet<_>, StoreError> = known
        .iter()
        .map(|row| {
            let mut c = Columns::of(row);
            Ok((c.guid()?, c.text()?))
        })
        .collect();
    let known = known?;
    let cause = writer.cause(now);
    let fresh = people
        .iter()
        .filter_map(|p| p.quarantine.map(|q| (p, q)))
        .filter(|(p, q)| !known.contains(&(p.guid, q.as_str().to_owned())));
    let fresh: Vec<_> = fresh.collect();
    let ids: Vec<UserId> = fresh.iter().filter_map(|(person, _)| person.user).collect();
    let users: BTreeMap<UserId, User> =
        users::by_ids(&mut *writing.tx, &ids).await?.into_iter().map(|u| (u.id, u)).collect();
    let known = |person: &PersonRow| {
        let identity = Identity::of(users.get(&person.user?)?, person.dn.as_ref());
        Some(Box::new(KnownAs { before: Some(identity.clone()), after: Some(identity) }))
    };
    let told: Vec<Event> = fresh
        .into_iter()
        .map(|(person, reason)| {
            let subject = person.user.map_or_else(|| person.guid.to_string(), |u| u.to_string());
            let after = serde_json::json!({ "object_guid": person.guid, "reason": reason });
            let event =
                Event::about("user.quarantined", subject, &cause, serde_json::Value::Null, after);
            Event { user: known(person), ..event }
        })
        .collect();
    events::append(writing, &told, writer.clock).await
}
