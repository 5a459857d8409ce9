//! Writing of people, with the events of their quarantine.

use std::collections::{BTreeMap, BTreeSet};

use super::database::Writing;
use super::error::{Doing as _, StoreError};
use super::recording::append;
use super::rows::Columns;
use super::sql::{Fields, Sql, insert};
use super::users;
use super::value::json;
use super::writer::Writer;
use crate::model::{
    DirectoryName, Dn, Event, Guid, Identity, KnownAs, Subject, Timestamp, User, UserId,
};
use crate::reconcile::{Entitlement, Fingerprint, PersonRow};

/// Writes the people of a run, with an event for each new quarantine.
pub(super) async fn write_people(
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
        sql.execute(&mut *writing.tx).await.doing("delete people")?;
    }
    let quarantined: Vec<&&PersonRow> =
        kept.iter().copied().filter(|p| p.quarantine.is_some()).collect();
    record_quarantine(writing, directory, &quarantined, writer, now).await?;
    let is_dropped = |person: &PersonRow| person.user.is_some_and(|u| dropped.contains(&u));
    let row = |person: &PersonRow| -> Fields {
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
            metadata,
            sid,
        } = person;
        let fingerprint = if is_dropped(person) { Fingerprint::Revisit } else { *fingerprint };
        let group = match entitled_by {
            Entitlement::By(group) => Some(*group),
            Entitlement::Nothing | Entitlement::Unknown => None,
        };
        let parent =
            dn.as_ref().and_then(Dn::parent).map_or_else(String::new, |p| p.key().to_owned());
        vec![
            ("directory", directory.as_str().into()),
            ("guid", (*guid).into()),
            ("fingerprint", fingerprint.into()),
            ("user_id", user.map(|user| user.0).into()),
            ("dn", dn.as_ref().map_or("", |dn| dn.as_str()).into()),
            ("parent_key", parent.into()),
            ("expires", (*expires).into()),
            ("entitled_by", group.into()),
            ("quarantine", quarantine.map(|reason| reason.as_str()).into()),
            ("quarantined_at", quarantine.map(|_| now).into()),
            ("seen_at", now.into()),
            ("notes", (!notes.is_empty()).then(|| json(notes)).into()),
            ("metadata", metadata.as_ref().map(json).into()),
            ("object_sid", sid.as_ref().into()),
            ("observed_from", (writer.observed_from.0 as i64).into()),
        ]
    };
    let tail = "ON CONFLICT (directory, guid) DO UPDATE SET fingerprint = excluded.fingerprint, user_id = excluded.user_id, \
         observed_from = excluded.observed_from, \
         expires = CASE WHEN excluded.dn = '' THEN people.expires ELSE excluded.expires END, \
         quarantine = excluded.quarantine, notes = excluded.notes, metadata = excluded.metadata, \
         object_sid = COALESCE(excluded.object_sid, people.object_sid), \
         quarantined_at = CASE WHEN people.quarantine = excluded.quarantine THEN people.quarantined_at ELSE excluded.quarantined_at END, \
         dn = CASE WHEN excluded.dn = '' THEN people.dn ELSE excluded.dn END, \
         seen_at = CASE WHEN excluded.dn = '' THEN people.seen_at ELSE excluded.seen_at END";
    // Parent and group of a person stay until the whole change is applied, because clusters are
    // counted by them.
    let keeps = |person: &PersonRow| {
        (person.keeps_place || is_dropped(person), person.entitled_by == Entitlement::Unknown)
    };
    let places = [
        ((true, true), ""),
        ((true, false), ""),
        ((false, true), ", parent_key = excluded.parent_key"),
        ((false, false), ", parent_key = excluded.parent_key, entitled_by = excluded.entitled_by"),
    ];
    for (which, place) in places {
        let rows: Vec<_> =
            kept.iter().filter(|person| keeps(person) == which).map(|person| row(person)).collect();
        insert(&mut writing.tx, "people", &format!("{tail}{place}"), rows)
            .await
            .doing("write people")?;
    }
    let moved: Vec<_> =
        kept.iter().filter(|p| p.dn.is_some()).filter_map(|p| p.user.map(|u| u.0)).collect();
    if !moved.is_empty() {
        let sql = Sql::new(
            "UPDATE users SET dn = (SELECT p.dn FROM people p WHERE p.directory = users.directory AND p.guid = users.guid) WHERE directory = ",
        );
        // A row that stays as it is is not written.
        sql.bind(directory.as_str())
            .push(" AND id IN ")
            .list(moved)
            .push(" AND NOT EXISTS (SELECT 1 FROM people p WHERE p.directory = users.directory AND p.guid = users.guid AND p.dn = users.dn)")
            .execute(&mut *writing.tx)
            .await
            .doing("write the names of entries")?;
    }
    Ok(())
}

/// Records an event for each new quarantine.
async fn record_quarantine(
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
            Ok((c.read::<Guid>()?, c.read::<String>()?))
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
    let events: Vec<Event> = fresh
        .into_iter()
        .map(|(person, reason)| {
            let subject = person.user.map_or_else(|| Subject::from(person.guid), Subject::from);
            let after = serde_json::json!({ "object_guid": person.guid, "dn": person.dn, "reason": reason });
            let event =
                Event::about("user.quarantined", subject, &cause, serde_json::Value::Null, after);
            Event { user: known(person), ..event }
        })
        .collect();
    append(writing, &events, writer.clock).await
}
