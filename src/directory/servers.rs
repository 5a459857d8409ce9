//! The servers of one directory, with the health of each. All callers share one value.
//!
//! Here alone it is decided which server is tried, in which order and when again. A server that
//! does not answer costs the first caller a second, and the next callers nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::dial::race;
use super::followed::{Candidate, followed};
use super::secret::{read_secret, secret_mark};
use super::{BindRefusal, DirectoryError, Greeting, Retry, Session, Settings};
use crate::model::{FollowedServers, ServerUrl, Timestamp};
use crate::reconcile::HighWaterMarks;

/// Time after which the next server is tried, too.
const NEXT_SERVER: Duration = Duration::from_secs(1);
/// Time during which a server gets no password after it refused one for a reason of its own. AD's
/// default observation window of a lockout is as long.
const REST: Duration = Duration::from_mins(30);
/// The time after its first failure during which a server is tried last. It doubles with each.
const FIRST_PENALTY: Duration = Duration::from_secs(2);
const MAX_PENALTY: Duration = Duration::from_mins(2);
/// The time after a failure during which other directories wait for no answer of the server. It is
/// longer than the greatest penalty and the pause between two looks.
const SILENCE: Duration = Duration::from_mins(5);
/// Time after which a server is looked at that no caller has tried.
const LOOK_EVERY: Duration = Duration::from_hours(1);
/// Time for which a server must be well before a full run returns to it.
const STABLE: Duration = Duration::from_mins(5);

/// Returns the elapsed time of the process.
pub type Elapsed<'a> = &'a (dyn Fn() -> Duration + Send + Sync);

/// The purpose of a connection, which decides about the server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Use {
    /// Stays with the server in use, and changes it where that one does not answer.
    Follow,
    /// The same, but returns to a server of higher rank that is well again.
    FullRun,
    /// Does not change the server in use.
    LookUp,
}

/// One server with its health. Durations are elapsed times of the process.
#[derive(Clone, Debug, Default)]
pub struct Server {
    pub greeting: Greeting,
    /// End of the validity of its certificate.
    pub certificate_until: Option<Timestamp>,
    /// The last address that answered.
    pub address: Option<IpAddr>,
    /// The last attempt to connect.
    tried_at: Option<Duration>,
    pub last_good: Option<Duration>,
    pub failure: Option<Failure>,
    /// Since when every attempt succeeded.
    well_since: Option<Duration>,
    /// The last refusal for a reason of the server's own, and when it may be tried again.
    resting: Option<(Duration, BindRefusal)>,
    /// The mark of the last secret that it accepted.
    accepted: Option<String>,
}

/// The present failure of a server.
#[derive(Clone, Debug)]
pub struct Failure {
    pub since: Duration,
    pub reason: String,
    /// Until then other servers are tried first.
    until: Duration,
    times: u32,
    /// The last attempt got no answer within its time limit.
    is_silent: bool,
}

impl Server {
    fn fail(&mut self, reason: String, is_silent: bool, now: Duration) {
        let (since, times) = self.failure.as_ref().map_or((now, 0), |f| (f.since, f.times));
        let penalty = FIRST_PENALTY.saturating_mul(1 << times.min(10)).min(MAX_PENALTY);
        self.tried_at = Some(now);
        let (until, times) = (now + penalty, times + 1);
        self.failure = Some(Failure { since, reason, until, times, is_silent });
        self.well_since = None;
    }

    fn succeed(&mut self, session: &Session, now: Duration) {
        self.failure = None;
        self.tried_at = Some(now);
        self.well_since.get_or_insert(now);
        self.last_good = Some(now);
        self.greeting = session.greeting.clone();
        self.certificate_until = Some(session.certificate_until);
        self.address = session.url().addresses.first().copied();
    }

    /// Returns whether the last attempt succeeded.
    pub fn is_well(&self) -> bool {
        self.last_good.is_some() && self.failure.is_none()
    }

    fn is_penalized(&self, now: Duration) -> bool {
        self.failure.as_ref().is_some_and(|failure| now < failure.until)
    }

    /// Returns the reason of a recent attempt that got no answer.
    fn silence(&self, now: Duration) -> Option<&str> {
        let at = self.tried_at?;
        let failure = self.failure.as_ref().filter(|failure| failure.is_silent)?;
        (now.saturating_sub(at) < SILENCE).then_some(failure.reason.as_str())
    }

    /// Returns the refusal because of which the server gets no password, and the time left.
    pub fn resting(&self, now: Duration) -> Option<(&BindRefusal, Duration)> {
        let (until, refusal) = self.resting.as_ref()?;
        let left = until.checked_sub(now).filter(|left| !left.is_zero())?;
        Some((refusal, left))
    }
}

