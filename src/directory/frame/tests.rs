use proptest::prelude::*;

use super::super::ber::tests::{entry, long, mutate, mutation, person, tlv};
use super::*;

/// Encodes a message with this id, operation and further elements.
fn message(id: &[u8], rest: &[Vec<u8>]) -> Vec<u8> {
    long(SEQUENCE, &[tlv(INTEGER, id), rest.concat()].concat())
}

/// Encodes the contents of a result.
fn result(code: u8, matched_dn: &[u8], diagnostic: &[u8], more: &[Vec<u8>]) -> Vec<u8> {
    [
        tlv(ENUMERATED, &[code]),
        tlv(OCTET_STRING, matched_dn),
        tlv(OCTET_STRING, diagnostic),
        more.concat(),
    ]
    .concat()
}

/// Encodes a control of these parts.
fn control(parts: &[Vec<u8>]) -> Vec<u8> {
    tlv(SEQUENCE, &parts.concat())
}

fn uri() -> Vec<u8> {
    tlv(OCTET_STRING, b"ldap://corp.example/DC=corp,DC=example")
}

/// Identifiers of all responses with a result.
const RESULTS: [(u8, Op); 8] = [
    (0x61, Op::BindResponse),
    (0x65, Op::SearchResultDone),
    (0x67, Op::ModifyResponse),
    (0x69, Op::AddResponse),
    (0x6b, Op::DelResponse),
    (0x6d, Op::ModifyDnResponse),
    (0x6f, Op::CompareResponse),
    (0x78, Op::ExtendedResponse),
];

/// Returns a valid message of each kind, in all forms that servers send.
fn good() -> Vec<(Op, Vec<u8>)> {
    let done = || tlv(0x65, &result(0, b"", b"", &[]));
    let paged = || {
        control(&[
            tlv(OCTET_STRING, b"1.2.840.113556.1.4.319"),
            tlv(OCTET_STRING, &[0x30, 5, 2, 1, 0, 4, 0]),
        ])
    };
    let controls = |controls: &[Vec<u8>]| long(CONTROLS, &controls.concat());
    let mut all: Vec<_> = RESULTS
        .into_iter()
        .map(|(tag, op)| (op, message(&[2], &[long(tag, &result(0, b"", b"", &[]))])))
        .collect();
    all.extend([
        (Op::SearchResultEntry, person()),
        (Op::SearchResultDone, message(&[3], &[done(), controls(&[paged()])])),
        (Op::SearchResultDone, message(&[3], &[done(), controls(&[])])),
        (
            Op::SearchResultDone,
            message(
                &[3],
                &[
                    done(),
                    controls(&[
                        control(&[tlv(OCTET_STRING, b"1.2.3"), tlv(BOOLEAN, &[0xff])]),
                        paged(),
                    ]),
                ],
            ),
        ),
        (
            Op::SearchResultDone,
            message(&[3], &[done(), controls(&[control(&[tlv(OCTET_STRING, b"1.2.3")])])]),
        ),
        (
            Op::SearchResultDone,
            message(&[3], &[tlv(0x65, &result(10, b"DC=x", b"", &[tlv(REFERRAL, &uri())]))]),
        ),
        (
            Op::SearchResultDone,
            message(
                &[3],
                &[tlv(0x65, &result(0, b"", b"", &[tlv(0x8c, b"to come"), tlv(0xad, &uri())]))],
            ),
        ),
        (
            Op::BindResponse,
            message(&[1], &[tlv(0x61, &result(14, b"", b"", &[tlv(SERVER_SASL_CREDS, b"\xff")]))]),
        ),
        (
            Op::ExtendedResponse,
            message(
                &[1],
                &[tlv(
                    0x78,
                    &result(
                        0,
                        b"",
                        b"",
                        &[tlv(RESPONSE_NAME, b"1.2"), tlv(RESPONSE_VALUE, b"\xff")],
                    ),
                )],
            ),
        ),
        (
            Op::SearchResultReference,
            message(&[0x7f, 0xff, 0xff, 0xff], &[tlv(0x73, &[uri(), uri()].concat())]),
        ),
        (
            Op::IntermediateResponse,
            message(
                &[3],
                &[tlv(
                    0x79,
                    &[tlv(INTERMEDIATE_NAME, b"1.2"), tlv(INTERMEDIATE_VALUE, b"\xff")].concat(),
                )],
            ),
        ),
        (Op::IntermediateResponse, message(&[3], &[tlv(0x79, b"")])),
        (Op::Other(2), message(&[4], &[tlv(0x42, b"")])),
        (
            Op::Other(0),
            message(
                &[4],
                &[tlv(
                    0x60,
                    &[tlv(INTEGER, &[3]), tlv(OCTET_STRING, b""), tlv(0x80, b"")].concat(),
                )],
            ),
        ),
    ]);
    all
}

