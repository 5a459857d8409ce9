//! What gives the service account a right it lacks, as a domain administrator types it.

use super::Session;

/// Who it is for, and in whose tools.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Grants {
    /// `svc-rosterd@corp.example.com`: as dsacls takes it.
    account: String,
    /// Its SID, as Samba's tools take it; none for Active Directory itself.
    samba: Option<String>,
}

/// Rights on an entry and all below it (MS-ADTS 5.1.3.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Right {
    /// To read its attributes.
    ReadProperty,
    /// To read its attributes, and see what is in it.
    ListContents,
}

impl Grants {
    /// For whoever this session is bound as.
    pub fn of(session: &Session) -> Self {
        let name = session.me.text("sAMAccountName").unwrap_or("the service account");
        let domain: Vec<&str> = session
            .root
            .default_naming_context
            .split(',')
            .filter_map(|rdn| Some(rdn.split_once('=')?.1))
            .collect();
        let is_samba = session.root.vendor.starts_with("Samba");
        let sid = || {
            session
                .me
                .bytes("objectSid")
                .and_then(super::session::sid_text)
                .unwrap_or_else(|| "SID".to_owned())
        };
        Self { account: format!("{name}@{}", domain.join(".")), samba: is_samba.then(sid) }
    }

    /// The command that grants it.
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

    /// Whether these are for Samba's tools.
    pub fn is_for_samba(&self) -> bool {
        self.samba.is_some()
    }
}
