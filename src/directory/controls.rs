//! Controls of search requests and responses: paging (RFC 2696), deleted objects, DirSync,
//! notification.

use ldap3::controls::{Control, RawControl};

use super::ber;
use super::encode::{integer, integer_of, octets, sequence};

/// LDAP_PAGED_RESULT_OID_STRING: results in pages (RFC 2696).
const PAGED: &str = "1.2.840.113556.1.4.319";
/// LDAP_SERVER_DOMAIN_SCOPE_OID: no continuation references to other naming contexts.
const DOMAIN_SCOPE: &str = "1.2.840.113556.1.4.1339";
/// LDAP_SERVER_SHOW_DELETED_OID: tombstones are returned, too.
const SHOW_DELETED: &str = "1.2.840.113556.1.4.417";
/// LDAP_SERVER_DIRSYNC_OID: changes since a cookie.
const DIRSYNC: &str = "1.2.840.113556.1.4.841";
/// LDAP_SERVER_NOTIFICATION_OID: a response for each change.
const NOTIFICATION: &str = "1.2.840.113556.1.4.528";

/// LDAP_DIRSYNC_OBJECT_SECURITY: visible objects only. Without it the account needs the replication
/// right.
const OBJECT_SECURITY: u32 = 0x0000_0001;
/// LDAP_DIRSYNC_INCREMENTAL_VALUES: only the added and removed members of a group.
const INCREMENTAL_VALUES: u32 = 0x8000_0000;

/// How the results of a search are delivered.
#[derive(Debug, Clone, Copy, Default)]
pub(super) enum SearchMode<'a> {
    /// In one response.
    #[default]
    Plain,
    /// In pages: the page size, and the cookie of the previous page.
    Pages(u32, &'a [u8]),
    /// DirSync: the objects changed since this cookie.
    Changes(&'a [u8]),
    /// An entry for each change, until the connection ends.
    Notification,
}

/// Returns the controls of a search request.
pub(super) fn search_controls(mode: SearchMode<'_>, show_deleted: bool) -> Vec<RawControl> {
    let mut controls = vec![RawControl { ctype: DOMAIN_SCOPE.into(), crit: false, val: None }];
    let mut add = |oid: &str, val| controls.push(RawControl { ctype: oid.into(), crit: true, val });
    match mode {
        SearchMode::Plain => {}
        SearchMode::Pages(size, cookie) => {
            add(PAGED, Some(sequence(&[integer(size), octets(cookie)])))
        }
        SearchMode::Changes(cookie) => {
            // The flags are a signed 32-bit number (MS-ADTS 3.1.1.3.4.1.3). The size limit is the
            // largest one.
            let flags =
                integer_of(&(OBJECT_SECURITY | INCREMENTAL_VALUES).cast_signed().to_be_bytes());
            add(
                DIRSYNC,
                Some(sequence(&[flags, integer(i32::MAX.cast_unsigned()), octets(cookie)])),
            );
        }
        SearchMode::Notification => add(NOTIFICATION, None),
    }
    if show_deleted {
        add(SHOW_DELETED, None);
    }
    controls
}

/// Returns the cookie of a paging or DirSync response, and whether more results are available.
pub(super) fn continuation(controls: &[Control]) -> Option<(Vec<u8>, bool)> {
    controls.iter().find_map(|Control(_, RawControl { ctype, val, .. })| {
        let value = val.as_ref()?;
        match ctype.as_str() {
            PAGED => ber::paged_results(value)
                .ok()
                .map(|page| (page.cookie.to_vec(), !page.cookie.is_empty())),
            DIRSYNC => {
                ber::dirsync(value).ok().map(|answer| (answer.cookie.to_vec(), answer.has_more))
            }
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paging_and_dirsync_controls_are_encoded_as_ad_expects() {
        let value = |mode| search_controls(mode, false).pop().and_then(|control| control.val);
        assert_eq!(value(SearchMode::Pages(1000, b"")), Some(vec![0x30, 6, 2, 2, 3, 0xe8, 4, 0]));
        assert_eq!(
            value(SearchMode::Pages(200, b"ab")),
            Some(vec![0x30, 8, 2, 2, 0, 0xc8, 4, 2, b'a', b'b'])
        );
        assert_eq!(value(SearchMode::Pages(0, b"")), Some(vec![0x30, 5, 2, 1, 0, 4, 0]));
        // The flags are a negative number.
        let dirsync = [0x30, 15, 2, 4, 0x80, 0, 0, 1, 2, 4, 0x7f, 0xff, 0xff, 0xff, 4, 1, b'c'];
        assert_eq!(value(SearchMode::Changes(b"c")), Some(dirsync.to_vec()));
        let long = value(SearchMode::Changes(&[7; 200])).unwrap();
        assert_eq!(
            (long.len(), &long[..6]),
            (6 + 12 + 6 + 200, [0x30, 0x84, 0, 0, 0, 218].as_slice())
        );
    }

    #[test]
    fn controls_without_a_value_are_critical() {
        let controls = search_controls(SearchMode::Notification, true);
        let critical: Vec<_> = controls
            .iter()
            .filter(|control| control.crit)
            .map(|control| control.ctype.as_str())
            .collect();
        assert_eq!(critical, [NOTIFICATION, SHOW_DELETED]);
    }
}
