//! The keys of a `[[directory]]` about the bind of the service account.

use std::path::{Path, PathBuf};

use super::files;
use super::table::Table;
use super::values::{kerberos_principal, one_of, path, principal};
use crate::model::Credential;

/// The way to bind.
#[derive(Clone, Copy)]
enum Bind {
    Password,
    Kerberos,
}

/// Reads the credential. The keys of the other way to bind are problems.
pub(super) fn read(table: &mut Table<'_>, credentials: Option<&Path>) -> Option<Credential> {
    let words = [("password", Bind::Password), ("kerberos", Bind::Kerberos)];
    let bind = table.text("bind", one_of(&words));
    let bind_dn = table.text("bind-dn", principal);
    let password = read_password(table, credentials);
    let principal = table.text("principal", kerberos_principal);
    let krb5_conf = table.text("krb5-conf", |text| {
        path(text).and_then(|path| files::readable(&path).map(|()| path))
    });
    let keytab = read_keytab(table, credentials, principal.as_deref());
    match bind {
        None if table.has("bind") => None,
        None | Some(Bind::Password) => {
            if !table.has("bind-dn") {
                table.missing("bind-dn", "\"svc-rosterd@corp.example.com\"");
            }
            if !(table.has("password-file") || table.has("password-credential")) {
                let example = "\"/etc/rosterd/corp.password\", a file that only rosterd can read";
                table.missing("password-file", example);
            }
            for key in ["keytab", "keytab-credential", "principal", "krb5-conf"] {
                if table.has(key) {
                    let problem = format!(
                        "{key} belongs to a bind by Kerberos: remove it, or write bind = \"kerberos\""
                    );
                    table.problem_at(key, problem);
                }
            }
            Some(Credential::Password { bind_dn: bind_dn?, file: password? })
        }
        Some(Bind::Kerberos) => {
            if !(table.has("keytab") || table.has("keytab-credential")) {
                let example = "\"/etc/rosterd/corp.keytab\", a file that only rosterd can read";
                table.missing("keytab", example);
            }
            for key in ["bind-dn", "password-file", "password-credential"] {
                if table.has(key) {
                    let problem = format!(
                        "{key} belongs to a bind with a password, and the keytab says who binds: remove it, or bind = \"kerberos\""
                    );
                    table.problem_at(key, problem);
                }
            }
            let helper = files::kerberos_helper();
            Some(Credential::Kerberos { keytab: keytab?, principal, krb5_conf, helper })
        }
    }
}

/// Reads the file of a password.
pub(super) fn read_password(table: &mut Table<'_>, credentials: Option<&Path>) -> Option<PathBuf> {
    let file = table.text("password-file", |text| {
        path(text).and_then(|path| files::password(&path).map(|()| path))
    });
    let credential = table.text("password-credential", |name| {
        let path = files::credential(name, "password", "password-file", credentials)?;
        files::password(&path).map(|()| path)
    });
    one_of_both(table, "password-file", "password-credential");
    file.or(credential)
}

fn read_keytab(
    table: &mut Table<'_>,
    credentials: Option<&Path>,
    principal: Option<&str>,
) -> Option<PathBuf> {
    let file = table.text("keytab", |text| {
        path(text).and_then(|path| files::keytab(&path, principal).map(|()| path))
    });
    let credential = table.text("keytab-credential", |name| {
        let path = files::credential(name, "keytab", "keytab", credentials)?;
        files::keytab(&path, principal).map(|()| path)
    });
    one_of_both(table, "keytab", "keytab-credential");
    file.or(credential)
}

fn one_of_both(table: &Table<'_>, file: &str, credential: &str) {
    if table.has(file) && table.has(credential) {
        let problem = format!("there are both {file} and {credential}: remove one of them");
        table.problem_at(credential, problem);
    }
}
