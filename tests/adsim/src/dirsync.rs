//! DirSync: the changes since a cookie (MS-ADTS 3.1.1.3.4.1.3), as close to Samba as possible.
//!
//! A cookie holds two USNs. An entry is returned if its last change is later than `position`, with
//! the attributes that changed after `since`. Between the rounds of one read only `position` moves.
//! A cookie that the server does not understand is mostly no error: it returns nothing, or
//! everything.

use std::collections::{BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use crate::ber::{self, Malformed, Reader};
use crate::directory::Ad;
use crate::encode::put_attribute;
use crate::entry::Id;
use crate::frames::Outcome;
use crate::history::{Change, LINKS};
use crate::matching::Test;
use crate::request::{Control, Search, oid};
use crate::rootdse::Server;
use crate::schema::{AttributeId, at};
use crate::search::{Answer, frame};

/// LDAP_DIRSYNC_OBJECT_SECURITY: the visible entries, without a right to replicate.
const OBJECT_SECURITY: u32 = 1;
/// LDAP_DIRSYNC_INCREMENTAL_VALUES: added and removed links instead of all links.
const INCREMENTAL: u32 = 0x8000_0000;

/// Attributes that are never returned on request: those of every entry, those that are not
/// replicated, and back links.
const UNTOLD: &[AttributeId] = &[
    at::OBJECT_GUID,
    at::INSTANCE_TYPE,
    at::DISTINGUISHED_NAME,
    at::MEMBER_OF,
    at::USN_CREATED,
    at::USN_CHANGED,
    at::WHEN_CHANGED,
    at::BAD_PWD_COUNT,
];

/// The control of a request.
#[derive(Debug)]
pub(crate) struct Asked {
    flags: u32,
    pub(crate) cookie: Vec<u8>,
}

impl Asked {
    pub(crate) fn of(controls: &[Control]) -> Option<Result<Self, Malformed>> {
        let control = controls.iter().find(|control| control.oid == oid::DIR_SYNC)?;
        let read = || {
            let value = control.value.as_deref().unwrap_or_default();
            let mut inner = Reader::new(value).inside(ber::SEQUENCE)?;
            // The value is a signed 32-bit number: the highest flag makes it negative.
            let flags = i32::try_from(inner.number(ber::INTEGER)?)
                .map_err(|_| Malformed("flags are 32 bits"))?;
            inner.number(ber::INTEGER)?;
            let cookie = inner.expect(ber::OCTETS)?.to_vec();
            Ok(Self { flags: flags as u32, cookie })
        };
        Some(read())
    }
}

/// The control of an answer.
#[derive(Debug, Clone)]
pub(crate) struct Receipt {
    pub(crate) more: bool,
    pub(crate) cookie: Vec<u8>,
}

impl Receipt {
    /// The same, with nothing left to ask for.
    pub(crate) fn last(self) -> Self {
        Self { more: false, ..self }
    }

    /// More for ever: with the cookie of the request, if it had one.
    pub(crate) fn endless(self, asked: Option<Vec<u8>>) -> Self {
        Self {
            more: true,
            cookie: asked.filter(|cookie| !cookie.is_empty()).unwrap_or(self.cookie),
        }
    }
}

/// The contents of a cookie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cookie {
    domain: u64,
    invocation: [u8; 16],
    filter: u64,
    since: u64,
    position: u64,
}

impl Cookie {
    const MAGIC: &[u8; 8] = b"MSDS\x03\0\0\0";

    fn read(bytes: &[u8]) -> Option<Self> {
        let (domain, bytes) = bytes.strip_prefix(Self::MAGIC)?.split_first_chunk()?;
        let (invocation, bytes) = bytes.split_first_chunk()?;
        let (filter, bytes) = bytes.split_first_chunk()?;
        let (since, bytes) = bytes.split_first_chunk()?;
        let position = bytes.try_into().ok()?;
        let number = u64::from_le_bytes;
        Some(Self {
            domain: number(*domain),
            invocation: *invocation,
            filter: number(*filter),
            since: number(*since),
            position: number(position),
        })
    }

