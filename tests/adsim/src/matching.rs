//! Three-valued matching of filters, and the choice of entries to test.

use std::borrow::Cow;

use uuid::Uuid;

use crate::directory::Ad;
use crate::entry::Id;
use crate::filter::Filter;
use crate::request::oid;
use crate::schema::{AttributeId, Kind, Syntax, at, category_of_class};

/// A filter with its names resolved.
#[derive(Debug)]
pub(crate) enum Test {
    And(Vec<Test>),
    Or(Vec<Test>),
    Not(Box<Test>),
    /// An attribute the schema does not have: neither true nor false.
    Undefined,
    Present(AttributeId),
    /// The entry is this one; `None` matches no entry.
    Is(AttributeId, Option<Id>),
    Kinds {
        attribute: AttributeId,
        mask: u32,
    },
    /// A linked attribute refers to this entry.
    Links(AttributeId, Option<Id>),
    /// The same through any number of groups.
    Chain(AttributeId, Option<Id>),
    Equal(AttributeId, Folded),
    AtLeast(AttributeId, Folded),
    AtMost(AttributeId, Folded),
    Substrings {
        attribute: AttributeId,
        first: Folded,
        middle: Vec<Folded>,
        last: Folded,
    },
    Bits {
        attribute: AttributeId,
        mask: i64,
        all: bool,
    },
}

/// A value in the form for comparison.
#[derive(Debug)]
pub(crate) struct Folded(Vec<u8>);

impl Folded {
    fn new(value: &[u8], syntax: Syntax) -> Self {
        Self(fold(value, syntax).into_owned())
    }
}

fn fold(value: &[u8], syntax: Syntax) -> Cow<'_, [u8]> {
    match syntax {
        Syntax::Bytes | Syntax::Sid => Cow::Borrowed(value),
        _ if value.is_ascii() => {
            if value.iter().any(u8::is_ascii_uppercase) {
                Cow::Owned(value.to_ascii_lowercase())
            } else {
                Cow::Borrowed(value)
            }
        }
        _ => match std::str::from_utf8(value) {
            Ok(text) => Cow::Owned(text.to_lowercase().into_bytes()),
            Err(_) => Cow::Borrowed(value),
        },
    }
}

fn bit(kind: Kind) -> u32 {
    1 << kind as u32
}

const KINDS: [Kind; 16] = [
    Kind::Domain,
    Kind::Container,
    Kind::OrganizationalUnit,
    Kind::Group,
    Kind::Person,
    Kind::InetOrgPerson,
    Kind::Computer,
    Kind::ManagedServiceAccount,
    Kind::Contact,
    Kind::ForeignSecurityPrincipal,
    Kind::Configuration,
    Kind::SchemaHead,
    Kind::Server,
    Kind::NtdsSettings,
    Kind::DirectoryService,
    Kind::AttributeSchema,
];

fn mask(keep: impl Fn(Kind) -> bool) -> u32 {
    KINDS.into_iter().filter(|kind| keep(*kind)).fold(0, |mask, kind| mask | bit(kind))
}

