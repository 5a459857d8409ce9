//! The completeness of a read: folded from the answers of the server, never asserted.
//!
//! A [`Ledger`] notes the end of each page and the attributes of the entries. It compares the server's
//! identity and the canaries before and after. A full read has no other way to [`Complete`] than [`Ledger::finish`].

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::canary::{Canary, is_always_shown};
use crate::model::{Dn, Guid};

/// The identity of a domain controller and of one copy of its database.
#[derive(Clone, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct ServerIdentity {
    /// `dsServiceName` of the rootDSE.
    pub ds_service_name: String,
    /// `invocationId` of that object.
    pub invocation_id: Option<Guid>,
}

impl ServerIdentity {
    /// Returns whether this is surely another server, or another copy of its database. An invocationId that
    /// could not be read is no evidence of that.
    pub fn differs_from(&self, other: &Self) -> bool {
        self.ds_service_name != other.ds_service_name
            || self
                .invocation_id
                .zip(other.invocation_id)
                .is_some_and(|(ours, theirs)| ours != theirs)
    }
}

/// Before the first page, or after the last.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Moment {
    Before,
    After,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PageEnd {
    /// Success with a cookie: more pages follow.
    More,
    /// Success with an empty cookie.
    Last,
    /// Success without a paging control, so that pages may be missing.
    NoControl,
    /// Success with the cookie of the page before and no new entry: the server loops.
    SameCookie,
    /// Another LDAP result code.
    Refused(u32),
    /// The connection ended, or the time limit passed.
    Cut,
}

/// The attributes that an entry showed, one bit each in the order of [`Expectation::attributes`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Presence(pub u32);

/// The number of people who showed each attribute.
#[derive(Clone, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct AttributeCounts {
    /// All people that were read.
    pub people: u64,
    pub seen: BTreeMap<String, u64>,
}

/// The values that a full read is compared with.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Expectation {
    pub bases: Vec<Dn>,
    /// The number of stored people in each base; see [`Ledger::expect_people`].
    pub people: Vec<u64>,
    pub canaries: Vec<Canary>,
    /// The requested attributes, at most 32.
    pub attributes: Vec<String>,
    /// The attributes that every entry has.
    pub universal: BTreeSet<String>,
    /// Attributes that may vanish without a loss of rights, such as links that AD clears.
    pub exempt: BTreeSet<String>,
    /// The counts of the last complete read.
    pub counts: AttributeCounts,
    /// The attributes by which the filter excludes people. One that was shown once is remembered.
    pub excluding: BTreeSet<String>,
}

/// A reason why a read was not complete.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Problem {
    Page {
        base: Dn,
        /// The number of the page, from 1.
        page: u64,
        end: PageEnd,
        /// The diagnostic message of the server.
        text: String,
    },
    Unread(Dn),
    /// The identity at the end differs from that at the beginning.
    ServerChanged,
    /// The server does not show `dsServiceName`.
    ServerUnknown,
    CanaryGone(String),
    /// A canary no longer shows an attribute.
    CanaryBlind(String, String),
    /// Too few people show an attribute.
    RightsLost {
        attribute: String,
        seen: u64,
        people: u64,
    },
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Page { base, page, end, text } => {
                write!(f, "page {page} of {base} ")?;
                match end {
                    PageEnd::More | PageEnd::Last => write!(f, "ended"),
                    PageEnd::NoControl => {
                        write!(f, "has no paging control, so more pages may be missing")
                    }
                    PageEnd::SameCookie => write!(
                        f,
                        "has the cookie of the page before and no new entry: the server goes in circles"
                    ),
                    PageEnd::Refused(3) => write!(f, "ended with result 3 (timeLimitExceeded)"),
                    PageEnd::Refused(4) => {
                        write!(f, "ended with result 4 (sizeLimitExceeded): entries are missing")
                    }
                    PageEnd::Refused(code) => write!(f, "ended with result {code}"),
                    PageEnd::Cut => write!(f, "was cut off"),
                }?;
                if text.is_empty() { Ok(()) } else { write!(f, " ({text})") }
            }
            Self::Unread(base) => write!(f, "{base} was not read to its end"),
            Self::ServerChanged => {
                write!(f, "the server, or the copy of its database, changed during the read")
            }
            Self::ServerUnknown => write!(
                f,
                "the server does not show dsServiceName, so another server may have answered meanwhile"
            ),
            Self::CanaryGone(name) => {
                write!(
                    f,
                    "the canary {name} was not found: the service account has lost rights, or another server answers"
                )
            }
            Self::CanaryBlind(name, attribute) => {
                write!(
                    f,
                    "the canary {name} no longer shows {attribute}: the service account has lost the right to read it"
                )
            }
            Self::RightsLost { attribute, seen, people } => {
                write!(
                    f,
                    "rights lost: {attribute} was seen on only {seen} of {people} people; give the service account the right to read it again"
                )
            }
        }
    }
}

