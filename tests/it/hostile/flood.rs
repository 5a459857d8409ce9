//! Floods of responses, after which the memory of the daemon is bounded and the error names the
//! cause.

use std::sync::Arc;

use adsim::{Fault, What, When, frames};
use serde_json::Value;

use super::page;
use crate::process::until;
use crate::service::{Site, configuration};

/// Most bytes by which a flood may raise the resident memory. Each flood sends several times that.
const ROOM: u64 = 100 << 20;

/// Returns this many KiB.
fn large(kib: usize) -> Vec<u8> {
    vec![b'x'; kib << 10]
}

/// Returns an unknown person with a name of this size.
fn stranger(id: i64, number: u64, kib: usize) -> Vec<u8> {
    let mut guid = vec![0xee; 16];
    guid[..8].copy_from_slice(&number.to_be_bytes());
    let attributes = [
        ("objectGUID", vec![guid]),
        ("userAccountControl", vec![b"512".to_vec()]),
        ("accountExpires", vec![b"0".to_vec()]),
        ("primaryGroupID", vec![b"513".to_vec()]),
        ("mail", vec![format!("stranger-{number}@example.com").into_bytes()]),
        ("displayName", vec![large(kib)]),
    ];
    frames::entry(
        id,
        format!("CN=stranger {number},DC=corp,DC=example,DC=com").as_bytes(),
        &attributes,
    )
}

/// Returns a fault that sends frames and then the end of the search.
fn so_many(count: u64, make: impl Fn(i64, u64) -> Vec<u8> + Send + Sync + 'static) -> What {
    What::frames_instead(move |id| {
        let mut all = Vec::new();
        for number in 0..count {
            all.extend_from_slice(&make(id, number));
        }
        all.extend_from_slice(&frames::done_with_cookie(id, &frames::Outcome::default(), b""));
        all
    })
}

#[test]
fn a_flood_of_any_kind_does_not_exhaust_the_memory_of_the_daemon() {
    let site = Site::running();
    let text = configuration(&site.sim, site.folder.path(), "", "page-size = 200");
    site.write(
        &text.replace(
            "connect = \"2s\", operation = \"5s\"",
            "connect = \"20s\", operation = \"3s\"",
        ),
    );
    site.done("reload");
    until("the run after the reload is over", || {
        let runs = site.done("run list corp");
        // The reload may have ended the first one.
        let is_of_start = |run: &&Value| run["trigger"] == "startup";
        let starts: Vec<_> =
            runs["runs"].as_array().into_iter().flatten().filter(is_of_start).collect();
        (starts.len() == 2 && starts[0]["state"] == "succeeded").then_some(())
    });
    let active = site.active();
    let url = Arc::new(format!("ldap://{}/", "x".repeat(200 << 10)));
    let intermediate = |id: i64, _| {
        let mut frame = frames::result(id, 0x79, &frames::Outcome::new(0, "x".repeat(200 << 10)));
        // An IntermediateResponse with neither its optional name nor its optional value.
        let at = frame.iter().position(|byte| *byte == 0x0a).expect("the code");
        let rest = frame.len() - at;
        frame.truncate(at);
        frame.extend([0x81, 0x84]);
        frame.extend(u32::try_from(rest - 6).expect("a length").to_be_bytes());
        frame.extend(vec![0; rest - 6]);
        frame
    };
    let groups = || When::search().containing("objectcategory=group").nth(1);
    let table: Vec<(&str, When, What, &str)> = vec![
        (
            "entries without end",
            page(1),
            What::endless(|id, n| stranger(id, n, 1)),
            "more than 400 entries",
        ),
        (
            "large entries without end",
            page(1),
            What::endless(|id, n| stranger(id, n, 1_024)),
            "more than 400 entries",
        ),
        ("a page of large entries", page(1), so_many(200, |id, n| stranger(id, n, 1_024)), ""),
        (
            "references without end",
            page(1),
            What::endless(move |id, _| frames::reference(id, &url)),
            "no answer",
        ),
        ("intermediate answers without end", page(1), What::endless(intermediate), "no answer"),
        (
            "groups without end",
            groups(),
            What::endless(|id, n| stranger(id, n, 300)),
            "more than 2000 entries",
        ),
        (
            "a page of large groups",
            groups(),
            so_many(600, |id, n| stranger(id, n, 300)),
            "too large",
        ),
        (
            "a base that is many",
            When::nth_search(1),
            What::endless(|id, n| stranger(id, n, 1_024)),
            "more than 2 entries",
        ),
    ];
    for (name, when, what, told) in table {
        let before = memory(&site, "VmRSS");
        std::fs::write(format!("/proc/{}/clear_refs", site.daemon.pid()), "5").unwrap();
        site.sim.faults().push(Fault::new(when, what));
        let (_, run) = site.daemon.ctl("sync corp");
        assert_eq!(site.sim.faults().fired(), 1, "{name}: it has happened");
        let error = run["error"].as_str().unwrap_or_default();
        assert!(error.contains(told), "{name}: the error does not say \"{told}\": {run:#}");
        let grown = memory(&site, "VmHWM").saturating_sub(before);
        assert!(grown < ROOM, "{name}: {} MiB more than the {} before", grown >> 20, before >> 20);
        site.sim.faults().clear();
        assert_eq!(site.done("sync corp")["error"].as_str(), None, "{name}: the next run is well");
        assert_eq!(site.active(), active, "{name}");
    }
}

/// Returns a field of `/proc/PID/status` in bytes.
fn memory(site: &Site, what: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", site.daemon.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(what)?.strip_prefix(':')).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}
