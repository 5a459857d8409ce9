//! Choices: attributes that show several values although one is needed.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Address, Field, Profile};

/// The values of attributes that show several although one is needed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Choices {
    pub(super) addresses: BTreeSet<Address>,
    /// The values of profile attributes, by name.
    pub(super) profile: BTreeMap<&'static str, BTreeSet<String>>,
}

impl Choices {
    pub(super) fn keep_present(&self, present: &Profile, wanted: &mut Profile) {
        for (name, value) in present.fields() {
            let is_chosen =
                |value: &&str| self.profile.get(name).is_some_and(|values| values.contains(*value));
            if value.as_ref().is_some_and(is_chosen) {
                wanted.copy_field(name, present);
            }
        }
    }

    /// Returns the smallest usable address, else the smallest value, and all usable addresses.
    pub(super) fn first(
        field: &Field,
        is_usable: impl Fn(&Address) -> bool,
    ) -> (Field, BTreeSet<Address>) {
        let Field::Several(values) = field else { return (field.clone(), BTreeSet::new()) };
        let parsed: BTreeSet<Address> =
            values.iter().filter_map(|text| Address::parse(text).ok()).collect();
        let usable: BTreeSet<Address> =
            parsed.iter().filter(|address| is_usable(address)).cloned().collect();
        let first =
            usable.first().or_else(|| parsed.first()).map(|address| address.as_str().to_owned());
        let first = first.or_else(|| values.iter().min().cloned());
        (first.map_or(Field::Absent, Field::Text), usable)
    }
}
