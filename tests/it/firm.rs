//! A company on a simulated directory: a real engine over a real store, reading over real LDAPS.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use adsim::{Fault, NewPerson, Sim, What, When, names};
use rosterd::clock::Clock;
use rosterd::engine::{Decision, DirectoryConfig, Engine, ReloadOutcome, SignIn};
use rosterd::model::{Actor, Cron, Status, Timestamp, User};
use rosterd::reconcile::{AttributeId, Checkpoint};
use rosterd::store::{EventFilter, HeldPlan, Run};

use crate::acme;
use crate::folder::Directory;

pub(crate) struct Firm {
    pub(crate) sim: Sim,
    pub(crate) engine: Arc<Engine>,
    pub(crate) clock: Clock,
    pub(crate) folder: tempfile::TempDir,
}

pub(crate) use crate::acme::alice;

/// Returns the configuration of a directory on this simulator, and writes its files.
pub(crate) fn config(sim: &Sim, folder: &Path) -> DirectoryConfig {
    crate::folder::write_files(folder, &sim.ca_pem(), &sim.service_password());
    acme::config(Directory::of(sim, folder))
}

impl Firm {
    /// Returns a company whose account exists and whose domain is claimed, before the first run.
    pub(crate) async fn of(people: usize, adapt: impl FnOnce(&mut DirectoryConfig)) -> Self {
        let sim = Sim::builder().people(people).start().await.expect("a simulator");
        let folder = tempfile::tempdir().expect("a folder");
        let mut config = config(&sim, folder.path());
        adapt(&mut config);
        let clock = Clock::system();
        let engine = acme::engine(acme::store(folder.path()).await, &clock, config);
        acme::create(&engine).await;
        Self { sim, engine, clock, folder }
    }

    /// Returns a new engine over the same store, which is equivalent to a restart.
    pub(crate) fn restarted(&self) -> Arc<Engine> {
        acme::restarted(&self.engine)
    }

    /// Returns a company whose people are imported. A day has passed, so that the everyday limits
    /// apply.
    pub(crate) async fn running(people: usize, adapt: impl FnOnce(&mut DirectoryConfig)) -> Self {
        let firm = Self::of(people, adapt).await;
        firm.sync().await;
        if let Some(plan) = firm.engine.store.plans(false).await.expect("plans").first() {
            firm.engine.approve(plan.id, alice()).await.expect("an approval");
        }
        let run = firm.sync().await;
        assert_eq!(run.error, None);
        firm
    }

    pub(crate) async fn sync(&self) -> Run {
        acme::sync(&self.engine, "corp").await
    }

    /// Changes the configuration while the engine runs. Returns the outcome for the directory.
    pub(crate) fn reconfigure(&self, change: impl FnOnce(&mut DirectoryConfig)) -> ReloadOutcome {
        let mut config = self.engine.directory("corp").expect("corp").config.clone();
        change(&mut config);
        let was = self.engine.configured();
        let outcomes = self.engine.reconfigure(vec![config], was.rules.clone());
        outcomes.into_values().next().expect("one directory")
    }

    /// Adds domains to the trusted ones of the configuration.
    pub(crate) fn trust(&self, domains: &[&str]) {
        let was = self.engine.configured();
        let mut rules = was.rules.clone();
        rules
            .trusted
            .extend(domains.iter().map(|d| rosterd::model::Domain::parse(d).expect("a domain")));
        let directories = was.directories.values().map(|d| d.config.clone()).collect();
        self.engine.reconfigure(directories, rules);
    }

    /// Returns the events of a type, oldest first.
    pub(crate) async fn events(&self, kind: &str) -> Vec<serde_json::Value> {
        let filter =
            EventFilter { kinds: vec![kind.to_owned()], limit: 1_000, ..EventFilter::default() };
        self.engine
            .store
            .events(&filter)
            .await
            .expect("events")
            .into_iter()
            .map(|e| e.document)
            .collect()
    }

    /// Signs a person in, authenticated by the external provider or with a password.
    pub(crate) async fn sign_in(&self, address: &str, password: Option<&str>) -> Decision {
        let who = SignIn {
            address: address.to_owned(),
            password: password.map(Into::into),
            is_external: password.is_none(),
        };
        self.engine.sign_in(who, &Actor("sso".to_owned())).await.expect("a decision")
    }

    /// Advances our clock and the directory's, so that grace periods pass.
    pub(crate) fn later(&self, by: Duration) {
        self.clock.advance(by);
        let ahead = self.clock.now().0 - Clock::system().now().0;
        self.sim.set_clock_skew(ahead / 1_000_000);
    }

