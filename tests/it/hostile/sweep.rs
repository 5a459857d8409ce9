//! Faults at every search of a run, which must never suspend a person who was not seen disabled.

use adsim::{What, When};

use super::{Ends, Ordeal, Sees, row};

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_breaks_at_any_search_suspends_no_enabled_user() {
    let ordeal = Ordeal::new(|_| {}).await;
    ordeal.firm.sim.clear_log();
    ordeal.firm.sync().await;
    let searches: Vec<String> = ordeal
        .firm
        .sim
        .log()
        .searches()
        .iter()
        .map(|s| format!("{} in {}", s.filter, s.base))
        .collect();
    assert!(searches.len() > 10, "{searches:?}");
    for (nth, search) in (1..).zip(searches) {
        let at = || When::nth_search(nth);
        let mut faults = vec![
            (What::Cut, Ends::Either),
            (What::result(53, "unwilling"), Ends::Either),
            (What::EmptySuccess, Ends::Either),
        ];
        faults.push(if nth % 2 == 0 {
            (What::CutInsideFrame, Ends::Either)
        } else {
            (What::Raw(vec![0x30, 0]), Ends::Either)
        });
        for (what, ends) in faults {
            ordeal
                .suffer_one(row(
                    format!("{what:?} at search {nth}, {search}"),
                    at(),
                    what,
                    ends,
                    Sees::Perhaps,
                ))
                .await;
        }
    }
}
