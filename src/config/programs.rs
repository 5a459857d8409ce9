//! The programs of hooks and gates, and nothing else of the file: all that the hook runner knows of the configuration.
//!
//! The whole file was checked when the daemon loaded it. The runner sees none of the secrets that such a check reads, and
//! must not fail because of them.

use serde::Deserialize;

/// A hook or gate that has a program.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NamedProgram {
    /// Whether it is a gate, and no hook.
    pub is_gate: bool,
    /// The name of its section.
    pub name: String,
    /// The program, by absolute path, and its arguments.
    pub exec: Vec<String>,
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

/// Reads the programs of a configuration's text. Hooks with a `url` have none.
pub fn programs(text: &str) -> Result<Vec<NamedProgram>, String> {
    let Sections { hook, gate } = toml::from_str(text).map_err(|error| {
        let (at, why) = (error.span().map_or(0, |span| span.start), error.message());
        format!("line {}: {why}", text.get(..at).unwrap_or_default().matches('\n').count() + 1)
    })?;
    let named = |is_gate| {
        move |Section { name, exec }: Section| exec.map(|exec| NamedProgram { is_gate, name, exec })
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
    fn the_programs_are_those_of_hooks_and_gates_and_the_rest_of_the_file_is_passed_over() {
        let text = "[store]\nurl = 7\n[[directory]]\nname = \"corp\"\npassword-file = \"/nowhere\"\n\
            [[hook]]\nname = \"vpn\"\nevents = [\"*\"]\nexec = [\"/bin/vpn\", \"-x\"]\ntimeout = \"1s\"\n\
            [[hook]]\nname = \"siem\"\nurl = \"https://siem.example.com\"\nsecret-file = \"/nowhere\"\n\
            [[gate]]\nname = \"vpn\"\nexec = [\"/bin/board\"]\n";
        let program = |is_gate, exec: &[&str]| NamedProgram {
            is_gate,
            name: "vpn".to_owned(),
            exec: exec.iter().map(|word| (*word).to_owned()).collect(),
        };
        assert_eq!(
            programs(text),
            Ok(vec![program(false, &["/bin/vpn", "-x"]), program(true, &["/bin/board"])])
        );
        let error = programs("[[hook]]\nname = \"vpn\"\nexec = [").unwrap_err();
        assert!(error.starts_with("line 3: "), "{error}");
    }
}
