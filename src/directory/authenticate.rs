//! Whether a password is a person's: one bind in the person's name, on a connection of its own that does nothing else.
//!
//! AD locks an account after a few wrong passwords, so a password is sent once. A second server is asked only after an answer
//! that says that no password was looked at. A lost answer, a refusal under another name and a refusal by a busy account
//! are answers: another bind could be counted again.

use secrecy::{ExposeSecret as _, SecretString};

use super::session::Session;
use super::wire::Wire;
use super::{BindRefusal, DirectoryError, Settings};
use crate::model::{Guid, ServerUrl};

/// The longest password of Active Directory, in UTF-16 code units (MS-SAMR, 2.2.6.21).
const LONGEST_PASSWORD: usize = 256;

/// A password that can be somebody's: not empty, without a NUL, and no longer than AD's longest.
#[derive(Debug)]
pub struct Password(SecretString);

/// The reason why a text is nobody's password. It is not sent to a server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PasswordFault {
    /// A bind with an empty password succeeds as anonymous (RFC 4513, 5.1.2).
    Empty,
    /// Servers that take a password up to its first NUL would accept another one than was typed.
    Nul,
    /// A server that cuts a password off would accept another one than was typed.
    TooLong,
}

impl Password {
    /// Returns the password, if the text can be one.
    pub fn new(text: SecretString) -> Result<Self, PasswordFault> {
        let exposed = text.expose_secret();
        if exposed.is_empty() {
            return Err(PasswordFault::Empty);
        }
        if exposed.contains('\0') {
            return Err(PasswordFault::Nul);
        }
        if exposed.encode_utf16().nth(LONGEST_PASSWORD).is_some() {
            return Err(PasswordFault::TooLong);
        }
        Ok(Self(text))
    }
}

/// AD's answer to a password.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Credentials {
    /// The password is right, and it is that person's.
    Right,
    /// The password is right, but another entry has that name by now.
    SomebodyElse,
    /// AD refuses it.
    Refused(BindRefusal),
}

/// Whether AD may have counted an attempt as a wrong password.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BadPasswordCount {
    /// Surely not: no password was sent, or AD's answer says so.
    Unchanged,
    /// Perhaps: there is no answer, or none that excludes it.
    MayHaveRisen,
}

/// The outcome of one attempt.
#[derive(Debug)]
pub struct Attempted {
    /// The server that the password was sent to; empty where it was sent to none.
    pub server: String,
    /// AD's answer, if there is one.
    pub answer: Result<Credentials, DirectoryError>,
    /// Whether AD may have counted it.
    pub count: BadPasswordCount,
}

impl BindRefusal {
    /// Returns AD's reason for refusing a person's sign-in, for the log.
    pub fn of_person(&self) -> &'static str {
        match self.data {
            Some(0x525) => "AD knows nobody of that name (525)",
            Some(0x52e) => "the password is wrong (52e)",
            Some(0x530) => "not at this hour (530)",
            Some(0x531) => "not from this machine (531)",
            Some(0x532) => "the password has expired (532)",
            Some(0x533) => "the account is disabled (533)",
            Some(0x701) => "the account has expired (701)",
            Some(0x773) => "the password must be changed first (773)",
            Some(0x775) => "the account is locked out (775)",
            _ => "AD refuses the credentials",
        }
    }

    /// Returns whether it shows something that a run would act on: disabled or expired.
    pub fn tells_of_a_leaver(&self) -> bool {
        matches!(self.data, Some(0x533 | 0x701))
    }

    /// Returns whether the refusal may have raised the account's badPwdCount.
    ///
    /// 525 names no account. 530 to 533, 701 and 773 are given beside the right password only. 775 is given beside any: where
    /// the PDC emulator says that the account is locked, the server that asked it may have counted. Of any other code, and of
    /// 49 without a sub-code, nothing is known.
    pub fn bad_password_count(&self) -> BadPasswordCount {
        match (self.code, self.data) {
            // 32 and 34, noSuchObject and invalidDNSyntax: no entry has the name.
            (49, Some(0x525 | 0x530..=0x533 | 0x701 | 0x773)) | (32 | 34, _) => {
                BadPasswordCount::Unchanged
            }
            _ if self.is_about_the_server() => BadPasswordCount::Unchanged,
            _ => BadPasswordCount::MayHaveRisen,
        }
    }

    /// Returns whether the server looked at no password: strongerAuthRequired, busy, unavailable. Another one may be asked.
    fn is_about_the_server(&self) -> bool {
        matches!(self.code, 8 | 51 | 52)
    }
}

