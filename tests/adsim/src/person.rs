//! A person to be added.

use std::time::SystemTime;

use crate::directory::Who;
use crate::identity::ticks;
use crate::schema::Kind;

/// The value of accountExpires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    /// Never, in the form of new accounts: 9223372036854775807.
    Never,
    /// Never, in the form of the other tools: 0.
    NeverAsZero,
    At(SystemTime),
    /// At a time in 100 ns since 1601.
    Ticks(i64),
}

impl From<SystemTime> for Expiry {
    fn from(at: SystemTime) -> Self {
        Self::At(at)
    }
}

impl Expiry {
    pub(crate) fn ticks(self) -> i64 {
        match self {
            Self::Never => i64::MAX,
            Self::NeverAsZero => 0,
            Self::At(at) => ticks(at),
            Self::Ticks(ticks) => ticks,
        }
    }
}

/// A person to be added with [`Ad::add_person`](crate::Ad::add_person): enabled, never expiring, in
/// Domain Users.
#[derive(Debug, Clone)]
#[must_use]
pub struct NewPerson {
    pub(crate) sam: String,
    pub(crate) cn: Option<String>,
    pub(crate) container: Option<Who>,
    pub(crate) kind: Kind,
    pub(crate) upn: Option<String>,
    pub(crate) attributes: Vec<(String, Vec<Vec<u8>>)>,
    pub(crate) manager: Option<Who>,
    pub(crate) control: i64,
    pub(crate) expiry: Expiry,
    pub(crate) groups: Vec<Who>,
    pub(crate) password: Option<String>,
}

impl NewPerson {
    /// A person with this sAMAccountName. userPrincipalName is that `@` the domain; cn and
    /// displayName are the same until [`name`](Self::name) or [`cn`](Self::cn) is called. The
    /// container is CN=Users until [`ou`](Self::ou) is called.
    pub fn new(sam: impl Into<String>) -> Self {
        Self {
            sam: sam.into(),
            cn: None,
            container: None,
            kind: Kind::Person,
            upn: None,
            attributes: Vec::new(),
            manager: None,
            control: 512,
            expiry: Expiry::Never,
            groups: Vec::new(),
            password: None,
        }
    }

    /// givenName, sn, and displayName and cn made of both.
    pub fn name(self, given: &str, surname: &str) -> Self {
        let both = format!("{given} {surname}");
        let cn = self.cn.clone().unwrap_or_else(|| both.clone());
        self.with("givenName", given).with("sn", surname).with("displayName", &both).cn(&cn)
    }

    /// cn, the person's own part of the DN.
    pub fn cn(mut self, cn: &str) -> Self {
        self.cn = Some(cn.to_owned());
        self
    }

    /// mail, and proxyAddresses with it as the primary.
    pub fn mail(self, address: &str) -> Self {
        self.with("mail", address).with_values("proxyAddresses", [format!("SMTP:{address}")])
    }

    pub fn ou(mut self, container: impl Into<Who>) -> Self {
        self.container = Some(container.into());
        self
    }

    /// Another userPrincipalName than the sAMAccountName `@` the domain.
    pub fn upn(mut self, upn: &str) -> Self {
        self.upn = Some(upn.to_owned());
        self
    }

    pub fn with(self, attribute: &str, value: &str) -> Self {
        self.with_values(attribute, [value.to_owned()])
    }

    /// An attribute of several values, text or bytes; replaces earlier values.
    pub fn with_values<V: Into<Vec<u8>>>(
        mut self,
        attribute: &str,
        values: impl IntoIterator<Item = V>,
    ) -> Self {
        self.attributes.retain(|(name, _)| !name.eq_ignore_ascii_case(attribute));
        self.attributes.push((attribute.to_owned(), values.into_iter().map(Into::into).collect()));
        self
    }

    pub fn manager(mut self, who: impl Into<Who>) -> Self {
        self.manager = Some(who.into());
        self
    }

    pub fn member_of(mut self, group: impl Into<Who>) -> Self {
        self.groups.push(group.into());
        self
    }

    /// Disabled from the beginning, as new hires are staged.
    pub fn disabled(mut self) -> Self {
        self.control |= 2;
        self
    }

    /// The whole userAccountControl.
    pub fn control(mut self, bits: i64) -> Self {
        self.control = bits;
        self
    }

    pub fn expires(mut self, expiry: impl Into<Expiry>) -> Self {
        self.expiry = expiry.into();
        self
    }

    /// The password for binds; by default that of the simulator.
    pub fn password(mut self, password: &str) -> Self {
        self.password = Some(password.to_owned());
        self
    }

    /// Another class that signs in: `inetOrgPerson`, a computer, a managed service account.
    pub fn kind(mut self, kind: Kind) -> Self {
        assert!(kind.signs_in(), "a {kind:?} is added with a function of its own");
        self.kind = kind;
        self
    }
}
