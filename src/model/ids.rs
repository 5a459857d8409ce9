//! One id type per table, and `objectGUID`, the only identity a person has.

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
    /// One account, team or enterprise.
    AccountId;
    /// One user: a person's place in an account.
    UserId;
    /// One domain claim.
    ClaimId;
    /// One run, or one operator's write.
    RunId;
    /// One plan that is, or was, held.
    PlanId;
    /// One event; also the CloudEvents `id`.
    EventId;
}

impl UserId {
    /// The id of the user that `person` gets in `account`.
    ///
    /// Derived, not random: planning the same creation twice proposes the same user, so a held plan
    /// keeps its digest from run to run. It begins as the person's GUID does: people are read, and their users
    /// written, in one order, so that an import fills the store's trees from one end and not all over.
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
    /// From the 16 bytes AD sends, whose first three fields are little-endian (MS-DTYP 2.3.4).
    pub fn from_ad(bytes: &[u8]) -> Option<Self> {
        let b: [u8; 16] = bytes.try_into().ok()?;
        Some(Self(Uuid::from_bytes_le(b).into_bytes()))
    }

    /// The 16 bytes as AD sends them and filters compare them.
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

/// The name a directory has in the configuration: `[a-z0-9-]{1,63}`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DirectoryName(String);

impl DirectoryName {
    /// The name, if it is one.
    pub fn parse(text: &str) -> Option<Self> {
        is_label(text).then(|| Self(text.to_owned()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DirectoryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether `text` is `[a-z0-9-]{1,63}`.
pub(super) fn is_label(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
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
    fn the_user_of_a_person_has_the_same_id_in_every_plan_and_another_in_another_account() {
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
