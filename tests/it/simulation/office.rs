//! The setting of a history: directories, a daemon without its socket, and their administrators and
//! operators.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use adsim::Sim;
use futures_util::future::BoxFuture;
use rosterd::clock::Clock;
use rosterd::engine::{DirectoryConfig, Engine, EngineError, Rules};
use rosterd::model::{Cron, Dn, Filter, Retention, ServerUrl, Timestamp, UserId};
use rosterd::reconcile::WithoutGroup;
use rosterd::store::Store;
use tokio_util::sync::CancellationToken;

use super::edits::Cast;
use super::history::{ALL, Edit, Layout, Mail, Reload, Stage, Step};
use super::sections::Sections;
use super::truth::Truth;
use crate::firm::{alice, config};

/// The domain that is claimed and released.
pub(super) const SECOND: &str = "example.org";

/// The settings that a history never changes.
#[derive(Debug)]
pub(super) struct Rulebook {
    pub(super) config: DirectoryConfig,
    pub(super) filtered: bool,
    pub(super) without_group: WithoutGroup,
}

/// One domain: its controllers and its administrator.
#[derive(Debug)]
pub(super) struct Domain {
    pub(super) sim: Sim,
    replica: Option<Sim>,
    pub(super) cast: Arc<Mutex<Cast>>,
}

/// The decisions of operators, by the changes concerned.
#[derive(Debug, Default)]
pub(super) struct Words {
    /// The changes that were shown and approved, and when.
    pub(super) approved: BTreeMap<String, Timestamp>,
    /// The rejected changes that were not reopened, and their users.
    pub(super) rejected: BTreeMap<String, UserId>,
    /// The directories with an approval of a whole plan since the step began.
    pub(super) accepted: BTreeSet<String>,
    /// The directories that were rebaselined since the step began.
    pub(super) rebaselined: Vec<String>,
}

#[derive(Debug)]
pub(super) struct Office {
    pub(super) domains: Vec<Domain>,
    folder: tempfile::TempDir,
    clock: Clock,
    /// Microseconds that passed in the history, beside real time.
    passed: i64,
    /// Seconds by which the directory's clock is ahead of the true time.
    server_ahead: i64,
    engine: Option<Arc<Engine>>,
    pub(super) rulebook: Rulebook,
    /// The configuration of a directory of each domain, without its bases.
    plain: Vec<DirectoryConfig>,
    pub(super) sections: Mutex<Sections>,
    /// The truth since the last step began.
    pub(super) moments: Arc<Mutex<Vec<Truth>>>,
    pub(super) words: Mutex<Words>,
    /// Troubles that falsify answers and have not occurred yet.
    pub(super) lies: usize,
    is_down: bool,
    has_backup: bool,
}

/// A future that is dropped after this many polls, as a crash does.
struct Cut<'a, T> {
    inner: BoxFuture<'a, T>,
    left: u32,
}

impl<T> Future for Cut<'_, T> {
    type Output = Option<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(left) = self.left.checked_sub(1) else { return Poll::Ready(None) };
        self.left = left;
        self.inner.as_mut().poll(context).map(Some)
    }
}

/// A folder in memory, if available, because nothing must survive a power cut.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a folder")
}

impl Domain {
    async fn open(stage: &Stage, n: usize, seed: u64) -> Self {
        let builder = match n {
            0 => Sim::builder().people(stage.people),
            _ => Sim::builder()
                .people(stage.people.div_ceil(2))
                .domain("emea.example.com")
                .mail_domain("example.net"),
        };
        let sim = builder
            .seed(seed.wrapping_add(n as u64 * 0x5eed_0000))
            .start()
            .await
            .expect("a simulator");
        let service = sim.service_dn();
        let cast = sim.edit(|ad| {
            let service = ad.guid(service.as_str());
            let cast = Cast::of(ad, service, stage.tombstones, n as u32 * 10_000);
            // Names that are unique over the domains, because people move.
            for (m, who) in cast.people.iter().enumerate().filter(|_| n > 0) {
                ad.set(*who, "sAMAccountName", &format!("domain{n}-{m}"));
                ad.rename(*who, &format!("Domain{n} {m}"));
            }
            cast
        });
        let replica =
            (n == 0 && stage.two_servers).then(|| sim.replica("DC2").expect("another server"));
        Self { sim, replica, cast: Arc::new(Mutex::new(cast)) }
    }

