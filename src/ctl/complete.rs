//! Completion of names at each Tab of a shell.
//!
//! The script of the shell runs rosterctl with the words of the command line, and rosterctl asks the
//! daemon for names. A shell never waits for it: without an answer within [`LIMIT`] no name is offered,
//! and no error is printed.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Arg;
use clap_complete::CompleteEnv;
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};
use clap_complete::env::Shells;
use serde_json::Value;

use super::link::{Failure, socket_of_environment};
use super::{DEFAULT_SOCKET, command, id};
use crate::control::api::EVENT_TYPES;
use crate::control::client::{Client, Route};

/// A longer wait is felt as a shell that hangs.
const LIMIT: Duration = Duration::from_millis(300);

/// Names that are offered at most.
const OFFERED: u64 = 100;

/// The variable by which the script asks. Its name is long, because a variable that is set by accident
/// would turn every command into a completion.
const VARIABLE: &str = "ROSTERCTL_COMPLETE";

/// The kind of object that a value of the command line names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Noun {
    Account,
    Directory,
    Domain,
    EventType,
    Hook,
    Plan,
    Run,
    Target,
    User,
}

/// Answers the shell and ends the process, if a script of a shell has started it.
pub fn answer_shell() {
    CompleteEnv::with_factory(completing).var(VARIABLE).complete();
}

/// Returns the script that makes a shell ask rosterctl at each Tab.
pub(super) fn script(shell: &str) -> Result<Vec<u8>, Failure> {
    let mut script = Vec::new();
    let shells = Shells::builtins();
    let completer = shells
        .completer(shell)
        .ok_or_else(|| Failure::Usage(format!("rosterctl has no completions for {shell}")))?;
    completer.write_registration(VARIABLE, "rosterctl", "rosterctl", "rosterctl", &mut script)?;
    Ok(script)
}

/// Returns the definition of the commands, with the source of each value that names an object.
fn completing() -> clap::Command {
    command().mut_subcommands(|group| {
        let name = group.get_name().to_owned();
        let group = with_nouns(group, &name, "");
        group.mut_subcommands(|leaf| {
            let verb = leaf.get_name().to_owned();
            with_nouns(leaf, &name, &verb)
        })
    })
}

fn with_nouns(command: clap::Command, group: &str, verb: &str) -> clap::Command {
    command.mut_args(|arg: Arg| match noun(group, verb, arg.get_id().as_str()) {
        Some(noun) => arg.add(ArgValueCompleter::new(move |typed: &OsStr| offered(noun, typed))),
        None => arg,
    })
}

/// Returns what an argument names. A name that a command gives to a new object is none.
fn noun(group: &str, verb: &str, argument: &str) -> Option<Noun> {
    Some(match (group, verb, argument) {
        (_, "create" | "claim", "handle" | "domain") | (_, "relink", "person") => return None,
        ("held", _, "id") => Noun::Plan,
        ("run", _, "id") | (_, _, "run") => Noun::Run,
        ("directory", _, "name" | "old") | (_, _, "directory" | "behind") => Noun::Directory,
        ("target", _, "name") => Noun::Target,
        ("hook", _, "name") => Noun::Hook,
        ("account", _, "handle") | (_, _, "account") => Noun::Account,
        (_, _, "domain") => Noun::Domain,
        ("event" | "hook", _, "kind") => Noun::EventType,
        ("sign-in", _, "email") | (_, _, "who" | "user" | "person") => Noun::User,
        _ => return None,
    })
}

/// Returns the names that begin with the typed text.
fn offered(noun: Noun, typed: &OsStr) -> Vec<CompletionCandidate> {
    let Some(typed) = typed.to_str() else { return Vec::new() };
    names(noun, typed)
        .unwrap_or_default()
        .into_iter()
        .filter(|(name, _)| name.starts_with(typed) && is_plain(name))
        .map(|(name, about)| CompletionCandidate::new(name).help(about.map(Into::into)))
        .collect()
}

