//! Look-up of people by GUID, which tells deleted, moved and invisible people apart.
//!
//! A failed search affects its own people only. A failed batch is retried in halves, down to a
//! single person. After the end of a connection the caller opens another one and continues with the
//! same [`PendingLookups`](super::PendingLookups).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ldap3::Scope;

use super::lookup::{Deletions, LookupBatch, LookupContext, LookupResults, PendingLookups};
use super::query::Query;
use super::{
    Assertion, Decoder, DirectoryError, Malformed, Object, PERSON_FILTER, Session, Settings,
};
use crate::model::{Broken, Dn, Guid, Person, Placement};
use crate::reconcile::{Confirmation, Look};

/// Most failed batches that are halved: enough to isolate one bad entry in each of several batches.
const MAX_SPLITS: u32 = 64;
/// Default of `tombstoneLifetime` (MS-ADTS 6.1.1.2.4.1.1).
const DEFAULT_TOMBSTONE_DAYS: u64 = 60;

/// Returns the DN of the container of deleted objects.
pub(super) fn deleted_objects(domain: &str) -> String {
    format!("CN=Deleted Objects,{domain}")
}

impl Session {
    /// Looks up all pending people.
    ///
    /// Fails only after the end of the connection. The people not yet looked up remain in
    /// `pending`, without the batch that ended the connection.
    pub async fn confirm(
        &mut self,
        pending: &mut PendingLookups,
        context: &LookupContext<'_>,
        results: &mut LookupResults,
    ) -> Result<(), DirectoryError> {
        while let Some(batch) = pending.batches.pop() {
            let Err(error) = self.confirm_batch(&batch, pending, context, results).await else {
                continue;
            };
            pending.failures += 1;
            if batch.len() > 1 && pending.failures <= MAX_SPLITS {
                let (first, second) = batch.split_at(batch.len() / 2);
                pending.batches.extend([second.to_vec(), first.to_vec()]);
            } else {
                results.problems.insert(error.to_string());
            }
            if !self.is_open() {
                return Err(error);
            }
        }
        while let Some(guid) = pending.unseen.pop() {
            match self.explain_absence(guid, pending, context).await {
                Ok(confirmation) => drop(results.people.insert(guid, confirmation)),
                Err(error) => {
                    results.problems.insert(error.to_string());
                    if !self.is_open() {
                        return Err(error);
                    }
                }
            }
        }
        Ok(())
    }

    async fn confirm_batch(
        &mut self,
        batch: &[Guid],
        pending: &mut PendingLookups,
        context: &LookupContext<'_>,
        results: &mut LookupResults,
    ) -> Result<(), DirectoryError> {
        let entries = self.read_batch(batch, context.settings, context.decoder).await?;
        // Tombstones and disabled accounts count even if the placement of the others fails.
        let placements = self.place_all(&entries, context, pending, results).await;
        let is_seen = |g: &Guid| {
            entries.alive.contains_key(g)
                || entries.deleted.contains_key(g)
                || entries.malformed.contains_key(g)
        };
        pending.unseen.extend(batch.iter().filter(|g| !is_seen(g)));
        for (guid, (person, _)) in entries.alive {
            let placement = placements.get(&guid).cloned().unwrap_or(Placement::Unknown);
            results
                .people
                .insert(guid, Confirmation::Alive(Box::new(Person { placement, ..person })));
        }
        results
            .people
            .extend(entries.deleted.into_iter().map(|(g, dn)| (g, Confirmation::Tombstone(dn))));
        results.people.extend(
            entries.malformed.into_iter().map(|(g, rest)| (g, Confirmation::Malformed(rest))),
        );
        Ok(())
    }

    /// Interprets the absence of both entry and tombstone.
    async fn explain_absence(
        &mut self,
        guid: Guid,
        pending: &mut PendingLookups,
        context: &LookupContext<'_>,
    ) -> Result<Confirmation, DirectoryError> {
        let Deletions { are_visible, lifetime } = match pending.deletions {
            Some(known) => known,
            None => {
                let are_visible = self.sees_tombstones().await?;
                let lifetime =
                    if are_visible { self.tombstone_lifetime().await.ok() } else { None };
                *pending.deletions.insert(Deletions { are_visible, lifetime })
            }
        };
        let known = context.stored.get(&guid);
        let parent = known.and_then(|p| p.dn.parent());
        if let Some(parent) = parent.as_ref().filter(|p| !pending.witnesses.contains_key(*p)) {
            let seen = match self
                .matches_any(
                    parent.as_str(),
                    // The right to list an OU is one of its own, and not of the OUs below it.
                    Scope::OneLevel,
                    &Assertion::raw(PERSON_FILTER),
                    false,
                    |_| true,
                )
                .await
            {
                // A parent in another domain has no witness on this server. The search did not
                // fail.
                Err(error) if error.is_referral() => false,
                seen => seen?,
            };
            pending.witnesses.insert(parent.clone(), seen);
        }
        let has_witness = parent.is_some_and(|p| pending.witnesses[&p]);
        // A person without a visible tombstone is invisible, unless the last read is older than the
        // lifetime of a tombstone. The time of the last write of the row is no measure of that. The
        // earlier clock counts, because one that is ahead would age every tombstone.
        let last_read = known.map(|p| p.seen_at).max(context.last_complete_read);
        let now = self.root.current_time.map(|theirs| theirs.min(context.now));
        let age = now.zip(last_read).map(|(now, at)| now.since(at));
        let has_expired = |lifetime| age.is_some_and(|age| age > lifetime);
        let could_have_expired = !are_visible || lifetime.is_some_and(has_expired);
        if !has_witness || !could_have_expired {
            return Ok(Confirmation::Nowhere(Look::Unwitnessed));
        }
        Ok(self.find_unreadable(guid).await?.unwrap_or(Confirmation::Nowhere(Look::Witnessed)))
    }

