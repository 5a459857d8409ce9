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
    /// The logon name of before Windows 2000; unique in a domain (MS-ADA3 2.222).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sam_account_name: Option<String>,
    /// The logon name in the form of an address; unique in a forest (MS-ADA3 2.349).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_principal_name: Option<String>,
}

impl Profile {
    /// The names of the fields, in the order of [`fields`](Self::fields).
    pub const NAMES: [&'static str; 10] = [
        "display-name",
        "given-name",
        "surname",
        "title",
        "department",
        "phone",
        "employee-id",
        "manager",
        "sam-account-name",
        "user-principal-name",
    ];

    /// Sets the field of this name.
    pub fn set(&mut self, name: &str, value: &str) {
        let Self {
            display_name,
            given_name,
            surname,
            title,
            department,
            phone,
            employee_id,
            manager,
            sam_account_name,
            user_principal_name,
        } = self;
        let fields = [
            display_name,
            given_name,
            surname,
            title,
            department,
            phone,
            employee_id,
            manager,
            sam_account_name,
            user_principal_name,
        ];
        if let Some((_, field)) =
            Self::NAMES.into_iter().zip(fields).find(|(known, _)| *known == name)
        {
            *field = Some(value.to_owned());
        }
    }

    /// Takes over the value of one field from another profile.
    pub fn take_over(&mut self, field: &str, other: &Self) {
        let Self {
            display_name,
            given_name,
            surname,
            title,
            department,
            phone,
            employee_id,
            manager,
            sam_account_name,
            user_principal_name,
        } = self;
        match field {
            "display-name" => display_name.clone_from(&other.display_name),
            "given-name" => given_name.clone_from(&other.given_name),
            "surname" => surname.clone_from(&other.surname),
            "title" => title.clone_from(&other.title),
            "department" => department.clone_from(&other.department),
            "phone" => phone.clone_from(&other.phone),
            "employee-id" => employee_id.clone_from(&other.employee_id),
            "manager" => manager.clone_from(&other.manager),
            "sam-account-name" => sam_account_name.clone_from(&other.sam_account_name),
            "user-principal-name" => user_principal_name.clone_from(&other.user_principal_name),
            _ => {}
        }
    }

    /// The fields in a fixed order, with the names used in configuration and output.
    pub fn fields(&self) -> [(&'static str, Option<&str>); 10] {
        let Self {
            display_name,
            given_name,
            surname,
            title,
            department,
            phone,
            employee_id,
            manager,
            sam_account_name,
            user_principal_name,
        } = self;
        [
            ("display-name", display_name.as_deref()),
            ("given-name", given_name.as_deref()),
            ("surname", surname.as_deref()),
            ("title", title.as_deref()),
            ("department", department.as_deref()),
            ("phone", phone.as_deref()),
            ("employee-id", employee_id.as_deref()),
            ("manager", manager.as_deref()),
            ("sam-account-name", sam_account_name.as_deref()),
            ("user-principal-name", user_principal_name.as_deref()),
        ]
    }

    /// The profile without logon names.
    fn without_logon_names(&self) -> Self {
        Self { sam_account_name: None, user_principal_name: None, ..self.clone() }
    }

    /// Returns this profile with the sAMAccountName of `before` where it shows none. Everybody has one, so its absence means
    /// that it could not be read, and hooks find people by it.
    #[must_use]
    pub fn keeping_logon_name(&self, before: &Self) -> Self {
        Self {
            sam_account_name: self
                .sam_account_name
                .clone()
                .or_else(|| before.sam_account_name.clone()),
            ..self.clone()
        }
    }

    /// Whether this is `before` with logon names that were not kept yet. Everybody has a sAMAccountName, so a user without
    /// one was last read by a version that did not ask for it, or without the right to read it.
    pub fn only_learns_logon_names(&self, before: &Self) -> bool {
        before.sam_account_name.is_none()
            && self.sam_account_name.is_some()
            && self.without_logon_names() == before.without_logon_names()
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
    pub several:
        Option<Box<std::collections::BTreeMap<&'static str, std::collections::BTreeSet<String>>>>,
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
    fn a_logon_name_is_learnt_and_kept_and_only_learning_it_is_no_news() {
        let profile = |sam: Option<&str>, title: &str| Profile {
            sam_account_name: sam.map(str::to_owned),
            title: Some(title.to_owned()),
            ..Profile::default()
        };
        let (unknown, known) = (profile(None, "Clerk"), profile(Some("ann"), "Clerk"));
        assert!(known.only_learns_logon_names(&unknown));
        assert!(
            !profile(Some("ann"), "Chief").only_learns_logon_names(&unknown),
            "the title is news"
        );
        assert!(
            !profile(Some("ann.lee"), "Clerk").only_learns_logon_names(&known),
            "another name is news"
        );
        assert!(!unknown.only_learns_logon_names(&known));
        assert_eq!(unknown.keeping_logon_name(&known), known, "unreadable is not gone");
    }

    #[test]
    fn both_values_of_never_mean_never() {
        assert_eq!(Expiry::from_filetime(0), Expiry::Never);
        assert_eq!(Expiry::from_filetime(i64::MAX), Expiry::Never);
        assert!(matches!(Expiry::from_filetime(133_801_632_000_000_000), Expiry::At(_)));
    }
}
