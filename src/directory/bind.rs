//! What AD means when it refuses a bind.

use std::fmt;

/// Why AD refused a bind: the result code, and for 49 the sub-code in its diagnostic message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BindRefusal {
    /// The result code (RFC 4511).
    pub code: u32,
    /// AD's sub-code: the hexadecimal number after `data`.
    pub data: Option<u32>,
    /// The diagnostic message.
    pub text: String,
}

/// Reads a refusal from a result.
pub fn parse_refusal(code: u32, text: &str) -> BindRefusal {
    let after = text.split("data ").nth(1);
    let data = after
        .map(|d| d.chars().take_while(char::is_ascii_hexdigit).collect::<String>())
        .and_then(|d| u32::from_str_radix(&d, 16).ok());
    BindRefusal {
        code,
        data: data.filter(|_| code == 49),
        text: text.trim_end_matches('\0').to_owned(),
    }
}

/// Whether a refused bind may be tried again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Again {
    /// At any time: it was not about who we are.
    Yes,
    /// Now and then: it may pass by itself.
    Later,
    /// Not with the same secret: each attempt counts as a wrong password, or cannot succeed.
    Never,
}

impl BindRefusal {
    /// Whether it may be tried again, here or on another server.
    pub fn again(&self) -> Again {
        match (self.code, self.data) {
            (49, Some(0x530 | 0x775)) => Again::Later,
            // The server's way of asking, and not the account.
            (49, Some(0x57 | 0x8009_0346)) => Again::Yes,
            (49, _) => Again::Never,
            _ => Again::Yes,
        }
    }

    /// What AD says.
    pub fn finding(&self) -> String {
        let told = match (self.code, self.data) {
            (49, Some(0x525)) => "AD knows no such account (525)",
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
            (34, _) => "the server takes bind-dn for no name at all",
            (50, _) => "the service account may not bind here (insufficientAccessRights)",
            (51 | 52, _) => "the server is busy or unavailable",
            (53, _) => "the server is unwilling to take this bind",
            _ => "the bind was refused",
        };
        if self.data.is_none() && !self.text.is_empty() {
            format!("{told} (result {}: {})", self.code, self.text)
        } else {
            told.to_owned()
        }
    }

    /// What to do about it.
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
            (49, Some(0x775)) => "unlock it, and look for who else uses its password",
            (49, Some(0x57 | 0x8009_0346)) => {
                "let the domain controllers accept simple binds over TLS (LdapEnforceChannelBinding)"
            }
            (8, _) => "use ldaps://, or starttls = true",
            (34, _) => "write a DN or a UPN (svc-rosterd@corp.example.com)",
            (50, _) => "give it the right to log on",
            (51 | 52, _) => "it will be tried again",
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
        parse_refusal(
            49,
            &format!(
                "80090308: LdapErr: DSID-0C0903A9, comment: AcceptSecurityContext error, data {data}, v1db1"
            ),
        )
    }

    #[test]
    fn ads_sub_codes_become_sentences_with_a_remedy() {
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
            parse_refusal(8, "BindSimple: Transport encryption required.")
                .to_string()
                .contains("ldaps://")
        );
    }

    #[test]
    fn what_could_lock_the_account_is_not_tried_again_and_what_may_pass_only_now_and_then() {
        for data in ["525", "52e", "531", "532", "533", "701", "773", ""] {
            assert_eq!(refused(data).again(), Again::Never, "{data}");
        }
        for data in ["530", "775"] {
            assert_eq!(refused(data).again(), Again::Later, "{data}");
        }
        assert_eq!(parse_refusal(49, "").again(), Again::Never);
        // Another password would not help here, and none is counted.
        assert_eq!(refused("80090346").again(), Again::Yes);
        assert!([8, 51, 52, 53].iter().all(|code| parse_refusal(*code, "").again() == Again::Yes));
    }
}
