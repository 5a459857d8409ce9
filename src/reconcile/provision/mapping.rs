//! The mapping: which attributes an account gets, and what a user makes of them.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value, json};
use unicode_normalization::UnicodeNormalization as _;

use super::resource::{ENTERPRISE_USER, Resource, USER, find, text_of};
use crate::model::{Handle, Profile, User, UserId};

/// The names of all fields that a template may contain, beside those of the profile.
const OWN_FIELDS: [&str; 5] = ["user-id", "object-guid", "primary-email", "tier", "account"];

/// Attributes that only rosterd or the target sets.
const RESERVED: [&str; 6] = ["active", "id", "meta", "schemas", "password", "groups"];

/// Attributes of a user that have several values (RFC 7643, 4.1.2).
const MULTI_VALUED: [&str; 7] =
    ["emails", "phoneNumbers", "ims", "photos", "entitlements", "roles", "x509Certificates"];

/// The place of a value in a resource.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct AttributePath {
    /// The schema of an extension; `None` for the core schema.
    schema: Option<String>,
    attribute: String,
    part: Part,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
enum Part {
    /// The attribute has one value.
    Single,
    /// The value is a sub-attribute.
    Sub(String),
    /// The attribute is a list with this value alone, of this type.
    Multi(Option<String>),
}

/// The reason why a mapping is invalid, with its remedy.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum MappingError {
    #[error(
        "\"{0}\" is not an attribute: write title, name.givenName, emails[work] or enterprise.department, for example"
    )]
    Path(String),
    #[error("{0} is not for the mapping: rosterd sets active, and the target sets the others")]
    Reserved(String),
    #[error("a field in \"{0}\" has no closing brace: write {{display-name}}, for example")]
    Brace(String),
    #[error("there is no field {0}: did you mean {1}?")]
    Misspelt(String, &'static str),
    #[error("there is no field {0}: write one of {list}", list = fields().join(", "))]
    Field(String),
    #[error("there is no function {0}: write :local, :domain or :lower behind the name of a field")]
    Function(String),
}

impl AttributePath {
    pub fn parse(text: &str) -> Result<Self, MappingError> {
        let bad = || MappingError::Path(text.to_owned());
        let (schema, rest) = if let Some(rest) = text.strip_prefix("enterprise.") {
            (Some(ENTERPRISE_USER.to_owned()), rest)
        } else if text.to_ascii_lowercase().starts_with("urn:") {
            let (schema, rest) = text.rsplit_once(':').ok_or_else(bad)?;
            // A version, such as 2.0, belongs to the schema: the last part names the attribute.
            (Some(schema.to_owned()).filter(|schema| !schema.eq_ignore_ascii_case(USER)), rest)
        } else {
            (None, text)
        };
        let (attribute, part) = if let Some((attribute, kind)) =
            rest.strip_suffix(']').and_then(|rest| rest.split_once('['))
        {
            (attribute, Part::Multi(Some(kind.to_owned())))
        } else if let Some((attribute, sub)) = rest.split_once('.') {
            (attribute, Part::Sub(sub.to_owned()))
        } else if schema.is_none() && MULTI_VALUED.iter().any(|m| m.eq_ignore_ascii_case(rest)) {
            (rest, Part::Multi(None))
        } else {
            (rest, Part::Single)
        };
        let inner = match &part {
            Part::Sub(text) | Part::Multi(Some(text)) => text.as_str(),
            Part::Single | Part::Multi(None) => "x",
        };
        // RFC 7643, 2.1: ATTRNAME begins with a letter.
        let is_name = |text: &str| {
            text.starts_with(|c: char| c.is_ascii_alphabetic())
                && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
        };
        if !is_name(attribute) || !is_name(inner) {
            return Err(bad());
        }
        if schema.is_none() && RESERVED.iter().any(|r| r.eq_ignore_ascii_case(attribute)) {
            return Err(MappingError::Reserved(attribute.to_owned()));
        }
        Ok(Self { schema, attribute: attribute.to_owned(), part })
    }

    pub fn schema(&self) -> Option<&str> {
        self.schema.as_deref()
    }

    /// Returns the name of the attribute, without a sub-attribute.
    pub fn attribute(&self) -> &str {
        &self.attribute
    }

    /// Returns the sub-attribute.
    pub fn sub_attribute(&self) -> Option<&str> {
        match &self.part {
            Part::Sub(sub) => Some(sub),
            Part::Single | Part::Multi(_) => None,
        }
    }

