//! Search filters from the wire, and as text for the log.

use std::fmt::{self, Write as _};

use crate::ber::{Malformed, Reader};

/// The depth beyond which AD refuses a filter.
const MAX_DEPTH: usize = 100;

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Filter {
    And(Vec<Filter>),
    Or(Vec<Filter>),
    Not(Box<Filter>),
    Equal(String, Vec<u8>),
    Substrings {
        attribute: String,
        first: Option<Vec<u8>>,
        middle: Vec<Vec<u8>>,
        last: Option<Vec<u8>>,
    },
    AtLeast(String, Vec<u8>),
    AtMost(String, Vec<u8>),
    Present(String),
    Extensible {
        rule: Option<String>,
        attribute: Option<String>,
        value: Vec<u8>,
    },
}

impl Filter {
    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Self::read_at(reader, 0)
    }

    fn read_at(reader: &mut Reader<'_>, depth: usize) -> Result<Self, Malformed> {
        if depth > MAX_DEPTH {
            return Err(Malformed("the filter is nested too deeply"));
        }
        let (tag, value) = reader.element()?;
        let mut inner = Reader::new(value);
        Ok(match tag {
            0xa0 | 0xa1 => {
                let mut parts = Vec::new();
                while !inner.is_empty() {
                    parts.push(Self::read_at(&mut inner, depth + 1)?);
                }
                if tag == 0xa0 { Self::And(parts) } else { Self::Or(parts) }
            }
            0xa2 => Self::Not(Box::new(Self::read_at(&mut inner, depth + 1)?)),
            // AD treats approxMatch (a8) as equalityMatch.
            0xa3 | 0xa5 | 0xa6 | 0xa8 => {
                let attribute = inner.text(0x04)?;
                let value = inner.expect(0x04)?.to_vec();
                match tag {
                    0xa5 => Self::AtLeast(attribute, value),
                    0xa6 => Self::AtMost(attribute, value),
                    _ => Self::Equal(attribute, value),
                }
            }
            0xa4 => {
                let attribute = inner.text(0x04)?;
                let mut parts = inner.inside(0x30)?;
                let (mut first, mut middle, mut last) = (None, Vec::new(), None);
                while !parts.is_empty() {
                    match parts.element()? {
                        (0x80, part) => first = Some(part.to_vec()),
                        (0x81, part) => middle.push(part.to_vec()),
                        (0x82, part) => last = Some(part.to_vec()),
                        _ => return Err(Malformed("no part of a substring filter")),
                    }
                }
                Self::Substrings { attribute, first, middle, last }
            }
            0x87 => Self::Present(String::from_utf8_lossy(value).into_owned()),
            0xa9 => {
                let (mut rule, mut attribute, mut assertion) = (None, None, Vec::new());
                while !inner.is_empty() {
                    let (tag, part) = inner.element()?;
                    match tag {
                        0x81 => rule = Some(String::from_utf8_lossy(part).into_owned()),
                        0x82 => attribute = Some(String::from_utf8_lossy(part).into_owned()),
                        0x83 => assertion = part.to_vec(),
                        _ => {}
                    }
                }
                Self::Extensible { rule, attribute, value: assertion }
            }
            _ => return Err(Malformed("no such kind of filter")),
        })
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('(')?;
        match self {
            Self::And(parts) | Self::Or(parts) => {
                f.write_char(if matches!(self, Self::And(_)) { '&' } else { '|' })?;
                for part in parts {
                    part.fmt(f)?;
                }
            }
            Self::Not(part) => write!(f, "!{part}")?,
            Self::Equal(attribute, value) => write!(f, "{attribute}={}", Escaped(value))?,
            Self::AtLeast(attribute, value) => write!(f, "{attribute}>={}", Escaped(value))?,
            Self::AtMost(attribute, value) => write!(f, "{attribute}<={}", Escaped(value))?,
            Self::Present(attribute) => write!(f, "{attribute}=*")?,
            Self::Substrings { attribute, first, middle, last } => {
                write!(f, "{attribute}={}*", Escaped(first.as_deref().unwrap_or_default()))?;
                for part in middle {
                    write!(f, "{}*", Escaped(part))?;
                }
                Escaped(last.as_deref().unwrap_or_default()).fmt(f)?;
            }
            Self::Extensible { rule, attribute, value } => {
                f.write_str(attribute.as_deref().unwrap_or_default())?;
                if let Some(rule) = rule {
                    write!(f, ":{rule}")?;
                }
                write!(f, ":={}", Escaped(value))?;
            }
        }
        f.write_char(')')
    }
}

/// Writes a value in RFC 4515 notation.
struct Escaped<'a>(&'a [u8]);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(value) = self;
        let text = std::str::from_utf8(value)
            .ok()
            .filter(|text| !text.bytes().any(|byte| byte < 0x20 || byte == 0x7f));
        let Some(text) = text else {
            return value.iter().try_for_each(|byte| write!(f, "\\{byte:02x}"));
        };
        for letter in text.chars() {
            match letter {
                '(' | ')' | '*' | '\\' => write!(f, "\\{:02x}", letter as u32)?,
                other => f.write_char(other)?,
            }
        }
        Ok(())
    }
}
