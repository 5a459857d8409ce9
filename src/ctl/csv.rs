//! CSV, for spreadsheets and scripts (RFC 4180).
//!
//! A spreadsheet takes a cell that begins like a formula for one, and carries it out. Names and addresses come from
//! whoever may write them in the directory, so no cell ever begins so.

use std::borrow::Cow;

use super::text::Page;

/// A header and rows, as text that is ready to be printed.
pub(super) fn csv<const N: usize>(header: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> Page {
    let mut lines = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new());
    // Writing to memory does not fail, and every row has as many cells as the header.
    let mut written = lines.write_record(header);
    for row in rows {
        written = written.and(lines.write_record(row.iter().map(|cell| plain(cell).into_owned())));
    }
    debug_assert!(written.is_ok());
    Page::from(String::from_utf8(lines.into_inner().unwrap_or_default()).unwrap_or_default())
}

/// The text as a cell that no spreadsheet calculates: what begins like a formula is led by an apostrophe
/// (owasp.org/www-community/attacks/CSV_Injection).
pub(super) fn plain(text: &str) -> Cow<'_, str> {
    if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { Cow::Owned(format!("'{text}")) } else { Cow::Borrowed(text) }
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
            ("\t=1", "'\t=1"),
            ("\r=1", "'\r=1"),
            ("a=1", "a=1"),
            ("anna@example.com", "anna@example.com"),
            ("", ""),
        ] {
            assert_eq!(plain(text), cell);
        }
    }

    #[test]
    fn what_has_commas_quotes_and_line_ends_stays_one_cell() {
        let page = csv(["NAME", "TITLE"], [["O'Hara, Anna".to_owned(), "\"the\"\nboss".to_owned()]]);
        assert_eq!(page.plain(), "NAME,TITLE\r\n\"O'Hara, Anna\",\"\"\"the\"\"\nboss\"\r\n");
    }
}