    /// Returns whether a value of this path replaces the value of the other one.
    pub fn overlaps(&self, other: &Self) -> bool {
        let is_same = self.schema.as_deref().map(str::to_ascii_lowercase)
            == other.schema.as_deref().map(str::to_ascii_lowercase)
            && self.attribute.eq_ignore_ascii_case(&other.attribute);
        match (&self.part, &other.part) {
            (Part::Sub(one), Part::Sub(another)) => is_same && one.eq_ignore_ascii_case(another),
            _ => is_same,
        }
    }

    /// Returns the `path` of a PATCH operation: the whole attribute where it has several values,
    /// because a value path fails where no value matches it.
    pub fn patch_path(&self) -> String {
        let schema = self.schema.as_ref().map_or_else(String::new, |schema| format!("{schema}:"));
        match &self.part {
            Part::Single | Part::Multi(_) => format!("{schema}{}", self.attribute),
            Part::Sub(sub) => format!("{schema}{}.{sub}", self.attribute),
        }
    }

    /// Returns the JSON value that holds a text at this path.
    pub fn value(&self, text: &str) -> Value {
        match &self.part {
            Part::Single | Part::Sub(_) => json!(text),
            Part::Multi(None) => json!([{ "value": text }]),
            Part::Multi(Some(kind)) => json!([{ "value": text, "type": kind, "primary": true }]),
        }
    }

    /// Writes a value into a resource, or removes it.
    pub fn write(&self, resource: &mut Map<String, Value>, text: Option<&str>) {
        let object = match &self.schema {
            None => resource,
            Some(schema) => match entry(resource, schema, text.is_some()) {
                Some(object) => object,
                None => return,
            },
        };
        let (object, name) = match &self.part {
            Part::Single | Part::Multi(_) => (object, self.attribute.as_str()),
            Part::Sub(sub) => match entry(object, &self.attribute, text.is_some()) {
                Some(object) => (object, sub.as_str()),
                None => return,
            },
        };
        object.retain(|key, _| !key.eq_ignore_ascii_case(name));
        if let Some(text) = text {
            object.insert(name.to_owned(), self.value(text));
        }
    }

    /// Reads the text at this path. A list gives the value of the type, or its only value.
    pub fn read(&self, resource: &Resource) -> Option<String> {
        let object = match &self.schema {
            None => &resource.0,
            Some(schema) => find(&resource.0, schema)?.as_object()?,
        };
        let value = find(object, &self.attribute)?;
        match &self.part {
            Part::Single => text_of(value),
            Part::Sub(sub) => text_of(find(value.as_object()?, sub)?),
            Part::Multi(kind) => {
                let items = value.as_array()?;
                let has_type = |item: &&Value| {
                    let its = item.as_object().and_then(|item| find(item, "type"));
                    match (kind, its.and_then(Value::as_str)) {
                        (Some(kind), Some(its)) => kind.eq_ignore_ascii_case(its),
                        (None, _) | (_, None) => items.len() == 1,
                    }
                };
                text_of(find(items.iter().find(has_type)?.as_object()?, "value")?)
            }
        }
    }
}

/// Returns the object of a name, created on request.
fn entry<'a>(
    map: &'a mut Map<String, Value>,
    name: &str,
    create: bool,
) -> Option<&'a mut Map<String, Value>> {
    let key = map.keys().find(|key| key.eq_ignore_ascii_case(name)).cloned();
    let key = key.or_else(|| create.then(|| name.to_owned()))?;
    let value = map.entry(key).or_insert_with(|| json!({}));
    if create && !value.is_object() {
        *value = json!({});
    }
    value.as_object_mut()
}

