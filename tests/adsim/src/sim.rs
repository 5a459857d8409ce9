//! A running simulator, and its builder.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use tokio::net::{TcpListener, TcpSocket};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::connection::{Shared, serve};
use crate::directory::Ad;
use crate::entry::Id;
use crate::fault::Faults;
use crate::log::Log;
use crate::population::populate;
use crate::rootdse::{Notifications, ReadOnly, Server};
use crate::schema::at;
use crate::tls::{Authority, Certificate};

const BACKLOG: u32 = 1024;
const DEFAULT_SITE: &str = "Default-First-Site-Name";

/// The settings of a simulator.
#[derive(Debug, Clone)]
#[must_use]
pub struct Builder {
    domain: String,
    mail_domain: String,
    people: usize,
    seed: u64,
    service: (String, String),
    server: String,
    address: IpAddr,
    certificate: Certificate,
    max_page_size: usize,
    max_values: usize,
}

impl Builder {
    /// The domain's DNS name; by default `corp.example.com`.
    pub fn domain(mut self, domain: &str) -> Self {
        domain.clone_into(&mut self.domain);
        self
    }

    /// The domain of people's addresses; by default `example.com`.
    pub fn mail_domain(mut self, domain: &str) -> Self {
        domain.clone_into(&mut self.mail_domain);
        self
    }

    /// The number of people, with the OUs and groups of [`names`](crate::names). By default none of
    /// them.
    pub fn people(mut self, people: usize) -> Self {
        self.people = people;
        self
    }

    /// The seed of GUIDs and SIDs. The same seed and edits give the same ones.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// The service account's sAMAccountName and password.
    pub fn service(mut self, sam: &str, password: &str) -> Self {
        self.service = (sam.to_owned(), password.to_owned());
        self
    }

    /// The server's name; by default `DC1`.
    pub fn server_name(mut self, name: &str) -> Self {
        name.clone_into(&mut self.server);
        self
    }

    /// The loopback address to listen on; by default 127.0.0.1.
    pub fn address(mut self, address: Ipv4Addr) -> Self {
        self.address = address.into();
        self
    }

    /// The certificate to show at first.
    pub fn certificate(mut self, certificate: Certificate) -> Self {
        self.certificate = certificate;
        self
    }

    /// AD's MaxPageSize; by default 1000.
    pub fn max_page_size(mut self, entries: usize) -> Self {
        self.max_page_size = entries;
        self
    }

    /// AD's MaxValRange; by default 1500.
    pub fn max_val_range(mut self, values: usize) -> Self {
        self.max_values = values;
        self
    }

    /// Fills the directory and begins to listen.
    pub async fn start(self) -> io::Result<Sim> {
        let builder = self.clone();
        let (ad, service) = tokio::task::spawn_blocking(move || builder.furnish())
            .await
            .map_err(io::Error::other)?;
        let authority = Arc::new(Mutex::new(Arc::new(Authority::new("adsim CA")?)));
        Sim::listen(self, Arc::new(RwLock::new(ad)), authority, service)
    }

    fn furnish(&self) -> (Ad, Id) {
        let mut ad = Ad::new(&self.domain, self.seed);
        let (sam, password) = &self.service;
        let service = ad.add_service(sam, password);
        if self.people > 0 {
            populate(&mut ad, self.people, &self.mail_domain);
        }
        ad.begin_history();
        (ad, service)
    }
}

/// A running domain controller.
///
/// It stops when dropped. All methods may be called while clients are connected.
#[derive(Debug)]
pub struct Sim {
    shared: Arc<Shared>,
    settings: Builder,
    authority: Arc<Mutex<Arc<Authority>>>,
    service: Id,
    ports: [SocketAddr; 2],
    state: tokio::sync::Mutex<State>,
    stop: Mutex<CancellationToken>,
}

#[derive(Debug)]
enum State {
    Running(TaskTracker),
    /// Keeps the ports, and refuses connections.
    Down([TcpSocket; 2]),
}

