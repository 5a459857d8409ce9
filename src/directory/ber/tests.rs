use proptest::prelude::*;

use super::*;

/// Encodes an element with the shortest length.
pub(in crate::directory) fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let digits = content.len().to_be_bytes();
    let digits = &digits[digits.iter().position(|&digit| digit != 0).unwrap_or(7)..];
    let mut out = vec![tag];
    if content.len() >= 0x80 {
        out.push(0x80 | digits.len() as u8);
    }
    [&out[..], digits, content].concat()
}

/// Encodes an element with a length of four octets, as Windows does for constructed ones.
pub(in crate::directory) fn long(tag: u8, content: &[u8]) -> Vec<u8> {
    [&[tag, 0x84], &(content.len() as u32).to_be_bytes()[..], content].concat()
}

/// Encodes an attribute of an entry.
pub(in crate::directory) fn attribute(description: &[u8], values: &[&[u8]]) -> Vec<u8> {
    let values: Vec<u8> = values.iter().flat_map(|value| tlv(OCTET_STRING, value)).collect();
    long(SEQUENCE, &[tlv(OCTET_STRING, description), long(SET, &values)].concat())
}

/// Encodes a message with an entry.
pub(in crate::directory) fn entry(dn: &[u8], attributes: &[Vec<u8>]) -> Vec<u8> {
    let entry = [tlv(OCTET_STRING, dn), long(SEQUENCE, &attributes.concat())].concat();
    long(SEQUENCE, &[tlv(INTEGER, &[3]), long(SEARCH_RESULT_ENTRY, &entry)].concat())
}

/// Encodes a person as a domain controller does, with 17 attributes and 22 values.
pub(in crate::directory) fn person() -> Vec<u8> {
    let base = "OU=Staff,DC=corp,DC=example";
    let groups = ["Sales", "VPN", "Printers 3rd floor", "Everyone", "App Roster Pro", "Wiki"]
        .map(|group| format!("CN={group},OU=Groups,DC=corp,DC=example"));
    let groups: Vec<&[u8]> = groups.iter().map(String::as_bytes).collect();
    let one = |name: &str, value: &[u8]| attribute(name.as_bytes(), &[value]);
    entry(
        format!("CN=Jörg Müller,{base}").as_bytes(),
        &[
            one("cn", "Jörg Müller".as_bytes()),
            one("sn", "Müller".as_bytes()),
            one("title", b"Account Manager"),
            one("givenName", "Jörg".as_bytes()),
            one("whenChanged", b"20260301080000.0Z"),
            one("displayName", "Jörg Müller".as_bytes()),
            one("uSNChanged", b"7341122"),
            attribute(b"memberOf", &groups),
            one("department", b"Sales"),
            one("objectGUID", &[0x9c, 0, 0xff, 4, 0x30, 0x84, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]),
            one("userAccountControl", b"512"),
            one(
                "objectSid",
                &[
                    1, 5, 0, 0, 0, 0, 0, 5, 21, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12,
                    0x51, 4, 0, 0,
                ],
            ),
            one("accountExpires", b"9223372036854775807"),
            one("sAMAccountName", b"jmueller"),
            one("userPrincipalName", b"j.mueller@corp.example"),
            one("manager", format!("CN=Ada Lovelace,{base}").as_bytes()),
            one("mail", b"j.mueller@example.com"),
        ],
    )
}

fn attributes(frame: &[u8]) -> Result<Vec<AttributeRef<'_>>, BerError> {
    EntryRef::parse(frame)?.attributes().collect()
}

/// Reads all attributes and values.
fn exhaust(frame: &[u8]) {
    if let Ok(entry) = EntryRef::parse(frame) {
        for attribute in entry.attributes().flatten() {
            assert_eq!(attribute.values().len(), attribute.values().count());
            attribute.range();
            attribute.is("member");
        }
    }
}

#[test]
fn an_entry_is_read_to_its_last_value() {
    let frame = person();
    assert_eq!(
        EntryRef::parse(&frame).unwrap().dn(),
        "CN=Jörg Müller,OU=Staff,DC=corp,DC=example".as_bytes()
    );
    let attributes = attributes(&frame).unwrap();
    assert_eq!(attributes.len(), 17);
    let groups = attributes.iter().find(|attribute| attribute.is("MEMBEROF")).unwrap();
    assert_eq!(groups.values().len(), 6);
    assert_eq!(groups.values().last().unwrap(), b"CN=Wiki,OU=Groups,DC=corp,DC=example");
    let mail = attributes.last().unwrap();
    assert_eq!((mail.name, mail.options, mail.range()), (&b"mail"[..], &b""[..], None));
    assert!(mail.is("mail") && !mail.is("mai") && !mail.is("mail2"));
}

