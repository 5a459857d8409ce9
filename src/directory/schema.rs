//! The schema, asked whether attributes exist: AD takes a filter on one that does not, and finds nobody.

use std::collections::BTreeSet;

use ldap3::Scope;

use super::session::Query;
use super::{Assertion, DirectoryError, Session};

/// Every schema has it: where it is not found, the schema cannot be read.
const SURE: &str = "objectGUID";

impl Session {
    /// Which of these attributes the schema does not have; `None` where the schema cannot be read.
    pub async fn unknown_attributes<'a>(
        &mut self,
        names: impl IntoIterator<Item = &'a str>,
    ) -> Result<Option<BTreeSet<String>>, DirectoryError> {
        // An OID may stand for an attribute, too, and says by itself that somebody looked it up.
        let names: BTreeSet<&str> = names.into_iter().filter(|name| !name.contains('.')).collect();
        let wanted = Assertion::any(names.iter().copied().chain([SURE]).map(|name| Assertion::equals("lDAPDisplayName", name)));
        let filter = Assertion::all([Assertion::raw("(objectClass=attributeSchema)"), wanted]);
        let base = self.root.schema_naming_context.clone();
        let shown = ["lDAPDisplayName".to_owned()];
        let found = match self.objects(&Query::new(&base, Scope::OneLevel, filter.as_str(), &shown)).await {
            Ok(found) => found,
            Err(DirectoryError::Search { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let known: BTreeSet<String> = found.iter().filter_map(|o| o.text("lDAPDisplayName")).map(str::to_ascii_lowercase).collect();
        if !known.contains(&SURE.to_ascii_lowercase()) {
            return Ok(None);
        }
        Ok(Some(names.into_iter().filter(|name| !known.contains(&name.to_ascii_lowercase())).map(str::to_owned).collect()))
    }
}