/// The notes about a full read.
#[derive(Debug)]
pub struct Ledger {
    expected: Expectation,
    pages: Vec<u64>,
    finished: Vec<bool>,
    entries: Vec<u64>,
    unidentified: u64,
    seen: [u64; 32],
    servers: BTreeMap<Moment, ServerIdentity>,
    canaries: BTreeSet<(Moment, Guid)>,
    /// The server's message about the next page, by base.
    messages: BTreeMap<usize, String>,
    /// Attributes that a canary no longer shows, of those that an administrator can clear.
    faded: BTreeSet<(String, String)>,
    /// Attributes that the filter excludes by, and that an entry shows.
    shown: BTreeSet<String>,
    problems: Vec<(Option<usize>, Problem)>,
}

impl Ledger {
    pub fn new(expected: Expectation) -> Self {
        let n = expected.bases.len();
        Self {
            expected,
            pages: vec![0; n],
            finished: vec![false; n],
            entries: vec![0; n],
            unidentified: 0,
            seen: [0; 32],
            servers: BTreeMap::new(),
            canaries: BTreeSet::new(),
            messages: BTreeMap::new(),
            faded: BTreeSet::new(),
            shown: BTreeSet::new(),
            problems: Vec::new(),
        }
    }

    /// Notes the server's identity.
    pub fn server(&mut self, moment: Moment, identity: ServerIdentity) {
        self.servers.insert(moment, identity);
    }

    /// Notes the attributes of a canary.
    pub fn canary(&mut self, moment: Moment, guid: Guid, attributes: &BTreeSet<String>) {
        if let Some(canary) = self.expected.canaries.iter().find(|c| c.guid == guid) {
            self.canaries.insert((moment, guid));
            for lost in canary.blind(attributes) {
                self.problems
                    .push((None, Problem::CanaryBlind(canary.name.clone(), lost.to_owned())));
            }
            let optional = canary.attributes.difference(attributes).filter(|a| !is_always_shown(a));
            self.faded.extend(optional.map(|a| (canary.name.clone(), a.clone())));
        }
    }

    /// Notes an entry of the base at this index.
    pub fn entry(&mut self, base: usize, presence: Presence) {
        self.entries[base] += 1;
        for bit in 0..self.expected.attributes.len() {
            self.seen[bit] += u64::from(presence.0 >> bit & 1);
        }
    }

    /// Notes an entry without a readable GUID.
    pub fn unidentified(&mut self, base: usize) {
        self.entries[base] += 1;
        self.unidentified += 1;
    }

    /// Notes the end of a page.
    pub fn page(&mut self, base: usize, end: PageEnd) {
        self.pages[base] += 1;
        match end {
            PageEnd::More => {}
            PageEnd::Last => self.finished[base] = true,
            end => {
                let text = self.messages.remove(&base).unwrap_or_default();
                let problem = Problem::Page {
                    base: self.expected.bases[base].clone(),
                    page: self.pages[base],
                    end,
                    text,
                };
                self.problems.push((Some(base), problem));
            }
        }
    }

