//! Binary security identifiers (MS-DTYP 2.4.2.2).

/// Formats a binary SID as `S-1-5-…`.
pub(super) fn sid_text(sid: &[u8]) -> Option<String> {
    let (head, rest) = sid.split_at_checked(8)?;
    let authority = head[2..].iter().fold(0_u64, |n, b| n << 8 | u64::from(*b));
    if rest.len() != usize::from(head[1]) * 4 {
        return None;
    }
    let parts = rest.chunks_exact(4).map(|c| u32::from_le_bytes([c[0], c[1], c[2], c[3]]));
    Some(parts.fold(format!("S-{}-{authority}", head[0]), |text, part| format!("{text}-{part}")))
}

/// Returns the relative identifier: the last subauthority.
pub(super) fn rid(sid: &[u8]) -> Option<u32> {
    Some(u32::from_le_bytes(*sid.last_chunk::<4>()?)).filter(|_| sid.len() >= 12)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sid_is_written_as_ad_writes_it() {
        let sid =
            [1, 5, 0, 0, 0, 0, 0, 5, 21, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 80, 4, 0, 0];
        assert_eq!(sid_text(&sid).as_deref(), Some("S-1-5-21-1-2-3-1104"));
        assert_eq!(rid(&sid), Some(1104));
        assert_eq!(sid_text(&sid[..9]), None);
    }
}
