//! LDAP filters (RFC 4515) as assertions and the operators that join them.
//!
//! Only AD evaluates assertions. rosterd asks AD about each one and combines the answers in three
//! values. An assertion on an unreadable attribute is unknown. A person is out of scope only if the
//! filter is false for all values of its unknown assertions.

use std::collections::BTreeSet;
use std::fmt;

/// A filter (RFC 4515).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Filter {
    And(Vec<Filter>),
    Or(Vec<Filter>),
    Not(Box<Filter>),
    Assertion {
        /// The attribute as it is written, without options.
        attribute: String,
        /// The assertion with its parentheses.
        text: String,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    #[error(
        "the filter \"{0}\" has unbalanced parentheses: write one pair around each assertion, as in (&(department=Sales)(l=Berlin))"
    )]
    Unbalanced(String),
    #[error(
        "the filter \"{0}\" has several parts side by side: join them, as in (&(department=Sales)(l=Berlin))"
    )]
    Several(String),
    #[error("\"{0}\" is not an assertion such as (department=Sales)")]
    Assertion(String),
}

/// LDAP_MATCHING_RULE_TRANSITIVE_EVAL: membership through any number of groups (MS-ADTS).
const IN_CHAIN: &str = "1.2.840.113556.1.4.1941";

/// Matching rules of Active Directory (MS-ADTS 3.1.1.3.4.4). A filter with another one finds no
/// entry.
const AD_RULES: [&str; 4] =
    ["1.2.840.113556.1.4.803", "1.2.840.113556.1.4.804", IN_CHAIN, "1.2.840.113556.1.4.2253"];

/// An assertion that an entry is a member of a group: `(memberOf=CN=VPN,…)`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct GroupAssertion {
    /// The distinguished name of the group, without escapes.
    pub group: String,
    /// Whether membership through other groups counts.
    pub in_chain: bool,
}

/// Returns the message about a matching rule that Active Directory does not have.
pub fn unknown_rule(rule: &str) -> String {
    format!(
        "Active Directory has no matching rule {rule}, and finds no entry by it: write (attribute=value), or use {} (all bits), {} (any bit) or \
         {IN_CHAIN} (membership through other groups)",
        AD_RULES[0], AD_RULES[1]
    )
}

/// A value of three-valued logic.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Truth {
    True,
    False,
    Unknown,
}

