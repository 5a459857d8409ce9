//! The files of the package: units, man pages, completions.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use clap::CommandFactory as _;
use rosterd::ctl::Cli;

const UNIT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/systemd/rosterd.service");
const HOOKS_UNIT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/systemd/rosterd-hooks.service");
const HOOKS_SOCKET: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/systemd/rosterd-hooks.socket");
const ROSTERD: &str = env!("CARGO_BIN_EXE_rosterd");
const ROSTERCTL: &str = env!("CARGO_BIN_EXE_rosterctl");

/// Returns the output of a program that succeeds.
fn printed(program: &str, arguments: &[&str]) -> String {
    let done = Command::new(program)
        .args(arguments)
        .output()
        .unwrap_or_else(|e| panic!("{program}: {e}; tests/lab/install has it"));
    assert!(
        done.status.success(),
        "{program} {arguments:?}: {}",
        String::from_utf8_lossy(&done.stderr)
    );
    String::from_utf8(done.stdout).expect("UTF-8")
}

/// Returns the output of a checker, which is empty for a valid text.
fn complaints(checker: &str, arguments: &[&str], text: &str) -> String {
    let mut running = Command::new(checker)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("{checker}: {e}; tests/lab/install has it"));
    let mut input = running.stdin.take().expect("a pipe");
    let text = text.to_owned();
    // A checker may write before it has read the whole text.
    let writing = std::thread::spawn(move || input.write_all(text.as_bytes()));
    let done = running.wait_with_output().expect("its answer");
    writing.join().expect("no panic").expect("it reads all");
    let said = [done.stdout, done.stderr].concat();
    let status =
        if done.status.success() { String::new() } else { format!("{checker}: {}\n", done.status) };
    format!("{status}{}", String::from_utf8_lossy(&said))
}

