//! A branch of the company: the engine in process, over a domain controller of its own.

use std::sync::Arc;
use std::time::Duration;

use rosterd::clock::Clock;
use rosterd::engine::{DirectoryConfig, Engine};
use rosterd::model::{Reason, RunState, Status, User};
use rosterd::store::Run;

use super::{DOMAIN, Lab};
use crate::acme;

/// The number of provisioned people of the lab's forty when only example.com is claimed. The others
/// are disabled, expired, without group, without address, or of another domain.
pub(crate) const PROVISIONED: usize = 31;

pub(crate) struct Branch {
    pub(crate) lab: Lab,
    pub(crate) engine: Arc<Engine>,
}

/// Returns the configuration of a directory on this lab. Without a grace period, because tests do
/// not wait.
pub(crate) fn config(lab: &Lab) -> DirectoryConfig {
    let mut config = acme::config(lab.directory(DOMAIN));
    // Several pages, even of so few people.
    config.settings.page_size = 20;
    config.limits.grace_period = Duration::ZERO;
    config
}

impl Branch {
    /// Returns a branch whose account exists and holds example.com, before the first run.
    pub(crate) async fn of(adapt: impl FnOnce(&mut DirectoryConfig)) -> Self {
        let lab = Lab::start();
        let mut config = config(&lab);
        adapt(&mut config);
        Self::on(lab, config).await
    }

    /// Does the same with a running controller.
    pub(crate) async fn on(lab: Lab, config: DirectoryConfig) -> Self {
        let store = acme::store(lab.folder()).await;
        let engine = acme::engine(store, &Clock::system(), config);
        acme::create(&engine).await;
        Self { lab, engine }
    }

    /// Returns a branch whose people are imported.
    pub(crate) async fn running(adapt: impl FnOnce(&mut DirectoryConfig)) -> Self {
        let branch = Self::of(adapt).await;
        let run = branch.sync().await;
        assert_eq!(
            (run.state, run.counts.create, run.error.as_deref()),
            (RunState::Succeeded, PROVISIONED as u64, None),
            "{run:?}"
        );
        branch
    }

    pub(crate) async fn sync(&self) -> Run {
        acme::sync(&self.engine, "corp").await
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
        acme::users(&self.engine.store).await
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
