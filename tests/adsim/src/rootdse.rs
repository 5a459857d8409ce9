//! The rootDSE: a server's description of itself.

use std::time::SystemTime;

use crate::ber;
use crate::directory::Ad;
use crate::encode::put_attribute;
use crate::entry::Id;
use crate::identity::{ANONYMOUS_SID, generalized};
use crate::request::oid;

/// The state of one server rather than of the directory.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    pub(crate) settings: Id,
    pub(crate) host: String,
    /// Seconds by which its clock is ahead.
    pub(crate) skew: i64,
    /// Added to the highest committed USN, as after a restored backup.
    pub(crate) usn_offset: i64,
    pub(crate) max_page_size: usize,
    pub(crate) max_values: usize,
    pub(crate) global_catalog_ready: bool,
    pub(crate) read_only: ReadOnly,
    pub(crate) is_synchronized: bool,
    /// The AD site of the server, and the one of its clients.
    pub(crate) site: String,
    pub(crate) client_site: String,
    /// Whether the LDAP ping is answered.
    pub(crate) answers_pings: bool,
    /// The maximum of entries in one DirSync answer; `None`: everything at once.
    pub(crate) dirsync_round: Option<usize>,
    pub(crate) notifications: Notifications,
}

/// Whether a server is read-only, and how clients learn it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReadOnly {
    Writable,
    /// It names the capability, as Windows does.
    Named,
    /// It answers the LDAP ping, as Samba does.
    ByPing,
}

/// A server's support of change notification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Notifications {
    /// Changes after this USN are reported.
    Told(u64),
    /// Searches are accepted and never answered.
    Muted,
    /// The control is unknown.
    Unknown,
}

impl Server {
    pub(crate) fn now(&self) -> SystemTime {
        let now = crate::clock::now();
        let skew = std::time::Duration::from_secs(self.skew.unsigned_abs());
        if self.skew < 0 { now - skew } else { now + skew }
    }

    pub(crate) fn usn(&self, ad: &Ad) -> u64 {
        ad.usn.saturating_add_signed(self.usn_offset)
    }

    /// Returns whether a control is honoured or changes nothing here.
    pub(crate) fn knows(&self, control: &str) -> bool {
        oid::CONTROLS.contains(&control)
            && (control != oid::NOTIFICATION || self.notifications != Notifications::Unknown)
    }
}

/// Writes the rootDSE as the body of a SearchResultEntry.
pub(crate) fn write(
    ad: &Ad,
    server: &Server,
    bound: Option<Id>,
    names: &[String],
    out: &mut Vec<u8>,
) {
    let all = names.is_empty() || names.iter().any(|name| name == "*" || name == "+");
    let entry = ber::begin(out, 0x64);
    ber::put(out, ber::OCTETS, b"");
    let list = ber::begin(out, ber::SEQUENCE);
    for (name, values) in attributes(ad, server) {
        if all || names.iter().any(|wanted| wanted.eq_ignore_ascii_case(name)) {
            let values: Vec<Vec<u8>> = values.into_iter().map(String::into_bytes).collect();
            put_attribute(out, name, &values);
        }
    }
    if names.iter().any(|name| name.eq_ignore_ascii_case("tokenGroups")) {
        let mut sids = Vec::new();
        match bound.and_then(|id| ad.get(id).map(|entry| (id, entry.rid))) {
            Some((id, rid)) => {
                sids.push(ad.sid.bytes(rid));
                sids.extend(ad.token_rids(id).into_iter().map(|rid| ad.sid.bytes(rid)));
            }
            None => sids.push(ANONYMOUS_SID.to_vec()),
        }
        put_attribute(out, "tokenGroups", &sids);
    }
    ber::end(out, list);
    ber::end(out, entry);
}

fn attributes(ad: &Ad, server: &Server) -> Vec<(&'static str, Vec<String>)> {
    let root = ad.root_dn.clone();
    let configuration = format!("CN=Configuration,{root}");
    let schema = format!("CN=Schema,{configuration}");
    let settings = ad.dn_of(server.settings);
    let server_name = settings.split_once(',').map(|(_, rest)| rest.to_owned()).unwrap_or_default();
    let strings =
        |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect::<Vec<_>>();
    vec![
        ("currentTime", vec![generalized(server.now())]),
        ("subschemaSubentry", vec![format!("CN=Aggregate,{schema}")]),
        ("dsServiceName", vec![settings]),
        ("namingContexts", vec![root.clone(), configuration.clone(), schema.clone()]),
        ("defaultNamingContext", vec![root.clone()]),
        ("schemaNamingContext", vec![schema]),
        ("configurationNamingContext", vec![configuration]),
        ("rootDomainNamingContext", vec![root]),
        (
            "supportedControl",
            strings(oid::CONTROLS).into_iter().filter(|control| server.knows(control)).collect(),
        ),
        ("supportedLDAPVersion", strings(&["3", "2"])),
        (
            "supportedLDAPPolicies",
            strings(&["MaxPageSize", "MaxValRange", "MaxQueryDuration", "MaxConnIdleTime"]),
        ),
        ("highestCommittedUSN", vec![server.usn(ad).to_string()]),
        ("supportedSASLMechanisms", strings(&["GSSAPI", "GSS-SPNEGO", "EXTERNAL", "DIGEST-MD5"])),
        ("dnsHostName", vec![server.host.clone()]),
        ("serverName", vec![server_name]),
        (
            "supportedCapabilities",
            strings(if server.read_only == ReadOnly::Named {
                &oid::CAPABILITIES
            } else {
                &oid::CAPABILITIES[..3]
            }),
        ),
        ("isSynchronized", strings(&[if server.is_synchronized { "TRUE" } else { "FALSE" }])),
        (
            "isGlobalCatalogReady",
            strings(&[if server.global_catalog_ready { "TRUE" } else { "FALSE" }]),
        ),
        ("supportedExtension", strings(&[oid::START_TLS, oid::WHO_AM_I])),
        ("domainFunctionality", strings(&["7"])),
        ("forestFunctionality", strings(&["7"])),
        ("domainControllerFunctionality", strings(&["7"])),
    ]
}
