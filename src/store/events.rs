//! The event log, as it is listed and pruned.

use std::collections::BTreeSet;

use sqlx::any::AnyRow;
use tokio::sync::watch;
use uuid::Uuid;

use super::database::Store;
use super::error::{Doing as _, StoreError};
use super::log_keys::{GENESIS, LogHead};
use super::rows::Columns;
use super::sql::{Db, Sql};
use crate::model::{AccountId, DirectoryName, Handle, RunId, Timestamp};

#[derive(Debug, Clone)]
pub struct StoredEvent {
    /// The number in the log, from 1, without gaps.
    pub seq: u64,
    /// The CloudEvents document.
    pub document: serde_json::Value,
}

/// The events to list.
#[derive(Debug, Clone, Default)]
pub struct EventFilter {
    /// List the first events after this number. Without it, list the newest events.
    pub after: Option<u64>,
    /// Only events before this number.
    pub before: Option<u64>,
    /// Types, or families such as `user.*`; empty for all.
    pub kinds: Vec<String>,
    /// Empty for all subjects.
    pub subjects: Vec<String>,
    pub account: Option<AccountScope>,
    pub run: Option<RunId>,
    /// The earliest time.
    pub since: Option<Timestamp>,
    /// The end, excluded.
    pub until: Option<Timestamp>,
    pub limit: u64,
}

/// The events of an account.
///
/// An event belongs to the account in its document. Otherwise its subject decides: the
/// account itself, or its user, claim or connected directory.
#[derive(Debug, Clone)]
pub struct AccountScope {
    pub account: AccountId,
    pub handle: Handle,
    pub directories: Vec<DirectoryName>,
}

/// Events that are read at once.
pub(super) const PAGE: u64 = 1_000;

/// Runs whose changes are deleted in one transaction.
const RUNS: u64 = 20;

/// Returns number and hash of the last event that retention has deleted.
pub(super) async fn beginning<'e>(db: impl Db<'e>) -> Result<(i64, [u8; 32]), StoreError> {
    let row = Sql::new("SELECT seq, hash FROM log_begins ORDER BY seq DESC LIMIT 1")
        .first(db)
        .await
        .doing("read where the log begins")?;
    row.map_or(Ok((0, GENESIS)), |row| {
        let mut c = Columns::of(&row);
        Ok((c.read()?, c.read()?))
    })
}

impl Store {
    /// Returns a counter that changes when events or deliveries are committed.
    pub fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    /// Returns the number of the newest event.
    pub async fn event_count(&self) -> Result<u64, StoreError> {
        let last = Sql::new("SELECT seq FROM events ORDER BY seq DESC LIMIT 1")
            .first(&self.readers)
            .await
            .doing("read the event log")?;
        match last {
            Some(row) => Ok(Columns::of(&row).int()? as u64),
            None => Ok(beginning(&self.readers).await?.0 as u64),
        }
    }

    pub async fn log_head(&self) -> Result<LogHead, StoreError> {
        let last = Sql::new("SELECT seq, hash FROM events ORDER BY seq DESC LIMIT 1")
            .first(&self.readers)
            .await
            .doing("read the event log")?;
        let (seq, hash): (i64, [u8; 32]) = match last {
            Some(row) => {
                let mut c = Columns::of(&row);
                (c.read()?, c.read()?)
            }
            None => beginning(&self.readers).await?,
        };
        Ok(LogHead { seq: seq as u64, hash })
    }

    /// Returns the newest events of the filter, or the first ones after a number, oldest first.
    pub async fn events(&self, filter: &EventFilter) -> Result<Vec<StoredEvent>, StoreError> {
        let Some(scope) = &filter.account else {
            let mut rows = page(filter, filter.after, filter.limit)
                .all(&self.readers)
                .await
                .doing("list events")?;
            if filter.after.is_none() {
                rows.reverse();
            }
            return rows.iter().map(stored).collect();
        };
        // No event has the present account of a user, so the log is read page by page.
        let mut found = Vec::new();
        let mut from = filter.after;
        while (found.len() as u64) < filter.limit {
            let rows = page(filter, from, PAGE).all(&self.readers).await.doing("list events")?;
            let Some(last) = rows.last() else { break };
            from = Some(Columns::of(last).int()? as u64);
            let is_last = (rows.len() as u64) < PAGE;
            let concerned = self.concerned(scope, &rows).await?;
            for (row, _) in rows
                .iter()
                .zip(concerned)
                .filter(|(_, concerned)| *concerned)
                .take(filter.limit as usize - found.len())
            {
                found.push(stored(row)?);
            }
            if is_last {
                break;
            }
        }
        if filter.after.is_none() {
            found.reverse();
        }
        Ok(found)
    }

