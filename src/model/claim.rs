//! Domain claims: which email domains an account says are its own.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Account, AccountId, ClaimId, Domain, Timestamp};

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
        [Self::Pending, Self::Verified, Self::Lapsed, Self::Released].into_iter().find(|s| s.as_str() == word)
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
}

impl Claim {
    /// The name of the TXT record: `_rosterd-challenge.<domain>`.
    pub fn record_name(&self) -> String {
        format!("_rosterd-challenge.{}", self.domain)
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

impl Account {
    /// What the account is while it holds these domains.
    pub fn kind_with(domains: &ClaimedDomains) -> super::AccountKind {
        if domains.is_empty() { super::AccountKind::Team } else { super::AccountKind::Enterprise }
    }
}
