//! The choice of the further servers whose changes are followed.

use std::collections::BTreeSet;

use crate::model::{FollowedServers, ServerUrl};

/// A server that may be followed.
#[derive(Clone, Debug)]
pub(super) struct Candidate<'a> {
    pub url: &'a ServerUrl,
    pub is_in_use: bool,
    /// The AD site of the server, if it tells.
    pub site: Option<String>,
    /// Whether it has answered, and neither fails nor refuses the password at present.
    pub is_well: bool,
    /// Whether it holds a writable copy of the domain; `None` where it does not tell.
    pub is_writable: Option<bool>,
}

/// Returns the servers to follow beside the one in use, in the order of preference. Servers of one site
/// replicate within seconds, so one of each further site is enough.
///
/// A server is followed after it has answered, because its answer tells its site, and whether it is
/// writable. A server that fails is replaced by the next one of its site.
pub(super) fn followed<'a>(
    servers: &[Candidate<'a>],
    which: FollowedServers,
) -> Vec<&'a ServerUrl> {
    let Some(used) = servers.iter().find(|server| server.is_in_use) else { return Vec::new() };
    let mut sites = BTreeSet::from([&used.site]);
    let usable = servers
        .iter()
        .filter(|server| !server.is_in_use && server.is_well && server.is_writable != Some(false));
    let chosen = usable.filter(|server| match which {
        FollowedServers::One => false,
        FollowedServers::Sites => sites.insert(&server.site),
        FollowedServers::All => true,
    });
    chosen.map(|server| server.url).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The name, the site, whether it is well, and whether it is writable.
    type Row = (&'static str, &'static str, bool, Option<bool>);

    #[test]
    fn one_usable_server_of_each_further_site_is_followed() {
        use FollowedServers::{All, One, Sites};
        let (yes, no) = (Some(true), Some(false));
        let all: [Row; 9] = [
            ("b1", "Berlin", true, yes),
            ("b2", "Berlin", true, yes),
            ("m1", "Munich", false, yes),
            ("m2", "Munich", true, yes),
            ("m3", "Munich", true, yes),
            ("r1", "Rostock", true, no),
            ("p1", "", true, None),
            ("p2", "", true, None),
            ("u1", "", false, None),
        ];
        let table: [(&[Row], &str, FollowedServers, &[&str]); 9] = [
            (&all, "b1", One, &[]),
            (&all, "b1", Sites, &["m2", "p1"]),
            (&all, "b2", Sites, &["m2", "p1"]),
            (&all, "m1", Sites, &["b1", "p1"]),
            (&all, "b1", All, &["b2", "m2", "m3", "p1", "p2"]),
            (&all, "gone", All, &[]),
            (&all[..1], "b1", All, &[]),
            (&all[6..], "p1", Sites, &[]),
            (&all[6..], "p1", All, &["p2"]),
        ];
        for (rows, in_use, which, expected) in table {
            let url = |host: &str| ServerUrl::parse(&format!("ldaps://{host}")).expect("a URL");
            let urls: Vec<ServerUrl> = rows.iter().map(|(host, ..)| url(host)).collect();
            let servers =
                rows.iter().zip(&urls).map(|((host, site, is_well, is_writable), url)| {
                    let site = Some((*site).to_owned()).filter(|site| !site.is_empty());
                    let (is_well, is_writable) = (*is_well, *is_writable);
                    Candidate { url, is_in_use: *host == in_use, site, is_well, is_writable }
                });
            let chosen = followed(&servers.collect::<Vec<_>>(), which);
            let chosen: Vec<&str> = chosen.iter().map(|url| url.host.as_str()).collect();
            assert_eq!(chosen, expected, "{which} beside {in_use}");
        }
    }
}
