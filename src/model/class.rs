//! Classes of changes: each has limits of its own in `[safety]`.

use super::words::words;

words! {
    /// The class of a change, in the order of the configuration.
    pub enum ChangeClass {
        /// Suspension as disabled or expired.
        Confirmed = "confirmed",
        /// Suspension as deleted.
        Deleted = "deleted",
        /// Suspension as out of scope, without group or vanished.
        Gone = "gone",
        /// From Pro to Basic.
        Downgrade = "downgrade",
        /// From Basic to Pro.
        Upgrade = "upgrade",
        /// A user is created, is linked, or returns from released.
        Create = "create",
        /// Other addresses of an existing user.
        Readdress = "readdress",
        /// The end of a suspension.
        Reactivate = "reactivate",
    }
}
