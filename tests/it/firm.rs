//! A company on a simulated directory: a real engine over a real store, reading over real LDAPS.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use adsim::Sim;
use rosterd::clock::Clock;
use rosterd::directory::{AttributeNames, GroupName, Settings, Timeouts};
use rosterd::engine::{Decision, DirectoryConfig, Engine, Mode, Outcome, Request, Rules, SignIn};
use rosterd::model::{Actor, Cron, Handle, ServerUrl, Status, Tier, Trigger, User};
use rosterd::reconcile::{Limits, TierRules, WithoutGroup};
use rosterd::store::{EventFilter, Run, Store, UserFilter};
use tokio_util::sync::CancellationToken;

pub(crate) struct Firm {
    pub(crate) sim: Sim,
    pub(crate) engine: Arc<Engine>,
    pub(crate) clock: Clock,
    pub(crate) folder: tempfile::TempDir,
}

pub(crate) fn alice() -> Actor {
    Actor("alice".to_owned())
}

/// Returns the settings of a directory on this simulator.
pub(crate) fn config(sim: &Sim, folder: &Path) -> DirectoryConfig {
    crate::folder::write_files(folder, &sim.ca_pem(), &sim.service_password());
    DirectoryConfig {
        name: rosterd::model::DirectoryName::parse("corp").expect("a name"),
        rename_from: None,
        account: Handle::parse("acme").expect("a handle"),
        mode: Mode::Apply,
        settings: Settings {
            servers: vec![ServerUrl::parse(&sim.ldaps_url()).expect("a URL")],
            starttls: false,
            ca_file: Some(folder.join("ca.pem")),
            bind_dn: sim.service_upn(),
            password_file: folder.join("password"),
            bases: vec![sim.root_dn()],
            filter: None,
            timeouts: Timeouts {
                connect: Duration::from_secs(2),
                operation: Duration::from_secs(5),
                run: Duration::from_mins(1),
            },
            page_size: 100,
            groups: vec![
                (Tier::Pro, GroupName::parse(adsim::names::PRO)),
                (Tier::Basic, GroupName::parse(adsim::names::BASIC)),
            ],
            canaries: Vec::new(),
            attributes: AttributeNames::default(),
        },
        discover: None,
        tiers: TierRules {
            grouped: true,
            without_group: WithoutGroup::Suspend,
            default_tier: Tier::Pro,
        },
        exclude: Vec::new(),
        protect: Vec::new(),
        limits: Limits::default(),
        schedule: Cron::parse("@hourly", chrono_tz::Tz::UTC).expect("a schedule"),
        stale_after: Duration::from_hours(6),
        full: Cron::parse("30 2 * * *", chrono_tz::Tz::UTC).expect("a schedule"),
        live: false,
        incremental: true,
    }
}

impl Firm {
    /// Returns a company whose account exists and whose domain is claimed, before the first run.
    pub(crate) async fn of(people: usize, adapt: impl FnOnce(&mut DirectoryConfig)) -> Self {
        let sim = Sim::builder().people(people).start().await.expect("a simulator");
        let folder = tempfile::tempdir().expect("a folder");
        let mut config = config(&sim, folder.path());
        adapt(&mut config);
        let clock = Clock::system();
        let url = format!("sqlite://{}", folder.path().join("rosterd.db").display());
        let store = Arc::new(Store::open(&url).await.expect("a store"));
        let trusted =
            BTreeSet::from([rosterd::model::Domain::parse("example.com").expect("a domain")]);
        let engine = Engine::new(
            store,
            clock.clone(),
            vec![config],
            Rules { trusted, ..Rules::default() },
            CancellationToken::new(),
        );
        engine.create_account("acme", "Acme", &alice()).await.expect("an account");
        engine.claim("acme", "example.com", &alice()).await.expect("a claim");
        Self { sim, engine: Arc::new(engine), clock, folder }
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
        let directory = self.engine.directory("corp").expect("corp");
        self.engine
            .run(&directory, Request::full(Trigger::Manual, Some(alice())))
            .await
            .expect("a run")
    }

    /// Changes the configuration while the engine runs. Returns the outcome for the directory.
    pub(crate) fn reconfigure(&self, change: impl FnOnce(&mut DirectoryConfig)) -> Outcome {
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
            EventFilter { kind: Some(kind.to_owned()), limit: 1_000, ..EventFilter::default() };
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
        self.engine
            .store
            .users(&UserFilter { limit: Some(1_000_000), ..UserFilter::default() })
            .await
            .expect("users")
    }

    pub(crate) async fn active(&self) -> usize {
        self.users().await.iter().filter(|u| u.status() == Status::Active).count()
    }

    pub(crate) async fn user(&self, who: &str) -> User {
        self.engine.find_user(who).await.expect("a user")
    }
}
