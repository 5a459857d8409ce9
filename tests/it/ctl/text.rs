//! Tables, colours, escapes and ids.

use rosterd::control::api;
use rosterd::ctl::id::{Meaning, resolve, short};
use rosterd::ctl::text::{View, harmless};
use rosterd::ctl::{held, run, user, users};
use serde_json::json;
use unicode_width::UnicodeWidthStr as _;

use super::{a_held_plan, a_run, a_user, sent, view, with};

#[test]
fn control_characters_from_the_directory_do_not_reach_the_terminal() {
    assert_eq!(
        harmless("Ren\u{e9}e \u{5c71}\u{7530} \u{1f469}\u{200d}\u{1f52c}"),
        "Ren\u{e9}e \u{5c71}\u{7530} \u{1f469}\u{200d}\u{1f52c}"
    );
    assert_eq!(
        harmless("a\u{1b}[2Jb\r\nc\u{9b}\u{202e}d\u{2061}e"),
        r"a\u{1b}[2Jb\r\nc\u{9b}\u{202e}d\u{2061}e"
    );
    let evil = "Ben\u{1b}]0;owned\u{7}\nrosterd: all is well\u{202e}";
    let user: api::User = sent(with(
        a_user(),
        &json!({ "display_name": evil, "directory": { "name": "corp", "object_guid": "g", "dn": evil } }),
    ));
    for text in [
        user::show(&user, &view()).plain(),
        users::list(&api::Users { users: vec![user], next: None }, &view()).plain(),
    ] {
        assert!(!text.contains(['\u{1b}', '\u{7}', '\u{202e}']), "{text}");
        assert!(!text.lines().any(|l| l.starts_with("rosterd:")), "{text}");
    }
}

fn many_users() -> api::Users {
    let named = |name: &str, address: &str| {
        with(a_user(), &json!({ "display_name": name, "primary_email": address }))
    };
    let long = "a-very-long-address-that-nobody-should-have-but-somebody-has@subdomain.of.a.company.example.com";
    sent(json!({ "users": [
        named("Ann", "ann@example.com"),
        named("\u{5c71}\u{7530} \u{592a}\u{90ce}", "yamada@example.com"),
        named("Rene\u{301}e Zoe\u{308}", "renee@example.com"),
        named("Hubert Blaine Wolfeschlegelsteinhausenbergerdorff Senior", long),
    ] }))
}

#[test]
fn tables_fit_every_terminal_and_without_one_each_row_is_a_line() {
    let failed = with(
        a_run("failed"),
        &json!({ "error": "ldaps://dc1.corp.example.com: the connection was refused, and so by all others" }),
    );
    let runs: api::Runs = sent(json!({ "runs": [failed, a_run("succeeded")] }));
    let plans: api::HeldPlans = sent(json!({ "held": [a_held_plan()] }));
    for width in [40, 60, 72, 80, 100, 132, 200] {
        let view = View { width, ..view() };
        for page in
            [users::list(&many_users(), &view), run::list(&runs, &view), held::list(&plans, &view)]
        {
            let text = page.plain();
            // In a block, a word longer than the terminal is not broken, because it may be copied.
            let over: Vec<_> = text
                .lines()
                .filter(|l| {
                    l.width() > width
                        && l.split("  ").last().is_some_and(|v| v.trim().contains(' '))
                })
                .collect();
            assert!(over.is_empty(), "at {width}: {over:#?}\n{text}");
        }
    }
    let nowhere = View { width: usize::MAX, ..view() };
    assert_eq!(users::list(&many_users(), &nowhere).plain().lines().count(), 5);
    assert_eq!(run::list(&runs, &nowhere).plain().lines().count(), 3);
}

#[test]
fn wide_and_combining_characters_keep_the_columns_aligned() {
    let text = users::list(&many_users(), &View { width: usize::MAX, ..view() }).plain();
    let begins = |line: &str, word: &str| {
        line[..line.find(word).unwrap_or_else(|| panic!("{word} in {line}"))].width()
    };
    let mut lines = text.lines();
    let expected = begins(lines.next().unwrap(), "ACCOUNT");
    for line in lines {
        assert_eq!(begins(line, "acme"), expected, "{text}");
    }
}

