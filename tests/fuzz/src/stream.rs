//! The properties of a byte stream: admitted messages, their cost, and that later readers agree.

use bytes::{Bytes, BytesMut};
use ldap3::asn1::{PL, StructureTag, Tag, TagClass, parse_tag};

use super::ber::{self, EntryRef};
use super::frame::{self, Frame, FrameError, MAX_FRAME, Op};

/// Bytes that the gate may allocate for any input: twice the room for one read.
const ROOM: u64 = 64 << 10;

/// Checks all properties for bytes from a server. Panics if one does not hold.
pub fn check(bytes: &[u8], chunks: &mut dyn FnMut() -> usize) {
    let (frames, end) = whole(bytes);
    let (again, same_end) = pieces(bytes, chunks);
    assert_eq!(frames, again, "pieces of any size give the same messages");
    assert_eq!(end, same_end, "and the same end");
    for frame in &frames {
        check_frame(frame);
    }
    check_reader(bytes);
}

/// Returns the messages in bytes that come in one piece, and the error that ends them.
fn whole(bytes: &[u8]) -> (Vec<Frame>, Option<FrameError>) {
    let mut buffer = BytesMut::from(bytes);
    let mut frames = Vec::new();
    let mut end = None;
    let cost = allocation_counter::measure(|| end = drain(&mut buffer, &mut frames));
    let kept = (frames.capacity() * size_of::<Frame>()) as u64;
    assert!(
        cost.bytes_max <= 2 * bytes.len() as u64 + 4 * kept + ROOM,
        "{cost:?} for {} bytes",
        bytes.len()
    );
    (frames, end)
}

/// Takes all complete messages from the buffer.
fn drain(buffer: &mut BytesMut, frames: &mut Vec<Frame>) -> Option<FrameError> {
    loop {
        let before = buffer.len();
        match frame::split(buffer) {
            Ok(Some(frame)) => {
                assert!(
                    !frame.bytes.is_empty() && frame.bytes.len() + buffer.len() == before,
                    "a message is taken off the front"
                );
                frames.push(frame);
            }
            Ok(None) => return None,
            Err(error) => {
                assert_eq!(buffer.len(), before, "a refusal takes nothing");
                assert_eq!(frame::split(buffer), Err(error), "what is refused stays refused");
                return Some(error);
            }
        }
    }
}

/// Does the same for bytes that come in pieces, as from a socket.
fn pieces(mut bytes: &[u8], chunks: &mut dyn FnMut() -> usize) -> (Vec<Frame>, Option<FrameError>) {
    let mut frames = Vec::new();
    let mut buffer = BytesMut::new();
    loop {
        let end = drain(&mut buffer, &mut frames);
        assert!(
            end.is_some() || buffer.capacity() > buffer.len(),
            "there is room for the next read"
        );
        assert!(buffer.len() <= MAX_FRAME, "no more is collected than a message may have");
        if end.is_some() || bytes.is_empty() {
            return (frames, end);
        }
        let (chunk, rest) = bytes.split_at(chunks().clamp(1, bytes.len()));
        buffer.extend_from_slice(chunk);
        bytes = rest;
    }
}

/// Checks the properties of an admitted message.
fn check_frame(frame: &Frame) {
    assert!(frame.message_id >= 0);
    let mut copy = BytesMut::from(&frame.bytes[..]);
    assert_eq!(
        frame::split(&mut copy).as_ref(),
        Ok(&Some(frame.clone())),
        "it is let through on its own, too"
    );
    assert!(frame.is_notice() || frame.result().is_some() == is_result(frame.op));
    let structure = read_by_ldap3(&frame.bytes);
    if frame.op == Op::SearchResultEntry {
        check_entry(&frame.bytes, &structure);
    } else if !frame.is_notice() {
        check_answer(frame, structure);
    }
}

/// Parses a message with ldap3: all of it, at a known cost, with the structure that the gate saw.
fn read_by_ldap3(bytes: &Bytes) -> StructureTag {
    let mut read = None;
    let cost = allocation_counter::measure(|| {
        read = Some(parse_tag(bytes).map(|(rest, tag)| (rest.len(), tag)))
    });
    // A two-byte element becomes a StructureTag. A vector of them has up to twice the room and is
    // copied as it grows.
    let limit = bytes.len() as u64 * 3 * (size_of::<StructureTag>() as u64 + 8) + ROOM;
    assert!(cost.bytes_max <= limit, "{cost:?} for {} bytes", bytes.len());
    let (left, structure) = read.expect("it has run").expect("ldap3 can read what was let through");
    assert_eq!(left, 0, "ldap3 sees the same end");
    let mut elements = ber::Elements::new(bytes);
    let element = elements.take().expect("well-formed").expect("one element");
    assert_same(element, &structure);
    structure
}

