//! The files of a configuration: the main file, and the parts in the folder `conf.d` beside it.

use std::io;
use std::path::{Path, PathBuf};

/// Name of the folder of parts.
pub const PARTS: &str = "conf.d";

/// A file of the configuration with its text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Source {
    pub file: PathBuf,
    /// Name in `conf.d`; `None` for the main file.
    pub part: Option<String>,
    pub text: String,
}

impl Source {
    pub fn main(file: &Path, text: &str) -> Self {
        Self { file: file.to_owned(), part: None, text: text.to_owned() }
    }

    /// Returns a part of the configuration whose main file is given.
    pub fn part(main: &Path, name: &str, text: &str) -> Self {
        Self { file: file_of(main, Some(name)), part: Some(name.to_owned()), text: text.to_owned() }
    }
}

/// Returns the path of a part, or of the main file.
pub fn file_of(main: &Path, part: Option<&str>) -> PathBuf {
    part.map_or_else(|| main.to_owned(), |name| main.with_file_name(PARTS).join(name))
}

/// Returns whether a name in `conf.d` is that of a part. Editors and dpkg leave files of other names.
pub fn is_part(name: &str) -> bool {
    let is_toml = Path::new(name).extension().is_some_and(|extension| extension == "toml");
    is_toml && !name.starts_with('.') && !name.contains('/')
}

/// Reads the main file, then its parts in the order of their names. The error names the file.
pub fn read(main: &Path) -> Result<Vec<Source>, (PathBuf, io::Error)> {
    let text =
        |file: &Path| std::fs::read_to_string(file).map_err(|error| (file.to_owned(), error));
    let mut sources = vec![Source::main(main, &text(main)?)];
    let folder = main.with_file_name(PARTS);
    let failed = |error| (folder.clone(), error);
    let mut names = Vec::new();
    match std::fs::read_dir(&folder) {
        Ok(entries) => {
            for entry in entries {
                let name = entry.map_err(failed)?.file_name();
                names.extend(name.into_string().ok().filter(|name| is_part(name)));
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    names.sort_unstable();
    for name in names {
        sources.push(Source::part(main, &name, &text(&file_of(main, Some(&name)))?));
    }
    Ok(sources)
}
