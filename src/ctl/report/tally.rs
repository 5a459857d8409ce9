//! The numbers of a report: rows by group, tier and time.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use serde_json::{Value, json};

use super::By;
use super::rows::{Report, Row};
use crate::ctl::csv::csv;
use crate::ctl::text::{Page, View, number, table};

/// Counted rows. Its size depends on the number of groups and days, and not on that of rows.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    pub rows: u64,
    pub groups: BTreeMap<String, Count>,
    pub days: BTreeMap<NaiveDate, u64>,
}

/// The rows of one group.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    pub basic: u64,
    pub pro: u64,
    /// All rows, also those without a known tier.
    pub all: u64,
}

impl Tally {
    /// Counts a row in the group that the column names.
    pub fn add(&mut self, row: &Row, column: Option<usize>) {
        self.rows += 1;
        let group = column.and_then(|at| row.cells.get(at));
        if let Some(group) = group {
            let count = self.groups.entry(group.clone()).or_default();
            count.all += 1;
            match row.tier.as_str() {
                "basic" => count.basic += 1,
                "pro" => count.pro += 1,
                _ => {}
            }
        }
        if let Some(day) = row.day() {
            *self.days.entry(day).or_default() += 1;
        }
    }

    /// Returns the groups, the largest first.
    pub fn largest(&self) -> Vec<(&str, Count)> {
        let mut groups: Vec<(&str, Count)> =
            self.groups.iter().map(|(value, count)| (value.as_str(), *count)).collect();
        groups.sort_by_key(|(_, count)| std::cmp::Reverse(count.all));
        groups
    }

    /// Returns a phrase such as `1,204 leavers`.
    pub fn total(&self, report: Report) -> String {
        format!("{} {}", number(self.rows), report.noun(self.rows))
    }

    /// Shows the groups with their numbers.
    pub fn show(&self, report: Report, by: By, view: &View) -> Page {
        if self.rows == 0 {
            return Page::from(format!("no {}\n", report.noun(2)));
        }
        let rows = self.largest().into_iter().map(|(value, Count { basic, pro, all })| {
            let value = if value.is_empty() { by.none() } else { value };
            [value.to_owned(), number(pro), number(basic), number(all)]
        });
        let heading = by.column().to_uppercase();
        let mut page = table([heading.as_str(), "PRO", "BASIC", "ALL"], rows, view);
        page.line(self.total(report));
        page
    }

    pub fn as_csv(&self, by: By) -> Page {
        let rows = self.largest().into_iter().map(|(value, Count { basic, pro, all })| {
            [value.to_owned(), pro.to_string(), basic.to_string(), all.to_string()]
        });
        csv([by.column(), "pro", "basic", "all"], rows)
    }

    pub fn as_json(&self) -> Value {
        let groups = self.largest().into_iter();
        groups
            .map(|(value, Count { basic, pro, all })| {
                let value = Some(value).filter(|value| !value.is_empty());
                json!({ "value": value, "pro": pro, "basic": basic, "all": all })
            })
            .collect()
    }
}

impl By {
    /// Names the group of the rows without a value.
    pub fn none(self) -> &'static str {
        match self {
            Self::Ou => "no known OU",
            Self::Department => "no department",
            Self::Manager => "no manager",
            Self::Tier => "no known tier",
            Self::Cause => "no cause",
            Self::Account => "no account",
        }
    }
}