    fn edit(&self, edit: &Edit, now: Timestamp) {
        // Locks the directory first and the people second, like an edit during a read.
        self.sim.edit(|ad| self.cast.lock().expect("the cast").edit(ad, edit, now));
    }

    /// Returns the configuration of a directory of this domain.
    fn plain(&self, stage: &Stage, folder: &Path) -> DirectoryConfig {
        std::fs::create_dir_all(folder).expect("a folder");
        let mut config = config(&self.sim, folder);
        config.settings.page_size = stage.page_size;
        config.settings.timeouts.operation = Duration::from_secs(2);
        if stage.filtered {
            let text = "(!(employeeType=robot))";
            config.settings.filter =
                Some((text.to_owned(), Filter::parse(text).expect("a filter")));
        }
        if stage.excludes {
            let ou = self.cast.lock().expect("the cast").exclude();
            config.settings.exclude_ou = vec![Dn::new(self.sim.look(|ad| ad.dn(ou)))];
        }
        config.tiers.without_group =
            [WithoutGroup::Suspend, WithoutGroup::Keep, WithoutGroup::Basic][stage.without_group];
        // A tick is a full read only if nothing else is possible.
        config.full = Cron::parse("0 0 29 2 *", chrono_tz::Tz::UTC).expect("a schedule");
        if !stage.has_grace_period {
            config.limits.grace_period = Duration::ZERO;
        }
        if let Some(replica) = &self.replica {
            config.settings.servers.push(ServerUrl::parse(&replica.ldaps_url()).expect("a URL"));
        }
        if stage.protects {
            let person = self.cast.lock().expect("the cast").people[0];
            let address = self.sim.look(|ad| ad.value(person, "mail")).expect("an address");
            config.protect = vec![rosterd::model::Address::parse(&address).expect("an address")];
        }
        config
    }
}

impl Office {
    /// Opens the setting: the directories exist, the account has its domains, no run took place.
    pub(super) async fn open(stage: &Stage, seed: u64) -> Self {
        let folder = folder();
        let mut domains = vec![Domain::open(stage, 0, seed).await];
        if stage.layout == Layout::Domains {
            domains.push(Domain::open(stage, 1, seed).await);
        }
        let plain: Vec<DirectoryConfig> = domains
            .iter()
            .enumerate()
            .map(|(n, d)| d.plain(stage, &folder.path().join(format!("domain{n}"))))
            .collect();
        let sections = {
            let casts: Vec<_> = domains.iter().map(|d| d.cast.lock().expect("the cast")).collect();
            let casts: Vec<&Cast> = casts.iter().map(|c| &**c).collect();
            domains[0].sim.look(|ad| Sections::of(stage.layout, &casts, ad))
        };
        let rulebook = Rulebook {
            config: plain[0].clone(),
            filtered: stage.filtered,
            without_group: plain[0].tiers.without_group,
        };
        let mut office = Self {
            domains,
            folder,
            clock: Clock::system(),
            passed: 0,
            server_ahead: 0,
            engine: None,
            rulebook,
            plain,
            sections: Mutex::new(sections),
            moments: Arc::default(),
            words: Mutex::default(),
            lies: 0,
            is_down: false,
            has_backup: false,
        };
        office.start().await;
        let engine = office.engine();
        engine.create_account("acme", "Acme", &alice()).await.expect("an account");
        for domain in ["example.com", "example.net"] {
            engine.claim("acme", domain, &alice()).await.expect("a claim");
        }
        office
    }

    pub(super) fn url(&self) -> String {
        format!("sqlite://{}", self.folder.path().join("rosterd.db").display())
    }

    pub(super) fn engine(&self) -> Arc<Engine> {
        Arc::clone(self.engine.as_ref().expect("a daemon that runs"))
    }

    pub(super) fn store(&self) -> Arc<Store> {
        Arc::clone(&self.engine().store)
    }

    /// Returns all names of directories, past and present.
    pub(super) fn names(&self) -> BTreeSet<String> {
        self.sections.lock().expect("sections").names().clone()
    }

    /// Now by the machine's clock.
    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Now by the directory's clock.
    pub(super) fn server_now(&self) -> Timestamp {
        Timestamp(Clock::system().now().0 + self.passed + self.server_ahead * 1_000_000)
    }

    /// Returns the configuration of the file, and updates the bases of each domain.
    fn configs(&self) -> Vec<DirectoryConfig> {
        let sections = self.sections.lock().expect("sections");
        for (n, domain) in self.domains.iter().enumerate() {
            domain.cast.lock().expect("the cast").bases = sections.bases(n);
        }
        sections.configs(&self.plain, |domain, ou| self.domains[domain].sim.look(|ad| ad.dn(ou)))
    }

