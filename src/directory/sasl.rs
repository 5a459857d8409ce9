//! The bind by Kerberos: SASL mechanism GSSAPI (RFC 4752) within TLS, without a security layer.
//!
//! AD refuses signing or sealing within TLS (MS-ADTS 5.1.2.2). The channel binding ties the ticket to
//! this connection, so that no server in between can use it.

use std::net::IpAddr;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::encode::{element, integer, octets, sequence};
use super::kerberos::{Exchange, Login, Service, Token};
use super::wire::SASL_BIND_ID;
use super::wire_error::Step;
use super::{BindRefusal, DirectoryError, Session};

/// The longest time before the end of a ticket at which its session is replaced. It is a fifth of
/// the ticket's lifetime at most.
const EARLIEST_RENEWAL: Duration = Duration::from_mins(5);
/// The result code of a bind that continues (RFC 4511, 4.2.2).
const SASL_BIND_IN_PROGRESS: u32 = 14;

impl Session {
    /// Starts an exchange for a bind: the KDC gives a ticket-granting ticket.
    pub(super) async fn begin_kerberos(&self, login: &Login) -> Result<Exchange, DirectoryError> {
        let url = self.url();
        let domain = self.greeting.domain.as_deref();
        // AD has a servicePrincipalName for each domain controller, but none for an address or for the
        // name of the domain.
        let is_host = url.host.parse::<IpAddr>().is_err()
            && !domain.is_some_and(|domain| url.host.eq_ignore_ascii_case(domain));
        let host = if is_host { Some(url.host.as_str()) } else { self.greeting.host.as_deref() };
        let realm =
            domain.map(str::to_ascii_uppercase).or_else(|| login.realm().map(str::to_owned));
        // Both come from the server, and are written into a file and a name.
        let is_plain = |name: &str| {
            !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c))
        };
        let (Some(&address), Some(host), Some(realm)) = (
            url.addresses.first(),
            host.filter(|host| is_plain(host)),
            realm.filter(|realm| is_plain(realm)),
        ) else {
            return Err(self.unsuitable(
                "does not tell the name that Kerberos needs (no dnsHostName in the rootDSE)",
                "write the names of domain controllers in servers, and no addresses",
            ));
        };
        let host = host.to_ascii_lowercase();
        let service =
            Service { server: &self.server, host, realm, address, binding: &self.binding };
        login.begin(&service, self.connect_wait).await
    }

    /// Binds with the tokens of an exchange, of which the first is given.
    pub(super) async fn bind_gssapi(
        &mut self,
        mut exchange: Exchange,
        first: Token,
    ) -> Result<(), DirectoryError> {
        let wait = self.wait;
        let mut token = first;
        loop {
            let Some(wire) = self.wire.as_ref() else { return Err(self.connection_error(None)) };
            let request = bind_request("GSSAPI", &token.bytes);
            let Ok(response) = timeout(wait, wire.sasl_bind(request)).await else {
                return Err(self.timed_out(Step::Bind, wait));
            };
            let Some(response) = response else { return Err(self.connection_error(None)) };
            let Some(result) = response.result() else { return Err(self.connection_error(None)) };
            match (result.code, token.is_last) {
                (0, true) => {
                    let margin = (token.lifetime / 5).min(EARLIEST_RENEWAL);
                    self.renew_at = Some(Instant::now() + token.lifetime.saturating_sub(margin));
                    return Ok(());
                }
                (SASL_BIND_IN_PROGRESS, false) => {
                    exchange.answer(result.sasl_credentials.unwrap_or_default()).await;
                    token = exchange.token().await?;
                }
                (0 | SASL_BIND_IN_PROGRESS, _) => {
                    return Err(self.unsuitable(
                        "did not prove its identity in the bind by Kerberos",
                        "use a domain controller of Active Directory",
                    ));
                }
                (code, _) => {
                    return Err(DirectoryError::Refused {
                        server: self.server.clone(),
                        refusal: BindRefusal::parse_kerberos(code, result.diagnostic),
                    });
                }
            }
        }
    }

    /// Returns the time after which this session is to be replaced by another one with the same
    /// server, which ends a connection together with its ticket; `None` without a ticket.
    pub fn renewal_due_in(&self) -> Option<Duration> {
        self.renew_at.map(|at| at.saturating_duration_since(Instant::now()))
    }
}

/// Encodes a BindRequest with a SASL mechanism (RFC 4511, 4.2).
fn bind_request(mechanism: &str, credentials: &[u8]) -> Vec<u8> {
    let sasl = [octets(mechanism.as_bytes()), octets(credentials)].concat();
    let bind = [integer(3), octets(b""), element(0xa3, &sasl)].concat();
    sequence(&[integer(SASL_BIND_ID), element(0x60, &bind)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sasl_bind_is_encoded_as_rfc_4511_requires() {
        let wanted = [
            &[0x30, 27, 2, 4, 0x7f, 0xff, 0xff, 0xff, 0x60, 19, 2, 1, 3, 4, 0, 0xa3, 12][..],
            &[4, 6],
            b"GSSAPI",
            &[4, 2],
            b"ab",
        ];
        assert_eq!(bind_request("GSSAPI", b"ab"), wanted.concat());
    }
}