#[test]
fn bytes_that_are_not_utf8_are_returned_unchanged() {
    let frame = entry(b"CN=\xff\0", &[attribute(b"mail", &[b"", b"\xc3\x28"])]);
    assert_eq!(EntryRef::parse(&frame).unwrap().dn(), b"CN=\xff\0");
    assert!(attributes(&frame).unwrap()[0].values().eq([&b""[..], b"\xc3\x28"]));
}

#[test]
fn an_empty_entry_or_attribute_is_valid() {
    assert!(attributes(&entry(b"", &[])).unwrap().is_empty());
    let frame = entry(b"", &[attribute(b"", &[])]);
    let [attribute] = attributes(&frame).unwrap()[..] else { panic!("one attribute") };
    assert!(attribute.name.is_empty() && attribute.values().len() == 0);
}

#[test]
fn an_entry_with_controls_is_read_without_them() {
    let entry = [tlv(OCTET_STRING, b"DC=x"), tlv(SEQUENCE, b"")].concat();
    let frame = tlv(
        SEQUENCE,
        &[tlv(INTEGER, &[3]), tlv(SEARCH_RESULT_ENTRY, &entry), tlv(0xa0, b"")].concat(),
    );
    assert_eq!(EntryRef::parse(&frame).unwrap().dn(), b"DC=x");
}

#[test]
fn a_range_is_read_with_its_end() {
    let part = |low, high| Some(Range { low, high });
    for (description, options, range) in [
        ("member;range=0-1499", "range=0-1499", part(0, Some(1499))),
        ("member;Range=1500-*", "Range=1500-*", part(1500, None)),
        ("member;lang-en;range=7-7", "lang-en;range=7-7", part(7, Some(7))),
        ("member;binary", "binary", None),
        ("member;", "", None),
        ("member", "", None),
    ] {
        let frame = entry(b"DC=x", &[attribute(description.as_bytes(), &[b"DC=y"])]);
        let attribute = attributes(&frame).unwrap()[0];
        assert_eq!(
            (attribute.name, attribute.options, attribute.range()),
            (&b"member"[..], options.as_bytes(), range),
            "{description}"
        );
    }
}

#[test]
fn an_attribute_with_an_invalid_range_is_an_error() {
    for option in [
        "range=",
        "range=-",
        "range=0",
        "range=0-",
        "range=-9",
        "range=+0-9",
        "range=9-0",
        "range=0-4294967296",
        "range=0-1-2",
        "range=*-0",
    ] {
        let frame = entry(b"DC=x", &[attribute(format!("member;{option}").as_bytes(), &[b"DC=y"])]);
        assert_eq!(
            attributes(&frame).unwrap_err(),
            BerError::Range { octets: option.len() },
            "{option}"
        );
    }
}

#[test]
fn an_unreadable_value_makes_the_whole_attribute_an_error() {
    let good = || attribute(b"cn", &[b"x"]);
    for (values, error) in [
        (
            vec![4, 1, b'a', 2, 1, 5],
            BerError::Unexpected { what: "AttributeValue", wanted: OCTET_STRING, tag: INTEGER },
        ),
        (
            vec![4, 1, b'a', 0x24, 0],
            BerError::Unexpected { what: "AttributeValue", wanted: OCTET_STRING, tag: 0x24 },
        ),
        (vec![4, 1, b'a', 4, 2, b'b'], BerError::Overrun { tag: OCTET_STRING, length: 2, left: 1 }),
        (vec![4, 1, b'a', 4], BerError::Truncated { left: 1 }),
        (vec![4, 0x80, 0, 0], BerError::Indefinite { tag: OCTET_STRING }),
        (vec![4, 0x85, 0, 0, 0, 0, 0], BerError::LongLength { tag: OCTET_STRING, octets: 5 }),
        (vec![0x1f, 0x20, 0], BerError::HighTagNumber { tag: 0x1f }),
    ] {
        let bad = tlv(SEQUENCE, &[tlv(OCTET_STRING, b"memberOf"), tlv(SET, &values)].concat());
        let frame = entry(b"DC=x", &[good(), bad, good()]);
        let mut read = EntryRef::parse(&frame).unwrap().attributes();
        assert!(read.next().unwrap().unwrap().is("cn"));
        assert_eq!(read.next().unwrap().unwrap_err(), error);
        assert!(read.next().is_none(), "nothing comes after {error}");
    }
}