/// The servers of one directory.
#[derive(Debug, Default)]
pub struct Servers(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Health by the URL of the server.
    all: BTreeMap<String, Server>,
    in_use: Option<String>,
    client_site: Option<String>,
}

impl State {
    fn of(&mut self, url: &ServerUrl) -> &mut Server {
        self.all.entry(url.to_string()).or_default()
    }

    fn is_penalized(&self, url: &ServerUrl, now: Duration) -> bool {
        self.all.get(&url.to_string()).is_some_and(|server| server.is_penalized(now))
    }

    /// Returns whether the refusal of a secret may be about this server alone: another one has accepted
    /// the secret, and no other one refuses it. A new password reaches each server at another time.
    fn is_alone(&self, url: &ServerUrl, refusal: &BindRefusal, mark: &str, now: Duration) -> bool {
        let url = url.to_string();
        let has_accepted = |server: &Server| server.accepted.as_deref() == Some(mark);
        let refuses =
            |server: &Server| server.resting(now).is_some_and(|(r, _)| r.concerns_account());
        let mut others = self.all.iter().filter(|(name, _)| **name != url).map(|(_, s)| s);
        refusal.is_by_server()
            && refusal.retry() == Retry::Never
            && !self.all.get(&url).is_some_and(has_accepted)
            && others.clone().any(has_accepted)
            && !others.any(refuses)
    }

    /// Returns whether a full run may try this server before the one in use.
    fn may_return_to(&self, url: &ServerUrl, now: Duration) -> bool {
        let server = self.all.get(&url.to_string());
        server.and_then(|s| s.well_since).is_some_and(|since| now.saturating_sub(since) >= STABLE)
    }
}

impl Servers {
    /// Opens a session with the first usable server. Each is tried once, in the order of
    /// [`candidates`](Self::candidates). `now` returns the elapsed time of the process.
    ///
    /// `seen` has the marks of what runs have seen. A server that lacks some of it is returned to only if
    /// no other one answers.
    pub async fn open(
        &self,
        settings: &Settings,
        purpose: Use,
        seen: &HighWaterMarks,
        now: Elapsed<'_>,
    ) -> Result<Session, DirectoryError> {
        let (secret, mark) = (read_secret(settings)?, secret_mark(settings));
        let (mut left, mut errors) = self.candidates(settings, purpose, now());
        let mut behind = None;
        while let Some((url, mut session)) =
            self.connect(&mut left, settings, &mut errors, now).await
        {
            match session.log_in(&secret).await {
                Ok(()) => {
                    self.note_bind(url, &session, mark.clone(), now());
                    let is_return = purpose == Use::FullRun && self.is_well_in_use(&left, now());
                    if is_return
                        && !seen.are_covered_by(session.knowledge().await.unwrap_or_default())
                    {
                        tracing::info!(
                            "{url} has not heard of what another server showed, and is not returned to yet"
                        );
                        behind = Some((url, session));
                        continue;
                    }
                    // If no server is usable, the caller logs these errors.
                    for error in &errors {
                        if !matches!(error, DirectoryError::Resting { .. }) {
                            tracing::warn!("{error}; using {url} instead");
                        }
                    }
                    return Ok(self.take(url, session, purpose));
                }
                Err(error) => {
                    let error = self.note_refusal(url, error, &mark, now());
                    // A second server would count the same wrong password again.
                    let is_over =
                        error.refusal().is_some_and(|refusal| refusal.retry() != Retry::Anytime);
                    errors.push(error);
                    if is_over {
                        break;
                    }
                }
            }
        }
        match behind {
            Some((url, session)) => Ok(self.take(url, session, purpose)),
            None => Err(DirectoryError::NoServer(errors)),
        }
    }

    /// Notes that a server is in use from now on, if the purpose says so.
    fn take(&self, url: &ServerUrl, session: Session, purpose: Use) -> Session {
        if purpose != Use::LookUp {
            self.lock().in_use = Some(url.to_string());
        }
        session
    }

    /// Returns whether the server in use is among these, and answered the last attempt.
    fn is_well_in_use(&self, urls: &[&ServerUrl], now: Duration) -> bool {
        urls.iter().any(|url| self.is_in_use(url) && !self.lock().is_penalized(url, now))
    }

    /// Connects to one server, without a bind. Fails if the server gets no password at present.
    pub async fn connect_to(
        &self,
        url: &ServerUrl,
        settings: &Settings,
        now: Elapsed<'_>,
    ) -> Result<Session, DirectoryError> {
        let known = self.server(url);
        if let Some((refusal, left)) = known.resting(now()) {
            let (server, refusal) = (url.to_string(), refusal.clone());
            return Err(DirectoryError::Resting { server, refusal, left });
        }
        let connected = Session::connect(url, settings, known.address).await;
        connected.inspect_err(|error| self.note_failure(url, error, now()))
    }

