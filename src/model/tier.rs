//! Tiers of users.

use super::words::words;

words! {
    pub enum Tier {
        Basic = "basic",
        Pro = "pro",
    }
}