    /// Reads people by GUID, alive or deleted. The answer says nothing about people who are not visible, and
    /// not whether the others are in scope.
    pub async fn entries(
        &mut self,
        people: &BTreeSet<Guid>,
        settings: &Settings,
        decoder: &Decoder,
    ) -> Result<BTreeMap<Guid, Confirmation>, DirectoryError> {
        let mut found = BTreeMap::new();
        for batch in PendingLookups::of(people).batches {
            let LookupBatch { alive, deleted, malformed } =
                self.read_batch(&batch, settings, decoder).await?;
            let alive = alive.into_iter().map(|(g, (p, _))| (g, Confirmation::Alive(Box::new(p))));
            found.extend(alive);
            found.extend(deleted.into_iter().map(|(g, dn)| (g, Confirmation::Tombstone(dn))));
            found.extend(malformed.into_iter().map(|(g, b)| (g, Confirmation::Malformed(b))));
        }
        Ok(found)
    }

    async fn read_batch(
        &mut self,
        guids: &[Guid],
        settings: &Settings,
        decoder: &Decoder,
    ) -> Result<LookupBatch, DirectoryError> {
        let filter_attributes: BTreeSet<String> =
            settings.filter.iter().flat_map(|(_, f)| f.attributes()).map(str::to_owned).collect();
        let mut attributes = decoder.requested();
        attributes.extend(["isDeleted".to_owned(), "objectCategory".to_owned()]);
        attributes.extend(
            filter_attributes
                .iter()
                .filter(|a| !decoder.attributes().iter().any(|d| d.eq_ignore_ascii_case(a)))
                .cloned(),
        );
        let filter = Assertion::any(guids.iter().map(|g| Assertion::guid(*g)));
        let base = self.root.default_naming_context.clone();
        let query = Query {
            show_deleted: true,
            ..Query::new(&base, Scope::Subtree, filter.as_str(), &attributes)
        };
        let mut entries = LookupBatch::default();
        let end = self.search(&query, |entry| {
            let object = Object::read(entry);
            if let Some((object, guid)) = object
                .as_ref()
                .and_then(|o| Some((o, o.guid()?)))
                .filter(|(o, _)| o.text("isDeleted") == Some("TRUE"))
            {
                entries.deleted.insert(guid, Dn::new(object.dn.clone()));
                return;
            }
            match (decoder.person(entry, Placement::Unknown), object) {
                (Ok((person, _)), Some(object)) => {
                    let first = |name: &String| {
                        Some((
                            name.to_ascii_lowercase(),
                            String::from_utf8_lossy(object.bytes(name)?).into_owned(),
                        ))
                    };
                    let visible = filter_attributes
                        .iter()
                        .filter_map(first)
                        .chain(first(&"objectCategory".to_owned()))
                        .collect();
                    entries.alive.insert(person.guid, (person, visible));
                }
                (Err(Malformed { guid: Some(guid), rest }), _) => {
                    drop(entries.malformed.insert(guid, rest))
                }
                _ => {}
            }
        });
        let end = end.await?;
        if end.code == 0 { Ok(entries) } else { Err(self.search_error(&base, end.code, end.text)) }
    }

    /// Finds an entry without readable attributes, which matches no filter but exists by name.
    async fn find_unreadable(
        &mut self,
        guid: Guid,
    ) -> Result<Option<Confirmation>, DirectoryError> {
        let results = self.object(&format!("<GUID={guid}>"), &["objectGUID".to_owned()]).await?;
        Ok(results.map(|object| {
            Confirmation::Malformed(Broken { dn: Dn::new(object.dn), control: None, expires: None })
        }))
    }

    /// Returns whether deleted objects are visible, which only a visible one proves.
    pub async fn sees_tombstones(&mut self) -> Result<bool, DirectoryError> {
        let base = self.root.default_naming_context.clone();
        let is_tombstone = |o: &Object| o.dn.contains("\\0ADEL:");
        self.matches_any(
            &base,
            Scope::Subtree,
            &Assertion::raw("(&(isDeleted=TRUE)(objectClass=user))"),
            true,
            is_tombstone,
        )
        .await
    }

    async fn tombstone_lifetime(&mut self) -> Result<Duration, DirectoryError> {
        let dn = format!(
            "CN=Directory Service,CN=Windows NT,CN=Services,{}",
            self.root.configuration_naming_context
        );
        let service =
            self.object(&dn, &["tombstoneLifetime".to_owned()]).await?.unwrap_or_default();
        let days = service
            .text("tombstoneLifetime")
            .and_then(|t| t.parse().ok())
            .unwrap_or(DEFAULT_TOMBSTONE_DAYS);
        Ok(Duration::from_hours(24 * days))
    }
}
