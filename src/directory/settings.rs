//! What the adapter is told: filled in by the daemon, already checked by the configuration.

use std::path::PathBuf;

use crate::model::{AttributeNames, Filter, GroupName, ServerUrl, Tier, Timeouts};

/// One directory.
#[derive(Clone, PartialEq, Debug)]
pub struct Settings {
    /// The servers, in order of preference; empty when they are discovered.
    pub servers: Vec<ServerUrl>,
    /// Whether `ldap://` servers are asked for TLS. Without it they are not used at all.
    pub starttls: bool,
    /// The CAs to trust; the system's when there is none.
    pub ca_file: Option<PathBuf>,
    /// Who we are: a DN or a UPN.
    pub bind_dn: String,
    /// Where the password is.
    pub password_file: PathBuf,
    /// The bases, as configured.
    pub bases: Vec<String>,
    /// Who is in scope.
    pub filter: Option<(String, Filter)>,
    /// How long to wait.
    pub timeouts: Timeouts,
    /// Entries in a page.
    pub page_size: u32,
    /// The groups that give a tier.
    pub groups: Vec<(Tier, GroupName)>,
    /// The canaries, as configured; our own entry when there is none.
    pub canaries: Vec<String>,
    /// Which attributes hold what.
    pub attributes: AttributeNames,
}

impl Settings {
    /// The servers in the order they are tried: the preferred one before the others.
    pub(super) fn servers_from(&self, preferred: Option<&str>) -> Vec<&ServerUrl> {
        let mut urls: Vec<&ServerUrl> = self.servers.iter().collect();
        urls.sort_by_key(|url| Some(url.to_string().as_str()) != preferred);
        urls
    }

    /// The filter as it is sent: in the form of RFC 4515, whatever form it was written in.
    pub fn filter_text(&self) -> Option<String> {
        self.filter.as_ref().map(|(_, filter)| filter.to_string())
    }

    /// The attributes that the configuration names, by the step of a check and the key they come from.
    pub fn named_attributes(&self) -> [(&'static str, &'static str, Vec<String>); 2] {
        let filter = self
            .filter
            .iter()
            .flat_map(|(_, filter)| filter.attributes())
            .map(str::to_owned)
            .collect();
        let mapped = self.attributes.all().iter().map(|name| (*name).to_owned()).collect();
        [("filter", "filter", filter), ("attributes", "[directory.attributes]", mapped)]
    }
}
