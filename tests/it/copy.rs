//! `rosterd store copy`: a company moves to PostgreSQL and back.

use std::path::Path;
use std::process::{Command, Output};

use nix::sys::signal::Signal;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, Connection as _, Row as _};
use tokio::runtime::Runtime;

use crate::postgres::{database, parts};
use crate::process::{Daemon, Programs, until};
use crate::service::Site;

fn copy(from: &str, to: &str) -> Output {
    let mut command = Command::new(Programs::built().rosterd);
    command.args(["store", "copy", from, to]).output().unwrap()
}

/// Copies a store, and returns what was printed.
fn copied(from: &str, to: &str) -> String {
    let done = copy(from, to);
    assert!(done.status.success(), "{done:?}");
    String::from_utf8(done.stdout).unwrap()
}

/// Returns the error of a copy that must be refused.
fn refused(from: &str, to: &str) -> String {
    let done = copy(from, to);
    assert_eq!(done.status.code(), Some(1), "{done:?}");
    String::from_utf8(done.stderr).unwrap()
}

#[test]
fn a_refused_copy_does_not_print_the_password_of_its_arguments() {
    let with_password = "postgres://rosterd:hunter2-hunter2@127.0.0.1:1/rosterd";
    for (from, to) in [(with_password, "/nonexistent/b.db"), ("/nonexistent/a.db", with_password)] {
        let told = refused(from, to);
        assert!(!told.contains("hunter2"), "{told}");
        assert!(told.contains("password"), "{told}");
    }
}

async fn open(file: &Path) -> SqliteConnection {
    // The rows below refer to no user.
    let options = SqliteConnectOptions::new().filename(file).foreign_keys(false);
    SqliteConnection::connect_with(&options).await.unwrap()
}

