//! The rootDSE of a domain controller (RFC 4512, 5.1; MS-ADTS 3.1.1.3.2).

use crate::model::Timestamp;
use crate::reconcile::ServerIdentity;

/// LDAP_CAP_ACTIVE_DIRECTORY_PARTIAL_SECRETS_OID: the capability of a read-only domain controller.
pub(super) const READ_ONLY: &str = "1.2.840.113556.1.4.1920";
/// Attributes of the rootDSE.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RootDse {
    pub default_naming_context: String,
    pub configuration_naming_context: String,
    pub schema_naming_context: String,
    /// The clock of the domain controller.
    pub current_time: Option<Timestamp>,
    pub identity: ServerIdentity,
    /// highestCommittedUSN; 0 where the server does not show it.
    pub usn: u64,
    /// A read-only domain controller lacks the attributes of its filtered set (MS-ADTS
    /// 3.1.1.3.2.1).
    pub is_read_only: bool,
    /// vendorName; empty for Active Directory, `Samba …` for Samba.
    pub vendor: String,
}

/// Parses a GeneralizedTime such as `20260102030405.0Z` (RFC 4517, 3.3.13).
pub(super) fn generalized_time(text: &str) -> Option<Timestamp> {
    let digits = text.split(['.', 'Z']).next()?;
    let time = chrono::NaiveDateTime::parse_from_str(digits, "%Y%m%d%H%M%S").ok()?;
    Some(Timestamp::from(time.and_utc()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generalized_time_is_read_in_utc() {
        assert_eq!(
            generalized_time("20260102030405.0Z").map(|t| t.to_string()).as_deref(),
            Some("2026-01-02T03:04:05.000Z")
        );
    }
}
