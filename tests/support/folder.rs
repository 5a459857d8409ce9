//! The folder of a daemon over one directory: its configuration and the files that it names.
#![allow(dead_code, reason = "tests, benches and the demo each use some of it")]

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use adsim::Sim;

/// A directory, as a configuration names it.
#[derive(Clone, Debug)]
pub(crate) struct Directory {
    pub(crate) url: String,
    pub(crate) ca_file: String,
    pub(crate) bind_dn: String,
    pub(crate) password_file: String,
    pub(crate) base: String,
}

impl Directory {
    /// Returns the values of a simulator, whose files are still to be [written](write_files).
    pub(crate) fn of(sim: &Sim, folder: &Path) -> Self {
        Self {
            url: sim.ldaps_url(),
            bind_dn: sim.service_upn(),
            base: sim.root_dn(),
            ..Self::nowhere(folder)
        }
    }

    /// Returns values without a server yet, but with the paths of its files.
    pub(crate) fn nowhere(folder: &Path) -> Self {
        let file = |name: &str| folder.join(name).display().to_string();
        let [url, bind_dn, base] = [const { String::new() }; 3];
        Self { url, ca_file: file("ca.pem"), bind_dn, password_file: file("password"), base }
    }

    /// Returns the configuration of a daemon with this directory. `more` comes before the
    /// directory's section, `keys` are further keys of it.
    pub(crate) fn configuration(&self, folder: &Path, more: &str, keys: &str) -> String {
        let (Self { url, ca_file, bind_dn, password_file, base }, folder) =
            (self, folder.display());
        // Most tests start their runs themselves.
        let live = if keys.contains("live =") { "" } else { "live = false" };
        format!(
            r#"[store]
url = "sqlite://{folder}/rosterd.db"

[control]
socket = "{folder}/control.sock"

[domains]
trusted = ["example.com"]      # elsewhere a DNS TXT record proves it

{more}
[[directory]]
name = "corp"
account = "acme"
servers = ["{url}"]
ca-file = "{ca_file}"
bind-dn = "{bind_dn}"
password-file = "{password_file}"
base = ["{base}"]
pro-groups = ["Roster Pro"]
basic-groups = ["Roster Basic"]
{live}
{keys}
"#
        )
    }
}

/// Writes the trusted certificate and the service account's password.
pub(crate) fn write_files(folder: &Path, ca: &str, password: &str) {
    std::fs::write(folder.join("ca.pem"), ca).expect("a file");
    write(&folder.join("password"), password, 0o600);
}

/// Writes a file with this mode.
pub(crate) fn write(path: &Path, text: &str, mode: u32) {
    std::fs::write(path, text).expect("a file");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("a mode");
}
