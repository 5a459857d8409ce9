//! Overrides: decisions of operators that outlast syncs.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::cause::Reason;
use super::email::Addresses;
use super::ids::Guid;
use super::profile::Profile;
use super::tier::Tier;

/// A value that a directory asks for and an operator has refused; no run plans it.
///
/// It ends when the directory asks for another value, or by `user clear-override`. Addresses and
/// attributes are stored as a hash, because the refused value may be data of another person.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Override {
    /// The suspension for this reason.
    Reason(Reason),
    Tier(Tier),
    /// The hash of the addresses.
    Addresses(u64),
    /// The hash of the profile.
    Attributes(u64),
    /// The return of a released user.
    Return,
    /// The link to this person.
    Link(Guid),
}

impl Override {
    pub fn addresses(addresses: &Addresses) -> Self {
        let keys: Vec<String> = addresses.keys().into_iter().map(|key| key.0).collect();
        let primary = addresses.primary.as_ref().map(|a| a.key().0).unwrap_or_default();
        Self::Addresses(xxh3_64(format!("{primary} {}", keys.join(" ")).as_bytes()))
    }

    /// Hashes the attributes that every version and configuration reads, so that a profile is
    /// recognised after others were added.
    pub fn attributes(profile: &Profile) -> Self {
        let fields: Vec<String> = profile
            .basic()
            .fields()
            .into_iter()
            .filter_map(|(name, value)| Some(format!("{name}\0{}\0", value?)))
            .collect();
        Self::Attributes(xxh3_64(fields.concat().as_bytes()))
    }
}

impl fmt::Display for Override {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reason(reason) => reason.fmt(f),
            Self::Tier(tier) => write!(f, "tier:{tier}"),
            Self::Addresses(hash) => write!(f, "addresses:{hash:016x}"),
            Self::Attributes(hash) => write!(f, "attributes:{hash:016x}"),
            Self::Return => f.write_str("return"),
            Self::Link(guid) => write!(f, "link:{guid}"),
        }
    }
}

#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("\"{0}\" is not an override")]
pub struct OverruledError(String);

impl FromStr for Override {
    type Err = OverruledError;

    fn from_str(text: &str) -> Result<Self, OverruledError> {
        let hash = |text| u64::from_str_radix(text, 16).ok();
        match text.split_once(':') {
            Some(("tier", tier)) => Tier::parse(tier).map(Self::Tier),
            Some(("addresses", text)) => hash(text).map(Self::Addresses),
            Some(("attributes", text)) => hash(text).map(Self::Attributes),
            Some(("link", guid)) => guid.parse().ok().map(Self::Link),
            Some(_) => None,
            None if text == "return" => Some(Self::Return),
            None => Reason::parse(text).map(Self::Reason),
        }
        .ok_or_else(|| OverruledError(text.to_owned()))
    }
}

impl From<Override> for String {
    fn from(overruled: Override) -> Self {
        overruled.to_string()
    }
}

impl TryFrom<String> for Override {
    type Error = OverruledError;

    fn try_from(text: String) -> Result<Self, OverruledError> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Address;

    #[test]
    fn every_override_reads_back_from_its_word() {
        let addresses =
            Addresses { primary: Address::parse("ann@example.com").ok(), ..Addresses::default() };
        let all = [
            Override::Reason(Reason::NoGroup),
            Override::Tier(Tier::Basic),
            Override::addresses(&addresses),
            Override::attributes(&Profile {
                title: Some("Chief".to_owned()),
                ..Profile::default()
            }),
            Override::Return,
            Override::Link(Guid([7; 16])),
        ];
        for one in all {
            assert_eq!(one.to_string().parse(), Ok(one));
        }
        assert_eq!(
            "no-group".parse(),
            Ok(Override::Reason(Reason::NoGroup)),
            "as earlier versions wrote it"
        );
        assert!("tier:gold".parse::<Override>().is_err());
    }
}
