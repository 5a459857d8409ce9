//! Ratios that a bench prints, and fails beyond with `--check`.
//!
//! Times of one machine mean nothing on another one, so no limit is a time.

use std::time::Duration;

use anyhow::ensure;

/// A figure beside its reference in the same run.
#[derive(Debug)]
pub struct Ratio {
    pub what: &'static str,
    pub figure: Duration,
    pub reference: Duration,
    pub of: &'static str,
    /// The highest ratio that passes.
    pub must: f64,
}

impl Ratio {
    fn is_exceeded(&self) -> bool {
        self.value() > self.must
    }

    fn value(&self) -> f64 {
        self.figure.as_secs_f64() / self.reference.as_secs_f64()
    }
}

/// Prints the ratios as rows of a Markdown table. With `check`, a ratio beyond its limit is an error.
pub fn report(ratios: &[Ratio], check: bool) -> anyhow::Result<()> {
    println!("\n| | figure | reference | ratio | must |\n|---|---|---|---|---|");
    for ratio in ratios {
        let Ratio { what, figure, reference, of, must } = ratio;
        let (figure, reference) = (figure.as_secs_f64() * 1e3, reference.as_secs_f64() * 1e3);
        println!(
            "| {what} | {figure:.1} ms | {of} {reference:.1} ms | {:.2} | {must:.2} |",
            ratio.value()
        );
    }
    let exceeded: Vec<&str> = ratios.iter().filter(|r| r.is_exceeded()).map(|r| r.what).collect();
    ensure!(!check || exceeded.is_empty(), "beyond the limit: {}", exceeded.join(", "));
    Ok(())
}
