//! A branch of the company: the engine in process, over a domain controller of its own.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rosterd::clock::Clock;
use rosterd::directory::{AttributeNames, GroupName, Settings, Timeouts};
use rosterd::engine::{DirectoryConfig, Engine, Mode, Request, Rules};
use rosterd::model::{
    Cron, DirectoryName, Domain, Handle, Reason, RunState, ServerUrl, Status, Tier, Trigger, User,
};
use rosterd::reconcile::{Limits, TierRules, WithoutGroup};
use rosterd::store::{Run, Store, UserFilter};
use tokio_util::sync::CancellationToken;

use super::{DOMAIN, Lab};
use crate::firm::alice;

/// The number of provisioned people of the lab's forty when only example.com is claimed. The others
/// are disabled, expired, without group, without address, or of another domain.
pub(crate) const EVERYBODY: usize = 31;

pub(crate) struct Branch {
    pub(crate) lab: Lab,
    pub(crate) engine: Arc<Engine>,
}

/// Returns the settings of a directory on this lab. Without a grace period, because tests do not
/// wait.
pub(crate) fn config(lab: &Lab) -> DirectoryConfig {
    let group = |tier, name| (tier, GroupName::parse(name));
    DirectoryConfig {
        name: DirectoryName::parse("corp").expect("a name"),
        rename_from: None,
        account: Handle::parse("acme").expect("a handle"),
        mode: Mode::Apply,
        settings: Settings {
            servers: vec![ServerUrl::parse(lab.fact("LAB_URL")).expect("a URL")],
            starttls: false,
            ca_file: Some(PathBuf::from(lab.fact("LAB_CA_FILE"))),
            bind_dn: lab.fact("LAB_BIND_UPN").to_owned(),
            password_file: PathBuf::from(lab.fact("LAB_PASSWORD_FILE")),
            bases: vec![DOMAIN.to_owned()],
            filter: None,
            timeouts: Timeouts {
                connect: Duration::from_secs(2),
                operation: Duration::from_secs(5),
                run: Duration::from_mins(1),
            },
            // Several pages, even of so few people.
            page_size: 20,
            groups: vec![group(Tier::Pro, "Roster Pro"), group(Tier::Basic, "Roster Basic")],
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
        limits: Limits { grace_period: Duration::ZERO, ..Limits::default() },
        schedule: Cron::parse("@hourly", chrono_tz::Tz::UTC).expect("a schedule"),
        stale_after: Duration::from_hours(6),
        full: Cron::parse("30 2 * * *", chrono_tz::Tz::UTC).expect("a schedule"),
        live: false,
        incremental: true,
    }
}

impl Branch {
    /// Returns a branch whose account exists and holds example.com, before the first run.
    pub(crate) async fn of(adapt: impl FnOnce(&mut DirectoryConfig)) -> Self {
        let lab = Lab::start();
        let mut config = config(&lab);
        adapt(&mut config);
        let store = Arc::new(
            Store::open(&format!("sqlite://{}", lab.folder().join("rosterd.db").display()))
                .await
                .expect("a store"),
        );
        let trusted = BTreeSet::from([Domain::parse("example.com").expect("a domain")]);
        let engine = Engine::new(
            store,
            Clock::system(),
            vec![config],
            Rules { trusted, ..Rules::default() },
            CancellationToken::new(),
        );
        engine.create_account("acme", "Acme", &alice()).await.expect("an account");
        engine.claim("acme", "example.com", &alice()).await.expect("a claim");
        Self { lab, engine: Arc::new(engine) }
    }

    /// Returns a branch whose people are imported.
    pub(crate) async fn running(adapt: impl FnOnce(&mut DirectoryConfig)) -> Self {
        let branch = Self::of(adapt).await;
        let run = branch.sync().await;
        assert_eq!(
            (run.state, run.counts.create, run.error.as_deref()),
            (RunState::Succeeded, EVERYBODY as u64, None),
            "{run:?}"
        );
        branch
    }

    pub(crate) async fn sync(&self) -> Run {
        let directory = self.engine.directory("corp").expect("corp").clone();
        self.engine
            .run(&directory, Request::full(Trigger::Manual, Some(alice())))
            .await
            .expect("a run")
    }

    /// Runs and expects no change.
    pub(crate) async fn quiet(&self, why: &str) {
        let run = self.sync().await;
        assert_eq!(
            (run.state, run.counts.total(), run.held, run.error.as_deref()),
            (RunState::Succeeded, 0, 0, None),
            "{why}: {run:?}"
        );
    }

    pub(crate) async fn users(&self) -> Vec<User> {
        self.engine
            .store
            .users(&UserFilter { limit: Some(1_000), ..UserFilter::default() })
            .await
            .expect("users")
    }

    pub(crate) async fn active(&self) -> usize {
        self.users().await.iter().filter(|u| u.status() == Status::Active).count()
    }

    pub(crate) async fn user(&self, who: &str) -> User {
        self.engine.find_user(who).await.unwrap_or_else(|e| panic!("{who}: {e}"))
    }

    /// Returns the reason why a user is suspended.
    pub(crate) async fn reason(&self, who: &str) -> Option<Reason> {
        self.user(who).await.causes.weightiest().map(|c| c.reason)
    }
}
