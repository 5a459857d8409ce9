//! The effect of a change on its user.

use std::collections::BTreeSet;

use super::change::ChangeKind;
use super::ids::{AccountId, UserId};
use super::observation::ObservationNumber;
use super::overrides::Override;
use super::time::Timestamp;
use super::user::{Joined, Standing, User};

impl User {
    /// Returns the user that a creation makes.
    pub fn created(id: UserId, account: AccountId, joined: &Joined, at: Timestamp) -> Self {
        let Joined { tier, addresses, profile, link, causes } = joined.clone();
        Self {
            id,
            account,
            standing: Standing::Active,
            tier,
            addresses,
            profile,
            link,
            causes,
            overrides: BTreeSet::new(),
            note: None,
            version: 0,
            observed_from: ObservationNumber::default(),
            invited_at: None,
            joined_at: None,
            created_at: at,
            updated_at: at,
        }
    }

    /// Applies a change. No other code changes a user.
    pub fn apply(&mut self, change: &ChangeKind, at: Timestamp) {
        match change {
            ChangeKind::Create(joined) | ChangeKind::Link { after: joined, .. } => {
                let Joined { tier, addresses, profile, link, causes } = (**joined).clone();
                self.standing = Standing::Active;
                self.tier = tier;
                self.addresses = addresses;
                self.profile = profile;
                self.link = link;
                for cause in causes.iter() {
                    self.causes.add(cause.clone());
                }
            }
            ChangeKind::Invite { after, .. } => {
                let Joined { tier, addresses, profile, link, causes } = (**after).clone();
                (self.standing, self.tier, self.addresses, self.profile, self.link) =
                    (Standing::Invited, tier, addresses, profile, link);
                self.causes = causes;
                self.invited_at = Some(at);
            }
            ChangeKind::Register { .. } => {
                self.standing = Standing::Active;
                self.joined_at.get_or_insert(at);
            }
            ChangeKind::Transfer { after, .. } => self.account = after.id,
            ChangeKind::Release { .. } => self.standing = Standing::Released,
            ChangeKind::Remove { .. } => {}
            ChangeKind::Unlink { after, .. } => {
                let Joined { tier, addresses, profile, link, causes } = (**after).clone();
                (self.tier, self.addresses, self.profile, self.link, self.causes) =
                    (tier, addresses, profile, link, causes);
                // An invitation that was not accepted is open again.
                if self.invited_at.is_some() && self.joined_at.is_none() {
                    self.standing = Standing::Invited;
                }
            }
            ChangeKind::Relink { after, .. } | ChangeKind::Move { after, .. } => {
                self.link = Some(after.clone())
            }
            ChangeKind::Suspend { cause, .. } => {
                self.causes.add(cause.clone());
                self.overrides.remove(&Override::Reason(cause.reason));
            }
            ChangeKind::Reactivate { lifted, .. } => {
                for cause in lifted.iter() {
                    self.causes.lift(cause.reason);
                }
            }
            ChangeKind::Tier { after, .. } => self.tier = *after,
            ChangeKind::Readdress { after, .. } => self.addresses = after.clone(),
            ChangeKind::Update { after, .. } => self.profile = (**after).clone(),
            ChangeKind::Override { after, .. } => self.overrides.clone_from(after),
        }
        self.updated_at = at;
    }
}
