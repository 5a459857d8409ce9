//! What goes with a search and with its answer: paging (RFC 2696), deleted objects, DirSync, change notification.

use ldap3::controls::{Control, RawControl};

use super::ber;

/// LDAP_PAGED_RESULT_OID_STRING.
const PAGED: &str = "1.2.840.113556.1.4.319";
/// LDAP_SERVER_DOMAIN_SCOPE_OID: no references to other naming contexts.
const DOMAIN_SCOPE: &str = "1.2.840.113556.1.4.1339";
/// LDAP_SERVER_SHOW_DELETED_OID.
const SHOW_DELETED: &str = "1.2.840.113556.1.4.417";
/// LDAP_SERVER_DIRSYNC_OID.
const DIRSYNC: &str = "1.2.840.113556.1.4.841";
/// LDAP_SERVER_NOTIFICATION_OID.
const NOTIFICATION: &str = "1.2.840.113556.1.4.528";

/// LDAP_DIRSYNC_OBJECT_SECURITY: what we may see, by ordinary rights. Everything would take the right to replicate.
const OBJECT_SECURITY: u32 = 0x0000_0001;
/// LDAP_DIRSYNC_INCREMENTAL_VALUES: of a group's members, those that came and went.
const INCREMENTAL_VALUES: u32 = 0x8000_0000;

/// How the answers of a search come.
#[derive(Debug, Clone, Copy, Default)]
pub(super) enum Course<'a> {
    /// All at once.
    #[default]
    Whole,
    /// In pages of this size, from this cookie on.
    Pages(u32, &'a [u8]),
    /// Only what has changed since this cookie.
    Changes(&'a [u8]),
    /// As things change, for as long as the connection holds.
    Notification,
}

/// What a search asks for beside its filter.
pub(super) fn of_search(course: Course<'_>, show_deleted: bool) -> Vec<RawControl> {
    let mut controls = vec![RawControl { ctype: DOMAIN_SCOPE.into(), crit: false, val: None }];
    let mut add = |oid: &str, val| controls.push(RawControl { ctype: oid.into(), crit: true, val });
    match course {
        Course::Whole => {}
        Course::Pages(size, cookie) => add(PAGED, Some(sequence(&[integer(size), octets(cookie)]))),
        Course::Changes(cookie) => {
            // The flags are 32 bits with a sign (MS-ADTS 3.1.1.3.4.1.3). As many bytes as the server likes.
            let flags =
                integer_of(&(OBJECT_SECURITY | INCREMENTAL_VALUES).cast_signed().to_be_bytes());
            add(
                DIRSYNC,
                Some(sequence(&[flags, integer(i32::MAX.cast_unsigned()), octets(cookie)])),
            );
        }
        Course::Notification => add(NOTIFICATION, None),
    }
    if show_deleted {
        add(SHOW_DELETED, None);
    }
    controls
}

/// Where a search may go on, of the controls of its answer: the cookie, and whether there is more already.
pub(super) fn going_on(controls: &[Control]) -> Option<(Vec<u8>, bool)> {
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

fn sequence(parts: &[Vec<u8>]) -> Vec<u8> {
    element(0x30, &parts.concat())
}

fn octets(content: &[u8]) -> Vec<u8> {
    element(0x04, content)
}

/// A number, in as few bytes as it takes.
fn integer(number: u32) -> Vec<u8> {
    let bytes = u64::from(number).to_be_bytes();
    let first = (0..7).find(|at| bytes[*at] != 0 || bytes[at + 1] & 0x80 != 0).unwrap_or(7);
    integer_of(&bytes[first..])
}

fn integer_of(content: &[u8]) -> Vec<u8> {
    element(0x02, content)
}

fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut whole = vec![tag];
    match content.len() {
        short @ 0..=127 => whole.push(short as u8),
        long => {
            whole.push(0x84);
            whole.extend_from_slice(&(long as u32).to_be_bytes());
        }
    }
    whole.extend_from_slice(content);
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_with_a_search_is_what_ad_reads() {
        let value = |course| of_search(course, false).pop().and_then(|control| control.val);
        assert_eq!(value(Course::Pages(1000, b"")), Some(vec![0x30, 6, 2, 2, 3, 0xe8, 4, 0]));
        assert_eq!(
            value(Course::Pages(200, b"ab")),
            Some(vec![0x30, 8, 2, 2, 0, 0xc8, 4, 2, b'a', b'b'])
        );
        assert_eq!(value(Course::Pages(0, b"")), Some(vec![0x30, 5, 2, 1, 0, 4, 0]));
        // The flags are a negative number.
        let dirsync = [0x30, 15, 2, 4, 0x80, 0, 0, 1, 2, 4, 0x7f, 0xff, 0xff, 0xff, 4, 1, b'c'];
        assert_eq!(value(Course::Changes(b"c")), Some(dirsync.to_vec()));
        let long = value(Course::Changes(&[7; 200])).unwrap();
        assert_eq!(
            (long.len(), &long[..6]),
            (6 + 12 + 6 + 200, [0x30, 0x84, 0, 0, 0, 218].as_slice())
        );
    }

    #[test]
    fn controls_without_a_value_are_marked_as_needed() {
        let controls = of_search(Course::Notification, true);
        let needed: Vec<_> = controls
            .iter()
            .filter(|control| control.crit)
            .map(|control| control.ctype.as_str())
            .collect();
        assert_eq!(needed, [NOTIFICATION, SHOW_DELETED]);
    }
}
