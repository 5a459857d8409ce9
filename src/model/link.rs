//! Links between users and directory persons.

use serde::{Deserialize, Serialize};

use super::dn::Dn;
use super::ids::{DirectoryName, Guid};

/// The link of a managed user to a person.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Link {
    pub directory: DirectoryName,
    pub guid: Guid,
    /// The distinguished name at the last read.
    pub dn: Dn,
}