/// Splits bytes that contain one message.
fn admit(bytes: &[u8]) -> Result<Frame, FrameError> {
    split(&mut BytesMut::from(bytes)).map(|frame| frame.expect("a whole message"))
}

/// Returns the error of a malformed operation.
fn operation_error(bytes: &[u8]) -> BerError {
    match admit(bytes).unwrap_err() {
        FrameError::MalformedOperation { source, .. } => source,
        other => panic!("{other}"),
    }
}

#[test]
fn valid_messages_are_passed_unchanged() {
    for (op, bytes) in good() {
        let frame = admit(&bytes).unwrap_or_else(|error| panic!("{op}: {error} in {bytes:02x?}"));
        assert_eq!((frame.op, &frame.bytes[..]), (op, &bytes[..]));
    }
}

#[test]
fn the_message_id_is_read_up_to_its_limit() {
    for (id, wanted) in [
        (&[0][..], 0),
        (&[0, 0, 0, 5], 5),
        (&[0x12, 0x34], 0x1234),
        (&[0x7f, 0xff, 0xff, 0xff], i32::MAX),
    ] {
        assert_eq!(admit(&message(id, &[tlv(0x42, b"")])).unwrap().message_id, wanted);
    }
    for (id, error) in [
        (&[][..], BerError::Size { what: "messageID", octets: 0 }),
        (&[0, 0, 0, 0, 5], BerError::Size { what: "messageID", octets: 5 }),
        (&[0x80, 0, 0, 0], BerError::Negative { what: "messageID" }),
    ] {
        assert_eq!(admit(&message(id, &[tlv(0x42, b"")])), Err(error.into()));
    }
}

#[test]
fn the_first_bytes_are_enough_to_reject_a_message() {
    for (bytes, error) in [
        (&b"H"[..], FrameError::NotAMessage { tag: b'H' }),
        (&[0x16, 3, 1], FrameError::NotAMessage { tag: 0x16 }),
        (&[0x30, 0x80], BerError::Indefinite { tag: 0x30 }.into()),
        (&[0x30, 0x85], BerError::LongLength { tag: 0x30, octets: 5 }.into()),
        (&[0x30, 0xff], BerError::LongLength { tag: 0x30, octets: 127 }.into()),
        (
            &[0x30, 0x84, 0x02, 0x7f, 0xff, 0xfa],
            FrameError::TooLarge { bytes: 41_943_040, limit: 16_777_216 },
        ),
        (
            &[0x30, 0x84, 0x7f, 0xff, 0xff, 0xff],
            FrameError::TooLarge { bytes: 0x8000_0005, limit: MAX_FRAME },
        ),
        (
            &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff],
            FrameError::TooLarge { bytes: 0x1_0000_0005, limit: MAX_FRAME },
        ),
    ] {
        let mut buf = BytesMut::from(bytes);
        assert_eq!(split(&mut buf), Err(error), "{bytes:02x?}");
        assert_eq!(split(&mut buf), Err(error), "what is refused stays refused");
    }
    let limit = FrameError::TooLarge { bytes: 41_943_040, limit: MAX_FRAME };
    assert_eq!(limit.to_string(), "LDAP message of 41943040 bytes exceeds the limit of 16777216");
}