    fn write(&self) -> Vec<u8> {
        let Self { domain, invocation, filter, since, position } = self;
        let mut out = Self::MAGIC.to_vec();
        out.extend_from_slice(&domain.to_le_bytes());
        out.extend_from_slice(invocation);
        for number in [filter, since, position] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out
    }
}

/// One DirSync search.
pub(crate) struct Reading<'a> {
    pub(crate) ad: &'a Ad,
    pub(crate) server: &'a Server,
    pub(crate) search: &'a Search,
    pub(crate) base: Id,
    pub(crate) filter: &'a str,
    /// Finds nothing, and reports that this is all.
    pub(crate) blind: bool,
}

impl Reading<'_> {
    pub(crate) fn run(
        &self,
        id: i64,
        asked: Result<Asked, Malformed>,
        controls: &[Control],
    ) -> Answer {
        let Ok(asked) = asked else {
            return Answer::failed(Outcome::new(2, "the DirSync control cannot be read"));
        };
        let start = self.allowed(&asked, controls).and_then(|()| self.start(&asked.cookie));
        let start = match start {
            Ok(start) => start.filter(|_| !self.blind),
            Err(outcome) => return Answer::failed(outcome),
        };
        let mut answer = Answer::default();
        let stopped = start.and_then(|start| {
            self.round(id, asked.flags, start, &mut answer).map(|position| (start.0, position))
        });
        let (since, position) = stopped.unwrap_or((self.ad.usn, self.ad.usn));
        let cookie =
            Cookie { since: self.shown(since), position: self.shown(position), ..self.own() };
        answer.receipt = Some(Receipt { more: stopped.is_some(), cookie: cookie.write() });
        answer
    }

    fn allowed(&self, asked: &Asked, controls: &[Control]) -> Result<(), Outcome> {
        let secure = asked.flags & OBJECT_SECURITY != 0;
        let error = "comment: Error processing control, data 0, v4563";
        if !self.ad.entry(self.base).kind.is_head() {
            let (code, number) = if secure { (53, "00002035") } else { (50, "00002105") };
            return Err(Outcome::new(code, format!("{number}: LdapErr: DSID-0C0907CC, {error}")));
        }
        if !secure && !self.ad.may_replicate() {
            return Err(Outcome::new(50, format!("00002105: LdapErr: DSID-0C0907D4, {error}")));
        }
        if controls.iter().any(|control| control.oid == oid::PAGED && control.critical) {
            return Err(Outcome::new(1, format!("00002020: LdapErr: DSID-0C0907E0, {error}")));
        }
        Ok(())
    }

    /// The cookie of a client that has read nothing yet.
    fn own(&self) -> Cookie {
        let hash = |parts: &[&[u8]]| {
            let mut hasher = DefaultHasher::new();
            parts.hash(&mut hasher);
            hasher.finish()
        };
        let head = self.ad.entry(crate::directory::ROOT).guid;
        Cookie {
            domain: hash(&[head.as_bytes(), self.ad.domain.as_bytes()]),
            invocation: self.ad.invocation_id(self.server.settings).to_bytes_le(),
            filter: hash(&[self.filter.as_bytes()]),
            since: 0,
            position: 0,
        }
    }

    /// A USN as this server counts; 0 is always the beginning.
    fn shown(&self, usn: u64) -> u64 {
        if usn == 0 { 0 } else { usn.saturating_add_signed(self.server.usn_offset) }
    }

    fn counted(&self, shown: u64) -> u64 {
        if shown == 0 {
            0
        } else {
            shown.saturating_add_signed(self.server.usn_offset.saturating_neg())
        }
    }

    /// Returns where a cookie continues, as `since` and `position`. `None`: nowhere, without an
    /// error.
    fn start(&self, cookie: &[u8]) -> Result<Option<(u64, u64)>, Outcome> {
        if cookie.is_empty() {
            return Ok(Some((0, 0)));
        }
        let Some(Cookie { domain, invocation, filter, since, position }) = Cookie::read(cookie)
        else {
            let text = "0000202C: LdapErr: DSID-0C0907F6, comment: Error processing control, data 0, v4563";
            return Err(Outcome::new(12, text));
        };
        let own = self.own();
        if domain != own.domain || invocation != own.invocation {
            return Ok(Some((0, 0)));
        }
        if filter != own.filter {
            return Ok(None);
        }
        // A cookie ahead of this server returns nothing.
        let since = self.counted(since);
        let noted = since == 0 || self.ad.history.reaches(since);
        Ok(Some((if noted { since } else { 0 }, self.counted(position))))
    }

    /// Appends the due entries. Returns the USN of the last one if more are left.
    fn round(
        &self,
        id: i64,
        flags: u32,
        (since, position): (u64, u64),
        answer: &mut Answer,
    ) -> Option<u64> {
        let ad = self.ad;
        let test = Test::new(ad, &self.search.filter);
        let mut changes: HashMap<Id, Vec<Change>> = HashMap::new();
        if since > 0 {
            for change in ad.history.after(since) {
                changes.entry(change.id).or_default().push(*change);
            }
        }
        let wanted = self.wanted();
        let limit = self.server.dirsync_round.unwrap_or(usize::MAX);
        let buried_too = flags & OBJECT_SECURITY == 0 || ad.sees_tombstones();
        let mut last = position;
        for at in ad.changed_after(position) {
            let seen = ad.listed(at) && (buried_too || !ad.is_buried(at));
            if !seen || !ad.is_under(at, self.base) || test.matches(ad, at) != Some(true) {
                continue;
            }
            let whole = ad.entry(at).usn_created > since;
            let changes = if whole {
                None
            } else {
                Some(changes.get(&at).map(Vec::as_slice).unwrap_or_default())
            };
            let Some(body) = (News { reading: self, at, changes, flags }).encode(&wanted) else {
                continue;
            };
            if answer.ends.len() == limit {
                return Some(last);
            }
            frame(answer, id, |out| out.extend_from_slice(&body));
            last = ad.entry(at).usn;
        }
        None
    }

    /// The attributes that can make an entry appear.
    fn wanted(&self) -> Vec<AttributeId> {
        let (schema, names) = (&self.ad.schema, &self.search.attributes);
        let named =
            names.iter().filter_map(|name| schema.id(name.split(';').next().unwrap_or_default()));
        let mut wanted: Vec<AttributeId> = named.collect();
        if names.is_empty() || names.iter().any(|name| name == "*") {
            wanted.extend(schema.ids());
        }
        wanted
            .retain(|attribute| !UNTOLD.contains(attribute) && !schema.get(*attribute).constructed);
        let mut seen = BTreeSet::new();
        wanted.retain(|attribute| seen.insert(*attribute));
        wanted
    }
}

