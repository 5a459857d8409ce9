//! Password verification by a bind in the person's name, on a connection that serves nothing else.
//!
//! AD locks an account after a few wrong passwords, so a password is sent once. A second server is
//! tried if the first one surely did not check the password. After a lost response a second bind
//! could be counted again, so there is none. After a refusal for a reason of the server's own, the
//! caller may count another attempt and try one more server.

use secrecy::{ExposeSecret as _, SecretString};

use super::session::Session;
use super::{BindRefusal, DirectoryError, Elapsed, Servers, Settings, Use};
use crate::model::Guid;

/// The longest password of Active Directory, in UTF-16 code units (MS-SAMR, 2.2.6.21).
const LONGEST_PASSWORD: usize = 256;

/// A password that AD can accept: not empty, without a NUL, and no longer than the limit of AD.
#[derive(Debug)]
pub struct Password(SecretString);

/// The reason why a text cannot be a password. Such a text is never sent to a server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PasswordFault {
    /// A bind with an empty password succeeds as anonymous (RFC 4513, 5.1.2).
    Empty,
    /// A server that reads up to the first NUL would accept another password than the one typed.
    Nul,
    /// A server that truncates would accept another password than the one typed.
    TooLong,
}

impl Password {
    /// Checks a text; an invalid one is never sent.
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

/// Result of a bind in the person's name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Credentials {
    /// The password is valid for this person.
    Valid,
    /// The password is valid, but the name now belongs to another entry.
    OtherPerson,
    Refused(BindRefusal),
}

/// Effect of an attempt on badPwdCount.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BadPasswordCount {
    /// No password was sent, or the result of AD excludes an effect.
    Unchanged,
    /// There is no response, or none that excludes an effect.
    MayHaveRisen,
}

/// Outcome of one sign-in attempt.
#[derive(Debug)]
pub struct BindAttempt {
    /// The server that received the password; empty if none did.
    pub server: String,
    pub answer: Result<Credentials, DirectoryError>,
    pub count: BadPasswordCount,
}

impl BindRefusal {
    /// Returns the reason for a refused sign-in of a person, for the log.
    pub fn sign_in_reason(&self) -> &'static str {
        match self.data {
            Some(0x525) => "AD has no account of that name (525)",
            Some(0x52e) => "the password is wrong (52e)",
            Some(0x530) => "not at this hour (530)",
            Some(0x531) => "not from this machine (531)",
            Some(0x532) => "the password has expired (532)",
            Some(0x533) => "the account is disabled (533)",
            Some(0x701) => "the account has expired (701)",
            Some(0x773) => "the password must be changed first (773)",
            Some(0x775) => "the account is locked out (775)",
            _ if self.concerns_account() => "AD refuses the credentials",
            Some(0x51f) => "the server finds no domain controller to check the password (51f)",
            Some(0x54f) => "the server cannot check the password (54f)",
            Some(0x569) => "the person may not log on to this server (569)",
            _ => "the server refuses the bind for a reason of its own",
        }
    }

    /// Returns whether the account is disabled or expired, so that a run would suspend the user.
    pub fn indicates_leaver(&self) -> bool {
        matches!(self.data, Some(0x533 | 0x701))
    }

    /// Returns whether the refusal may have raised the account's badPwdCount.
    ///
    /// 525 names no account. AD returns 530 to 533, 701 and 773 only for a valid password. It
    /// returns 775 for any password: if the PDC emulator reports the lockout, the forwarding server
    /// may have counted. Other codes, and 49 without a sub-code, exclude nothing.
    pub fn bad_password_count(&self) -> BadPasswordCount {
        match (self.code, self.data) {
            // noSuchObject (32) and invalidDNSyntax (34): no entry has the name.
            (49, Some(0x525 | 0x530..=0x533 | 0x701 | 0x773)) | (32 | 34, _) => {
                BadPasswordCount::Unchanged
            }
            _ if self.is_unchecked() => BadPasswordCount::Unchanged,
            _ => BadPasswordCount::MayHaveRisen,
        }
    }

    /// Returns whether the server did not check the password: strongerAuthRequired, busy or
    /// unavailable.
    fn is_unchecked(&self) -> bool {
        matches!(self.code, 8 | 51 | 52)
    }
}

/// Verifies the password of the person with this GUID by binding as `name`. Servers that do not
/// answer and the one in `skip` are skipped.
pub async fn authenticate(
    servers: &Servers,
    settings: &Settings,
    skip: Option<&str>,
    name: &str,
    person: Guid,
    password: &Password,
    now: Elapsed<'_>,
) -> BindAttempt {
    let (mut left, mut errors) = servers.candidates(settings, Use::LookUp, now());
    left.retain(|url| Some(url.to_string().as_str()) != skip);
    while let Some((_, session)) = servers.connect(&mut left, settings, &mut errors, now).await {
        match ask(session, name, person, password).await {
            Ok(attempted) => return attempted,
            Err(error) => errors.push(error),
        }
    }
    BindAttempt {
        server: String::new(),
        answer: Err(DirectoryError::NoServer(errors)),
        count: BadPasswordCount::Unchanged,
    }
}

/// Sends the password to one server. After an error the password is surely unchecked.
async fn ask(
    mut session: Session,
    name: &str,
    person: Guid,
    password: &Password,
) -> Result<BindAttempt, DirectoryError> {
    let server = session.server.clone();
    match session.bind(name, &password.0).await {
        Ok(()) => {
            let answer = compare_sid(&mut session, person).await;
            Ok(BindAttempt { server, answer, count: BadPasswordCount::Unchanged })
        }
        Err(error @ DirectoryError::Refused { .. })
            if error.refusal().is_some_and(BindRefusal::is_unchecked) =>
        {
            Err(error)
        }
        Err(DirectoryError::Refused { refusal, .. }) => {
            let count = refusal.bad_password_count();
            Ok(BindAttempt { server, answer: Ok(Credentials::Refused(refusal)), count })
        }
        Err(error) => {
            Ok(BindAttempt { server, answer: Err(error), count: BadPasswordCount::MayHaveRisen })
        }
    }
}

/// Compares the bound SID with the person's `objectSid`.
///
/// A bind that the server treats as anonymous is therefore never a sign-in.
async fn compare_sid(session: &mut Session, person: Guid) -> Result<Credentials, DirectoryError> {
    let bound = session.bound_sid().await?;
    let entry = session.object(&format!("<GUID={person}>"), &["objectSid".to_owned()]).await?;
    match entry.as_ref().and_then(|entry| entry.bytes("objectSid")) {
        Some(sid) if sid == bound.as_bytes() => Ok(Credentials::Valid),
        Some(_) => Ok(Credentials::OtherPerson),
        None => Err(session.unsuitable(
            "does not let people read the objectSid of their own entry",
            "give SELF the right to read general information, else every sign-in fails",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_a_truncatable_and_an_overlong_text_are_rejected_as_passwords() {
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
    fn a_refusal_may_raise_bad_pwd_count_unless_its_code_excludes_that() {
        let refusal = |data: &str| {
            BindRefusal::parse(
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
                BindRefusal::parse(code, "").bad_password_count(),
                BadPasswordCount::Unchanged,
                "{code}"
            );
        }
        for code in [1, 2, 7, 11, 19, 48, 49, 50, 53, 80] {
            assert_eq!(
                BindRefusal::parse(code, "").bad_password_count(),
                BadPasswordCount::MayHaveRisen,
                "{code}"
            );
        }
    }
}