#[test]
fn an_entry_may_fill_the_limit_and_not_exceed_it() {
    let overhead = entry(b"", &[long(0x04, b"")]).len();
    let frame = entry(b"", &[long(0x04, &vec![0; MAX_FRAME - overhead])]);
    assert_eq!(admit(&frame).unwrap().bytes.len(), MAX_FRAME);
    let frame = entry(b"", &[long(0x04, &vec![0; MAX_FRAME - overhead + 1])]);
    assert_eq!(admit(&frame), Err(FrameError::TooLarge { bytes: MAX_FRAME + 1, limit: MAX_FRAME }));
}

#[test]
fn responses_other_than_entries_have_a_smaller_limit() {
    let done = |size| {
        message(
            &[1],
            &[long(0x65, &[result(0, b"", b"", &[]), long(0x8c, &vec![0; size])].concat())],
        )
    };
    let overhead = done(0).len();
    assert!(admit(&done(MAX_RESULT - overhead)).is_ok());
    assert_eq!(
        admit(&done(MAX_RESULT - overhead + 1)),
        Err(FrameError::TooLarge { bytes: MAX_RESULT + 1, limit: MAX_RESULT })
    );
}

#[test]
fn an_announced_length_alone_allocates_no_memory() {
    let mut buf = BytesMut::from(&[0x30, 0x84, 0x00, 0xff, 0xff, 0x00][..]);
    for _ in 0..100_000 {
        assert_eq!(split(&mut buf), Ok(None));
        assert!(buf.capacity() > buf.len(), "the next read has room");
        buf.extend_from_slice(&[0]);
        assert!(buf.capacity() <= 2 * buf.len() + 2 * CHUNK);
    }
}

#[test]
fn an_empty_buffer_has_no_message_and_gets_room() {
    let mut buf = BytesMut::new();
    assert_eq!(split(&mut buf), Ok(None));
    assert!(buf.capacity() >= CHUNK);
}

#[test]
fn nesting_ends_at_the_limit() {
    let nested = |levels| (0..levels).fold(vec![], |inner, _| tlv(SEQUENCE, &inner));
    // The message and the operation are one level each.
    let frame = |levels| {
        message(&[1], &[tlv(0x65, &result(0, b"", b"", &[tlv(0xac, &nested(levels - 3))]))])
    };
    assert!(admit(&frame(MAX_DEPTH)).is_ok());
    let error = admit(&frame(MAX_DEPTH + 1)).unwrap_err();
    assert_eq!(error.to_string(), "LDAP message nested deeper than the limit of 12 levels");
    assert_eq!(
        admit(&message(&[1], &[nested(20_000)])),
        Err(FrameError::TooDeep { limit: MAX_DEPTH })
    );
}

#[test]
fn a_child_longer_than_its_parent_is_rejected() {
    for (bytes, error) in [
        (&[0x30, 5, 2, 1, 1, 0x65, 1][..], BerError::Overrun { tag: 0x65, length: 1, left: 0 }),
        (
            &[0x30, 8, 2, 1, 1, 0x65, 3, 0x0a, 2, 0],
            BerError::Overrun { tag: 0x0a, length: 2, left: 1 },
        ),
        (&[0x30, 6, 2, 1, 1, 0x65, 1, 4], BerError::Truncated { left: 1 }),
        (&[0x30, 8, 2, 1, 1, 0x65, 3, 4, 0x82, 0], BerError::Truncated { left: 3 }),
        (&[0x30, 7, 2, 1, 1, 0x64, 2, 0x24, 0x80], BerError::Indefinite { tag: 0x24 }),
        (&[0x30, 7, 2, 1, 1, 0x64, 2, 0x1f, 0], BerError::HighTagNumber { tag: 0x1f }),
    ] {
        assert_eq!(admit(bytes), Err(error.into()), "{bytes:02x?}");
    }
}

#[test]
fn the_contents_of_a_primitive_element_are_not_checked() {
    let dn = [0x30, 0x80, 0x1f, 0xff];
    assert_eq!(admit(&entry(&dn, &[])).unwrap().op, Op::SearchResultEntry);
}

