//! The last answer of DNS about the servers of a directory. It is used when DNS does not answer, and
//! spares the callers a question each.

use std::time::Duration;

use crate::model::{Domain, ServerUrl};

/// Time after which DNS is asked again.
const FRESH_FOR: Duration = Duration::from_mins(2);

/// The servers that DNS named last. Durations are elapsed times of the process.
#[derive(Debug, Default)]
pub(super) struct DnsAnswer {
    domain: Option<Domain>,
    servers: Vec<ServerUrl>,
    asked_at: Option<Duration>,
    failure: Option<(Duration, String)>,
}

impl DnsAnswer {
    /// Returns the servers of a domain, unless it is time to ask again.
    pub(super) fn recent(&self, domain: &Domain, now: Duration) -> Option<Vec<ServerUrl>> {
        let is_recent = self.asked_at.is_some_and(|at| now.saturating_sub(at) < FRESH_FOR);
        self.of(domain).filter(|_| is_recent)
    }

    pub(super) fn of(&self, domain: &Domain) -> Option<Vec<ServerUrl>> {
        let is_known = self.domain.as_ref() == Some(domain) && !self.servers.is_empty();
        is_known.then(|| self.servers.clone())
    }

    /// Notes an answer.
    pub(super) fn succeed(&mut self, domain: &Domain, servers: &[ServerUrl], now: Duration) {
        self.keep(domain, servers.to_vec());
        (self.asked_at, self.failure) = (Some(now), None);
    }

    /// Notes that DNS did not answer. Returns the servers of its last answer.
    pub(super) fn fail(
        &mut self,
        domain: &Domain,
        error: &str,
        now: Duration,
    ) -> Option<Vec<ServerUrl>> {
        self.asked_at = Some(now);
        self.failure.get_or_insert_with(|| (now, error.to_owned()));
        self.of(domain)
    }

    /// Keeps the servers for use while DNS does not answer.
    pub(super) fn keep(&mut self, domain: &Domain, servers: Vec<ServerUrl>) {
        (self.domain, self.servers) = (Some(domain.clone()), servers);
    }

    /// Returns for how long DNS has not answered, and its error.
    pub(super) fn failing_for(&self, now: Duration) -> Option<(Duration, &str)> {
        let (since, error) = self.failure.as_ref()?;
        Some((now.saturating_sub(*since), error))
    }
}
