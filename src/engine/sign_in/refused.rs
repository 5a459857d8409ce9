//! Counts refused sign-ins and records them in windows.
//!
//! One event per refusal would let a spray of guesses fill the log and every hook. So refusals are
//! counted for a few minutes by account, and then recorded as one `sign_in.refused`.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

use super::Context;
use crate::directory::BindRefusal;
use crate::engine::periodic::Periodic;
use crate::engine::{Engine, EngineError};
use crate::model::{AccountId, AccountRef, Actor, Event, EventCause, Timestamp, UserId, words};
use crate::store::StoreError;

/// The length of a window. The metrics are sooner; a spray of an hour makes twelve events.
pub const REPORTED_EVERY: Duration = Duration::from_mins(5);

/// The longest time by which a window is reported late.
const PERIOD: Duration = Duration::from_secs(15);

/// Users and client addresses that an event names: the ones with the most refusals.
const NAMED: usize = 20;

/// Users and client addresses that are counted one by one in a window; those beyond are counted
/// together.
const COUNTED: usize = 10_000;

words! {
    /// The reason why a sign-in was refused. Operators see it, callers do not.
    pub enum RefusalReason {
        /// The text is no email address.
        NotAnAddress = "not-an-address",
        /// No user has the address, and a directory decides who gets one.
        UnknownUser = "unknown-user",
        /// The user is suspended.
        Suspended = "suspended",
        /// The directory's accountExpires, as it was last read, has passed.
        AccountExpired = "account-expired",
        /// The external provider was asked about a managed user.
        ManagedByDirectory = "managed-by-directory",
        /// The account's policies do not let users sign in that no directory manages.
        ExternalUsersOff = "external-users-off",
        /// No password was given.
        NoPassword = "no-password",
        /// The password has a NUL, or is longer than any in AD.
        NotAPassword = "not-a-password",
        /// As many of the user's attempts count as are allowed: AD might lock the account at the next
        /// one.
        RateLimited = "rate-limited",
        /// AD does not accept the password (52e), or does not say why.
        WrongPassword = "wrong-password",
        /// AD knows no entry of the name (525): it was renamed or deleted.
        UnknownToDirectory = "unknown-to-directory",
        /// Another entry has the name by now, and its password was given.
        OtherEntry = "other-entry",
        /// AD: not at this hour, or not from this machine (530, 531).
        LogonRestricted = "logon-restricted",
        /// AD: the password has expired, or must be changed first (532, 773).
        PasswordExpired = "password-expired",
        /// AD: the account is disabled (533).
        DisabledInDirectory = "disabled-in-directory",
        /// AD: the account has expired (701).
        ExpiredInDirectory = "expired-in-directory",
        /// AD: the account is locked out (775).
        LockedOut = "locked-out",
    }
}

impl RefusalReason {
    /// Returns the reason of AD's refusal of a person's password.
    pub(super) fn of(refusal: &BindRefusal) -> Self {
        match refusal.data {
            Some(0x525) => Self::UnknownToDirectory,
            Some(0x530 | 0x531) => Self::LogonRestricted,
            Some(0x532 | 0x773) => Self::PasswordExpired,
            Some(0x533) => Self::DisabledInDirectory,
            Some(0x701) => Self::ExpiredInDirectory,
            Some(0x775) => Self::LockedOut,
            _ if matches!(refusal.code, 32 | 34) => Self::UnknownToDirectory,
            _ => Self::WrongPassword,
        }
    }
}

/// The refusals of each account in its present window.
#[derive(Debug, Default)]
pub(in crate::engine) struct Refusals(Mutex<BTreeMap<AccountId, Window>>);

/// The refusals of one account since the first one.
#[derive(Debug)]
struct Window {
    account: AccountRef,
    since: Timestamp,
    /// The time that had passed at the first one: windows do not end earlier because the clock is
    /// set.
    began: Duration,
    reasons: BTreeMap<RefusalReason, u64>,
    users: Counted<UserId>,
    client_addresses: Counted<IpAddr>,
}

/// How often each of many was seen.
#[derive(Debug)]
struct Counted<K>(HashMap<K, u64>);

