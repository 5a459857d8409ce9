//! Incremental runs of a history, compared with the full run that follows them.

use rosterd::model::{Profile, RunMode, Timestamp, User};

use super::books::Books;
use super::history::{ALL, Do, Edit, Layout, Stage, Step};
use super::play::Play;
use super::{Broken, chance};
use crate::histories::{first_seed, setting};

/// Returns all users without the manager, because a change of the manager's name is reported for
/// the manager alone.
fn people(books: &Books) -> Vec<User> {
    let alike = |user: &User| {
        let profile = Profile { manager: None, ..user.profile.clone() };
        User {
            profile,
            version: 0,
            observed_from: rosterd::model::ObservationNumber(0),
            updated_at: Timestamp(0),
            ..user.clone()
        }
    };
    books.users.values().map(alike).collect()
}

/// Makes a few edits at a time, with a tick after each group. Returns the number of ticks, and of
/// the incremental ones.
async fn follow(seed: u64) -> Result<(usize, usize), String> {
    let (stage, _) = chance::of_seed(seed, 0);
    // Deletions must be visible, and no work may be due later.
    let stage = Stage {
        tombstones: true,
        two_servers: false,
        has_grace_period: false,
        layout: Layout::One,
        ..stage
    };
    let mut rng = fastrand::Rng::with_seed(seed);
    let told = |broken: Broken| {
        format!(
            "seed {seed}: {}: {}\n{}",
            broken.promise,
            broken.wrong.join("\n"),
            broken.told.join("\n")
        )
    };
    let mut play = Play::begin(&stage, seed).await.map_err(told)?;
    // Tombstones count as visible once one exists.
    play.step(&Step::Edit(Edit::Delete(0))).await.map_err(told)?;
    play.step(&Step::Do(Do::Full(ALL))).await.map_err(told)?;
    let (mut ticks, mut deltas) = (0, 0);
    for _ in 0..12 {
        for edit in std::iter::repeat_with(|| chance::edit(&mut rng))
            .filter(Edit::is_notified)
            .take(fastrand::usize(1..5))
        {
            play.step(&Step::Edit(edit)).await.map_err(told)?;
        }
        play.step(&Step::Do(Do::Tick(ALL))).await.map_err(told)?;
        ticks += 1;
        deltas += usize::from(
            play.books
                .runs
                .first()
                .is_some_and(|run| run.mode == RunMode::Incremental && run.error.is_none()),
        );
        // The effects of a run may release held changes.
        play.step(&Step::Do(Do::Tick(ALL))).await.map_err(told)?;
        let after = play.books.clone();
        play.step(&Step::Do(Do::Full(ALL))).await.map_err(told)?;
        let Some(run) = play.books.runs.first().filter(|run| run.error.is_none()) else {
            // Too many have left for a full read to believe it.
            return Ok((ticks, deltas));
        };
        if run.counts.total() > run.counts.update
            || people(&after) != people(&play.books)
            || after.held.len() != play.books.held.len()
        {
            let (before, now) = (people(&after), people(&play.books));
            let mut wrong = vec![format!("{run:?}\nafter {:?}", after.runs.first())];
            wrong.extend(
                now.iter().filter(|user| !before.contains(user)).map(|user| format!("{user:?}")),
            );
            return Err(told(
                play.broken("incremental runs leave a full read nothing to do", wrong),
            ));
        }
    }
    Ok((ticks, deltas))
}

#[tokio::test(flavor = "multi_thread")]
async fn incremental_runs_leave_a_full_read_nothing_to_do() {
    let seed = first_seed();
    let histories = setting("ROSTERD_SIM_HISTORIES").unwrap_or(8);
    let (mut ticks, mut deltas) = (0, 0);
    for n in 0..histories {
        let (more, of_them) =
            follow(seed.wrapping_add(n)).await.unwrap_or_else(|told| panic!("{told}"));
        (ticks, deltas) = (ticks + more, deltas + of_them);
    }
    assert!(
        deltas * 2 > ticks,
        "seed {seed}: few changes were followed: {deltas} of {ticks} ticks"
    );
}
