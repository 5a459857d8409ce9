//! The replication metadata of a server: stamps of entries, and up to where it has heard of the others.

use std::collections::{BTreeMap, BTreeSet};

use ldap3::Scope;

use super::query::Query;
use super::{Assertion, DirectoryError, Object, PERSON_FILTER, Session};
use crate::model::{Guid, Timestamp};
use crate::reconcile::{AttributeId, Knowledge, Metadata, Stamp};

const METADATA: &str = "replPropertyMetaData";
const UP_TO_DATE: &str = "replUpToDateVector";
/// People in one search. Each answer has about two kilobytes.
const CHUNK: usize = 100;
/// Bytes of the header of both attributes: version, reserved, number of items, reserved.
const HEADER: usize = 16;
/// Bytes of one `PROPERTY_META_DATA` (MS-DRSR 5.168).
const STAMP: usize = 48;
/// Seconds from 1601 to 1970.
const EPOCH: i64 = 11_644_473_600;

impl Session {
    /// Reads up to which write of each database the server has everything; `None` where it does not tell.
    pub async fn knowledge(&mut self) -> Result<Option<Knowledge>, DirectoryError> {
        let head = self.root.default_naming_context.clone();
        let own = self.root.identity.invocation_id.map(|id| (id, self.root.usn));
        let found = self.object(&head, &[UP_TO_DATE.to_owned()]).await?;
        let vector = found.as_ref().and_then(|head| head.bytes(UP_TO_DATE));
        Ok(vector.and_then(cursors).map(|known| known.into_iter().chain(own).collect()))
    }

    /// Reads the stamps of people, living or deleted. Those whose stamps are not visible are left out.
    pub async fn metadata(
        &mut self,
        people: &BTreeSet<Guid>,
    ) -> Result<BTreeMap<Guid, Metadata>, DirectoryError> {
        let attributes = stamped();
        let base = self.root.default_naming_context.clone();
        let mut found = BTreeMap::new();
        for piece in people.iter().copied().collect::<Vec<_>>().chunks(CHUNK) {
            let filter = Assertion::any(piece.iter().map(|guid| Assertion::guid(*guid)));
            let query = Query {
                show_deleted: true,
                ..Query::new(&base, Scope::Subtree, filter.as_str(), &attributes)
            };
            let end = self.search(&query, |entry| {
                found.extend(Object::read(entry).as_ref().and_then(read_stamps));
            });
            let end = end.await?;
            if end.code != 0 {
                return Err(self.search_error(&base, end.code, end.text));
            }
        }
        Ok(found)
    }

    /// Reads the stamps of the people in the domain who are disabled, expired or deleted, and were changed
    /// since then. The configured filter may exclude such people, so it is not asked.
    pub async fn recent_leavers(
        &mut self,
        since: Timestamp,
        now: Timestamp,
    ) -> Result<BTreeMap<Guid, Metadata>, DirectoryError> {
        let (since, expired) = (since.to_utc().format("%Y%m%d%H%M%S.0Z"), now.to_filetime());
        let is_out = format!(
            "(|(userAccountControl:1.2.840.113556.1.4.803:=2)(&(accountExpires>=1)(accountExpires<={expired})))"
        );
        let filter = Assertion::all([
            Assertion::raw(&format!("(whenChanged>={since})")),
            Assertion::any([
                Assertion::all([PERSON_FILTER, &is_out].map(Assertion::raw)),
                // A tombstone has no category.
                Assertion::raw("(&(isDeleted=TRUE)(objectClass=user)(!(objectClass=computer)))"),
            ]),
        ]);
        let (attributes, base) = (stamped(), self.root.default_naming_context.clone());
        let query = Query {
            show_deleted: true,
            ..Query::new(&base, Scope::Subtree, filter.as_str(), &attributes)
        };
        Ok(self.objects(&query).await?.iter().filter_map(read_stamps).collect())
    }

    /// Reads the last move or rename of each organizational unit and container that was written here
    /// after a USN.
    pub async fn container_moves(&mut self, after: u64) -> Result<Vec<Stamp>, DirectoryError> {
        let filter = Assertion::all([
            Assertion::raw(&format!("(uSNChanged>={})", after.saturating_add(1))),
            Assertion::any([
                Assertion::raw("(objectCategory=organizationalUnit)"),
                Assertion::raw("(objectCategory=container)"),
            ]),
        ]);
        let base = self.root.default_naming_context.clone();
        let attributes = stamped();
        let query = Query::new(&base, Scope::Subtree, filter.as_str(), &attributes);
        let found = self.objects(&query).await?;
        Ok(found.iter().filter_map(read_stamps).filter_map(|(_, own)| own.move_stamp()).collect())
    }
}

