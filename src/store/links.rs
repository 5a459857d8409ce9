//! Links: stored rows of a person follow the link of the user to another entry or directory.

use super::baseline::BaselineKind;
use super::database::Writing;
use super::error::{Doing as _, StoreError};
use super::rows::Columns;
use super::sql::{Sql, insert};
use crate::model::{Link, PlanState, User};
use crate::reconcile::Fingerprint;

/// Moves rows to the new GUID or directory of a link.
pub(super) async fn follow(
    writing: &mut Writing<'_>,
    user: &User,
    former: &Link,
    now: &Link,
) -> Result<(), StoreError> {
    if former.directory == now.directory && former.guid == now.guid {
        return Ok(());
    }
    if former.directory == now.directory {
        keep_place(writing, former, now).await?;
    }
    let obsolete = if former.guid == now.guid { &now.directory } else { &former.directory };
    let sql = Sql::new("DELETE FROM people WHERE directory = ").bind(obsolete.as_str());
    sql.push(" AND guid = ")
        .bind(former.guid)
        .execute(&mut *writing.tx)
        .await
        .doing("delete a former entry")?;
    if former.guid == now.guid {
        // The place by which limits and clusters count moves along. Only an applied change alters it.
        let sql = Sql::new("UPDATE people SET fingerprint = ")
            .bind(Fingerprint::Revisit)
            .push(", quarantine = NULL, metadata = NULL, behind_since = NULL, unseen_since = NULL, directory = ");
        let sql = sql.bind(now.directory.as_str()).push(" WHERE directory = ");
        sql.bind(former.directory.as_str())
            .push(" AND guid = ")
            .bind(former.guid)
            .execute(&mut *writing.tx)
            .await
            .doing("move an entry")?;
    }
    if former.guid != now.guid {
        relinked(writing, user, former, now).await?;
    }
    if former.directory != now.directory {
        moved(writing, user, now).await?;
    }
    Ok(())
}

/// Gives the row of another entry the place by which limits and clusters count its user. Only an
/// applied change alters it. Groups of another directory would be unknown there.
async fn keep_place(
    writing: &mut Writing<'_>,
    former: &Link,
    now: &Link,
) -> Result<(), StoreError> {
    let of_former = |sql: Sql| {
        let sql = sql.push(" FROM people f WHERE f.directory = ").bind(former.directory.as_str());
        sql.push(" AND f.guid = ").bind(former.guid).push(")")
    };
    let sql = of_former(Sql::new("UPDATE people SET parent_key = (SELECT f.parent_key"));
    let sql = of_former(sql.push(", entitled_by = (SELECT f.entitled_by"));
    let sql = sql.push(" WHERE directory = ").bind(now.directory.as_str());
    let sql = sql.push(" AND guid = ").bind(now.guid);
    let sql = of_former(sql.push(" AND EXISTS (SELECT 1"));
    sql.execute(&mut *writing.tx).await.doing("keep the place of a user")?;
    Ok(())
}

/// Moves grace periods, held changes and protection, which belong to the person, to another entry.
async fn relinked(
    writing: &mut Writing<'_>,
    user: &User,
    former: &Link,
    now: &Link,
) -> Result<(), StoreError> {
    for table in ["UPDATE grace_periods SET guid = ", "UPDATE changes SET guid = "] {
        let sql = Sql::new(table)
            .bind(now.guid)
            .push(" WHERE user_id = ")
            .bind(user.id.0)
            .push(" AND guid = ")
            .bind(former.guid);
        let sql = if table.contains("changes") { sql.push(" AND outcome = 'held'") } else { sql };
        sql.execute(&mut *writing.tx).await.doing("move held changes to another entry")?;
    }
    let sql = Sql::new(
        "SELECT directory, name, detail FROM baseline_objects WHERE kind = 'protected' AND guid = ",
    )
    .bind(former.guid);
    let sql = sql.push(" AND directory IN (SELECT directory FROM users WHERE directory IS NOT NULL AND account_id = ").bind(user.account.0);
    let rows = sql.push(")").all(&mut *writing.tx).await.doing("read protected people")?;
    let mut objects: Vec<(String, String, String)> = Vec::new();
    for row in &rows {
        let mut c = Columns::of(row);
        objects.push((c.read()?, c.read()?, c.read()?));
    }
    for (directory, name, _) in &objects {
        let sql =
            Sql::new("DELETE FROM baseline_objects WHERE kind = 'protected' AND directory = ")
                .bind(directory.as_str());
        let sql =
            sql.push(" AND name = ").bind(name.as_str()).push(" AND guid = ").bind(former.guid);
        sql.execute(&mut *writing.tx).await.doing("protect another entry")?;
    }
    let rows = objects.into_iter().map(|(directory, name, detail)| {
        vec![
            ("directory", directory.into()),
            ("kind", BaselineKind::Protected.as_str().into()),
            ("name", name.into()),
            ("guid", now.guid.into()),
            ("detail", detail.into()),
        ]
    });
    insert(&mut writing.tx, "baseline_objects", "ON CONFLICT DO NOTHING", rows)
        .await
        .doing("protect another entry")
}

/// Ends the grace periods and held changes of the user in all directories but the present one. A
/// section that never had the user may have planned about it.
async fn moved(writing: &mut Writing<'_>, user: &User, now: &Link) -> Result<(), StoreError> {
    let sql = Sql::new("DELETE FROM grace_periods WHERE directory <> ")
        .bind(now.directory.as_str())
        .push(" AND user_id = ")
        .bind(user.id.0);
    sql.execute(&mut *writing.tx).await.doing("end the grace period of a user that moved")?;
    let held = |what: &str| {
        let sql = Sql::new(what)
            .push(" FROM changes WHERE outcome = 'held' AND user_id = ")
            .bind(user.id.0);
        let sql = sql.push(" AND directory <> ").bind(now.directory.as_str());
        // A rejection stays with the user, so the changes of its plan stay, too.
        sql.push(" AND plan_id IN (SELECT id FROM plans WHERE state IN ('open', 'approved'))")
    };
    let plans =
        held("SELECT DISTINCT plan_id").all(&mut *writing.tx).await.doing("read held changes")?;
    if plans.is_empty() {
        return Ok(());
    }
    held("DELETE")
        .execute(&mut *writing.tx)
        .await
        .doing("end the held changes of a user that moved")?;
    for row in &plans {
        let plan = Columns::of(row).uuid()?;
        let sql = Sql::new("UPDATE plans SET version = version + 1, state = ")
            .bind(PlanState::Withdrawn.as_str());
        let sql = sql.push(" WHERE id = ").bind(plan);
        let sql =
            sql.push(" AND state IN ('open', 'approved') AND NOT EXISTS (SELECT 1 FROM changes WHERE outcome = 'held' AND plan_id = ");
        sql.bind(plan).push(")").execute(&mut *writing.tx).await.doing("withdraw an empty plan")?;
    }
    Ok(())
}
