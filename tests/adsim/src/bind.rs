//! Binds: names, passwords and AD's refusals.

use std::time::SystemTime;

use crate::directory::Ad;
use crate::entry::Id;
use crate::frames::Outcome;
use crate::identity::ticks;
use crate::schema::at;

const BAD_PASSWORD: &str = "52e";

/// A refusal in AD's words.
pub(crate) fn refused(code: &str) -> Outcome {
    Outcome::new(
        49,
        format!(
            "80090308: LdapErr: DSID-0C0903A9, comment: AcceptSecurityContext error, data {code}, v1db1"
        ),
    )
}

/// The answer to a simple bind without TLS.
pub(crate) fn needs_tls() -> Outcome {
    Outcome::new(
        8,
        "00002028: LdapErr: DSID-0C090259, comment: The server requires binds to turn on integrity checking if SSL\\TLS are not already active on the connection, data 0, v4563",
    )
}

impl Ad {
    /// Checks a name and password. Sub-codes of disabled and expired accounts need the right
    /// password.
    pub(crate) fn authenticate(
        &self,
        name: &str,
        password: &[u8],
        now: SystemTime,
    ) -> Result<Id, Outcome> {
        let found = match name.split_once('\\') {
            Some((_, sam)) => self.by_sam(sam),
            None if name.contains('=') => self.by_dn(name),
            None => self.by_upn(name),
        };
        let account = found.and_then(|id| self.get(id).map(|entry| (id, entry)));
        let Some((id, entry)) =
            account.filter(|(_, entry)| entry.kind.signs_in() && !entry.deleted)
        else {
            return Err(refused(BAD_PASSWORD));
        };
        let locked = entry.attributes.number(at::LOCKOUT_TIME).is_some_and(|at| at > 0);
        if locked {
            return Err(refused("775"));
        }
        let expected = self.passwords.get(&id).unwrap_or(&self.default_password);
        if expected.as_bytes() != password {
            return Err(refused(BAD_PASSWORD));
        }
        let bits = entry.attributes.number(at::USER_ACCOUNT_CONTROL).unwrap_or(0);
        if bits & 2 != 0 {
            return Err(refused("533"));
        }
        let expires = entry.attributes.number(at::ACCOUNT_EXPIRES).unwrap_or(0);
        if expires != 0 && expires <= ticks(now) {
            return Err(refused("701"));
        }
        if entry.attributes.number(at::PWD_LAST_SET) == Some(0) {
            return Err(refused("773"));
        }
        Ok(id)
    }

    /// The domain's NetBIOS name.
    pub(crate) fn short_name(&self) -> String {
        self.domain.split('.').next().unwrap_or_default().to_uppercase()
    }
}
