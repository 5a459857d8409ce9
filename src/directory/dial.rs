//! Dials a server: Happy Eyeballs (RFC 8305) over its addresses, up to the end of the TLS handshake.
//!
//! An address that accepts the connection and stays silent is as dead as one that accepts nothing.
//! So an address has won when its handshake is complete.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use nix::sys::socket::{setsockopt, sockopt};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{sleep, timeout, timeout_at};
use tokio_rustls::client::TlsStream;

use super::Settings;
use super::frame::{self, Op};
use super::tls::{self, Certificate, Secured, TlsError};
use super::wire_error::{DialErrors, Step, WireError};
use crate::model::ServerUrl;

/// Time after which the next address is dialled, too (RFC 8305, section 5).
const NEXT_ADDRESS: Duration = Duration::from_millis(250);
/// Time after which the last address of a server is used, because DNS does not answer.
const LAST_ADDRESS: Duration = Duration::from_secs(1);
/// Time after which the kernel ends a connection whose peer acknowledges nothing (RFC 5482).
const USER_TIMEOUT: Duration = Duration::from_secs(15);
/// ExtendedRequest with message id 1 and requestName 1.3.6.1.4.1.1466.20037 (RFC 4511, 4.14).
const START_TLS: &[u8] = b"\x30\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037";

/// A connection to one address of a server, with TLS.
pub(super) struct Dialled {
    pub stream: TlsStream<TcpStream>,
    pub certificate: Certificate,
    /// The channel binding `tls-server-end-point`.
    pub binding: Vec<u8>,
    pub address: SocketAddr,
    /// The time until TCP was connected.
    pub tcp_after: Duration,
}

/// Dials the addresses of a server. The first one that completes TLS wins.
///
/// `timeouts.connect` limits each address.
pub(super) async fn dial(
    url: &ServerUrl,
    settings: &Settings,
    addresses: &[SocketAddr],
) -> Result<Dialled, WireError> {
    if !url.implicit_tls && !settings.starttls {
        return Err(WireError::Plaintext(url.clone()));
    }
    let addresses = interleaved(addresses);
    let attempts = addresses.iter().map(|address| dial_address(*address, url, settings)).collect();
    let race = race(attempts, NEXT_ADDRESS).await;
    if let Some((_, dialled)) = race.winner {
        return Ok(dialled);
    }
    let mut errors: Vec<(usize, WireError)> = race.failed;
    // An address in the URL needs no repetition.
    if let [(_, _)] = errors[..]
        && url.host.parse::<IpAddr>().is_ok()
        && let Some((_, error)) = errors.pop()
    {
        return Err(error);
    }
    let of = |(n, error): (usize, WireError)| Some((addresses.get(n)?.ip(), error));
    Err(WireError::Addresses(DialErrors(errors.into_iter().filter_map(of).collect())))
}

/// Returns the addresses of a server: those that discovery found, or else a DNS query. Where DNS does
/// not answer within a second, it is the last address that answered, if there is one.
pub(super) async fn resolve(
    url: &ServerUrl,
    settings: &Settings,
    last: Option<IpAddr>,
) -> Result<Vec<SocketAddr>, WireError> {
    let mut addresses = look_up(url, settings, last).await?;
    // The others compete only if this one has died since.
    addresses.sort_by_key(|address| Some(address.ip()) != last);
    Ok(addresses)
}

async fn look_up(
    url: &ServerUrl,
    settings: &Settings,
    last: Option<IpAddr>,
) -> Result<Vec<SocketAddr>, WireError> {
    if !url.addresses.is_empty() {
        return Ok(url
            .addresses
            .iter()
            .map(|address| SocketAddr::new(*address, url.port))
            .collect());
    }
    let wait = match last {
        Some(_) => LAST_ADDRESS.min(settings.timeouts.connect),
        None => settings.timeouts.connect,
    };
    let bad = |reason: String| WireError::Resolve { host: url.host.clone(), reason };
    let found = match timeout(wait, lookup_host((url.host.as_str(), url.port))).await {
        Ok(Ok(found)) => Ok(found.collect::<Vec<_>>()),
        Ok(Err(error)) => Err(bad(error.to_string())),
        Err(_) => Err(WireError::Timeout { step: Step::Dns, after: wait }),
    };
    match (found, last) {
        (Ok(found), _) if !found.is_empty() => Ok(found),
        (_, Some(last)) => Ok(vec![SocketAddr::new(last, url.port)]),
        (Ok(_), None) => Err(bad("DNS returned none".to_owned())),
        (Err(error), None) => Err(error),
    }
}

/// Returns the addresses with alternating families, the family of the first one first (RFC 8305,
/// section 4).
fn interleaved(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let is_first_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (mut first, mut second): (Vec<_>, Vec<_>) =
        addresses.iter().copied().partition(|address| address.is_ipv6() == is_first_v6);
    let mut result = Vec::with_capacity(addresses.len());
    first.reverse();
    second.reverse();
    while !(first.is_empty() && second.is_empty()) {
        result.extend(first.pop());
        result.extend(second.pop());
    }
    result
}

