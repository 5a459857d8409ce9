//! The configured filter, taken apart so that AD can be asked which part of it excludes somebody.
//!
//! AD evaluates filters, never we: each assertion is put to AD on its own, and only the answers are
//! combined here, in three values. An assertion on an attribute that cannot be read is unknown, and a
//! person is out of scope only when the whole is false whatever the unknown parts may be.

use std::collections::BTreeSet;

/// A filter (RFC 4515), kept as its assertions and how they are joined.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Filter {
    /// All of them.
    And(Vec<Filter>),
    /// Any of them.
    Or(Vec<Filter>),
    /// Not this.
    Not(Box<Filter>),
    /// One assertion, as it was written.
    Assertion {
        /// The attribute it looks at, as written, without options.
        attribute: String,
        /// The assertion with its parentheses.
        text: String,
    },
}

/// Why a text is no filter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// Parentheses do not match.
    #[error("the filter \"{0}\" has unbalanced parentheses")]
    Unbalanced(String),
    /// An assertion without attribute or comparison.
    #[error("\"{0}\" is not an assertion such as (department=Sales)")]
    Assertion(String),
}

/// Yes, no, or not to be told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Truth {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// Not to be told.
    Unknown,
}

impl Filter {
    /// Takes a filter apart.
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        let trimmed = text.trim();
        let (filter, rest) = parse(trimmed, 0)?;
        if rest.trim().is_empty() { Ok(filter) } else { Err(FilterError::Unbalanced(text.to_owned())) }
    }

    /// Its assertions, in order.
    pub fn assertions(&self) -> Vec<(&str, &str)> {
        match self {
            Self::And(parts) | Self::Or(parts) => parts.iter().flat_map(Self::assertions).collect(),
            Self::Not(part) => part.assertions(),
            Self::Assertion { attribute, text } => vec![(attribute, text)],
        }
    }

    /// The attributes it looks at.
    pub fn attributes(&self) -> BTreeSet<&str> {
        self.assertions().into_iter().map(|(attribute, _)| attribute).collect()
    }

    /// The value of the whole, given the value of each assertion in order.
    pub fn value(&self, mut answer: impl FnMut(usize) -> Truth) -> Truth {
        self.combine(&mut 0, &mut answer)
    }

    fn combine(&self, next: &mut usize, answer: &mut impl FnMut(usize) -> Truth) -> Truth {
        match self {
            Self::And(parts) => parts.iter().fold(Truth::True, |all, part| match (all, part.combine(next, answer)) {
                (Truth::False, _) | (_, Truth::False) => Truth::False,
                (Truth::Unknown, _) | (_, Truth::Unknown) => Truth::Unknown,
                (Truth::True, Truth::True) => Truth::True,
            }),
            Self::Or(parts) => parts.iter().fold(Truth::False, |any, part| match (any, part.combine(next, answer)) {
                (Truth::True, _) | (_, Truth::True) => Truth::True,
                (Truth::Unknown, _) | (_, Truth::Unknown) => Truth::Unknown,
                (Truth::False, Truth::False) => Truth::False,
            }),
            Self::Not(part) => match part.combine(next, answer) {
                Truth::True => Truth::False,
                Truth::False => Truth::True,
                Truth::Unknown => Truth::Unknown,
            },
            Self::Assertion { .. } => {
                *next += 1;
                answer(*next - 1)
            }
        }
    }
}

/// Nesting beyond this is a mistake, and recursion has to end somewhere.
const MAX_DEPTH: usize = 50;

fn parse(text: &str, depth: usize) -> Result<(Filter, &str), FilterError> {
    let unbalanced = || FilterError::Unbalanced(text.to_owned());
    let inner = text.strip_prefix('(').filter(|_| depth < MAX_DEPTH).ok_or_else(unbalanced)?;
    match inner.as_bytes().first() {
        Some(b'&' | b'|') => {
            let mut rest = inner[1..].trim_start();
            let mut parts = Vec::new();
            while rest.starts_with('(') {
                let (part, after) = parse(rest, depth + 1)?;
                parts.push(part);
                rest = after.trim_start();
            }
            let rest = rest.strip_prefix(')').ok_or_else(unbalanced)?;
            Ok((if inner.starts_with('&') { Filter::And(parts) } else { Filter::Or(parts) }, rest))
        }
        Some(b'!') => {
            let (part, rest) = parse(inner[1..].trim_start(), depth + 1)?;
            let rest = rest.trim_start().strip_prefix(')').ok_or_else(unbalanced)?;
            Ok((Filter::Not(Box::new(part)), rest))
        }
        _ => {
            // A literal parenthesis in a value is written \28 or \29 (RFC 4515), so the next one ends the assertion.
            let end = inner.find(')').ok_or_else(unbalanced)?;
            let body = &inner[..end];
            let attribute: String = body.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '-' || *c == '.').collect();
            let comparison = body[attribute.len()..].trim_start_matches(|c| c != '=' && c != '(');
            if attribute.is_empty() || !comparison.starts_with('=') || body.contains('(') {
                return Err(FilterError::Assertion(format!("({body})")));
            }
            Ok((Filter::Assertion { attribute, text: format!("({body})") }, &inner[end + 1..]))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_comes_apart_into_its_assertions() {
        let filter =
            Filter::parse("(&(employeeType=staff)(!(extensionAttribute1=nosync*))(|(userAccountControl:1.2.840.113556.1.4.803:=2)(l>=A)))")
                .expect("a filter");
        let parts: Vec<_> = filter.assertions().into_iter().map(|(_, text)| text).collect();
        assert_eq!(
            parts,
            ["(employeeType=staff)", "(extensionAttribute1=nosync*)", "(userAccountControl:1.2.840.113556.1.4.803:=2)", "(l>=A)"]
        );
        assert_eq!(filter.attributes().into_iter().collect::<Vec<_>>(), ["employeeType", "extensionAttribute1", "l", "userAccountControl"]);
    }

    #[test]
    fn what_is_no_filter_is_refused() {
        for bad in ["", "a=b", "(a=b", "(&(a=b)", "((a=b))", "(a)", "(=b)", "(a=b)(c=d)", "(!a=b)", "(a=(b))"] {
            assert!(Filter::parse(bad).is_err(), "{bad}");
        }
        assert!(Filter::parse(&"(!".repeat(10_000)).is_err());
    }

    #[test]
    fn a_person_is_out_only_when_the_unknown_parts_cannot_matter() {
        use Truth::{False, True, Unknown};
        let filter = Filter::parse("(&(a=1)(!(b=2)))").expect("a filter");
        let table = [
            (True, False, True),
            (False, Unknown, False),
            (True, Unknown, Unknown),
            (Unknown, True, False),
            (Unknown, False, Unknown),
            (True, True, False),
        ];
        for (a, b, whole) in table {
            assert_eq!(filter.value(|n| if n == 0 { a } else { b }), whole, "{a:?} {b:?}");
        }
    }
}
