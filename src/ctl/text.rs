//! Text output: colours, tables, times, counts, and the escaping of foreign text.
//!
//! This module writes nothing. Colours are zero-width marks until a page is printed, so that tables
//! measure visible columns only. Text from the daemon has these marks escaped. So foreign text
//! cannot set colours, move the cursor or begin a line.

use std::borrow::Cow;
use std::fmt::{Display, Write as _};

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use comfy_table::{ContentArrangement, Row, Table, presets};
use serde_json::Value;
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use crate::control::api::UserStatus;
use crate::visible::escaped;

#[derive(Debug, Clone, Copy)]
pub struct View {
    /// Columns of a line; `usize::MAX` for no limit.
    pub width: usize,
    /// The reference time of ages such as "3 minutes ago".
    pub now: DateTime<Utc>,
    /// The time zone of all times.
    pub zone: Tz,
}

/// Formatted text with its colours as marks.
#[derive(Debug, Clone, Default)]
pub struct Page(String);

/// The mark that ends a colour.
const PLAIN: char = '\u{2060}';
/// The marks and their ANSI escape sequences.
const COLOURS: [(char, &str); 5] = [
    ('\u{2061}', "\u{1b}[31m"),
    ('\u{2062}', "\u{1b}[32m"),
    ('\u{2063}', "\u{1b}[33m"),
    ('\u{2064}', "\u{1b}[2m"),
    ('\u{206a}', "\u{1b}[1m"),
];

/// The names of the colours, for outputs that are no terminal.
const NAMES: [&str; COLOURS.len()] = ["red", "green", "yellow", "dim", "bold"];

/// Splits a text at its marks. Each part has the name of its colour, or none.
pub(crate) fn parts(text: &str) -> Vec<(Option<&'static str>, String)> {
    let mut parts: Vec<(Option<&'static str>, String)> = Vec::new();
    let mut colour = None;
    for c in text.chars() {
        if is_mark(c) {
            colour = COLOURS.iter().position(|(mark, _)| *mark == c).map(|at| NAMES[at]);
            continue;
        }
        match parts.last_mut() {
            Some((of, part)) if *of == colour => part.push(c),
            _ => parts.push((colour, c.to_string())),
        }
    }
    parts
}

fn marked(colour: usize, text: impl Display) -> String {
    format!("{}{text}{PLAIN}", COLOURS[colour].0)
}

pub(crate) fn red(text: impl Display) -> String {
    marked(0, text)
}

pub(crate) fn green(text: impl Display) -> String {
    marked(1, text)
}

pub(crate) fn yellow(text: impl Display) -> String {
    marked(2, text)
}

pub(crate) fn dim(text: impl Display) -> String {
    marked(3, text)
}

pub(crate) fn bold(text: impl Display) -> String {
    marked(4, text)
}

/// Colours a user status.
pub(crate) fn coloured_status(status: UserStatus) -> String {
    match status {
        UserStatus::Active => green(status),
        UserStatus::Suspended => red(status),
        UserStatus::Invited => yellow(status),
        UserStatus::Released => dim(status),
    }
}

fn is_mark(c: char) -> bool {
    c == PLAIN || COLOURS.iter().any(|(mark, _)| *mark == c)
}

impl Page {
    pub(crate) fn line(&mut self, text: impl Display) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "{text}");
    }

    /// Adds a wrapped sentence; its first line begins with `lead`, the others are indented by its width.
    pub(crate) fn sentence(&mut self, lead: &str, text: &str, view: &View) {
        let indent = seen_width(lead);
        // Lines below 24 columns are unreadable.
        let width = view.width.saturating_sub(indent).max(24);
        for (n, line) in wrapped(text, width, LongWords::Keep).iter().enumerate() {
            if n == 0 {
                self.line(format!("{lead}{line}"))
            } else {
                self.line(format!("{:indent$}{line}", ""))
            }
        }
    }

    /// Adds names and values in two columns, and wraps the values.
    pub(crate) fn fields(&mut self, fields: &[(&str, String)], view: &View) {
        let names = fields.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        for (name, value) in fields {
            self.sentence(&format!("  {}  ", dim(format!("{name:names$}"))), value, view);
        }
    }

    pub(crate) fn append(&mut self, page: &Self) {
        self.0.push_str(&page.0);
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the text without colours.
    pub fn plain(&self) -> String {
        self.0.chars().filter(|c| !is_mark(*c)).collect()
    }

    /// Returns the text with ANSI colour sequences.
    pub fn coloured(&self) -> String {
        let mut text = String::with_capacity(self.0.len());
        for c in self.0.chars() {
            match COLOURS.iter().find(|(mark, _)| *mark == c) {
                Some((_, sequence)) => text.push_str(sequence),
                None if c == PLAIN => text.push_str("\u{1b}[0m"),
                None => text.push(c),
            }
        }
        text
    }
}

