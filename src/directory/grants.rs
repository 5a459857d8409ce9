//! Commands for a domain administrator that grant the service account a missing right.

use super::Session;
use crate::model::Sid;

/// The service account, as the tools of AD or Samba name it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Grants {
    /// `svc-rosterd@corp.example.com`, the form of dsacls.
    account: String,
    /// The SID, the form of samba-tool; `None` for Active Directory.
    samba: Option<String>,
}

/// Rights on an entry and all below it (MS-ADTS 5.1.3.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Right {
    /// Read all properties.
    ReadProperty,
    /// Read all properties and list the children.
    ListContents,
}

impl Grants {
    /// Returns the commands for the account that the session is bound as.
    pub fn of(session: &Session) -> Self {
        let name = session.service_account.text("sAMAccountName").unwrap_or("the service account");
        let domain: Vec<&str> = session
            .root
            .default_naming_context
            .split(',')
            .filter_map(|rdn| Some(rdn.split_once('=')?.1))
            .collect();
        let is_samba = session.root.vendor.starts_with("Samba");
        let sid = || {
            session
                .service_account
                .bytes("objectSid")
                .and_then(Sid::from_ad)
                .map_or_else(|| "SID".to_owned(), |sid| sid.to_string())
        };
        Self { account: format!("{name}@{}", domain.join(".")), samba: is_samba.then(sid) }
    }

    /// Returns the command that grants a right on an entry and its subtree.
    pub fn command(&self, right: Right, on: &str) -> String {
        let bits = match right {
            Right::ReadProperty => "RP",
            Right::ListContents => "LCRP",
        };
        match &self.samba {
            Some(sid) => {
                format!("samba-tool dsacl set --objectdn=\"{on}\" --sddl=\"(A;CI;{bits};;;{sid})\"")
            }
            None => format!("dsacls \"{on}\" /I:T /G \"{}:{bits}\"", self.account),
        }
    }

    /// Returns the command that lets the account see deleted objects.
    ///
    /// `samba-tool dsacl` does not find the container, because it is a deleted object itself (Samba
    /// 4.17). So its rights are written as a whole: Samba's defaults, and the account.
    pub fn see_deleted_objects(&self, container: &str) -> String {
        match &self.samba {
            Some(sid) => format!(
                "as root on a domain controller: printf 'dn: {container}\\nchangetype: modify\\nreplace: nTSecurityDescriptor\\nnTSecurityDescriptor: \
                 D:PAI(A;;RPWPCCDCLCRCWOWDSDSW;;;SY)(A;;RPLC;;;BA)(A;CI;LCRP;;;{sid})\\n' | \
                 ldbmodify -H /var/lib/samba/private/sam.ldb --controls=show_deleted:1 --controls=sd_flags:1:4"
            ),
            None => format!(
                "as a domain administrator: dsacls \"{container}\" /takeownership, then {}",
                self.command(Right::ListContents, container)
            ),
        }
    }
}
