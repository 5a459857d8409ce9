//! Notes of operators on users.

use std::fmt;

use serde::Serialize;

use super::actor::Actor;
use super::time::Timestamp;

/// An operator's note on a user, such as `parental leave`. No run writes it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Note {
    pub text: NoteText,
    /// The operator who wrote it.
    pub actor: Actor,
    pub at: Timestamp,
}

/// The text of a note: one line, not empty, of at most [`NoteText::MAX`] characters.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(transparent)]
pub struct NoteText(String);

/// The reason why a text is no note.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NoteError {
    #[error("the note is empty: rosterctl user note WHO --clear removes a note")]
    Empty,
    #[error(
        "the note has {0} characters, and {max} are the most: shorten it",
        max = NoteText::MAX
    )]
    TooLong(usize),
    #[error("the note has a line break or another control character: write it on one line")]
    Control,
}

impl NoteText {
    /// A note fits on one line below a change of a held plan.
    pub const MAX: usize = 200;

    pub fn parse(text: &str) -> Result<Self, NoteError> {
        let text = text.trim();
        let length = text.chars().count();
        if text.is_empty() {
            return Err(NoteError::Empty);
        }
        if length > Self::MAX {
            return Err(NoteError::TooLong(length));
        }
        if text.chars().any(char::is_control) {
            return Err(NoteError::Control);
        }
        Ok(Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NoteText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_one_line_of_bounded_length() {
        let most = "x".repeat(NoteText::MAX);
        assert_eq!(NoteText::parse(" parental leave ").unwrap().as_str(), "parental leave");
        assert_eq!(NoteText::parse(&most).unwrap().as_str(), most);
        assert_eq!(NoteText::parse(&format!("{most}é")), Err(NoteError::TooLong(201)));
        assert_eq!(NoteText::parse(" \t "), Err(NoteError::Empty));
        assert_eq!(NoteText::parse("legal\nhold"), Err(NoteError::Control));
        assert_eq!(NoteText::parse("\u{1b}[31mred"), Err(NoteError::Control));
    }
}