    /// Notes the server's message about the page that is noted next.
    pub fn message(&mut self, base: usize, text: String) {
        self.messages.insert(base, text);
    }

    /// Notes that an entry shows an attribute by which the filter excludes people.
    pub fn shown(&mut self, attribute: &str) {
        self.shown.insert(attribute.to_owned());
    }

    /// Returns the bases without an entry.
    pub fn empty_bases(&self) -> impl Iterator<Item = &Dn> {
        self.expected
            .bases
            .iter()
            .zip(&self.entries)
            .filter(|(_, n)| **n == 0)
            .map(|(base, _)| base)
    }

    /// Returns whether a base has no entry, so that [`Ledger::expect_people`] is needed.
    pub fn shows_an_empty_base(&self) -> bool {
        self.entries.contains(&0)
    }

    /// Sets the number of stored people in each base. It is loaded only for a read with an empty base.
    pub fn expect_people(&mut self, people: Vec<u64>) {
        self.expected.people = people;
    }

    pub fn entries(&self) -> u64 {
        self.entries.iter().sum()
    }

    /// Returns the proof, or the problems with the proof for the bases that were read to the end.
    pub fn finish(mut self) -> Result<Complete, Incomplete> {
        let global = self.global_problems();
        for base in 0..self.expected.bases.len() {
            if !self.finished[base] && !self.problems.iter().any(|(b, _)| *b == Some(base)) {
                self.problems
                    .push((Some(base), Problem::Unread(self.expected.bases[base].clone())));
            }
        }
        self.problems.extend(global.into_iter().map(|p| (None, p)));
        let counts = self.counts();
        let damaged: BTreeSet<Option<usize>> = self.problems.iter().map(|(b, _)| *b).collect();
        let whole: Vec<usize> =
            (0..self.expected.bases.len()).filter(|b| !damaged.contains(&Some(*b))).collect();
        let complete = (!damaged.contains(&None) && !whole.is_empty()).then(|| Complete {
            bases: whole.iter().map(|b| self.expected.bases[*b].clone()).collect(),
            emptied: whole
                .iter()
                .filter(|b| {
                    self.entries[**b] == 0 && self.expected.people.get(**b).is_some_and(|n| *n > 0)
                })
                .map(|b| self.expected.bases[*b].clone())
                .collect(),
            everywhere: damaged.is_empty(),
            unidentified: self.unidentified,
            counts,
        });
        match complete {
            Some(complete) if self.problems.is_empty() => Ok(complete),
            partial => Err(Incomplete {
                problems: self.problems.into_iter().map(|(_, p)| p).collect(),
                partial,
            }),
        }
    }

    fn counts(&self) -> AttributeCounts {
        let attributes = self.expected.attributes.iter().zip(self.seen);
        let mut seen: BTreeMap<String, u64> = attributes.map(|(a, n)| (a.clone(), n)).collect();
        // The entries that show it are those that the filter leaves out of the read.
        for attribute in &self.expected.excluding {
            let before = self.expected.counts.seen.get(attribute).copied().unwrap_or(0);
            let count = seen.entry(attribute.clone()).or_default();
            *count = (*count).max(before.min(1)).max(u64::from(self.shown.contains(attribute)));
        }
        AttributeCounts { people: self.entries(), seen }
    }

