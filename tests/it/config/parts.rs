//! Parts in `conf.d`.

use rosterd::config::Receiver;

use super::{MINIMAL, Machine};

#[test]
fn the_parts_of_a_configuration_become_one() {
    let machine = Machine::new();
    let whole = format!(
        "{MINIMAL}schedule = \"@daily\"\n[control]\nviewers = \"hr\"\noperators = \"it\"\n{}",
        hook("vpn")
    );
    let parts = [
        ("10-roles.toml", "[control]\noperators = \"it\"\n".to_owned()),
        ("20-hooks.toml", hook("vpn")),
        ("30-schedule.toml", "[[directory]]\nname = \"corp\"\nschedule = \"@daily\"\n".to_owned()),
    ];
    let parts = parts.each_ref().map(|(name, text)| (*name, text.as_str()));
    let mut config = machine.config(&whole);
    let merged = machine.parse_parts(&format!("{MINIMAL}[control]\nviewers = \"hr\"\n"), &parts);
    if let Receiver::Exec(program) = &mut config.hooks[0].receiver {
        program.part = Some("20-hooks.toml".to_owned());
    }
    assert_eq!(merged, Ok(config), "the order of files is that of their names");
    assert_eq!(machine.parse_parts("", &[("corp.toml", MINIMAL)]), machine.parse(MINIMAL));
}

/// Returns a hook with a program.
fn hook(name: &str) -> String {
    format!("[[hook]]\nname = \"{name}\"\nevents = [\"*\"]\nexec = [\"/bin/true\"]\n")
}

#[test]
fn a_key_that_two_parts_give_is_reported_with_both_places() {
    let machine = Machine::new();
    let main = format!("[control]\nviewers = \"hr\"\n\n{MINIMAL}");
    let parts = [
        ("10.toml", "[[directory]]\nname = \"corp\"\nservers = [\"ldaps://dc9\"]\n"),
        ("20.toml", "[control]\nviewers = \"it\"\nwiewers = \"it\"\n"),
        ("30.toml", "hook = 3\n[schedule]\ntimezone = \"Mars\""),
        ("40.toml", "[[hook]]\nname = \"vpn\"\nevents = [\"*\"]\nexec = ["),
    ];
    let twice =
        "[[directory]]\nname = \"corp\"\nschedule = \"@daily\"\n[[directory]]\nname = \"corp\"\n";
    let problems = |parts| machine.parse_parts(&main, parts).expect_err("problems").to_string();
    insta::assert_snapshot!(problems(&parts), @"conf.d/40.toml:4:8: this list is not closed: add the missing ]");
    insta::assert_snapshot!(problems(&parts[..3]), @r#"
    conf.d/10.toml:3:1: servers is given at rosterd.toml:8 as well: remove one of the two
    conf.d/20.toml:2:1: viewers is given at rosterd.toml:2 as well: remove one of the two
    conf.d/20.toml:3:1: there is no key wiewers in [control]: did you mean viewers?
    conf.d/30.toml:1:8: there can be several: write [[hook]], in double brackets
    conf.d/30.toml:3:12: there is no time zone "Mars": write a name such as Europe/Berlin, or UTC
    "#);
    let found = problems(&[("50.toml", twice)]);
    let names: Vec<&str> = found.lines().filter(|line| line.contains("another")).collect();
    insta::assert_snapshot!(names.join("\n"), @r#"conf.d/50.toml:5:1: there is another directory "corp": give this one another name"#);
}