#[test]
fn a_value_too_long_for_its_column_breaks_between_its_parts() {
    let text = users::list(&many_users(), &View { width: 89, ..view() }).plain();
    let begins: Vec<_> = text
        .lines()
        .map(|l| l.split(' ').next().unwrap())
        .filter(|w| w.contains("yamada") || w.contains("example.com"))
        .collect();
    assert_eq!(begins[..4], ["ann@example.com", "yamada@", "example.com", "example.com"], "{text}");
}

#[test]
fn a_narrow_terminal_gets_a_block_for_each_row() {
    let users = api::Users { users: many_users().users.into_iter().take(2).collect(), next: None };
    insta::assert_snapshot!(users::list(&users, &View { width: 50, ..view() }).plain(), @"
    ann@example.com
      name       Ann
      account    acme
      status     suspended
      tier       pro
      directory  corp
      why        operator since 2026-11-24 02:00 UTC,
                 quarantined: contested-address
    yamada@example.com
      name       山田 太郎
      account    acme
      status     suspended
      tier       pro
      directory  corp
      why        operator since 2026-11-24 02:00 UTC,
                 quarantined: contested-address
    ");
}

#[test]
fn a_narrow_table_leaves_a_column_without_values_out() {
    let mut users = many_users();
    users.users.truncate(2);
    for user in &mut users.users {
        user.suspension = None;
        user.quarantine.clear();
    }
    let at = |width| users::list(&users, &View { width, ..view() }).plain();
    assert!(at(usize::MAX).contains("WHY"), "its columns are always the same for a program");
    let narrow = at(68);
    assert!(!narrow.contains("WHY") && narrow.lines().count() == 3, "{narrow}");
}

#[test]
fn a_colour_ends_with_its_line_and_resumes_on_the_next() {
    let failed = with(
        a_run("failed"),
        &json!({ "error": "one two three four five six seven eight nine ten eleven twelve" }),
    );
    let text =
        run::list(&sent(json!({ "runs": [failed] })), &View { width: 100, ..view() }).coloured();
    assert!(text.lines().filter(|l| l.contains("\u{1b}[31m")).count() > 2, "{text}");
    for line in text.lines() {
        assert_eq!(
            line.matches("\u{1b}[0m").count(),
            line.matches("\u{1b}[").count() / 2,
            "{line:?}"
        );
        assert!(
            !line.contains('\u{1b}')
                || line.ends_with("\u{1b}[0m")
                || !line.rsplit("\u{1b}[0m").next().unwrap().contains('\u{1b}')
        );
    }
}

#[test]
fn ids_are_found_by_their_beginning_or_end() {
    let ids = ["019ab4c1-7d10-7c3a-9a51-0d6f4e2b8c11", "019ab4c1-7d10-7c3a-9a51-0d6f4e2b8c22"];
    assert_eq!(short(ids[0]), "4e2b8c11");
    assert_eq!(resolve("4E2B8C11", ids), Meaning::This(ids[0]));
    assert_eq!(resolve("8c22", ids), Meaning::This(ids[1]));
    assert_eq!(resolve("4e2b8c2", ids), Meaning::This(ids[1]), "the start of what is shown");
    assert_eq!(resolve("51-0d6f4e2b8c22", ids), Meaning::This(ids[1]));
    assert_eq!(resolve("019ab4c17d10", ids[..1].iter().copied()), Meaning::This(ids[0]));
    assert_eq!(resolve("019ab4c1", ids), Meaning::Several(ids.to_vec()));
    assert_eq!(resolve("c22", ids), Meaning::TooShort);
    assert_eq!(resolve("ffff", ids), Meaning::None);
    assert_eq!(resolve("b4c1", ids), Meaning::None, "the middle of an id does not match");
}