impl Test {
    pub(crate) fn new(ad: &Ad, filter: &Filter) -> Self {
        let all = |parts: &[Filter]| parts.iter().map(|part| Self::new(ad, part)).collect();
        let known = |name: &str| ad.schema.id(name);
        match filter {
            Filter::And(parts) => Self::And(all(parts)),
            Filter::Or(parts) => Self::Or(all(parts)),
            Filter::Not(part) => Self::Not(Box::new(Self::new(ad, part))),
            Filter::Present(name) => known(name).map_or(Self::Undefined, Self::Present),
            Filter::Equal(name, value) => {
                known(name).map_or(Self::Undefined, |attribute| Self::equal(ad, attribute, value))
            }
            Filter::AtLeast(name, value) => known(name).map_or(Self::Undefined, |attribute| {
                Self::AtLeast(attribute, Folded::new(value, ad.schema.get(attribute).syntax))
            }),
            Filter::AtMost(name, value) => known(name).map_or(Self::Undefined, |attribute| {
                Self::AtMost(attribute, Folded::new(value, ad.schema.get(attribute).syntax))
            }),
            Filter::Substrings { attribute, first, middle, last } => {
                known(attribute).map_or(Self::Undefined, |attribute| {
                    let syntax = ad.schema.get(attribute).syntax;
                    if syntax == Syntax::Name {
                        return Self::Undefined; // AD has no substring match on names
                    }
                    let folded = |part: &Option<Vec<u8>>| {
                        Folded::new(part.as_deref().unwrap_or_default(), syntax)
                    };
                    Self::Substrings {
                        attribute,
                        first: folded(first),
                        middle: middle.iter().map(|part| Folded::new(part, syntax)).collect(),
                        last: folded(last),
                    }
                })
            }
            Filter::Extensible { rule, attribute, value } => {
                let attribute = attribute.as_deref().and_then(known);
                attribute.map_or(Self::Undefined, |attribute| {
                    Self::extensible(ad, rule.as_deref(), attribute, value)
                })
            }
        }
    }

    fn extensible(ad: &Ad, rule: Option<&str>, attribute: AttributeId, value: &[u8]) -> Self {
        let text = std::str::from_utf8(value).unwrap_or_default();
        match rule {
            Some(rule @ (oid::BIT_AND | oid::BIT_OR)) => match text.parse() {
                Ok(mask) => Self::Bits { attribute, mask, all: rule == oid::BIT_AND },
                Err(_) => Self::Undefined,
            },
            Some(oid::IN_CHAIN) if matches!(attribute, at::MEMBER | at::MEMBER_OF) => {
                Self::Chain(attribute, ad.resolve(text))
            }
            None => Self::equal(ad, attribute, value),
            Some(_) => Self::Undefined,
        }
    }

    fn equal(ad: &Ad, attribute: AttributeId, value: &[u8]) -> Self {
        let text = std::str::from_utf8(value).unwrap_or_default();
        match attribute {
            at::OBJECT_GUID => {
                let guid = match <[u8; 16]>::try_from(value) {
                    Ok(bytes) => Some(Uuid::from_bytes_le(bytes)),
                    Err(_) => Uuid::try_parse(text).ok(),
                };
                Self::Is(attribute, guid.and_then(|guid| ad.by_guid(guid)))
            }
            at::OBJECT_SID => Self::Is(attribute, ad.sid.rid(value).and_then(|rid| ad.by_rid(rid))),
            at::DISTINGUISHED_NAME => Self::Is(attribute, ad.resolve(text)),
            at::OBJECT_CLASS => {
                let has = |kind: Kind| {
                    kind.classes().iter().any(|class| class.eq_ignore_ascii_case(text))
                };
                Self::Kinds { attribute, mask: mask(has) }
            }
            at::OBJECT_CATEGORY => {
                let named = crate::dn::parse(text)
                    .filter(|parts| parts.len() > 3)
                    .map(|parts| parts[0].value.clone());
                let category = named.or_else(|| category_of_class(text).map(str::to_owned));
                let is = |kind: Kind| {
                    category
                        .as_deref()
                        .is_some_and(|category| kind.category().eq_ignore_ascii_case(category))
                };
                Self::Kinds { attribute, mask: mask(is) }
            }
            _ if ad.schema.get(attribute).syntax == Syntax::Name => {
                Self::Links(attribute, ad.resolve(text))
            }
            _ => Self::Equal(attribute, Folded::new(value, ad.schema.get(attribute).syntax)),
        }
    }