/// The attributes of a search for stamps.
fn stamped() -> [String; 2] {
    ["objectGUID".to_owned(), METADATA.to_owned()]
}

fn read_stamps(object: &Object) -> Option<(Guid, Metadata)> {
    Some((object.guid()?, object.bytes(METADATA).and_then(stamps)?))
}

/// Splits the items of an attribute whose header counts them; `None` where they do not fit.
fn items<'a>(bytes: &'a [u8], versions: &[(u32, usize)]) -> Option<Vec<&'a [u8]>> {
    let (header, items) = bytes.split_at_checked(HEADER)?;
    let version = u32_at(header, 0)?;
    let (_, size) = versions.iter().find(|(known, _)| *known == version)?;
    let count = usize::try_from(u32_at(header, 8)?).ok()?;
    (items.len() == count.checked_mul(*size)?).then(|| items.chunks_exact(*size).collect())
}

/// Decodes the stamps of an entry from `replPropertyMetaData`.
fn stamps(bytes: &[u8]) -> Option<Metadata> {
    let stamp = |item: &[u8]| {
        Some((
            AttributeId(u32_at(item, 0)?),
            Stamp {
                version: u32_at(item, 4)?,
                at: Timestamp::from_seconds(
                    i64::try_from(u64_at(item, 8)?).ok()?.checked_sub(EPOCH)?,
                ),
                invocation_id: Guid::from_ad(item.get(16..32)?)?,
                usn: u64_at(item, 32)?,
            },
        ))
    };
    items(bytes, &[(1, STAMP)])?.into_iter().map(stamp).collect()
}

/// Decodes `replUpToDateVector` (`UPTODATE_VECTOR_V1_EXT` and `V2_EXT`, MS-DRSR 5.206).
fn cursors(bytes: &[u8]) -> Option<Vec<(Guid, u64)>> {
    let cursor = |item: &[u8]| Some((Guid::from_ad(item.get(..16)?)?, u64_at(item, 16)?));
    items(bytes, &[(1, 24), (2, 32)])?.into_iter().map(cursor).collect()
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reconcile::HighWaterMark;

    /// Returns an attribute of a version with these items.
    fn attribute(version: u32, items: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes: Vec<u8> =
            [version, 0, items.len() as u32, 0].iter().flat_map(|n| n.to_le_bytes()).collect();
        bytes.extend(items.concat());
        bytes
    }

    fn stamp(attribute: u32, version: u32, seconds: u64, usn: u64) -> Vec<u8> {
        let mut bytes = [attribute.to_le_bytes(), version.to_le_bytes()].concat();
        bytes.extend(seconds.to_le_bytes());
        bytes.extend([7; 16]);
        bytes.extend([usn.to_le_bytes(), 9_u64.to_le_bytes()].concat());
        bytes
    }

    #[test]
    fn the_stamps_of_an_entry_are_decoded_and_sign_ins_leave_none() {
        let seconds = 1_764_400_000 + EPOCH as u64;
        let control = stamp(AttributeId::USER_ACCOUNT_CONTROL.0, 3, seconds, 7353);
        let sign_in = stamp(0x0009_06a0, 40, seconds, 7400);
        let decoded = stamps(&attribute(1, &[control.clone(), sign_in]));
        let expected = Stamp {
            version: 3,
            at: Timestamp::from_seconds(1_764_400_000),
            invocation_id: Guid([7; 16]),
            usn: 7353,
        };
        let expected = [(AttributeId::USER_ACCOUNT_CONTROL, expected)].into_iter().collect();
        assert_eq!(decoded, Some(expected));
        let whole = attribute(1, &[control]);
        for broken in [&whole[..whole.len() - 1], &whole[..10], &[], &attribute(2, &[])] {
            assert_eq!(stamps(broken), None, "{broken:?}");
        }
    }

    #[test]
    fn both_versions_of_the_up_to_dateness_vector_are_decoded() {
        let cursor = |length: usize| {
            let mut bytes = [vec![7; 16], 4296_u64.to_le_bytes().to_vec()].concat();
            bytes.resize(length, 0);
            bytes
        };
        for (version, length) in [(1, 24), (2, 32)] {
            let known: Knowledge = cursors(&attribute(version, &[cursor(length)]))
                .expect("a vector")
                .into_iter()
                .collect();
            let mark = |usn| HighWaterMark { invocation_id: Guid([7; 16]), usn };
            assert!(known.covers(&mark(4296)) && !known.covers(&mark(4297)));
        }
        assert_eq!(cursors(&attribute(1, &[cursor(32)])), None, "another length");
    }
}
