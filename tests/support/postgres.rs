//! A database for one test, on the server that `tests/run` starts.
#![allow(dead_code, reason = "tests of the store and of the daemon each use some of it")]

use sqlx::any::AnyPoolOptions;

/// Creates a database and returns its URL. Without a server, the test is skipped.
#[allow(clippy::print_stderr, reason = "a skipped test gives its reason")]
pub(crate) async fn database() -> Option<String> {
    let Ok(server) = std::env::var("ROSTERD_TEST_POSTGRES") else {
        assert!(
            std::env::var_os("ROSTERD_LAB").is_none(),
            "the lab has no PostgreSQL: tests/run starts one"
        );
        eprintln!("PostgreSQL is skipped: tests/run starts one");
        return None;
    };
    sqlx::any::install_default_drivers();
    let name = format!("t{}", uuid::Uuid::new_v4().simple());
    administer(&server, &format!("CREATE DATABASE {name}")).await;
    let (base, _) = server.rsplit_once('/').expect("a database in the URL");
    Some(format!("{base}/{name}"))
}

/// Runs statements as an administrator of the server would.
pub(crate) async fn administer(url: &str, statements: &str) {
    let admin = AnyPoolOptions::new().max_connections(1).connect(url).await.expect("a server");
    let statements = sqlx::AssertSqlSafe(statements.to_owned());
    sqlx::raw_sql(statements).execute(&admin).await.expect("a statement");
    admin.close().await;
}

/// Returns user, server and database of a URL.
pub(crate) fn parts(url: &str) -> (&str, &str, &str) {
    let (user, rest) = url.split_once('@').expect("a user");
    let (server, database) = rest.split_once('/').expect("a database");
    (user, server, database)
}
