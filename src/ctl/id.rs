//! Abbreviated ids. A UUIDv7 begins with the time, so ids of one day look alike; the end is shown.

use super::link::Failure;

/// The minimum length of an abbreviation.
const SHORTEST: usize = 4;

/// Returns the last eight hex digits.
pub fn short(id: &str) -> &str {
    id.get(id.len().saturating_sub(8)..).unwrap_or(id)
}

/// Returns whether this is a whole id.
pub(crate) fn is_whole(id: &str) -> bool {
    uuid::Uuid::parse_str(id).is_ok()
}

/// The result of resolving an abbreviation.
#[derive(Debug, PartialEq, Eq)]
pub enum Meaning<'a> {
    This(&'a str),
    TooShort,
    None,
    Several(Vec<&'a str>),
}

/// Finds the ids that begin or end with `given`, ignoring case and dashes.
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
            let shown = digits(short(id));
            let id = digits(id);
            id.starts_with(&wanted) || id.ends_with(&wanted) || shown.starts_with(&wanted)
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

/// Resolves an abbreviation for a command. `noun` names the objects, `list` the command that lists them.
pub(crate) fn resolved<'a>(
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
                "{given} is the start or end of {} ids: {named}; give more characters",
                ids.len()
            )))
        }
    }
}
