//! The limit of the store: SQLite's own time for as many rows as an import must write.

use std::path::Path;
use std::time::{Duration, Instant};

use sqlx::{AssertSqlSafe, Connection as _, SqliteConnection};
use xxhash_rust::xxh3::xxh3_128;

use crate::population::Population;

/// Rows in one statement.
const ROWS: u64 = 400;

/// For each person, writes a row of twelve text columns with two indexes, and two address rows. The
/// keys are random.
pub fn measure(population: Population, folder: &Path) -> anyhow::Result<Duration> {
    let file = folder.join("limit.db");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let took = runtime.block_on(fill(population, &file))?;
    for suffix in ["", "-wal", "-shm"] {
        // SQLite removes the latter two itself on a clean close.
        let _ = std::fs::remove_file(folder.join(format!("limit.db{suffix}")));
    }
    Ok(took)
}

async fn fill(population: Population, file: &Path) -> anyhow::Result<Duration> {
    let mut db =
        SqliteConnection::connect(&format!("sqlite://{}?mode=rwc", file.display())).await?;
    for statement in [
        "PRAGMA journal_mode = WAL",
        "PRAGMA synchronous = FULL",
        "PRAGMA cache_size = -32768",
        "CREATE TABLE person (guid BLOB PRIMARY KEY, a TEXT, b TEXT, c TEXT, d TEXT, e TEXT, f TEXT, g TEXT, h TEXT, i TEXT, j TEXT, k TEXT, l TEXT) STRICT, WITHOUT ROWID",
        "CREATE INDEX person_a ON person (a)",
        "CREATE INDEX person_b ON person (b)",
        "CREATE TABLE address (key TEXT PRIMARY KEY, guid BLOB) STRICT, WITHOUT ROWID",
    ] {
        sqlx::query(statement).execute(&mut db).await?;
    }
    let begun = Instant::now();
    for from in (0..population.people).step_by(ROWS as usize) {
        let people = from..population.people.min(from + ROWS);
        let mut writing = db.begin().await?;
        let row = format!("({})", ["?"; 13].join(","));
        let text = format!(
            "INSERT INTO person VALUES {}",
            vec![row.as_str(); people.clone().count()].join(",")
        );
        let mut person = sqlx::query(AssertSqlSafe(text));
        let text = format!(
            "INSERT INTO address VALUES {}",
            vec!["(?,?),(?,?)"; people.clone().count()].join(",")
        );
        let mut address = sqlx::query(AssertSqlSafe(text));
        for n in people {
            let guid = xxh3_128(&n.to_le_bytes()).to_be_bytes().to_vec();
            person = person.bind(guid.clone());
            for column in 0..12 {
                person = person.bind(format!("column {column} of person {n:07}"));
            }
            for domain in ["example.com", "mail.example.com"] {
                address = address.bind(format!("user{n:07}@{domain}")).bind(guid.clone());
            }
        }
        person.execute(&mut *writing).await?;
        address.execute(&mut *writing).await?;
        writing.commit().await?;
    }
    Ok(begun.elapsed())
}
