//! Reports: charts and rows of `rosterctl report`, and their export.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use chrono::SecondsFormat;
use maud::html;
use serde::Deserialize;

use super::layout::{self, Fault, Place, Shown, choice, download, link, number};
use super::state::Console;
use super::visit::Visit;
use crate::ctl::csv::csv_rows;
use crate::ctl::report::charts::{bar_chart, bars, buckets, column_chart};
use crate::ctl::report::rows::{Source, sort};
use crate::ctl::report::{By, Period, Report, Row, Tally};
use crate::ctl::text::View;
use crate::ctl::users::word;
use crate::ctl::when;

/// Rows on a page. The export has all of them.
const SHOWN: usize = 200;

const REPORTS: [(Report, &str); 6] = [
    (Report::Leavers, "Who lost access: when, why, and who approved it"),
    (Report::Joiners, "Who got access: when, and who approved it"),
    (Report::Changes, "What changed about people, and by whom"),
    (Report::AccessReview, "Who has access, for a review by managers"),
    (Report::Expiring, "Whose account in the directory expires within 30 days"),
    (Report::Inactive, "Who has access and did not sign in for 90 days"),
];

pub async fn list(Extension(visit): Extension<Visit>) -> Shown {
    Ok(layout::page(
        &visit,
        Place::Reports,
        "Reports",
        &html! {
            ul.cards { @for (report, about) in REPORTS {
                li.card { h3 { a href={ "/reports/" (report.name()) } { (report.title()) } } p { (about) } }
            } }
        },
    ))
}

#[derive(Debug, Deserialize)]
#[serde(default)]
pub struct Form {
    /// Begin, as a day or an age.
    since: String,
    by: String,
}

impl Default for Form {
    fn default() -> Self {
        Self { since: "30d".to_owned(), by: String::new() }
    }
}

fn named(name: &str) -> Result<Report, Fault> {
    let found = REPORTS.into_iter().find(|(report, _)| report.name() == name);
    found
        .map(|(report, _)| report)
        .ok_or_else(|| Fault::new(StatusCode::NOT_FOUND, "There is no such report."))
}

/// Returns the time range of a report, as `rosterctl report` has it by default.
fn period(report: Report, form: &Form, view: &View) -> Result<Period, Fault> {
    let since = |text: &str| Ok::<_, Fault>(Some(when::instant("From", text, view)?));
    Ok(match report {
        Report::Leavers | Report::Joiners | Report::Changes => {
            Period { since: since(&form.since)?, until: None }
        }
        Report::Inactive => Period { since: since("90d")?, until: None },
        Report::Expiring => {
            let until = when::coming("Until", "30d", view)?;
            Period { since: None, until: Some(until.to_rfc3339_opts(SecondsFormat::Millis, true)) }
        }
        Report::AccessReview | Report::Licences => Period::default(),
    })
}

pub async fn page(
    State(console): State<Arc<Console>>,
    Extension(visit): Extension<Visit>,
    Path(name): Path<String>,
    Query(form): Query<Form>,
) -> Shown {
    use clap::ValueEnum as _;
    let (report, view) = (named(&name)?, &visit.view);
    let choices: Vec<By> = By::value_variants()
        .iter()
        .copied()
        .filter(|by| report.column(by.column()).is_some())
        .collect();
    let by = By::from_str(&form.by, true).ok().filter(|by| choices.contains(by));
    let by = by.unwrap_or(report.charted_by());
    let source = Source::new(report, period(report, &form, view)?, console.daemon()).await?;
    let (mut shown, mut tally): (Vec<Row>, Tally) = Default::default();
    let mut pages = source.pages();
    while let Some(page) = pages.next().await? {
        for row in page {
            tally.add(&row, report.column(by.column()));
            if !report.is_about_events() || shown.len() < SHOWN {
                shown.push(row);
            }
        }
    }
    if !report.is_about_events() {
        sort(&mut shown);
        shown.truncate(SHOWN);
    }
    let columns: Vec<_> = report
        .columns()
        .iter()
        .enumerate()
        .filter_map(|(at, column)| Some((at, column, column.heading?)))
        .collect();
    let groups = bars(&tally, by);
    let is_past = report.is_about_events();
    Ok(layout::page(
        &visit,
        Place::Reports,
        report.title(),
        &html! {
            form.tools method="get" {
                @if is_past { label { span { "From" } input name="since" value=(form.since) placeholder="30d, monday or 2026-11-01"; } }
                label { span { "Count by" } select name="by" { @for one in &choices { (choice(&word(*one), one.column(), &word(by))) } } }
                button { "Show" }
            }
            p.big { strong { (tally.total(report)) } }
            @if groups.len() > 1 { section { h2 { "By " (by.column()) } div.chart tabindex="0" { (bar_chart(&groups)) } } }
            @if tally.days.len() > 1 {
                @let (unit, columns) = buckets(&tally.days);
                section { h2 { "By " (unit) } div.chart tabindex="0" { (column_chart(&columns, [report.noun(2)])) } }
            }
            @if shown.is_empty() { p.empty { "None." } }
            @else {
                table.wide {
                    thead { tr { @for (_, _, heading) in &columns { th scope="col" { (heading.to_lowercase()) } } } }
                    tbody { @for row in &shown { tr { @for (at, column, _) in &columns { td { (column.shown(&row.cells[*at], view)) } } } } }
                }
            }
            p.pages {
                @if tally.rows > shown.len() as u64 { span { "The first " (number(shown.len() as u64)) " of " (number(tally.rows)) } }
                a href=(link(&format!("/reports/{name}/csv"), &[("since", &form.since)])) { "All as CSV" }
            }
        },
    ))
}

pub async fn csv(
    State(console): State<Arc<Console>>,
    Extension(visit): Extension<Visit>,
    Path(name): Path<String>,
    Query(form): Query<Form>,
) -> Result<Response, Fault> {
    let report = named(&name)?;
    let period = period(report, &form, &visit.view)?;
    let source = Source::new(report, period, console.daemon()).await?;
    let header = report.columns().iter().map(|column| column.name.to_owned());
    let mut text = csv_rows([header]).plain();
    let mut pages = source.pages();
    while let Some(rows) = pages.next().await? {
        text.push_str(&csv_rows(rows.into_iter().map(|row| row.cells)).plain());
    }
    Ok(download(&format!("{}.csv", report.name()), text))
}
