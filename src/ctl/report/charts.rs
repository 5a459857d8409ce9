//! Charts as SVG, for reports and the console. They have no style of their own.

use std::collections::BTreeMap;

use chrono::{Datelike as _, Days, Months, NaiveDate};
use maud::{Markup, html};

use super::By;
use super::tally::{Count, Tally};
use crate::ctl::text::number;

/// Groups of a chart; the others are summed.
const BARS: usize = 15;

/// Returns the groups of a chart, the largest first.
pub(crate) fn bars(tally: &Tally, by: By) -> Vec<(String, u64)> {
    let groups = tally.largest();
    let named = |(value, count): &(&str, Count)| {
        let value = if value.is_empty() { by.none() } else { value };
        (value.to_owned(), count.all)
    };
    let mut bars: Vec<_> = groups.iter().take(BARS).map(named).collect();
    let others: u64 = groups.iter().skip(BARS).map(|(_, count)| count.all).sum();
    if others > 0 {
        bars.push((format!("{} others", groups.len() - BARS), others));
    }
    bars
}

/// Returns the numbers by day, week or month, and the name of that unit. Each has few columns.
pub(crate) fn buckets(days: &BTreeMap<NaiveDate, u64>) -> (&'static str, Vec<(String, [u64; 1])>) {
    let (Some(first), Some(last)) = (days.keys().next(), days.keys().next_back()) else {
        return ("day", Vec::new());
    };
    let span = (*last - *first).num_days();
    let week = |day: NaiveDate| day - Days::new(u64::from(day.weekday().num_days_from_monday()));
    let month = |day: NaiveDate| day.with_day(1).unwrap_or(day);
    let (unit, begin): (&str, &dyn Fn(NaiveDate) -> NaiveDate) = match span {
        0..=62 => ("day", &|day| day),
        63..=730 => ("week", &week),
        _ => ("month", &month),
    };
    let mut columns: BTreeMap<NaiveDate, u64> = BTreeMap::new();
    let mut at = begin(*first);
    while at <= *last {
        columns.insert(at, 0);
        at = match unit {
            "day" => at + Days::new(1),
            "week" => at + Days::new(7),
            _ => at + Months::new(1),
        };
    }
    for (day, count) in days {
        *columns.entry(begin(*day)).or_default() += count;
    }
    (unit, columns.into_iter().map(|(day, count)| (day.to_string(), [count])).collect())
}

/// Columns of a label in a bar chart.
const LABEL: usize = 34;

pub(crate) fn bar_chart(bars: &[(String, u64)]) -> Markup {
    let most = bars.iter().map(|(_, count)| *count).max().unwrap_or(1).max(1);
    let height = bars.len() * 20;
    html! {
        svg viewBox=(format!("0 0 760 {height}")) width="760" role="img" aria-label="The numbers by group" {
            @for (n, (label, count)) in bars.iter().enumerate() {
                @let short: String = label.chars().take(LABEL).collect();
                @let width = count * 440 / most;
                text x="230" y=(n * 20 + 14) text-anchor="end" { title { (label) } (short) }
                rect x="240" y=(n * 20 + 3) width=(width.max(1)) height="14" {}
                text x=(248 + width) y=(n * 20 + 14) { (number(*count)) }
            }
        }
    }
}

/// Draws the numbers of each column on top of each other. `names` are those of the numbers.
pub(crate) fn column_chart<const N: usize>(
    columns: &[(String, [u64; N])],
    names: [&str; N],
) -> Markup {
    let sum = |numbers: &[u64]| numbers.iter().sum::<u64>();
    let most = columns.iter().map(|(_, numbers)| sum(numbers)).max().unwrap_or(1).max(1);
    let step = 720.0 / columns.len().max(1) as f64;
    let first = columns.first().map(|(label, _)| label.as_str()).unwrap_or_default();
    let last = columns.last().map(|(label, _)| label.as_str()).unwrap_or_default();
    let says = format!("{} by day or longer, from {first} to {last}", names.join(", "));
    html! {
        svg viewBox="0 0 760 140" width="760" role="img" aria-label=(says) {
            text x="0" y="10" { (number(most)) " at most" }
            @for (n, (label, numbers)) in columns.iter().enumerate() {
                @for (at, count) in numbers.iter().enumerate() {
                    @let top = 118 - sum(&numbers[..=at]) * 100 / most;
                    @let bottom = 118 - sum(&numbers[..at]) * 100 / most;
                    rect class=(format!("series-{at}")) x=(format!("{:.1}", n as f64 * step)) y=(top)
                        width=(format!("{:.1}", step * 0.8)) height=(bottom - top) {
                        title { (label) ", " (names[at]) ": " (number(*count)) }
                    }
                }
            }
            text x="0" y="134" { (first) }
            text x="720" y="134" text-anchor="end" { (last) }
        }
    }
}
