//! Man pages, made when a package is built.
//!
//! A page is a template in `manual/` with places for generated text. Commands come from clap, keys
//! from the commented configuration. So no text exists twice.

use std::io;

use clap::{Arg, Command};
use clap_mangen::Man;
use clap_mangen::roff::{Inline, Roff, bold, italic, roman};

/// Returns the page of a command, from a template with the places `@title@`, `@synopsis@`,
/// `@options@` and `@commands@`.
pub fn of_command(command: Command, section: &str, template: &str) -> io::Result<String> {
    // The page replaces the subcommand "help".
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

/// Returns the page of the configuration, from a template with the places `@title@` and `@keys@`
/// and the commented file.
pub fn of_configuration(template: &str, file: &str) -> String {
    fill(template, &[("title", title("rosterd.toml", "5")), ("keys", keys(file))])
}

/// Returns the page of a task, from a template with the place `@title@`.
pub fn of_task(name: &str, template: &str) -> String {
    fill(template, &[("title", title(name, "7"))])
}

/// Returns the title line. It has no date, because a page belongs to a version.
fn title(name: &str, section: &str) -> String {
    // The parts below need the macros at the head of an empty page.
    format!(
        "{}.TH {name} {section} \"\" \"rosterd {}\" rosterd\n",
        Roff::new().render(),
        env!("CARGO_PKG_VERSION")
    )
}

/// Replaces each line `@name@` by the part of that name.
fn fill(template: &str, parts: &[(&str, String)]) -> String {
    let line = |line: &str| match parts.iter().find(|(name, _)| line == format!("@{name}@")) {
        Some((_, part)) => part.clone(),
        None => format!("{line}\n"),
    };
    template.lines().map(line).collect()
}

/// Removes the macros at the head of a part, because the title has them for the whole page.
fn without_preamble(part: &str) -> String {
    part.find(".SH").map_or("", |heading| &part[heading..]).to_owned()
}

/// Returns an item for each command: first the commands without a noun, then each noun's commands
/// below its heading.
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

/// Writes a command: its usage, its purpose and its arguments.
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

/// Returns an argument as it is typed: `--for <TIME>`, `[DIRECTORY]`.
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
    Section(&'a str),
    /// `key = value`: in force, a default or an example.
    Key {
        key: &'a str,
        value: &'a str,
        is_default: bool,
    },
    Prose(&'a str),
    /// A lone `#`, which separates paragraphs of prose.
    Break,
    /// An empty line, which separates prose from what follows.
    Blank,
}

impl<'a> Line<'a> {
    fn of(line: &'a str) -> Self {
        let text = line.trim_start_matches('#').trim();
        if text.is_empty() {
            return if line.is_empty() { Self::Blank } else { Self::Break };
        }
        if text.starts_with('[') && text.ends_with(']') {
            return Self::Section(text);
        }
        match text.split_once(" = ") {
            Some((key, value)) if is_key(key) => {
                // "#key" is a default; "# key", and a key in force, are examples.
                let is_default = line.starts_with('#') && !line.starts_with("# ");
                Self::Key { key, value, is_default }
            }
            _ => Self::Prose(text),
        }
    }
}

fn is_key(text: &str) -> bool {
    !text.is_empty()
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

/// Returns the sections and keys of the configuration, each with the prose right above it.
fn keys(file: &str) -> String {
    let mut roff = Roff::new();
    let mut prose: Vec<Line<'_>> = Vec::new();
    // The prose above the first section explains the notation of the file itself.
    let first = file
        .lines()
        .position(|line| matches!(Line::of(line), Line::Section(_)))
        .unwrap_or_default();
    let before = file.lines().take(first).collect::<Vec<_>>();
    let begin = before.iter().rposition(|line| line.is_empty()).map_or(first, |at| at + 1);
    for line in file.lines().skip(begin).map(Line::of) {
        match line {
            Line::Section(name) => {
                roff.control("SS", [name]);
                write_prose(&mut roff, &mut prose);
            }
            Line::Key { key, value, is_default } => {
                // An item without a text is a paragraph.
                roff.control(if prose.is_empty() { "PP" } else { "TP" }, []);
                let kind = if is_default { ", by default " } else { ", for example " };
                roff.text([bold(key), roman(kind), roman(value)]);
                write_prose(&mut roff, &mut prose);
            }
            Line::Prose(_) | Line::Break => prose.push(line),
            Line::Blank if prose.is_empty() => {}
            Line::Blank => {
                roff.control("PP", []);
                write_prose(&mut roff, &mut prose);
            }
        }
    }
    roff.to_roff()
}

fn write_prose(roff: &mut Roff, prose: &mut Vec<Line<'_>>) {
    for line in prose.drain(..) {
        match line {
            Line::Prose(text) => _ = roff.text([roman(text)]),
            _ => _ = roff.control("PP", []),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"# The notation.
#key = value     is a default.

[store]
# The URL of the database.
#url = "sqlite:///x#y.db"

# Limits of the changes
# that need no approval.
[safety]
#grace-period = "10m"

# Programs.
#
# Their environment.
# [[hook]]
# The name.
# name = "vpn"
"#;

    #[test]
    fn a_configuration_becomes_a_page_section_by_section() {
        insta::assert_snapshot!(keys(FILE), @r#"
        .SS [store]
        .TP
        \fBurl\fR, by default "sqlite:///x#y.db"
        The URL of the database.
        .SS [safety]
        Limits of the changes
        that need no approval.
        .PP
        \fBgrace\-period\fR, by default "10m"
        .SS [[hook]]
        Programs.
        .PP
        Their environment.
        .TP
        \fBname\fR, for example "vpn"
        The name.
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