    /// Returns the number of events of the filter before this number; `None` for an account, whose
    /// events are found page by page.
    pub async fn older_events(
        &self,
        filter: &EventFilter,
        before: u64,
    ) -> Result<Option<u64>, StoreError> {
        if filter.account.is_some() {
            return Ok(None);
        }
        let sql = Sql::new("SELECT COUNT(*) FROM events WHERE seq < ").bind(before as i64);
        let row = conditions(sql, filter).first(&self.readers).await.doing("count events")?;
        row.map(|row| Columns::of(&row).int().map(|count| count as u64)).transpose()
    }

    /// Returns for each event whether it belongs to the account.
    async fn concerned(
        &self,
        scope: &AccountScope,
        rows: &[AnyRow],
    ) -> Result<Vec<bool>, StoreError> {
        let AccountScope { account, handle, directories } = scope;
        let about = |row| {
            let StoredEvent { document, .. } = stored(row)?;
            let says =
                document["data"]["account"].as_str().map(|account| account == handle.as_str());
            let mut c = Columns::of(row);
            c.int()?;
            c.text()?;
            Ok((says, c.text()?, c.maybe_uuid()?))
        };
        let about: Vec<(Option<bool>, String, Option<Uuid>)> =
            rows.iter().map(about).collect::<Result<_, StoreError>>()?;
        let silent = || about.iter().filter(|(says, ..)| says.is_none());
        let ids: Vec<Uuid> = silent().filter_map(|(_, subject, _)| subject.parse().ok()).collect();
        let runs: Vec<Uuid> = silent().filter_map(|(.., run)| *run).collect();
        let names: Vec<&str> = directories.iter().map(DirectoryName::as_str).collect();
        let mut its: BTreeSet<Uuid> = BTreeSet::from([account.0]);
        for (table, owner) in [("users", "account_id"), ("claims", "account_id")] {
            let sql = Sql::new("SELECT id FROM ")
                .push(table)
                .push(" WHERE ")
                .push(owner)
                .push(" = ")
                .bind(account.0);
            self.add_ids(sql, &ids, &mut its).await?;
        }
        if !names.is_empty() {
            for (table, ids) in [("plans", &ids), ("runs", &runs)] {
                let sql = Sql::new("SELECT id FROM ")
                    .push(table)
                    .push(" WHERE directory IN ")
                    .list(names.iter().copied());
                self.add_ids(sql, ids, &mut its).await?;
            }
        }
        let is_its = |(says, subject, run): &(Option<bool>, String, Option<Uuid>)| {
            if let Some(says) = says {
                return *says;
            }
            names.contains(&subject.as_str())
                || subject.parse().is_ok_and(|id: Uuid| its.contains(&id))
                || run.is_some_and(|run| its.contains(&run))
        };
        Ok(about.iter().map(is_its).collect())
    }

    async fn add_ids(
        &self,
        sql: Sql,
        among: &[Uuid],
        into: &mut BTreeSet<Uuid>,
    ) -> Result<(), StoreError> {
        if among.is_empty() {
            return Ok(());
        }
        let rows = sql
            .push(" AND id IN ")
            .list(among.iter().copied())
            .all(&self.readers)
            .await
            .doing("list events")?;
        for row in rows {
            into.insert(Columns::of(&row).uuid()?);
        }
        Ok(())
    }

    /// Deletes events older than `before`, up to the first one with a pending delivery. Deletes the
    /// changes of runs that ended before, too. Returns the number of events.
    pub async fn forget_log(&self, before: Timestamp) -> Result<u64, StoreError> {
        let mut count = 0;
        loop {
            let mut writing = self.begin().await?;
            let sql = Sql::new(
                "SELECT seq, at, hash FROM events WHERE seq < (SELECT COALESCE(MIN(seq), 9223372036854775807) FROM deliveries WHERE state = 'pending')",
            );
            let rows = sql
                .push(" ORDER BY seq LIMIT ")
                .bind(PAGE)
                .all(&mut *writing.tx)
                .await
                .doing("read the event log")?;
            let mut last = None;
            for row in &rows {
                let mut c = Columns::of(row);
                let (seq, at, hash): (i64, Timestamp, [u8; 32]) = (c.read()?, c.read()?, c.read()?);
                if at >= before {
                    break;
                }
                count += 1;
                last = Some((seq, hash));
            }
            let Some((seq, hash)) = last else { break };
            let row = vec![("seq", seq.into()), ("hash", hash.into())];
            for sql in [
                Sql::new("DELETE FROM log_begins"),
                Sql::insert("log_begins", row),
                Sql::new("DELETE FROM deliveries WHERE seq <= ").bind(seq),
                Sql::new("DELETE FROM events WHERE seq <= ").bind(seq),
            ] {
                sql.execute(&mut *writing.tx)
                    .await
                    .doing("delete the beginning of the event log")?;
            }
            writing.commit().await?;
        }
        self.forget_changes(before).await?;
        Ok(count)
    }