#[test]
fn a_message_is_id_operation_and_controls() {
    let op = || tlv(0x65, &result(0, b"", b"", &[]));
    let unexpected =
        |what, wanted, tag| FrameError::from(BerError::Unexpected { what, wanted, tag });
    for (frame, error) in [
        (vec![0x30, 0], BerError::Missing { what: "messageID" }.into()),
        (message(&[1], &[]), BerError::Missing { what: "protocolOp" }.into()),
        (tlv(SEQUENCE, &tlv(0x82, &[1])), unexpected("messageID", 0x02, 0x82)),
        (message(&[1], &[uri()]), FrameError::NotAnOperation { message_id: 1, tag: OCTET_STRING }),
        (message(&[1], &[tlv(0x45, b"")]), FrameError::NotAnOperation { message_id: 1, tag: 0x45 }),
        (message(&[1], &[op(), tlv(0x80, b"")]), unexpected("controls", 0xa0, 0x80)),
        (message(&[1], &[op(), tlv(RESPONSE_NAME, b"1.2")]), unexpected("controls", 0xa0, 0x8a)),
        (message(&[1], &[op(), op()]), unexpected("controls", 0xa0, 0x65)),
        (
            message(&[1], &[op(), tlv(CONTROLS, b""), op()]),
            BerError::Trailing { what: "controls", bytes: 9 }.into(),
        ),
    ] {
        assert_eq!(admit(&frame), Err(error), "{frame:02x?}");
    }
}

#[test]
fn controls_of_another_shape_are_rejected() {
    let (name, truth, value) = (
        || tlv(OCTET_STRING, b"1.2"),
        |octets: &[u8]| tlv(BOOLEAN, octets),
        || tlv(OCTET_STRING, b"\xff"),
    );
    for (controls, error) in [
        (name(), BerError::Unexpected { what: "Control", wanted: 0x30, tag: 0x04 }),
        (control(&[]), BerError::Missing { what: "controlType" }),
        (
            control(&[truth(&[0])]),
            BerError::Unexpected { what: "controlType", wanted: 0x04, tag: 0x01 },
        ),
        (control(&[value()]), BerError::NotUtf8 { what: "controlType", at: 0 }),
        (control(&[name(), truth(&[])]), BerError::Size { what: "criticality", octets: 0 }),
        (control(&[name(), truth(&[0, 0])]), BerError::Size { what: "criticality", octets: 2 }),
        (
            control(&[name(), tlv(0x21, b"")]),
            BerError::Unexpected { what: "controlValue", wanted: 0x04, tag: 0x21 },
        ),
        (
            control(&[name(), truth(&[0]), truth(&[0])]),
            BerError::Unexpected { what: "controlValue", wanted: 0x04, tag: 0x01 },
        ),
        (
            control(&[name(), tlv(0x24, b"")]),
            BerError::Unexpected { what: "controlValue", wanted: 0x04, tag: 0x24 },
        ),
        (
            control(&[name(), value(), name()]),
            BerError::Trailing { what: "controlValue", bytes: 5 },
        ),
    ] {
        // An unchecked operation, so that the error is about the controls.
        let frame = message(&[1], &[tlv(0x42, b""), tlv(CONTROLS, &controls)]);
        assert_eq!(admit(&frame), Err(error.into()), "{controls:02x?}");
    }
}

