//! A SCIM service provider for manual tests: `cargo run -p scimsim --example serve -- [USERS]`. Runs
//! until it is stopped.

use std::io::Write as _;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let users = std::env::args().nth(1).and_then(|users| users.parse().ok()).unwrap_or(0);
    let sim = scimsim::Sim::start().await?;
    for number in 0..users {
        sim.add_user(&format!("user{number}@example.com"));
    }
    let mut out = std::io::stdout();
    writeln!(out, "{}\n{}", sim.url(), sim.token())?;
    out.flush()?;
    std::future::pending().await
}
