//! Persons: the attributes of one directory entry as they were read.

use std::fmt;

use super::dn::Dn;
use super::ids::Guid;
use super::profile::Profile;
use super::sid::Sid;
use super::time::Timestamp;

/// `userAccountControl` (MS-ADTS 2.2.16).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UserAccountControl(pub i32);

impl UserAccountControl {
    const ACCOUNTDISABLE: i32 = 0x2;

    pub fn is_disabled(self) -> bool {
        self.0 & Self::ACCOUNTDISABLE != 0
    }
}

/// The value of accountExpires.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expiry {
    /// AD stores 0 or 9223372036854775807.
    Never,
    At(Timestamp),
}

impl Expiry {
    pub fn from_filetime(ticks: i64) -> Self {
        match ticks {
            0 | i64::MAX => Self::Never,
            ticks => Self::At(Timestamp::from_filetime(ticks)),
        }
    }
}

/// A text attribute as it was read.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Field {
    /// The attribute is empty, or not readable.
    #[default]
    Absent,
    Text(String),
    /// The values of an attribute with several, in the order of the server.
    Several(Vec<String>),
    /// A value is not UTF-8.
    Malformed,
}

/// The position of an entry towards base and filter, as AD answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Placement {
    Inside,
    /// A readable attribute puts the entry outside.
    Outside {
        /// A filter attribute, or `distinguishedName`.
        attribute: String,
        value: String,
    },
    /// AD did not return the entry, and no readable attribute says why.
    Unknown,
}

/// A person.
///
/// `None` in an attribute that every account has means that it could not be read. It is unknown,
/// never a default.
#[derive(Clone, PartialEq, Eq)]
pub struct Person {
    pub guid: Guid,
    /// `objectSid`, by which groups and `sIDHistory` of other domains name the person.
    pub sid: Option<Sid>,
    pub dn: Dn,
    pub placement: Placement,
    pub control: Option<UserAccountControl>,
    pub expires: Option<Expiry>,
    /// The attribute of the leave date.
    pub leave: Field,
    /// The groups of the closure that list the person, by `memberOf` or primary group. Sorted.
    pub groups: Vec<Guid>,
    /// `primaryGroupID` could not be read, so groups may be missing.
    pub groups_unknown: bool,
    pub mail: Field,
    /// `proxyAddresses` as read; values that are not text are left out.
    pub proxy_addresses: Vec<String>,
    /// Has the smallest value of an attribute with several.
    pub profile: Profile,
    /// The values of profile attributes with several, by name. Boxed, because few people have any.
    pub several:
        Option<Box<std::collections::BTreeMap<&'static str, std::collections::BTreeSet<String>>>>,
}

/// The readable part of an entry that cannot be used as a person. The account state that it shows
/// is positive evidence all the same.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Broken {
    /// The name, as far as it can be decoded.
    pub dn: Dn,
    pub control: Option<UserAccountControl>,
    pub expires: Option<Expiry>,
}

impl fmt::Debug for Person {
    /// Prints the GUID alone: addresses and names stay out of logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Person").field("guid", &self.guid).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_disabled_by_one_bit() {
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
    fn a_logon_name_is_added_and_kept_without_an_event() {
        let profile = |sam: Option<&str>, title: &str| Profile {
            sam_account_name: sam.map(str::to_owned),
            title: Some(title.to_owned()),
            ..Profile::default()
        };
        let (unknown, known) = (profile(None, "Clerk"), profile(Some("ann"), "Clerk"));
        assert!(known.only_reads_other_attributes(&unknown));
        assert!(
            !profile(Some("ann"), "Chief").only_reads_other_attributes(&unknown),
            "the title is news"
        );
        assert!(
            !profile(Some("ann.lee"), "Clerk").only_reads_other_attributes(&known),
            "another name is news"
        );
        assert!(!unknown.only_reads_other_attributes(&known));
        assert_eq!(unknown.keeping_logon_name(&known), known, "unreadable is not gone");
    }

    #[test]
    fn a_further_attribute_is_news_only_when_its_value_changes() {
        let profile = |extra: &[(&str, &[&str])]| {
            let values = |values: &[&str]| values.iter().map(|v| (*v).to_owned()).collect();
            let extra = extra.iter().map(|(name, v)| ((*name).to_owned(), values(v))).collect();
            Profile { sam_account_name: Some("ann".to_owned()), extra, ..Profile::default() }
        };
        let (sales, empty, unread) =
            (profile(&[("division", &["Sales"])]), profile(&[("division", &[])]), profile(&[]));
        for (before, after, is_news) in [
            (&unread, &sales, false),
            (&unread, &empty, false),
            (&sales, &unread, false),
            (&empty, &sales, true),
            (&sales, &empty, true),
        ] {
            assert_eq!(after.only_reads_other_attributes(before), !is_news, "{before:?} {after:?}");
        }
    }

    #[test]
    fn both_values_of_never_mean_never() {
        assert_eq!(Expiry::from_filetime(0), Expiry::Never);
        assert_eq!(Expiry::from_filetime(i64::MAX), Expiry::Never);
        assert!(matches!(Expiry::from_filetime(133_801_632_000_000_000), Expiry::At(_)));
    }
}
