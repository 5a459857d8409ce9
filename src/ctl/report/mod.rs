//! `rosterctl report`: answers to the questions of auditors and managers.
//!
//! A report is a table of people or events, with named columns. Its rows come page by page from the
//! event log or the list of users, and are written as they come. So an export needs the memory of
//! one page, whatever its length. [`rows`] makes the rows, [`tally`] counts them, and [`html`]
//! writes the printable form.

pub(crate) mod charts;
mod html;
pub(crate) mod rows;
mod tally;

use std::path::PathBuf;

use chrono::SecondsFormat;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Map, Value, json};

use super::csv::csv_rows;
use super::link::{Daemon, Failure};
use super::terminal::Reader;
use super::text::{Page, View, not_shown, table};
use super::when::{coming, instant};
use super::{Exit, Output};

pub use html::Document;
pub use rows::{Column, Report, Row, event_row, user_row};
pub use tally::Tally;

/// Reports about people: as a table, --csv, --json or a printable --html file
#[derive(Debug, Subcommand)]
pub enum Command {
    /// People who lost their access: when, why, and who approved it
    Leavers(Past),
    /// People who got access: when, and who approved it
    Joiners(Past),
    /// All changes of users, with their actors
    Changes(Past),
    /// All people with access, for a review by their managers
    AccessReview(Form),
    /// People with access whose account in the directory expires
    Expiring {
        /// Accounts that expire before: a date, tomorrow, monday, or a duration from now
        #[arg(long, value_name = "TIME", default_value = "30d")]
        until: String,
        #[command(flatten)]
        form: Form,
    },
    /// People with access who did not sign in
    Inactive {
        /// No sign-in since: a time, a date, monday, or an age
        #[arg(long, value_name = "TIME", default_value = "90d")]
        since: String,
        #[command(flatten)]
        form: Form,
    },
    /// Numbers of people with access by tier
    Licences(Form),
}

/// A report about events of a time range.
#[derive(Debug, Args)]
pub struct Past {
    /// Begin: a time, a date, yesterday, monday, or an age such as 90d
    #[arg(long, value_name = "TIME", default_value = "30d")]
    since: String,
    /// End, excluded; default: now
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    #[command(flatten)]
    form: Form,
}

/// The form of a report.
#[derive(Debug, Clone, Default, Args)]
pub struct Form {
    /// Count by ou, department, manager, tier, cause or account; an HTML file lists the rows of each
    #[arg(long, value_name = "WHAT", hide_possible_values = true)]
    by: Option<By>,
    /// Print all rows as CSV
    #[arg(long, conflicts_with = "html")]
    csv: bool,
    /// Write a printable HTML file
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Show at most N rows of the table; default: 200
    #[arg(long, value_name = "N", conflicts_with_all = ["csv", "html"])]
    limit: Option<usize>,
}

/// The column by which rows are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum By {
    Ou,
    Department,
    Manager,
    Tier,
    Cause,
    Account,
}

impl By {
    /// Returns the name of the column.
    pub fn column(self) -> &'static str {
        match self {
            Self::Ou => "ou",
            Self::Department => "department",
            Self::Manager => "manager",
            Self::Tier => "tier",
            Self::Cause => "cause",
            Self::Account => "account",
        }
    }
}

/// Rows in a table, unless `--limit` says otherwise.
const LISTED: usize = 200;

/// The time range of a report, in RFC 3339.
#[derive(Debug, Clone, Default)]
pub struct Period {
    pub since: Option<String>,
    pub until: Option<String>,
}

pub(super) async fn call(
    command: &Command,
    daemon: &Daemon,
    output: &mut Output<'_>,
) -> Result<Exit, Failure> {
    let view = output.terminal.view();
    let past = |past: &Past| {
        let until = past.until.as_deref().unwrap_or("0s");
        Ok::<_, Failure>(Period {
            since: Some(instant("--since", &past.since, &view)?),
            until: Some(instant("--until", until, &view)?),
        })
    };
    let (report, period, form) = match command {
        Command::Leavers(given) => (Report::Leavers, past(given)?, &given.form),
        Command::Joiners(given) => (Report::Joiners, past(given)?, &given.form),
        Command::Changes(given) => (Report::Changes, past(given)?, &given.form),
        Command::AccessReview(form) => (Report::AccessReview, Period::default(), form),
        Command::Expiring { until, form } => {
            let until =
                Some(coming("--until", until, &view)?.to_rfc3339_opts(SecondsFormat::Millis, true));
            (Report::Expiring, Period { since: None, until }, form)
        }
        Command::Inactive { since, form } => {
            let since = Some(instant("--since", since, &view)?);
            (Report::Inactive, Period { since, until: None }, form)
        }
        Command::Licences(form) => (Report::Licences, Period::default(), form),
    };
    if output.json && (form.csv || form.html.is_some()) {
        return Err(Failure::Usage("--json, --csv and --html: choose one".to_owned()));
    }
    let by = report.counted_by(form.by)?;
    let source = rows::Source::new(report, period, daemon).await?;
    match (&form.html, by) {
        (Some(file), by) => html::write(file, &source, by, output).await?,
        (None, Some(by)) => counts(&source, by, form, output).await?,
        (None, None) if output.json => export_json(&source, output).await?,
        (None, None) if form.csv => export_csv(&source, output).await?,
        (None, None) => show(&source, form.limit.unwrap_or(LISTED), output).await?,
    }
    Ok(Exit::Done)
}