async fn dial_address(
    address: SocketAddr,
    url: &ServerUrl,
    settings: &Settings,
) -> Result<Dialled, WireError> {
    let wait = settings.timeouts.connect;
    let late = |step| move |_| WireError::Timeout { step, after: wait };
    let started = Instant::now();
    let deadline = tokio::time::Instant::from_std(started + wait);
    let mut tcp = timeout_at(deadline, TcpStream::connect(address))
        .await
        .map_err(late(Step::Connect))?
        .map_err(WireError::Connect)?;
    let tcp_after = started.elapsed();
    // Without it, the kernel resends requests to a dead server for a quarter of an hour.
    let limit = u32::try_from(USER_TIMEOUT.as_millis()).unwrap_or(u32::MAX);
    setsockopt(&tcp, sockopt::TcpUserTimeout, &limit)
        .map_err(|errno| WireError::Connect(errno.into()))?;
    // Nagle's algorithm would delay the small requests, each of which awaits its response.
    tcp.set_nodelay(true).map_err(WireError::Connect)?;
    if !url.implicit_tls {
        timeout_at(deadline, start_tls(&mut tcp)).await.map_err(late(Step::StartTls))??;
    }
    let secured = timeout_at(deadline, tls::secure(tcp, &url.host, settings.ca_file.as_deref()));
    let Secured { stream, certificate, binding } =
        secured.await.map_err(|_| TlsError::Timeout(wait))??;
    Ok(Dialled { stream, certificate, binding, address, tcp_after })
}

/// Requests TLS on a plain connection. Any byte after the response is an injection.
async fn start_tls(tcp: &mut TcpStream) -> Result<(), WireError> {
    tcp.write_all(START_TLS).await.map_err(WireError::Connect)?;
    let mut buffer = BytesMut::new();
    let answer = loop {
        if let Some(answer) = frame::split(&mut buffer)? {
            break answer;
        }
        if tcp.read_buf(&mut buffer).await.map_err(WireError::Connect)? == 0 {
            return Err(WireError::Cut);
        }
    };
    match (answer.message_id, answer.op, answer.result().map(|r| r.code)) {
        (1, Op::ExtendedResponse, Some(0)) if buffer.is_empty() => Ok(()),
        (1, Op::ExtendedResponse, Some(0)) => Err(WireError::StartTlsInjection),
        (1, Op::ExtendedResponse, Some(code)) => Err(WireError::StartTlsRefused(code)),
        (0, ..) => Err(WireError::Notice),
        (id, ..) => Err(WireError::Unexpected(id)),
    }
}

/// Outcome of a race: the winner, the attempts that failed before, in order of failure, and those
/// that were under way. Attempts are numbered by their order.
pub(super) struct Race<T, E> {
    pub winner: Option<(usize, T)>,
    pub failed: Vec<(usize, E)>,
    /// Each with the time for which it ran.
    pub under_way: Vec<(usize, Duration)>,
}

/// Starts the attempts in order: the first at once, each further one after `delay`, or as soon as
/// another one has failed. The first that succeeds ends all others.
pub(super) async fn race<T, E, F>(attempts: Vec<F>, delay: Duration) -> Race<T, E>
where
    F: Future<Output = Result<T, E>>,
{
    let mut waiting = attempts.into_iter().enumerate();
    let mut running = FuturesUnordered::new();
    let mut started: Vec<(usize, Instant)> = Vec::new();
    let mut failed = Vec::new();
    let winner = loop {
        let has_more = match waiting.next() {
            Some((n, attempt)) => {
                started.push((n, Instant::now()));
                running.push(async move { (n, attempt.await) });
                waiting.len() > 0
            }
            None => false,
        };
        let ended = tokio::select! {
            ended = running.next() => ended,
            () = sleep(delay), if has_more => continue,
        };
        let Some((n, ended)) = ended else { break None };
        started.retain(|(other, _)| *other != n);
        match ended {
            Ok(won) => break Some((n, won)),
            Err(error) => failed.push((n, error)),
        }
    };
    let under_way = started.into_iter().map(|(n, at)| (n, at.elapsed())).collect();
    Race { winner, failed, under_way }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| format!("{text}:636").parse().expect("an address")).collect()
    }

    #[test]
    fn addresses_alternate_between_the_families_beginning_with_the_first() {
        for (given, dialled) in [
            (&["[::1]", "[::2]", "1.1.1.1"][..], &["[::1]", "1.1.1.1", "[::2]"][..]),
            (&["1.1.1.1", "1.1.1.2", "[::1]"], &["1.1.1.1", "[::1]", "1.1.1.2"]),
            (&["1.1.1.1", "1.1.1.2"], &["1.1.1.1", "1.1.1.2"]),
            (&[], &[]),
        ] {
            assert_eq!(interleaved(&addresses(given)), addresses(dialled));
        }
    }

    /// An attempt that ends after some milliseconds.
    async fn attempt(after: u64, result: Result<u8, &'static str>) -> Result<u8, &'static str> {
        sleep(Duration::from_millis(after)).await;
        result
    }

    #[tokio::test]
    async fn the_next_attempt_starts_after_the_delay_or_at_once_after_a_failure() {
        let begun = Instant::now();
        let attempts = vec![attempt(60_000, Ok(0)), attempt(10, Err("refused")), attempt(5, Ok(2))];
        let Race { winner, failed, under_way } = race(attempts, NEXT_ADDRESS).await;
        assert_eq!((winner, failed), (Some((2, 2)), vec![(1, "refused")]));
        assert!(matches!(under_way[..], [(0, ran)] if ran >= NEXT_ADDRESS), "{under_way:?}");
        let took = begun.elapsed();
        assert!(took >= NEXT_ADDRESS && took < 2 * NEXT_ADDRESS, "{took:?}");
    }

    #[tokio::test]
    async fn a_race_without_a_winner_returns_every_failure() {
        let attempts = vec![attempt(500, Err("late")), attempt(10, Err("refused"))];
        let Race { winner, failed, under_way } = race(attempts, NEXT_ADDRESS).await;
        assert_eq!((winner, under_way), (None, vec![]));
        assert_eq!(failed, [(1, "refused"), (0, "late")]);
        let none: Vec<std::future::Ready<Result<u8, u8>>> = Vec::new();
        assert!(race(none, NEXT_ADDRESS).await.winner.is_none());
    }
}
