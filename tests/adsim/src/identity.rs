//! SIDs, deterministic GUIDs and AD's two notations of time.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use uuid::Uuid;

/// Seconds between 1601-01-01 and 1970-01-01, because AD counts from the former.
const EPOCH_GAP: u64 = 11_644_473_600;

/// A domain's security identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DomainSid([u32; 3]);

impl DomainSid {
    pub(crate) fn from_seed(seed: u64) -> Self {
        let mut state = seed ^ 0x5349_4453;
        Self([0; 3].map(|_: u32| (mix(&mut state) >> 33) as u32))
    }

    /// Returns the SID of the account with this RID; RID 0 is the domain itself.
    pub(crate) fn bytes(self, rid: u32) -> Vec<u8> {
        let mut out = vec![1, if rid == 0 { 4 } else { 5 }, 0, 0, 0, 0, 0, 5];
        out.extend_from_slice(&21u32.to_le_bytes());
        for part in self.0 {
            out.extend_from_slice(&part.to_le_bytes());
        }
        if rid != 0 {
            out.extend_from_slice(&rid.to_le_bytes());
        }
        out
    }

    /// Returns the RID in a SID of this domain (binary or `S-1-5-21-…`).
    pub(crate) fn rid(self, sid: &[u8]) -> Option<u32> {
        if let Ok(text) = std::str::from_utf8(sid)
            && let Some(rid) =
                text.strip_prefix(&self.text()).and_then(|rest| rest.strip_prefix('-'))
        {
            return rid.parse().ok();
        }
        let (domain, rid) = sid.split_at_checked(24)?;
        if domain[8..] != self.bytes(0)[8..] {
            return None;
        }
        rid.try_into().ok().map(u32::from_le_bytes)
    }

    fn text(self) -> String {
        let [a, b, c] = self.0;
        format!("S-1-5-21-{a}-{b}-{c}")
    }

    /// Returns the SID with this RID in Windows notation.
    pub(crate) fn display(self, rid: u32) -> String {
        format!("{}-{rid}", self.text())
    }
}

/// `S-1-5-7`: the identity of a connection before a bind.
pub(crate) const ANONYMOUS_SID: [u8; 12] = [1, 1, 0, 0, 0, 0, 0, 5, 7, 0, 0, 0];

/// SplitMix64: reproducible and good enough for identifiers.
pub(crate) fn mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Returns the next GUID of a seeded sequence.
pub(crate) fn next_guid(state: &mut u64) -> Uuid {
    let high = u128::from(mix(state));
    let low = u128::from(mix(state));
    uuid::Builder::from_random_bytes((high << 64 | low).to_be_bytes()).into_uuid()
}

/// Returns a time in units of `accountExpires`: 100 ns since 1601.
pub(crate) fn ticks(at: SystemTime) -> i64 {
    match at.duration_since(UNIX_EPOCH) {
        Ok(after) => {
            let whole = (after.as_secs() + EPOCH_GAP) * 10_000_000;
            (whole + u64::from(after.subsec_nanos()) / 100) as i64
        }
        Err(before) => {
            let gap = Duration::from_secs(EPOCH_GAP).saturating_sub(before.duration());
            (gap.as_secs() * 10_000_000 + u64::from(gap.subsec_nanos()) / 100) as i64
        }
    }
}

/// Returns a time in LDAP notation: `20260215103000.0Z`.
pub(crate) fn generalized(at: SystemTime) -> String {
    let seconds = match at.duration_since(UNIX_EPOCH) {
        Ok(after) => after.as_secs() as i64,
        Err(before) => -(before.duration().as_secs() as i64),
    };
    let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Howard Hinnant's civil_from_days.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 { month_index + 3 } else { month_index - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}{month:02}{day:02}{:02}{:02}{:02}.0Z", rest / 3600, rest / 60 % 60, rest % 60)
}

#[cfg(test)]
mod tests {
    use super::{DomainSid, generalized, ticks};
    use std::time::{Duration, UNIX_EPOCH};

    #[test]
    fn times_are_written_as_ad_writes_them() {
        let at = UNIX_EPOCH + Duration::from_secs(1_772_236_801);
        assert_eq!(generalized(at), "20260228000001.0Z");
        assert_eq!(ticks(UNIX_EPOCH), 116_444_736_000_000_000);
    }

    #[test]
    fn a_sid_gives_its_rid_back_in_both_notations() {
        let sid = DomainSid::from_seed(1);
        assert_eq!(sid.rid(&sid.bytes(1104)), Some(1104));
        assert_eq!(sid.rid(sid.display(1104).as_bytes()), Some(1104));
        assert_eq!(DomainSid::from_seed(2).rid(&sid.bytes(1104)), None);
    }
}
