//! The order of observations.

use serde::{Deserialize, Serialize};

/// The number of an observation: a later one has a higher number, whatever the clocks say.
///
/// The store hands it out when a run begins to read, and never hands out one number twice.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct ObservationNumber(pub u64);
