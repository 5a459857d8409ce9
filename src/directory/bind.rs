//! Reasons for which AD refuses a bind, each with its remedy.

use std::fmt;

/// The way in which a bind was tried.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BindMethod {
    /// A simple bind with a password.
    Password,
    /// A SASL bind with a ticket.
    Kerberos,
    /// There was no bind, because the KDC refused the ticket.
    Ticket,
}

/// A refused bind: the result code, and for 49 the sub-code of the diagnostic message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BindRefusal {
    pub method: BindMethod,
    /// The result code (RFC 4511), or the error code of the KDC (RFC 4120, 7.5.9).
    pub code: u32,
    /// Sub-code of AD: the hexadecimal number after `data`, or [`BAD_BINDINGS`].
    pub data: Option<u32>,
    pub text: String,
}

/// SEC_E_BAD_BINDINGS (MS-ERREF 2.1). A diagnostic message that begins with it has various
/// sub-codes.
const BAD_BINDINGS: u32 = 0x8009_0346;

/// KDC_ERR_C_PRINCIPAL_UNKNOWN (RFC 4120, 7.5.9).
const NO_PRINCIPAL: u32 = 6;
/// KDC_ERR_POLICY: the KDC's policy forbids it.
const POLICY: u32 = 12;
/// KDC_ERR_CLIENT_REVOKED: a disabled, expired or locked account.
const REVOKED: u32 = 18;
/// KDC_ERR_KEY_EXPIRED: an expired password.
const EXPIRED: u32 = 23;
/// KDC_ERR_PREAUTH_FAILED, which AD counts as a wrong password.
const WRONG_KEY: u32 = 24;
/// KRB_AP_ERR_BAD_INTEGRITY: the same for an account that needs no pre-authentication.
const UNDECIPHERABLE: u32 = 31;
/// The answers of a KDC that concern the account.
pub(super) const KDC_REFUSALS: [u32; 6] =
    [NO_PRINCIPAL, POLICY, REVOKED, EXPIRED, WRONG_KEY, UNDECIPHERABLE];

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
            method: BindMethod::Password,
            code,
            data: data.filter(|_| code == 49),
            text: text.trim_end_matches('\0').to_owned(),
        }
    }

    /// Parses the result of a refused SASL bind.
    pub(super) fn parse_kerberos(code: u32, text: &str) -> Self {
        Self { method: BindMethod::Kerberos, ..Self::parse(code, text) }
    }

    /// Returns the refusal of a KDC, for a key of this version.
    pub(super) fn by_kdc(code: u32, kvno: u32) -> Self {
        Self { method: BindMethod::Ticket, code, data: None, text: format!("kvno {kvno}") }
    }

    /// Returns when the bind may be retried, here or on another server.
    pub fn retry(&self) -> Retry {
        match (self.code, self.data) {
            (REVOKED | POLICY, _) if self.method == BindMethod::Ticket => Retry::Occasionally,
            _ if self.method == BindMethod::Ticket => Retry::Never,
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
            _ if self.method == BindMethod::Ticket => true,
            // A ticket is fresh, so its refusal is no wrong password.
            (49, None | Some(0x525 | 0x52e)) if self.method == BindMethod::Kerberos => false,
            (49, None) => true,
            (49, Some(data)) => {
                matches!(data, 0x525 | 0x52e | 0x530..=0x533 | 0x701 | 0x773 | 0x775)
            }
            // noSuchObject and invalidDNSyntax: no entry has the name.
            (code, _) => matches!(code, 32 | 34),
        }
    }

    /// Returns whether the server itself refuses, and not the KDC.
    pub(super) fn is_by_server(&self) -> bool {
        self.method != BindMethod::Ticket
    }

    /// Returns whether the server may have checked the password, for a reason of its own.
    ///
    /// Such a server is left alone for a while, because the attempt may count in AD.
    pub(super) fn is_servers_own(&self) -> bool {
        self.code == 49 && !self.concerns_account()
    }

    /// Returns the reason in words.
    pub fn finding(&self) -> String {
        match self.method {
            BindMethod::Ticket => return self.kdc_finding(),
            BindMethod::Kerberos if self.code == 49 && !self.concerns_account() => {
                return match self.data {
                    Some(BAD_BINDINGS) => {
                        "the server refuses the channel binding of this connection (80090346)"
                            .to_owned()
                    }
                    _ => format!("the server refuses the ticket: {}", self.text),
                };
            }
            BindMethod::Password | BindMethod::Kerberos => {}
        }
        let reason = match (self.code, self.data) {
            (8, _) if self.method == BindMethod::Kerberos => {
                "the server wants signing within TLS, as Samba before 4.21 does by default"
            }
            (7, _) => "the server does not offer a bind by Kerberos (authMethodNotSupported)",
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

    /// Returns the sub-code or the error code of the KDC for the label of a metric.
    pub fn label(&self) -> String {
        match (self.method, self.data) {
            (BindMethod::Ticket, _) => format!("kdc-{}", self.code),
            (_, Some(data)) => format!("{data:x}"),
            (_, None) => String::new(),
        }
    }

    fn kdc_finding(&self) -> String {
        let Self { code, text, .. } = self;
        match *code {
            NO_PRINCIPAL => "AD has no account of this principal (Kerberos error 6)".to_owned(),
            POLICY => {
                "the service account may not log on now or from here (Kerberos error 12)".to_owned()
            }
            REVOKED => "the service account is disabled, expired or locked out (Kerberos error 18)"
                .to_owned(),
            EXPIRED => "the service account's password has expired (Kerberos error 23)".to_owned(),
            code => format!(
                "the key in the keytab ({text}) is not the account's any more (Kerberos error {code})"
            ),
        }
    }

    fn kdc_remedy(&self) -> &'static str {
        match self.code {
            NO_PRINCIPAL => "check principal, and that the account exists",
            POLICY => "lift its logon hours and its workstation restriction (userWorkstations)",
            REVOKED => "enable it, extend its accountExpires or unlock it",
            EXPIRED => "let its password never expire, or let msktutil or adcli renew it",
            _ => {
                "export the keytab again, or let msktutil or adcli renew it (the account's msDS-KeyVersionNumber is the present kvno)"
            }
        }
    }

    /// Returns the remedy in the imperative.
    pub fn remedy(&self) -> &'static str {
        match self.method {
            BindMethod::Ticket => return self.kdc_remedy(),
            BindMethod::Kerberos if self.code == 49 && !self.concerns_account() => {
                return match self.data {
                    Some(BAD_BINDINGS) => {
                        "connect to the domain controller itself: a proxy or load balancer that ends TLS is in between"
                    }
                    _ => "see the server's System and Directory Service logs",
                };
            }
            BindMethod::Password | BindMethod::Kerberos => {}
        }
        match (self.code, self.data) {
            (8, _) if self.method == BindMethod::Kerberos => {
                "set ldap server require strong auth = allow_sasl_over_tls there, or bind with a password"
            }
            (7, _) => "use a domain controller of Active Directory, or bind with a password",
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
    fn each_refusal_of_a_kdc_concerns_the_account_and_names_a_remedy() {
        for (code, finding, remedy, retry) in [
            (6, "no account of this principal", "check principal", Retry::Never),
            (12, "may not log on", "logon hours", Retry::Occasionally),
            (18, "disabled, expired or locked out", "enable it", Retry::Occasionally),
            (23, "has expired", "never expire", Retry::Never),
            (24, "(kvno 3) is not the account's any more", "msDS-KeyVersionNumber", Retry::Never),
            (31, "(kvno 3) is not the account's any more", "export", Retry::Never),
        ] {
            let refusal = BindRefusal::by_kdc(code, 3);
            assert!(KDC_REFUSALS.contains(&code));
            assert!(refusal.concerns_account() && refusal.retry() == retry, "{code}");
            assert!(
                refusal.finding().contains(finding) && refusal.remedy().contains(remedy),
                "{code}: {refusal}"
            );
        }
    }

    #[test]
    fn a_refused_ticket_is_about_the_server_unless_the_account_is_disabled() {
        let refused = |data: &str| {
            let text = format!("80090308: LdapErr: DSID-0C0903A9, comment: …, data {data}, v4563");
            BindRefusal::parse_kerberos(49, &text)
        };
        for data in ["52e", "525", "57", ""] {
            let refusal = refused(data);
            assert!(!refusal.concerns_account() && refusal.is_servers_own(), "{data}");
            assert!(refusal.finding().contains("refuses the ticket"), "{data}: {refusal}");
        }
        assert!(refused("533").concerns_account() && refused("533").finding().contains("disabled"));
        let bindings = BindRefusal::parse_kerberos(49, "80090346: LdapErr: …, data 35b, v4563");
        assert!(bindings.to_string().contains("channel binding"), "{bindings}");
        assert!(bindings.remedy().contains("proxy"), "{bindings}");
        let signing = BindRefusal::parse_kerberos(8, "SASL:[GSSAPI]: Sign or Seal are required.");
        assert!(signing.to_string().contains("allow_sasl_over_tls"), "{signing}");
        let unknown = BindRefusal::parse_kerberos(7, "");
        assert!(unknown.to_string().contains("does not offer a bind by Kerberos"), "{unknown}");
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