async fn texts(conn: &mut SqliteConnection, sql: String) -> Vec<String> {
    let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(conn).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

async fn tables(conn: &mut SqliteConnection) -> Vec<String> {
    let sql = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT IN ('_sqlx_migrations', 'leaders', 'nodes', 'write_lock') ORDER BY name";
    texts(conn, sql.to_owned()).await
}

/// Writes a row into each table that has none. Returns these tables.
async fn fill(file: &Path) -> Vec<String> {
    let mut conn = open(file).await;
    let mut filled = Vec::new();
    let begins = "INSERT INTO log_begins (seq, hash) VALUES (0, zeroblob(32))";
    sqlx::raw_sql(begins).execute(&mut conn).await.unwrap();
    for table in tables(&mut conn).await {
        let sql = "SELECT group_concat(CASE c.type WHEN 'INTEGER' THEN '-7' WHEN 'BLOB' THEN '(SELECT id FROM users LIMIT 1)' ELSE '''Zoë''' END) FROM pragma_table_info";
        let values = texts(&mut conn, format!("{sql}('{table}') c")).await;
        let insert = format!(
            "INSERT INTO {table} SELECT {} WHERE NOT EXISTS (SELECT 1 FROM {table})",
            values[0]
        );
        let done = sqlx::raw_sql(AssertSqlSafe(insert)).execute(&mut conn).await.unwrap();
        if done.rows_affected() > 0 {
            filled.push(table);
        }
    }
    conn.close().await.unwrap();
    filled
}

/// Returns the tables in which two stores differ.
async fn differences(one: &Path, other: &Path) -> Vec<String> {
    let mut conn = open(one).await;
    let attach = format!("ATTACH '{}' AS other", other.display());
    sqlx::raw_sql(AssertSqlSafe(attach)).execute(&mut conn).await.unwrap();
    let mut different = Vec::new();
    for table in tables(&mut conn).await {
        let sql = format!(
            "SELECT 'lost' FROM (SELECT * FROM main.{table} EXCEPT SELECT * FROM other.{table}) UNION ALL SELECT 'added' FROM (SELECT * FROM other.{table} EXCEPT SELECT * FROM main.{table})"
        );
        let found = texts(&mut conn, sql).await;
        let none = format!("SELECT 'empty' WHERE NOT EXISTS (SELECT 1 FROM main.{table})");
        let found = [found, texts(&mut conn, none).await].concat();
        if !found.is_empty() {
            different.push(format!("{table}: {}", found.join(", ")));
        }
    }
    conn.close().await.unwrap();
    different
}

#[test]
fn a_company_moves_to_postgresql_and_back_and_nothing_is_lost() {
    let runtime = Runtime::new().unwrap();
    let Some(url) = runtime.block_on(database()) else { return };
    let target = runtime.block_on(scimsim::Sim::start()).unwrap();
    let token = tempfile::tempdir().unwrap();
    crate::folder::write(&token.path().join("token"), &target.token(), 0o600);
    let more = format!(
        "[[target]]\nname = \"app\"\naccount = \"acme\"\nurl = \"{}\"\ntoken-file = \"{}/token\"\n\n[[hook]]\nname = \"away\"\nevents = [\"*\"]\nurl = \"http://127.0.0.1:9/\"\n",
        target.url(),
        token.path().display()
    );
    let mut site = Site::of(adsim::Sim::builder().people(40), &more, |_, _| {});
    site.daemon.import();
    let users = site.done("user list --status active")["users"].clone();
    let dn = |n: usize| users[n]["directory"]["dn"].as_str().unwrap();
    site.sim.edit(|ad| ad.show_tombstones(true));
    // A plan is rejected, another one waits.
    let held = |people: std::ops::Range<usize>| {
        site.sim.edit(|ad| people.for_each(|n| ad.delete(dn(n))));
        site.daemon.ctl("sync corp");
        site.done("held list")["held"][0]["id"].as_str().unwrap().to_owned()
    };
    site.done(&format!("held reject {}", held(1..11)));
    held(11..21);
    site.sim.edit(|ad| ad.disable(dn(0)));
    site.daemon.ctl("sync corp");

    let file = site.folder.path().join("rosterd.db");
    let from = format!("sqlite://{}", file.display());
    assert!(refused(&from, &url).contains("works on sqlite:///"), "{}", refused(&from, &url));
    let waiting = |site: &Site| site.done("held list")["held"][0]["id"].clone();
    let held = waiting(&site);
    site.daemon.signal(Signal::SIGTERM);
    assert!(site.daemon.wait().success());
    let told = copied(&file.display().to_string(), &url);
    let next =
        format!("next: write url = \"{url}\" below [store] in rosterd.toml, and start rosterd");
    assert!(told.contains(&next), "{told}");
    assert!(refused(&from, &url).contains("is not empty: accounts has 1 rows"), "{told}");

    // A daemon goes on with the copy.
    let config = site.folder.path().join("rosterd.toml");
    let text = std::fs::read_to_string(&config).unwrap().replace(&from, &url);
    std::fs::write(&config, text).unwrap();
    site.daemon = Daemon::start_without_store(site.folder.path());
    let status = until("rosterd works", || {
        let (code, status) = site.daemon.ctl("status");
        (code == 0).then_some(status)
    });
    assert_eq!(waiting(&site), held);
    assert!(!status.to_string().contains("restored"), "{status:#}");
    site.done("event verify");
    let back = site.folder.path().join("back.db");
    let to = back.display().to_string();
    let told = refused(&url, &to);
    assert!(told.contains(" works on postgres://") && told.contains("stop it first"), "{told}");
    site.daemon.signal(Signal::SIGTERM);
    assert!(site.daemon.wait().success());

    let other = runtime.block_on(database()).unwrap();
    let filled = runtime.block_on(fill(&file));
    assert!(
        !["rejections", "deliveries", "counterparts", "plans"]
            .iter()
            .any(|table| filled.contains(&(*table).to_owned())),
        "{filled:?}"
    );
    copied(&from, &other);
    copied(&other, &to);
    assert_eq!(runtime.block_on(differences(&file, &back)), Vec::<String>::new());

    // PostgreSQL takes no U+0000.
    runtime.block_on(async {
        let mut conn = open(&file).await;
        let sql =
            "UPDATE users SET note = 'An' || char(0) || 'n' WHERE id = (SELECT MIN(id) FROM users)";
        sqlx::raw_sql(sql).execute(&mut conn).await.unwrap();
        conn.close().await.unwrap();
    });
    let third = runtime.block_on(database()).unwrap();
    assert!(copied(&from, &third).contains("1 texts had the character U+0000"), "{third}");
    let elsewhere = url.replace(parts(&url).2, "nowhere");
    for absent in [site.folder.path().join("absent.db").display().to_string(), elsewhere] {
        let told = refused(&absent, &url);
        assert!(
            told.contains("there is no store at") || told.contains("does not answer"),
            "{told}"
        );
    }
}
