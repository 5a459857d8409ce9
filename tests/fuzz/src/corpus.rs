//! The corpus: answers of real servers and the simulator, and inputs that broke other programs.

use std::path::Path;

/// Returns the files of the corpus with their names, sorted by name.
pub fn inputs() -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/stream");
    let files =
        std::fs::read_dir(&folder).expect("the corpus").map(|file| file.expect("a file").path());
    let mut inputs: Vec<_> = files
        .map(|path| {
            (
                path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
                std::fs::read(&path).expect("a file"),
            )
        })
        .collect();
    inputs.sort();
    inputs
}