impl fmt::Display for AttributePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.schema.as_deref() {
            Some(ENTERPRISE_USER) => f.write_str("enterprise.")?,
            Some(schema) => write!(f, "{schema}:")?,
            None => {}
        }
        match &self.part {
            Part::Single | Part::Multi(None) => f.write_str(&self.attribute),
            Part::Sub(sub) => write!(f, "{}.{sub}", self.attribute),
            Part::Multi(Some(kind)) => write!(f, "{}[{kind}]", self.attribute),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Function {
    Whole,
    /// The text before the `@`.
    Local,
    /// The text behind the `@`.
    Domain,
    Lower,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Piece {
    Text(String),
    Field(&'static str, Function),
}

/// A text with fields of a user, such as `{given-name} {surname}`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Template(Vec<Piece>);

/// Returns the names of all fields.
pub fn fields() -> Vec<&'static str> {
    let profile = Profile::default();
    OWN_FIELDS.into_iter().chain(profile.fields().map(|(name, _)| name)).collect()
}

impl Template {
    /// Parses a template. `nearest` finds the field that a misspelt name probably means.
    pub fn parse(
        text: &str,
        nearest: impl Fn(&str) -> Option<&'static str>,
    ) -> Result<Self, MappingError> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            if !before.is_empty() {
                pieces.push(Piece::Text(before.to_owned()));
            }
            let (field, after) =
                after.split_once('}').ok_or_else(|| MappingError::Brace(text.to_owned()))?;
            let (name, function) = field.split_once(':').unwrap_or((field, ""));
            let function = match function {
                "" => Function::Whole,
                "local" => Function::Local,
                "domain" => Function::Domain,
                "lower" => Function::Lower,
                other => return Err(MappingError::Function(other.to_owned())),
            };
            let known = fields().into_iter().find(|known| *known == name);
            let known = known.ok_or_else(|| match nearest(name) {
                Some(near) => MappingError::Misspelt(name.to_owned(), near),
                None => MappingError::Field(name.to_owned()),
            })?;
            pieces.push(Piece::Field(known, function));
            rest = after;
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.to_owned()));
        }
        Ok(Self(pieces))
    }

    /// Returns the text; `None` if one of its fields is empty.
    fn text(&self, source: &Source<'_>) -> Option<String> {
        let mut text = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(piece) => text.push_str(piece),
                Piece::Field(name, function) => text.push_str(&source.field(name, *function)?),
            }
        }
        let text: String = text.trim().nfc().collect();
        Some(text).filter(|text| !text.is_empty())
    }
}

/// The values that templates take fields from.
struct Source<'a> {
    user: &'a User,
    account: &'a Handle,
    values: &'a BTreeMap<String, BTreeMap<String, String>>,
}

impl Source<'_> {
    fn field(&self, name: &str, function: Function) -> Option<String> {
        let User { id, tier, addresses, profile, link, .. } = self.user;
        let value = match name {
            "user-id" => id.to_string(),
            "object-guid" => link.as_ref()?.guid.to_string(),
            "primary-email" => addresses.primary.as_ref()?.to_string(),
            "tier" => tier.to_string(),
            "account" => self.account.to_string(),
            _ => {
                let fields = profile.fields();
                fields.into_iter().find(|(known, _)| *known == name)?.1?.to_owned()
            }
        };
        let value = match self.values.get(name).and_then(|table| table.get(&value)) {
            Some(replaced) => replaced.clone(),
            None => value,
        };
        let value = match function {
            Function::Whole => value,
            Function::Local => value.rsplit_once('@')?.0.to_owned(),
            Function::Domain => value.rsplit_once('@')?.1.to_owned(),
            Function::Lower => value.to_lowercase(),
        };
        Some(value).filter(|value| !value.trim().is_empty())
    }
}

/// The mapping of a target.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mapping {
    /// The attributes, each with its template. No two overlap.
    pub attributes: Vec<(AttributePath, Template)>,
    /// For each field, the texts that replace its values.
    pub values: BTreeMap<String, BTreeMap<String, String>>,
}

/// The shipped mapping.
pub const DEFAULT_MAPPING: [(&str, &str); 11] = [
    ("userName", "{primary-email}"),
    ("externalId", "{user-id}"),
    ("displayName", "{display-name}"),
    ("name.formatted", "{display-name}"),
    ("name.givenName", "{given-name}"),
    ("name.familyName", "{surname}"),
    ("emails[work]", "{primary-email}"),
    ("phoneNumbers[work]", "{phone}"),
    ("title", "{title}"),
    ("enterprise.department", "{department}"),
    ("enterprise.employeeNumber", "{employee-id}"),
];

/// The reason why a user has no account.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unfit {
    /// The mapping gives no `userName`.
    NoUserName,
}

/// The attributes that an account should have.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wanted {
    pub user: UserId,
    pub user_name: String,
    pub external_id: Option<String>,
    /// All mapped attributes in the order of the mapping; `None` is unassigned.
    pub attributes: Vec<(AttributePath, Option<String>)>,
}

