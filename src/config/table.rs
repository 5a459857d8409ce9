//! The reader of TOML tables, which records problems instead of stopping at the first.
//!
//! serde stops at the first error, and has no line for a missing key. This reader takes keys by
//! name. A wrong value is recorded and reads as absent. [`Table::finish`] reports the keys that
//! were never read.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt::Display;
use std::ops::{Range, RangeInclusive};

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::problems::{Place, Problem};
use crate::model::nearest;
use crate::sources::Source;

/// Returns the list that no bracket closes. The parser reports its end, and every line after it.
fn unclosed(source: &Source, syntax: &[toml::de::Error]) -> Option<Problem> {
    let text = &source.text;
    if syntax.is_empty() || text.contains("\"\"\"") || text.contains("'''") {
        return None;
    }
    let mut open: Vec<Place> = Vec::new();
    for (line, number) in text.lines().zip(1..) {
        let is_header = line.trim_start().starts_with('[');
        if !open.is_empty() && (begins_key(line) || line.trim_start().starts_with("[[")) {
            break;
        }
        if open.is_empty() && is_header {
            continue;
        }
        let (mut quote, mut is_escaped) = (None, false);
        for (c, column) in line.chars().zip(1..) {
            match (quote, c) {
                (Some('"'), '\\') if !is_escaped => {
                    is_escaped = true;
                    continue;
                }
                (Some(begin), c) if c == begin && !is_escaped => quote = None,
                (None, '"' | '\'') => quote = Some(c),
                (None, '#') => break,
                (None, '[') => open.push(Place { line: number, column }),
                (None, ']') => drop(open.pop()),
                _ => {}
            }
            is_escaped = false;
        }
    }
    let place = open.into_iter().next()?;
    let message = "this list is not closed: add the missing ]".to_owned();
    Some(Problem { file: source.file.clone(), place: Some(place), message })
}

/// Returns whether a line begins like `key = value`.
fn begins_key(line: &str) -> bool {
    line.split_once('=').is_some_and(|(key, _)| {
        let key = key.trim();
        !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
    })
}

/// The files with the problems and keys found so far. A span counts in the files one after another.
pub(super) struct Reading<'a> {
    sources: &'a [Source],
    /// Whether all texts are TOML. After a syntax error no key is reported as missing.
    is_whole: bool,
    problems: RefCell<Vec<Problem>>,
    keys: RefCell<BTreeSet<String>>,
}

/// Returns each text behind as many empty lines as precede it, so that its spans count in the whole.
pub(super) fn padded(sources: &[Source]) -> Vec<String> {
    let mut start = 0;
    let pad = |source: &Source| {
        let padded = format!("{}{}", "\n".repeat(start), source.text);
        // One more, so that the end of a text is no part of the next one.
        start = padded.len() + 1;
        padded
    };
    sources.iter().map(pad).collect()
}

impl<'a> Reading<'a> {
    /// Parses the padded texts, and merges their tables. A list that is not closed is the only
    /// problem, because everything after it would be reported, too.
    pub(super) fn of(
        sources: &'a [Source],
        padded: &'a [String],
    ) -> Result<(Self, DeTable<'a>), Vec<Problem>> {
        let parsed = padded.iter().map(|text| DeTable::parse_recoverable(text));
        let (tables, syntax): (Vec<_>, Vec<_>) = parsed.unzip();
        let unclosed: Vec<_> =
            sources.iter().zip(&syntax).filter_map(|(s, errors)| unclosed(s, errors)).collect();
        if !unclosed.is_empty() {
            return Err(unclosed);
        }
        let reading = Self {
            sources,
            is_whole: syntax.iter().all(Vec::is_empty),
            problems: RefCell::default(),
            keys: RefCell::default(),
        };
        for errors in &syntax {
            reading.record_syntax(errors);
        }
        let mut whole = DeTable::new();
        for table in tables {
            reading.merge(&mut whole, table.into_inner());
        }
        Ok((reading, whole))
    }

    fn record_syntax(&self, errors: &[toml::de::Error]) {
        let mut last = 0;
        for error in errors {
            let at = error.span().map_or(0, |s| s.start);
            let (_, place) = self.place(at);
            // One error per line, because the parser reports the rest of the line as well.
            if place.line != last {
                let message = error.message().lines().collect::<Vec<_>>().join(" ");
                let advice = if message == "duplicate key" {
                    "remove one of the two"
                } else {
                    "text stands in double quotes, lists in [ ]"
                };
                self.problem(at, format!("not TOML here: {message}; {advice}"));
            }
            last = place.line;
        }
    }