    /// Binds the service account to a server that was connected to.
    pub async fn log_in(
        &self,
        mut session: Session,
        settings: &Settings,
        now: Elapsed<'_>,
    ) -> Result<Session, DirectoryError> {
        let (secret, mark) = (read_secret(settings)?, secret_mark(settings));
        match session.log_in(&secret).await {
            Ok(()) => {
                self.note_bind(session.url(), &session, mark, now());
                Ok(session)
            }
            Err(error) => Err(self.note_refusal(session.url(), error, &mark, now())),
        }
    }

    /// Connects to the first of these servers that answers, without a bind. Takes that one and those
    /// that failed out of the list.
    ///
    /// A server that has not answered within a second competes with the next one. If it loses, it is
    /// noted as failing, so that later callers do not wait for it.
    pub(super) async fn connect<'a>(
        &self,
        left: &mut Vec<&'a ServerUrl>,
        settings: &Settings,
        errors: &mut Vec<DirectoryError>,
        now: Elapsed<'_>,
    ) -> Option<(&'a ServerUrl, Session)> {
        let attempts = left
            .iter()
            .map(|url| Box::pin(Session::connect(url, settings, self.server(url).address)))
            .collect();
        let race = race(attempts, NEXT_SERVER).await;
        let winner = race.winner.map(|(n, session)| (left[n], session));
        for (n, error) in &race.failed {
            self.note_failure(left[*n], error, now());
        }
        for (n, after) in race.under_way {
            if after >= NEXT_SERVER {
                let after = humantime::format_duration(NEXT_SERVER);
                let reason = format!("{}: no answer within {after}", left[n]);
                tracing::warn!("{reason}; the next server is used instead");
                self.lock().of(left[n]).fail(reason, true, now());
            }
        }
        let failed: Vec<&ServerUrl> = race.failed.iter().map(|(n, _)| left[*n]).collect();
        left.retain(|url| {
            !failed.contains(url) && winner.as_ref().is_none_or(|(won, _)| won != url)
        });
        errors.extend(race.failed.into_iter().map(|(_, error)| error));
        winner
    }

    /// Returns the servers in the order of attempts: those without a recent failure first, among them
    /// the one in use, then as configured. Servers that get no password are left out, with the reason.
    pub(super) fn candidates<'a>(
        &self,
        settings: &'a Settings,
        purpose: Use,
        now: Duration,
    ) -> (Vec<&'a ServerUrl>, Vec<DirectoryError>) {
        let state = self.lock();
        let is_in_use = |url: &ServerUrl| state.in_use.as_ref() == Some(&url.to_string());
        let first = settings
            .servers
            .iter()
            .find(|url| is_in_use(url) || purpose == Use::FullRun && state.may_return_to(url, now));
        let (mut urls, mut resting) = (Vec::new(), Vec::new());
        for url in &settings.servers {
            let server = url.to_string();
            match state.all.get(&server).and_then(|known| known.resting(now)) {
                Some((refusal, left)) => {
                    let refusal = refusal.clone();
                    resting.push(DirectoryError::Resting { server, refusal, left });
                }
                None => urls.push(url),
            }
        }
        urls.sort_by_key(|url| (state.is_penalized(url, now), Some(*url) != first));
        (urls, resting)
    }

    /// Connects without a bind to each server that is due, and notes its health.
    ///
    /// Each server is due after an hour. One that failed, or that has a higher rank than the one in
    /// use, is due at every call.
    pub async fn look(&self, settings: &Settings, now: Elapsed<'_>) {
        let due: Vec<&ServerUrl> = {
            let state = self.lock();
            let mut is_higher = state.in_use.is_some();
            let is_due = |url: &&ServerUrl| {
                let name = url.to_string();
                is_higher &= state.in_use.as_ref() != Some(&name);
                state.all.get(&name).is_none_or(|server| {
                    (is_higher || server.failure.is_some()) && !server.is_penalized(now())
                        || server.tried_at.is_none_or(|at| now().saturating_sub(at) >= LOOK_EVERY)
                })
            };
            settings.servers.iter().filter(is_due).collect()
        };
        let look =
            async |url: &ServerUrl| match Session::connect(url, settings, self.server(url).address)
                .await
            {
                Ok(session) => self.note_success(url, &session, now()),
                Err(error) => self.note_failure(url, &error, now()),
            };
        futures_util::future::join_all(due.into_iter().map(look)).await;
    }

    /// Returns the reasons where no server answered its last attempt, which [`look`](Self::look)
    /// repeats. Another directory does not wait for such servers in each of its runs.
    pub fn silence(&self, settings: &Settings, now: Duration) -> Option<String> {
        let state = self.lock();
        let of = |url: &ServerUrl| Some(state.all.get(&url.to_string())?.silence(now)?.to_owned());
        let all: Option<Vec<String>> = settings.servers.iter().map(of).collect();
        all.filter(|all| !all.is_empty()).map(|all| all.join("; "))
    }

    /// Returns the servers to follow beside the one in use.
    pub fn followed(
        &self,
        urls: &[ServerUrl],
        which: FollowedServers,
        now: Duration,
    ) -> Vec<ServerUrl> {
        let candidate = |url| {
            let server = self.server(url);
            let is_well = server.is_well() && server.resting(now).is_none();
            let Greeting { site, is_writable, .. } = server.greeting;
            Candidate { url, is_in_use: self.is_in_use(url), site, is_well, is_writable }
        };
        let servers: Vec<_> = urls.iter().map(candidate).collect();
        followed(&servers, which).into_iter().cloned().collect()
    }

    /// Notes that the server of a session was lost, for this reason.
    pub fn note_lost(&self, session: &Session, reason: String, now: Duration) {
        self.lock().of(session.url()).fail(reason, false, now);
    }

    /// Sets the server that the last run before a restart used.
    pub fn begin_with(&self, server: Option<String>) {
        let mut state = self.lock();
        state.in_use = state.in_use.take().or(server);
    }

    /// Returns whether a server has accepted the secret of this mark.
    pub fn have_accepted(&self, mark: &str) -> bool {
        self.lock().all.values().any(|server| server.accepted.as_deref() == Some(mark))
    }

    /// Forgets all refusals, so that each server is tried again.
    pub fn forget_refusals(&self) {
        self.lock().all.values_mut().for_each(|server| server.resting = None);
    }

    /// Returns what is known of a server.
    pub fn server(&self, url: &ServerUrl) -> Server {
        self.lock().all.get(&url.to_string()).cloned().unwrap_or_default()
    }

    /// Returns whether the server is the one in use.
    pub fn is_in_use(&self, url: &ServerUrl) -> bool {
        self.lock().in_use.as_ref() == Some(&url.to_string())
    }

    /// Returns the AD site of this machine, once a server has named it.
    pub fn client_site(&self) -> Option<String> {
        self.lock().client_site.clone()
    }

    /// Returns the NetBIOS and DNS names of the domain, as far as servers have told them.
    pub fn domain_names(&self) -> BTreeSet<String> {
        let state = self.lock();
        let names = state.all.values().map(|server| &server.greeting);
        names.flat_map(|g| g.netbios_domain.iter().chain(&g.domain)).cloned().collect()
    }

    fn note_success(&self, url: &ServerUrl, session: &Session, now: Duration) {
        let mut state = self.lock();
        state.of(url).succeed(session, now);
        if session.greeting.client_site.is_some() {
            state.client_site.clone_from(&session.greeting.client_site);
        }
    }

    fn note_bind(&self, url: &ServerUrl, session: &Session, mark: String, now: Duration) {
        self.note_success(url, session, now);
        self.lock().of(url).accepted = Some(mark);
    }

    /// Notes the failure of a bind. Returns it as that of the server alone where another server has accepted
    /// the secret. So two servers at most count the secret as a wrong one.
    fn note_refusal(
        &self,
        url: &ServerUrl,
        error: DirectoryError,
        mark: &str,
        now: Duration,
    ) -> DirectoryError {
        if let DirectoryError::Refused { server, refusal } = &error
            && self.lock().is_alone(url, refusal, mark, now)
        {
            self.lock().of(url).resting = Some((now + REST, refusal.clone()));
            let (server, refusal) = (server.clone(), refusal.clone());
            return DirectoryError::Resting { server, refusal, left: REST };
        }
        self.note_failure(url, &error, now);
        error
    }

    /// A refusal that concerns the account is no failure of the server.
    fn note_failure(&self, url: &ServerUrl, error: &DirectoryError, now: Duration) {
        let mut state = self.lock();
        match error.refusal() {
            Some(refusal) if refusal.concerns_account() => {}
            Some(refusal) if refusal.is_servers_own() => {
                state.of(url).resting = Some((now + REST, refusal.clone()));
            }
            _ => {
                let server = state.of(url);
                server.fail(error.to_string(), error.is_silence(), now);
                if error.is_read_only() {
                    server.greeting.is_writable = Some(false);
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
