//! The result of the check of a directory or a target.

use super::text::{Page, View, bold, count, dim, green, harmless, red, yellow};
use crate::control::api::{CheckOutcome, CheckStep};

/// The result of the check of a target without a failed step.
pub const REQUESTS_WORK: &str = "requests can work";

/// Shows the steps of a check, and its result in one line.
pub fn check_steps(subject: &str, steps: &[CheckStep], works: &str, view: &View) -> Page {
    let mut page = Page::default();
    let mut about: Option<&str> = None;
    for CheckStep { name, server, outcome, finding, remedy } in steps {
        if server.is_some() && server.as_deref() != about {
            page.line(bold(harmless(server.as_deref().unwrap_or_default())));
        } else if server.is_none() && about.is_some() {
            page.line(bold("the directory"));
        }
        about = server.as_deref();
        let mark = match outcome {
            CheckOutcome::Ok => green("ok     "),
            CheckOutcome::Failed => red("FAILED "),
            CheckOutcome::Warning => yellow("warning"),
            CheckOutcome::Skipped => dim("skipped"),
        };
        page.sentence(&format!("  {mark}  {name:15}  "), &harmless(finding), view);
        if let Some(remedy) = remedy {
            page.sentence(&format!("{:26}  ", ""), &format!("→ {}", harmless(remedy)), view);
        }
    }
    let failed = steps.iter().filter(|step| step.outcome == CheckOutcome::Failed).count() as u64;
    page.line(match failed {
        0 => format!("{subject}: {works}"),
        _ => format!("{subject}: {} failed", count(failed, "step")),
    });
    page
}
