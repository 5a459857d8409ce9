//! Domain claims: the email domains that an account says are its own.

use std::collections::BTreeSet;

use super::email::{Address, Domain};
use super::ids::{AccountId, ClaimId};
use super::time::Timestamp;
use super::words::words;

words! {
    /// The state of a claim.
    pub enum ClaimState {
        /// A DNS TXT record is awaited.
        Pending = "pending",
        /// The record was found, or the configuration trusts the domain.
        Verified = "verified",
        /// Verified earlier, and the record is missing. The domain still counts as held.
        Lapsed = "lapsed",
        Released = "released",
    }
}

impl ClaimState {
    /// Returns whether the account holds the domain.
    pub fn holds(self) -> bool {
        matches!(self, Self::Verified | Self::Lapsed)
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Claim {
    pub id: ClaimId,
    pub account: AccountId,
    pub domain: Domain,
    pub state: ClaimState,
    /// The value of the TXT record after `rosterd-domain-verification=`.
    pub token: String,
    pub claimed_at: Timestamp,
    pub verified_at: Option<Timestamp>,
    pub checked_at: Option<Timestamp>,
    /// The result of the last look-up, as a sentence.
    pub finding: Option<String>,
    /// The number of consecutive daily look-ups that were answered without the record.
    pub misses: u32,
}

/// The result of a look-up of a claim's record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RecordSeen {
    Found,
    /// The answer has no such record.
    Missing(String),
    /// No server answered, which proves nothing.
    NoAnswer(String),
}

/// A claim lapses after this many daily look-ups without the record.
const MISSES: u32 = 3;

impl Claim {
    /// Returns the name of the TXT record: `_rosterd-challenge.<domain>`.
    pub fn record_name(&self) -> String {
        format!("_rosterd-challenge.{}", self.domain)
    }

    /// Returns the claim after a look-up. Only the daily one counts a missing record.
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
            RecordSeen::NoAnswer(reason) => self.finding = Some(reason),
        }
        self
    }

    pub fn record_value(&self) -> String {
        format!("rosterd-domain-verification={}", self.token)
    }
}

/// The domains that an account holds, verified or lapsed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ClaimedDomains(pub BTreeSet<Domain>);

impl ClaimedDomains {
    /// Returns whether the domain of the address is held. Subdomains do not count.
    pub fn covers(&self, address: &Address) -> bool {
        self.0.contains(address.domain())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
