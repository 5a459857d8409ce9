//! A domain controller for manual tests: `cargo run -p adsim --example serve -- [PEOPLE]`. Runs
//! until it is stopped.

use std::io::Write as _;

use adsim::{NewPerson, Sim};

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let people = std::env::args().nth(1).and_then(|people| people.parse().ok()).unwrap_or(1000);
    let sim = Sim::builder().people(people).start().await?;
    sim.edit(|ad| {
        ad.show_tombstones(true);
        ad.add_person(NewPerson::new("gone").name("Long", "Gone").mail("gone@example.com"));
        ad.delete("gone");
    });
    let ca = std::env::temp_dir().join(format!("adsim-ca-{}.pem", std::process::id()));
    std::fs::write(&ca, sim.ca_pem())?;
    let mut out = std::io::stdout();
    writeln!(out, "{}\n{}\nCA {}", sim.ldaps_url(), sim.ldap_url(), ca.display())?;
    writeln!(out, "bind as {} with {}", sim.service_upn(), sim.service_password())?;
    writeln!(out, "base {}, {} entries", sim.root_dn(), sim.look(adsim::Ad::len))?;
    out.flush()?;
    std::future::pending().await
}