impl From<String> for Page {
    fn from(text: String) -> Self {
        Self(text)
    }
}

/// Counts the columns of the text: none for marks and combining accents, two for CJK characters.
fn seen_width(text: &str) -> usize {
    text.width()
}

/// An unfinished line with its present colour.
#[derive(Default)]
struct Line {
    text: String,
    width: usize,
    colour: Option<char>,
}

impl Line {
    fn push(&mut self, word: &str) {
        self.text.push_str(word);
        self.width += seen_width(word);
        if let Some(mark) = word.chars().rfind(|c| is_mark(*c)) {
            self.colour = Some(mark).filter(|c| *c != PLAIN);
        }
    }

    /// Ends the line and its colour; the next line begins with the same colour.
    fn end(&mut self) -> String {
        let next = Self {
            text: self.colour.map(String::from).unwrap_or_default(),
            width: 0,
            colour: self.colour,
        };
        let Self { mut text, colour, .. } = std::mem::replace(self, next);
        if colour.is_some() {
            text.push(PLAIN);
        }
        text
    }
}

/// The treatment of a word that is longer than a line.
#[derive(Clone, Copy, PartialEq, Eq)]
enum LongWords {
    /// Keep the word whole, because an operator may copy it.
    Keep,
    /// Break the word, because other columns follow.
    Break,
}

/// Returns the wrapped text behind `lead`, as lines.
pub(crate) fn hanging(lead: &str, text: &str, width: usize) -> String {
    let indent = seen_width(lead);
    let mut lines = String::new();
    for (n, line) in wrapped(text, width.saturating_sub(indent), LongWords::Keep).iter().enumerate()
    {
        let _ = if n == 0 {
            writeln!(lines, "{lead}{line}")
        } else {
            writeln!(lines, "{:indent$}{line}", "")
        };
    }
    lines
}

/// Wraps the text between words. Colours end with a line and continue in the next.
fn wrapped(text: &str, width: usize, long: LongWords) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = Line::default();
    let words = match long {
        LongWords::Keep => words(text),
        LongWords::Break => text.split(' ').collect(),
    };
    for word in words {
        if line.width > 0 && line.width + 1 + seen_width(word) > width {
            lines.push(line.end());
        } else if line.width > 0 {
            line.push(" ");
        }
        if long == LongWords::Keep || seen_width(word) <= width {
            line.push(word);
            continue;
        }
        // Break after a separator of addresses, names and ids if possible, otherwise anywhere.
        for part in word.split_inclusive(['@', ',', '-', '/']) {
            if line.width > 0 && line.width + seen_width(part) > width {
                lines.push(line.end());
            }
            for c in part.chars() {
                if line.width > 0 && line.width + c.width().unwrap_or(0) > width {
                    lines.push(line.end());
                }
                line.push(c.encode_utf8(&mut [0; 4]));
            }
        }
    }
    lines.push(line.end());
    lines
}

/// Programs whose commands a sentence may name as a remedy.
const PROGRAMS: [&str; 8] = [
    "chmod",
    "dsacls",
    "groupadd",
    "journalctl",
    "repadmin",
    "rosterctl",
    "samba-tool",
    "systemctl",
];

/// Splits a sentence into words. A command is one word, so that a copied one works. It ends with the
/// sentence or at a mark of punctuation outside quotes.
fn words(text: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (first, others) = rest.split_once(' ').unwrap_or((rest, ""));
        let program = first.trim_start_matches(is_mark);
        let is_command = PROGRAMS.contains(&program) && !others.is_empty();
        let length = if is_command { command_length(rest) } else { first.len() };
        words.push(&rest[..length]);
        rest = rest[length..].strip_prefix(' ').unwrap_or(&rest[length..]);
    }
    words
}

/// Returns the length of the command that the text begins with.
fn command_length(text: &str) -> usize {
    let mut is_quoted = false;
    for (at, c) in text.char_indices() {
        match c {
            '"' => is_quoted = !is_quoted,
            ' ' if !is_quoted => {
                let is_over = text[..at].ends_with([',', ';', ':', '.', ')']);
                if is_over || text[at + 1..].starts_with(['(', '–']) {
                    return at;
                }
            }
            _ => {}
        }
    }
    text.len()
}

/// Formats a number of bytes.
pub(crate) fn size(bytes: u64) -> String {
    indicatif::HumanBytes(bytes).to_string()
}

/// Columns between the cells of a table.
const GAP: u16 = 2;
/// A column shrinks to its longest word, or to this, before words are broken.
const WORD: usize = 16;

