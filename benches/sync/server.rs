//! OpenLDAP's server over the population: loaded once for each recipe, started for each run.

use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use crate::population::{Population, READER, ROOT};

/// The reader's password.
pub const PASSWORD: &str = "correct horse battery staple";

const SCHEMA: &str = include_str!("ad.schema");

/// A running slapd.
#[derive(Debug)]
pub struct Server {
    child: Child,
    /// The socket it listens on.
    pub socket: PathBuf,
}

impl Server {
    /// Starts slapd over this population, which is loaded first if the cache does not have it.
    pub fn start(population: Population, cache: &Path, folder: &Path) -> anyhow::Result<Self> {
        let data = cache.join(population.name());
        if !data.exists() {
            load(population, &data)?;
        }
        let config = configure(&data, folder)?;
        let socket = folder.join("slapd.sock");
        let url = format!("ldapi://{}", socket.display().to_string().replace('/', "%2F"));
        let mut command = Command::new("/usr/sbin/slapd");
        // With -d it stays in the foreground, as a child that can be ended.
        command.args(["-d", "0", "-h", &url, "-f"]).arg(config).stdin(Stdio::null());
        let child = command
            .spawn()
            .context("slapd cannot be started: install the packages slapd and ldap-utils")?;
        let mut server = Self { child, socket };
        let begun = Instant::now();
        while std::os::unix::net::UnixStream::connect(&server.socket).is_err() {
            ensure!(server.child.try_wait()?.is_none(), "slapd has ended");
            ensure!(begun.elapsed() < Duration::from_secs(30), "slapd does not answer");
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The process may have exited already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Loads the people into a database that appears under its name only when it is complete.
fn load(population: Population, data: &Path) -> anyhow::Result<()> {
    let unfinished = data.with_extension("unfinished");
    if unfinished.exists() {
        std::fs::remove_dir_all(&unfinished)?;
    }
    std::fs::create_dir_all(&unfinished)?;
    let config = configure(&unfinished, &unfinished)?;
    let mut command = Command::new("/usr/sbin/slapadd");
    command.args(["-q", "-f"]).arg(config).stdin(Stdio::piped());
    let mut child = command
        .spawn()
        .context("slapadd cannot be started: install the packages slapd and ldap-utils")?;
    let mut ldif =
        BufWriter::with_capacity(1 << 20, child.stdin.take().context("slapadd takes no input")?);
    population.write(&mut ldif).and_then(|()| ldif.flush()).context("slapadd stopped reading")?;
    drop(ldif);
    ensure!(child.wait()?.success(), "slapadd failed");
    std::fs::rename(unfinished, data)?;
    Ok(())
}

fn configure(data: &Path, folder: &Path) -> anyhow::Result<PathBuf> {
    let schema = folder.join("ad.schema");
    std::fs::write(&schema, SCHEMA)?;
    let (schema, data) = (schema.display(), data.display());
    let text = format!(
        r#"
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
include {schema}
modulepath /usr/lib/ldap
moduleload back_mdb
sizelimit unlimited
timelimit unlimited
database mdb
suffix "{ROOT}"
rootdn "{READER}"
rootpw "{PASSWORD}"
directory {data}
maxsize 34359738368
index objectClass eq
index objectCategory,objectGUID,sAMAccountName,cn eq
"#
    );
    let path = folder.join("slapd.conf");
    std::fs::write(&path, text)?;
    Ok(path)
}