impl<K: Copy + Eq + Ord + Hash + ToString> Counted<K> {
    /// Returns whether it is the first one.
    fn add(&mut self, key: K) -> bool {
        if self.0.len() >= COUNTED && !self.0.contains_key(&key) {
            return false;
        }
        let count = self.0.entry(key).or_default();
        *count += 1;
        *count == 1
    }

    /// Returns those with the most refusals.
    fn most(&self, name: &str) -> Vec<Value> {
        let mut all: Vec<(K, u64)> = self.0.iter().map(|(key, count)| (*key, *count)).collect();
        all.sort_unstable_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
        all.into_iter()
            .take(NAMED)
            .map(|(key, count)| json!({ name: key.to_string(), "refused": count }))
            .collect()
    }
}

impl Window {
    fn event(&self, until: Timestamp) -> Event {
        let Self { account, since, began: _, reasons, users, client_addresses } = self;
        let cause = EventCause {
            actor: Actor::rosterd(),
            run: None,
            account: Some(account.handle.clone()),
            at: until,
        };
        let by_reason: BTreeMap<&str, u64> =
            reasons.iter().map(|(reason, count)| (reason.as_str(), *count)).collect();
        let after = json!({
            "since": since,
            "until": until,
            "refused": reasons.values().sum::<u64>(),
            "reasons": by_reason,
            "users": users.most("user"),
            "user_count": users.0.len(),
            "client_addresses": client_addresses.most("address"),
            "client_address_count": client_addresses.0.len(),
        });
        Event::about("sign_in.refused", account.id.to_string(), &cause, Value::Null, after)
    }
}

impl Refusals {
    /// Counts a refusal, and returns whether it is the user's first one in this window.
    pub(super) fn note(
        &self,
        reason: RefusalReason,
        known: &Context,
        passed: Duration,
        now: Timestamp,
    ) -> bool {
        // Without an account there is no recipient: the domain is unclaimed, or the text is no
        // address.
        let Some(account) = &known.account else { return false };
        let mut windows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let window = windows.entry(account.id).or_insert_with(|| Window {
            account: account.clone(),
            since: now,
            began: passed,
            reasons: BTreeMap::new(),
            users: Counted(HashMap::new()),
            client_addresses: Counted(HashMap::new()),
        });
        *window.reasons.entry(reason).or_default() += 1;
        if let Some(from) = known.from {
            window.client_addresses.add(from);
        }
        known.user.is_some_and(|user| window.users.add(user))
    }

    /// Takes the windows that have ended, or all of them.
    fn take(&self, passed: Duration, is_over: bool) -> Vec<Window> {
        let mut windows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let ended =
            |window: &Window| is_over || passed.saturating_sub(window.began) >= REPORTED_EVERY;
        let ids: Vec<AccountId> =
            windows.iter().filter(|(_, window)| ended(window)).map(|(id, _)| *id).collect();
        ids.iter().filter_map(|id| windows.remove(id)).collect()
    }
}

/// The periodic task that records refused sign-ins.
pub(in crate::engine) struct SignInReports(Arc<Engine>);

impl SignInReports {
    pub(in crate::engine) fn new(engine: &Arc<Engine>) -> Self {
        Self(Arc::clone(engine))
    }
}

impl Periodic for SignInReports {
    fn name(&self) -> &'static str {
        "sign-in-reports"
    }

    fn period(&self) -> Duration {
        PERIOD
    }

    async fn round(&mut self) -> Result<(), EngineError> {
        Ok(self.0.report_refused_sign_ins(false).await?)
    }

    async fn last_round(&mut self) -> Result<(), EngineError> {
        Ok(self.0.report_refused_sign_ins(true).await?)
    }
}

impl Engine {
    /// Writes the events of the windows that have ended, or of all.
    pub async fn report_refused_sign_ins(&self, all: bool) -> Result<(), StoreError> {
        let now = self.clock.now();
        let events: Vec<Event> = self
            .refusals
            .take(self.clock.passed(), all)
            .iter()
            .map(|window| window.event(now))
            .collect();
        if events.is_empty() {
            Ok(())
        } else {
            self.store.record_anywhere(&events, &self.clock).await
        }
    }
}