/// Formats rows in aligned columns without borders. If they do not fit the width, columns without any value
/// are left out, and then each row becomes a block. Without a terminal no row is wrapped, so that one row is
/// one line for grep and awk.
pub(crate) fn table<const N: usize>(
    header: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
    view: &View,
) -> Page {
    let mut header: Vec<&str> = header.into();
    let mut rows: Vec<Vec<String>> = rows.into_iter().map(Vec::from).collect();
    let room =
        |columns: usize| view.width.saturating_sub(usize::from(GAP) * columns.saturating_sub(1));
    if wanted(&header, &rows).iter().sum::<usize>() > room(header.len()) {
        let is_filled: Vec<bool> =
            (0..header.len()).map(|at| rows.iter().any(|row| !row[at].is_empty())).collect();
        let keep_filled = |column: usize| is_filled[column];
        keep(&mut header, keep_filled);
        for row in &mut rows {
            keep(row, keep_filled);
        }
    }
    match fitted(wanted(&header, &rows), &least(&header, &rows), room(header.len())) {
        Some(widths) => columns(&header, &rows, &widths),
        None => blocks(&header, &rows, view),
    }
}

/// Keeps the columns of a row for which the rule holds.
fn keep<T>(row: &mut Vec<T>, holds: impl Fn(usize) -> bool) {
    let mut column = 0..;
    row.retain(|_| column.next().is_some_and(&holds));
}

/// Returns the width of each column without any wrapping.
fn wanted(header: &[&str], rows: &[Vec<String>]) -> Vec<usize> {
    widths(header, rows, seen_width)
}

/// Returns the least width of each column, by its words.
fn least(header: &[&str], rows: &[Vec<String>]) -> Vec<usize> {
    widths(header, rows, |cell| cell.split(' ').map(seen_width).max().unwrap_or(0).min(WORD))
}

fn widths(header: &[&str], rows: &[Vec<String>], of: impl Fn(&str) -> usize) -> Vec<usize> {
    let widest = |at: usize| rows.iter().map(|row| of(&row[at])).max().unwrap_or(0);
    header.iter().enumerate().map(|(at, name)| seen_width(name).max(widest(at))).collect()
}

fn columns(header: &[&str], rows: &[Vec<String>], widths: &[usize]) -> Page {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(header.iter().map(dim).collect::<Vec<_>>());
    for row in rows {
        let cells = row
            .iter()
            .zip(widths)
            .map(|(cell, width)| wrapped(cell, *width, LongWords::Break).join("\n"));
        table.add_row(Row::from(cells.collect::<Vec<_>>()));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, GAP));
    }
    let mut page = Page::default();
    for line in table.lines() {
        page.line(line.trim_end());
    }
    page
}

/// Formats each row as a block, with the first cell as the heading.
fn blocks(header: &[&str], rows: &[Vec<String>], view: &View) -> Page {
    let names: Vec<String> = header.iter().map(|h| h.trim().to_lowercase()).collect();
    let mut page = Page::default();
    for row in rows {
        page.line(row[0].trim());
        let filled = names.iter().zip(row).skip(1).filter(|(_, cell)| !cell.is_empty());
        page.fields(
            &filled.map(|(name, cell)| (name.as_str(), cell.clone())).collect::<Vec<_>>(),
            view,
        );
    }
    page
}

/// Returns widths that fit into `room`, if the minimum widths do. The widest column shrinks first.
fn fitted(mut widths: Vec<usize>, least: &[usize], room: usize) -> Option<Vec<usize>> {
    let all = 0..widths.len();
    loop {
        let over = widths.iter().sum::<usize>().saturating_sub(room);
        if over == 0 {
            return Some(widths);
        }
        let widest = all.clone().filter(|i| widths[*i] > least[*i]).max_by_key(|i| widths[*i])?;
        // Shrink to the next narrower column, so that equal columns stay equal.
        let next = all
            .clone()
            .filter(|i| widths[*i] < widths[widest])
            .map(|i| widths[i])
            .max()
            .unwrap_or(0);
        widths[widest] -= (widths[widest] - next.max(least[widest])).clamp(1, over);
    }
}

/// Escapes every character that would control a terminal.
pub fn harmless(text: &str) -> Cow<'_, str> {
    escaped(text)
}

/// Escapes every string of a document. Views receive only such documents.
pub fn harmless_value(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(harmless(&text).into_owned()),
        Value::Array(items) => Value::Array(items.into_iter().map(harmless_value).collect()),
        Value::Object(fields) => Value::Object(
            fields
                .into_iter()
                .map(|(name, value)| (harmless(&name).into_owned(), harmless_value(value)))
                .collect(),
        ),
        other => other,
    }
}

/// Formats a time as `2026-11-24 03:58 CET`. Other text is returned unchanged.
pub(crate) fn time(rfc3339: &str, view: &View) -> String {
    match DateTime::parse_from_rfc3339(rfc3339) {
        Ok(time) => time.with_timezone(&view.zone).format("%Y-%m-%d %H:%M %Z").to_string(),
        Err(_) => rfc3339.to_owned(),
    }
}

