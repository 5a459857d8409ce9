//! Observation numbers, by which observations are ordered.

use serde::{Deserialize, Serialize};

/// The number of an observation. A later observation has a higher number, whatever the clocks say.
///
/// The store issues it when a run begins to read, and issues no number twice.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct ObservationNumber(pub u64);
