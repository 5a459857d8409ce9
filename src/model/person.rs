//! A person: what one directory entry told us, before anything is concluded from it.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Dn, Guid, Timestamp};

/// `userAccountControl` (MS-ADTS 2.2.16).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UserAccountControl(pub i32);

impl UserAccountControl {
    /// ADS_UF_ACCOUNTDISABLE.
    const ACCOUNTDISABLE: i32 = 0x2;

    /// Whether the account is disabled.
    pub fn is_disabled(self) -> bool {
        self.0 & Self::ACCOUNTDISABLE != 0
    }
}

/// `accountExpires`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expiry {
    /// 0 or 9223372036854775807.
    Never,
    /// At this instant.
    At(Timestamp),
}

impl Expiry {
    /// From AD's ticks; both values that mean "never" do.
    pub fn from_filetime(ticks: i64) -> Self {
        match ticks {
            0 | i64::MAX => Self::Never,
            ticks => Self::At(Timestamp::from_filetime(ticks)),
        }
    }
}

/// One text attribute as it came.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Field {
    /// Not in the entry: empty, or not readable.
    #[default]
    Absent,
    /// Its value.
    Text(String),
    /// Its values, where the attribute has several, in the order they came.
    Several(Vec<String>),
    /// It has a value that is no UTF-8 text.
    Malformed,
}

/// Where an entry stands towards the configured scope, as AD itself answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Placement {
    /// AD returned it for base and filter.
    Inside,
    /// Outside, for a reason that could be read.
    Outside {
        /// The attribute that puts it outside: a filter attribute, or `distinguishedName`.
        attribute: String,
        /// The value read.
        value: String,
    },
    /// AD did not return it, but nothing visible says why.
    Unknown,
}

/// The attributes that describe a user to others. None of them decides anything.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Profile {
    /// Name to show.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// First name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub given_name: Option<String>,
    /// Family name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub surname: Option<String>,
    /// Job title.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Department.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub department: Option<String>,
    /// Telephone number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phone: Option<String>,
    /// Number in the personnel system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub employee_id: Option<String>,
    /// The manager's distinguished name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manager: Option<String>,
}

impl Profile {
    /// The names of the fields, in the order of [`fields`](Self::fields).
    pub const NAMES: [&'static str; 8] =
        ["display-name", "given-name", "surname", "title", "department", "phone", "employee-id", "manager"];

    /// Sets the field of this name.
    pub fn set(&mut self, name: &str, value: &str) {
        let Self { display_name, given_name, surname, title, department, phone, employee_id, manager } = self;
        let fields = [display_name, given_name, surname, title, department, phone, employee_id, manager];
        if let Some((_, field)) = Self::NAMES.into_iter().zip(fields).find(|(known, _)| *known == name) {
            *field = Some(value.to_owned());
        }
    }

    /// The fields in a fixed order, with the names used in configuration and output.
    pub fn fields(&self) -> [(&'static str, Option<&str>); 8] {
        let Self { display_name, given_name, surname, title, department, phone, employee_id, manager } = self;
        [
            ("display-name", display_name.as_deref()),
            ("given-name", given_name.as_deref()),
            ("surname", surname.as_deref()),
            ("title", title.as_deref()),
            ("department", department.as_deref()),
            ("phone", phone.as_deref()),
            ("employee-id", employee_id.as_deref()),
            ("manager", manager.as_deref()),
        ]
    }
}

/// One entry of the directory that is a person.
///
/// `None` in a field that everybody has means that it could not be read: unknown, never a default.
#[derive(Clone, PartialEq, Eq)]
pub struct Person {
    /// Who it is.
    pub guid: Guid,
    /// Where it stands.
    pub dn: Dn,
    /// Whether base and filter hold it.
    pub placement: Placement,
    /// Its account control bits.
    pub control: Option<UserAccountControl>,
    /// When it expires.
    pub expires: Option<Expiry>,
    /// The groups of the closure it is known to be in: by `memberOf` or by its primary group. Sorted.
    pub groups: Vec<Guid>,
    /// Whether `primaryGroupID` could not be read, so that the groups may not be all.
    pub groups_unknown: bool,
    /// Its primary address.
    pub mail: Field,
    /// Its `proxyAddresses`, as they came; values that are no text are left out.
    pub proxy_addresses: Vec<String>,
    /// The rest, of several values the smallest.
    pub profile: Profile,
    /// The values of attributes of the profile that have several, by name; of nearly everybody there are none.
    pub several: Option<Box<std::collections::BTreeMap<&'static str, std::collections::BTreeSet<String>>>>,
}

/// What is left of an entry that cannot be used: its name or some attribute is broken. What it shows of the account's state is
/// still something that was seen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Broken {
    /// Where it stands, as far as that can be told.
    pub dn: Dn,
    /// Its account control bits.
    pub control: Option<UserAccountControl>,
    /// When it expires.
    pub expires: Option<Expiry>,
}

impl fmt::Debug for Person {
    /// By identity alone: addresses and names stay out of logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Person").field("guid", &self.guid).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disabled_is_one_bit_and_not_a_number() {
        let table = [
            (512, false),
            (514, true),
            (66048, false),
            (66050, true),
            (0x10222, true),
            (-2_147_483_646, true),
            (16, false),
            (0x80_0000, false),
        ];
        for (value, disabled) in table {
            assert_eq!(UserAccountControl(value).is_disabled(), disabled, "{value}");
        }
    }

    #[test]
    fn both_values_of_never_mean_never() {
        assert_eq!(Expiry::from_filetime(0), Expiry::Never);
        assert_eq!(Expiry::from_filetime(i64::MAX), Expiry::Never);
        assert!(matches!(Expiry::from_filetime(133_801_632_000_000_000), Expiry::At(_)));
    }
}
