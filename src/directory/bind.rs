//! Reasons for which AD refuses a bind, each with its remedy.

use std::fmt;

/// A refused bind: the result code, and for 49 the sub-code of the diagnostic message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BindRefusal {
    /// The result code (RFC 4511).
    pub code: u32,
    /// Sub-code of AD: the hexadecimal number after `data`.
    pub data: Option<u32>,
    pub text: String,
}

/// When a refused bind may be retried.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Retry {
    /// The refusal does not concern the account.
    Anytime,
    /// The condition of the account can end without a change by an operator.
    Occasionally,
    /// With the same password an attempt counts as a wrong one, or cannot succeed.
    Never,
}

impl BindRefusal {
    /// Parses the result code and diagnostic message of a refused bind.
    pub fn parse(code: u32, text: &str) -> Self {
        let after = text.split("data ").nth(1);
        let data = after
            .map(|d| d.chars().take_while(char::is_ascii_hexdigit).collect::<String>())
            .and_then(|d| u32::from_str_radix(&d, 16).ok());
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
            // The server requires channel binding; the password was not checked.
            (49, Some(0x57 | 0x8009_0346)) => Retry::Anytime,
            (49, _) => Retry::Never,
            _ => Retry::Anytime,
        }
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
            (49, Some(0x57 | 0x8009_0346)) => {
                "the server requires channel binding, which a simple bind does not carry"
            }
            (49, _) => "AD refuses the service account's credentials",
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
            (49, Some(0x57 | 0x8009_0346)) => {
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
        // The password was not checked, so no attempt is counted.
        assert_eq!(refused("80090346").retry(), Retry::Anytime);
        assert!(
            [8, 51, 52, 53]
                .iter()
                .all(|code| BindRefusal::parse(*code, "").retry() == Retry::Anytime)
        );
    }
}
