//! The programs of the configuration file, which are the only ones that may be run.
//!
//! The user of the runner cannot read the file, because it may contain secrets of the daemon. The
//! daemon passes an open descriptor of the file that has the program. The runner accepts only the file
//! at the configured path, or a part in `conf.d` beside it, if root alone can change it.

use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use nix::unistd::geteuid;

use super::order::{Order, ProgramKind, read};
use crate::model::Program;
use crate::sources;

/// Most bytes of a configuration file.
const LONGEST: u64 = 16 * 1024 * 1024;

/// A configured hook or gate with a program.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfiguredProgram {
    pub kind: ProgramKind,
    pub name: String,
    pub program: Program,
}

/// The programs of one file.
type Known = BTreeMap<(ProgramKind, String), Program>;

/// Parser of the hooks and gates of a configuration file.
type Parse = fn(&str) -> Result<Vec<ConfiguredProgram>, String>;

/// The programs of a configuration file and its parts, cached by part.
#[derive(Debug)]
pub struct Programs {
    file: PathBuf,
    parse: Parse,
    known: Mutex<BTreeMap<Option<String>, Known>>,
}

impl Programs {
    /// Uses the configuration file at this absolute path.
    pub fn of(file: PathBuf, parse: Parse) -> Self {
        Self { file, parse, known: Mutex::default() }
    }

    /// Returns the program of an order.
    ///
    /// The file is read again only if the digest differs, that is after the daemon has reloaded it.
    pub(super) fn find(&self, order: &Order, passed: OwnedFd) -> Result<Program, String> {
        let key = (order.kind, order.name.clone());
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let known = known.entry(order.part.clone()).or_default();
        if let Some(program) = known.get(&key).filter(|program| program.digest() == order.digest) {
            return Ok(program.clone());
        }
        if let Some(part) = order.part.as_deref().filter(|part| !sources::is_part(part)) {
            return Err(format!("no program is run: {part} is not the name of a file in conf.d"));
        }
        let path = sources::file_of(&self.file, order.part.as_deref());
        *known = self.read(&path, &File::from(passed))?;
        let (kind, name, file) = (order.kind.as_str(), &order.name, path.display());
        match known.get(&key) {
            Some(program) if program.digest() == order.digest => Ok(program.clone()),
            Some(_) => Err(format!(
                "{file} has another program for the {kind} {name} than rosterd has loaded: run rosterctl reload"
            )),
            None => {
                Err(format!("{file} has no program for the {kind} {name}: run rosterctl reload"))
            }
        }
    }

    fn read(&self, path: &Path, passed: &File) -> Result<Known, String> {
        let file = path.display();
        let unreadable = |error| format!("the hook runner cannot read {file}: {error}");
        let metadata = passed.metadata().map_err(unreadable)?;
        if let Some(reason) = distrust(path, &metadata) {
            return Err(format!("no program is run: {reason}"));
        }
        let text = read(passed, LONGEST).map_err(unreadable)?;
        let mut programs = BTreeMap::new();
        for ConfiguredProgram { kind, name, program } in
            (self.parse)(&text).map_err(|reason| format!("{file}: {reason}"))?
        {
            if programs.insert((kind, name.clone()), program).is_some() {
                return Err(format!(
                    "{file} has two programs for the {} {name}: give one of them another name",
                    kind.as_str()
                ));
            }
        }
        Ok(programs)
    }
}

/// Returns the reason why a passed file is not trusted.
fn distrust(path: &Path, passed: &Metadata) -> Option<String> {
    let file = path.display();
    let own = match std::fs::metadata(path) {
        Ok(own) => own,
        Err(error) => {
            let folder = path.parent().unwrap_or(path).display();
            return Some(format!(
                "the hook runner cannot find {file} ({error}): let it pass through the folder with chmod o+x {folder}"
            ));
        }
    };
    let owner = passed.uid();
    if (own.dev(), own.ino()) != (passed.dev(), passed.ino()) {
        Some(format!("rosterd passed another file than {file}: start both with the same --config"))
    } else if !passed.is_file() {
        Some(format!("{file} is not a regular file"))
    } else if owner != 0 && owner != geteuid().as_raw() {
        Some(format!(
            "{file} belongs to uid {owner}: run chown root on it, because it names the programs to run"
        ))
    } else if passed.mode() & 0o022 != 0 {
        Some(format!(
            "{file} can be written by others: run chmod go-w on it, because it names the programs to run"
        ))
    } else {
        None
    }
}
