//! CSV, for spreadsheets and scripts (RFC 4180).
//!
//! A spreadsheet evaluates a cell that begins like a formula. It may separate cells by semicolons
//! or tabs, and may ignore spaces before a formula. Names and addresses come from the directory, so
//! they are hostile input. No cell may begin like a formula, wherever a cell could begin.

use std::borrow::Cow;

use super::text::Page;
use crate::visible::escaped;

/// Formats a header and rows.
pub(crate) fn csv<'a>(
    header: impl IntoIterator<Item = &'a str>,
    rows: impl IntoIterator<Item: IntoIterator<Item = String>>,
) -> Page {
    let header = header.into_iter().map(str::to_owned);
    let mut page = csv_rows([header]);
    page.append(&csv_rows(rows));
    page
}

/// Formats rows that follow a header or other rows.
pub(crate) fn csv_rows(rows: impl IntoIterator<Item: IntoIterator<Item = String>>) -> Page {
    let mut lines =
        csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new());
    // Writing to memory does not fail, and every row has as many cells as the header.
    let mut written = Ok(());
    for row in rows {
        let cells = row.into_iter().map(|cell| plain(&cell).into_owned());
        written = written.and(lines.write_record(cells));
    }
    debug_assert!(written.is_ok());
    Page::from(String::from_utf8(lines.into_inner().unwrap_or_default()).unwrap_or_default())
}

/// Returns the text as a cell that no spreadsheet evaluates. An apostrophe precedes each formula, at
/// the start and after each possible separator (owasp.org/www-community/attacks/CSV_Injection).
pub(super) fn plain(text: &str) -> Cow<'_, str> {
    let mut plain = String::new();
    // Byte offset up to which the text is in `plain`, and a possible start of the present cell.
    let (mut copied, mut start) = (0, Some(0));
    for (at, c) in text.char_indices() {
        if let Some(begin) = start
            && (begins_formula(c) || at == 0 && matches!(c, '\t' | '\r' | '\n'))
        {
            plain.push_str(&text[copied..begin]);
            plain.push('\'');
            copied = begin;
        }
        start = if separates(c) {
            Some(at + c.len_utf8())
        } else {
            // Programs skip spaces, quotes and invisible characters before a formula.
            start.filter(|_| {
                c.is_whitespace()
                    || c == '"'
                    || c.is_control()
                    || matches!(escaped(c.encode_utf8(&mut [0; 4])), Cow::Owned(_))
            })
        };
    }
    if plain.is_empty() {
        return Cow::Borrowed(text);
    }
    plain.push_str(&text[copied..]);
    Cow::Owned(plain)
}

/// Returns whether the character begins a formula in Excel, LibreOffice or Sheets. They fold full-width
/// and small forms.
fn begins_formula(c: char) -> bool {
    matches!(
        c,
        '=' | '+'
            | '-'
            | '@'
            | '＝'
            | '＋'
            | '－'
            | '＠'
            | '﹢'
            | '﹣'
            | '﹦'
            | '﹫'
            | '\u{2212}'
            | '\u{207a}'
            | '\u{207b}'
            | '\u{207c}'
            | '\u{208a}'
            | '\u{208b}'
            | '\u{208c}'
    )
}

/// Returns whether a spreadsheet can use the character as a separator.
fn separates(c: char) -> bool {
    matches!(c, ';' | ',' | '|' | '\t' | '\r' | '\n' | '；' | '，')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cell_is_a_formula_to_a_spreadsheet() {
        for (text, cell) in [
            ("=HYPERLINK(\"http://evil.example\")", "'=HYPERLINK(\"http://evil.example\")"),
            ("+49 30 1234", "'+49 30 1234"),
            ("-1", "'-1"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("\t=1", "'\t'=1"),
            ("\r=1", "'\r'=1"),
            ("＝1+1", "'＝1+1"),
            ("＠SUM(A1)", "'＠SUM(A1)"),
            ("﹢49", "'﹢49"),
            (" =1", "' =1"),
            ("\u{feff}=1", "'\u{feff}=1"),
            ("\u{200b}\"=1", "'\u{200b}\"=1"),
            ("Anna;=1", "Anna;'=1"),
            ("Anna; =1;b", "Anna;' =1;b"),
            ("Anna\";\"+1", "Anna\";'\"+1"),
            ("Anna\n@x", "Anna\n'@x"),
            ("a;-1;－2", "a;'-1;'－2"),
            ("a=1", "a=1"),
            ("O=Acme, OU=People", "O=Acme, OU=People"),
            ("anna@example.com", "anna@example.com"),
            ("Meier-Schmidt", "Meier-Schmidt"),
            ("a; b", "a; b"),
            ("", ""),
        ] {
            assert_eq!(plain(text), cell);
        }
    }

    #[test]
    fn a_text_with_commas_quotes_and_line_ends_stays_one_cell() {
        let page =
            csv(["NAME", "TITLE"], [["O'Hara, Anna".to_owned(), "\"the\"\nboss".to_owned()]]);
        assert_eq!(page.plain(), "NAME,TITLE\r\n\"O'Hara, Anna\",\"\"\"the\"\"\nboss\"\r\n");
    }
}