/// The changes of one entry.
struct News<'a> {
    reading: &'a Reading<'a>,
    at: Id,
    /// `None`: the entry is new, and all attributes are returned.
    changes: Option<&'a [Change]>,
    flags: u32,
}

impl News<'_> {
    /// Returns the body of a SearchResultEntry, or `None` if no requested attribute has changed.
    fn encode(&self, wanted: &[AttributeId]) -> Option<Vec<u8>> {
        let ad = self.reading.ad;
        let own_name = ad.entry(self.at).kind.rdn_attribute();
        let mut told = Vec::new();
        let mut named = false;
        for attribute in wanted.iter().copied().filter(|attribute| *attribute != own_name) {
            let before = told.len();
            self.put(attribute, &mut told);
            named |= attribute == at::NAME && told.len() > before;
        }
        if told.is_empty() {
            return None;
        }
        for attribute in [at::OBJECT_GUID, at::INSTANCE_TYPE] {
            self.put_now(attribute, &mut told);
        }
        if named && self.at != self.reading.base {
            self.put_now(at::PARENT_GUID, &mut told);
        }
        let mut out = Vec::with_capacity(told.len() + 128);
        let entry = ber::begin(&mut out, 0x64);
        ber::put(&mut out, ber::OCTETS, ad.dn_of(self.at).as_bytes());
        let list = ber::begin(&mut out, ber::SEQUENCE);
        out.extend_from_slice(&told);
        ber::end(&mut out, list);
        ber::end(&mut out, entry);
        Some(out)
    }

    /// Writes an attribute that has changed, without values if it was removed.
    fn put(&self, attribute: AttributeId, out: &mut Vec<u8>) {
        if !self.reading.ad.readable(self.at, attribute) {
            return;
        }
        let linked = LINKS.contains(&attribute);
        let incremental = linked && self.flags & INCREMENTAL != 0;
        let Some(changes) = self.changes else {
            let made = self.values(attribute);
            if !made.is_empty() {
                self.write(attribute, if incremental { ";range=1-1" } else { "" }, made, out);
            }
            return;
        };
        let changes: Vec<&Change> =
            changes.iter().filter(|change| change.attribute == attribute).collect();
        // Links to deleted entries are neither present nor removed.
        let targets: BTreeSet<Id> = changes
            .iter()
            .filter_map(|change| change.link)
            .filter(|target| self.living(*target))
            .collect();
        let changed = changes.iter().any(|change| change.link.is_none()) || !targets.is_empty();
        if !incremental {
            if changed {
                self.write(attribute, "", self.values(attribute), out);
            }
            return;
        }
        let there = |target: &Id| {
            Test::Links(attribute, Some(*target)).matches(self.reading.ad, self.at) == Some(true)
        };
        let (made, undone): (Vec<Id>, Vec<Id>) = targets.into_iter().partition(there);
        for (targets, option) in [(undone, ";range=0-0"), (made, ";range=1-1")] {
            if !targets.is_empty() {
                let names =
                    targets.iter().map(|target| self.reading.ad.dn_of(*target).into_bytes());
                self.write(attribute, option, names.collect(), out);
            }
        }
    }

    /// Writes an attribute with its current values.
    fn put_now(&self, attribute: AttributeId, out: &mut Vec<u8>) {
        let values = self.values(attribute);
        if !values.is_empty() && self.reading.ad.readable(self.at, attribute) {
            self.write(attribute, "", values, out);
        }
    }

    fn write(&self, attribute: AttributeId, option: &str, values: Vec<Vec<u8>>, out: &mut Vec<u8>) {
        let name = &self.reading.ad.schema.get(attribute).name;
        let values = if self.reading.search.types_only { Vec::new() } else { values };
        put_attribute(out, &format!("{name}{option}"), &values);
    }

    fn values(&self, attribute: AttributeId) -> Vec<Vec<u8>> {
        let mut values = Vec::new();
        self.reading.ad.each_value(self.at, attribute, &mut |value| values.push(value.to_vec()));
        values
    }

    fn living(&self, id: Id) -> bool {
        self.reading.ad.get(id).is_some_and(|entry| !entry.deleted)
    }
}

#[cfg(test)]
mod tests {
    use super::Cookie;

    #[test]
    fn a_cookie_reads_back_as_it_was_written_and_not_otherwise() {
        let cookie = Cookie { domain: 1, invocation: [2; 16], filter: 3, since: 4, position: 5 };
        let bytes = cookie.write();
        assert_eq!(Cookie::read(&bytes), Some(cookie));
        assert_eq!(Cookie::read(&bytes[1..]), None);
        assert_eq!(Cookie::read(&[&bytes[..], b"!"].concat()), None);
        for length in 0..bytes.len() {
            assert_eq!(Cookie::read(&bytes[..length]), None, "{length}");
        }
    }
}
