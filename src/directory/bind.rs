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
    let data =
        after.map(|d| d.chars().take_while(char::is_ascii_hexdigit).collect::<String>()).and_then(|d| u32::from_str_radix(&d, 16).ok());
    BindRefusal { code, data: data.filter(|_| code == 49), text: text.trim_end_matches('\0').to_owned() }
}

impl BindRefusal {
    /// Whether trying again with the same secret could lock the account.
    pub fn is_final(&self) -> bool {
        matches!(self.data, Some(0x525 | 0x52e | 0x531 | 0x532 | 0x533 | 0x701 | 0x773)) || (self.code == 49 && self.data.is_none())
    }
}

impl fmt::Display for BindRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let told = match (self.code, self.data) {
            (49, Some(0x525)) => "AD knows no such account (525): check bind-dn",
            (49, Some(0x52e)) => "AD refuses the service account's name or password (52e): check bind-dn and the password file",
            (49, Some(0x530)) => "the service account may not log on at this hour (530): lift its logon hours",
            (49, Some(0x531)) => "the service account may not log on from this machine (531): lift its workstation restriction",
            (49, Some(0x532)) => "the service account's password has expired (532): set a new one, and let it never expire",
            (49, Some(0x533)) => "the service account is disabled (533): enable it",
            (49, Some(0x701)) => "the service account has expired (701): extend its accountExpires",
            (49, Some(0x773)) => "the service account must change its password first (773): set one without that flag",
            (49, Some(0x775)) => "the service account is locked out (775): unlock it, and look for who else uses its password",
            (49, Some(0x57 | 0x8009_0346)) => {
                "the server requires channel binding, which a simple bind does not carry: allow simple binds over TLS"
            }
            (49, _) => "AD refuses the service account's credentials",
            (8, _) => "the server wants an encrypted or signed connection (strongerAuthRequired): use ldaps:// or starttls = true",
            (50, _) => "the service account may not bind here (insufficientAccessRights)",
            (51 | 52, _) => "the server is busy or unavailable; it will be tried again",
            (53, _) => "the server is unwilling to take this bind",
            _ => "the bind was refused",
        };
        write!(f, "{told}")?;
        if self.data.is_none() && !self.text.is_empty() {
            write!(f, " (result {}: {})", self.code, self.text)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ads_sub_codes_become_sentences() {
        let text = |data: &str| format!("80090308: LdapErr: DSID-0C0903A9, comment: AcceptSecurityContext error, data {data}, v1db1");
        for (data, word) in
            [("52e", "password"), ("533", "disabled"), ("775", "locked"), ("532", "expired"), ("773", "change"), ("701", "accountExpires")]
        {
            let refusal = parse_refusal(49, &text(data));
            assert_eq!(refusal.data, u32::from_str_radix(data, 16).ok());
            assert!(refusal.to_string().contains(word), "{refusal}");
        }
        assert!(parse_refusal(8, "BindSimple: Transport encryption required.").to_string().contains("ldaps://"));
        assert!(!parse_refusal(51, "busy").is_final());
        assert!(parse_refusal(49, "").is_final());
    }
}
