//! What an operator has overruled of a user: the directory may go on asking for it, and it is not planned.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::{Addresses, Guid, Profile, Reason, Tier};

/// One thing that a directory asks for and an operator does not want. It is over when the directory asks for something
/// else, or an operator says so (`user clear-override`). Addresses and attributes are recognised by a hash: what was overruled may
/// be somebody's data, and is nobody's any more.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Override {
    /// That the user be suspended for this reason.
    Reason(Reason),
    /// That the user have this tier.
    Tier(Tier),
    /// That the user have these addresses.
    Addresses(u64),
    /// That the user have these attributes.
    Attributes(u64),
    /// That somebody who is released come back.
    Return,
    /// That the user be linked to this person.
    Link(Guid),
}

impl Override {
    /// These addresses.
    pub fn addresses(addresses: &Addresses) -> Self {
        let keys: Vec<String> = addresses.keys().into_iter().map(|key| key.0).collect();
        let primary = addresses.primary.as_ref().map(|a| a.key().0).unwrap_or_default();
        Self::Addresses(xxh3_64(format!("{primary} {}", keys.join(" ")).as_bytes()))
    }

    /// These attributes. Logon names do not count: a profile of before they were kept is still the one that was overruled.
    pub fn attributes(profile: &Profile) -> Self {
        let profile =
            Profile { sam_account_name: None, user_principal_name: None, ..profile.clone() };
        let fields: Vec<String> = profile
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

/// A word that overrules nothing.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("\"{0}\" overrules nothing")]
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
    fn each_is_a_word_that_reads_back() {
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