#[test]
fn results_that_ldap3_would_panic_on_are_rejected() {
    let (code, text, bad) = (
        |octets: &[u8]| tlv(ENUMERATED, octets),
        || tlv(OCTET_STRING, b""),
        || tlv(OCTET_STRING, b"ab\xff"),
    );
    let with = |part: Vec<u8>| result(0, b"", b"", &[part]);
    let unexpected = |what, wanted, tag| BerError::Unexpected { what, wanted, tag };
    for (content, error) in [
        (vec![], BerError::Missing { what: "resultCode" }),
        (tlv(INTEGER, &[0]), unexpected("resultCode", 0x0a, 0x02)),
        (tlv(0x2a, b""), unexpected("resultCode", 0x0a, 0x2a)),
        (code(&[]), BerError::Size { what: "resultCode", octets: 0 }),
        (code(&[0; 5]), BerError::Size { what: "resultCode", octets: 5 }),
        (code(&[0xff]), BerError::Negative { what: "resultCode" }),
        (code(&[0]), BerError::Missing { what: "matchedDN" }),
        ([code(&[0]), tlv(0x24, b"")].concat(), unexpected("matchedDN", 0x04, 0x24)),
        ([code(&[0]), bad()].concat(), BerError::NotUtf8 { what: "matchedDN", at: 2 }),
        ([code(&[0]), text()].concat(), BerError::Missing { what: "diagnosticMessage" }),
        (
            [code(&[0]), text(), bad()].concat(),
            BerError::NotUtf8 { what: "diagnosticMessage", at: 2 },
        ),
        (with(tlv(0x83, b"")), unexpected("referral", 0xa3, 0x83)),
        (with(tlv(0x03, b"")), unexpected("referral", 0xa3, 0x03)),
        (with(tlv(REFERRAL, b"")), BerError::Missing { what: "URI" }),
        (with(tlv(REFERRAL, &bad())), BerError::NotUtf8 { what: "URI", at: 2 }),
        (with(tlv(REFERRAL, &[uri(), tlv(0x24, b"")].concat())), unexpected("URI", 0x04, 0x24)),
        (with(tlv(0xa7, b"")), unexpected("serverSaslCreds", 0x87, 0xa7)),
        (with(tlv(0xaa, b"")), unexpected("responseName", 0x8a, 0xaa)),
        (with(tlv(ENUMERATED, b"\xff")), unexpected("responseName", 0x8a, 0x0a)),
        (with(tlv(RESPONSE_NAME, b"\xff")), BerError::NotUtf8 { what: "responseName", at: 0 }),
        (with(tlv(0xab, b"")), unexpected("responseValue", 0x8b, 0xab)),
    ] {
        for (tag, op) in RESULTS {
            assert_eq!(
                operation_error(&message(&[1], &[tlv(tag, &content)])),
                error,
                "{op} of {content:02x?}"
            );
        }
    }
}

#[test]
fn references_that_ldap3_would_panic_on_are_rejected() {
    for (content, error) in [
        (vec![], BerError::Missing { what: "URI" }),
        (tlv(OCTET_STRING, b"ldap://\xff"), BerError::NotUtf8 { what: "URI", at: 7 }),
        (
            [uri(), tlv(SEQUENCE, b"")].concat(),
            BerError::Unexpected { what: "URI", wanted: 0x04, tag: 0x30 },
        ),
    ] {
        assert_eq!(operation_error(&message(&[1], &[tlv(0x73, &content)])), error);
    }
}

#[test]
fn intermediate_responses_of_another_shape_are_rejected() {
    for (content, error) in [
        (tlv(INTERMEDIATE_NAME, b"\xff"), BerError::NotUtf8 { what: "responseName", at: 0 }),
        (tlv(0xa1, b""), BerError::Unexpected { what: "responseValue", wanted: 0x81, tag: 0xa1 }),
        (
            [tlv(0x81, b""), tlv(0x80, b"")].concat(),
            BerError::Trailing { what: "responseValue", bytes: 2 },
        ),
    ] {
        assert_eq!(operation_error(&message(&[1], &[tlv(0x79, &content)])), error);
    }
}

#[test]
fn a_malformed_entry_is_passed_to_the_reader_of_entries() {
    assert_eq!(admit(&message(&[1], &[tlv(0x64, b"")])).unwrap().op, Op::SearchResultEntry);
}

#[test]
fn a_notice_of_disconnection_is_recognised_in_every_encoding() {
    let result = || result(52, b"", b"going down", &[]);
    let name = || tlv(RESPONSE_NAME, b"1.3.6.1.4.1.1466.20036");
    let notice = Some(ResultRef {
        code: 52,
        matched_dn: "",
        diagnostic: "going down",
        sasl_credentials: None,
    });
    for (rest, wanted) in [
        (vec![tlv(0x78, &[result(), name()].concat())], notice),
        // The encoding of Active Directory.
        (vec![long(0x78, &result()), name()], notice),
        (vec![tlv(0x78, b"")], None),
        (vec![tlv(0x78, b""), tlv(CONTROLS, b"")], None),
    ] {
        let frame = admit(&message(&[0], &rest)).unwrap();
        assert!(frame.is_notice());
        assert_eq!(frame.result(), wanted);
    }
    // ldap3 would panic on these.
    for rest in [
        vec![tlv(0x78, &result()), name(), tlv(CONTROLS, b"")],
        vec![tlv(0x78, &result()), tlv(CONTROLS, &name())],
        vec![name()],
    ] {
        assert!(admit(&message(&[0], &rest)).is_err());
    }
}

