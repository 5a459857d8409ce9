//! The limits on changes without approval, as properties of the guard and of the store.
//! The sequences mix full and scoped runs.

mod guard;
mod store;

use std::time::Duration;

use proptest::prelude::*;
use rosterd::model::*;

const HOUR: Duration = Duration::from_hours(1);

fn class() -> impl Strategy<Value = ChangeClass> {
    prop::sample::select(ChangeClass::ALL.to_vec())
}
