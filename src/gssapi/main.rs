//! Gets a Kerberos ticket by a keytab, and speaks the SASL mechanism GSSAPI (RFC 4752) for one bind.
//!
//! rosterd starts this program for each bind. libkrb5 is C, waits without a time limit, and takes
//! its configuration from the environment, so it is no part of the daemon.
//!
//! The first line is the request: keytab, principal, service, channel binding and krb5.conf, each
//! in Base64. The program answers each line with one or two:
//!
//! ```text
//! ticket SECONDS             the KDC has given a ticket-granting ticket
//! token SECONDS TOKEN        to be sent to the server, whose answer is the next line
//! last SECONDS TOKEN         the same; the server has proven its identity, and only accepts or refuses
//! failed CODE TEXT           a Kerberos error code, or 0
//! missing TEXT               the library cannot be loaded
//! ```
#![deny(unsafe_code)]

#[allow(unsafe_code, reason = "libgssapi_krb5 is a C library")]
mod ffi;

use std::io::{self, BufRead as _, Write as _};
use std::os::fd::AsRawFd as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ffi::{Failure, Gssapi, Initiator};
use rustix::fs::MemfdFlags;

/// Most bytes of a line: a ticket with a large authorization data has 64 KiB.
const MAX_LINE: u64 = 256 * 1024;
/// The security layer "none", and no buffer (RFC 4752, 3.3).
const NO_LAYER: [u8; 4] = [1, 0, 0, 0];

fn main() {
    if let Err(Failure { code, text }) = serve() {
        let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let _ = writeln!(io::stdout(), "failed {code} {text}");
    }
}

fn serve() -> Result<(), Failure> {
    let line = read_line()?;
    let fields: Vec<Vec<u8>> = line.split(' ').map(decode).collect::<Result<_, _>>()?;
    let [keytab, principal, service, binding, configuration] =
        <[Vec<u8>; 5]>::try_from(fields).map_err(|_| broken("a request has five fields"))?;
    let text = |bytes| String::from_utf8(bytes).map_err(|_| broken("a name is not UTF-8"));
    let (keytab, principal, service) = (text(keytab)?, text(principal)?, text(service)?);
    if !configuration.is_empty() {
        configure(&configuration).map_err(|e| broken(&format!("no krb5.conf: {e}")))?;
    }

    let gssapi = match Gssapi::load() {
        Ok(gssapi) => gssapi,
        Err(Failure { text, .. }) => return answer(&format!("missing {text}")),
    };
    let (credential, lifetime) = gssapi.log_in(&keytab, &principal)?;
    answer(&format!("ticket {lifetime}"))?;
    let mut initiator = gssapi.initiate(credential, &service, binding)?;
    let mut input = Vec::new();
    let lifetime = loop {
        let step = initiator.step(&input)?;
        answer(&format!("token {} {}", step.lifetime, STANDARD.encode(&step.token)))?;
        input = decode(&read_line()?)?;
        if step.is_complete {
            break step.lifetime;
        }
    };
    let token = choose_no_layer(&mut initiator, &input)?;
    answer(&format!("last {lifetime} {}", STANDARD.encode(&token)))
}

/// Answers the server's offer of security layers: none, because TLS protects the connection.
fn choose_no_layer(initiator: &mut Initiator<'_>, offer: &[u8]) -> Result<Vec<u8>, Failure> {
    match initiator.unwrap(offer)?[..] {
        [layers, _, _, _] if layers & NO_LAYER[0] != 0 => initiator.wrap(&NO_LAYER),
        _ => Err(broken("the server requires a security layer of its own")),
    }
}

/// Gives libkrb5 a configuration that is in no file system.
fn configure(text: &[u8]) -> io::Result<()> {
    let memory = rustix::fs::memfd_create("krb5.conf", MemfdFlags::CLOEXEC)?;
    let mut file = std::fs::File::from(memory);
    file.write_all(text)?;
    ffi::configure(format!("/proc/self/fd/{}", file.as_raw_fd()).as_ref());
    // It is read whenever libkrb5 begins a context.
    std::mem::forget(file);
    Ok(())
}

fn read_line() -> Result<String, Failure> {
    let mut line = String::new();
    let read = io::Read::take(io::stdin().lock(), MAX_LINE).read_line(&mut line);
    match read {
        // The other side has no more requests.
        Ok(0) => std::process::exit(0),
        Ok(_) => Ok(line.trim_end_matches('\n').to_owned()),
        Err(error) => Err(broken(&error.to_string())),
    }
}

fn answer(line: &str) -> Result<(), Failure> {
    writeln!(io::stdout(), "{line}").map_err(|error| broken(&error.to_string()))
}

fn decode(text: &str) -> Result<Vec<u8>, Failure> {
    STANDARD.decode(text).map_err(|_| broken("a field is not Base64"))
}

fn broken(text: &str) -> Failure {
    Failure { code: 0, text: text.to_owned() }
}
