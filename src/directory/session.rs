//! A bound connection to one server, with the identities of both sides.

use std::net::IpAddr;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::{Instant, timeout};

use super::dial::{self, Dialled};
use super::root_dse::{READ_ONLY, RootDse, generalized_time};
use super::secret::Secret;
use super::wire::Wire;
use super::wire_error::{Step, WireError};
use super::{BindRefusal, DirectoryError, Greeting, Object, Settings};
use crate::model::{Guid, ServerUrl, Sid, Timestamp};
use crate::reconcile::ServerIdentity;

/// A server that does not answer a small request within this time is dead.
pub(super) const SIGN_OF_LIFE: Duration = Duration::from_secs(5);
/// SID of the anonymous user (MS-DTYP 2.4.2.4).
const ANONYMOUS: &str = "S-1-5-7";

/// A bound connection to one server.
#[derive(Debug)]
pub struct Session {
    /// The server's URL.
    pub server: String,
    /// The same, with the address of this connection as its only one.
    url: ServerUrl,
    /// The description that the server gave before the bind.
    pub greeting: Greeting,
    /// The channel binding of the connection.
    pub(super) binding: Vec<u8>,
    /// The time at which the session is to be replaced, because its ticket ends.
    pub(super) renew_at: Option<Instant>,
    /// End of the validity of the server's certificate.
    pub(super) certificate_until: Timestamp,
    pub root: RootDse,
    /// The entry of the service account.
    pub service_account: Object,
    pub(super) wire: Option<Wire>,
    pub(super) wait: Duration,
    /// The time limit of each answer until the service account is bound.
    pub(super) connect_wait: Duration,
}

impl Session {
    /// Connects to one server with TLS, without a bind. Where DNS does not answer, the server's
    /// last address is used.
    pub(super) async fn connect(
        url: &ServerUrl,
        settings: &Settings,
        last_address: Option<IpAddr>,
    ) -> Result<Self, DirectoryError> {
        let failed = |source| DirectoryError::Wire { server: url.to_string(), source };
        let addresses = dial::resolve(url, settings, last_address).await.map_err(failed)?;
        let dialled = dial::dial(url, settings, &addresses).await.map_err(failed)?;
        Self::over(url, dialled, settings).await
    }

    /// Makes an anonymous session of a connection, with a server that may get a password.
    pub(super) async fn over(
        url: &ServerUrl,
        dialled: Dialled,
        settings: &Settings,
    ) -> Result<Self, DirectoryError> {
        let server = url.to_string();
        let wire = Wire::over(dialled.stream)
            .await
            .map_err(|source| DirectoryError::Wire { server: server.clone(), source })?;
        let mut session = Self {
            server,
            url: ServerUrl { addresses: vec![dialled.address.ip()], ..url.clone() },
            greeting: Greeting::default(),
            binding: dialled.binding,
            renew_at: None,
            certificate_until: dialled.certificate.until,
            root: RootDse::default(),
            service_account: Object::default(),
            wire: Some(wire),
            wait: settings.timeouts.connect,
            connect_wait: settings.timeouts.connect,
        };
        session.greeting = session.greet().await?;
        session.wait = settings.timeouts.operation;
        Ok(session)
    }

    /// Binds the service account, and reads the identities of both sides.
    ///
    /// Each answer has the time limit of a connection, so that a server that freezes is left soon.
    pub(super) async fn log_in(&mut self, secret: &Secret) -> Result<(), DirectoryError> {
        let wait = self.wait;
        self.limit_wait(self.connect_wait);
        match secret {
            Secret::Password(name, password) => self.bind(name, password).await?,
            Secret::Kerberos(login) => {
                let mut exchange = self.begin_kerberos(login).await?;
                let token = exchange.token().await?;
                self.bind_gssapi(exchange, token).await?;
            }
        }
        self.identify().await?;
        self.wait = wait;
        Ok(())
    }

    /// Returns the server's URL with the address of this connection as its only one.
    pub fn url(&self) -> &ServerUrl {
        &self.url
    }

    pub(super) async fn bind(
        &mut self,
        name: &str,
        password: &SecretString,
    ) -> Result<(), DirectoryError> {
        let wait = self.wait;
        let Some(wire) = self.wire.as_mut() else { return Err(self.connection_error(None)) };
        let answer = timeout(wait, wire.ldap.simple_bind(name, password.expose_secret())).await;
        match answer {
            Ok(Ok(result)) if result.rc == 0 => Ok(()),
            Ok(Ok(result)) => Err(DirectoryError::Refused {
                server: self.server.clone(),
                refusal: BindRefusal::parse(result.rc, &result.text),
            }),
            Ok(Err(error)) => Err(self.connection_error(Some(&error))),
            Err(_) => Err(self.timed_out(Step::Bind, wait)),
        }
    }

    /// Reads the rootDSE, the identity of the server, and the entry of the service account.
    pub(super) async fn identify(&mut self) -> Result<(), DirectoryError> {
        self.root = self.read_root().await?;
        if self.root.is_read_only {
            return Err(self.read_only());
        }
        let sid = self.bound_sid().await?;
        let entry = self.object(&format!("<SID={sid}>"), &["*".to_owned()]).await?;
        self.service_account = entry.ok_or_else(|| {
            self.unsuitable(
                "does not let the service account read its own entry",
                "give it the right to",
            )
        })?;
        Ok(())
    }

