//! The schema, and the steps that bring it up to date.
//!
//! On a server that several rosterds share, the leader takes the steps in its term. One that lacks a
//! step never leads, and serves beside it unless the name of the step says otherwise.

use sqlx::any::AnyRow;
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::{AnyConnection, AnyPool, Row as _};

use super::error::StoreError;
use super::flavour::Flavour;
use super::limits::{STATEMENT, within};
use super::sql::Sql;

/// A step of the schema, in the SQL of each database.
struct SchemaStep {
    version: i64,
    name: &'static str,
    sqlite: &'static str,
    #[cfg(feature = "postgres")]
    postgres: &'static str,
}

macro_rules! schema_steps {
    ($($name:literal in $file:literal),* $(,)?) => {
        &[$(SchemaStep {
            version: version_of($file),
            name: $name,
            sqlite: include_str!(concat!("migrations/sqlite/", $file)),
            #[cfg(feature = "postgres")]
            postgres: include_str!(concat!("migrations/postgres/", $file)),
        }),*]
    };
}

/// Returns the version of a step, which is the number at the beginning of its file name.
const fn version_of(file: &str) -> i64 {
    let (name, mut at, mut version) = (file.as_bytes(), 0, 0);
    while at < name.len() && name[at].is_ascii_digit() {
        version = version * 10 + (name[at] - b'0') as i64;
        at += 1;
    }
    version
}

/// The end of the name of a step that takes away, or gives another meaning to, what the version before
/// it reads or writes, and so cannot serve beside it.
const ALONE: &str = "(alone)";

/// The steps of the schema. A released step is never changed.
const STEPS: &[SchemaStep] = schema_steps![
    "initial" in "0001_initial.sql",
    "what every run asks" in "0002_what_every_run_asks.sql",
    "accounts in full" in "0003_accounts_in_full.sql",
    "deliveries" in "0004_deliveries.sql",
    "approval in parts" in "0005_approval_in_parts.sql",
    "removed hooks" in "0006_removed_hooks.sql",
    "changes followed" in "0007_changes_followed.sql",
    "one user a person" in "0008_one_user_a_person.sql",
    "rejections" in "0009_rejections.sql",
    "counters and causes" in "0010_counters_and_causes.sql",
    "sign-in attempts" in "0014_sign_in_attempts.sql",
    "terms" in "0015_terms.sql",
    "replicas" in "0016_replicas.sql",
    "found servers" in "0018_found_servers.sql",
    "people behind" in "0019_people_behind.sql",
    "followed servers" in "0020_followed_servers.sql",
    "domains" in "0021_domains.sql",
    "early leavers" in "0022_early_leavers.sql",
    "names" in "0030_names.sql",
    "targets" in "0040_targets.sql",
    "last sign-ins" in "0045_last_sign_ins.sql",
    "homes" in "0050_homes.sql",
    "approvals" in "0051_approvals.sql",
    "quiet hours" in "0052_quiet_hours.sql",
    "scheduled suspensions" in "0053_scheduled_suspensions.sql",
    "attributes of rejections" in "0054_rejected_attributes.sql",
    "notes" in "0055_notes.sql",
    "write lock" in "0056_write_lock.sql",
    "leaders" in "0057_leaders.sql",
    "numbers of runs" in "0067_numbers_of_runs.sql",
    "people without a SID" in "0080_people_without_sid.sql",
    "changes of plans" in "0081_changes_of_plans.sql",
    "cluster" in "0070_cluster.sql",
    "observed people" in "0082_observed_people.sql",
    "noted users" in "0083_noted_users.sql",
    "identity" in "0084_identity.sql",
    "followed events" in "0085_followed_events.sql",
    "claimed deliveries" in "0086_claimed_deliveries.sql",
];

/// The number of a step that a build for tests does not know: it is an older version then.
#[cfg(debug_assertions)]
const WITHOUT: &str = "ROSTERD_TEST_WITHOUT_STEP";

/// Returns the steps that this rosterd knows.
fn steps() -> impl Iterator<Item = &'static SchemaStep> {
    #[cfg(debug_assertions)]
    let without = std::env::var(WITHOUT).ok().and_then(|step| step.parse::<i64>().ok());
    #[cfg(not(debug_assertions))]
    let without = None;
    STEPS.iter().filter(move |step| Some(step.version) != without)
}

