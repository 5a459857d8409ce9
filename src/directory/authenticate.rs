//! Whether a password is somebody's: one bind in their name, on a connection of its own that does nothing else.
//!
//! The password is sent once. Whatever AD says counts as its answer, also that it says nothing: another server would
//! count the same wrong password again.

use secrecy::{ExposeSecret as _, SecretString};

use super::session::Session;
use super::wire::Wire;
use super::{Again, BindRefusal, DirectoryError, Settings};
use crate::model::Guid;

/// A password that is not empty: a bind with an empty one succeeds as nobody (RFC 4513, 5.1.2).
#[derive(Debug)]
pub struct Password(SecretString);

impl Password {
    /// The password, if there is one.
    pub fn new(text: SecretString) -> Option<Self> {
        (!text.expose_secret().is_empty()).then_some(Self(text))
    }
}

/// What AD says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Credentials {
    /// The password is right, and it is that person's.
    Right,
    /// The password is right, but somebody else has that name by now.
    SomebodyElse,
    /// AD refuses it.
    Refused(BindRefusal),
}

impl BindRefusal {
    /// What AD says of a person who signs in, for the log.
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

    /// Whether it may only be that nobody has the name any more that was given: AD does not tell that from a wrong password.
    pub fn may_be_the_name(&self) -> bool {
        matches!(self.data, None | Some(0x525 | 0x52e))
    }

    /// Whether it tells of something that a run would act on: disabled or expired.
    pub fn tells_of_a_leaver(&self) -> bool {
        matches!(self.data, Some(0x533 | 0x701))
    }
}

/// Tries the password of the person with this GUID, whose entry has this name. Servers that cannot be reached are passed over.
pub async fn authenticate(
    settings: &Settings,
    preferred: Option<&str>,
    name: &str,
    person: Guid,
    password: &Password,
) -> Result<Credentials, DirectoryError> {
    let mut errors = Vec::new();
    for url in settings.servers_from(preferred) {
        let wire = match Wire::connect(url, settings).await {
            Ok(wire) => wire,
            Err(source) => {
                errors.push(DirectoryError::Wire { server: url.to_string(), source });
                continue;
            }
        };
        let mut session = Session::over(url, wire, settings);
        match session.bind(name, &password.0).await {
            Ok(()) => {}
            Err(DirectoryError::Refused { server, refusal }) => {
                // A server that is busy, or does not want to be asked like this, has looked at no password.
                if refusal.again() == Again::Yes {
                    errors.push(DirectoryError::Refused { server, refusal });
                    continue;
                }
                return Ok(Credentials::Refused(refusal));
            }
            Err(error) => return Err(error),
        }
        let own = session.object(name, &["objectGUID".to_owned()]).await?.and_then(|object| object.guid());
        return match own {
            Some(guid) if guid == person => Ok(Credentials::Right),
            Some(_) => Ok(Credentials::SomebodyElse),
            None => Err(DirectoryError::Unsuitable {
                server: url.to_string(),
                problem: "does not let people read the objectGUID of their own entry",
                remedy: "give SELF the right to read public information, or nobody can sign in",
            }),
        };
    }
    Err(DirectoryError::NoServer(errors))
}
