//! Man pages, made from what they describe.
//!
//! A page is a template in `manual/`, written by hand, with places that are filled here: what clap knows of a command, what
//! the commented configuration says of its keys. Nothing of that is written down a second time, so nothing can differ.
//! The pages are made when a package is built, by the programs that go into it.

use std::io;

use clap::{Arg, Command};
use clap_mangen::Man;
use clap_mangen::roff::{Inline, Roff, bold, italic, roman};

/// The page of a command, from a template with the places `@title@`, `@synopsis@`, `@options@` and `@commands@`.
pub fn of_command(command: Command, section: &str, template: &str) -> io::Result<String> {
    // What "help" says is said here.
    let mut command = command.disable_help_subcommand(true);
    command.build();
    let man = Man::new(command.clone());
    let part = |render: &dyn Fn(&mut dyn io::Write) -> io::Result<()>| {
        let mut text = Vec::new();
        render(&mut text)?;
        Ok::<_, io::Error>(String::from_utf8_lossy(&text).into_owned())
    };
    Ok(fill(
        template,
        &[
            ("title", title(command.get_name(), section)),
            ("synopsis", without_preamble(&part(&|w| man.render_synopsis_section(w))?)),
            ("options", without_preamble(&part(&|w| man.render_options_section(w))?)),
            ("commands", commands(&command)),
        ],
    ))
}

/// The page of the configuration, from a template with the places `@title@` and `@keys@` and the commented file.
pub fn of_configuration(template: &str, file: &str) -> String {
    fill(template, &[("title", title("rosterd.toml", "5")), ("keys", keys(file))])
}

/// Without a date: a page belongs to a version.
fn title(name: &str, section: &str) -> String {
    // What is rendered below needs what the empty page begins with.
    format!(
        "{}.TH {name} {section} \"\" \"rosterd {}\" rosterd\n",
        Roff::new().render(),
        env!("CARGO_PKG_VERSION")
    )
}

/// A line that is nothing but `@name@` becomes that part.
fn fill(template: &str, parts: &[(&str, String)]) -> String {
    let line = |line: &str| match parts.iter().find(|(name, _)| line == format!("@{name}@")) {
        Some((_, part)) => part.clone(),
        None => format!("{line}\n"),
    };
    template.lines().map(line).collect()
}

/// The title has it for the whole page.
fn without_preamble(part: &str) -> String {
    part.find(".SH").map_or("", |heading| &part[heading..]).to_owned()
}

/// All commands: an item for each, those of a noun below its heading, after those of none.
fn commands(program: &Command) -> String {
    let mut roff = Roff::new();
    let visible = |command: &&Command| !command.is_hide_set();
    let (nouns, alone): (Vec<&Command>, Vec<&Command>) =
        program.get_subcommands().filter(visible).partition(|c| c.has_subcommands());
    for command in alone {
        item(&mut roff, command.get_name(), command);
    }
    for noun in nouns {
        roff.control("SS", [format!("{} {}", program.get_name(), noun.get_name()).as_str()]);
        roff.text([roman(sentence(about(noun)))]);
        for verb in noun.get_subcommands().filter(visible) {
            item(&mut roff, &format!("{} {}", noun.get_name(), verb.get_name()), verb);
        }
    }
    roff.to_roff()
}

/// One command: how it is called, what it does, and what each of its arguments means.
fn item(roff: &mut Roff, name: &str, command: &Command) {
    let own: Vec<&Arg> = command
        .get_arguments()
        .filter(|a| !a.is_hide_set() && !a.is_global_set() && a.get_id() != "help")
        .collect();
    let mut call = vec![bold(name)];
    for argument in own.iter().filter(|a| !a.is_positional()) {
        let required = argument.is_required_set();
        call.push(roman(if required { " " } else { " [" }));
        call.push(shown(argument));
        call.push(roman(if required { "" } else { "]" }));
    }
    for argument in own.iter().filter(|a| a.is_positional()) {
        call.extend([roman(" "), shown(argument)]);
    }
    roff.control("TP", []);
    roff.text(call);
    roff.text([roman(sentence(about(command)))]);
    if own.is_empty() {
        return;
    }
    roff.control("RS", []);
    for argument in own {
        roff.control("TP", []);
        roff.text([shown(argument)]);
        let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
        roff.text([roman(sentence(help))]);
        let values: Vec<String> =
            argument.get_possible_values().iter().map(|v| v.get_name().to_owned()).collect();
        if !values.is_empty() && argument.get_action().takes_values() {
            roff.text([roman(format!("One of {}.", values.join(", ")))]);
        }
    }
    roff.control("RE", []);
}

fn about(command: &Command) -> String {
    command.get_about().map(ToString::to_string).unwrap_or_default()
}

/// As it is typed: `--for <TIME>`, `[DIRECTORY]`.
fn shown(argument: &Arg) -> Inline {
    let text = argument.to_string();
    if argument.is_positional() { italic(text) } else { bold(text) }
}

