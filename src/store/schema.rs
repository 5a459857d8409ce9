//! The schema, and the steps that bring it up to date.

use sqlx::AnyPool;
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};

use super::error::StoreError;
use super::flavour::Flavour;

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
];

/// Returns whether all steps were taken. A store that is new has none.
pub(super) async fn is_current(pool: &AnyPool) -> Result<bool, sqlx::Error> {
    let asked = super::sql::Sql::new("SELECT COUNT(*) FROM _sqlx_migrations WHERE success");
    match asked.count(pool).await {
        Ok(taken) => Ok(taken >= STEPS.len() as u64),
        Err(error) if super::error::is_without_tables(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

pub(super) async fn migrate(pool: &AnyPool, flavour: Flavour) -> Result<(), StoreError> {
    let steps = STEPS.iter().map(|step| {
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
    match migrator.run(pool).await {
        Ok(()) => Ok(()),
        Err(MigrateError::VersionMissing(version)) => Err(StoreError::Newer(version)),
        Err(error) => Err(StoreError::Migrate(error)),
    }
}

/// Returns the first step that is either here or in a store with these steps.
pub(super) fn first_difference(found: &[i64]) -> Option<i64> {
    let known: Vec<i64> = STEPS.iter().map(|step| step.version).collect();
    let is_known = |step: &&i64| known.contains(step);
    let newer = found.iter().find(|step| !is_known(step));
    newer.or_else(|| known.iter().find(|step| !found.contains(step))).copied()
}
