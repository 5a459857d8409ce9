//! Logs under systemd: the journal gets every line with its fields.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::Duration;

use super::site;

/// A fake journal socket in a mount namespace of the daemon.
#[test]
#[ignore = "needs the lab: tests/run"]
fn the_journal_gets_fields_and_priorities_when_stderr_is_its_stream() {
    let home = tempfile::tempdir().unwrap();
    let journal = home.path().join("journal");
    fs::create_dir(&journal).unwrap();
    let socket = UnixDatagram::bind(journal.join("socket")).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();

    let site = site(10, "", |_, rosterd| {
        // The log file is stderr. The test sets JOURNAL_STREAM to it, as systemd does.
        let script = "mount -t tmpfs run /run && mkdir -p /run/systemd/journal && mount --bind \"$0\" /run/systemd/journal \
            && JOURNAL_STREAM=$(stat -L -c %d:%i /proc/self/fd/2) && export JOURNAL_STREAM && exec \"$@\"";
        let mut inside = Command::new("unshare");
        inside.args(["--mount", "--propagation", "private", "sh", "-c", script]).arg(&journal);
        inside.arg(rosterd.get_program()).args(rosterd.get_args());
        *rosterd = inside;
    });
    site.done("sync corp");

    let mut entries = Vec::new();
    let mut buffer = vec![0; 65536];
    while let Ok(length) = socket.recv(&mut buffer) {
        entries.push(fields(&buffer[..length]));
    }
    let field = |entry: &[(String, String)], name: &str| {
        let all: Vec<_> =
            entry.iter().filter(|(n, _)| n == name).map(|(_, value)| value.clone()).collect();
        assert!(all.len() < 2, "{name} once: {entry:?}");
        all.into_iter().next()
    };
    let runs = site.done("run list --limit 100")["runs"].as_array().unwrap().clone();
    let newest = runs.iter().find(|r| r["trigger"] == "manual").unwrap();
    let told = entries
        .iter()
        .find(|e| field(e, "RUN_ID").as_deref() == newest["id"].as_str())
        .expect("a line of the run");
    assert_eq!(field(told, "DIRECTORY").as_deref(), Some("corp"), "{told:?}");
    assert_eq!(field(told, "TRIGGER").as_deref(), Some("manual"));
    assert_eq!(field(told, "SYSLOG_IDENTIFIER").as_deref(), Some("rosterd"));
    assert_eq!(field(told, "PRIORITY").as_deref(), Some("6"));
    assert!(field(told, "MESSAGE").unwrap().starts_with("corp: full run (manual): "), "{told:?}");
    assert!(!entries.iter().flatten().any(|(name, _)| name.starts_with("F_")), "{entries:?}");
    let log = site.daemon.log();
    assert_eq!(log, "", "and stderr has nothing of it");
    assert!(fs::metadata(journal.join("socket")).unwrap().ino() > 0);
}

/// Parses the fields of an entry in the journal's native protocol.
fn fields(mut entry: &[u8]) -> Vec<(String, String)> {
    let mut fields = Vec::new();
    while let Some(end) = entry.iter().position(|b| *b == b'\n') {
        let line = String::from_utf8_lossy(&entry[..end]).into_owned();
        entry = &entry[end + 1..];
        match line.split_once('=') {
            Some((name, value)) => fields.push((name.to_owned(), value.to_owned())),
            // After a name alone, the value follows, preceded by its length in eight bytes.
            None => {
                let (length, rest) = entry.split_at(8);
                let length =
                    usize::try_from(u64::from_le_bytes(length.try_into().unwrap())).unwrap();
                fields.push((line, String::from_utf8_lossy(&rest[..length]).into_owned()));
                entry = &rest[length + 1..];
            }
        }
    }
    fields
}
