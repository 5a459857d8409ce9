//! Reasons for which AD refuses a bind, each with its remedy.

use std::fmt;

/// A refused bind: the result code, and for 49 the sub-code of the diagnostic message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BindRefusal {
    /// The result code (RFC 4511).
    pub code: u32,
    /// Sub-code of AD: the hexadecimal number after `data`, or [`BAD_BINDINGS`].
    pub data: Option<u32>,
    pub text: String,
}

/// SEC_E_BAD_BINDINGS (MS-ERREF 2.1). A diagnostic message that begins with it has various
/// sub-codes.
const BAD_BINDINGS: u32 = 0x8009_0346;

/// When a refused bind may be retried.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Retry {
    /// The refusal does not concern the account: another server may accept the bind.
    Anytime,
    /// The condition of the account can end without a change by an operator.
    Occasionally,
    /// With the same password an attempt counts as a wrong one, or cannot succeed.
    Never,
}

impl BindRefusal {
    /// Parses the result code and diagnostic message of a refused bind.
    pub fn parse(code: u32, text: &str) -> Self {
        let number = |text: &str| {
            let digits: String = text.chars().take_while(char::is_ascii_hexdigit).collect();
            u32::from_str_radix(&digits, 16).ok()
        };
        let data = number(text)
            .filter(|leading| *leading == BAD_BINDINGS)
            .or_else(|| text.split("data ").nth(1).and_then(number));
        Self {
            code,
            data: data.filter(|_| code == 49),
            text: text.trim_end_matches('\0').to_owned(),
        }
    }

    /// Returns when the bind may be retried, here or on another server.
    pub fn retry(&self) -> Retry {
        match (self.code, self.data) {
            (49, Some(0x530 | 0x775)) => Retry::Occasionally,
            (49, _) if self.concerns_account() => Retry::Never,
            _ => Retry::Anytime,
        }
    }

    /// Returns whether the refusal is about the account. Any other one is about this server, such as
    /// a read-only domain controller that cannot check the password (54f).
    ///
    /// A refusal without a sub-code could be a wrong password.
    pub fn concerns_account(&self) -> bool {
        match (self.code, self.data) {
            (49, None) => true,
            (49, Some(data)) => {
                matches!(data, 0x525 | 0x52e | 0x530..=0x533 | 0x701 | 0x773 | 0x775)
            }
            // noSuchObject and invalidDNSyntax: no entry has the name.
            (code, _) => matches!(code, 32 | 34),
        }
    }

    /// Returns whether the server may have checked the password, for a reason of its own.
    ///
    /// Such a server is left alone for a while, because the attempt may count in AD.
    pub(super) fn is_servers_own(&self) -> bool {
        self.code == 49 && !self.concerns_account()
    }

    /// Returns the reason in words.
    pub fn finding(&self) -> String {
        let reason = match (self.code, self.data) {
            (49, Some(0x525)) => "AD has no such account (525)",
            (49, Some(0x52e)) => "AD refuses the service account's name or password (52e)",
            (49, Some(0x530)) => "the service account may not log on at this hour (530)",
            (49, Some(0x531)) => "the service account may not log on from this machine (531)",
            (49, Some(0x532)) => "the service account's password has expired (532)",
            (49, Some(0x533)) => "the service account is disabled (533)",
            (49, Some(0x701)) => "the service account has expired (701)",
            (49, Some(0x773)) => "the service account must change its password first (773)",
            (49, Some(0x775)) => "the service account is locked out (775)",
            (49, Some(0x57 | BAD_BINDINGS)) => {
                "the server requires channel binding, which a simple bind does not carry"
            }
            (49, Some(0x51f)) => {
                "the server finds no domain controller to check the password (51f)"
            }
            (49, Some(0x54f)) => "the server cannot check the password (54f)",
            (49, Some(0x569)) => "the service account may not log on to this server (569)",
            (49, Some(data)) => {
                return format!("the server does not check the password ({data:x})");
            }
            (49, None) => "AD refuses the service account's credentials",
            (8, _) => "the server wants an encrypted or signed connection (strongerAuthRequired)",
            (34, _) => "the server rejects the syntax of bind-dn",
            (50, _) => "the service account may not bind here (insufficientAccessRights)",
            (51 | 52, _) => "the server is busy or unavailable",
            (53, _) => "the server is unwilling to perform this bind",
            _ => "the bind was refused",
        };
        if self.data.is_none() && !self.text.is_empty() {
            format!("{reason} (result {}: {})", self.code, self.text)
        } else {
            reason.to_owned()
        }
    }