    fn rules() -> Rules {
        let trusted = ["example.com", "example.net", SECOND]
            .map(|d| rosterd::model::Domain::parse(d).expect("a domain"));
        let day = Duration::from_hours(24);
        let retention = Retention {
            release_address_after: Some(day * 8),
            remove_after: Some(day * 12),
            events: None,
        };
        Rules { trusted: trusted.into(), retention, ..Rules::default() }
    }

    /// Starts the engine as the daemon does.
    async fn start(&mut self) {
        let store = Arc::new(Store::open(&self.url()).await.expect("a store"));
        store.cancel_cut_runs(self.clock.now()).await.expect("cut runs that are ended");
        let configs = self.configs();
        let stop = CancellationToken::new();
        let engine = Engine::new(store, self.clock.clone(), configs, Self::rules(), stop);
        // So few that most full runs have several slices.
        self.engine = Some(Arc::new(engine.with_slices_of(5)));
    }

    /// Stops the engine as SIGTERM does.
    async fn stop(&mut self) {
        if let Some(engine) = self.engine.take() {
            engine.stop.cancel();
            engine.store.close().await;
        }
    }

    /// Returns the truth now.
    pub(super) fn truth(&self) -> Truth {
        let now = self.server_now();
        let mut truth = Truth::new(now, now.distance(self.clock.now()));
        for domain in &self.domains {
            domain.sim.look(|ad| truth.add(ad, &domain.cast.lock().expect("the cast")));
        }
        truth
    }

    /// Returns the truth since the step began.
    pub(super) fn since_then(&self) -> Vec<Truth> {
        let mut moments = std::mem::take(&mut *self.moments.lock().expect("moments"));
        moments.push(self.truth());
        moments
    }

    /// Makes an edit in its domain.
    fn edit(&self, edit: &Edit) {
        if let Edit::Emigrate(n, to) = edit {
            let (from, to_domain) = (n % self.domains.len(), (n + 1) % self.domains.len());
            if from != to_domain {
                let from = &self.domains[from];
                let left = from.sim.edit(|ad| from.cast.lock().expect("the cast").emigrate(ad, *n));
                let into = &self.domains[to_domain];
                if let Some(left) = left {
                    into.sim
                        .edit(|ad| into.cast.lock().expect("the cast").immigrate(ad, left, *to));
                }
            }
            return;
        }
        for domain in self.subjects(edit) {
            self.domains[domain].edit(edit, self.server_now());
        }
    }

    /// Returns the domains of an edit.
    fn subjects(&self, edit: &Edit) -> Vec<usize> {
        match edit {
            Edit::ShowOus
            | Edit::ShowPeople
            | Edit::ShowAttributes
            | Edit::ShowMembers
            | Edit::ShowTombstones(_)
            | Edit::RestoreAll => (0..self.domains.len()).collect(),
            _ => vec![edit.number() % self.domains.len()],
        }
    }