    /// Adds the keys of a later file. Tables become one, and so do those of an array with one name.
    /// Every other key may be given once.
    fn merge(&self, into: &mut DeTable<'a>, later: DeTable<'a>) {
        for (key, value) in later {
            let Some((first, known)) = into.get_key_value(key.get_ref().as_ref()) else {
                into.insert(key, value);
                continue;
            };
            let first = first.span().start;
            let is_mergeable = matches!(
                (known.get_ref(), value.get_ref()),
                (DeValue::Table(_), DeValue::Table(_))
            ) || (is_tables(known.get_ref()) && is_tables(value.get_ref()));
            if !is_mergeable {
                let (source, place) = self.place(first);
                let (file, Place { line, .. }) = (source.file.display(), place);
                let key_name = key.get_ref();
                self.problem(
                    key.span().start,
                    format!("{key_name} is given at {file}:{line} as well: remove one of the two"),
                );
                continue;
            }
            let known = into.get_mut(key.get_ref().as_ref()).map(Spanned::get_mut);
            match (known, value.into_inner()) {
                (Some(DeValue::Table(known)), DeValue::Table(later)) => self.merge(known, later),
                (Some(DeValue::Array(known)), DeValue::Array(later)) => {
                    self.merge_tables(known, later);
                }
                _ => {}
            }
        }
    }

    fn merge_tables(&self, into: &mut DeArray<'a>, later: DeArray<'a>) {
        let earlier = into.len();
        let mut merged = BTreeSet::new();
        for item in later {
            let name = name_of(&item).map(str::to_owned);
            // A name that one file gives twice stays twice, and is reported.
            let is_first = name.as_ref().is_some_and(|name| merged.insert(name.clone()));
            let same = into
                .iter_mut()
                .take(earlier)
                .find(|known| is_first && name_of(known) == name.as_deref());
            match (same.map(Spanned::get_mut), item) {
                (Some(DeValue::Table(known)), item) => {
                    if let DeValue::Table(mut later) = item.into_inner() {
                        later.remove("name");
                        self.merge(known, later);
                    }
                }
                (_, item) => into.push(item),
            }
        }
    }

    /// Returns the problems, and every key that was read.
    pub(super) fn finish(self) -> (Vec<Problem>, BTreeSet<String>) {
        (self.problems.into_inner(), self.keys.into_inner())
    }

    fn problem(&self, at: usize, message: impl Into<String>) {
        let (source, place) = self.place(at);
        self.problems.borrow_mut().push(Problem {
            file: source.file.clone(),
            place: Some(place),
            message: message.into(),
        });
    }

    fn place(&self, at: usize) -> (&'a Source, Place) {
        let (mut source, mut at) = (&self.sources[0], at);
        for next in &self.sources[1..] {
            if at <= source.text.len() {
                break;
            }
            at -= source.text.len() + 1;
            source = next;
        }
        let before = source.text.get(..at).unwrap_or(&source.text);
        let line_start = before.rfind('\n').map_or(0, |n| n + 1);
        let place = Place {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        };
        (source, place)
    }
}

/// Returns whether a value is an array of tables, such as `[[hook]]`.
fn is_tables(value: &DeValue<'_>) -> bool {
    value.as_array().is_some_and(|items| {
        !items.is_empty() && items.iter().all(|item| item.get_ref().is_table())
    })
}

fn name_of<'v>(item: &'v Spanned<DeValue<'_>>) -> Option<&'v str> {
    item.get_ref().as_table()?.get("name")?.get_ref().as_str()
}

/// Most keys that a message lists, because a longer list is not read.
const LISTED: usize = 12;

/// A table of the file. An absent table reads as an empty one.
pub(super) struct Table<'a> {
    reading: &'a Reading<'a>,
    /// The dotted name; empty for the root table.
    path: String,
    /// The byte offset of its beginning.
    at: usize,
    entries: Option<&'a DeTable<'a>>,
    known: Vec<&'static str>,
}

impl<'a> Table<'a> {
    pub(super) fn root(reading: &'a Reading<'a>, entries: &'a DeTable<'a>) -> Self {
        Self { reading, path: String::new(), at: 0, entries: Some(entries), known: Vec::new() }
    }

    /// Returns whether the file has this table.
    pub(super) fn is_present(&self) -> bool {
        self.entries.is_some()
    }

    /// Returns whether the key is present, with a valid value or not.
    pub(super) fn has(&self, key: &str) -> bool {
        self.find(key).is_some()
    }