    fn global_problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        match (self.servers.get(&Moment::Before), self.servers.get(&Moment::After)) {
            (Some(before), Some(after))
                if before.ds_service_name.is_empty() || after.ds_service_name.is_empty() =>
            {
                problems.push(Problem::ServerUnknown)
            }
            (Some(before), Some(after)) if before == after => {}
            // A read that ended early has a problem already.
            (Some(_), None) if !self.problems.is_empty() => {}
            _ => problems.push(Problem::ServerChanged),
        }
        for canary in &self.expected.canaries {
            let missing = |moment| !self.canaries.contains(&(moment, canary.guid));
            if missing(Moment::Before) || (missing(Moment::After) && self.problems.is_empty()) {
                problems.push(Problem::CanaryGone(canary.name.clone()));
            }
        }
        problems.extend(self.rights_lost());
        // An administrator may have cleared the value of a canary, but not that of all people.
        let is_lost = |attribute: &String| {
            let expected =
                self.expected.attributes.iter().position(|a| a.eq_ignore_ascii_case(attribute));
            let had = |bit: usize| {
                self.expected.counts.seen.get(&self.expected.attributes[bit]).copied().unwrap_or(0)
            };
            let exempt = self.expected.exempt.iter().any(|a| a.eq_ignore_ascii_case(attribute));
            expected.is_some_and(|bit| self.seen[bit] == 0 && had(bit) > 0) && !exempt
        };
        let lost = self.faded.iter().filter(|(_, attribute)| is_lost(attribute));
        problems.extend(
            lost.map(|(name, attribute)| Problem::CanaryBlind(name.clone(), attribute.clone())),
        );
        problems
    }

    /// Returns universal attributes that too many entries lack, and others that at most half of the
    /// people show who showed them before.
    fn rights_lost(&self) -> impl Iterator<Item = Problem> {
        let people = self.entries();
        let before = &self.expected.counts;
        self.expected
            .attributes
            .iter()
            .zip(self.seen)
            .filter(move |(attribute, seen)| {
                if self.expected.universal.contains(*attribute) {
                    return people - seen > (people / 100).max(5);
                }
                let had = before.seen.get(*attribute).copied().unwrap_or(0);
                // The share as well, because half of the company may have left. It alone halves when
                // many accounts without the attribute are added.
                let number_halved = seen.saturating_mul(2) <= had;
                let share_halved = u128::from(*seen) * 2 * u128::from(before.people)
                    <= u128::from(had) * u128::from(people);
                people > 0
                    && had >= 20
                    && number_halved
                    && share_halved
                    && !self.expected.exempt.contains(*attribute)
            })
            .map(move |(attribute, seen)| Problem::RightsLost {
                attribute: attribute.clone(),
                seen,
                people,
            })
    }
}

/// The proof that its bases were read to the end, or that the server answered for all requested people.
///
/// Only [`Ledger::finish`] and [`Complete::of_people`] make one.
#[derive(Debug)]
pub struct Complete {
    bases: Vec<Dn>,
    emptied: Vec<Dn>,
    everywhere: bool,
    unidentified: u64,
    counts: AttributeCounts,
}

impl Complete {
    /// Returns the proof for people who were asked for by GUID; `None` if an answer is missing.
    pub fn of_people(
        asked: &BTreeSet<Guid>,
        answered: &BTreeMap<Guid, super::Confirmation>,
    ) -> Option<Self> {
        asked.iter().all(|guid| answered.contains_key(guid)).then(|| Self {
            bases: Vec::new(),
            emptied: Vec::new(),
            everywhere: true,
            unidentified: 0,
            counts: AttributeCounts::default(),
        })
    }

    /// Returns whether a person last seen at this DN would have been read.
    pub fn covers(&self, dn: &Dn) -> bool {
        self.everywhere || self.bases.iter().any(|b| dn.is_within(b))
    }

    /// Returns the bases without an entry that had people.
    pub fn emptied(&self) -> &[Dn] {
        &self.emptied
    }

    /// Returns the number of entries without a readable GUID. Each may be any of the missing people.
    pub fn unidentified(&self) -> u64 {
        self.unidentified
    }

    pub fn counts(&self) -> &AttributeCounts {
        &self.counts
    }
}

#[derive(Debug)]
pub struct Incomplete {
    pub problems: Vec<Problem>,
    /// The proof for the bases that were read to the end.
    pub partial: Option<Complete>,
}

impl fmt::Display for Incomplete {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut known = BTreeSet::new();
        let lines: Vec<String> = self
            .problems
            .iter()
            .map(Problem::to_string)
            .filter(|line| known.insert(line.clone()))
            .collect();
        write!(f, "the directory was not read completely: {}", lines.join("; "))
    }
}

#[cfg(test)]
mod tests;