impl Sim {
    /// Returns a [`Builder`].
    pub fn builder() -> Builder {
        Builder {
            domain: "corp.example.com".to_owned(),
            mail_domain: "example.com".to_owned(),
            people: 0,
            seed: 1,
            service: ("svc-rosterd".to_owned(), "Servic3!Account".to_owned()),
            server: "DC1".to_owned(),
            address: Ipv4Addr::LOCALHOST.into(),
            certificate: Certificate::Valid,
            max_page_size: 1000,
            max_values: 1500,
        }
    }

    fn listen(
        settings: Builder,
        directory: Arc<RwLock<Ad>>,
        authority: Arc<Mutex<Arc<Authority>>>,
        service: Id,
    ) -> io::Result<Self> {
        let host = format!("{}.{}", settings.server.to_ascii_lowercase(), settings.domain);
        let (ntds, changes) = {
            let mut ad = directory.write().unwrap_or_else(PoisonError::into_inner);
            (ad.add_server(&settings.server), ad.history.listen())
        };
        let issuer = authority.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let tls = issuer.server(settings.certificate, &host, settings.address)?;
        let server = Server {
            settings: ntds,
            host,
            skew: 0,
            usn_offset: 0,
            max_page_size: settings.max_page_size,
            max_values: settings.max_values,
            global_catalog_ready: true,
            read_only: ReadOnly::Writable,
            is_synchronized: true,
            site: DEFAULT_SITE.to_owned(),
            client_site: DEFAULT_SITE.to_owned(),
            answers_pings: true,
            dirsync_round: None,
            notifications: Notifications::Told(0),
        };
        let shared = Arc::new(Shared {
            directory,
            changes,
            server: RwLock::new(server),
            faults: Faults::default(),
            log: Mutex::default(),
            tls: RwLock::new(tls),
            connections: AtomicU64::new(0),
            frozen: AtomicBool::new(false),
        });
        let any = SocketAddr::new(settings.address, 0);
        let sockets = [bound(any)?, bound(any)?];
        let ports = [sockets[0].local_addr()?, sockets[1].local_addr()?];
        let stop = CancellationToken::new();
        let tracker = run(&shared, sockets, &stop)?;
        Ok(Self {
            shared,
            settings,
            authority,
            service,
            ports,
            state: tokio::sync::Mutex::new(State::Running(tracker)),
            stop: Mutex::new(stop),
        })
    }

    /// Another domain controller of the same directory and authority, with its own name,
    /// invocationId, faults and log.
    pub fn replica(&self, name: &str) -> io::Result<Self> {
        let settings = self.settings.clone().server_name(name);
        let (directory, authority) =
            (Arc::clone(&self.shared.directory), Arc::clone(&self.authority));
        Self::listen(settings, directory, authority, self.service)
    }

    /// The same, but nothing is replicated to it: it keeps the directory as it is now.
    pub fn lagging_replica(&self, name: &str) -> io::Result<Self> {
        let settings = self.settings.clone().server_name(name);
        let directory = Arc::new(RwLock::new(self.look(Ad::copy)));
        Self::listen(settings, directory, Arc::clone(&self.authority), self.service)
    }

    pub fn ldaps_url(&self) -> String {
        format!("ldaps://{}", self.ports[0])
    }

    /// `ldap://127.0.0.1:port`, where StartTLS is offered.
    pub fn ldap_url(&self) -> String {
        format!("ldap://{}", self.ports[1])
    }

    /// The address of LDAPS.
    pub fn ldaps_addr(&self) -> SocketAddr {
        self.ports[0]
    }

    /// The address of LDAP with StartTLS.
    pub fn ldap_addr(&self) -> SocketAddr {
        self.ports[1]
    }

    /// The server's DNS name, also in its certificate.
    pub fn host(&self) -> String {
        self.shared.server().host
    }

    pub fn ca_pem(&self) -> String {
        self.authority.lock().unwrap_or_else(PoisonError::into_inner).pem()
    }

    /// The head of the domain, such as `DC=corp,DC=example,DC=com`.
    pub fn root_dn(&self) -> String {
        self.look(|ad| ad.root_dn.clone())
    }

    pub fn service_upn(&self) -> String {
        format!("{}@{}", self.settings.service.0, self.settings.domain)
    }

    pub fn service_dn(&self) -> String {
        self.look(|ad| ad.dn_of(self.service))
    }

    /// The service account's first password.
    pub fn service_password(&self) -> String {
        self.settings.service.1.clone()
    }

