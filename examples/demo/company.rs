//! The verbs that change the simulated company while the demo runs.
//!
//! `demo disable anna.nagy` sends its words over a socket to the demo, which parses them again and
//! edits the directory. The socket is beside the control socket of the daemon.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use adsim::{Ad, NewPerson, Sim, names};
use clap::{Parser, Subcommand, ValueEnum};

/// Shows rosterd on a simulated Active Directory, and changes the company while it runs
#[derive(Debug, Parser)]
#[command(name = "demo", after_help = "Without a command the demo starts.")]
pub(crate) struct Cli {
    /// Run all scenes without a stop, and exit
    #[arg(long)]
    pub(crate) once: bool,
    #[command(subcommand)]
    pub(crate) verb: Option<Verb>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// List people: all, or those with this beginning of a name
    People { name: Vec<String> },
    /// Disable an account, as for a leaver
    Disable { who: String },
    /// Enable an account
    Enable { who: String },
    /// Delete an account
    Delete { who: String },
    /// Add a person: demo join "Eve New"
    Join {
        /// Given name and surname
        name: String,
        /// The OU of the person
        #[arg(long, value_enum, default_value = "engineering")]
        ou: Ou,
    },
    /// Give a person another surname and address: demo marry anna.nagy Example
    Marry { who: String, surname: String },
    /// Put a person into the group Roster Pro
    Promote { who: String },
    /// Take the right to see an OU from the service account: demo hide-ou sales
    HideOu {
        #[arg(value_enum, ignore_case = true)]
        ou: Ou,
    },
    /// Give the right to see an OU back
    ShowOu {
        #[arg(value_enum, ignore_case = true)]
        ou: Ou,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Ou {
    Engineering,
    Sales,
    Operations,
    Finance,
    Support,
    Platform,
}

impl Ou {
    fn name(self) -> &'static str {
        match self {
            Self::Engineering => "Engineering",
            Self::Sales => "Sales",
            Self::Operations => "Operations",
            Self::Finance => "Finance",
            Self::Support => "Support",
            Self::Platform => "Platform",
        }
    }
}

/// The socket of the company whose daemon has this control socket.
pub(crate) fn socket_beside(control: &Path) -> PathBuf {
    control.with_file_name("company.sock")
}

/// Sends the words of the command line to the demo that runs. Returns its answer.
pub(crate) fn send(words: &[String]) -> Result<String, String> {
    let control = std::env::var_os("ROSTERD_SOCKET").ok_or(
        "ROSTERD_SOCKET is not set: copy the line with export that the running demo has printed",
    )?;
    let socket = socket_beside(Path::new(&control));
    let failed = |error: std::io::Error| format!("no demo runs on {}: {error}", socket.display());
    let mut stream = UnixStream::connect(&socket).map_err(failed)?;
    stream.write_all(words.join("\0").as_bytes()).map_err(failed)?;
    stream.shutdown(Shutdown::Write).map_err(failed)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(failed)?;
    match answer.strip_prefix("error: ") {
        Some(error) => Err(error.to_owned()),
        None => Ok(answer),
    }
}

/// Answers verbs until the end of the process.
pub(crate) fn serve(socket: &Path, sim: Arc<Sim>) -> std::io::Result<()> {
    let listener = UnixListener::bind(socket)?;
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut words = String::new();
            if stream.read_to_string(&mut words).is_err() {
                continue;
            }
            let answer = answer(&words, &sim).unwrap_or_else(|error| format!("error: {error}"));
            // The caller has gone.
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    Ok(())
}

fn answer(words: &str, sim: &Sim) -> Result<String, String> {
    let line = std::iter::once("demo").chain(words.split('\0'));
    let verb = Cli::try_parse_from(line).map_err(|error| error.to_string())?.verb;
    let verb = verb.ok_or("the demo runs already: demo --help lists what it can do")?;
    sim.edit(|ad| apply(&verb, ad))
}

fn apply(verb: &Verb, ad: &mut Ad) -> Result<String, String> {
    Ok(match verb {
        Verb::People { name } => {
            let people = named(ad, &name.join(" "));
            let shown: Vec<String> = people.iter().take(20).map(|p| about(ad, *p)).collect();
            match people.len() - shown.len() {
                0 => shown.join("\n"),
                more => format!("{}\n… and {more} more: demo people NAME", shown.join("\n")),
            }
        }
        Verb::Disable { who } => {
            let person = find(ad, who)?;
            ad.disable(person);
            format!("In AD: {} is disabled", about(ad, person))
        }
        Verb::Enable { who } => {
            let person = find(ad, who)?;
            ad.enable(person);
            format!("In AD: {} is enabled", about(ad, person))
        }
        Verb::Delete { who } => {
            let person = find(ad, who)?;
            let who = about(ad, person);
            ad.delete(person);
            format!("In AD: {who} is deleted")
        }
        Verb::Join { name, ou } => join(name, *ou, ad)?,
        Verb::Marry { who, surname } => {
            let person = find(ad, who)?;
            let given = ad.value(person, "givenName").unwrap_or_default();
            let name = format!("{given} {surname}");
            for (attribute, value) in
                [("sn", surname), ("displayName", &name), ("mail", &address(&name))]
            {
                ad.set(person, attribute, value);
            }
            format!("In AD: {} has a new name and address", about(ad, person))
        }
        Verb::Promote { who } => {
            let person = find(ad, who)?;
            ad.add_member(names::PRO, person);
            format!("In AD: {} is in the group {}", about(ad, person), names::PRO)
        }
        Verb::HideOu { ou } => {
            ad.hide_subtree(ou.name());
            format!("In AD: the service account cannot see OU={} any more", ou.name())
        }
        Verb::ShowOu { ou } => {
            ad.show_subtree(ou.name());
            format!("In AD: the service account can see OU={} again", ou.name())
        }
    })
}

fn join(name: &str, ou: Ou, ad: &mut Ad) -> Result<String, String> {
    let (given, surname) = name
        .trim()
        .split_once(' ')
        .ok_or_else(|| format!("\"{name}\" has no surname: demo join \"Eve New\""))?;
    let mail = address(name);
    let sam = mail.split('@').next().unwrap_or_default().chars().take(20).collect::<String>();
    if !named(ad, &sam).is_empty() || ad.exists(sam.as_str()) {
        return Err(format!("there is an account {sam}"));
    }
    let person = NewPerson::new(&sam).name(given, surname).mail(&mail).ou(ou.name());
    let person = ad.add_person(person.member_of(names::BASIC));
    Ok(format!("In AD: {} has joined OU={}", about(ad, person), ou.name()))
}

fn address(name: &str) -> String {
    let name = name.trim().to_lowercase().split_whitespace().collect::<Vec<_>>().join(".");
    format!("{name}@example.com")
}

/// Describes a person: `Anna Nagy (u31, anna.nagy@example.com)`.
fn about(ad: &Ad, person: uuid::Uuid) -> String {
    let value = |attribute: &str| ad.value(person, attribute).unwrap_or_default();
    format!("{} ({}, {})", value("displayName"), value("sAMAccountName"), value("mail"))
}

/// Returns the people with an address of whom one name is this text, or each word of it begins a word
/// of their display name.
fn named(ad: &Ad, text: &str) -> Vec<uuid::Uuid> {
    let text = text.to_lowercase();
    let value =
        |person, attribute: &str| ad.value(person, attribute).unwrap_or_default().to_lowercase();
    let people: Vec<_> =
        ad.people().into_iter().filter(|person| ad.value(person, "mail").is_some()).collect();
    let is_exact = |person: &uuid::Uuid| {
        ["sAMAccountName", "mail", "userPrincipalName", "displayName"]
            .iter()
            .any(|attribute| value(*person, attribute) == text)
    };
    let exact: Vec<_> = people.iter().copied().filter(is_exact).collect();
    if !exact.is_empty() {
        return exact;
    }
    let begins = |person: &uuid::Uuid| {
        let name = value(*person, "displayName");
        text.split_whitespace().all(|word| name.split_whitespace().any(|n| n.starts_with(word)))
    };
    people.into_iter().filter(begins).collect()
}

fn find(ad: &Ad, who: &str) -> Result<uuid::Uuid, String> {
    match named(ad, who).as_slice() {
        [] => Err(format!("the company has no {who}: demo people lists all")),
        [person] => Ok(*person),
        several => {
            let first: Vec<String> = several.iter().take(5).map(|p| about(ad, *p)).collect();
            Err(format!(
                "{who} means {} people: name one by the address\n  {}",
                several.len(),
                first.join("\n  ")
            ))
        }
    }
}
