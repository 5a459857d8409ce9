//! The local time zone: `$TZ`, or the zone of this machine.

use std::path::Path;

use chrono_tz::Tz;

/// Returns the local time zone, or UTC where it is unknown.
pub(super) fn local() -> Tz {
    let of_environment = std::env::var("TZ").ok().filter(|name| !name.is_empty());
    let name = of_environment.or_else(of_machine).unwrap_or_default();
    named(&name).unwrap_or(Tz::UTC)
}

/// Parses a value of `$TZ`, such as `Europe/Berlin`, `:Europe/Berlin` or the path of its file.
fn named(name: &str) -> Option<Tz> {
    let name = name.trim().trim_start_matches(':');
    name.rsplit_once("zoneinfo/").map_or(name, |(_, name)| name).parse().ok()
}

fn of_machine() -> Option<String> {
    let link = std::fs::read_link(Path::new("/etc/localtime")).ok();
    let linked = link.and_then(|path| path.to_str().map(str::to_owned));
    linked.or_else(|| std::fs::read_to_string("/etc/timezone").ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_zone_is_a_name_or_the_path_of_its_file() {
        for text in [
            "Europe/Berlin",
            ":Europe/Berlin",
            "/usr/share/zoneinfo/Europe/Berlin",
            "Europe/Berlin\n",
        ] {
            assert_eq!(named(text), Some(chrono_tz::Europe::Berlin), "{text}");
        }
        assert_eq!(named("nowhere"), None);
    }
}
