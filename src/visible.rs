//! Untrusted text for terminals and logs, with invisible and control characters escaped.
//!
//! Names, addresses, distinguished names and texts of servers are untrusted. Terminals and logs
//! show them through [`escaped`]. JSON has the exact text.

use std::borrow::Cow;

/// Quotes the text as one word of a shell, for a command that is printed.
pub fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.,:=@/+".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// Returns the text with control characters (C0 and C1), marks of direction and invisible
/// characters escaped. Escaped text stays as it is.
pub fn escaped(text: &str) -> Cow<'_, str> {
    let mut before = None;
    let is_fine = |c: char| {
        let fine = is_visible(c, before);
        before = Some(c);
        fine
    };
    if text.chars().all(is_fine) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    let mut before = None;
    for c in text.chars() {
        if is_visible(c, before) {
            escaped.push(c);
            before = Some(c);
        } else {
            escaped.extend(c.escape_default());
            // An escaped character joins nothing.
            before = None;
        }
    }
    Cow::Owned(escaped)
}

/// Returns whether a character is visible after the one before. A joiner or an emoji selector is
/// visible only after a character that it modifies.
fn is_visible(c: char, before: Option<char>) -> bool {
    match c {
        '\u{200c}' | '\u{200d}' => before.is_some_and(|b| joins(b) || b == '\u{fe0f}'),
        '\u{fe0e}' | '\u{fe0f}' => before.is_some_and(joins),
        _ => !c.is_control() && !is_invisible(c),
    }
}

/// Returns whether a character takes joiners: scripts from Arabic to Myanmar, Khmer, Mongolian,
/// Adlam, and symbols.
fn joins(c: char) -> bool {
    matches!(c,
        '\u{620}'..='\u{109f}' | '\u{1780}'..='\u{180a}' | '\u{1810}'..='\u{18af}' | '\u{2190}'..='\u{27ff}' | '\u{2900}'..='\u{2bff}'
        | '\u{1e900}'..='\u{1e95f}' | '\u{1f000}'..='\u{1faff}')
}

/// Returns whether a character is default-ignorable, blank, a mark of direction or a noncharacter
/// (Unicode 16, DerivedCoreProperties).
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}'
        | '\u{fdd0}'..='\u{fdef}' | '\u{fe00}'..='\u{fe0d}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
        | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
        || u32::from(c) & 0xfffe == 0xfffe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_all_scripts_are_not_escaped() {
        for name in [
            "Zoë Müller",
            "Ελένη",
            "О'Хара",
            "王 小明",
            "山田\u{3000}太郎",
            "می\u{200c}خواهم",
            "क्\u{200d}ष",
            "👩\u{200d}💻",
            "👁\u{fe0f}\u{200d}🗨\u{fe0f}",
        ] {
            assert_eq!(escaped(name), name);
        }
    }

    #[test]
    fn invisible_reordering_and_control_characters_are_escaped() {
        let hidden = "\u{0}\u{7}\u{1b}\u{7f}\u{80}\u{85}\u{9b}\u{ad}\u{34f}\u{61c}\u{115f}\u{180e}\u{200b}\u{200c}\u{200d}\u{200e}\u{202a}\u{202e}\u{2060}\u{2066}\u{2069}\u{206a}\u{2800}\u{3164}\u{fe0f}\u{feff}\u{ffa0}\u{fff9}\u{fffe}\u{1d173}\u{e0041}\u{e0101}";
        for c in hidden.chars() {
            let shown = escaped(&format!("ann{c}a")).into_owned();
            assert!(
                shown.starts_with("ann\\") && shown.ends_with('a') && shown.is_ascii(),
                "{c:?}: {shown}"
            );
            assert_eq!(escaped(&shown), shown, "escaping is done once");
        }
        assert_eq!(
            escaped("ا\u{200d}\u{200d}\u{200d}"),
            "ا\u{200d}\\u{200d}\\u{200d}",
            "a pile of joiners hides text"
        );
    }
}
