//! Whether a read was complete: decided by a fold over what the reader saw, never asserted.
//!
//! [`Ledger`] takes note of everything (every page's end, the server's identity and the canaries before
//! and after, which attributes entries showed), and [`Ledger::finish`] is the only way to a [`Complete`].

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::canary::{Canary, is_always_shown};
use crate::model::{Dn, Guid};

/// Which server answered: what tells one DC, and one database of it, from another.
#[derive(Clone, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct ServerIdentity {
    /// `dsServiceName` of the rootDSE.
    pub ds_service_name: String,
    /// `invocationId` of that object.
    pub invocation_id: Option<Guid>,
}

/// Before or after the read.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Moment {
    /// Before the first page.
    Before,
    /// After the last.
    After,
}

/// How a page ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PageEnd {
    /// Success, with the paging control; more pages follow.
    More,
    /// Success, with the paging control and an empty cookie: the end.
    Last,
    /// Success without the paging control: nothing says whether it was all.
    NoControl,
    /// The cookie of the page before, again, with no new entry: the server goes in circles.
    SameCookie,
    /// Another result code.
    Refused(u32),
    /// The connection ended or timed out first.
    Cut,
}

/// Which of the attributes an entry showed, one bit each in the order of [`Expectation::attributes`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Presence(pub u32);

/// On how many of how many people each attribute was seen.
#[derive(Clone, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct AttributeCounts {
    /// How many people were read.
    pub people: u64,
    /// On how many of them each attribute was seen.
    pub seen: BTreeMap<String, u64>,
}

/// What a full read is held against.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Expectation {
    /// The bases, each read on its own.
    pub bases: Vec<Dn>,
    /// How many stored people stand in each; may be told later, see [`Ledger::expect_people`].
    pub people: Vec<u64>,
    /// The canaries.
    pub canaries: Vec<Canary>,
    /// The attributes asked for, at most 32.
    pub attributes: Vec<String>,
    /// Those that everybody has.
    pub universal: BTreeSet<String>,
    /// Those whose disappearance is noticed elsewhere (`memberOf`: at the groups).
    pub exempt: BTreeSet<String>,
    /// What the last complete read saw.
    pub counts: AttributeCounts,
}

/// Why a read was not complete.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Problem {
    /// A page did not end well.
    Page {
        /// The base.
        base: Dn,
        /// Which page, from 1.
        page: u64,
        /// How it ended.
        end: PageEnd,
        /// The server's own text, if it sent one.
        text: String,
    },
    /// A base was not read to its end.
    Unread(Dn),
    /// Another server, or another database, answered at the end.
    ServerChanged,
    /// The server did not say who it is.
    ServerUnknown,
    /// A canary was not found.
    CanaryGone(String),
    /// A canary does not show an attribute it used to show.
    CanaryBlind(String, String),
    /// An attribute is not shown where it has to be.
    RightsLost {
        /// The attribute.
        attribute: String,
        /// On how many people it was seen.
        seen: u64,
        /// Of how many.
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
                    PageEnd::NoControl => write!(
                        f,
                        "came without a paging control, so nothing says whether it was the last"
                    ),
                    PageEnd::SameCookie => write!(
                        f,
                        "came with the cookie of the page before and nothing new: the server goes in circles"
                    ),
                    PageEnd::Refused(3) => write!(f, "ended with result 3 (timeLimitExceeded)"),
                    PageEnd::Refused(4) => write!(
                        f,
                        "ended with result 4 (sizeLimitExceeded): what was returned is not all"
                    ),
                    PageEnd::Refused(code) => write!(f, "ended with result {code}"),
                    PageEnd::Cut => write!(f, "was cut off"),
                }?;
                if text.is_empty() { Ok(()) } else { write!(f, " ({text})") }
            }
            Self::Unread(base) => write!(f, "{base} was not read to its end"),
            Self::ServerChanged => {
                write!(
                    f,
                    "another server, or another copy of its database, answered at the end of the read than at its beginning"
                )
            }
            Self::ServerUnknown => write!(
                f,
                "the server does not show dsServiceName, so nothing says that one server answered throughout"
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

/// Takes note of a full read.
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
    /// The server's text about the page that comes next, by base.
    said: BTreeMap<usize, String>,
    /// Attributes that a canary no longer shows, of those that can be absent without a lack of rights.
    faded: BTreeSet<(String, String)>,
    problems: Vec<(Option<usize>, Problem)>,
}

