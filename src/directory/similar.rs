//! Names that resemble a name which was not found, for "did you mean".

use ldap3::Scope;

use super::query::Query;
use super::{Assertion, DirectoryError, Session};
use crate::model::{Dn, GroupName};

/// Most names in a suggestion.
const SUGGESTED: usize = 3;

/// Shorter parts of a name occur in many names.
const SHORTEST: usize = 3;

impl Session {
    /// Returns the names of groups that share a part of a name, the most similar first.
    pub(super) async fn similar_groups(
        &mut self,
        name: &GroupName,
    ) -> Result<Vec<String>, DirectoryError> {
        let wanted = name.name();
        let parts = wanted
            .split(|c: char| !c.is_alphanumeric())
            .filter(|part| part.chars().count() >= SHORTEST)
            .map(|part| part.chars().take(SHORTEST).collect::<String>());
        let parts: Vec<Assertion> = parts.map(|part| Assertion::contains("cn", &part)).collect();
        if parts.is_empty() {
            return Ok(Vec::new());
        }
        let filter =
            Assertion::all([Assertion::raw("(objectCategory=group)"), Assertion::any(parts)]);
        let base = self.root.default_naming_context.clone();
        self.similar(&Query::new(&base, Scope::Subtree, filter.as_str(), &[]), wanted).await
    }

    /// Returns the OUs beside a missing one.
    pub(super) async fn similar_containers(
        &mut self,
        base: &str,
    ) -> Result<Vec<String>, DirectoryError> {
        let dn = Dn::new(base);
        let Some(parent) = dn.parent() else { return Ok(Vec::new()) };
        let ou = "(|(objectClass=organizationalUnit)(objectClass=container))";
        let query = Query::new(parent.as_str(), Scope::OneLevel, ou, &[]);
        let names = self.similar(&query, &dn.name()).await?;
        Ok(names.into_iter().map(|name| format!("OU={name},{}", parent.as_str())).collect())
    }

    async fn similar(
        &mut self,
        query: &Query<'_>,
        wanted: &str,
    ) -> Result<Vec<String>, DirectoryError> {
        // A missing parent has no entries.
        let found = self.objects(query).await.unwrap_or_default();
        let mut names: Vec<String> = found.iter().map(|o| Dn::new(o.dn.as_str()).name()).collect();
        let wanted = wanted.to_lowercase();
        names.retain(|name| distance(&name.to_lowercase(), &wanted) <= wanted.chars().count() / 2);
        names.sort_by_key(|name| distance(&name.to_lowercase(), &wanted));
        names.truncate(SUGGESTED);
        Ok(names)
    }
}

/// Returns the number of edits between two texts (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distance_of_two_names_is_the_number_of_their_edits() {
        for (a, b, edits) in [
            ("roster pro", "roster pro", 0),
            ("roster por", "roster pro", 2),
            ("rooster pro", "roster pro", 1),
            ("", "pro", 3),
        ] {
            assert_eq!(distance(a, b), edits, "{a} {b}");
        }
    }
}