fn sentence(text: String) -> String {
    if text.is_empty() || text.ends_with('.') { text } else { text + "." }
}

/// A line of the commented configuration.
#[derive(Debug, PartialEq, Eq)]
enum Line<'a> {
    /// `[section]`, also commented out.
    Section { name: &'a str, comment: &'a str },
    /// `key = value`, set, by default so, or only an example.
    Key { key: &'a str, value: &'a str, holds: Holds, comment: &'a str },
    /// A comment of its own.
    Prose(&'a str),
    /// What separates them.
    Blank,
}

/// What a key's value in the file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holds {
    ByDefault,
    AsAnExample,
}

impl<'a> Line<'a> {
    fn of(line: &'a str) -> Self {
        let text = line.trim_start_matches('#').trim();
        // "#key" is what holds by default; "# key" and a key that is set are examples.
        let holds = if line.starts_with('#') && !line.starts_with("# ") {
            Holds::ByDefault
        } else {
            Holds::AsAnExample
        };
        let (code, comment) =
            text.find(" #").map_or((text, ""), |at| (text[..at].trim_end(), text[at + 2..].trim()));
        if text.is_empty() {
            return Self::Blank;
        }
        if code.starts_with('[') && code.ends_with(']') {
            return Self::Section { name: code, comment };
        }
        match code.split_once(" = ") {
            Some((key, value)) if is_key(key) => Self::Key { key, value, holds, comment },
            _ => Self::Prose(text),
        }
    }
}

fn is_key(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_lowercase() || c == '-')
}

/// The sections of the configuration and their keys, with what the file says of them.
fn keys(file: &str) -> String {
    let mut roff = Roff::new();
    // Right above a section it is about that, elsewhere about the keys that follow.
    let mut prose: Vec<&str> = Vec::new();
    // Right below a heading nothing begins a paragraph.
    let mut headed = false;
    // What comes before the first section explains the file's own notation.
    let first = file
        .lines()
        .position(|line| matches!(Line::of(line), Line::Section { .. }))
        .unwrap_or_default();
    for line in file.lines().skip(first).map(Line::of) {
        match line {
            Line::Section { name, comment } => {
                roff.control("SS", [name]);
                prose.push(comment);
                headed = prose.iter().all(|line| line.is_empty());
                lines(&mut roff, &mut prose);
            }
            Line::Key { key, value, holds, comment } => {
                paragraph(&mut roff, &mut prose);
                let holds = match holds {
                    Holds::ByDefault => ", by default ",
                    Holds::AsAnExample => ", for example ",
                };
                // An item without a text is a paragraph.
                match (comment, headed) {
                    ("", true) => {}
                    ("", false) => _ = roff.control("PP", []),
                    _ => _ = roff.control("TP", []),
                }
                headed = false;
                roff.text([bold(key), roman(holds), roman(value)]);
                prose.push(comment);
                lines(&mut roff, &mut prose);
            }
            Line::Prose(text) => prose.push(text),
            Line::Blank => paragraph(&mut roff, &mut prose),
        }
    }
    paragraph(&mut roff, &mut prose);
    roff.to_roff()
}

fn paragraph(roff: &mut Roff, prose: &mut Vec<&str>) {
    if !prose.is_empty() {
        roff.control("PP", []);
    }
    lines(roff, prose);
}

fn lines(roff: &mut Roff, prose: &mut Vec<&str>) {
    for line in prose.drain(..).filter(|line| !line.is_empty()) {
        roff.text([roman(line)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"# What this is.
#key = value     is the default

[store]
#url = "sqlite:///x#y.db"              # where everything is

# How much may
# happen unasked.
[safety]
#grace-period = "10m"

# Programs.
# [[hook]]
# name = "vpn"                         # yours
"#;

    #[test]
    fn a_configuration_becomes_a_page_section_by_section() {
        insta::assert_snapshot!(keys(FILE), @r#"
        .SS [store]
        .TP
        \fBurl\fR, by default "sqlite:///x#y.db"
        where everything is
        .SS [safety]
        How much may
        happen unasked.
        .PP
        \fBsettle\fR, by default "10m"
        .SS [[hook]]
        Programs.
        .TP
        \fBname\fR, for example "vpn"
        yours
        "#);
    }

    #[test]
    fn every_key_of_the_shipped_configuration_is_in_the_page() {
        let file = include_str!("../config/rosterd.toml");
        let page = keys(file);
        let (_, sections) = file.split_once("[store]").unwrap_or_default();
        let mut seen = 0;
        for line in sections.lines() {
            if let Line::Key { key, .. } = Line::of(line) {
                seen += 1;
                let tag = format!("\\fB{}\\fR", key.replace('-', "\\-"));
                assert!(page.contains(&tag), "{key}");
            }
        }
        assert!(seen > 60, "only {seen} keys were found");
    }
}
