//! `rosterctl plan`: the changes a run would make now.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::change::Extent;
use super::link::{Answer, Daemon, Failure};
use super::new_file::NewFile;
use super::review::Form;
use super::text::{Page, View, bold, count, number, yellow};
use super::{Exit, Output, change, directory, review};
use crate::control::api::{Change, ConfigurationPart, HoldReason, Plan, Previewing};
use crate::control::client::Route;
use crate::sources::{self, Source};

/// Show the changes a run would make now; applies none
#[derive(Debug, Args)]
pub struct Arguments {
    /// The directory; default: all
    directory: Option<String>,
    #[command(flatten)]
    form: Form,
    /// Plan as if this file, with conf.d beside it, were the configuration; its servers and service account are not used
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Write the changes to this file as CSV
    #[arg(long, value_name = "FILE", conflicts_with_all = ["all", "by"])]
    out: Option<PathBuf>,
}

impl Arguments {
    /// Returns the arguments for one directory, or for all.
    pub(super) fn of(directory: Option<String>) -> Self {
        Self { directory, form: Form::default(), config: None, out: None }
    }
}

pub(super) async fn call(
    Arguments { directory, form, config, out }: &Arguments,
    daemon: &Daemon,
    output: &mut Output<'_>,
) -> Result<Exit, Failure> {
    let names = match directory {
        Some(name) => vec![name.clone()],
        None => directory::names(daemon).await?,
    };
    let mut plans: Vec<Answer<Plan>> = Vec::new();
    let configuration = match config {
        Some(file) => Some(previewing(file)?),
        None => None,
    };
    for name in &names {
        plans.push(match &configuration {
            None => daemon.get(&Route::to(["directories", name, "plan"])).await?,
            Some(body) => daemon.post(&Route::to(["directories", name, "preview"]), body).await?,
        });
    }
    let raw = match plans.as_slice() {
        [one] => one.raw.clone(),
        all => json!({ "plans": all.iter().map(|p| &p.raw).collect::<Vec<_>>() }),
    };
    let changes: Vec<&Change> = plans.iter().flat_map(|plan| &plan.value.changes).collect();
    if let Some(file) = out {
        let mut written = NewFile::create(file)?;
        let text = review::as_csv(&changes).plain();
        written.write_all(text.as_bytes()).map_err(|error| written.unwritable(&error))?;
        written.finish()?;
        let mut page = cautions(&plans, &output.terminal.view());
        page.line(format!(
            "{} written to {}",
            count(changes.len() as u64, "change"),
            file.display()
        ));
        output.note(&page);
        return Ok(plans.iter().map(|p| exit(&p.value)).max().unwrap_or(Exit::Done));
    }
    if form.csv && !output.json {
        let cautions = cautions(&plans, &output.terminal.view());
        output.note(&cautions);
        output.terminal.print(&review::as_csv(&changes))?;
        return Ok(plans.iter().map(|p| exit(&p.value)).max().unwrap_or(Exit::Done));
    }
    output.data(&raw, |view| {
        let mut whole = Page::default();
        for (n, plan) in plans.iter().enumerate() {
            if n > 0 {
                whole.line("");
            }
            whole.append(&page(&plan.value, form, view));
        }
        whole
    })?;
    Ok(plans.iter().map(|p| exit(&p.value)).max().unwrap_or(Exit::Done))
}

/// Returns what a table of changes has no place for: incomplete reads and warnings.
fn cautions(plans: &[Answer<Plan>], view: &View) -> Page {
    let mut page = Page::default();
    for Plan { directory, error, warnings, .. } in plans.iter().map(|plan| &plan.value) {
        let error = error.iter().map(|error| format!("{directory}: incomplete read: {error}"));
        let warnings = warnings.iter().map(|warning| format!("{directory}: {warning}"));
        for text in error.chain(warnings) {
            page.sentence(&format!("{} ", yellow("!")), &text, view);
        }
    }
    page
}

/// Reads a configuration file and its parts.
fn previewing(file: &Path) -> Result<Previewing, Failure> {
    let sources = sources::read(file).map_err(|(file, error)| {
        Failure::Usage(format!("{} cannot be read: {error}", file.display()))
    })?;
    let mut previewing = Previewing { configuration: String::new(), parts: Vec::new() };
    for Source { file: _, part, text } in sources {
        match part {
            None => previewing.configuration = text,
            Some(name) => previewing.parts.push(ConfigurationPart { name, text }),
        }
    }
    Ok(previewing)
}

/// Returns 3 if a change would be held. Grace periods and rejections need no decision.
pub fn exit(plan: &Plan) -> Exit {
    let waits = plan
        .changes
        .iter()
        .filter_map(|c| c.held)
        .any(|held| !matches!(held, HoldReason::GracePeriod | HoldReason::Rejected));
    if waits { Exit::Held } else { Exit::Done }
}

pub fn page(plan: &Plan, form: &Form, view: &View) -> Page {
    let Plan { id: _, directory, changes, quarantined, error, warnings } = plan;
    let mut page = Page::default();
    match changes.len() as u64 {
        0 => page.line(format!("{}: nothing would change", bold(directory))),
        n => {
            let held = changes.iter().filter(|c| c.held.is_some()).count() as u64;
            let split = if held == 0 {
                "all would be applied".to_owned()
            } else {
                format!("{} would be applied, {} held", number(n - held), number(held))
            };
            page.line(format!("{}: {}, {split}", bold(directory), count(n, "change")));
        }
    }
    if let Some(error) = error {
        page.sentence(&format!("{} ", yellow("! incomplete read:")), error, view);
    }
    for warning in warnings {
        page.sentence(&format!("{} ", yellow("!")), warning, view);
    }
    if !changes.is_empty() {
        let all: Vec<&Change> = changes.iter().collect();
        let extent = Extent::of(form.all);
        if changes.len() > 1 {
            page.append(&review::totals(&all, view));
        }
        page.line("");
        page.append(&match form.by {
            Some(what) => review::by(&all, what, extent, view),
            None => change::diff(changes, extent, view),
        });
        page.append(&change::reasons_to_wait(changes, view));
    }
    if !quarantined.is_empty() {
        page.line("");
        page.append(&change::quarantined(quarantined, view));
    }
    page
}
