//! Domain claims: which email domains an account says are its own.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{AccountId, ClaimId, Domain, Timestamp};

/// Where a claim stands.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClaimState {
    /// A DNS TXT record is awaited.
    Pending,
    /// The record was seen, or the configuration vouches for the domain.
    Verified,
    /// Verified, but the record has gone: an alarm, nothing else.
    Lapsed,
    /// Given back.
    Released,
}

impl ClaimState {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Verified => "verified",
            Self::Lapsed => "lapsed",
            Self::Released => "released",
        }
    }

    /// The state of that word.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Pending, Self::Verified, Self::Lapsed, Self::Released]
            .into_iter()
            .find(|s| s.as_str() == word)
    }

    /// Whether the domain counts as the account's own in every rule.
    pub fn holds(self) -> bool {
        matches!(self, Self::Verified | Self::Lapsed)
    }
}

/// One account's claim to one domain.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Claim {
    /// Its id.
    pub id: ClaimId,
    /// Whose it is.
    pub account: AccountId,
    /// The domain.
    pub domain: Domain,
    /// Where it stands.
    pub state: ClaimState,
    /// What the TXT record must say after `rosterd-domain-verification=`.
    pub token: String,
    /// When it was claimed.
    pub claimed_at: Timestamp,
    /// When it was first verified.
    pub verified_at: Option<Timestamp>,
    /// When the record was last looked up.
    pub checked_at: Option<Timestamp>,
    /// What the last look-up found, as a sentence.
    pub finding: Option<String>,
    /// The daily look-ups in a row, of a claim that holds, that were answered without the record.
    pub misses: u32,
}

/// What a look-up of a claim's record came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RecordSeen {
    /// The record is there.
    Found,
    /// There was an answer, and the record was not in it.
    Missing(String),
    /// There was no answer: this says nothing.
    NoAnswer(String),
}

/// A claim lapses when its record was not there on so many days.
const MISSES: u32 = 3;

impl Claim {
    /// The name of the TXT record: `_rosterd-challenge.<domain>`.
    pub fn record_name(&self) -> String {
        format!("_rosterd-challenge.{}", self.domain)
    }

    /// What the claim is after a look-up; `is_daily` for the one look-up a day that counts what it misses.
    #[must_use]
    pub fn after_look_up(mut self, seen: RecordSeen, is_daily: bool, now: Timestamp) -> Self {
        self.checked_at = Some(now);
        match seen {
            RecordSeen::Found => {
                self.finding = Some("the record was found".to_owned());
                self.misses = 0;
                if self.state == ClaimState::Pending {
                    self.verified_at = Some(now);
                }
                self.state = ClaimState::Verified;
            }
            RecordSeen::Missing(finding) => {
                self.finding = Some(finding);
                if is_daily && self.state.holds() {
                    self.misses = self.misses.saturating_add(1);
                }
                if self.misses >= MISSES && self.state == ClaimState::Verified {
                    self.state = ClaimState::Lapsed;
                }
            }
            RecordSeen::NoAnswer(why) => self.finding = Some(why),
        }
        self
    }

    /// The value of the TXT record.
    pub fn record_value(&self) -> String {
        format!("rosterd-domain-verification={}", self.token)
    }
}

/// The domains one account holds, verified or lapsed; what addresses are measured against.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ClaimedDomains(pub BTreeSet<Domain>);

impl ClaimedDomains {
    /// Whether the address belongs to the account: an exact match of its domain.
    pub fn covers(&self, address: &super::Address) -> bool {
        self.0.contains(address.domain())
    }

    /// Whether the account holds no domain at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
