//! The capabilities of a target: declared in its `ServiceProviderConfig`, configured, or learned.

use super::resource::Resource;
use crate::model::words;

words! {
    /// The way to read a list in pages.
    pub enum Paging {
        /// The cursors of RFC 9865.
        Cursor = "cursor",
        /// `startIndex` (RFC 7644, 3.4.2.4).
        Index = "index",
        /// The target has one page, and ignores the parameters.
        None = "none",
    }
}

words! {
    /// A capability that an answer disproves.
    pub enum Lesson {
        /// PATCH is not supported: PUT.
        NoPatch = "no-patch",
        /// Filters are not supported: the list.
        NoFilter = "no-filter",
        /// `application/scim+json` is not supported: `application/json`.
        PlainJson = "plain-json",
    }
}

/// The `[target.quirks]`: capabilities that the configuration decides.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Quirks {
    pub patch: Option<bool>,
    pub filter: Option<bool>,
    pub paging: Option<Paging>,
    /// Whether the target shows the members of a group.
    pub members: Option<bool>,
    /// Whether the target shows `active`.
    pub active: Option<bool>,
    /// Whether the target takes `application/scim+json`.
    pub scim_json: Option<bool>,
}

/// The capabilities that a target declares; `None` where it does not say.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Declared {
    pub patch: Option<bool>,
    pub filter: Option<bool>,
    pub cursor: Option<bool>,
    pub index: Option<bool>,
}

impl Declared {
    /// Reads a `ServiceProviderConfig` field by field, because one that is absent says nothing about
    /// the others.
    pub fn read(config: &Resource) -> Self {
        Self {
            patch: config.flag("patch", "supported"),
            filter: config.flag("filter", "supported"),
            cursor: config.flag("pagination", "cursor"),
            index: config.flag("pagination", "index"),
        }
    }
}

/// The capabilities by which requests are made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is one capability of RFC 7643, section 5")]
pub struct Capabilities {
    pub patch: bool,
    pub filter: bool,
    pub paging: Paging,
    pub shows_members: bool,
    pub shows_active: bool,
    pub scim_json: bool,
}

impl Capabilities {
    /// Returns the capabilities of a target. A quirk overrules a declaration, and an undeclared
    /// capability is tried.
    pub fn of(declared: &Declared, quirks: &Quirks) -> Self {
        let paging = match (declared.cursor, declared.index) {
            (Some(true), _) => Paging::Cursor,
            _ => Paging::Index,
        };
        Self {
            patch: quirks.patch.or(declared.patch).unwrap_or(true),
            filter: quirks.filter.or(declared.filter).unwrap_or(true),
            paging: quirks.paging.unwrap_or(paging),
            shows_members: quirks.members.unwrap_or(true),
            shows_active: quirks.active.unwrap_or(true),
            scim_json: quirks.scim_json.unwrap_or(true),
        }
    }

    /// Applies what an answer showed, which is believed more than a declaration. Returns false for
    /// a lesson that was learned before.
    pub fn learn(&mut self, lesson: Lesson) -> bool {
        let capability = match lesson {
            Lesson::NoPatch => &mut self.patch,
            Lesson::NoFilter => &mut self.filter,
            Lesson::PlainJson => &mut self.scim_json,
        };
        std::mem::replace(capability, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declared(text: &str) -> Declared {
        Declared::read(&Resource::parse(text.as_bytes()).unwrap())
    }

    #[test]
    fn a_missing_field_of_the_provider_config_says_nothing_about_the_others() {
        let half = declared(
            r#"{"bulk":{},"patch":{"supported":true},"filter":{"supported":"False","maxResults":null}}"#,
        );
        assert_eq!(
            half,
            Declared { patch: Some(true), filter: Some(false), ..Declared::default() }
        );
        let none = Capabilities::of(&Declared::default(), &Quirks::default());
        assert!(none.patch && none.filter && none.paging == Paging::Index);
        let cursor = declared(r#"{"pagination":{"cursor":true,"index":false}}"#);
        assert_eq!(Capabilities::of(&cursor, &Quirks::default()).paging, Paging::Cursor);
    }

    #[test]
    fn a_quirk_overrules_a_declaration_and_an_answer_overrules_both() {
        let yes = Declared { patch: Some(false), ..Declared::default() };
        let quirks = Quirks { patch: Some(true), paging: Some(Paging::None), ..Quirks::default() };
        let mut capabilities = Capabilities::of(&yes, &quirks);
        assert!(capabilities.patch && capabilities.paging == Paging::None);
        assert!(capabilities.learn(Lesson::NoPatch) && !capabilities.learn(Lesson::NoPatch));
        assert!(!capabilities.patch && capabilities.filter);
    }
}
