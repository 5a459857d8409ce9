//! The addresses of a user.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Address, AddressKey};

/// The addresses of one user.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Addresses {
    /// The one shown.
    pub primary: Option<Address>,
    /// The others that sign-in accepts, in order.
    pub secondary: BTreeSet<Address>,
}

impl Addresses {
    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Address> {
        self.primary.iter().chain(&self.secondary)
    }

    /// The keys of all of them.
    pub fn keys(&self) -> BTreeSet<AddressKey> {
        self.iter().map(Address::key).collect()
    }
}
