//! The wish for the account of a user: present, inactive or nothing.

use std::collections::BTreeSet;

use super::mapping::{Mapping, Unfit, Wanted};
use crate::model::{AccountId, Handle, InactiveReason, ProvisionProblem, Status, Tier, User};
use crate::reconcile::Exclude;

/// The state that the account of a user should have.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Wish {
    Present(Wanted),
    /// The account must not be active. The names of the user find accounts to deactivate.
    Inactive(InactiveReason, Option<Wanted>),
    /// Nothing is created or changed: the user is invited or excluded.
    Nothing,
}

impl Wish {
    /// Returns the names by which the account of the user is found.
    pub fn wanted(&self) -> Option<&Wanted> {
        match self {
            Self::Present(wanted) | Self::Inactive(_, Some(wanted)) => Some(wanted),
            Self::Inactive(_, None) | Self::Nothing => None,
        }
    }
}

/// The users whom a target follows.
#[derive(Clone, Debug)]
pub struct Followed {
    pub account: AccountId,
    pub handle: Handle,
    pub tiers: BTreeSet<Tier>,
    pub exclude: Exclude,
}

impl Followed {
    /// Returns the wish for a user; `None` is a user who was removed.
    pub fn wish(&self, user: Option<&User>, mapping: &Mapping) -> Result<Wish, ProvisionProblem> {
        let Some(user) = user else { return Ok(Wish::Inactive(InactiveReason::Removed, None)) };
        let wanted = || mapping.wanted(user, &self.handle);
        let out = |reason| Ok(Wish::Inactive(reason, wanted().ok()));
        if user.account != self.account {
            return out(InactiveReason::Transferred);
        }
        match user.status() {
            Status::Suspended => return out(InactiveReason::Suspended),
            Status::Released => return out(InactiveReason::Released),
            Status::Invited => return out(InactiveReason::Invited),
            Status::Active => {}
        }
        let is_excluded = |address| self.exclude.matching(address).is_some();
        if user.addresses.primary.as_ref().is_some_and(is_excluded) {
            return Ok(Wish::Nothing);
        }
        if !self.tiers.contains(&user.tier) {
            return out(InactiveReason::OutOfScope);
        }
        match wanted() {
            Ok(wanted) => Ok(Wish::Present(wanted)),
            Err(Unfit::NoUserName) => Err(ProvisionProblem::NoUserName),
        }
    }
}
