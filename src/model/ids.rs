//! Ids: one type per table, and `objectGUID`, the only identity of a person.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! typed_id {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::parse_str(text).map(Self)
            }
        }
    )*};
}

typed_id! {
    AccountId;
    UserId;
    ClaimId;
    /// A run, or an operator's write.
    RunId;
    /// A plan that is, or was, held.
    PlanId;
    /// An event; also the CloudEvents `id`.
    EventId;
}

impl UserId {
    /// Returns the id of the user of `person` in `account`.
    ///
    /// The id is derived, so that a held creation keeps its digest from run to run. It begins with
    /// the bytes of the GUID, so that an import writes users in the order of their ids.
    pub fn of_person(account: AccountId, person: Guid) -> Self {
        use sha2::Digest as _;
        let mut hash = sha2::Sha256::new();
        hash.update(b"rosterd user v1");
        hash.update(account.0.as_bytes());
        hash.update(person.0);
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hash.finalize()[..16]);
        bytes[..6].copy_from_slice(&person.0[..6]);
        Self(uuid::Builder::from_custom_bytes(bytes).into_uuid())
    }
}

/// An `objectGUID`: 16 bytes in the order they print (the first three fields big-endian).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Guid(pub [u8; 16]);

impl Guid {
    /// Reads the 16 bytes of AD; the first three fields are little-endian (MS-DTYP 2.3.4).
    pub fn from_ad(bytes: &[u8]) -> Option<Self> {
        let b: [u8; 16] = bytes.try_into().ok()?;
        Some(Self(Uuid::from_bytes_le(b).into_bytes()))
    }

    /// Returns the 16 bytes as AD sends them and filters compare them.
    pub fn to_ad(self) -> [u8; 16] {
        Uuid::from_bytes(self.0).to_bytes_le()
    }
}

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Uuid::from_bytes(self.0).fmt(f)
    }
}

impl fmt::Debug for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Guid({self})")
    }
}

impl FromStr for Guid {
    type Err = uuid::Error;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Uuid::parse_str(text).map(|u| Self(u.into_bytes()))
    }
}

impl Serialize for Guid {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Guid {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Returns whether `text` is `[a-z0-9-]{1,63}`.
pub(super) fn is_label(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// The name of a directory in the configuration: `[a-z0-9-]{1,63}`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DirectoryName(String);

impl DirectoryName {
    pub fn parse(text: &str) -> Option<Self> {
        is_label(text).then(|| Self(text.to_owned()))
    }

    /// Returns the name of a text that is a label.
    pub(super) fn of_label(label: String) -> Self {
        Self(label)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DirectoryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guid_prints_as_powershell_shows_it() {
        let bytes = [
            0x33, 0x22, 0x11, 0x00, 0x55, 0x44, 0x77, 0x66, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd,
            0xee, 0xff,
        ];
        let guid = Guid::from_ad(&bytes).expect("16 bytes");
        assert_eq!(guid.to_string(), "00112233-4455-6677-8899-aabbccddeeff");
        assert_eq!(guid.to_ad(), bytes);
        assert_eq!(Guid::from_ad(&bytes[..15]), None);
    }

    #[test]
    fn the_user_id_of_a_person_depends_on_account_and_guid_alone() {
        let (a, b) = (AccountId(Uuid::from_u128(1)), AccountId(Uuid::from_u128(2)));
        let person = Guid([7; 16]);
        assert_eq!(UserId::of_person(a, person), UserId::of_person(a, person));
        assert_ne!(UserId::of_person(a, person), UserId::of_person(b, person));
        let (first, last) = (Guid([1; 16]), Guid([2; 16]));
        assert!(
            UserId::of_person(a, first) < UserId::of_person(a, last),
            "users are in the order of people"
        );
    }
}
