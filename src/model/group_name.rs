//! The names of configured groups.

use super::dn::Dn;
use super::ids::DirectoryName;

/// The configured name of a group: a sAMAccountName, cn or distinguished name, with the name of
/// another directory before it where the group is in that one (`corp:Roster Pro`).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct GroupName {
    /// The configured text.
    text: String,
    /// The directory that has the group; `None` for the directory of its people.
    directory: Option<DirectoryName>,
}

impl GroupName {
    pub fn parse(text: &str) -> Self {
        // A distinguished name has no directory name before a colon, because of its "=".
        let prefix = text.split_once(':').and_then(|(prefix, _)| DirectoryName::parse(prefix));
        Self { text: text.to_owned(), directory: prefix }
    }

    /// Returns the directory before the name.
    pub fn directory(&self) -> Option<&DirectoryName> {
        self.directory.as_ref()
    }

    /// Returns the name within its directory.
    pub fn name(&self) -> &str {
        match &self.directory {
            Some(_) => self.text.split_once(':').map_or("", |(_, name)| name.trim()),
            None => &self.text,
        }
    }

    /// Returns whether the name may be a DN. A name with `=` may be either, and AD decides.
    pub fn may_be_dn(&self) -> bool {
        self.name().contains('=')
    }

    /// Returns whether the name is outdated: a name after the group was renamed, a DN after it was
    /// moved.
    pub fn is_outdated(&self, was: &Dn, is: &Dn) -> bool {
        if self.may_be_dn() && Dn::new(self.name()) == *was {
            was != is
        } else {
            was.name() != is.name()
        }
    }

    /// Returns the configured text.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_name_may_begin_with_a_directory() {
        for (text, directory, name) in [
            ("Roster Pro", None, "Roster Pro"),
            ("corp:Roster Pro", Some("corp"), "Roster Pro"),
            ("corp: CN=Pro,OU=Groups,DC=corp", Some("corp"), "CN=Pro,OU=Groups,DC=corp"),
            ("CN=a:b,DC=corp", None, "CN=a:b,DC=corp"),
            ("Team Red: Pro", None, "Team Red: Pro"),
        ] {
            let parsed = GroupName::parse(text);
            assert_eq!(parsed.directory().map(DirectoryName::as_str), directory, "{text}");
            assert_eq!((parsed.name(), parsed.as_str()), (name, text));
        }
    }
}
