//! The door of a console: one code opens one session, which ends by itself.
//!
//! It reads no clock. Times are those of the process ([`Clock::passed`](crate::clock::Clock)).

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Validity of the code. The browser is opened at once.
pub const CODE_LIFETIME: Duration = Duration::from_mins(1);
/// A session without a request ends after this time.
pub const LONGEST_IDLE: Duration = Duration::from_mins(15);
/// A session ends after this time, however much it is used.
pub const LONGEST_SESSION: Duration = Duration::from_hours(8);

/// 128 random bits in hexadecimal digits.
#[derive(Clone)]
pub struct Secret(String);

/// The system has no random numbers.
#[derive(Debug, thiserror::Error)]
#[error("the system gives no random numbers")]
pub struct NoRandom;

impl Secret {
    pub fn random() -> Result<Self, NoRandom> {
        let mut bytes = [0; 16];
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        provider.secure_random.fill(&mut bytes).map_err(|_| NoRandom)?;
        Ok(Self(format!("{:032x}", u128::from_be_bytes(bytes))))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Compares in a time that does not depend on the place of the first difference.
    pub fn is(&self, given: &str) -> bool {
        let differences =
            self.0.bytes().zip(given.bytes()).fold(0, |all, (own, other)| all | (own ^ other));
        differences == 0 && self.0.len() == given.len()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// The session of the one browser.
#[derive(Debug)]
struct Session {
    cookie: Secret,
    /// Token of its forms.
    token: Secret,
    begun: Duration,
    used: Duration,
}

#[derive(Debug)]
enum State {
    /// The code was not used yet.
    Closed {
        code: Secret,
        since: Duration,
    },
    Open(Session),
    Over(Ending),
}

/// The reason why a console has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    Unopened,
    Idle,
    Expired,
    /// The person ended it in the browser.
    Left,
}

impl Ending {
    pub fn sentence(self) -> &'static str {
        match self {
            Self::Unopened => "The link was not opened within 60 seconds.",
            Self::Idle => "The session ended after 15 minutes without use.",
            Self::Expired => "The session ended after 8 hours.",
            Self::Left => "The session was ended in the browser.",
        }
    }
}

/// A request has no session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shut {
    /// The code is wrong, was used before or is too old.
    Code,
    /// The cookie is missing, or not that of the session.
    Cookie,
    Over(Ending),
}

/// Whether a request shows that a person uses the console.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    Person,
    /// The script refreshes a page by itself.
    Refresh,
}

/// The secrets of a new session.
#[derive(Debug)]
pub struct Opened {
    pub cookie: Secret,
}

#[derive(Debug)]
pub struct Door(Mutex<State>);

impl Door {
    /// Returns a door that this code opens once.
    pub fn new(code: Secret, now: Duration) -> Self {
        Self(Mutex::new(State::Closed { code, since: now }))
    }

    fn with<T>(&self, now: Duration, act: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(ending) = state.ending(now) {
            *state = State::Over(ending);
        }
        act(&mut state)
    }

    /// Swaps the code for a session.
    pub fn open(&self, code: &str, now: Duration, new: [Secret; 2]) -> Result<Opened, Shut> {
        self.with(now, |state| match state {
            State::Closed { code: own, .. } if own.is(code) => {
                let [cookie, token] = new;
                let opened = Opened { cookie: cookie.clone() };
                *state = State::Open(Session { cookie, token, begun: now, used: now });
                Ok(opened)
            }
            State::Over(ending) => Err(Shut::Over(*ending)),
            State::Closed { .. } | State::Open(_) => Err(Shut::Code),
        })
    }

    /// Returns the token of the session with this cookie.
    pub fn pass(&self, cookie: Option<&str>, now: Duration, by: Use) -> Result<Secret, Shut> {
        self.with(now, |state| match state {
            State::Open(session) if cookie.is_some_and(|given| session.cookie.is(given)) => {
                if by == Use::Person {
                    session.used = now;
                }
                Ok(session.token.clone())
            }
            State::Over(ending) => Err(Shut::Over(*ending)),
            State::Closed { .. } | State::Open(_) => Err(Shut::Cookie),
        })
    }

