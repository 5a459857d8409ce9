//! Profiles: the descriptive attributes of a user, and the LDAP attributes that hold them.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// Defines [`Profile`] and [`AttributeNames`] from one list of attributes.
///
/// An attribute has a field, a name in configuration and output, and an LDAP attribute. AD defines
/// the LDAP attributes of logon names. The configuration may replace the others.
macro_rules! attributes {
    (
        configurable { $($(#[$doc:meta])* $field:ident = $name:literal, $ldap:literal;)+ }
        logon { $($(#[$logon_doc:meta])* $logon:ident = $logon_name:literal, $logon_ldap:literal;)+ }
    ) => {
        /// The descriptive attributes of a user. No decision depends on them.
        #[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
        #[serde(default)]
        pub struct Profile {
            $($(#[$doc])* #[serde(skip_serializing_if = "Option::is_none")]
            pub $field: Option<String>,)+
            $($(#[$logon_doc])* #[serde(skip_serializing_if = "Option::is_none")]
            pub $logon: Option<String>,)+
            /// The values of each attribute in `extra`; none where the entry shows none. An
            /// attribute that was never read is no key.
            #[serde(skip_serializing_if = "BTreeMap::is_empty")]
            pub extra: BTreeMap<String, BTreeSet<String>>,
        }

        impl Profile {
            /// Returns the fields with their names in configuration and output.
            pub fn fields(
                &self,
            ) -> [(&'static str, Option<&str>); [$($name,)+ $($logon_name),+].len()] {
                [
                    $(($name, self.$field.as_deref()),)+
                    $(($logon_name, self.$logon.as_deref()),)+
                ]
            }

            /// Returns the fields with their names in the store.
            pub(super) fn stored_fields(
                &self,
            ) -> [(&'static str, Option<&str>); [$($name,)+ $($logon_name),+].len()] {
                [
                    $((stringify!($field), self.$field.as_deref()),)+
                    $((stringify!($logon), self.$logon.as_deref()),)+
                ]
            }

            /// Returns the field of this name.
            pub fn field_mut(&mut self, name: &str) -> Option<&mut Option<String>> {
                match name {
                    $($name => Some(&mut self.$field),)+
                    $($logon_name => Some(&mut self.$logon),)+
                    _ => None,
                }
            }
        }

        /// The LDAP attributes that hold a person's data.
        #[derive(Clone, PartialEq, Eq, Debug)]
        pub struct AttributeNames {
            /// The primary address.
            pub email: String,
            $(pub $field: String,)+
            /// The attribute of the leave date, if there is one.
            pub leave_date: Option<String>,
            /// Further attributes, which are kept and shown. Nothing is decided by them.
            pub extra: Vec<String>,
        }

        impl AttributeNames {
            /// Returns the field and the LDAP attribute of each configurable part of a profile.
            pub fn profile(&self) -> [(&'static str, &str); [$($name),+].len()] {
                [$(($name, self.$field.as_str())),+]
            }

            /// Returns the LDAP attributes with their keys in the configuration.
            pub fn keys_mut(&mut self) -> impl Iterator<Item = (&'static str, &mut String)> {
                let profile = [$(($name, &mut self.$field)),+];
                [("email", &mut self.email)].into_iter().chain(profile)
            }
        }

        impl Default for AttributeNames {
            fn default() -> Self {
                Self { email: "mail".into(), $($field: $ldap.into(),)+ leave_date: None, extra: Vec::new() }
            }
        }

        /// The field and the LDAP attribute of each logon name.
        pub const LOGON_NAMES: [(&str, &str); [$($logon_name),+].len()] =
            [$(($logon_name, $logon_ldap)),+];
    };
}

attributes! {
    configurable {
        display_name = "display-name", "displayName";
        given_name = "given-name", "givenName";
        surname = "surname", "sn";
        title = "title", "title";
        department = "department", "department";
        phone = "phone", "telephoneNumber";
        employee_id = "employee-id", "employeeID";
        /// The distinguished name of the manager.
        manager = "manager", "manager";
    }
    logon {
        /// sAMAccountName; unique in a domain (MS-ADA3 2.222).
        sam_account_name = "sam-account-name", "sAMAccountName";
        /// userPrincipalName; unique in a forest (MS-ADA3 2.349).
        user_principal_name = "user-principal-name", "userPrincipalName";
    }
}

impl AttributeNames {
    /// Returns all names in a fixed order, because the scope hash covers them.
    pub fn all(&self) -> Vec<&str> {
        let profile = self.profile().map(|(_, attribute)| attribute);
        std::iter::once(self.email.as_str()).chain(profile).collect()
    }
}

/// The names by which people know the user of a change, as they were before it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Names {
    pub display_name: Option<String>,
    pub sam_account_name: Option<String>,
    pub user_principal_name: Option<String>,
}

impl From<&Profile> for Names {
    fn from(profile: &Profile) -> Self {
        let Profile { display_name, sam_account_name, user_principal_name, .. } = profile;
        Self {
            display_name: display_name.clone(),
            sam_account_name: sam_account_name.clone(),
            user_principal_name: user_principal_name.clone(),
        }
    }
}

impl Names {
    pub fn all(&self) -> impl Iterator<Item = &str> {
        [&self.display_name, &self.sam_account_name, &self.user_principal_name]
            .into_iter()
            .filter_map(|name| name.as_deref())
    }
}

impl Profile {
    /// Copies one field from another profile. An unknown name is ignored.
    pub fn copy_field(&mut self, name: &str, other: &Self) {
        let value = other.fields().into_iter().find(|(known, _)| *known == name);
        if let (Some(field), Some((_, value))) = (self.field_mut(name), value) {
            *field = value.map(str::to_owned);
        } else if let Some(values) = other.extra.get(name) {
            self.extra.insert(name.to_owned(), values.clone());
        }
    }

    /// Returns the fields and further attributes with their names in output.
    pub fn values(&self) -> Map<String, Value> {
        let fields = self.fields().into_iter().map(|(name, value)| (name.to_owned(), json!(value)));
        let extra = self.extra.iter().map(|(name, values)| (name.clone(), json!(values)));
        fields.chain(extra).collect()
    }

    /// Returns the attributes that every version has read.
    pub(super) fn basic(&self) -> Self {
        Self {
            sam_account_name: None,
            user_principal_name: None,
            extra: BTreeMap::new(),
            ..self.clone()
        }
    }

    /// Returns this profile with the sAMAccountName of `before` where it has none.
    ///
    /// Every account has one, so its absence means that it could not be read. Hooks find people
    /// by it.
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

    /// Returns whether this is `before` with attributes that were not read before, or without those
    /// that are not read any more. Such a change is no news of the person.
    ///
    /// Every account has a sAMAccountName. A user without one was read by an earlier version, or
    /// without the right to read it.
    pub fn only_reads_other_attributes(&self, before: &Self) -> bool {
        let names = |of: &Self| (of.sam_account_name.clone(), of.user_principal_name.clone());
        let learns_names = before.sam_account_name.is_none() && self.sam_account_name.is_some();
        let was = |name: &String| before.extra.get(name);
        self.basic() == before.basic()
            && (learns_names || names(self) == names(before))
            && self.extra.iter().all(|(name, values)| was(name).is_none_or(|was| was == values))
    }
}
