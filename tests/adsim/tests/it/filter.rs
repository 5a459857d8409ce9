//! Filters from text to bytes: all that the tests use, and binary values.

use adsim::ber;

/// Encodes a filter in RFC 4515 notation.
pub(crate) fn encode(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let rest = one(text.as_bytes(), &mut out);
    assert!(rest.is_empty(), "{text} has something behind it");
    out
}

fn one<'a>(text: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
    let mut rest = text.strip_prefix(b"(").expect("a parenthesis");
    let tag = match rest[0] {
        b'&' => 0xa0,
        b'|' => 0xa1,
        b'!' => 0xa2,
        _ => return item(rest, out),
    };
    rest = &rest[1..];
    let begun = ber::begin(out, tag);
    while rest[0] == b'(' {
        rest = one(rest, out);
    }
    ber::end(out, begun);
    rest.strip_prefix(b")").expect("a parenthesis")
}

fn item<'a>(text: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
    let end = text.iter().position(|byte| *byte == b')').expect("a parenthesis");
    let (item, rest) = (&text[..end], &text[end + 1..]);
    let equals = item.iter().position(|byte| *byte == b'=').expect("an equals sign");
    let (name, value) = (&item[..equals], &item[equals + 1..]);
    match name.split_last().expect("a name") {
        (b':', name) => {
            let begun = ber::begin(out, 0xa9);
            let mut parts = name.split(|byte| *byte == b':');
            let attribute = parts.next().expect("an attribute");
            if let Some(rule) = parts.next() {
                ber::put(out, 0x81, rule);
            }
            ber::put(out, 0x82, attribute);
            ber::put(out, 0x83, &unescape(value));
            ber::end(out, begun);
        }
        (b'>', name) => pair(0xa5, name, value, out),
        (b'<', name) => pair(0xa6, name, value, out),
        _ if value == b"*" => ber::put(out, 0x87, name),
        _ if value.contains(&b'*') => {
            let begun = ber::begin(out, 0xa4);
            ber::put(out, ber::OCTETS, name);
            let list = ber::begin(out, ber::SEQUENCE);
            let parts: Vec<&[u8]> = value.split(|byte| *byte == b'*').collect();
            for (place, part) in parts.iter().enumerate().filter(|(_, part)| !part.is_empty()) {
                let tag = match place {
                    0 => 0x80,
                    last if last + 1 == parts.len() => 0x82,
                    _ => 0x81,
                };
                ber::put(out, tag, &unescape(part));
            }
            ber::end(out, list);
            ber::end(out, begun);
        }
        _ => pair(0xa3, name, value, out),
    }
    rest
}

fn pair(tag: u8, name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    let begun = ber::begin(out, tag);
    ber::put(out, ber::OCTETS, name);
    ber::put(out, ber::OCTETS, &unescape(value));
    ber::end(out, begun);
}

fn unescape(value: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = value;
    while let Some((byte, after)) = rest.split_first() {
        if *byte == b'\\' {
            let digits = std::str::from_utf8(&after[..2]).expect("two digits");
            out.push(u8::from_str_radix(digits, 16).expect("two digits"));
            rest = &after[2..];
        } else {
            out.push(*byte);
            rest = after;
        }
    }
    out
}
