//! Abbreviated ids. Ids are UUIDv7: their beginning is the time and much alike, so the end is what is shown.

use super::link::Failure;

/// How much of an id has to be given.
const SHORTEST: usize = 4;

/// The last eight hex digits.
pub fn short(id: &str) -> &str {
    id.get(id.len().saturating_sub(8)..).unwrap_or(id)
}

/// Whether this is an id in full, which needs no looking up.
pub(super) fn is_whole(id: &str) -> bool {
    uuid::Uuid::parse_str(id).is_ok()
}

/// What an abbreviation can mean.
#[derive(Debug, PartialEq, Eq)]
pub enum Meaning<'a> {
    /// One id.
    This(&'a str),
    /// It is too short to look for.
    TooShort,
    /// None of the ids.
    None,
    /// All of these.
    Several(Vec<&'a str>),
}

/// The id among `ids` that begins or ends with `given`, case and dashes aside.
pub fn resolve<'a>(given: &str, ids: impl IntoIterator<Item = &'a str>) -> Meaning<'a> {
    let digits = |text: &str| {
        text.chars().filter(|c| *c != '-').map(|c| c.to_ascii_lowercase()).collect::<String>()
    };
    let wanted = digits(given);
    if wanted.len() < SHORTEST {
        return Meaning::TooShort;
    }
    let mut found: Vec<&str> = ids
        .into_iter()
        .filter(|id| {
            let id = digits(id);
            id.starts_with(&wanted) || id.ends_with(&wanted)
        })
        .collect();
    found.dedup();
    match (found.pop(), found.is_empty()) {
        (Some(id), true) => Meaning::This(id),
        (Some(id), false) => {
            found.push(id);
            Meaning::Several(found)
        }
        (None, _) => Meaning::None,
    }
}

/// The same for a command: `noun` is what the ids are of, `list` the command that shows them.
pub(super) fn resolved<'a>(
    given: &str,
    noun: &str,
    list: &str,
    ids: impl IntoIterator<Item = &'a str>,
) -> Result<String, Failure> {
    match resolve(given, ids) {
        Meaning::This(id) => Ok(id.to_owned()),
        Meaning::TooShort => Err(Failure::Usage(format!(
            "\"{given}\" is too short for an id: give at least {SHORTEST} of its characters"
        ))),
        Meaning::None => Err(Failure::Unresolved(format!(
            "no {noun} has an id that begins or ends with {given}: {list} shows them"
        ))),
        Meaning::Several(ids) => {
            let named = ids.iter().take(5).copied().collect::<Vec<_>>().join(", ");
            Err(Failure::Unresolved(format!(
                "{given} is the beginning or end of {} ids: {named}; give more of it",
                ids.len()
            )))
        }
    }
}
