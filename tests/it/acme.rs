//! The account `acme` with the directory `corp`, for an engine in process.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rosterd::clock::Clock;
use rosterd::directory::Settings;
use rosterd::engine::{DirectoryConfig, Engine, Request, Rules};
use rosterd::model::{
    Actor, AttributeNames, Credential, Cron, DirectoryName, Domain, FollowedServers, GroupName,
    Handle, Mode, QuietHours, ServerUrl, Tier, Timeouts, Trigger, User,
};
use rosterd::reconcile::{Limits, OuRules, TierRules, WithoutGroup};
use rosterd::store::{Run, Store, UserFilter};
use tokio_util::sync::CancellationToken;

use crate::folder::Directory;

pub(crate) fn alice() -> Actor {
    Actor("alice".to_owned())
}

/// Returns the configuration of `corp`, with short timeouts and the default limits.
pub(crate) fn config(directory: Directory) -> DirectoryConfig {
    let Directory { url, ca_file, bind_dn, password_file, base } = directory;
    let group = |tier, name| (tier, GroupName::parse(name));
    DirectoryConfig {
        name: DirectoryName::parse("corp").expect("a name"),
        rename_from: None,
        account: Handle::parse("acme").expect("a handle"),
        mode: Mode::Apply,
        settings: Settings {
            servers: vec![ServerUrl::parse(&url).expect("a URL")],
            starttls: false,
            ca_file: Some(ca_file.into()),
            credential: Credential::Password { bind_dn, file: password_file.into() },
            bases: vec![base],
            filter: None,
            exclude_ou: Vec::new(),
            rules: OuRules::default(),
            timeouts: Timeouts {
                connect: Duration::from_secs(2),
                operation: Duration::from_secs(5),
                run: Duration::from_mins(1),
            },
            page_size: 100,
            groups: vec![
                group(Tier::Pro, adsim::names::PRO),
                group(Tier::Basic, adsim::names::BASIC),
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
        quiet: QuietHours::none(chrono_tz::Tz::UTC),
        zone: chrono_tz::Tz::UTC,
        schedule: Cron::parse("@hourly", chrono_tz::Tz::UTC).expect("a schedule"),
        stale_after: Duration::from_hours(6),
        full: Cron::parse("30 2 * * *", chrono_tz::Tz::UTC).expect("a schedule"),
        live: false,
        watch: FollowedServers::default(),
        incremental: true,
    }
}

/// Opens the store in a folder, which is created if it does not exist.
pub(crate) async fn store(folder: &Path) -> Arc<Store> {
    let url = format!("sqlite://{}", folder.join("rosterd.db").display());
    Arc::new(Store::open(&url).await.expect("a store"))
}

/// Returns an engine over a store, with example.com as a trusted domain.
pub(crate) fn engine(store: Arc<Store>, clock: &Clock, config: DirectoryConfig) -> Arc<Engine> {
    let trusted = BTreeSet::from([Domain::parse("example.com").expect("a domain")]);
    let rules = Rules { trusted, ..Rules::default() };
    let stop = CancellationToken::new();
    Arc::new(Engine::new(store, clock.clone(), vec![config], rules, stop).with_slices_of(SLICE))
}

/// The people who are planned at once: so few that most tests have several slices.
const SLICE: usize = 7;

/// Creates the account and claims example.com for it.
pub(crate) async fn create(engine: &Engine) {
    engine.create_account("acme", "Acme", &alice()).await.expect("an account");
    engine.claim("acme", "example.com", &alice()).await.expect("a claim");
}

/// Returns a new engine over the same store, which is equivalent to a restart.
pub(crate) fn restarted(engine: &Engine) -> Arc<Engine> {
    restarted_with(engine, SLICE)
}

/// Returns a new engine over the same store that plans so many people at once.
pub(crate) fn restarted_with(engine: &Engine, slice: usize) -> Arc<Engine> {
    let was = engine.configured();
    let configs = was.directories.values().map(|d| d.config.clone()).collect();
    let (store, stop) = (Arc::clone(&engine.store), CancellationToken::new());
    let engine = Engine::new(store, engine.clock.clone(), configs, was.rules.clone(), stop);
    Arc::new(engine.with_slices_of(slice))
}

/// Carries out a full run of the named directory.
pub(crate) async fn sync(engine: &Engine, name: &str) -> Run {
    let directory = engine.directory(name).expect("a directory");
    let request = Request::full(Trigger::Manual, Some(alice()));
    engine.run(&directory, request).await.expect("a run")
}

pub(crate) async fn users(store: &Store) -> Vec<User> {
    let all = UserFilter { limit: Some(1_000_000), ..UserFilter::default() };
    store.users(&all).await.expect("users")
}