/// Returns whether a shell takes the text as one word without a special meaning. Names come from
/// directories, so one could hold a command.
fn is_plain(name: &str) -> bool {
    name.chars().all(|c| c.is_alphanumeric() || "@._-+:*".contains(c))
}

/// Returns names, each with a description for shells that show one.
fn names(noun: Noun, typed: &str) -> Option<Vec<(String, Option<String>)>> {
    let (route, list, name, about) = match noun {
        Noun::EventType => return Some(event_types()),
        Noun::Account => (Route::to(["accounts"]), "accounts", "handle", "name"),
        Noun::Directory => (Route::to(["directories"]), "directories", "name", "state"),
        Noun::Domain => (Route::to(["domains"]), "domains", "domain", "account"),
        Noun::Hook => (Route::to(["hooks"]), "hooks", "name", "state"),
        Noun::Plan => (Route::to(["held"]), "held", "id", "directory"),
        Noun::Run => (Route::to(["runs"]).with("limit", 20), "runs", "id", "directory"),
        Noun::Target => (Route::to(["targets"]), "targets", "name", "state"),
        Noun::User => {
            let route = match typed.trim() {
                "" => Route::to(["users"]),
                word => Route::to(["users", "search"]).with("q", word),
            };
            (route.with("limit", OFFERED), "users", "primary_email", "display_name")
        }
    };
    let document = ask(&route)?;
    let text = |item: &Value, field: &str| item[field].as_str().map(str::to_owned);
    let named = |item: &Value| {
        let name = text(item, name)?;
        let name = match noun {
            Noun::Plan | Noun::Run => id::short(&name).to_owned(),
            _ => name,
        };
        Some((name, text(item, about)))
    };
    Some(document[list].as_array()?.iter().filter_map(named).collect())
}

/// Returns the types of events and their families.
fn event_types() -> Vec<(String, Option<String>)> {
    let mut families: Vec<String> = EVENT_TYPES
        .iter()
        .filter_map(|kind| Some(format!("{}.*", kind.split_once('.')?.0)))
        .collect();
    families.sort();
    families.dedup();
    families.extend(EVENT_TYPES.iter().map(|kind| (*kind).to_owned()));
    families.into_iter().map(|kind| (kind, None)).collect()
}

/// Asks the daemon; `None` where no answer comes in time.
fn ask(route: &Route) -> Option<Value> {
    let client = Client::new(&socket()).ok()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
    let answer =
        runtime.block_on(async { tokio::time::timeout(LIMIT, client.get_raw(route)).await });
    answer.ok()?.ok()
}

/// Returns the socket that the completed command line names, or the usual one.
fn socket() -> PathBuf {
    let mut words = std::env::args().skip_while(|word| word != "--");
    let mut named = None;
    while let Some(word) = words.next() {
        if word == "--socket" {
            named = words.next();
        } else if let Some(path) = word.strip_prefix("--socket=") {
            named = Some(path.to_owned());
        }
    }
    let named = named.filter(|path| !path.is_empty()).map(PathBuf::from);
    named.or_else(socket_of_environment).unwrap_or_else(|| DEFAULT_SOCKET.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_a_shell_would_interpret_is_not_offered() {
        for name in ["ann@example.com", "müller@example.com", "user.*", "0d6f4e2b", "corp-1"] {
            assert!(is_plain(name), "{name}");
        }
        for name in ["`reboot`@x.com", "$HOME@x.com", "a b", "a;b@x.com", "a|b", "a'b@x.com", "~"] {
            assert!(!is_plain(name), "{name}");
        }
    }

    #[test]
    fn each_event_type_and_each_family_is_offered_once() {
        let offered: Vec<String> = event_types().into_iter().map(|(name, _)| name).collect();
        let distinct: std::collections::BTreeSet<&String> = offered.iter().collect();
        assert_eq!(offered.len(), distinct.len(), "{offered:?}");
        assert!(offered.len() > EVENT_TYPES.len());
    }
}