    pub(crate) fn matches(&self, ad: &Ad, id: Id) -> Option<bool> {
        match self {
            Self::And(parts) => {
                let mut all = Some(true);
                for part in parts {
                    match part.matches(ad, id) {
                        Some(false) => return Some(false),
                        None => all = None,
                        Some(true) => {}
                    }
                }
                all
            }
            Self::Or(parts) => {
                let mut any = Some(false);
                for part in parts {
                    match part.matches(ad, id) {
                        Some(true) => return Some(true),
                        None => any = None,
                        Some(false) => {}
                    }
                }
                any
            }
            Self::Not(part) => part.matches(ad, id).map(|matched| !matched),
            Self::Undefined => None,
            other => {
                other.attribute().map(|attribute| ad.readable(id, attribute) && other.holds(ad, id))
            }
        }
    }

    fn attribute(&self) -> Option<AttributeId> {
        match self {
            Self::Present(attribute)
            | Self::Is(attribute, _)
            | Self::Kinds { attribute, .. }
            | Self::Links(attribute, _)
            | Self::Chain(attribute, _)
            | Self::Equal(attribute, _)
            | Self::AtLeast(attribute, _)
            | Self::AtMost(attribute, _)
            | Self::Substrings { attribute, .. }
            | Self::Bits { attribute, .. } => Some(*attribute),
            Self::And(_) | Self::Or(_) | Self::Not(_) | Self::Undefined => None,
        }
    }

    fn holds(&self, ad: &Ad, id: Id) -> bool {
        let Some(entry) = ad.get(id) else { return false };
        let any = |attribute: AttributeId, test: &dyn Fn(&[u8]) -> bool| {
            let mut found = false;
            ad.each_value(id, attribute, &mut |value| found = found || test(value));
            found
        };
        let syntax = |attribute: AttributeId| ad.schema.get(attribute).syntax;
        match self {
            Self::Present(attribute) => any(*attribute, &|_| true),
            Self::Is(_, target) => *target == Some(id),
            Self::Kinds { attribute, mask } => {
                mask & bit(entry.kind) != 0 && !(entry.deleted && *attribute == at::OBJECT_CATEGORY)
            }
            Self::Links(attribute, target) => target.is_some_and(|target| match *attribute {
                at::MEMBER => entry.members.binary_search(&target).is_ok(),
                at::MEMBER_OF => entry.groups.binary_search(&target).is_ok(),
                other => entry
                    .attributes
                    .iter()
                    .any(|(found, value)| found == other && value == target.to_le_bytes()),
            }),
            Self::Chain(attribute, target) => target.is_some_and(|target| {
                let (from, to) = if *attribute == at::MEMBER { (target, id) } else { (id, target) };
                ad.nested(from, to)
            }),
            Self::Equal(attribute, wanted) => {
                let syntax = syntax(*attribute);
                any(*attribute, &|value| *fold(value, syntax) == *wanted.0)
            }
            Self::AtLeast(attribute, bound) => {
                any(*attribute, &|value| compare(value, &bound.0, syntax(*attribute)).is_ge())
            }
            Self::AtMost(attribute, bound) => {
                any(*attribute, &|value| compare(value, &bound.0, syntax(*attribute)).is_le())
            }
            Self::Substrings { attribute, first, middle, last } => {
                let syntax = syntax(*attribute);
                any(*attribute, &|value| has_parts(&fold(value, syntax), first, middle, last))
            }
            Self::Bits { attribute, mask, all } => any(*attribute, &|value| {
                let number =
                    std::str::from_utf8(value).ok().and_then(|text| text.parse::<i64>().ok());
                number.is_some_and(
                    |number| if *all { number & mask == *mask } else { number & mask != 0 },
                )
            }),
            Self::And(_) | Self::Or(_) | Self::Not(_) | Self::Undefined => false,
        }
    }

