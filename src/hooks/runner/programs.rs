//! The programs that may be run: those that the configuration file names, and no others.
//!
//! The runner's user cannot read the file, which may hold what is nobody's business but the daemon's. So the daemon passes an open
//! descriptor, and the runner believes it only if it is the very file at its own path, and only root can change that.

use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use nix::unistd::geteuid;

use super::order::{Kind, Order, read};
use crate::model::Program;

/// A configuration file is longer than this only by mistake.
const LONGEST: u64 = 16 * 1024 * 1024;

/// A hook or gate with a program, as the configuration has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Configured {
    /// Whether it is a hook or a gate.
    pub kind: Kind,
    /// The name of its section.
    pub name: String,
    /// The program that it names.
    pub program: Program,
}

/// Reads the hooks and gates of a configuration file's text, and nothing else of it.
type Parse = fn(&str) -> Result<Vec<Configured>, String>;

/// The programs of one configuration file, as it was last read.
#[derive(Debug)]
pub struct Programs {
    file: PathBuf,
    parse: Parse,
    known: Mutex<BTreeMap<(Kind, String), Program>>,
}

impl Programs {
    /// The programs of the configuration file at this absolute path.
    pub fn of(file: PathBuf, parse: Parse) -> Self {
        Self { file, parse, known: Mutex::default() }
    }

    /// Returns the program that an order means. The file is read again only when it must have changed: an edit counts from
    /// the reload that tells the daemon of it.
    pub(super) fn find(&self, order: &Order, passed: OwnedFd) -> Result<Program, String> {
        let key = (order.kind, order.name.clone());
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(program) = known.get(&key).filter(|program| program.digest() == order.digest) {
            return Ok(program.clone());
        }
        *known = self.read(&File::from(passed))?;
        let (kind, name, file) = (order.kind.as_str(), &order.name, self.file.display());
        match known.get(&key) {
            Some(program) if program.digest() == order.digest => Ok(program.clone()),
            Some(_) => Err(format!(
                "{file} has another program for the {kind} {name} than rosterd was told of: run rosterctl reload"
            )),
            None => {
                Err(format!("{file} has no program for the {kind} {name}: run rosterctl reload"))
            }
        }
    }

    fn read(&self, passed: &File) -> Result<BTreeMap<(Kind, String), Program>, String> {
        let file = self.file.display();
        let unreadable = |error| format!("the hook runner cannot read {file}: {error}");
        let metadata = passed.metadata().map_err(unreadable)?;
        if let Some(why) = distrust(&self.file, &metadata) {
            return Err(format!("no program is run: {why}"));
        }
        let text = read(passed, LONGEST).map_err(unreadable)?;
        let mut programs = BTreeMap::new();
        for Configured { kind, name, program } in
            (self.parse)(&text).map_err(|why| format!("{file}: {why}"))?
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

/// Returns why a file that was passed is not believed.
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
        Some(format!("{file} is no plain file"))
    } else if owner != 0 && owner != geteuid().as_raw() {
        Some(format!(
            "{file} belongs to uid {owner}: run chown root on it, since it says which programs are run"
        ))
    } else if passed.mode() & 0o022 != 0 {
        Some(format!(
            "{file} can be written by others: run chmod go-w on it, since it says which programs are run"
        ))
    } else {
        None
    }
}