/// Returns whether the time is the API's value for "no end".
pub(crate) fn is_for_ever(rfc3339: &str) -> bool {
    rfc3339.starts_with("9999-12-31")
}

/// Formats a time as `2026-11-24 02:58 UTC, 3 minutes ago`.
pub(crate) fn time_and_age(rfc3339: &str, view: &View) -> String {
    match DateTime::parse_from_rfc3339(rfc3339) {
        Ok(at) => format!("{}, {}", time(rfc3339, view), age(at.to_utc(), view.now)),
        Err(_) => rfc3339.to_owned(),
    }
}

/// Formats a time with its age, or `never`.
pub(crate) fn time_or_never(rfc3339: Option<&str>, view: &View) -> String {
    rfc3339.map_or_else(|| "never".to_owned(), |at| time_and_age(at, view))
}

/// Formats an age as `3 minutes ago` or `in 3 minutes`.
pub(crate) fn age(at: DateTime<Utc>, now: DateTime<Utc>) -> String {
    let seconds = (now - at).num_seconds();
    let (n, unit) = match seconds.unsigned_abs() {
        0..5 => return "just now".to_owned(),
        s @ 5..100 => (s, "second"),
        s @ 100..5_400 => ((s + 30) / 60, "minute"),
        s @ 5_400..129_600 => ((s + 1_800) / 3_600, "hour"),
        s => ((s + 43_200) / 86_400, "day"),
    };
    let span = count(n, unit);
    if seconds < 0 { format!("in {span}") } else { format!("{span} ago") }
}

/// Formats a duration as `42 ms`, `2.3 s` or `4 min 10 s`.
pub(crate) fn took(from: &str, to: &str) -> Option<String> {
    let (from, to) =
        (DateTime::parse_from_rfc3339(from).ok()?, DateTime::parse_from_rfc3339(to).ok()?);
    let milliseconds = (to - from).num_milliseconds().max(0);
    let tenths = milliseconds / 100;
    Some(match tenths {
        0..10 => format!("{milliseconds} ms"),
        10..600 => format!("{}.{} s", tenths / 10, tenths % 10),
        _ => format!("{} min {} s", tenths / 600, tenths % 600 / 10),
    })
}

/// Formats a number as `1,204`.
pub(crate) fn number(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Formats a count with its noun: `1 user`, `1,204 users`, `2 entries`.
pub(crate) fn count(n: u64, noun: &str) -> String {
    let noun = match (n, noun.strip_suffix('y')) {
        (1, _) => noun.to_owned(),
        (_, Some(stem)) if !noun.ends_with("ay") => format!("{stem}ies"),
        _ => format!("{noun}s"),
    };
    format!("{} {noun}", number(n))
}

/// Says how many rows of a list are not shown, and which options show them.
pub(crate) fn not_shown(rows: u64, which: &str, options: &str) -> Page {
    let mut page = Page::default();
    if rows > 0 {
        page.line(dim(format!("… {} {which}: {options}", number(rows))));
    }
    page
}

/// Says that a list as long as its limit may have more rows.
pub(crate) fn maybe_more(rows: usize, limit: u64) -> Page {
    let mut page = Page::default();
    if rows as u64 >= limit {
        page.line(dim(format!(
            "… the first {}; there may be more: --limit, or more words",
            number(limit)
        )));
    }
    page
}

/// Formats a JSON value: lists with commas, `nothing` for an empty value.
pub(crate) fn value(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::String(text) if text.is_empty() => "nothing".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) if items.is_empty() => "nothing".to_owned(),
        Value::Array(items) => items.iter().map(self::value).collect::<Vec<_>>().join(", "),
        Value::Object(fields) => fields
            .iter()
            .map(|(name, v)| format!("{name} {}", self::value(v)))
            .collect::<Vec<_>>()
            .join(", "),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_in_a_sentence_is_never_divided() {
        let table: [(&str, &[&str]); 5] = [
            ("look at it", &["look", "at", "it"]),
            (
                "run rosterctl sync corp, then wait",
                &["run", "rosterctl sync corp,", "then", "wait"],
            ),
            ("only rosterctl status (no other)", &["only", "rosterctl status", "(no", "other)"]),
            ("the end: rosterctl held show 01a2", &["the", "end:", "rosterctl held show 01a2"]),
            (
                "give it back: dsacls \"OU=Old, new,DC=x\" /G svc:RP; wait",
                &["give", "it", "back:", "dsacls \"OU=Old, new,DC=x\" /G svc:RP;", "wait"],
            ),
        ];
        for (text, expected) in table {
            assert_eq!(words(text), expected, "{text}");
        }
        let told = hanging("", "a wrong name: rosterctl directory check corp", 20);
        assert_eq!(told, "a wrong name:\nrosterctl directory check corp\n");
    }
}
