//! Reports to print: one HTML file without scripts, its charts as SVG, all text escaped.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;

use maud::{DOCTYPE, html};
use serde_json::json;

use super::charts::{bar_chart, bars, buckets, column_chart};
use super::rows::{self, Column, Report, Row, Source};
use super::tally::Tally;
use super::{By, Period};
use crate::ctl::Output;
use crate::ctl::link::Failure;
use crate::ctl::new_file::NewFile;
use crate::ctl::text::{Page, View, number, time};

/// The parts of a report around its rows.
#[derive(Debug)]
pub struct Document<'a> {
    pub report: Report,
    pub period: &'a Period,
    /// The groups of the chart.
    pub by: By,
    pub tally: &'a Tally,
    pub view: &'a View,
}

const STYLE: &str = "
    @page { size: A4 landscape; margin: 15mm }
    body { font: 10pt sans-serif; color: #222; margin: 2em }
    h1 { margin-bottom: 0 }
    h2 { font-size: 12pt; margin: 1.5em 0 .5em; break-after: avoid }
    table { border-collapse: collapse; width: 100% }
    th, td { text-align: left; vertical-align: top; padding: .25em .6em .25em 0; border-bottom: 1px solid #ddd;
        overflow-wrap: anywhere }
    thead { display: table-header-group }
    tr { break-inside: avoid }
    svg { max-width: 100%; height: auto; break-inside: avoid }
    svg text { font: 11px sans-serif; fill: #222 }
    svg rect { fill: #3465a4 }
    @media print { body { margin: 0 } }
";

/// Columns that only the printed form has beside those of the table.
const PRINTED: [&str; 4] = ["evidence", "comment", "returned_at", "decision"];

/// Writes the file. The rows are read twice: the charts above them need the numbers.
pub(super) async fn write(
    file: &Path,
    source: &Source<'_>,
    by: Option<By>,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    let charted = by.unwrap_or_else(|| source.report.charted_by());
    let column = source.report.column(charted.column());
    let mut tally = Tally::default();
    let mut pages = source.pages();
    while let Some(page) = pages.next().await? {
        for row in &page {
            tally.add(row, column);
        }
    }
    let view = output.terminal.view();
    let document = Document {
        report: source.report,
        period: &source.period,
        by: charted,
        tally: &tally,
        view: &view,
    };
    let mut written = NewFile::create(file)?;
    let mut put = |text: String| {
        written.write_all(text.as_bytes()).map_err(|error| written.unwritable(&error))
    };
    put(document.head())?;
    let mut pages = source.pages();
    if by.is_some() || !source.report.is_about_events() {
        // The rows of a group are collected first, because they come in another order.
        let mut groups: BTreeMap<String, Vec<Row>> = BTreeMap::new();
        while let Some(page) = pages.next().await? {
            for row in page {
                let group = column.map(|at| row.cells[at].clone()).unwrap_or_default();
                groups.entry(group).or_default().push(row);
            }
        }
        for (group, mut rows) in groups {
            if !source.report.is_about_events() {
                rows::sort(&mut rows);
            }
            put(document.heading(&group, rows.len()))?;
            put(document.begin())?;
            put(document.rows(&rows))?;
            put(Document::end())?;
        }
    } else {
        put(document.begin())?;
        while let Some(page) = pages.next().await? {
            put(document.rows(&page))?;
        }
        put(Document::end())?;
    }
    written.finish()?;
    let shown = file.display().to_string();
    let rows = json!({ "file": shown, "rows": tally.rows });
    output.data(&rows, |_| Page::from(format!("{shown}: {}\n", tally.total(source.report))))
}

impl Document<'_> {
    /// Returns the beginning of the file: title, period and charts.
    pub fn head(&self) -> String {
        let Self { report, period, by, tally, view } = self;
        let title = format!("rosterd: {}", report.title());
        let page = html! {
            (DOCTYPE)
            meta charset="utf-8";
            meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'";
            title { (title) }
            style { (STYLE) }
            h1 { (report.title()) }
            p {
                @if let Some(since) = &period.since { "from " (time(since, view)) " " }
                @if let Some(until) = &period.until { "until " (time(until, view)) }
            }
            p { (tally.total(*report)) ", as of " (time(&view.now.to_rfc3339(), view)) }
            @let groups = bars(tally, *by);
            @if groups.len() > 1 {
                h2 { "By " (by.column()) }
                (bar_chart(&groups))
            }
            @if tally.days.len() > 1 {
                @let (unit, columns) = buckets(&tally.days);
                h2 { "By " (unit) }
                (column_chart(&columns, [report.title()]))
            }
        };
        page.into_string()
    }

    /// Returns the heading of a group.
    pub fn heading(&self, group: &str, rows: usize) -> String {
        let group = if group.is_empty() { self.by.none() } else { group };
        html! { h2 { (group) ": " (number(rows as u64)) } }.into_string()
    }

    /// Returns the beginning of a table. The rows follow, then [`end`](Self::end).
    pub fn begin(&self) -> String {
        let head =
            html! { thead { tr { @for (_, _, heading) in self.columns() { th { (heading) } } } } };
        format!("<table>{}<tbody>", head.into_string())
    }

    pub fn rows(&self, rows: &[Row]) -> String {
        let columns: Vec<_> = self.columns().collect();
        html! {
            @for row in rows {
                tr {
                    @for (at, column, _) in &columns {
                        td { (self.cell(column, &row.cells[*at])) }
                    }
                }
            }
        }
        .into_string()
    }

    pub fn end() -> String {
        "</tbody></table>\n".to_owned()
    }

    fn cell(&self, column: &Column, cell: &str) -> String {
        match column.name {
            "decision" => "☐ keep ☐ remove".to_owned(),
            "returned_at" if cell.is_empty() => String::new(),
            _ => column.shown(cell, self.view),
        }
    }

    /// Returns the printed columns with their places and headings.
    fn columns(&self) -> impl Iterator<Item = (usize, &'static Column, String)> {
        self.report.columns().iter().enumerate().filter_map(|(at, column)| {
            let heading = column.heading.map(str::to_owned);
            let printed = || {
                let name = column.name.trim_end_matches("_at").to_uppercase();
                PRINTED.contains(&column.name).then_some(name)
            };
            Some((at, column, heading.or_else(printed)?))
        })
    }
}