#[test]
fn a_result_gives_code_and_texts() {
    let frame = admit(&message(&[1], &[tlv(0x61, &result(49, b"", b"80090308: data 52e\0", &[]))]))
        .unwrap();
    assert_eq!(
        frame.result(),
        Some(ResultRef {
            code: 49,
            matched_dn: "",
            diagnostic: "80090308: data 52e\0",
            sasl_credentials: None,
        })
    );
    assert!(!frame.is_notice());
    assert_eq!(admit(&person()).unwrap().result(), None);
}

#[test]
fn an_operation_answers_its_own_request_only() {
    let requests = |answer: Op| {
        (0..31).filter(|&request| answer.answers(Op::Other(request))).collect::<Vec<_>>()
    };
    for (answer, wanted) in [
        (Op::BindResponse, &[0][..]),
        (Op::SearchResultEntry, &[3]),
        (Op::SearchResultDone, &[3]),
        (Op::SearchResultReference, &[3]),
        (Op::IntermediateResponse, &[3]),
        (Op::ModifyResponse, &[6]),
        (Op::AddResponse, &[8]),
        (Op::DelResponse, &[10]),
        (Op::ModifyDnResponse, &[12]),
        (Op::CompareResponse, &[14]),
        (Op::ExtendedResponse, &[23]),
        (Op::Other(3), &[]),
    ] {
        assert_eq!(requests(answer), wanted, "{answer}");
    }
    assert!(!Op::SearchResultDone.answers(Op::SearchResultDone));
}

#[test]
fn an_error_names_the_message_and_its_source_the_cause() {
    use std::error::Error as _;
    let error = admit(&message(&[7], &[tlv(0x65, &tlv(INTEGER, &[0]))])).unwrap_err();
    assert_eq!(error.to_string(), "malformed SearchResultDone in LDAP message 7");
    assert_eq!(error.source().unwrap().to_string(), "resultCode must be element 0x0a and is 0x02");
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), tag in any::<u8>()) {
        let _ = split(&mut BytesMut::from(&bytes[..]));
        let _ = split(&mut BytesMut::from(&tlv(SEQUENCE, &bytes)[..]));
        if let Ok(frame) = admit(&message(&[1], &[tlv(tag, &bytes)])) {
            frame.result();
        }
    }

    #[test]
    fn no_damage_to_a_message_makes_it_panic(pick in any::<prop::sample::Index>(), mutations in prop::collection::vec(mutation(), 1..6)) {
        let good = good();
        let mut buf = BytesMut::from(&mutate(pick.get(&good).1.clone(), &mutations)[..]);
        if let Ok(Some(frame)) = split(&mut buf) {
            prop_assert!(frame.is_notice() || frame.result().is_some() == has_result(frame.op));
        }
    }

    #[test]
    fn chunks_of_any_size_give_the_same_messages(
        picks in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        sizes in prop::collection::vec(1_usize..700, 1..20),
    ) {
        let good = good();
        let wanted: Vec<_> = picks.iter().map(|pick| pick.get(&good).1.clone()).collect();
        let stream = wanted.concat();
        let (mut buf, mut rest, mut sizes, mut frames) = (BytesMut::new(), &stream[..], sizes.iter().cycle(), vec![]);
        while !rest.is_empty() {
            let (chunk, later) = rest.split_at(rest.len().min(*sizes.next().unwrap()));
            buf.extend_from_slice(chunk);
            rest = later;
            while let Some(frame) = split(&mut buf).unwrap() {
                frames.push(frame.bytes);
            }
        }
        prop_assert!(buf.is_empty());
        prop_assert_eq!(frames, wanted);
    }
}