    /// Plays a step and returns its outcome. A refusal to an operator is no failure.
    pub(super) async fn step(&mut self, step: &Step) -> Result<String, EngineError> {
        let truth = self.truth();
        *self.moments.lock().expect("moments") = vec![truth];
        self.forget_approved().await?;
        match step {
            Step::Edit(edit) => self.edit(edit),
            Step::Do(what) => return self.carry_out(what).await,
            Step::During(edit, after, what) => {
                self.meanwhile(edit.clone(), *after);
                return self.carry_out(what).await;
            }
            Step::Both(one, other) => {
                let (one, other) = tokio::join!(self.carry_out(one), self.carry_out(other));
                return Ok(format!("{} / {}", one?, other?));
            }
            Step::Trouble(trouble) => self.trouble(*trouble),
            Step::Calm => self.calm(),
            Step::Kill(what, polls) => {
                let done = Cut { inner: self.carry_out(what), left: *polls }.await;
                let told = done.transpose()?.map_or_else(
                    || "killed during the run".to_owned(),
                    |told| format!("killed after: {told}"),
                );
                // A crash: uncommitted data is lost.
                drop(self.engine.take());
                self.start().await;
                return Ok(told);
            }
            Step::Restart => {
                self.stop().await;
                self.start().await;
            }
            Step::Backup => {
                let file = self.folder.path().join("backup.db");
                if file.exists() {
                    std::fs::remove_file(&file).expect("an old backup that can be removed");
                }
                self.engine().store.backup(&file).await?;
                self.has_backup = true;
            }
            Step::Restore if self.has_backup => {
                self.stop().await;
                for end in ["", "-wal", "-shm"] {
                    let file = self.folder.path().join(format!("rosterd.db{end}"));
                    if file.exists() {
                        std::fs::remove_file(file).expect("an old store that can be removed");
                    }
                }
                std::fs::copy(
                    self.folder.path().join("backup.db"),
                    self.folder.path().join("rosterd.db"),
                )
                .expect("a copy");
                self.start().await;
            }
            Step::Restore => {}
            Step::ServerDown => {
                self.is_down = true;
                self.domains[0].sim.crash().await.expect("a crash");
            }
            Step::ServerUp => self.up().await,
            Step::Wait(minutes) => self.later(Duration::from_mins(*minutes)),
            Step::Clock(seconds) => self.set_clock(seconds * 1_000_000),
            Step::ClockRight => self.set_clock_right(),
            Step::ServerClock(seconds) => {
                self.server_ahead = *seconds;
                self.tell_servers();
            }
            Step::Reload(reload) => self.reload(*reload),
            Step::Meanwhile(reload, polls, what) => {
                let mut inner = self.carry_out(what);
                let early = Cut { inner: Box::pin(&mut inner), left: *polls }.await;
                self.reload(*reload);
                return match early {
                    Some(ended) => ended,
                    None => inner.await.map(|told| format!("reloaded meanwhile: {told}")),
                };
            }
        }
        Ok(String::new())
    }

    async fn up(&mut self) {
        self.is_down = false;
        self.domains[0].sim.restart().await.expect("a restart");
    }

    /// Returns whether the step restores the backup.
    pub(super) fn restores(&self, step: &Step) -> bool {
        matches!(step, Step::Restore) && self.has_backup
    }

    fn reload(&self, reload: Reload) {
        self.sections.lock().expect("sections").change(reload);
        let configs = self.configs();
        self.engine().reconfigure(configs, Self::rules());
        let truth = self.truth();
        self.moments.lock().expect("moments").push(truth);
    }

    fn later(&mut self, by: Duration) {
        self.clock.advance(by);
        self.passed += i64::try_from(by.as_micros()).expect("not so long");
        self.tell_servers();
    }

    fn tell_servers(&self) {
        let ahead = self.passed / 1_000_000 + self.server_ahead;
        for domain in &self.domains {
            for server in std::iter::once(&domain.sim).chain(&domain.replica) {
                server.set_clock_skew(ahead);
            }
        }
    }

    fn set_clock(&self, by: i64) {
        let amount = Duration::from_micros(by.unsigned_abs());
        if by < 0 { self.clock.set_back(amount) } else { self.clock.advance(amount) }
    }

    fn set_clock_right(&self) {
        self.set_clock(Clock::system().now().0 + self.passed - self.clock.now().0);
    }

    /// Returns whether a server refuses connections.
    pub(super) fn is_down(&self) -> bool {
        self.is_down
    }

    /// Returns an address of a person in the directory.
    pub(super) fn address(&self, n: usize) -> Option<String> {
        let domain = &self.domains[n % self.domains.len()];
        let person = domain.cast.lock().expect("the cast").people.get(n % 40).copied()?;
        domain.sim.look(|ad| ad.exists(person).then(|| ad.value(person, "mail"))).flatten()
    }

    /// Restores all rights and servers, and accepts permanent changes.
    pub(super) async fn make_well(&mut self) {
        self.calm();
        self.up().await;
        self.server_ahead = 0;
        self.set_clock_right();
        self.tell_servers();
        for edit in [Edit::ShowOus, Edit::ShowPeople, Edit::ShowAttributes, Edit::ShowMembers] {
            self.edit(&edit);
        }
        // An empty base is never accepted, so each base needs a person.
        for domain in &self.domains {
            for ou in 0..6 {
                domain.edit(
                    &Edit::Hire { ou: 12 + ou, group: 0, mail: Mail::Home, staged: false },
                    self.server_now(),
                );
            }
        }
        let engine = self.engine();
        for name in self.chosen(ALL) {
            engine.resume(&name, &alice()).await.expect("a pause that ends");
            engine.rebaseline(&name, &alice()).await.expect("the current state is accepted");
        }
    }
}
