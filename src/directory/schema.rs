//! The schema, asked whether attributes exist: AD takes a filter on one that does not, and finds nobody.

use std::collections::BTreeSet;

use ldap3::Scope;

use super::session::Query;
use super::{Assertion, DirectoryError, Object, Session};

/// Every schema has it: where it is not found, the schema cannot be read.
const SURE: &str = "objectGUID";

/// Syntaxes of attributes whose values name objects (MS-ADTS 3.1.1.2.2.2): DN, DN with text, DN with bytes.
const NAMING: [&str; 3] = ["2.5.5.1", "2.5.5.14", "2.5.5.7"];

/// Facts of the schema about some attributes.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Schema {
    /// Those that it does not have.
    pub unknown: BTreeSet<String>,
    /// Those whose values name other objects.
    pub links: BTreeSet<String>,
}

impl Session {
    /// Asks the schema about these attributes; `None` where the schema cannot be read.
    pub async fn schema_of<'a>(
        &mut self,
        names: impl IntoIterator<Item = &'a str>,
    ) -> Result<Option<Schema>, DirectoryError> {
        // An OID may stand for an attribute, too, and says by itself that somebody looked it up.
        let names: BTreeSet<&str> = names.into_iter().filter(|name| !name.contains('.')).collect();
        let wanted = Assertion::any(
            names
                .iter()
                .copied()
                .chain([SURE])
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
        if !known.contains(&SURE.to_ascii_lowercase()) {
            return Ok(None);
        }
        let names_objects =
            |o: &&Object| o.text("attributeSyntax").is_some_and(|syntax| NAMING.contains(&syntax));
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