fn assert_same(element: ber::Element<'_>, seen: &StructureTag) {
    let class = match element.tag >> 6 {
        0 => TagClass::Universal,
        1 => TagClass::Application,
        2 => TagClass::Context,
        _ => TagClass::Private,
    };
    assert_eq!((class, u64::from(element.tag & ber::NUMBER)), (seen.class, seen.id));
    match &seen.payload {
        PL::P(content) => {
            assert!(element.tag & ber::CONSTRUCTED == 0 && content == element.content)
        }
        PL::C(children) => {
            assert_ne!(element.tag & ber::CONSTRUCTED, 0);
            let mut elements = ber::Elements::new(element.content);
            for child in children {
                assert_same(
                    elements.take().expect("well-formed").expect("as many as ldap3 sees"),
                    child,
                );
            }
            assert!(elements.take().expect("well-formed").is_none(), "and no more");
        }
    }
}

/// Checks that an entry is read without allocation, and that ldap3 sees the same values in the same
/// order.
fn check_entry(bytes: &[u8], structure: &StructureTag) {
    let mut values = 0;
    let cost = allocation_counter::measure(|| values = exhaust(bytes).unwrap_or_default());
    assert_eq!(cost.count_total, 0, "reading an entry allocates nothing");
    if values > 0 {
        assert!(values <= primitives(structure), "no value is made up");
    }
    if let Ok(entry) = EntryRef::parse(bytes) {
        for attribute in entry.attributes().flatten() {
            assert_eq!(
                attribute.values().len(),
                attribute.values().count(),
                "the number of values is known beforehand"
            );
            assert!(!attribute.name.contains(&b';'));
        }
    }
}

/// Reads a whole entry. Returns the number of its values.
fn exhaust(bytes: &[u8]) -> Option<usize> {
    let entry = EntryRef::parse(bytes).ok()?;
    let mut values = 0;
    let mut is_over = false;
    for attribute in entry.attributes() {
        assert!(!is_over, "what cannot be read is the last item");
        match attribute {
            Ok(attribute) => {
                values += attribute.values().count();
                assert!(
                    attribute.is("range")
                        || attribute.range().is_none_or(|r| r.high.is_none_or(|h| r.low <= h))
                );
            }
            Err(_) => is_over = true,
        }
    }
    Some(values)
}

fn primitives(structure: &StructureTag) -> usize {
    match &structure.payload {
        PL::P(_) => 1,
        PL::C(children) => children.iter().map(primitives).sum(),
    }
}

/// Checks that ldap3 parses an admitted answer without a panic, with the result that we saw.
fn check_answer(frame: &Frame, structure: StructureTag) {
    let PL::C(mut parts) = structure.payload else { panic!("a message is a sequence") };
    assert!((2..=3).contains(&parts.len()));
    let operation = parts.swap_remove(1);
    match frame.op {
        Op::SearchResultReference => drop(ldap3::parse_refs(operation)),
        Op::IntermediateResponse | Op::SearchResultEntry | Op::Other(_) => {}
        _ => {
            let theirs = ldap3::LdapResult::from(Tag::StructureTag(operation));
            let ours = frame.result().expect("a result");
            assert_eq!(
                (ours.code, ours.matched_dn, ours.diagnostic),
                (theirs.rc, &*theirs.matched, &*theirs.text)
            );
        }
    }
}

fn is_result(op: Op) -> bool {
    !matches!(
        op,
        Op::SearchResultEntry | Op::SearchResultReference | Op::IntermediateResponse | Op::Other(_)
    )
}

/// Runs the readers on bytes that the gate has not checked.
fn check_reader(bytes: &[u8]) {
    let cost = allocation_counter::measure(|| {
        let _ = exhaust(bytes);
        let _ = (ber::paged_results(bytes), ber::dirsync(bytes));
    });
    assert_eq!(cost.count_total, 0, "the readers allocate nothing");
}