    /// Returns all entries that can match, sorted, if an index of the filter finds them.
    pub(crate) fn candidates<'a>(&self, ad: &'a Ad, deleted_too: bool) -> Option<Cow<'a, [Id]>> {
        let one = |id: Option<Id>| Some(Cow::Owned(id.into_iter().collect()));
        match self {
            Self::And(parts) => parts
                .iter()
                .filter_map(|part| part.candidates(ad, deleted_too))
                .min_by_key(|ids| ids.len()),
            Self::Or(parts) => {
                let mut all = Vec::new();
                for part in parts {
                    all.extend_from_slice(&part.candidates(ad, deleted_too)?);
                }
                all.sort_unstable();
                all.dedup();
                Some(Cow::Owned(all))
            }
            Self::Is(_, id) => one(*id),
            Self::Links(at::MEMBER_OF, Some(group)) => {
                ad.get(*group).map(|entry| Cow::Borrowed(&*entry.members))
            }
            Self::Links(at::MEMBER, Some(member)) => {
                ad.get(*member).map(|entry| Cow::Borrowed(&*entry.groups))
            }
            Self::Links(_, None) | Self::Chain(_, None) => one(None),
            Self::Equal(at::S_AM_ACCOUNT_NAME, name) if !deleted_too => {
                one(std::str::from_utf8(&name.0).ok().and_then(|name| ad.by_sam(name)))
            }
            _ => None,
        }
    }
}

impl Ad {
    /// Returns whether an entry is in a group through any number of others (not by primary group,
    /// as in AD).
    fn nested(&self, from: Id, to: Id) -> bool {
        let mut seen = std::collections::HashSet::new();
        let mut open = vec![from];
        while let Some(next) = open.pop() {
            for group in self.get(next).map(|entry| entry.groups.as_slice()).unwrap_or_default() {
                if *group == to {
                    return true;
                }
                if seen.insert(*group) {
                    open.push(*group);
                }
            }
        }
        false
    }

    /// Returns the entry that a base or a name in a filter refers to: a DN, `<GUID=…>`, `<SID=…>`
    /// or `<WKGUID=…>`.
    pub(crate) fn resolve(&self, text: &str) -> Option<Id> {
        let Some(inner) = text.trim().strip_prefix('<').and_then(|rest| rest.strip_suffix('>'))
        else {
            return self.by_dn(text);
        };
        let (kind, value) = inner.split_once('=')?;
        match kind.to_ascii_uppercase().as_str() {
            "GUID" if value.contains('-') => self.by_guid(Uuid::try_parse(value).ok()?),
            "GUID" => self.by_guid(Uuid::from_bytes_le(unhex(value)?.try_into().ok()?)),
            "SID" => {
                let rid = match unhex(value) {
                    Some(bytes) => self.sid.rid(&bytes),
                    None => self.sid.rid(value.as_bytes()),
                };
                self.by_rid(rid?)
            }
            "WKGUID" => match value.split_once(',')?.0.to_ascii_uppercase().as_str() {
                "18E2EA80684F11D2B9AA00C04F79F805" => Some(self.deleted_objects),
                "A9D1CA15768811D1ADED00C04FD8D5CD" => Some(self.users),
                _ => None,
            },
            _ => None,
        }
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    (0..text.len())
        .step_by(2)
        .map(|place| u8::from_str_radix(&text[place..place + 2], 16).ok())
        .collect()
}

fn compare(value: &[u8], bound: &[u8], syntax: Syntax) -> std::cmp::Ordering {
    let number =
        |bytes: &[u8]| std::str::from_utf8(bytes).ok().and_then(|text| text.parse::<i64>().ok());
    if syntax == Syntax::Number
        && let (Some(value), Some(bound)) = (number(value), number(bound))
    {
        return value.cmp(&bound);
    }
    (*fold(value, syntax)).cmp(bound)
}

fn has_parts(value: &[u8], first: &Folded, middle: &[Folded], last: &Folded) -> bool {
    let Some(rest) = value.strip_prefix(first.0.as_slice()) else {
        return false;
    };
    let Some(mut rest) = rest.strip_suffix(last.0.as_slice()) else {
        return false;
    };
    middle.iter().all(|Folded(part)| {
        let place = rest.windows(part.len().max(1)).position(|window| window == part.as_slice());
        place.is_some_and(|place| {
            rest = &rest[place + part.len()..];
            true
        })
    })
}
