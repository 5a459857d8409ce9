//! The description that a domain controller gives of itself before the bind.

/// DS_WRITABLE_FLAG (MS-ADTS 6.3.1.2): the server holds a writable copy of the domain.
const WRITABLE: u32 = 0x100;
/// LOGON_SAM_LOGON_RESPONSE_EX, the same for a paused server, and for an unknown user (MS-ADTS
/// 6.3.1.3).
const RESPONSES: [u16; 3] = [23, 24, 25];
/// Most labels of a name, so that compression pointers do not loop.
const MAX_LABELS: usize = 128;

/// The description of a server that its ping gave; empty fields are unknown.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Greeting {
    pub is_writable: Option<bool>,
    /// The AD site of the server.
    pub site: Option<String>,
    /// The AD site of this machine, as the server sees its address.
    pub client_site: Option<String>,
    /// dsServiceName of the rootDSE: the identity of the server.
    pub ds_service_name: Option<String>,
    /// dnsHostName of the rootDSE.
    pub host: Option<String>,
    /// The DNS name of the domain that the server holds.
    pub domain: Option<String>,
    /// The NetBIOS name of that domain, as in `CORP\ann`.
    pub netbios_domain: Option<String>,
}

impl Greeting {
    /// Reads a NETLOGON_SAM_LOGON_RESPONSE_EX (MS-ADTS 6.3.1.9); `None` for any other answer.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let opcode = u16::from_le_bytes(bytes.get(..2)?.try_into().ok()?);
        let flags = u32::from_le_bytes(bytes.get(4..8)?.try_into().ok()?);
        if !RESPONSES.contains(&opcode) {
            return None;
        }
        // After the GUID of the domain: forest, domain, host, two NetBIOS names, user, two sites.
        let mut at = 24;
        let mut names = Vec::new();
        for _ in 0..8 {
            let (name, next) = read_name(bytes, at)?;
            names.push(name);
            at = next;
        }
        let name = |n: usize| names.get(n).filter(|name| !name.is_empty()).cloned();
        Some(Self {
            is_writable: Some(flags & WRITABLE != 0),
            site: name(6),
            client_site: name(7),
            netbios_domain: name(3),
            ..Self::default()
        })
    }
}

/// Returns the name at an offset, and the offset behind it (RFC 1035, 3.1 and 4.1.4).
fn read_name(bytes: &[u8], mut at: usize) -> Option<(String, usize)> {
    let (mut labels, mut behind) = (Vec::new(), None);
    for _ in 0..MAX_LABELS {
        let length = usize::from(*bytes.get(at)?);
        match length >> 6 {
            0 if length == 0 => return Some((labels.join("."), behind.unwrap_or(at + 1))),
            0 => {
                let label = bytes.get(at + 1..at + 1 + length)?;
                labels.push(std::str::from_utf8(label).ok()?);
                at += 1 + length;
            }
            3 => {
                behind.get_or_insert(at + 2);
                at = (length & 0x3f) << 8 | usize::from(*bytes.get(at + 1)?);
            }
            _ => return None,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The answer of a Samba 4.17 domain controller, shortened: names with compression pointers.
    fn answer(flags: u32) -> Vec<u8> {
        let mut bytes = vec![23, 0, 0, 0];
        bytes.extend(flags.to_le_bytes());
        bytes.extend([7; 16]);
        bytes.extend(b"\x04corp\x07example\x03com\0"); // at 24
        bytes.extend([0xc0, 24]);
        bytes.extend(b"\x03dc1\xc0\x18");
        bytes.extend(b"\x04CORP\0\x03DC1\0\0\x06Berlin\0\x06Munich\0");
        bytes.extend([5, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]);
        bytes
    }

    #[test]
    fn a_ping_tells_whether_the_server_is_writable_and_both_sites() {
        let greeting = Greeting::read(&answer(0x1_f3fd)).expect("an answer");
        assert_eq!(greeting.is_writable, Some(true));
        assert_eq!(greeting.site.as_deref(), Some("Berlin"));
        assert_eq!(greeting.client_site.as_deref(), Some("Munich"));
        assert_eq!(greeting.netbios_domain.as_deref(), Some("CORP"));
        assert_eq!(Greeting::read(&answer(0xe8fc)).and_then(|g| g.is_writable), Some(false));
    }

    #[test]
    fn a_malformed_ping_is_no_answer() {
        let whole = answer(0x100);
        for length in 0..whole.len() - 8 {
            assert_eq!(Greeting::read(&whole[..length]), None, "{length} bytes");
        }
        let mut endless = whole.clone();
        endless[25] = 0xc0;
        endless[24] = 0xc0;
        endless[25] = 24;
        assert_eq!(Greeting::read(&endless), None, "a pointer to itself");
        let mut other = whole;
        other[0] = 19;
        assert_eq!(Greeting::read(&other), None, "another response");
    }
}
