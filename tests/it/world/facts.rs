//! The true state of the people, and the losses of sight of a run.

use std::collections::BTreeSet;

use rosterd::model::*;
use rosterd::reconcile::*;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    Alive,
    Tombstone,
    Purged,
}

/// The true state of one person.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    pub life: Life,
    pub ou: String,
    pub mail: String,
    pub proxies: Vec<String>,
    pub name: String,
    pub disabled: bool,
    pub expires: Expiry,
    pub leave: Field,
    pub pro: bool,
    pub basic: bool,
}

/// A loss of sight during one run.
#[derive(Clone, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fault of its own")]
pub(crate) struct Loss {
    pub hidden_ous: BTreeSet<String>,
    /// People missing from the pages but found by GUID.
    pub skipped: BTreeSet<Guid>,
    /// People who are not visible at all.
    pub hidden: BTreeSet<Guid>,
    pub no_control: BTreeSet<Guid>,
    pub no_mail: BTreeSet<Guid>,
    pub no_member_of: BTreeSet<Guid>,
    /// People with malformed entries that show only the state of the account.
    pub broken: BTreeSet<Guid>,
    /// The groups whose members cannot be seen.
    pub blind_groups: BTreeSet<Guid>,
    /// The Basic group is not found at all.
    pub no_basic_group: bool,
    pub tombstones_visible: bool,
    /// The base that ends otherwise, and its end.
    pub end: Option<(usize, PageEnd)>,
    /// The number of entries after which the read ends, successfully unless `end` says otherwise.
    pub cut_after: Option<usize>,
    /// Another server answers at the end of the read.
    pub other_server: bool,
    /// Another domain controller is read than usual.
    pub on_replica: bool,
    /// The connection ends before the groups are asked for their members.
    pub groups_unasked: bool,
    /// Requests for people by GUID fail.
    pub unconfirmed: bool,
    /// The clocks of the server and of rosterd differ too much.
    pub clocks_apart: bool,
    /// The server returns people in another order.
    pub(crate) reversed: bool,
}

impl Facts {
    /// Returns whether accountExpires or the leave date has passed.
    pub(crate) fn has_expired(&self, now: Timestamp) -> bool {
        let leave = match &self.leave {
            Field::Text(text) => leave_date(text, chrono_tz::Tz::UTC),
            _ => None,
        };
        matches!(self.expires, Expiry::At(at) if at <= now) || leave.is_some_and(|at| at <= now)
    }
}

impl Loss {
    pub(super) fn server(&self) -> ServerIdentity {
        let name = if self.on_replica { "CN=DC2" } else { "CN=DC1" };
        ServerIdentity { ds_service_name: name.to_owned(), invocation_id: None }
    }
}

impl Facts {
    /// Returns an employee in one of three OUs; every third one is Pro.
    pub(crate) fn of(n: u32) -> Self {
        Self {
            life: Life::Alive,
            ou: ["Engineering", "Sales", "Operations"][n as usize % 3].to_owned(),
            mail: format!("p{n}@example.com"),
            proxies: vec![
                format!("SMTP:p{n}@example.com"),
                format!("smtp:alias{n}@example.org"),
                format!("X500:/o={n}"),
            ],
            name: format!("Person {n}"),
            disabled: false,
            expires: Expiry::Never,
            leave: Field::Absent,
            pro: n.is_multiple_of(3),
            basic: true,
        }
    }
}