/// The version of fingerprints. A change of it sends all attributes of all users again.
const FINGERPRINT_VERSION: &str = "rosterd account v1";

impl Mapping {
    /// Returns the account of a user.
    pub fn wanted(&self, user: &User, account: &Handle) -> Result<Wanted, Unfit> {
        let source = Source { user, account, values: &self.values };
        let attributes: Vec<_> =
            self.attributes.iter().map(|(path, text)| (path.clone(), text.text(&source))).collect();
        let of = |name: &str| {
            let is_it = |path: &AttributePath| {
                path.schema.is_none() && path.attribute.eq_ignore_ascii_case(name)
            };
            attributes.iter().find(|(path, _)| is_it(path)).and_then(|(_, text)| text.clone())
        };
        let (user_name, external_id) = (of("userName").ok_or(Unfit::NoUserName)?, of("externalId"));
        Ok(Wanted { user: user.id, user_name, external_id, attributes })
    }

    /// Returns the fingerprint of the mapped attributes as a target shows them.
    pub fn echo(&self, resource: &Resource) -> u64 {
        fingerprint(self.attributes.iter().map(|(path, _)| (path, path.read(resource))))
    }
}

impl Wanted {
    /// Returns the address by which accounts are matched.
    pub fn email(&self) -> Option<&str> {
        let is_email = |path: &AttributePath| {
            path.schema.is_none() && path.attribute.eq_ignore_ascii_case("emails")
        };
        self.attributes.iter().find(|(path, _)| is_email(path))?.1.as_deref()
    }

    /// Returns the number by which the account is recognised from one request to the next. It is
    /// equal in all builds, because it is stored.
    pub fn fingerprint(&self) -> u64 {
        fingerprint(self.attributes.iter().map(|(path, text)| (path, text.clone())))
    }
}

impl AttributePath {
    /// Returns whether this is `userName`, which has a request of its own.
    pub fn is_user_name(&self) -> bool {
        self.schema.is_none() && self.attribute.eq_ignore_ascii_case("userName")
    }
}

/// Returns the resource of a creation. Unassigned attributes are left out.
pub(super) fn resource(attributes: &[(AttributePath, Option<String>)]) -> Map<String, Value> {
    let mut resource = Map::new();
    let mut schemas = vec![USER];
    for (path, text) in attributes {
        let Some(text) = text else { continue };
        path.write(&mut resource, Some(text));
        if let Some(schema) = path.schema()
            && !schemas.contains(&schema)
        {
            schemas.push(schema);
        }
    }
    resource.insert("active".to_owned(), json!(true));
    resource.insert("schemas".to_owned(), json!(schemas));
    resource
}

