//! Settings of a directory, already validated by the configuration.

use std::path::PathBuf;

use crate::model::{
    AttributeNames, Credential, Dn, Filter, GroupAssertion, GroupName, ServerUrl, Tier, Timeouts,
};
use crate::reconcile::OuRules;

/// Connection and scope of one directory.
#[derive(Clone, PartialEq, Debug)]
pub struct Settings {
    /// The servers, in order of preference; empty when they are discovered.
    pub servers: Vec<ServerUrl>,
    /// StartTLS on `ldap://` servers, which are an error without it.
    pub starttls: bool,
    /// PEM file with the trusted CAs; `None` for the system's trust store.
    pub ca_file: Option<PathBuf>,
    /// The credential of the service account.
    pub credential: Credential,
    pub bases: Vec<String>,
    /// Filter for the people in scope: its configured text, and its parsed form.
    pub filter: Option<(String, Filter)>,
    /// OUs below which people are out of scope.
    pub exclude_ou: Vec<Dn>,
    /// Rules for the people below OUs.
    pub rules: OuRules,
    pub timeouts: Timeouts,
    pub page_size: u32,
    pub groups: Vec<(Tier, GroupName)>,
    /// The configured canaries. The entry of the service account is the default.
    pub canaries: Vec<String>,
    pub attributes: AttributeNames,
}

impl Settings {
    /// Returns the filter in the form of RFC 4515.
    pub fn filter_text(&self) -> Option<String> {
        self.filter.as_ref().map(|(_, filter)| filter.to_string())
    }

    /// Returns the groups by which the filter decides who is in scope.
    pub fn filter_groups(&self) -> Vec<GroupAssertion> {
        let assertions = self.filter.iter().flat_map(|(_, filter)| filter.assertions());
        assertions.filter_map(|(_, text)| Filter::group_of(text)).collect()
    }

    /// Returns the configured OUs, each with its configuration key.
    pub fn named_ous(&self) -> impl Iterator<Item = (&'static str, &Dn)> {
        let rules = self.rules.0.iter().map(|rule| ("rule", &rule.ou.configured));
        self.exclude_ou.iter().map(|ou| ("exclude-ou", ou)).chain(rules)
    }

    /// Returns the configured attributes, each list with the check step and the configuration key.
    pub fn named_attributes(&self) -> [(&'static str, &'static str, Vec<String>); 3] {
        let filter = self
            .filter
            .iter()
            .flat_map(|(_, filter)| filter.attributes())
            .map(str::to_owned)
            .collect();
        let mapped = self.attributes.all().into_iter().chain(self.attributes.leave_date.as_deref());
        let mapped = mapped.map(str::to_owned).collect();
        let extra = self.attributes.extra.clone();
        [
            ("filter", "filter", filter),
            ("attributes", "[directory.attributes]", mapped),
            ("attributes", "extra", extra),
        ]
    }
}