    /// The password of all accounts without one of their own.
    pub fn default_password(&self) -> String {
        self.look(|ad| ad.default_password.clone())
    }

    /// Changes the directory in one step: a search sees all of it or nothing.
    pub fn edit<R>(&self, change: impl FnOnce(&mut Ad) -> R) -> R {
        self.shared.edit(change)
    }

    /// Reads the directory, past all rights.
    pub fn look<R>(&self, look: impl FnOnce(&Ad) -> R) -> R {
        self.shared.read(look)
    }

    pub fn faults(&self) -> &Faults {
        &self.shared.faults
    }

    /// The actions of clients since the start, or since [`clear_log`](Self::clear_log).
    pub fn log(&self) -> Log {
        let events = self.shared.log.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Log { events }
    }

    pub fn clear_log(&self) {
        self.shared.log.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn set(&self, change: impl FnOnce(&mut Server)) {
        change(&mut self.shared.server.write().unwrap_or_else(PoisonError::into_inner));
    }

    /// Sets the seconds by which the server's clock is ahead of the machine's.
    pub fn set_clock_skew(&self, seconds: i64) {
        self.set(|server| server.skew = seconds);
    }

    pub fn now(&self) -> SystemTime {
        self.shared.server().now()
    }

    /// Adds to highestCommittedUSN and to DirSync's USNs. A negative number is a server restored
    /// from a backup.
    pub fn set_usn_offset(&self, offset: i64) {
        self.set(|server| server.usn_offset = offset);
    }

    /// Sets whether the server reports itself as a read-only domain controller.
    pub fn set_read_only(&self, read_only: bool) {
        let state = if read_only { ReadOnly::Named } else { ReadOnly::Writable };
        self.set(|server| server.read_only = state);
    }

    /// Reports itself as a read-only domain controller by the LDAP ping only, as Samba does.
    pub fn set_read_only_by_ping(&self) {
        self.set(|server| server.read_only = ReadOnly::ByPing);
    }

    /// Sets whether the first replication of the server is complete.
    pub fn set_synchronized(&self, is_synchronized: bool) {
        self.set(|server| server.is_synchronized = is_synchronized);
    }

    /// Sets the AD sites of the server and of its clients.
    pub fn set_sites(&self, server_site: &str, client_site: &str) {
        self.set(|server| {
            server_site.clone_into(&mut server.site);
            client_site.clone_into(&mut server.client_site);
        });
    }

    /// Sets whether the server answers the LDAP ping; a proxy may not.
    pub fn set_answers_pings(&self, answers_pings: bool) {
        self.set(|server| server.answers_pings = answers_pings);
    }

    /// Sets whether the global catalog is ready.
    pub fn set_global_catalog_ready(&self, ready: bool) {
        self.set(|server| server.global_catalog_ready = ready);
    }

    pub fn set_max_page_size(&self, entries: usize) {
        self.set(|server| server.max_page_size = entries);
    }

    pub fn set_max_val_range(&self, values: usize) {
        self.set(|server| server.max_values = values);
        self.edit(Ad::forget_all);
    }

    /// Limits the entries of a DirSync answer, with MoreResults until the last. 0, the default:
    /// everything at once, as Samba does.
    pub fn set_dirsync_round(&self, entries: usize) {
        self.set(|server| server.dirsync_round = (entries > 0).then_some(entries));
    }

    /// Sets whether the server knows change notification; by default it does.
    pub fn set_notifications(&self, known: bool) {
        self.notify(if known { None } else { Some(Notifications::Unknown) });
    }

    /// Accepts notification searches without ever answering them. Changes made meanwhile are never
    /// reported.
    pub fn mute_notifications(&self, mute: bool) {
        self.notify(mute.then_some(Notifications::Muted));
    }

    /// `None`: reports the changes from now on.
    fn notify(&self, how: Option<Notifications>) {
        let how = how.unwrap_or_else(|| Notifications::Told(self.look(Ad::usn)));
        self.set(|server| server.notifications = how);
    }

    pub fn invocation_id(&self) -> Uuid {
        let settings = self.shared.server().settings;
        self.look(|ad| ad.invocation_id(settings))
    }

    /// Gives the server another invocationId, as a restore does.
    pub fn set_invocation_id(&self, id: Uuid) {
        let settings = self.shared.server().settings;
        self.edit(|ad| {
            ad.change(settings, &[at::INVOCATION_ID])
                .attributes
                .set(at::INVOCATION_ID, &[&id.to_bytes_le()])
        });
    }

    /// The DN of the server's NTDS Settings, its dsServiceName.
    pub fn ds_service_name(&self) -> String {
        let settings = self.shared.server().settings;
        self.look(|ad| ad.dn_of(settings))
    }

    /// Shows another certificate to later connections.
    pub fn set_certificate(&self, certificate: Certificate) -> io::Result<()> {
        let issuer = self.authority.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let tls = issuer.server(certificate, &self.host(), self.settings.address)?;
        *self.shared.tls.write().unwrap_or_else(PoisonError::into_inner) = tls;
        Ok(())
    }

    /// Replaces the authority and this server's certificate; [`ca_pem`](Self::ca_pem) is the new
    /// one.
    pub fn rotate_authority(&self) -> io::Result<()> {
        let new = Arc::new(Authority::new("adsim CA 2")?);
        *self.authority.lock().unwrap_or_else(PoisonError::into_inner) = new;
        self.set_certificate(Certificate::Valid)
    }

    /// Answers nothing any more on any connection, as a stopped process does.
    pub fn freeze(&self) {
        self.shared.frozen.store(true, Ordering::Relaxed);
    }

    /// Answers new connections again. Those of before stay silent.
    pub fn thaw(&self) {
        self.shared.frozen.store(false, Ordering::Relaxed);
    }

    /// Drops all connections and refuses new ones, until [`restart`](Self::restart).
    pub async fn crash(&self) -> io::Result<()> {
        let mut state = self.state.lock().await;
        let State::Running(tracker) = &*state else {
            return Ok(());
        };
        // Before the listeners end, so that nobody else gets the ports.
        let [first, second] = self.ports;
        let kept = [bound(first)?, bound(second)?];
        self.stop.lock().unwrap_or_else(PoisonError::into_inner).cancel();
        tracker.wait().await;
        *state = State::Down(kept);
        Ok(())
    }

    /// Listens again on the same ports, with the directory unchanged.
    pub async fn restart(&self) -> io::Result<()> {
        self.crash().await?;
        let mut state = self.state.lock().await;
        let stop = CancellationToken::new();
        let down = std::mem::replace(&mut *state, State::Running(TaskTracker::new()));
        if let State::Down(sockets) = down {
            *state = State::Running(run(&self.shared, sockets, &stop)?);
        }
        *self.stop.lock().unwrap_or_else(PoisonError::into_inner) = stop;
        Ok(())
    }

    /// Stops, and waits until all connections have ended.
    pub async fn stop(self) {
        self.stop.lock().unwrap_or_else(PoisonError::into_inner).cancel();
        if let State::Running(tracker) = &*self.state.lock().await {
            tracker.wait().await;
        }
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        self.stop.lock().unwrap_or_else(PoisonError::into_inner).cancel();
    }
}

/// A bound socket that does not listen yet.
fn bound(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    // A second socket keeps the port of a listener that ends.
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(true)?;
    socket.bind(address)?;
    Ok(socket)
}

fn run(
    shared: &Arc<Shared>,
    sockets: [TcpSocket; 2],
    stop: &CancellationToken,
) -> io::Result<TaskTracker> {
    let tracker = TaskTracker::new();
    for (socket, tls) in sockets.into_iter().zip([true, false]) {
        let listener = socket.listen(BACKLOG)?;
        tracker.spawn(accept(Arc::clone(shared), listener, tls, stop.clone(), tracker.clone()));
    }
    tracker.close();
    Ok(tracker)
}

async fn accept(
    shared: Arc<Shared>,
    listener: TcpListener,
    tls: bool,
    stop: CancellationToken,
    tracker: TaskTracker,
) {
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else {
            // Most likely out of file descriptors: waits for connections to end.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let (shared, stop) = (Arc::clone(&shared), stop.clone());
        tracker.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = serve(shared, stream, tls) => {}
            }
        });
    }
}