#[test]
fn an_entry_of_another_shape_is_an_error() {
    let message = |parts: &[Vec<u8>]| tlv(SEQUENCE, &parts.concat());
    let (id, dn, none) = (tlv(INTEGER, &[3]), tlv(OCTET_STRING, b"DC=x"), tlv(SEQUENCE, b""));
    let entry =
        |parts: &[Vec<u8>]| message(&[id.clone(), tlv(SEARCH_RESULT_ENTRY, &parts.concat())]);
    for (frame, error) in [
        (vec![], BerError::Missing { what: "LDAPMessage" }),
        (vec![SEQUENCE], BerError::Truncated { left: 1 }),
        (vec![SEQUENCE, 0], BerError::Missing { what: "messageID" }),
        (vec![SEQUENCE, 0, 0], BerError::Trailing { what: "LDAPMessage", bytes: 1 }),
        (message(std::slice::from_ref(&id)), BerError::Missing { what: "SearchResultEntry" }),
        (
            message(&[id.clone(), tlv(0x65, b"")]),
            BerError::Unexpected { what: "SearchResultEntry", wanted: 0x64, tag: 0x65 },
        ),
        (entry(&[]), BerError::Missing { what: "objectName" }),
        (entry(std::slice::from_ref(&dn)), BerError::Missing { what: "attributes" }),
        (
            entry(&[none.clone(), dn.clone()]),
            BerError::Unexpected { what: "objectName", wanted: 0x04, tag: 0x30 },
        ),
        (
            entry(&[dn.clone(), none.clone(), dn.clone()]),
            BerError::Trailing { what: "attributes", bytes: 6 },
        ),
    ] {
        assert_eq!(EntryRef::parse(&frame).unwrap_err(), error, "{frame:02x?}");
    }
}

#[test]
fn the_paged_results_control_gives_size_and_cookie() {
    let windows = [0x30, 0x84, 0, 0, 0, 9, 2, 1, 0, 4, 0x84, 0, 0, 0, 0];
    assert_eq!(paged_results(&windows).unwrap(), PagedResults { size: 0, cookie: b"" });
    let more = [0x30, 8, 2, 2, 1, 0, 4, 2, 7, 7];
    assert_eq!(paged_results(&more).unwrap(), PagedResults { size: 256, cookie: &[7, 7] });
}

#[test]
fn a_paged_results_control_of_another_shape_is_an_error() {
    for (value, error) in [
        (&b""[..], BerError::Missing { what: "realSearchControlValue" }),
        (
            &[0x31, 0],
            BerError::Unexpected { what: "realSearchControlValue", wanted: 0x30, tag: 0x31 },
        ),
        (&[0x30, 0], BerError::Missing { what: "size" }),
        (&[0x30, 3, 2, 1, 0], BerError::Missing { what: "cookie" }),
        (&[0x30, 4, 2, 0, 4, 0], BerError::Size { what: "size", octets: 0 }),
        (&[0x30, 9, 2, 5, 0, 0, 0, 0, 0, 4, 0], BerError::Size { what: "size", octets: 5 }),
        (&[0x30, 5, 2, 1, 0xff, 4, 0], BerError::Negative { what: "size" }),
        (
            &[0x30, 5, 2, 1, 0, 0x24, 0],
            BerError::Unexpected { what: "cookie", wanted: 4, tag: 0x24 },
        ),
        (&[0x30, 7, 2, 1, 0, 4, 0, 4, 0], BerError::Trailing { what: "cookie", bytes: 2 }),
        (
            &[0x30, 5, 2, 1, 0, 4, 0, 4, 0],
            BerError::Trailing { what: "realSearchControlValue", bytes: 2 },
        ),
    ] {
        assert_eq!(paged_results(value).unwrap_err(), error, "{value:02x?}");
    }
}

