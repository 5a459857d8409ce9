//! The operations of operators, by noun.

pub(super) mod accounts;
pub(super) mod directories;
pub(super) mod domains;
pub(super) mod explain;
pub(super) mod held;
pub(super) mod invitations;
pub(super) mod notes;
pub(super) mod operator_run;
pub(super) mod population;
pub(super) mod preview;
pub(super) mod rehearsal;
pub(super) mod scheduled;
pub(super) mod search;
pub(super) mod targets;
pub(super) mod undo;
pub(super) mod users;
mod who;