    pub(crate) async fn users(&self) -> Vec<User> {
        acme::users(&self.engine.store).await
    }

    pub(crate) async fn active(&self) -> usize {
        self.users().await.iter().filter(|u| u.status() == Status::Active).count()
    }

    pub(crate) async fn user(&self, who: &str) -> User {
        self.engine.find_user(who).await.expect("a user")
    }
}

/// A schedule that fires once in four years: full runs happen only when a test asks.
pub(crate) fn no_full_runs() -> Cron {
    Cron::parse("0 0 29 2 *", chrono_tz::Tz::UTC).expect("a schedule")
}

pub(crate) fn dn_of(user: &User) -> String {
    user.link.as_ref().expect("a link").dn.as_str().to_owned()
}

pub(crate) fn guid_of(user: &User) -> uuid::Uuid {
    uuid::Uuid::parse_str(&user.link.as_ref().expect("a link").guid.to_string()).expect("a GUID")
}

/// Reads the user from the store again.
pub(crate) async fn again(firm: &Firm, user: &User) -> User {
    firm.user(&user.id.to_string()).await
}

/// Carries out the run that the schedule asks for at this moment.
pub(crate) async fn tick(firm: &Firm) -> Run {
    let directory = firm.engine.directory("corp").expect("corp");
    let request = firm.engine.scheduled(&directory).await;
    firm.engine.run(&directory, request).await.expect("a run")
}

/// Carries out a full run of the named directory.
pub(crate) async fn sync(firm: &Firm, name: &str) -> Run {
    acme::sync(&firm.engine, name).await
}

pub(crate) async fn checkpoint(firm: &Firm) -> Option<Checkpoint> {
    let name = firm.engine.directory("corp").expect("corp").config.name.clone();
    firm.engine.store.directory(&name).await.expect("its state").checkpoint
}

/// Returns a company with all users known, visible deleted objects, and followed changes.
pub(crate) async fn followed(people: usize, adapt: impl FnOnce(&mut DirectoryConfig)) -> Firm {
    let firm = Firm::running(people, |config| {
        config.full = no_full_runs();
        config.limits.grace_period = Duration::ZERO;
        adapt(config);
    })
    .await;
    see_tombstones(&firm).await;
    firm
}

pub(crate) async fn see_tombstones(firm: &Firm) {
    firm.sim.edit(|ad| {
        ad.show_tombstones(true);
        ad.add_person(NewPerson::new("tombstone").ou(names::STAFF));
        ad.delete("tombstone");
    });
    assert_eq!(firm.sync().await.error, None);
}

/// Returns the oldest held plan.
pub(crate) async fn held_plan(firm: &Firm) -> HeldPlan {
    firm.engine.store.plans(false).await.expect("plans").into_iter().next().expect("a held plan")
}

/// Hides a person from every search of the simulator, also by GUID.
pub(crate) fn hide_completely(firm: &Firm, guid: uuid::Uuid) {
    let place = firm.sim.look(|ad| ad.people().iter().position(|p| *p == guid)).expect("a place");
    let faults = firm.sim.faults();
    faults.push(
        Fault::new(
            When::search()
                .containing("objectcategory=person)(objectclass=user")
                .after_entries(place),
            What::SkipEntry,
        )
        .always(),
    );
    faults.push(
        Fault::new(When::search().based_at(&format!("<guid={guid}>")), What::EmptySuccess).always(),
    );
    faults.push(Fault::new(When::search().containing("objectguid="), What::EmptySuccess).always());
}

/// Returns a `replPropertyMetaData` with one write of an attribute.
pub(crate) fn written(
    attribute: AttributeId,
    database: uuid::Uuid,
    usn: u64,
    at: Timestamp,
) -> Vec<u8> {
    let seconds = (at.to_filetime() / 10_000_000) as u64;
    let stamp = [attribute.0.to_le_bytes(), 2_u32.to_le_bytes()].concat();
    let stamp = [stamp, seconds.to_le_bytes().to_vec(), database.to_bytes_le().to_vec()].concat();
    counted(1, &[stamp, [usn.to_le_bytes(), usn.to_le_bytes()].concat()].concat())
}

/// Returns a `replUpToDateVector` with one database.
pub(crate) fn heard_of(database: uuid::Uuid, usn: u64) -> Vec<u8> {
    counted(2, &[&database.to_bytes_le()[..], &usn.to_le_bytes(), &[0; 8]].concat())
}

/// Puts the header before one item.
fn counted(version: u32, item: &[u8]) -> Vec<u8> {
    [&[version, 0, 1, 0].map(u32::to_le_bytes).concat()[..], item].concat()
}
