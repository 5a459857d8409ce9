//! `rosterctl` in process: every command that needs a daemon is tried once.

use std::collections::BTreeSet;

use clap::{CommandFactory as _, Parser as _};
use rosterd::ctl::{self, Cli, Exit, Terminal};

use super::Office;
use crate::ctl::Output;

/// Runs a command. Returns exit status, output and errors.
pub(crate) async fn rosterctl(office: &Office, command: &str) -> (Exit, String, String) {
    let out = Output::default();
    let (exit, err) = rosterctl_to(office, command, out.clone()).await;
    (exit, out.text(), err)
}

/// Runs a command with this output. Returns exit status and errors.
pub(crate) async fn rosterctl_to(
    office: &Office,
    command: &str,
    out: impl std::io::Write + Send + 'static,
) -> (Exit, String) {
    let socket = office.socket.to_str().unwrap();
    let cli = Cli::try_parse_from(
        ["rosterctl", "--yes", "--socket", socket].into_iter().chain(command.split(' ')),
    )
    .unwrap();
    let err = Output::default();
    let mut terminal = Terminal {
        out: Box::new(out),
        err: Box::new(err.clone()),
        width: 80,
        colour: false,
        err_colour: false,
        interactive: false,
        draws: false,
        height: None,
        zone: chrono_tz::Tz::UTC,
        now: Box::new(|| rosterd::clock::Clock::system().now().to_utc()),
    };
    let exit = ctl::run(cli, &mut terminal).await;
    (exit, err.text())
}

/// Runs a command that succeeds with output of 80 columns at most.
async fn succeeds(office: &Office, command: &str) {
    let (exit, out, err) = rosterctl(office, command).await;
    // A check that finds a problem has its own exit status.
    let is_made = matches!(exit, Exit::Done | Exit::Held) || command.starts_with("directory check");
    assert!(is_made && err.is_empty(), "rosterctl {command}: {exit:?}\n{err}");
    assert!(!out.is_empty(), "rosterctl {command} prints nothing");
    // A long command has a line of its own, so that it can be copied.
    let is_command = |line: &str| {
        ["dsacls ", "rosterctl ", "samba-tool "].iter().any(|p| line.trim_start().starts_with(p))
    };
    let is_long = |l: &&str| l.chars().count() > 80 && l.contains("  ") && !is_command(l);
    let too_long = out.lines().find(is_long);
    assert_eq!(too_long, None, "rosterctl {command} does not fit 80 columns:\n{out}");
}