    /// Returns the SID of the bound account: the first of the rootDSE's `tokenGroups`. Anonymous is
    /// an error.
    pub(super) async fn bound_sid(&mut self) -> Result<Sid, DirectoryError> {
        let names = ["tokenGroups".to_owned()];
        let token = self.object("", &names).await?.unwrap_or_default();
        let sid = token.attributes.get("tokengroups").and_then(|sids| sids.first());
        let Some(sid) = sid.and_then(|sid| Sid::from_ad(sid)) else {
            return Err(self.unsuitable(
                "does not show the bound account (no tokenGroups in the rootDSE)",
                "use a domain controller of Active Directory",
            ));
        };
        if sid.to_string() == ANONYMOUS {
            return Err(DirectoryError::Anonymous { server: self.server.clone() });
        }
        Ok(sid)
    }

    pub(super) fn unsuitable(&self, problem: &'static str, remedy: &'static str) -> DirectoryError {
        DirectoryError::Unsuitable { server: self.server.clone(), problem, remedy }
    }

    /// Reads the rootDSE and the identity of the server's database.
    pub async fn read_root(&mut self) -> Result<RootDse, DirectoryError> {
        let names = [
            "defaultNamingContext",
            "configurationNamingContext",
            "schemaNamingContext",
            "currentTime",
            "dsServiceName",
            "supportedCapabilities",
            "vendorName",
            "highestCommittedUSN",
        ];
        let names = names.map(str::to_owned);
        let root = self.object("", &names).await?.unwrap_or_default();
        let text = |name: &str| root.text(name).unwrap_or_default().to_owned();
        let ds_service_name = text("dsServiceName");
        let mut identity =
            ServerIdentity { ds_service_name: ds_service_name.clone(), invocation_id: None };
        if !ds_service_name.is_empty() {
            let settings = self
                .object(&ds_service_name, &["invocationId".to_owned()])
                .await?
                .unwrap_or_default();
            identity.invocation_id = settings.bytes("invocationId").and_then(Guid::from_ad);
        }
        let default_naming_context = text("defaultNamingContext");
        if default_naming_context.is_empty() {
            return Err(self.unsuitable(
                "holds no domain (no defaultNamingContext in the rootDSE)",
                "use a domain controller of Active Directory",
            ));
        }
        Ok(RootDse {
            default_naming_context,
            configuration_naming_context: text("configurationNamingContext"),
            schema_naming_context: text("schemaNamingContext"),
            current_time: root.text("currentTime").and_then(generalized_time),
            identity,
            usn: text("highestCommittedUSN").parse().unwrap_or(0),
            is_read_only: root
                .attributes
                .get("supportedcapabilities")
                .is_some_and(|all| all.iter().any(|c| c == READ_ONLY.as_bytes())),
            vendor: text("vendorName"),
        })
    }

    /// Reads highestCommittedUSN within the time limit of a sign of life.
    pub async fn sign_of_life(&mut self) -> Result<u64, DirectoryError> {
        let wait = self.wait;
        self.limit_wait(SIGN_OF_LIFE);
        let usn = self.highest_usn().await;
        self.wait = wait;
        usn
    }

    /// Reads highestCommittedUSN; 0 where the server does not show it.
    pub async fn highest_usn(&mut self) -> Result<u64, DirectoryError> {
        let root = self.object("", &["highestCommittedUSN".to_owned()]).await?.unwrap_or_default();
        Ok(root.text("highestCommittedUSN").and_then(|usn| usn.parse().ok()).unwrap_or(0))
    }

    /// Lowers the time limit of each response.
    pub fn limit_wait(&mut self, wait: Duration) {
        self.wait = self.wait.min(wait);
    }

    /// Returns whether the connection is open.
    pub fn is_open(&self) -> bool {
        self.wire.is_some()
    }

    /// Closes the connection, because responses to an abandoned search may still arrive.
    pub fn close(&mut self) {
        self.wire = None;
    }

    pub(super) fn search_error(&self, base: &str, code: u32, mut text: String) -> DirectoryError {
        // The best match may be a person, and logs must not name people.
        text.truncate(text.find(", best match of").unwrap_or(text.len()));
        DirectoryError::Search { server: self.server.clone(), base: base.to_owned(), code, text }
    }

    /// Closes the connection and returns the error that ended it.
    pub(super) fn connection_error(&mut self, error: Option<&ldap3::LdapError>) -> DirectoryError {
        let source = self.wire.take().map_or(WireError::Cut, |wire| wire.explain(error));
        DirectoryError::Wire { server: self.server.clone(), source }
    }

    /// Closes the connection after a timeout, because a late response could be taken for another
    /// one.
    pub(super) fn timed_out(&mut self, step: Step, after: Duration) -> DirectoryError {
        if self.wire.as_ref().is_some_and(Wire::has_failed) {
            return self.connection_error(None);
        }
        self.wire = None;
        DirectoryError::Wire {
            server: self.server.clone(),
            source: WireError::Timeout { step, after },
        }
    }
}