    async fn forget_changes(&self, before: Timestamp) -> Result<(), StoreError> {
        loop {
            let sql = Sql::new("SELECT id FROM runs WHERE finished_at < ").bind(before);
            let sql = sql.push(" AND EXISTS (SELECT 1 FROM changes c WHERE c.run_id = runs.id AND c.outcome <> 'held') LIMIT ").bind(RUNS);
            let rows = sql.all(&self.readers).await.doing("read old runs")?;
            if rows.is_empty() {
                return Ok(());
            }
            let runs: Vec<Uuid> =
                rows.iter().map(|row| Columns::of(row).uuid()).collect::<Result<_, _>>()?;
            let mut writing = self.begin().await?;
            let sql =
                Sql::new("DELETE FROM changes WHERE outcome <> 'held' AND run_id IN ").list(runs);
            sql.execute(&mut *writing.tx).await.doing("delete the changes of old runs")?;
            writing.commit().await?;
        }
    }
}

/// Returns a page of the filter for all accounts. Newest first, unless `after` is set.
fn page(filter: &EventFilter, from: Option<u64>, limit: u64) -> Sql {
    let forward = filter.after.is_some();
    let sql = Sql::new("SELECT seq, document, subject, run_id FROM events WHERE seq ")
        .push(if forward { "> " } else { "< " })
        .bind(from.map_or(if forward { 0 } else { i64::MAX }, |seq| seq as i64));
    conditions(sql, filter)
        .push(if forward { " ORDER BY seq LIMIT " } else { " ORDER BY seq DESC LIMIT " })
        .bind(limit)
}

fn conditions(mut sql: Sql, filter: &EventFilter) -> Sql {
    let EventFilter { after: _, before, kinds, subjects, account: _, run, since, until, limit: _ } =
        filter;
    if let Some(before) = before {
        sql = sql.push(" AND seq < ").bind(*before as i64);
    }
    if !kinds.is_empty() {
        sql = of_kinds(sql.push(" AND "), "", kinds);
    }
    if !subjects.is_empty() {
        sql = sql.push(" AND subject IN ").list(subjects.iter().map(String::as_str));
    }
    if let Some(run) = run {
        sql = sql.push(" AND run_id = ").bind(run.0);
    }
    if let Some(since) = since {
        sql = sql.push(" AND at >= ").bind(*since);
    }
    if let Some(until) = until {
        sql = sql.push(" AND at < ").bind(*until);
    }
    sql
}

/// Appends the condition that `kind` is one of these types or families.
pub(super) fn of_kinds(sql: Sql, alias: &str, kinds: &[String]) -> Sql {
    let mut sql = sql.push("(");
    for (at, kind) in kinds.iter().enumerate() {
        sql = of_kind(sql.push(if at > 0 { " OR " } else { "" }), alias, kind);
    }
    sql.push(")")
}

/// Appends the condition that `kind` is this type, of the family (`user.*`), or any (`*`).
pub(super) fn of_kind(sql: Sql, alias: &str, kind: &str) -> Sql {
    match kind.strip_suffix('*') {
        Some("") => sql.push("1 = 1"),
        // "user." < every "user.x" < "user/"
        Some(noun) => {
            let noun = noun.trim_end_matches('.');
            let sql = sql.push("(").push(alias).push("kind >= ").bind(format!("{noun}."));
            sql.push(" AND ").push(alias).push("kind < ").bind(format!("{noun}/")).push(")")
        }
        None => sql.push(alias).push("kind = ").bind(kind),
    }
}

fn stored(row: &AnyRow) -> Result<StoredEvent, StoreError> {
    let mut c = Columns::of(row);
    Ok(StoredEvent { seq: c.int()? as u64, document: c.json("event")? })
}
