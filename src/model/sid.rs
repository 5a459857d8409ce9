//! Security identifiers (MS-DTYP 2.4.2).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A security identifier in its binary form: one byte of version, the number of subauthorities, six
/// bytes of authority, then the subauthorities.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sid(Box<[u8]>);

/// Bytes before the subauthorities.
const HEAD: usize = 8;
/// Most subauthorities of a SID.
const MAX_PARTS: usize = 15;

impl Sid {
    /// Reads the binary form, in which AD returns `objectSid` and `sIDHistory`.
    pub fn from_ad(bytes: &[u8]) -> Option<Self> {
        let (head, rest) = bytes.split_at_checked(HEAD)?;
        let parts = usize::from(head[1]);
        (parts <= MAX_PARTS && rest.len() == parts * 4).then(|| Self(bytes.into()))
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    fn parts(&self) -> impl Iterator<Item = u32> {
        self.0[HEAD..].chunks_exact(4).map(|c| u32::from_le_bytes([c[0], c[1], c[2], c[3]]))
    }

    /// Returns the relative identifier: the last subauthority.
    pub fn rid(&self) -> Option<u32> {
        self.parts().last()
    }

    /// Returns the SID of the domain: all but the last subauthority.
    pub fn domain(&self) -> Option<Self> {
        let mut domain = self.0.get(..self.0.len() - 4).filter(|rest| rest.len() >= HEAD)?.to_vec();
        domain[1] -= 1;
        Some(Self(domain.into()))
    }
}

impl fmt::Display for Sid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let authority = self.0[2..HEAD].iter().fold(0_u64, |n, b| n << 8 | u64::from(*b));
        write!(f, "S-{}-{authority}", self.0[0])?;
        self.parts().try_for_each(|part| write!(f, "-{part}"))
    }
}

impl Serialize for Sid {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Sid {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(|()| serde::de::Error::custom("no SID"))
    }
}

impl fmt::Debug for Sid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sid({self})")
    }
}

impl FromStr for Sid {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut numbers = text.strip_prefix("S-").ok_or(())?.split('-');
        let mut next = || numbers.next().ok_or(());
        let version: u8 = next()?.parse().map_err(drop)?;
        let authority: u64 = next()?.parse().map_err(drop)?;
        let parts: Vec<u32> =
            numbers.map(|part| part.parse().map_err(drop)).collect::<Result<_, ()>>()?;
        let mut bytes = vec![version, u8::try_from(parts.len()).map_err(drop)?];
        bytes.extend(&authority.to_be_bytes()[2..]);
        bytes.extend(parts.iter().flat_map(|part| part.to_le_bytes()));
        Self::from_ad(&bytes).ok_or(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sid_is_written_as_ad_writes_it() {
        let bytes =
            [1, 5, 0, 0, 0, 0, 0, 5, 21, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 80, 4, 0, 0];
        let sid = Sid::from_ad(&bytes).expect("a SID");
        assert_eq!(sid.to_string(), "S-1-5-21-1-2-3-1104");
        assert_eq!("S-1-5-21-1-2-3-1104".parse(), Ok(sid.clone()));
        assert_eq!(sid.rid(), Some(1104));
        assert_eq!(sid.domain().map(|d| d.to_string()).as_deref(), Some("S-1-5-21-1-2-3"));
        assert_eq!(Sid::from_ad(&bytes[..9]), None);
        for text in ["", "S-1", "S-1-5-x", "CN=Bob", "S-1-5-1-2-3-4-5-6-7-8-9-10-11-12-13-14-15-16"]
        {
            assert_eq!(text.parse::<Sid>(), Err(()), "{text}");
        }
    }
}