impl Filter {
    /// Parses a filter in any form that AD's own tools accept.
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        let trimmed = text.trim();
        // AD's own tools allow a filter without the outer parentheses.
        let whole =
            if trimmed.starts_with('(') { trimmed.to_owned() } else { format!("({trimmed})") };
        let (filter, rest) = parse(&whole, 0)?;
        match rest.trim() {
            "" => Ok(filter),
            rest if rest.starts_with('(') => Err(FilterError::Several(text.to_owned())),
            _ => Err(FilterError::Unbalanced(text.to_owned())),
        }
    }

    /// Returns the matching rules that Active Directory does not have.
    pub fn unknown_rules(&self) -> BTreeSet<&str> {
        self.assertions()
            .into_iter()
            .filter_map(|(_, text)| rule(text))
            .filter(|rule| !AD_RULES.contains(rule))
            .collect()
    }

    /// Returns the group of a membership assertion, or `None` for any other assertion.
    pub fn group_of(text: &str) -> Option<GroupAssertion> {
        let body = text.strip_prefix('(')?.strip_suffix(')')?;
        let (left, value) = body.split_once('=')?;
        let (attribute, in_chain) = match left.split_once(':') {
            None => (left, false),
            Some((attribute, named)) => (attribute, named.trim_end_matches(':') == IN_CHAIN),
        };
        let is_plain = !left.contains(':') || in_chain;
        // `memberOf=*` names no group.
        let asks =
            attribute.trim().eq_ignore_ascii_case("memberOf") && is_plain && !value.contains('*');
        asks.then(|| Some(GroupAssertion { group: unescaped(value)?, in_chain }))?
    }

    /// Returns the attribute and the text of each assertion, in order.
    pub fn assertions(&self) -> Vec<(&str, &str)> {
        match self {
            Self::And(parts) | Self::Or(parts) => parts.iter().flat_map(Self::assertions).collect(),
            Self::Not(part) => part.assertions(),
            Self::Assertion { attribute, text } => vec![(attribute, text)],
        }
    }

    /// Returns the attributes of all assertions.
    pub fn attributes(&self) -> BTreeSet<&str> {
        self.assertions().into_iter().map(|(attribute, _)| attribute).collect()
    }

    /// Returns the attributes whose values exclude an entry: those below an odd number of negations.
    pub fn excluding_attributes(&self) -> BTreeSet<&str> {
        let mut excluding = BTreeSet::new();
        self.collect_excluding(false, &mut excluding);
        excluding
    }

    fn collect_excluding<'a>(&'a self, is_negated: bool, into: &mut BTreeSet<&'a str>) {
        match self {
            Self::And(parts) | Self::Or(parts) => {
                for part in parts {
                    part.collect_excluding(is_negated, into);
                }
            }
            Self::Not(part) => part.collect_excluding(!is_negated, into),
            Self::Assertion { attribute, .. } if is_negated => {
                into.insert(attribute);
            }
            Self::Assertion { .. } => {}
        }
    }

    /// Returns the value of the filter from the value of each assertion, by its index.
    pub fn value(&self, mut answer: impl FnMut(usize) -> Truth) -> Truth {
        self.combine(&mut 0, &mut answer)
    }

    fn combine(&self, next: &mut usize, answer: &mut impl FnMut(usize) -> Truth) -> Truth {
        match self {
            Self::And(parts) => parts.iter().fold(Truth::True, |all, part| {
                match (all, part.combine(next, answer)) {
                    (Truth::False, _) | (_, Truth::False) => Truth::False,
                    (Truth::Unknown, _) | (_, Truth::Unknown) => Truth::Unknown,
                    (Truth::True, Truth::True) => Truth::True,
                }
            }),
            Self::Or(parts) => parts.iter().fold(Truth::False, |any, part| {
                match (any, part.combine(next, answer)) {
                    (Truth::True, _) | (_, Truth::True) => Truth::True,
                    (Truth::Unknown, _) | (_, Truth::Unknown) => Truth::Unknown,
                    (Truth::False, Truth::False) => Truth::False,
                }
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

impl fmt::Display for Filter {
    /// Writes the filter in the form of RFC 4515.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::And(parts) | Self::Or(parts) => {
                f.write_str(if matches!(self, Self::And(_)) { "(&" } else { "(|" })?;
                parts.iter().try_for_each(|part| part.fmt(f))?;
                f.write_str(")")
            }
            Self::Not(part) => write!(f, "(!{part})"),
            Self::Assertion { text, .. } => f.write_str(text),
        }
    }
}

/// Returns the matching rule of an assertion (RFC 4515 `extensible`), if it names one.
fn rule(text: &str) -> Option<&str> {
    let (left, _) = text.strip_prefix('(')?.split_once('=')?;
    let (_, named) = left.strip_suffix(':')?.split_once(':')?;
    let named = if named.get(..3).is_some_and(|dn| dn.eq_ignore_ascii_case("dn:")) {
        &named[3..]
    } else {
        named
    };
    (!named.is_empty() && !named.eq_ignore_ascii_case("dn")).then_some(named)
}

/// Returns a value without the escapes of RFC 4515.
fn unescaped(value: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        if *first == b'\\' {
            let digits = std::str::from_utf8(after.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &after[2..];
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    String::from_utf8(bytes).ok()
}

/// Deepest nesting, because the parser is recursive and a deeper filter is a mistake.
const MAX_DEPTH: usize = 50;

fn parse(text: &str, depth: usize) -> Result<(Filter, &str), FilterError> {
    let unbalanced = || FilterError::Unbalanced(text.to_owned());
    let inner =
        text.strip_prefix('(').filter(|_| depth < MAX_DEPTH).ok_or_else(unbalanced)?.trim_start();
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
            let negated = inner[1..].trim_start();
            // `(!a=b)` is not RFC 4515, but AD's own tools accept it.
            if !negated.starts_with('(') {
                let (part, rest) = assertion(negated).ok_or_else(unbalanced)??;
                return Ok((Filter::Not(Box::new(part)), rest));
            }
            let (part, rest) = parse(negated, depth + 1)?;
            let rest = rest.trim_start().strip_prefix(')').ok_or_else(unbalanced)?;
            Ok((Filter::Not(Box::new(part)), rest))
        }
        _ => assertion(inner).ok_or_else(unbalanced)?,
    }
}

/// Returns the assertion up to the closing parenthesis, and the rest. `None` without a parenthesis.
fn assertion(inner: &str) -> Option<Result<(Filter, &str), FilterError>> {
    // A parenthesis in a value is written \28 or \29 (RFC 4515), so the next one ends the
    // assertion.
    let end = inner.find(')')?;
    let body = &inner[..end];
    let attribute: String =
        body.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '-' || *c == '.').collect();
    // AD ignores spaces around a text value (RFC 4518, 2.6.1).
    let rest = body[attribute.len()..].trim();
    let comparison = rest.trim_start_matches(|c| c != '=' && c != '(');
    if attribute.is_empty() || !comparison.starts_with('=') || body.contains('(') {
        return Some(Err(FilterError::Assertion(format!("({body})"))));
    }
    let text = format!("({attribute}{rest})");
    Some(Ok((Filter::Assertion { attribute, text }, &inner[end + 1..])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_has_assertions_and_attributes() {
        let filter =
            Filter::parse("(&(employeeType=staff)(!(extensionAttribute1=nosync*))(|(userAccountControl:1.2.840.113556.1.4.803:=2)(l>=A)))")
                .expect("a filter");
        let parts: Vec<_> = filter.assertions().into_iter().map(|(_, text)| text).collect();
        assert_eq!(
            parts,
            [
                "(employeeType=staff)",
                "(extensionAttribute1=nosync*)",
                "(userAccountControl:1.2.840.113556.1.4.803:=2)",
                "(l>=A)"
            ]
        );
        assert_eq!(
            filter.attributes().into_iter().collect::<Vec<_>>(),
            ["employeeType", "extensionAttribute1", "l", "userAccountControl"]
        );
    }

    #[test]
    fn a_malformed_filter_is_refused() {
        for bad in [
            "",
            "a",
            "(a=b",
            "a=b)",
            "(&(a=b)",
            "((a=b))",
            "(a)",
            "(=b)",
            "(a=b)(c=d)",
            "(!a)",
            "(a=(b))",
            "&a=b",
        ] {
            assert!(Filter::parse(bad).is_err(), "{bad}");
        }
        assert!(Filter::parse(&"(!".repeat(10_000)).is_err());
    }

    #[test]
    fn a_filter_is_accepted_in_every_form_of_ads_own_tools() {
        let table = [
            ("department=Sales", "(department=Sales)"),
            (" ( department=Sales ) ", "(department=Sales)"),
            ("&(a=1)(b=2)", "(&(a=1)(b=2))"),
            ("(& (a=1)\n\t( | (b=2) (c=3) ) )", "(&(a=1)(|(b=2)(c=3)))"),
            ("(!a=1)", "(!(a=1))"),
            ("! ( a=1 )", "(!(a=1))"),
            ("(a = 1)", "(a= 1)"),
            ("(cn=x\\29y)", "(cn=x\\29y)"),
            (
                "memberOf:1.2.840.113556.1.4.1941:=CN=g,DC=corp",
                "(memberOf:1.2.840.113556.1.4.1941:=CN=g,DC=corp)",
            ),
        ];
        for (written, sent) in table {
            assert_eq!(
                Filter::parse(written).map(|f| f.to_string()),
                Ok(sent.to_owned()),
                "{written}"
            );
        }
    }

    #[test]
    fn a_filter_names_its_groups_and_its_matching_rules() {
        let chain = "(memberOf:1.2.840.113556.1.4.1941:=CN=a\\28b\\29,DC=corp)";
        let group =
            |name: &str, in_chain| Some(GroupAssertion { group: name.to_owned(), in_chain });
        assert_eq!(Filter::group_of("(memberof=CN=VPN,DC=corp)"), group("CN=VPN,DC=corp", false));
        assert_eq!(Filter::group_of(chain), group("CN=a(b),DC=corp", true));
        for other in ["(memberOf=*)", "(member=CN=x)", "(memberOf:2.5.13.1:=CN=x)", "(l=Berlin)"] {
            assert_eq!(Filter::group_of(other), None, "{other}");
        }
        let rules = |text: &str| {
            Filter::parse(text)
                .expect("a filter")
                .unknown_rules()
                .into_iter()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        assert_eq!(
            rules("(|(a:2.5.13.2:=x)(b:dn:2.5.13.5:=y)(c:caseIgnoreMatch:=z))"),
            ["2.5.13.2", "2.5.13.5", "caseIgnoreMatch"]
        );
        assert!(
            rules("(&(userAccountControl:1.2.840.113556.1.4.803:=2)(a:=x)(b:dn:=y)(c>=1))")
                .is_empty()
        );
        assert!(rules(chain).is_empty());
    }

    #[test]
    fn unknown_assertions_make_a_filter_false_only_if_they_cannot_matter() {
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