/// Collects every command, such as `user show`.
fn leaves(command: &clap::Command, before: &str, into: &mut BTreeSet<String>) {
    for sub in command.get_subcommands() {
        let words = format!("{before} {}", sub.get_name()).trim().to_owned();
        if sub.has_subcommands() {
            leaves(sub, &words, into);
        } else {
            into.insert(words);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_of_a_plan_is_shown_by_the_options_that_approve_it() {
    let mut office = Office::open().await;
    let users = office.get("/v1/users?status=active&limit=3").await;
    for user in users["users"].as_array().unwrap() {
        let dn = user["directory"]["dn"].as_str().unwrap();
        office.firm.sim.edit(|ad| ad.set(dn, "displayName", "Somebody Else"));
    }
    office.post("/v1/directories/corp/sync", None).await;
    let changes = async |options: &str| {
        let (exit, out, err) = rosterctl(&office, &format!("held show --json{options}")).await;
        assert_eq!(exit, Exit::Done, "{err}");
        let plan: serde_json::Value = serde_json::from_str(&out).unwrap();
        plan["changes"].as_array().unwrap().len()
    };
    let all = changes("").await;
    assert_eq!((all, changes(" --first 2").await), (3, 2));
    let (_, out, _) = rosterctl(&office, "held show --first 2").await;
    assert!(out.contains("2 of them:"), "{out}");
    let (exit, _, err) = rosterctl(&office, "held show --ou Nowhere").await;
    assert!(exit == Exit::Failed && err.contains("no change with --ou Nowhere"), "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_of_rosterctl_uses_the_api_and_parses_its_answers() {
    let mut office = Office::open().await;
    let who = office.rename_person().await;
    office.post("/v1/directories/corp/sync", None).await;
    let held = office.get("/v1/held").await["held"][0]["id"].as_str().unwrap().to_owned();
    let run = office.get("/v1/runs?limit=1").await["runs"][0]["id"].as_str().unwrap().to_owned();
    let id = office.target.add_user("other@example.net");
    let copy = office.firm.folder.path().join("copy.db").display().to_string();
    let configuration = office.firm.folder.path().join("new.toml").display().to_string();
    std::fs::write(&configuration, "as it is").unwrap();
    let report = office.firm.folder.path().join("review.html").display().to_string();
    let commands = [
        "status".to_owned(),
        "plan corp".to_owned(),
        "plan".to_owned(),
        format!("plan corp --config {configuration}"),
        "plan --csv".to_owned(),
        "sync corp --dry-run".to_owned(),
        "sync corp".to_owned(),
        "sync --no-wait".to_owned(),
        "held list --all".to_owned(),
        format!("held show {held}"),
        "held show --by ou".to_owned(),
        "held show --csv".to_owned(),
        format!("held reject {}", &held[28..]),
        "held list --rejected".to_owned(),
        format!("held reopen {} --comment again", &held[28..]),
        "held show --first 1".to_owned(),
        "held show --first 1 --by cause".to_owned(),
        "held approve --first 1".to_owned(),
        "run list corp".to_owned(),
        format!("run show {run}"),
        "run show latest --all".to_owned(),
        "run list --failed --since yesterday".to_owned(),
        format!("run undo {run} --dry-run"),
        "user list --account acme --status active".to_owned(),
        "user list --quarantined".to_owned(),
        "user list --behind corp".to_owned(),
        "user search a --limit 3".to_owned(),
        "search a".to_owned(),
        "ls --suspended --limit 2".to_owned(),
        "ls --count".to_owned(),
        format!("user show {who}"),
        format!("user explain {who}"),
        format!("user sync {who}"),
        format!("user suspend {who} --reason x"),
        format!("user activate {who}"),
        format!("user note {who} leave"),
        "account create lab --name Lab".to_owned(),
        "account list".to_owned(),
        "account show acme".to_owned(),
        "domain claim lab example.org".to_owned(),
        "domain verify example.com --account acme".to_owned(),
        "domain list".to_owned(),
        "directory list".to_owned(),
        "directory show".to_owned(),
        "directory show corp".to_owned(),
        "directory check corp --people".to_owned(),
        "directory pause corp --for tomorrow".to_owned(),
        "directory resume corp".to_owned(),
        "directory unlock corp".to_owned(),
        "directory trust-server corp".to_owned(),
        "directory rebaseline corp".to_owned(),
        "domain release example.org --dry-run".to_owned(),
        "account rename lab --name Laboratory".to_owned(),
        "account policy lab outbound-calling=false".to_owned(),
        "user invite lab guest@example.net".to_owned(),
        "sign-in guest@example.net --external".to_owned(),
        "user contacts guest@example.net a".to_owned(),
        "user tier guest@example.net basic".to_owned(),
        "user remove guest@example.net".to_owned(),
        "account delete lab lab".to_owned(),
        format!("event list --type user.* --since 2h --run {run}"),
        format!("event list --person {who} --csv"),
        "event tail --after 1 --limit 2".to_owned(),
        "event verify".to_owned(),
        "report leavers --since 90d --csv".to_owned(),
        "report leavers --by cause".to_owned(),
        "report joiners --until 1h".to_owned(),
        "report joiners --by ou --json".to_owned(),
        "report changes --limit 3".to_owned(),
        "report access-review --by manager".to_owned(),
        "report expiring --until 14d --json".to_owned(),
        "report inactive --since 0s --by department --csv".to_owned(),
        "report licences".to_owned(),
        format!("report access-review --html {report}"),
        "hook list".to_owned(),
        "hook test vpn".to_owned(),
        "hook replay vpn --since 2h".to_owned(),
        "hook deliveries vpn --limit 5".to_owned(),
        "hook deliveries vpn --seq 1".to_owned(),
        "hook redeliver vpn --all".to_owned(),
        "target sync app".to_owned(),
        "target list".to_owned(),
        "target check app".to_owned(),
        "target show app".to_owned(),
        "target plan app".to_owned(),
        "target accounts app".to_owned(),
        "target accounts app --unmanaged".to_owned(),
        format!("target adopt app {who} --id {id}"),
        format!("target push app {who}"),
        format!("target retry app {who}"),
        format!("target disown app {who}"),
        "target pause app --for 2h".to_owned(),
        "target resume app".to_owned(),
        "target unlock app".to_owned(),
        "reload".to_owned(),
        format!("backup {copy}"),
    ];
    for command in &commands {
        succeeds(&office, command).await;
    }
    let [recreated, left, overruled, person] = office.leavers().await;
    let of_leavers = [
        format!("user relink {recreated} {person}"),
        format!("user release-address {left}"),
        format!("user clear-override {overruled}"),
    ];
    for command in &of_leavers {
        succeeds(&office, command).await;
    }
    office.lose_commits().await;
    let of_loss = "event accept-loss".to_owned();
    succeeds(&office, &of_loss).await;
    office.remove_target();
    let of_target = "target forget app".to_owned();
    succeeds(&office, &of_target).await;
    office.migrate_one().await;
    let of_migration = "directory relink emea --sid-history".to_owned();
    succeeds(&office, &of_migration).await;
    office.rename_section();
    let of_section = "directory rename corp hq".to_owned();
    succeeds(&office, &of_section).await;
    let (exit, _, err) = rosterctl(&office, "reload").await;
    assert_eq!(
        (exit, err.as_str()),
        (Exit::Failed, "error: rosterd.toml:3: one problem\n  rosterd.toml:5: another\n")
    );

    let mut all = BTreeSet::new();
    leaves(&Cli::command(), "", &mut all);
    let missing: Vec<_> = all
        .iter()
        .filter(|leaf| {
            !commands
                .iter()
                .chain(&of_leavers)
                .chain([&of_loss, &of_migration, &of_section, &of_target])
                .any(|c| format!("{c} ").starts_with(&format!("{leaf} ")))
        })
        .collect();
    assert_eq!(
        missing,
        [
            "completions",
            "console",
            "leader forget",
            "leader show",
            "leader step-down",
            "leader take",
            "man",
            "version"
        ],
        "these need no daemon, or have tests of their own in console and cluster; add every other \
         command here"
    );
}