fn pages() -> [(&'static str, String); 5] {
    [
        ("rosterd.8", printed(ROSTERD, &["man", "rosterd"])),
        ("rosterd.toml.5", printed(ROSTERD, &["man", "rosterd.toml"])),
        ("rosterctl.1", printed(ROSTERCTL, &["man"])),
        ("rosterd-setup.7", printed(ROSTERD, &["man", "rosterd-setup"])),
        ("rosterd-held.7", printed(ROSTERD, &["man", "rosterd-held"])),
    ]
}

#[test]
#[ignore = "needs the lab: tests/run"]
fn the_units_have_a_low_exposure_score() {
    for unit in [UNIT, HOOKS_UNIT] {
        let said = printed("systemd-analyze", &["security", "--offline=yes", "--no-pager", unit]);
        let level = said
            .rsplit_once(".service: ")
            .and_then(|(_, rest)| rest.split_whitespace().next())
            .expect("a level");
        assert!(level.parse::<f64>().expect("a number") <= 1.5, "{said}");
    }
}

/// Returns the values of a key in a unit file, in order.
fn values(unit: &str, key: &str) -> Vec<String> {
    let text = std::fs::read_to_string(unit).unwrap();
    text.lines()
        .filter_map(|line| line.strip_prefix(key)?.strip_prefix('='))
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_units_limit_memory_and_tasks() {
    for (unit, key) in [
        (UNIT, "TasksMax"),
        (UNIT, "MemoryMax"),
        (HOOKS_UNIT, "TasksMax"),
        (HOOKS_UNIT, "MemoryMax"),
    ] {
        assert_eq!(values(unit, key).len(), 1, "{key} of {unit}");
    }
}

#[test]
fn the_user_of_hooks_shares_no_group_with_the_daemon() {
    let [daemon, hooks] =
        [UNIT, HOOKS_UNIT].map(|unit| (values(unit, "User"), values(unit, "Group")));
    assert_eq!(daemon, (vec!["rosterd".to_owned()], vec!["rosterd".to_owned()]));
    assert_eq!(hooks, (vec!["rosterd-hooks".to_owned()], vec!["rosterd-hooks".to_owned()]));
    assert_eq!(
        values(HOOKS_UNIT, "SupplementaryGroups"),
        [""; 0],
        "the group rosterd reads the password"
    );
    let sysusers =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/systemd/rosterd.sysusers"))
            .unwrap();
    assert!(sysusers.lines().any(|line| line.starts_with("u rosterd-hooks ")), "{sysusers}");
    assert!(
        !sysusers.lines().any(|line| line.starts_with("m ")),
        "no user is a member of another's group: {sysusers}"
    );
    // Both units have the same socket, and only the daemon may connect.
    let socket = values(HOOKS_SOCKET, "ListenStream").remove(0);
    assert!(values(UNIT, "ExecStart")[0].ends_with(&format!(" --hook-runner {socket}")));
    assert_eq!(
        (
            values(HOOKS_SOCKET, "SocketUser").remove(0),
            values(HOOKS_SOCKET, "SocketMode").remove(0)
        ),
        ("rosterd".to_owned(), "0600".to_owned())
    );
    assert!(values(HOOKS_UNIT, "ExecStart")[0].ends_with(" hook-runner --user rosterd"));
}

#[test]
fn the_unit_avoids_settings_that_break_the_daemon() {
    let unit = std::fs::read_to_string(UNIT).unwrap();
    let set: Vec<&str> = unit.lines().filter(|line| !line.starts_with('#')).collect();
    let value = |key: &str| {
        set.iter().find_map(|line| line.strip_prefix(key)?.strip_prefix('=')).unwrap_or_default()
    };
    assert_eq!(
        value("PrivateUsers"),
        "",
        "every caller of the socket would be the same unknown user"
    );
    assert_eq!(value("Type"), "notify", "systemd 252 does not know notify-reload");
    assert_eq!(
        value("ExecReload"),
        "+/usr/bin/rosterctl reload",
        "it waits, and fails when the file has problems"
    );
    assert_eq!(value("RestartPreventExitStatus"), "78");
    assert_ne!(value("WatchdogSec"), "");
}

#[test]
fn every_command_and_every_option_is_in_the_man_page() {
    let page = printed(ROSTERCTL, &["man"]).replace('\\', "");
    let mut program = Cli::command();
    program.build();
    let visible = |c: &&clap::Command| !c.is_hide_set();
    let mut commands = 0;
    for noun in program.get_subcommands().filter(visible) {
        let verbs: Vec<_> = noun.get_subcommands().filter(visible).collect();
        let named =
            verbs.iter().map(|verb| (format!("{} {}", noun.get_name(), verb.get_name()), *verb));
        for (name, command) in
            named.chain(verbs.is_empty().then(|| (noun.get_name().to_owned(), noun)))
        {
            commands += 1;
            let (_, rest) = page
                .split_once(&format!("fB{name}fR"))
                .unwrap_or_else(|| panic!("{name} is not in the page"));
            let item = rest.split("\n.SS").next().unwrap_or_default();
            for option in command
                .get_arguments()
                .filter(|a| !a.is_global_set() && !a.is_hide_set() && a.get_id() != "help")
            {
                assert!(item.contains(&option.to_string()), "{name}: {option} is not in the page");
            }
        }
    }
    assert!(commands > 20, "only {commands} commands");
    assert!(!page.contains("rosterctl man"), "what is for packagers is not");
}

#[test]
fn the_man_pages_have_the_usual_sections() {
    let chapters: &[(&str, &[&str])] = &[
        (
            "rosterd.8",
            &[
                "NAME",
                "SYNOPSIS",
                "OPTIONS",
                "COMMANDS",
                "SIGNALS",
                "ENVIRONMENT",
                "FILES",
                "\"EXIT STATUS\"",
                "EXAMPLES",
                "\"SEE ALSO\"",
            ],
        ),
        ("rosterd.toml.5", &["NAME", "\"SECTIONS AND KEYS\"", "\"SEE ALSO\""]),
        (
            "rosterctl.1",
            &[
                "NAME",
                "SYNOPSIS",
                "OPTIONS",
                "COMMANDS",
                "\"EXIT STATUS\"",
                "ENVIRONMENT",
                "FILES",
                "EXAMPLES",
            ],
        ),
        ("rosterd-setup.7", &["NAME", "DESCRIPTION", "\"SEE ALSO\""]),
        ("rosterd-held.7", &["NAME", "DESCRIPTION", "\"SEE ALSO\""]),
    ];
    for ((name, page), (of, wanted)) in pages().iter().zip(chapters) {
        assert_eq!(name, of);
        for chapter in *wanted {
            let (plain, bare) =
                (format!("\n.SH {chapter}\n"), format!("\n.SH {}\n", chapter.trim_matches('"')));
            assert!(page.contains(&plain) || page.contains(&bare), "{name} has no {chapter}");
        }
        let unfilled: Vec<&str> = page.lines().filter(|line| line.starts_with('@')).collect();
        assert_eq!(unfilled, [""; 0], "{name}");
    }
}

#[test]
#[ignore = "needs the lab: tests/run"]
fn mandoc_and_groff_accept_the_man_pages() {
    for (name, page) in pages() {
        let said = complaints("mandoc", &["-T", "lint", "-W", "warning"], &page);
        // A page has no date, because it belongs to a version.
        let said: String = said
            .lines()
            .filter(|line| !line.contains("missing date") && !line.starts_with("mandoc: exit"))
            .collect();
        assert_eq!(said, "", "{name}");
        let said = complaints("groff", &["-Kutf8", "-man", "-Tutf8", "-ww", "-z"], &page);
        assert_eq!(said, "", "{name}");
    }
}

#[test]
#[ignore = "needs the lab: tests/run"]
fn the_shells_accept_the_completions() {
    let shells: [(&str, &[&str]); 3] =
        [("bash", &["-n"]), ("zsh", &["-n"]), ("fish", &["--no-execute"])];
    for program in [ROSTERD, ROSTERCTL] {
        for (shell, check) in shells {
            let script = printed(program, &["completions", shell]);
            let name = Path::new(program).file_name().and_then(|name| name.to_str()).unwrap();
            assert!(script.contains(name), "{program}: {script}");
            assert_eq!(complaints(shell, check, &script), "", "{program} for {shell}");
        }
    }
}

/// Returns the files of a package of Cargo.toml: source, folder or name, and mode.
fn packaged(kind: &str) -> BTreeSet<(String, String, String)> {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")).unwrap();
    let manifest: toml::Table = text.parse().unwrap();
    let assets = manifest["package"]["metadata"][kind]["assets"].as_array().unwrap();
    let file = |asset: &toml::Value| {
        let [source, dest, mode] = match asset {
            toml::Value::Array(fields) => [0, 1, 2].map(|n| fields[n].as_str().unwrap()),
            fields => ["source", "dest", "mode"].map(|key| fields[key].as_str().unwrap()),
        };
        (source.to_owned(), dest.trim_start_matches('/').to_owned(), mode.to_owned())
    };
    assets.iter().map(file).collect()
}

#[test]
fn both_packages_have_the_same_files() {
    let [deb, rpm] = ["deb", "generate-rpm"].map(packaged);
    // The places that the distributions name differently, and files that only one of them has.
    let own = |(source, dest, _): &&(String, String, String)| {
        source.starts_with("target/")
            || source.starts_with("systemd/debian/")
            || ["CHANGELOG.md", "LICENSE-*", "systemd/rosterd.service"].contains(&source.as_str())
            || dest.contains("/man/")
    };
    let common = |files: &BTreeSet<_>| -> BTreeSet<_> {
        files.iter().filter(|file| !own(file)).cloned().collect()
    };
    assert_eq!(common(&deb), common(&rpm));
    assert!(common(&deb).len() > 10);
}

#[test]
fn the_main_file_of_the_package_leaves_everything_to_the_parts() {
    let main = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/systemd/rosterd.toml"));
    let text = std::fs::read_to_string(main).unwrap();
    assert!(text.lines().all(|line| line.starts_with('#')), "{text}");
    for kind in ["deb", "generate-rpm"] {
        assert!(
            packaged(kind).iter().all(|(_, dest, _)| !dest.starts_with("etc/")),
            "an upgrade asks about no file of the administrator"
        );
    }
}