    /// Reads a text with a function whose error is a sentence with a remedy.
    pub(super) fn text<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let (span, value) = self.take(key)?;
        match value.as_str() {
            Some(text) => self.record(span.start, read(text)),
            None => self.wrong_type(span.start, key, "text in double quotes", value),
        }
    }

    /// Reads a text, or the default where the key is absent. Both go through the same function.
    pub(super) fn text_or<T>(
        &mut self,
        key: &'static str,
        default: &str,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        if self.has(key) {
            return self.text(key, read);
        }
        self.take(key);
        self.record(self.at, read(default))
    }

    /// Reads a list of texts, each with the function.
    pub(super) fn texts<T>(
        &mut self,
        key: &'static str,
        mut read: impl FnMut(&str) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        let (span, value) = self.take(key)?;
        let DeValue::Array(items) = value else {
            return self.wrong_type(span.start, key, "a list in [ ]", value);
        };
        let read_one = |item: &Spanned<DeValue<'_>>| match item.get_ref().as_str() {
            Some(text) => self.record(item.span().start, read(text)),
            None => self.wrong_type(
                item.span().start,
                key,
                "a list of texts in double quotes",
                item.get_ref(),
            ),
        };
        // Collect twice, so that every item is checked.
        items.iter().map(read_one).collect::<Vec<_>>().into_iter().collect()
    }

    /// Reads all keys, whose values are texts. Returns `None` after a problem.
    pub(super) fn texts_by_key(
        self,
        mut read: impl FnMut(&str, &str) -> Result<(), String>,
    ) -> Option<()> {
        let mut is_whole = true;
        for (name, value) in self.entries.into_iter().flatten() {
            let (key, start) = (name.get_ref().as_ref(), name.span().start);
            let done = match value.get_ref() {
                DeValue::String(text) => self.record(start, read(key, text)),
                // A dot without quotes makes a table of the first part.
                DeValue::Table(_) => {
                    self.reading.problem(
                        start,
                        format!("{key} is a table here: write the whole name in double quotes"),
                    );
                    None
                }
                other => self.wrong_type(start, key, "text in double quotes", other),
            };
            is_whole &= done.is_some();
        }
        is_whole.then_some(())
    }

    /// Notes a key that the table may have, for the advice about an unknown one.
    pub(super) fn note(&mut self, key: &'static str) {
        self.known.push(key);
    }

    /// Reads a whole number within the range.
    pub(super) fn integer<N>(&mut self, key: &'static str, range: &RangeInclusive<N>) -> Option<N>
    where
        N: TryFrom<i64> + PartialOrd + Display,
    {
        let (span, value) = self.take(key)?;
        let Some(digits) = value.as_integer() else {
            return self.wrong_type(span.start, key, "a whole number", value);
        };
        let number = i64::from_str_radix(digits.as_str(), digits.radix())
            .ok()
            .and_then(|n| N::try_from(n).ok())
            .filter(|n| range.contains(n));
        self.record(
            span.start,
            number.ok_or_else(|| {
                format!("{key} is a number from {} to {}, not {digits}", range.start(), range.end())
            }),
        )
    }

    /// Reads `true` or `false`.
    pub(super) fn flag(&mut self, key: &'static str) -> Option<bool> {
        let (span, value) = self.take(key)?;
        value.as_bool().or_else(|| self.wrong_type(span.start, key, "true or false", value))
    }

    /// Returns a subtable.
    pub(super) fn table(&mut self, key: &'static str) -> Table<'a> {
        let found = self.take(key);
        let (at, entries) = match found {
            None => (self.at, None),
            Some((span, DeValue::Table(entries))) => (span.start, Some(entries)),
            Some((span, other)) => {
                self.wrong_type::<()>(
                    span.start,
                    key,
                    &format!("a table: write [{}] above its keys", self.full(key)),
                    other,
                );
                (span.start, None)
            }
        };
        Table { reading: self.reading, path: self.full(key), at, entries, known: Vec::new() }
    }

    /// Returns the tables of a heading in double brackets.
    pub(super) fn tables(&mut self, key: &'static str) -> Vec<Table<'a>> {
        let Some((span, value)) = self.take(key) else { return Vec::new() };
        let items: Option<Vec<_>> = value.as_array().and_then(|items| {
            items
                .iter()
                .map(|item| item.get_ref().as_table().map(|table| (item.span().start, table)))
                .collect()
        });
        let Some(items) = items else {
            if self.reading.is_whole {
                self.reading.problem(
                    span.start,
                    format!("there can be several: write [[{key}]], in double brackets"),
                );
            }
            return Vec::new();
        };
        let table = |(at, entries)| Table {
            reading: self.reading,
            path: self.full(key),
            at,
            entries: Some(entries),
            known: Vec::new(),
        };
        items.into_iter().map(table).collect()
    }

    /// Returns the name of the part that has this key; `None` for the main file.
    pub(super) fn part_of(&self, key: &str) -> Option<String> {
        let (name, _) = self.find(key)?;
        self.reading.place(name.span().start).0.part.clone()
    }

    /// Returns the text of a key without recording problems.
    pub(super) fn peek_text(&self, key: &str) -> Option<&'a str> {
        self.find(key)?.1.get_ref().as_str()
    }

    /// Returns two texts of each table of a heading in double brackets, without recording problems.
    pub(super) fn peek_tables(
        &self,
        key: &str,
        first: &str,
        second: &str,
    ) -> Vec<(&'a str, &'a str)> {
        let items = self.find(key).and_then(|(_, value)| value.get_ref().as_array());
        let text = |table: &'a DeTable<'a>, key: &str| table.get(key)?.get_ref().as_str();
        items
            .into_iter()
            .flat_map(|items| items.iter())
            .filter_map(|item| item.get_ref().as_table())
            .filter_map(|table| Some((text(table, first)?, text(table, second)?)))
            .collect()
    }

    /// Returns whether a key is true, without recording problems.
    pub(super) fn peek_flag(&self, key: &str) -> bool {
        self.find(key).is_some_and(|(_, value)| value.get_ref().as_bool() == Some(true))
    }

    /// Records each absent key that has no default, with an example.
    pub(super) fn require(&self, keys: &[(&str, &str)]) {
        for (key, example) in keys.iter().filter(|(key, _)| !self.has(key)) {
            self.missing(key, example);
        }
    }

    /// Records an absent key with an example.
    pub(super) fn missing(&self, key: &str, example: &str) {
        if self.reading.is_whole {
            self.problem(format!("{key} is missing: write {key} = {example}"));
        }
    }

    /// Records a problem of the whole table.
    pub(super) fn problem(&self, message: impl Into<String>) {
        self.reading.problem(self.at, message);
    }

    /// Records a problem of a present key.
    pub(super) fn problem_at(&self, key: &str, message: impl Into<String>) {
        let at = self.find(key).map_or(self.at, |(name, _)| name.span().start);
        self.reading.problem(at, message);
    }

    /// Records the keys that were never read as unknown.
    pub(super) fn finish(self) {
        for (name, _) in self.entries.into_iter().flatten() {
            let key = name.get_ref().as_ref();
            if self.known.contains(&key) {
                continue;
            }
            let place = match self.path.as_str() {
                "" => "at the top of the file".to_owned(),
                path => format!("in [{path}]"),
            };
            let message = match nearest(key, self.known.iter().copied()) {
                Some(known) => format!("there is no key {key} {place}: did you mean {known}?"),
                None if is_secret(key) => self.never_inline(key),
                None if self.known.len() <= LISTED => {
                    format!(
                        "there is no key {key} {place}: remove it, or use one of these: {}",
                        self.known.join(", ")
                    )
                }
                None => format!(
                    "there is no key {key} {place}: remove it; the rosterd.toml that rosterd comes with shows all there are"
                ),
            };
            self.reading.problem(name.span().start, message);
        }
    }

    fn never_inline(&self, key: &str) -> String {
        let instead = match self
            .known
            .iter()
            .find(|k| ["password-file", "secret-file", "token-file"].contains(k))
        {
            Some(key) => {
                format!("write it to a file that only rosterd can read, and name that in {key}")
            }
            None => "write it to a file that only rosterd can read".to_owned(),
        };
        format!("{key} is never inline: {instead}")
    }

    fn find(
        &self,
        key: &str,
    ) -> Option<(&'a Spanned<std::borrow::Cow<'a, str>>, &'a Spanned<DeValue<'a>>)> {
        self.entries?.iter().find(|(name, _)| name.get_ref() == key)
    }

    fn take(&mut self, key: &'static str) -> Option<(Range<usize>, &'a DeValue<'a>)> {
        self.known.push(key);
        self.reading.keys.borrow_mut().insert(self.full(key));
        self.find(key).map(|(_, value)| (value.span(), value.get_ref()))
    }

    fn full(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    fn record<T>(&self, at: usize, result: Result<T, String>) -> Option<T> {
        result.map_err(|message| self.reading.problem(at, message)).ok()
    }

    fn wrong_type<T>(
        &self,
        at: usize,
        key: &str,
        wanted: impl Display,
        found: &DeValue<'_>,
    ) -> Option<T> {
        let found = match found {
            DeValue::String(_) => "text",
            DeValue::Integer(_) | DeValue::Float(_) => "a number",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        self.reading.problem(at, format!("{key} takes {wanted}; this is {found}"));
        None
    }
}

/// Returns whether a key's name suggests a secret.
fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    ["passw", "secret", "bindpw", "bind-pw", "pwd", "token"].iter().any(|word| key.contains(word))
}
