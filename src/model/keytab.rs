//! The keytab: the file of long-term keys of Kerberos (MIT, format version 2).
//!
//! libkrb5 uses the keys. rosterd reads whose they are and how old, for messages and for the mark of
//! a refused key.

use std::fmt;

/// AES with 128 and 256 bits: RFC 3962 and RFC 8009.
const AES: [u16; 4] = [17, 18, 19, 20];

/// The key of a principal, without the key itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeytabKey {
    /// The name with its realm: `svc-rosterd@CORP.EXAMPLE.COM`.
    pub principal: String,
    /// The key version number.
    pub kvno: u32,
    /// The encryption type (RFC 3961).
    encryption: u16,
}

/// The keys of a keytab.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Keytab(Vec<KeytabKey>);

/// The reason why a keytab cannot be used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum KeytabFault {
    NotAKeytab,
    Empty,
    /// The keytab has no key of the configured principal, but of these.
    NoSuchPrincipal {
        wanted: String,
        there: Vec<String>,
    },
    /// No principal is configured, and the keytab has none or several accounts.
    NoSingleAccount(Vec<String>),
}

impl KeytabFault {
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::NotAKeytab => "export one with msktutil, ktutil, adcli or ktpass",
            Self::Empty => "export the key of the service account into it",
            Self::NoSuchPrincipal { .. } => {
                "correct principal, in the same spelling, or export its key"
            }
            Self::NoSingleAccount(_) => "set principal = \"svc-rosterd@CORP.EXAMPLE.COM\"",
        }
    }
}

impl fmt::Display for KeytabFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAKeytab => f.write_str("is not a keytab"),
            Self::Empty => f.write_str("holds no key"),
            Self::NoSuchPrincipal { wanted, there } => {
                write!(f, "holds no key of {wanted}, but of {}", there.join(", "))
            }
            Self::NoSingleAccount(there) => {
                write!(f, "holds the keys of several principals: {}", there.join(", "))
            }
        }
    }
}

impl Keytab {
    /// Parses the content of a file.
    pub fn parse(content: &[u8]) -> Result<Self, KeytabFault> {
        let mut rest = match content {
            [] => return Err(KeytabFault::Empty),
            [5, 2, rest @ ..] => rest,
            _ => return Err(KeytabFault::NotAKeytab),
        };
        let mut keys = Vec::new();
        while !rest.is_empty() {
            let size = i32::from_be_bytes(take(&mut rest).ok_or(KeytabFault::NotAKeytab)?);
            // A zero ends the file, and a negative size is that of a removed key.
            if size == 0 {
                break;
            }
            let (record, after) = rest
                .split_at_checked(size.unsigned_abs() as usize)
                .ok_or(KeytabFault::NotAKeytab)?;
            if size > 0 {
                keys.push(KeytabKey::read(record).ok_or(KeytabFault::NotAKeytab)?);
            }
            rest = after;
        }
        if keys.is_empty() { Err(KeytabFault::Empty) } else { Ok(Self(keys)) }
    }

    /// Returns the configured principal, or that of the only account. A machine's keytab also has
    /// names of services (`host/…`), which are no accounts.
    pub fn account(&self, configured: Option<&str>) -> Result<String, KeytabFault> {
        let mut there: Vec<String> = self.0.iter().map(|key| key.principal.clone()).collect();
        there.sort();
        there.dedup();
        if let Some(wanted) = configured {
            return if there.iter().any(|name| name == wanted) {
                Ok(wanted.to_owned())
            } else {
                Err(KeytabFault::NoSuchPrincipal { wanted: wanted.to_owned(), there })
            };
        }
        match there.iter().filter(|name| !name.contains('/')).collect::<Vec<_>>()[..] {
            [account] => Ok(account.clone()),
            _ => Err(KeytabFault::NoSingleAccount(there)),
        }
    }

    /// Returns the highest key version number of a principal.
    pub fn kvno(&self, principal: &str) -> u32 {
        self.of(principal).map(|key| key.kvno).max().unwrap_or(0)
    }

    /// Returns whether the newest keys of a principal include one for AES.
    pub fn has_aes(&self, principal: &str) -> bool {
        let kvno = self.kvno(principal);
        self.of(principal).any(|key| key.kvno == kvno && AES.contains(&key.encryption))
    }

    fn of<'a>(&'a self, principal: &'a str) -> impl Iterator<Item = &'a KeytabKey> {
        self.0.iter().filter(move |key| key.principal == principal)
    }
}