fn fingerprint<'a>(attributes: impl Iterator<Item = (&'a AttributePath, Option<String>)>) -> u64 {
    // Sorted, so that the order of the file does not matter.
    let texts: BTreeMap<String, Option<String>> =
        attributes.map(|(path, text)| (path.to_string(), text)).collect();
    xxhash_rust::xxh3::xxh3_64(json!([FINGERPRINT_VERSION, texts]).to_string().as_bytes())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::model::{
        AccountId, Address, Addresses, Causes, ObservationNumber, Profile, Standing, Tier,
        Timestamp,
    };

    fn path(text: &str) -> AttributePath {
        AttributePath::parse(text).unwrap_or_else(|error| panic!("{error}"))
    }

    fn mapping(attributes: &[(&str, &str)]) -> Mapping {
        let attribute =
            |(name, text): &(&str, &str)| (path(name), Template::parse(text, |_| None).unwrap());
        Mapping { attributes: attributes.iter().map(attribute).collect(), values: BTreeMap::new() }
    }

    fn anna() -> User {
        let profile = Profile {
            // A decomposed "ü".
            display_name: Some("Anna Mu\u{308}".to_owned()),
            department: Some(" ".to_owned()),
            ..Profile::default()
        };
        User {
            id: UserId(uuid::Uuid::from_u128(7)),
            account: AccountId(uuid::Uuid::nil()),
            standing: Standing::Active,
            tier: Tier::Pro,
            addresses: Addresses {
                primary: Some(Address::parse("Anna@Example.com").unwrap()),
                secondary: BTreeSet::new(),
            },
            profile,
            link: None,
            causes: Causes::default(),
            overrides: BTreeSet::new(),
            note: None,
            version: 1,
            observed_from: ObservationNumber(0),
            invited_at: None,
            joined_at: None,
            created_at: Timestamp(0),
            updated_at: Timestamp(0),
        }
    }

    fn texts(mapping: &Mapping) -> Result<Vec<Option<String>>, Unfit> {
        let wanted = mapping.wanted(&anna(), &Handle::parse("acme").unwrap())?;
        Ok(wanted.attributes.into_iter().map(|(_, text)| text).collect())
    }

    #[test]
    fn a_template_takes_fields_and_an_empty_field_unassigns_its_attribute() {
        let mut mapping = mapping(&[
            ("userName", "{primary-email:local}"),
            ("displayName", "{display-name}"),
            ("title", "{account}/{tier} at {primary-email:domain}"),
            ("enterprise.department", "{department}, {account}"),
            ("nickName", "{object-guid}"),
            ("locale", "en"),
        ]);
        let tiers = BTreeMap::from([("pro".to_owned(), "Pro licence".to_owned())]);
        mapping.values.insert("tier".to_owned(), tiers);
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(
            texts(&mapping),
            Ok(vec![
                text("Anna"),
                text("Anna M\u{fc}"),
                text("acme/Pro licence at example.com"),
                None,
                None,
                text("en"),
            ])
        );
    }

    #[test]
    fn a_user_without_a_user_name_has_no_account() {
        assert_eq!(texts(&mapping(&[("userName", "{phone}")])), Err(Unfit::NoUserName));
    }

    #[test]
    fn a_path_is_written_and_read_at_its_place() {
        for (text, resource) in [
            ("title", json!({ "title": "x" })),
            ("name.givenName", json!({ "name": { "givenName": "x" } })),
            (
                "emails[work]",
                json!({ "emails": [{ "value": "x", "type": "work", "primary": true }] }),
            ),
            ("phoneNumbers", json!({ "phoneNumbers": [{ "value": "x" }] })),
            ("enterprise.department", json!({ ENTERPRISE_USER: { "department": "x" } })),
            ("urn:example:1.0:App:seat", json!({ "urn:example:1.0:App": { "seat": "x" } })),
        ] {
            let mut written = Map::new();
            path(text).write(&mut written, Some("x"));
            assert_eq!(Value::from(written.clone()), resource, "{text}");
            assert_eq!(path(text).read(&Resource(written.clone())), Some("x".to_owned()), "{text}");
            assert_eq!(path(text).to_string(), text);
            path(text).write(&mut written, None);
            assert_eq!(path(text).read(&Resource(written)), None, "{text}");
        }
        let several = json!({ "Emails": [{ "value": "h", "type": "Home" }, { "value": "w", "type": "Work" }] });
        let several = Resource(several.as_object().unwrap().clone());
        assert_eq!(path("emails[work]").read(&several), Some("w".to_owned()));
        assert_eq!(path("emails").read(&several), None, "several values are not one text");
    }

    #[test]
    fn a_path_that_names_no_attribute_of_a_mapping_is_refused() {
        for bad in ["", "1x", "a b", "emails[]", "emails[work", "name.", "active", "ID", "meta"] {
            assert!(AttributePath::parse(bad).is_err(), "{bad}");
        }
        assert!(path("emails[work]").overlaps(&path("Emails")));
        assert!(!path("name.givenName").overlaps(&path("name.familyName")));
    }

    #[test]
    fn a_fingerprint_is_equal_in_all_builds_and_changes_with_each_text() {
        let attributes = [
            ("userName", "anna"),
            ("externalId", "{user-id}"),
            ("name.formatted", "{display-name}"),
            ("emails[work]", "anna@example.com"),
            ("enterprise.department", "{department}"),
        ];
        let wanted = |mapping: &Mapping| {
            mapping.wanted(&anna(), &Handle::parse("acme").unwrap()).unwrap().fingerprint()
        };
        let mut all = mapping(&attributes);
        assert_eq!(wanted(&all), 18_276_126_806_686_591_607);
        all.attributes.reverse();
        assert_eq!(wanted(&all), 18_276_126_806_686_591_607, "the order does not matter");
        all.attributes.pop();
        all.attributes.push((path("userName"), Template::parse("bob", |_| None).unwrap()));
        assert_ne!(wanted(&all), 18_276_126_806_686_591_607);
    }
}