#[test]
fn the_dirsync_control_gives_the_cookie_and_whether_more_is_available() {
    let samba = [0x30, 10, 2, 1, 0, 2, 1, 0, 4, 2, 7, 7];
    assert_eq!(dirsync(&samba).unwrap(), DirSync { has_more: false, cookie: &[7, 7] });
    let windows =
        [0x30, 0x84, 0, 0, 0, 15, 2, 4, 0xff, 0xff, 0xff, 0xff, 2, 1, 0, 4, 0x84, 0, 0, 0, 0];
    assert_eq!(dirsync(&windows).unwrap(), DirSync { has_more: true, cookie: b"" });
    for (value, error) in [
        (&b""[..], BerError::Missing { what: "DirSyncResponseValue" }),
        (&[0x30, 0], BerError::Missing { what: "MoreResults" }),
        (&[0x30, 3, 2, 1, 0], BerError::Missing { what: "unused" }),
        (&[0x30, 6, 2, 1, 0, 2, 1, 0], BerError::Missing { what: "CookieServer" }),
        (
            &[0x30, 8, 2, 1, 0, 2, 1, 0, 0x24, 0],
            BerError::Unexpected { what: "CookieServer", wanted: 4, tag: 0x24 },
        ),
        (
            &[0x30, 10, 2, 1, 0, 2, 1, 0, 4, 0, 4, 0],
            BerError::Trailing { what: "CookieServer", bytes: 2 },
        ),
    ] {
        assert_eq!(dirsync(value).unwrap_err(), error, "{value:02x?}");
    }
}

#[test]
fn an_error_shows_the_numbers_that_caused_it() {
    for (error, text) in [
        (
            BerError::Overrun { tag: 4, length: 12, left: 10 },
            "element 0x04 announces 12 bytes, and 10 are left",
        ),
        (
            BerError::Unexpected { what: "resultCode", wanted: 10, tag: 2 },
            "resultCode must be element 0x0a and is 0x02",
        ),
        (
            BerError::NotUtf8 { what: "matchedDN", at: 3 },
            "matchedDN is not UTF-8 from its byte 3 on",
        ),
    ] {
        assert_eq!(error.to_string(), text);
    }
}

/// Generates a mutation: one byte replaced, inserted or removed at an index.
pub(in crate::directory) fn mutation()
-> impl Strategy<Value = (prop::sample::Index, Option<u8>, bool)> {
    (any::<prop::sample::Index>(), any::<Option<u8>>(), any::<bool>())
}

/// Returns the bytes with the mutations applied.
pub(in crate::directory) fn mutate(
    mut bytes: Vec<u8>,
    mutations: &[(prop::sample::Index, Option<u8>, bool)],
) -> Vec<u8> {
    for (at, byte, insert) in mutations {
        if bytes.is_empty() {
            break;
        }
        let at = at.index(bytes.len());
        match (byte, insert) {
            (Some(byte), true) => bytes.insert(at, *byte),
            (Some(byte), false) => bytes[at] = *byte,
            (None, _) => _ = bytes.remove(at),
        }
    }
    bytes
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        exhaust(&bytes);
        let _ = (paged_results(&bytes), dirsync(&bytes));
        // Random bytes rarely get past the headers, so they also follow valid ones.
        exhaust(&tlv(SEQUENCE, &[tlv(INTEGER, &[1]), tlv(SEARCH_RESULT_ENTRY, &bytes)].concat()));
        exhaust(&entry(b"DC=x", std::slice::from_ref(&bytes)));
        let _ = (paged_results(&tlv(SEQUENCE, &bytes)), dirsync(&tlv(SEQUENCE, &bytes)));
    }

    #[test]
    fn no_damage_to_an_entry_makes_the_reader_panic(mutations in prop::collection::vec(mutation(), 1..6)) {
        exhaust(&mutate(person(), &mutations));
    }

    #[test]
    fn an_encoded_entry_is_decoded_to_the_same_values(
        dn in prop::collection::vec(any::<u8>(), 0..300),
        wanted in prop::collection::vec(("[a-zA-Z][a-zA-Z0-9-]{0,20}", prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..5)), 0..20),
    ) {
        let encoded: Vec<_> = wanted.iter().map(|(name, values)| attribute(name.as_bytes(), &values.iter().map(Vec::as_slice).collect::<Vec<_>>())).collect();
        let frame = entry(&dn, &encoded);
        prop_assert_eq!(EntryRef::parse(&frame).unwrap().dn(), dn);
        let read = attributes(&frame).unwrap();
        prop_assert_eq!(read.len(), wanted.len());
        for (attribute, (name, values)) in read.iter().zip(&wanted) {
            prop_assert_eq!(attribute.name, name.as_bytes());
            prop_assert!(attribute.values().eq(values.iter().map(Vec::as_slice)));
        }
    }
}