impl KeytabKey {
    fn read(mut record: &[u8]) -> Option<Self> {
        let rest = &mut record;
        let components = u16::from_be_bytes(take(rest)?);
        let realm = text(rest)?;
        let names: Vec<&str> = (0..components).map(|_| text(rest)).collect::<Option<_>>()?;
        let _name_type: [u8; 4] = take(rest)?;
        let _written_at: [u8; 4] = take(rest)?;
        let [low] = take(rest)?;
        let encryption = u16::from_be_bytes(take(rest)?);
        let _key = counted(rest)?;
        // Later versions of the format have the whole number behind the key.
        let whole = take(rest).map_or(0, u32::from_be_bytes);
        let kvno = if whole == 0 { u32::from(low) } else { whole };
        Some(Self { principal: format!("{}@{realm}", names.join("/")), kvno, encryption })
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, after) = rest.split_first_chunk::<N>()?;
    *rest = after;
    Some(*taken)
}

fn counted<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::from(u16::from_be_bytes(take(rest)?));
    let (counted, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(counted)
}

fn text<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    std::str::from_utf8(counted(rest)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(bytes: &[u8]) -> Vec<u8> {
        let length = u16::try_from(bytes.len()).expect("a short text");
        [&length.to_be_bytes()[..], bytes].concat()
    }

    fn record(names: &[&str], kvno: u32, encryption: u16) -> Vec<u8> {
        let components = u16::try_from(names.len()).expect("few names");
        let mut record = components.to_be_bytes().to_vec();
        record.extend(counted(b"CORP.EXAMPLE.COM"));
        for name in names {
            record.extend(counted(name.as_bytes()));
        }
        record.extend([0, 0, 0, 1, 0x6a, 0, 0, 0, kvno.to_be_bytes()[3]]);
        record.extend(encryption.to_be_bytes());
        record.extend(counted(&[7; 32]));
        record.extend(kvno.to_be_bytes());
        let size = u32::try_from(record.len()).expect("a short record");
        [&size.to_be_bytes()[..], &record].concat()
    }

    fn keytab(records: &[Vec<u8>]) -> Vec<u8> {
        [&[5, 2][..], &records.concat()].concat()
    }

    fn parse(records: &[Vec<u8>]) -> Keytab {
        Keytab::parse(&keytab(records)).expect("a keytab")
    }

    const SERVICE: &str = "svc-rosterd@CORP.EXAMPLE.COM";

    #[test]
    fn the_account_of_a_keytab_is_its_only_principal_without_a_slash() {
        let one = parse(&[record(&["svc-rosterd"], 3, 18), record(&["svc-rosterd"], 3, 23)]);
        assert_eq!(one.account(None).as_deref(), Ok(SERVICE));
        let machine = parse(&[
            record(&["HOST$"], 2, 18),
            record(&["host", "host.corp.example.com"], 2, 18),
            record(&["RestrictedKrbHost", "HOST"], 2, 18),
        ]);
        assert_eq!(machine.account(None).as_deref(), Ok("HOST$@CORP.EXAMPLE.COM"));
        let two = parse(&[record(&["svc-rosterd"], 3, 18), record(&["other"], 1, 18)]);
        assert!(matches!(two.account(None), Err(KeytabFault::NoSingleAccount(_))));
        assert_eq!(two.account(Some(SERVICE)).as_deref(), Ok(SERVICE));
        let fault = two.account(Some("Svc-Rosterd@CORP.EXAMPLE.COM")).expect_err("another case");
        assert_eq!(
            fault.to_string(),
            "holds no key of Svc-Rosterd@CORP.EXAMPLE.COM, but of other@CORP.EXAMPLE.COM, svc-rosterd@CORP.EXAMPLE.COM"
        );
    }

    #[test]
    fn the_newest_key_of_a_principal_counts() {
        let rotated =
            parse(&[record(&["svc-rosterd"], 255, 18), record(&["svc-rosterd"], 256, 23)]);
        assert_eq!((rotated.kvno(SERVICE), rotated.has_aes(SERVICE)), (256, false));
        let removed = [&(-4_i32).to_be_bytes()[..], &[0; 4]].concat();
        let holes = parse(&[removed, record(&["svc-rosterd"], 4, 17)]);
        assert_eq!((holes.kvno(SERVICE), holes.has_aes(SERVICE)), (4, true));
    }

    #[test]
    fn a_file_that_is_no_keytab_is_a_fault() {
        let whole = keytab(&[record(&["svc-rosterd"], 3, 18)]);
        for length in 3..whole.len() - 4 {
            assert_eq!(Keytab::parse(&whole[..length]), Err(KeytabFault::NotAKeytab), "{length}");
        }
        assert_eq!(Keytab::parse(b""), Err(KeytabFault::Empty));
        assert_eq!(Keytab::parse(b"\x05\x02"), Err(KeytabFault::Empty));
        assert_eq!(Keytab::parse(b"correct horse"), Err(KeytabFault::NotAKeytab));
        assert_eq!(Keytab::parse(b"\x05\x02\xff\xff\xff\xff"), Err(KeytabFault::NotAKeytab));
    }
}