/// Tries the password of the person with this GUID, whose entry has this name. Servers that cannot be reached are passed over.
pub async fn authenticate(
    settings: &Settings,
    preferred: Option<&str>,
    name: &str,
    person: Guid,
    password: &Password,
) -> Attempted {
    let mut errors = Vec::new();
    for url in settings.servers_from(preferred) {
        match try_server(url, settings, name, person, password).await {
            Ok(attempted) => return attempted,
            Err(error) => errors.push(error),
        }
    }
    Attempted {
        server: String::new(),
        answer: Err(DirectoryError::NoServer(errors)),
        count: BadPasswordCount::Unchanged,
    }
}

/// Sends the password to one server. An error says that this server has looked at no password.
async fn try_server(
    url: &ServerUrl,
    settings: &Settings,
    name: &str,
    person: Guid,
    password: &Password,
) -> Result<Attempted, DirectoryError> {
    let server = url.to_string();
    let wire = Wire::connect(url, settings)
        .await
        .map_err(|source| DirectoryError::Wire { server: server.clone(), source })?;
    let mut session = Session::over(url, wire, settings);
    match session.bind(name, &password.0).await {
        Ok(()) => {
            let answer = whose(&mut session, person).await;
            Ok(Attempted { server, answer, count: BadPasswordCount::Unchanged })
        }
        Err(error @ DirectoryError::Refused { .. })
            if error.refusal().is_some_and(BindRefusal::is_about_the_server) =>
        {
            Err(error)
        }
        Err(DirectoryError::Refused { refusal, .. }) => {
            let count = refusal.bad_password_count();
            Ok(Attempted { server, answer: Ok(Credentials::Refused(refusal)), count })
        }
        Err(error) => {
            Ok(Attempted { server, answer: Err(error), count: BadPasswordCount::MayHaveRisen })
        }
    }
}

/// Returns whose the connection is after a bind that succeeded: the first SID of the rootDSE's `tokenGroups` is compared with
/// the person's `objectSid`. A bind that the server took for anonymous is therefore never a sign-in.
async fn whose(session: &mut Session, person: Guid) -> Result<Credentials, DirectoryError> {
    let bound = session.own_sid().await?;
    let entry = session.object(&format!("<GUID={person}>"), &["objectSid".to_owned()]).await?;
    match entry.as_ref().and_then(|entry| entry.bytes("objectSid")) {
        Some(sid) if sid == bound => Ok(Credentials::Right),
        Some(_) => Ok(Credentials::SomebodyElse),
        None => Err(session.unsuitable(
            "does not let people read the objectSid of their own entry",
            "give SELF the right to read general information, or nobody can sign in",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse_refusal;
    use super::*;

    #[test]
    fn an_empty_a_truncatable_and_an_overlong_text_is_no_password() {
        let password = |text: &str| Password::new(SecretString::from(text.to_owned())).map(drop);
        assert_eq!(password(""), Err(PasswordFault::Empty));
        for text in ["\0", "secret\0", "\0secret", "sec\0ret"] {
            assert_eq!(password(text), Err(PasswordFault::Nul), "{text:?}");
        }
        for (text, is_password) in [
            ("a".repeat(256), true),
            ("a".repeat(257), false),
            ("ä".repeat(256), true),
            ("\u{1f511}".repeat(128), true),
            ("\u{1f511}".repeat(129), false),
        ] {
            assert_eq!(password(&text).is_ok(), is_password, "{} bytes", text.len());
        }
    }

    #[test]
    fn a_refusal_counts_unless_it_surely_did_not() {
        let refusal = |data: &str| {
            parse_refusal(
                49,
                &format!("80090308: LdapErr: DSID-0C0903A9, comment: …, data {data}, v1db1"),
            )
        };
        for data in ["525", "530", "531", "532", "533", "701", "773"] {
            assert_eq!(refusal(data).bad_password_count(), BadPasswordCount::Unchanged, "{data}");
        }
        for data in ["52e", "775", "57", "80090346", "0", "568", "nonsense"] {
            assert_eq!(
                refusal(data).bad_password_count(),
                BadPasswordCount::MayHaveRisen,
                "{data}"
            );
        }
        for code in [8, 32, 34, 51, 52] {
            assert_eq!(
                parse_refusal(code, "").bad_password_count(),
                BadPasswordCount::Unchanged,
                "{code}"
            );
        }
        for code in [1, 2, 7, 11, 19, 48, 49, 50, 53, 80] {
            assert_eq!(
                parse_refusal(code, "").bad_password_count(),
                BadPasswordCount::MayHaveRisen,
                "{code}"
            );
        }
    }
}