impl Ledger {
    /// A new ledger.
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
            said: BTreeMap::new(),
            faded: BTreeSet::new(),
            problems: Vec::new(),
        }
    }

    /// Which server answered at this moment.
    pub fn server(&mut self, moment: Moment, identity: ServerIdentity) {
        self.servers.insert(moment, identity);
    }

    /// Which attributes the canary showed at this moment.
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

    /// One entry of base number `base`.
    pub fn entry(&mut self, base: usize, presence: Presence) {
        self.entries[base] += 1;
        for bit in 0..self.expected.attributes.len() {
            self.seen[bit] += u64::from(presence.0 >> bit & 1);
        }
    }

    /// An entry of which not even the GUID could be read.
    pub fn unidentified(&mut self, base: usize) {
        self.entries[base] += 1;
        self.unidentified += 1;
    }

    /// The end of a page of base number `base`.
    pub fn page(&mut self, base: usize, end: PageEnd) {
        self.pages[base] += 1;
        match end {
            PageEnd::More => {}
            PageEnd::Last => self.finished[base] = true,
            end => {
                let text = self.said.remove(&base).unwrap_or_default();
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

    /// The server's text about the page of base number `base` that is noted next.
    pub fn said(&mut self, base: usize, text: String) {
        self.said.insert(base, text);
    }

    /// The bases that have shown nobody.
    pub fn empty_bases(&self) -> impl Iterator<Item = &Dn> {
        self.expected
            .bases
            .iter()
            .zip(&self.entries)
            .filter(|(_, n)| **n == 0)
            .map(|(base, _)| base)
    }

    /// Whether some base has shown nobody, so that it matters how many people stood there.
    pub fn shows_an_empty_base(&self) -> bool {
        self.entries.contains(&0)
    }

    /// How many people stand in each base by what is stored, where that was not known before.
    pub fn expect_people(&mut self, people: Vec<u64>) {
        self.expected.people = people;
    }

    /// How many entries were seen so far.
    pub fn entries(&self) -> u64 {
        self.entries.iter().sum()
    }

    /// The verdict.
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
        let seen =
            self.expected.attributes.iter().zip(self.seen).map(|(a, n)| (a.clone(), n)).collect();
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
            // A read that broke off before the end has said so already.
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
        // A canary's value may have been cleared. That nobody shows the attribute any more, although people did, is no such thing.
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

    /// Attributes that everybody has and too many do not show, or that half of those who showed them no longer do.
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
                // Measured by the people read, so that half of the company leaving is not taken for lost rights.
                let share_halved = u128::from(*seen) * 2 * u128::from(before.people)
                    <= u128::from(had) * u128::from(people);
                people > 0
                    && had >= 20
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

/// Proof that all bases it names were read to the end, or that everybody who was asked for was answered.
///
/// Made by [`Ledger::finish`] and [`Complete::of_people`] only: both fold over what was seen.
#[derive(Debug)]
pub struct Complete {
    bases: Vec<Dn>,
    emptied: Vec<Dn>,
    everywhere: bool,
    unidentified: u64,
    counts: AttributeCounts,
}

impl Complete {
    /// The proof for people that were asked for by GUID: every one of them was answered.
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

    /// Whether somebody whose entry last stood there, and was not seen, is a candidate for absence.
    pub fn covers(&self, dn: &Dn) -> bool {
        self.everywhere || self.bases.iter().any(|b| dn.is_within(b))
    }

    /// The bases that show nobody although they had somebody, for messages.
    pub fn emptied(&self) -> &[Dn] {
        &self.emptied
    }

    /// How many entries could not be identified: each of them may be anybody.
    pub fn unidentified(&self) -> u64 {
        self.unidentified
    }

    /// What this read saw of each attribute.
    pub fn counts(&self) -> &AttributeCounts {
        &self.counts
    }
}

/// A read that was not complete.
#[derive(Debug)]
pub struct Incomplete {
    /// Why.
    pub problems: Vec<Problem>,
    /// The proof for those bases that were read to the end all the same.
    pub partial: Option<Complete>,
}

impl fmt::Display for Incomplete {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut told = BTreeSet::new();
        let lines: Vec<String> = self
            .problems
            .iter()
            .map(Problem::to_string)
            .filter(|line| told.insert(line.clone()))
            .collect();
        write!(f, "the directory was not read completely: {}", lines.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger(bases: usize) -> Ledger {
        let me = Canary {
            guid: Guid([1; 16]),
            name: "svc".to_owned(),
            attributes: ["mail".to_owned()].into(),
        };
        Ledger::new(Expectation {
            bases: (0..bases).map(|n| Dn::new(format!("OU=b{n},DC=corp"))).collect(),
            people: vec![10; bases],
            canaries: vec![me],
            attributes: vec!["userAccountControl".to_owned(), "mail".to_owned()],
            universal: ["userAccountControl".to_owned()].into(),
            exempt: BTreeSet::new(),
            counts: AttributeCounts { people: 100, seen: [("mail".to_owned(), 80)].into() },
        })
    }

    fn around(ledger: &mut Ledger, moment: Moment) {
        ledger.server(
            moment,
            ServerIdentity { ds_service_name: "CN=DC1".to_owned(), invocation_id: None },
        );
        ledger.canary(moment, Guid([1; 16]), &["mail".to_owned()].into());
    }

    fn read(mut ledger: Ledger, script: impl FnOnce(&mut Ledger)) -> Result<Complete, Incomplete> {
        around(&mut ledger, Moment::Before);
        script(&mut ledger);
        around(&mut ledger, Moment::After);
        ledger.finish()
    }

    #[test]
    fn a_read_is_complete_when_every_page_of_every_base_ended_well() {
        let complete = read(ledger(2), |l| {
            l.entry(0, Presence(3));
            l.page(0, PageEnd::More);
            l.page(0, PageEnd::Last);
            l.page(1, PageEnd::Last);
        });
        let complete = complete.expect("complete");
        assert!(complete.covers(&Dn::new("CN=x,DC=elsewhere")));
        assert_eq!(complete.emptied(), [Dn::new("OU=b1,DC=corp")]);
    }

    #[test]
    fn nothing_short_of_an_empty_cookie_ends_a_base() {
        for end in [
            PageEnd::More,
            PageEnd::NoControl,
            PageEnd::SameCookie,
            PageEnd::Cut,
            PageEnd::Refused(4),
            PageEnd::Refused(3),
            PageEnd::Refused(51),
        ] {
            let incomplete = read(ledger(1), |l| l.page(0, end)).expect_err("incomplete");
            assert!(incomplete.partial.is_none(), "{end:?}");
        }
        assert!(read(ledger(1), |_| {}).is_err(), "no page at all");
    }

    #[test]
    fn a_base_that_failed_does_not_stop_the_one_that_did_not() {
        let incomplete = read(ledger(2), |l| {
            l.page(0, PageEnd::Last);
            l.page(1, PageEnd::Refused(51));
        })
        .expect_err("incomplete");
        let partial = incomplete.partial.expect("the first base is whole");
        assert!(partial.covers(&Dn::new("CN=x,OU=b0,DC=corp")));
        assert!(!partial.covers(&Dn::new("CN=x,OU=b1,DC=corp")));
    }

    #[test]
    fn another_server_or_a_blind_canary_voids_everything() {
        let mut l = ledger(1);
        around(&mut l, Moment::Before);
        l.page(0, PageEnd::Last);
        around(&mut l, Moment::After);
        l.server(
            Moment::After,
            ServerIdentity { ds_service_name: "CN=DC2".to_owned(), invocation_id: None },
        );
        assert!(l.finish().expect_err("another server").partial.is_none());

        let blind = read(ledger(1), |l| {
            l.page(0, PageEnd::Last);
            l.canary(Moment::After, Guid([1; 16]), &BTreeSet::new());
        });
        assert!(blind.expect_err("blind").to_string().contains("no longer shows mail"));
    }

    #[test]
    fn an_attribute_that_half_of_the_people_no_longer_show_means_lost_rights() {
        let people = |uac: usize, mail: usize| {
            read(ledger(1), |l| {
                for n in 0..100 {
                    l.entry(0, Presence(u32::from(n < uac) | u32::from(n < mail) << 1));
                }
                l.page(0, PageEnd::Last);
            })
        };
        assert!(people(100, 41).is_ok());
        assert!(
            people(100, 40)
                .expect_err("mail")
                .to_string()
                .contains("mail was seen on only 40 of 100")
        );
        assert!(people(95, 80).is_ok());
        assert!(people(94, 80).expect_err("control").to_string().contains("userAccountControl"));
    }
}