/// Shows the first rows as a table, and counts the others.
///
/// People are held in memory, as `user list` does.
async fn show(
    source: &rows::Source<'_>,
    limit: usize,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    let mut shown: Vec<Row> = Vec::new();
    let mut tally = Tally::default();
    let is_about_events = source.report.is_about_events();
    let mut pages = source.pages();
    while let Some(page) = pages.next().await? {
        for row in page {
            tally.add(&row, None);
            // People are sorted, so the last one read may be the first.
            if !is_about_events || shown.len() < limit {
                shown.push(row);
            }
        }
    }
    if !is_about_events {
        rows::sort(&mut shown);
        shown.truncate(limit);
    }
    let view = output.terminal.view();
    let mut page = listed(source.report, &shown, &view);
    page.append(&not_shown(
        tally.rows.saturating_sub(shown.len() as u64),
        "more",
        "--limit, --csv or --html FILE",
    ));
    if tally.rows > 0 {
        page.line(tally.total(source.report));
    }
    Ok(output.terminal.print(&page)?)
}

/// Formats rows as a table.
pub fn listed(report: Report, rows: &[Row], view: &View) -> Page {
    if rows.is_empty() {
        return Page::from(format!("no {}\n", report.noun(2)));
    }
    let columns: Vec<(usize, &str)> = report
        .columns()
        .iter()
        .enumerate()
        .filter_map(|(at, column)| Some((at, column.heading?)))
        .filter(|(at, heading)| {
            *heading != "NOTE" || rows.iter().any(|row| !row.cells[*at].is_empty())
        })
        .collect();
    match columns.len() {
        SHOWN => cells::<SHOWN>(report, &columns, rows, view),
        _ => cells::<{ SHOWN + 1 }>(report, &columns, rows, view),
    }
}

/// Columns with a heading in each report, beside the notes of people.
const SHOWN: usize = 6;

fn cells<const N: usize>(
    report: Report,
    columns: &[(usize, &str)],
    rows: &[Row],
    view: &View,
) -> Page {
    let cell = |row: &Row, n: usize| {
        let at = columns[n].0;
        report.columns()[at].shown(&row.cells[at], view)
    };
    let rows = rows.iter().map(|row| std::array::from_fn(|n| cell(row, n)));
    table::<N>(std::array::from_fn(|n| columns[n].1), rows, view)
}

async fn export_csv(source: &rows::Source<'_>, output: &mut Output<'_>) -> Result<(), Failure> {
    let header = source.report.columns().iter().map(|column| column.name.to_owned());
    let mut page = csv_rows([header]);
    let mut pages = source.pages();
    loop {
        if output.terminal.feed(&page)? == Reader::Gone {
            return Ok(());
        }
        let Some(rows) = pages.next().await? else { return Ok(()) };
        page = csv_rows(rows.into_iter().map(|row| row.cells));
    }
}

/// Writes one document, piece by piece.
async fn export_json(source: &rows::Source<'_>, output: &mut Output<'_>) -> Result<(), Failure> {
    let head = head(source).to_string();
    let mut text = format!("{},\"rows\":[", head.trim_end_matches('}'));
    let mut is_first = true;
    let mut pages = source.raw_pages();
    while let Some(rows) = pages.next().await? {
        for row in rows {
            if !std::mem::take(&mut is_first) {
                text.push(',');
            }
            text.push_str(&object(source.report, row).to_string());
        }
        if output.terminal.feed(&Page::from(std::mem::take(&mut text)))? == Reader::Gone {
            return Ok(());
        }
    }
    text.push_str("]}\n");
    output.terminal.feed(&Page::from(text))?;
    Ok(())
}

/// Returns the fields of the document that precede the rows.
fn head(source: &rows::Source<'_>) -> Value {
    let Period { since, until } = &source.period;
    json!({ "report": source.report.name(), "since": since, "until": until })
}

/// Returns a row as an object; an empty cell is `null`.
fn object(report: Report, row: Row) -> Value {
    let names = report.columns().iter().map(|column| column.name.to_owned());
    let cells = row.cells.into_iter().map(|cell| match cell.as_str() {
        "" => Value::Null,
        _ => Value::String(cell),
    });
    Value::Object(names.zip(cells).collect::<Map<_, _>>())
}

/// Prints the numbers of rows by one column.
async fn counts(
    source: &rows::Source<'_>,
    by: By,
    form: &Form,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    let column = source.report.column(by.column());
    let mut tally = Tally::default();
    let mut pages = source.pages();
    while let Some(page) = pages.next().await? {
        for row in &page {
            tally.add(row, column);
        }
    }
    if form.csv {
        return Ok(output.terminal.print(&tally.as_csv(by))?);
    }
    let mut document = head(source);
    document["by"] = json!(by.column());
    document["groups"] = tally.as_json();
    output.data(&document, |view| tally.show(source.report, by, view))
}