/// The schema of a store on a server, beside the steps that this rosterd knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Schema {
    /// It lacks a step.
    Older,
    Current,
    /// It has this further step. This rosterd serves, and never leads.
    Newer(i64),
    /// It has this further step, beside which no earlier version serves.
    Alone(i64),
}

/// The columns from which [`Schema::of`] is read.
pub(super) fn columns() -> String {
    let known = known();
    format!(
        "(SELECT COUNT(*) FROM _sqlx_migrations WHERE version IN {known})::BIGINT, \
         (SELECT COALESCE(MAX(version), 0) FROM _sqlx_migrations WHERE version NOT IN {known})::BIGINT, \
         (SELECT COALESCE(MAX(version), 0) FROM _sqlx_migrations WHERE version NOT IN {known} AND description LIKE '%{ALONE}')::BIGINT"
    )
}

/// Returns the numbers of the known steps, in the notation of `IN`.
pub(super) fn known() -> String {
    let known: Vec<String> = steps().map(|step| step.version.to_string()).collect();
    format!("({})", known.join(", "))
}

impl Schema {
    /// Reads [`columns`] that begin at an index of a row.
    pub(super) fn of(row: &AnyRow, first: usize) -> Result<Self, sqlx::Error> {
        let int = |at: usize| row.try_get::<i64, _>(first + at);
        Ok(match (int(0)?, int(1)?, int(2)?) {
            (_, _, alone) if alone > 0 => Self::Alone(alone),
            (_, newer, _) if newer > 0 => Self::Newer(newer),
            (taken, ..) if taken < steps().count() as i64 => Self::Older,
            _ => Self::Current,
        })
    }
}

/// Returns the schema of a server; `None` where no rosterd can lead yet, because it has no leases.
pub(super) async fn found(conn: &mut AnyConnection) -> Result<Option<Schema>, sqlx::Error> {
    if !has_table(conn, "nodes").await? {
        return Ok(None);
    }
    let asked = Sql::new("SELECT ").push(&columns()).first(conn);
    within(STATEMENT, asked).await?.map(|row| Schema::of(&row, 0)).transpose()
}

async fn has_table(conn: &mut AnyConnection, name: &str) -> Result<bool, sqlx::Error> {
    let asked = Sql::new(
        "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = current_schema() AND table_name = ",
    );
    Ok(within(STATEMENT, asked.bind(name).count(conn)).await? > 0)
}

/// Takes the missing steps in a transaction on a server.
#[cfg(feature = "postgres")]
pub(super) async fn migrate_server(tx: &mut AnyConnection) -> Result<(), StoreError> {
    // `run` takes anything that can be acquired, whose future no task can hold.
    ended(migrator(Flavour::Postgres).run_direct(None, tx, false).await)
}

/// Takes the missing steps of a file.
pub(super) async fn migrate(pool: &AnyPool) -> Result<(), StoreError> {
    ended(migrator(Flavour::Sqlite).run(pool).await)
}

fn ended(ended: Result<(), MigrateError>) -> Result<(), StoreError> {
    ended.map_err(|error| match error {
        MigrateError::VersionMissing(version) => StoreError::Newer(version),
        error => StoreError::Migrate(error),
    })
}

fn migrator(flavour: Flavour) -> Migrator {
    let steps = steps().map(|step| {
        let sql = match flavour {
            Flavour::Sqlite => step.sqlite,
            #[cfg(feature = "postgres")]
            Flavour::Postgres => step.postgres,
        };
        Migration::new(
            step.version,
            step.name.into(),
            MigrationType::Simple,
            sqlx::SqlSafeStr::into_sql_str(sql),
            false,
        )
    });
    let steps = steps.collect();
    let mut migrator = Migrator::with_migrations(steps);
    // The lock would be one of the session, which no pooler and no other engine knows.
    migrator.set_locking(false);
    migrator
}

/// Returns the first step that is either here or in a store with these steps.
pub(super) fn first_difference(found: &[i64]) -> Option<i64> {
    let known: Vec<i64> = steps().map(|step| step.version).collect();
    let is_known = |step: &&i64| known.contains(step);
    let newer = found.iter().find(|step| !is_known(step));
    newer.or_else(|| known.iter().find(|step| !found.contains(step))).copied()
}