    /// Ends the session.
    pub fn leave(&self, now: Duration) {
        self.with(now, |state| *state = State::Over(Ending::Left));
    }

    /// Returns why the console has ended, if it has.
    pub fn ending(&self, now: Duration) -> Option<Ending> {
        self.with(now, |state| match state {
            State::Over(ending) => Some(*ending),
            State::Closed { .. } | State::Open(_) => None,
        })
    }

    /// Returns whether the code was swapped for a session.
    pub fn is_opened(&self, now: Duration) -> bool {
        self.with(now, |state| !matches!(state, State::Closed { .. }))
    }
}

impl State {
    /// Returns why a state ends at this time.
    fn ending(&self, now: Duration) -> Option<Ending> {
        let lasts = |since: Duration| now.saturating_sub(since);
        match self {
            Self::Closed { since, .. } if lasts(*since) >= CODE_LIFETIME => Some(Ending::Unopened),
            Self::Open(session) if lasts(session.used) >= LONGEST_IDLE => Some(Ending::Idle),
            Self::Open(session) if lasts(session.begun) >= LONGEST_SESSION => Some(Ending::Expired),
            Self::Closed { .. } | Self::Open(_) | Self::Over(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Duration = Duration::from_secs(1_000);

    fn secret(text: &str) -> Secret {
        Secret(text.to_owned())
    }

    fn door() -> Door {
        Door::new(secret("code"), START)
    }

    fn open(door: &Door, code: &str, now: Duration) -> Result<(), Shut> {
        door.open(code, now, [secret("cookie"), secret("token")]).map(drop)
    }

    #[test]
    fn a_secret_has_128_bits_and_differs_each_time() {
        let [one, other] = [Secret::random().unwrap(), Secret::random().unwrap()];
        assert_eq!(one.as_str().len(), 32);
        assert!(!one.is(other.as_str()) && one.is(one.as_str()) && !one.is("") && !one.is("0"));
        assert_eq!(format!("{one:?}"), "Secret", "no secret is logged");
    }

    #[test]
    fn a_code_opens_one_session_within_a_minute() {
        let at = |seconds| START + Duration::from_secs(seconds);
        assert_eq!(open(&door(), "other", START), Err(Shut::Code));
        assert_eq!(open(&door(), "code", at(59)), Ok(()));
        assert_eq!(open(&door(), "code", at(60)), Err(Shut::Over(Ending::Unopened)));
        let used = door();
        open(&used, "code", START).unwrap();
        assert_eq!(open(&used, "code", START), Err(Shut::Code));
        assert!(used.pass(Some("cookie"), START, Use::Person).is_ok(), "the first one stays");
        let guessed = door();
        assert_eq!(open(&guessed, "guess", START), Err(Shut::Code));
        assert_eq!(
            open(&guessed, "code", START),
            Ok(()),
            "a wrong code does not lock the owner out"
        );
    }

    #[test]
    fn a_session_ends_when_it_is_idle_old_or_left() {
        let minutes = |n: u64| START + Duration::from_mins(n);
        let opened = || {
            let door = door();
            open(&door, "code", START).unwrap();
            door
        };
        let pass = |door: &Door, now, by| door.pass(Some("cookie"), now, by).map(drop);
        let idle = opened();
        assert_eq!(pass(&idle, minutes(14), Use::Person), Ok(()));
        assert_eq!(pass(&idle, minutes(28), Use::Refresh), Ok(()), "used 14 minutes ago");
        assert_eq!(pass(&idle, minutes(29), Use::Person), Err(Shut::Over(Ending::Idle)));
        let old = opened();
        for at in (10..480).step_by(10) {
            assert_eq!(pass(&old, minutes(at), Use::Person), Ok(()));
        }
        assert_eq!(pass(&old, minutes(480), Use::Person), Err(Shut::Over(Ending::Expired)));
        let left = opened();
        left.leave(START);
        assert_eq!(pass(&left, START, Use::Person), Err(Shut::Over(Ending::Left)));
        let other = opened();
        assert_eq!(other.pass(None, START, Use::Person).map(drop), Err(Shut::Cookie));
        assert_eq!(other.pass(Some("code"), START, Use::Person).map(drop), Err(Shut::Cookie));
    }
}
