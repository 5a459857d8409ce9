//! The hash by which a run knows that a decision is the one before.

use std::num::NonZeroU64;

use xxhash_rust::xxh3::Xxh3;

use super::{Desired, Facts, Primary};
use crate::model::Profile;
use crate::reconcile::TierWish;

impl Desired {
    /// Returns a hash that differs when the decision does. It is the same in every build.
    ///
    /// It covers everything that a plan depends on. So a new claim, another closure or a passed expiry is
    /// a change although the entry is the same. A new version of the format makes each person
    /// a changed one, which costs one slow run.
    pub fn fingerprint(&self) -> NonZeroU64 {
        let Self {
            guid,
            // It is stored beside the decision.
            sid: _,
            dn,
            facts,
            tier,
            primary,
            secondary,
            profile,
            choices,
            findings,
            no_proxies: _,
            is_read_again: _,
            unwitnessed,
        } = self;
        let mut hash = Xxh3::new();
        let mut text = |tag: u8, value: &str| {
            hash.update(&[tag]);
            hash.update(&(value.len() as u64).to_le_bytes());
            hash.update(value.as_bytes());
        };
        text(1, "rosterd decision v1");
        text(2, dn.as_str());
        match primary {
            Primary::Usable(a) => text(3, a.as_str()),
            Primary::Unclaimed(a) => text(4, a.as_str()),
            Primary::Malformed => text(5, ""),
            Primary::Absent => text(6, ""),
            Primary::Unseen => text(7, ""),
        }
        for address in secondary {
            text(8, address.as_str());
        }
        for (name, value) in profile.iter().flat_map(Profile::fields) {
            if let Some(value) = value {
                text(9, name);
                text(10, value);
            }
        }
        for (name, values) in profile.iter().flat_map(|profile| &profile.extra) {
            text(17, name);
            for value in values {
                text(18, value);
            }
        }
        for address in choices.iter().flat_map(|choices| &choices.addresses) {
            text(14, address.as_str());
        }
        for (name, value) in choices
            .iter()
            .flat_map(|choices| &choices.profile)
            .flat_map(|(name, values)| values.iter().map(move |v| (name, v)))
        {
            text(15, name);
            text(16, value);
        }
        hash.update(&guid.0);
        hash.update(&findings.map(|f| f as u8));
        match tier {
            TierWish::Entitled { tier, by } => {
                hash.update(&[11, *tier as u8]);
                hash.update(&by.map_or([0; 16], |g| g.0));
            }
            TierWish::OfOu(tier) => hash.update(&[19, *tier as u8]),
            TierWish::Without => hash.update(&[12]),
            TierWish::Unknown => hash.update(&[13]),
        }
        let kind = match facts {
            Facts::Alive { .. } => 0,
            Facts::Tombstone => 1,
            Facts::Nowhere => 2,
        };
        hash.update(&[kind, u8::from(*unwitnessed)]);
        // It backs a suspension of an account that had expired before.
        if self.has_left_by_date() {
            hash.update(&[20]);
        }
        hash.update(&self.expires().map_or(i64::MAX, |t| t.0).to_le_bytes());
        NonZeroU64::new(hash.digest()).unwrap_or(NonZeroU64::MIN)
    }
}
