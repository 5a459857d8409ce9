//! The programs of hooks and gates, the only part of the configuration that the hook runner reads.
//!
//! The daemon has checked the whole file. The runner must not repeat that check, because it cannot
//! read the secrets that the file names.

use serde::Deserialize;

use crate::model::Program;

/// The program of a hook or gate.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NamedProgram {
    pub is_gate: bool,
    pub name: String,
    pub program: Program,
}

#[derive(Deserialize)]
struct Sections {
    #[serde(default)]
    hook: Vec<Section>,
    #[serde(default)]
    gate: Vec<Section>,
}

#[derive(Deserialize)]
struct Section {
    name: String,
    exec: Option<Vec<String>>,
}

/// Returns the programs of a configuration's text. Hooks with a `url` have none.
pub fn programs(text: &str) -> Result<Vec<NamedProgram>, String> {
    let Sections { hook, gate } = toml::from_str(text).map_err(|error| {
        let (at, reason) = (error.span().map_or(0, |span| span.start), error.message());
        format!("line {}: {reason}", text.get(..at).unwrap_or_default().matches('\n').count() + 1)
    })?;
    let named = |is_gate| {
        move |Section { name, exec }: Section| {
            exec.map(|exec| NamedProgram { is_gate, name, program: Program::of(&exec) })
        }
    };
    Ok(hook
        .into_iter()
        .filter_map(named(false))
        .chain(gate.into_iter().filter_map(named(true)))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_of_hooks_and_gates_are_read_without_the_rest_of_the_file() {
        let text = "[store]\nurl = 7\n[[directory]]\nname = \"corp\"\npassword-file = \"/nowhere\"\n\
            [[hook]]\nname = \"vpn\"\nevents = [\"*\"]\nexec = [\"/bin/vpn\", \"-x\"]\ntimeout = \"1s\"\n\
            [[hook]]\nname = \"siem\"\nurl = \"https://siem.example.com\"\nsecret-file = \"/nowhere\"\n\
            [[gate]]\nname = \"vpn\"\nexec = [\"/bin/board\"]\n";
        let program = |is_gate, exec: &[&str]| NamedProgram {
            is_gate,
            name: "vpn".to_owned(),
            program: Program::of(&exec.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>()),
        };
        assert_eq!(
            programs(text),
            Ok(vec![program(false, &["/bin/vpn", "-x"]), program(true, &["/bin/board"])])
        );
        let error = programs("[[hook]]\nname = \"vpn\"\nexec = [").unwrap_err();
        assert!(error.starts_with("line 3: "), "{error}");
    }
}
