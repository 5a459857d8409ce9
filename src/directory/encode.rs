//! BER encoding of the requests and controls that ldap3 does not encode.

/// Encodes a SEQUENCE of encoded elements.
pub(super) fn sequence(parts: &[Vec<u8>]) -> Vec<u8> {
    element(0x30, &parts.concat())
}

/// Encodes an OCTET STRING.
pub(super) fn octets(content: &[u8]) -> Vec<u8> {
    element(0x04, content)
}

/// Encodes an INTEGER in the fewest bytes (X.690, 8.3.2).
pub(super) fn integer(number: u32) -> Vec<u8> {
    let bytes = u64::from(number).to_be_bytes();
    let first = (0..7).find(|at| bytes[*at] != 0 || bytes[at + 1] & 0x80 != 0).unwrap_or(7);
    integer_of(&bytes[first..])
}

/// Encodes an INTEGER with these contents.
pub(super) fn integer_of(content: &[u8]) -> Vec<u8> {
    element(0x02, content)
}

/// Encodes an element; a long one has four octets of length, as Windows writes it.
pub(super) fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut whole = vec![tag];
    match content.len() {
        short @ 0..=127 => whole.push(short as u8),
        long => {
            whole.push(0x84);
            whole.extend_from_slice(&(long as u32).to_be_bytes());
        }
    }
    whole.extend_from_slice(content);
    whole
}
