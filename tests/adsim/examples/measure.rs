//! Throughput of reads: `cargo run --release -p adsim --example measure -- [PEOPLE]`.
//!
//! Prints the entries per second of a paged read over TLS, first without and then with cached
//! encodings, and the memory.

use std::io::{self, Write as _};
use std::sync::Arc;
use std::time::Instant;

use adsim::{Sim, ber};
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

const ATTRIBUTES: [&str; 14] = [
    "objectGUID",
    "userAccountControl",
    "accountExpires",
    "primaryGroupID",
    "memberOf",
    "mail",
    "proxyAddresses",
    "displayName",
    "givenName",
    "sn",
    "title",
    "department",
    "telephoneNumber",
    "employeeID",
];

#[tokio::main]
async fn main() -> io::Result<()> {
    let people: usize =
        std::env::args().nth(1).and_then(|people| people.parse().ok()).unwrap_or(100_000);
    let mut out = io::stdout();
    let before = resident();
    let began = Instant::now();
    let sim = Sim::builder().people(people).start().await?;
    let took = began.elapsed().as_secs_f64();
    writeln!(out, "made in {took:.1} s, {} bytes a person", (resident() - before) / people)?;
    let mut stream = connect(&sim).await?;
    for round in ["first", "second"] {
        let began = Instant::now();
        let (entries, bytes) = read(&mut stream, &sim.root_dn()).await?;
        let rate = entries as f64 / began.elapsed().as_secs_f64();
        writeln!(
            out,
            "{round} read: {entries} entries, {} bytes each, {rate:.0}/s",
            bytes / entries.max(1)
        )?;
    }
    writeln!(out, "{} bytes a person with what is kept encoded", (resident() - before) / people)
}

/// Returns the process's resident memory in bytes.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<usize>().ok()).unwrap_or(0) * 1024
}

async fn connect(sim: &Sim) -> io::Result<TlsStream<TcpStream>> {
    let mut roots = rustls::RootCertStore::empty();
    let ca = CertificateDer::from_pem_slice(sim.ca_pem().as_bytes()).map_err(io::Error::other)?;
    roots.add(ca).map_err(io::Error::other)?;
    let config = rustls::ClientConfig::builder_with_provider(Arc::new(
        rustls::crypto::aws_lc_rs::default_provider(),
    ))
    .with_safe_default_protocol_versions()
    .map_err(io::Error::other)?
    .with_root_certificates(roots)
    .with_no_client_auth();
    let tcp = TcpStream::connect(sim.ldaps_addr()).await?;
    let name = ServerName::try_from("127.0.0.1").map_err(io::Error::other)?;
    let mut stream = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, tcp).await?;
    let mut bind = Vec::new();
    let begun = ber::begin(&mut bind, 0x60);
    ber::put_number(&mut bind, ber::INTEGER, 3);
    ber::put(&mut bind, ber::OCTETS, sim.service_upn().as_bytes());
    ber::put(&mut bind, 0x80, sim.service_password().as_bytes());
    ber::end(&mut bind, begun);
    stream.write_all(&message(&bind, None)).await?;
    let mut answer = Vec::new();
    while ber::whole_frame(&answer).map_err(io::Error::other)?.is_none() {
        stream.read_buf(&mut answer).await?;
    }
    Ok(stream)
}

fn message(operation: &[u8], cookie: Option<&[u8]>) -> Vec<u8> {
    let mut out = Vec::new();
    let begun = ber::begin(&mut out, ber::SEQUENCE);
    ber::put_number(&mut out, ber::INTEGER, 1);
    out.extend_from_slice(operation);
    if let Some(cookie) = cookie {
        let controls = ber::begin(&mut out, 0xa0);
        let control = ber::begin(&mut out, ber::SEQUENCE);
        ber::put(&mut out, ber::OCTETS, b"1.2.840.113556.1.4.319");
        let mut value = Vec::new();
        let inner = ber::begin(&mut value, ber::SEQUENCE);
        ber::put_number(&mut value, ber::INTEGER, 1000);
        ber::put(&mut value, ber::OCTETS, cookie);
        ber::end(&mut value, inner);
        ber::put(&mut out, ber::OCTETS, &value);
        ber::end(&mut out, control);
        ber::end(&mut out, controls);
    }
    ber::end(&mut out, begun);
    out
}

fn search(base: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let begun = ber::begin(&mut out, 0x63);
    ber::put(&mut out, ber::OCTETS, base.as_bytes());
    for (tag, number) in
        [(ber::ENUMERATED, 2), (ber::ENUMERATED, 0), (ber::INTEGER, 0), (ber::INTEGER, 0)]
    {
        ber::put_number(&mut out, tag, number);
    }
    ber::put(&mut out, ber::BOOLEAN, &[0]);
    let and = ber::begin(&mut out, 0xa0);
    for (name, value) in [("objectCategory", "person"), ("objectClass", "user")] {
        let equal = ber::begin(&mut out, 0xa3);
        ber::put(&mut out, ber::OCTETS, name.as_bytes());
        ber::put(&mut out, ber::OCTETS, value.as_bytes());
        ber::end(&mut out, equal);
    }
    ber::end(&mut out, and);
    let list = ber::begin(&mut out, ber::SEQUENCE);
    for name in ATTRIBUTES {
        ber::put(&mut out, ber::OCTETS, name.as_bytes());
    }
    ber::end(&mut out, list);
    ber::end(&mut out, begun);
    out
}

/// Reads all pages. Returns the number of entries and their bytes.
async fn read(stream: &mut TlsStream<TcpStream>, base: &str) -> io::Result<(usize, usize)> {
    let search = search(base);
    let (mut entries, mut bytes) = (0, 0);
    let mut cookie = Vec::new();
    loop {
        stream.write_all(&message(&search, Some(&cookie))).await?;
        let mut inbox: Vec<u8> = Vec::with_capacity(1 << 20);
        cookie = 'page: loop {
            let mut at = 0;
            while let Some(length) = ber::whole_frame(&inbox[at..]).map_err(io::Error::other)? {
                let frame = &inbox[at..at + length];
                at += length;
                let mut message =
                    ber::Reader::new(frame).inside(ber::SEQUENCE).map_err(io::Error::other)?;
                message.number(ber::INTEGER).map_err(io::Error::other)?;
                let (tag, _) = message.element().map_err(io::Error::other)?;
                if tag == 0x64 {
                    entries += 1;
                    bytes += length;
                } else if tag == 0x65 {
                    break 'page next_cookie(message).map_err(io::Error::other)?;
                }
            }
            inbox.drain(..at);
            if stream.read_buf(&mut inbox).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        };
        if cookie.is_empty() {
            return Ok((entries, bytes));
        }
    }
}

fn next_cookie(mut message: ber::Reader<'_>) -> Result<Vec<u8>, ber::Malformed> {
    let mut control = message.inside(0xa0)?.inside(ber::SEQUENCE)?;
    control.expect(ber::OCTETS)?;
    let mut value = ber::Reader::new(control.expect(ber::OCTETS)?).inside(ber::SEQUENCE)?;
    value.number(ber::INTEGER)?;
    Ok(value.expect(ber::OCTETS)?.to_vec())
}