    /// Returns the remedy in the imperative.
    pub fn remedy(&self) -> &'static str {
        match (self.code, self.data) {
            (49, Some(0x525) | None) => "check bind-dn and the password file",
            (49, Some(0x52e)) => {
                "check bind-dn, and write the present password into the password file"
            }
            (49, Some(0x530)) => "lift its logon hours",
            (49, Some(0x531)) => "lift its workstation restriction (userWorkstations)",
            (49, Some(0x532)) => "set a new password, and let it never expire",
            (49, Some(0x533)) => "enable it",
            (49, Some(0x701)) => "extend its accountExpires",
            (49, Some(0x773)) => "set a password without that flag",
            (49, Some(0x775)) => "unlock it, and find the other user of its password",
            (49, Some(0x569)) => "give it the right to access this computer from the network",
            (49, Some(0x51f | 0x54f)) => {
                "if it is a read-only domain controller, leave it out; if not, see its Directory Service log"
            }
            (49, Some(0x57 | BAD_BINDINGS)) => {
                "let the domain controllers accept simple binds over TLS (LdapEnforceChannelBinding)"
            }
            (8, _) => "use ldaps://, or starttls = true",
            (34, _) => "write a DN or a UPN (svc-rosterd@corp.example.com)",
            (50, _) => "give it the right to log on",
            (51 | 52, _) => "nothing to do: the bind is retried",
            _ => "see the server's Directory Service log",
        }
    }
}

impl fmt::Display for BindRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.finding(), self.remedy())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(data: &str) -> BindRefusal {
        BindRefusal::parse(
            49,
            &format!(
                "80090308: LdapErr: DSID-0C0903A9, comment: AcceptSecurityContext error, data {data}, v1db1"
            ),
        )
    }

    #[test]
    fn each_sub_code_of_ad_has_a_finding_and_a_remedy() {
        for (data, finding, remedy) in [
            ("525", "no such account", "bind-dn"),
            ("52e", "name or password", "password file"),
            ("530", "this hour", "logon hours"),
            ("531", "this machine", "userWorkstations"),
            ("532", "expired", "never expire"),
            ("533", "disabled", "enable"),
            ("701", "expired", "accountExpires"),
            ("773", "must change", "without that flag"),
            ("775", "locked out", "unlock"),
            ("57", "channel binding", "LdapEnforceChannelBinding"),
            ("80090346", "channel binding", "LdapEnforceChannelBinding"),
            ("51f", "no domain controller", "leave it out"),
            ("54f", "cannot check", "read-only"),
            ("569", "may not log on", "right"),
            ("35b", "does not check the password (35b)", "log"),
        ] {
            let refusal = refused(data);
            assert_eq!(refusal.data, u32::from_str_radix(data, 16).ok());
            assert!(
                refusal.finding().contains(finding) && refusal.remedy().contains(remedy),
                "{data}: {refusal}"
            );
        }
        assert!(
            BindRefusal::parse(8, "BindSimple: Transport encryption required.")
                .to_string()
                .contains("ldaps://")
        );
    }

    #[test]
    fn a_refusal_that_may_lock_the_account_is_not_retried_and_a_temporary_one_rarely() {
        for data in ["525", "52e", "531", "532", "533", "701", "773", ""] {
            assert_eq!(refused(data).retry(), Retry::Never, "{data}");
        }
        for data in ["530", "775"] {
            assert_eq!(refused(data).retry(), Retry::Occasionally, "{data}");
        }
        assert_eq!(BindRefusal::parse(49, "").retry(), Retry::Never);
        assert!(
            [8, 51, 52, 53]
                .iter()
                .all(|code| BindRefusal::parse(*code, "").retry() == Retry::Anytime)
        );
    }

    #[test]
    fn only_nine_sub_codes_of_ad_concern_the_account() {
        for data in ["525", "52e", "530", "531", "532", "533", "701", "773", "775", ""] {
            assert!(refused(data).concerns_account(), "{data}");
        }
        for data in ["54f", "51f", "569", "35b", "57", "80090346", "5", "52f", "0"] {
            let refusal = refused(data);
            assert!(!refusal.concerns_account() && refusal.is_servers_own(), "{data}");
            assert_eq!(refusal.retry(), Retry::Anytime, "{data}");
        }
    }

    #[test]
    fn a_message_that_begins_with_bad_bindings_means_them_whatever_its_sub_code() {
        for data in ["35b", "57", "52e", "0"] {
            let text = format!("80090346: LdapErr: DSID-0C0905FF, comment: …, data {data}, v4563");
            let refusal = BindRefusal::parse(49, &text);
            assert_eq!(refusal.retry(), Retry::Anytime, "{data}");
            assert!(refusal.finding().contains("channel binding"), "{data}: {refusal}");
        }
    }
}
