//! Completions in a real bash: names come from the daemon, and a shell never waits for it.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rosterd::model::{Mode, Status};

use crate::firm::held_plan;
use crate::socket::Office;

const ROSTERCTL: &str = env!("CARGO_BIN_EXE_rosterctl");

/// Returns what bash offers for the last word of a command line.
fn offered(socket: &Path, words: &[&str]) -> Vec<String> {
    let script = r#"
        source <(rosterctl completions bash)
        function_of() { complete -p "$1" | sed 's/.* -F \([^ ]*\) .*/\1/'; }
        COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}; COMP_TYPE=9
        set -f
        "$(function_of rosterctl)" rosterctl "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
        printf '%s\n' "${COMPREPLY[@]}"
    "#;
    let folder = Path::new(ROSTERCTL).parent().unwrap().display();
    let done = Command::new("bash")
        .args(["--norc", "-c", script, "bash", "rosterctl"])
        .args(words)
        .env("PATH", format!("{folder}:{}", std::env::var("PATH").unwrap()))
        .env("ROSTERD_SOCKET", socket)
        .output()
        .unwrap();
    assert!(done.stderr.is_empty(), "{}", String::from_utf8_lossy(&done.stderr));
    let lines = String::from_utf8(done.stdout).unwrap();
    lines.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tab_completes_the_names_that_the_daemon_knows() {
    let office = Office::open().await;
    let firm = &office.firm;
    firm.reconfigure(|config| config.mode = Mode::PlanOnly);
    let user = firm.users().await.into_iter().find(|u| u.status() == Status::Active).unwrap();
    firm.sim.edit(|ad| {
        for group in [adsim::names::PRO, adsim::names::PRO_NESTED, adsim::names::BASIC] {
            ad.remove_member(group, crate::firm::dn_of(&user).as_str());
        }
    });
    firm.sync().await;
    let plan = held_plan(firm).await.id.to_string();
    let address = user.addresses.primary.as_ref().unwrap().to_string();
    let begin = address.split('@').next().unwrap().to_owned();
    let socket = office.socket.clone();
    let all = tokio::task::spawn_blocking(move || {
        let offers = |line: &[&str], name: &str| {
            let found = offered(&socket, line);
            assert!(found.iter().any(|found| found.trim() == name), "{line:?}: {found:?}");
            found
        };
        offers(&["directory", "check", ""], "corp");
        offers(&["sync", "co"], "corp");
        offers(&["held", "approve", ""], &plan[28..]);
        offers(&["user", "show", &begin], &address);
        offers(&["held", "approve", "--user", &begin], &address);
        offers(&["event", "list", "--type", "user.sus"], "user.suspended");
        offers(&["event", "list", "--type", "us"], "user.*");
        offers(&["target", "show", ""], "app");
        offers(&["hook", "test", ""], "vpn");
        offers(&["account", "show", "a"], "acme");
        offers(&["domain", "release", ""], "example.com");
        offers(&["he"], "held");
        // The name of a new object is not completed.
        assert_eq!(offered(&socket, &["account", "create", "a"]), Vec::<String>::new());
    });
    all.await.unwrap();
}

#[test]
fn a_shell_waits_for_no_daemon() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing.sock");
    let silent = folder.path().join("silent.sock");
    let _listener = std::os::unix::net::UnixListener::bind(&silent).unwrap();
    let began = Instant::now();
    assert!(!offered(&missing, &["he"]).is_empty(), "commands need no daemon");
    let usual = began.elapsed();
    for socket in [missing, silent] {
        let began = Instant::now();
        assert_eq!(offered(&socket, &["user", "show", "a"]), Vec::<String>::new());
        // 300 ms for the answer, beside the time of the shell itself.
        assert!(began.elapsed() < usual * 2 + Duration::from_secs(1), "{:?}", began.elapsed());
    }
}
