//! The LDAP ping (MS-ADTS 6.3.3): a server's description of itself, without a bind.

use crate::ber;
use crate::directory::{Ad, ROOT};
use crate::encode::put_attribute;
use crate::filter::Filter;
use crate::request::{Scope, Search};
use crate::rootdse::{ReadOnly, Server};

/// LOGON_SAM_USER_UNKNOWN_EX would answer a ping that names a user; this one names none.
const LOGON_SAM_LOGON_RESPONSE_EX: u16 = 23;
/// NETLOGON_NT_VERSION_1, 5 and 5EX.
const NT_VERSION: u32 = 0x7;
/// DS_LDAP, DS_DS, DS_KDC and DS_TIMESERV.
const USUAL: u32 = 0x8 | 0x10 | 0x20 | 0x40;
const GLOBAL_CATALOG: u32 = 0x4;
const CLOSEST: u32 = 0x80;
const WRITABLE: u32 = 0x100;
const SELECT_SECRETS: u32 = 0x800;
const FULL_SECRETS: u32 = 0x1000;

/// Returns whether a search is a ping.
pub(crate) fn is_ping(search: &Search) -> bool {
    search.base.is_empty()
        && search.scope == Scope::Base
        && search.attributes.iter().any(|name| name.eq_ignore_ascii_case("netlogon"))
}

/// Writes the answer as the body of a SearchResultEntry. Returns false for a domain or a version that
/// the server does not have.
pub(crate) fn write(ad: &Ad, server: &Server, filter: &Filter, out: &mut Vec<u8>) -> bool {
    let Filter::And(parts) = filter else { return false };
    let value = |name: &str| {
        parts.iter().find_map(|part| match part {
            Filter::Equal(attribute, value) if attribute.eq_ignore_ascii_case(name) => Some(value),
            _ => None,
        })
    };
    let is_ours =
        value("DnsDomain").is_some_and(|domain| domain.eq_ignore_ascii_case(ad.domain.as_bytes()));
    // NETLOGON_NT_VERSION_5EX
    let is_known = value("NtVer").and_then(|version| version.first()).is_some_and(|v| v & 4 != 0);
    if !(is_ours && is_known) {
        return false;
    }
    let entry = ber::begin(out, 0x64);
    ber::put(out, ber::OCTETS, b"");
    let list = ber::begin(out, ber::SEQUENCE);
    put_attribute(out, "netlogon", &[response(ad, server)]);
    ber::end(out, list);
    ber::end(out, entry);
    true
}

/// NETLOGON_SAM_LOGON_RESPONSE_EX (MS-ADTS 6.3.1.9).
fn response(ad: &Ad, server: &Server) -> Vec<u8> {
    let mut flags = USUAL;
    flags |= match server.read_only {
        ReadOnly::Writable => WRITABLE | FULL_SECRETS,
        ReadOnly::Named | ReadOnly::ByPing => SELECT_SECRETS,
    };
    flags |= if server.global_catalog_ready { GLOBAL_CATALOG } else { 0 };
    flags |= if server.site == server.client_site { CLOSEST } else { 0 };
    let mut out = LOGON_SAM_LOGON_RESPONSE_EX.to_le_bytes().to_vec();
    out.extend([0, 0]);
    out.extend(flags.to_le_bytes());
    out.extend(ad.entry(ROOT).guid.to_bytes_le());
    let forest = out.len();
    put_name(&mut out, &ad.domain);
    // The domain is the forest's root: a compression pointer (RFC 1035, 4.1.4).
    let pointer = [0xc0 | u8::try_from(forest >> 8).unwrap_or(0), forest.to_le_bytes()[0]];
    out.extend(pointer);
    let host = server.host.split('.').next().unwrap_or_default();
    put_label(&mut out, host);
    out.extend(pointer);
    put_name(&mut out, &ad.short_name());
    put_name(&mut out, &host.to_uppercase());
    put_name(&mut out, "");
    put_name(&mut out, &server.site);
    put_name(&mut out, &server.client_site);
    out.extend(NT_VERSION.to_le_bytes());
    out.extend([0xff; 4]);
    out
}

fn put_label(out: &mut Vec<u8>, label: &str) {
    if !label.is_empty() {
        out.push(u8::try_from(label.len()).unwrap_or(63));
        out.extend(label.as_bytes());
    }
}

fn put_name(out: &mut Vec<u8>, name: &str) {
    for label in name.split('.') {
        put_label(out, label);
    }
    out.push(0);
}
