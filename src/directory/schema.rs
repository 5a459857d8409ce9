//! Existence of attributes in the schema: AD accepts a filter on an unknown attribute, and nothing
//! matches.

use std::collections::BTreeSet;

use ldap3::Scope;

use super::query::Query;
use super::{Assertion, DirectoryError, Object, Session};

/// Attribute of every schema. If it is not found, the schema cannot be read.
const ALWAYS_DEFINED: &str = "objectGUID";

/// Syntaxes whose values are DNs (MS-ADTS 3.1.1.2.2.2): DN, DN with string, DN with binary.
const DN_SYNTAXES: [&str; 3] = ["2.5.5.1", "2.5.5.14", "2.5.5.7"];

/// Attributes of the configuration, compared with the schema.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Schema {
    /// Attributes that the schema lacks.
    pub unknown: BTreeSet<String>,
    /// Attributes whose values are DNs of other objects.
    pub links: BTreeSet<String>,
}

impl Session {
    /// Looks up attributes in the schema; `None` if the schema cannot be read.
    pub async fn schema_of<'a>(
        &mut self,
        names: impl IntoIterator<Item = &'a str>,
    ) -> Result<Option<Schema>, DirectoryError> {
        // An OID is a valid name of an attribute, and cannot be a typing error of a display name.
        let names: BTreeSet<&str> = names.into_iter().filter(|name| !name.contains('.')).collect();
        let wanted = Assertion::any(
            names
                .iter()
                .copied()
                .chain([ALWAYS_DEFINED])
                .map(|name| Assertion::equals("lDAPDisplayName", name)),
        );
        let filter = Assertion::all([Assertion::raw("(objectClass=attributeSchema)"), wanted]);
        let base = self.root.schema_naming_context.clone();
        let shown = ["lDAPDisplayName".to_owned(), "attributeSyntax".to_owned()];
        let found = match self
            .objects(&Query::new(&base, Scope::OneLevel, filter.as_str(), &shown))
            .await
        {
            Ok(found) => found,
            Err(DirectoryError::Search { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let known: BTreeSet<String> = found
            .iter()
            .filter_map(|o| o.text("lDAPDisplayName"))
            .map(str::to_ascii_lowercase)
            .collect();
        if !known.contains(&ALWAYS_DEFINED.to_ascii_lowercase()) {
            return Ok(None);
        }
        let names_objects = |o: &&Object| {
            o.text("attributeSyntax").is_some_and(|syntax| DN_SYNTAXES.contains(&syntax))
        };
        let links: BTreeSet<String> = found
            .iter()
            .filter(names_objects)
            .filter_map(|o| o.text("lDAPDisplayName"))
            .map(str::to_ascii_lowercase)
            .collect();
        let unknown = names
            .iter()
            .filter(|name| !known.contains(&name.to_ascii_lowercase()))
            .map(|name| (*name).to_owned());
        let links_of = names
            .iter()
            .filter(|name| links.contains(&name.to_ascii_lowercase()))
            .map(|name| (*name).to_owned());
        Ok(Some(Schema { unknown: unknown.collect(), links: links_of.collect() }))
    }
}
