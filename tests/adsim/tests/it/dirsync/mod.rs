//! DirSync: a reader that adds up deltas, and the deltas it gets.

mod cookies;
mod deltas;
mod members;
mod rounds;

use std::fmt::Write as _;

use adsim::{Control, NewPerson, Sim, ber};

use crate::client::{Ask, Attributes, Client, below, control};

const ROOT: &str = "DC=corp,DC=example,DC=com";
const DIR_SYNC: &str = "1.2.840.113556.1.4.841";
const PEOPLE: &str = "(objectClass=user)";
const ALL: &str = "(objectClass=*)";

/// Works with the rights of an ordinary account.
const SECURE: i64 = 1;
/// 0x80000000 as a signed 32-bit number.
const INCREMENTAL: i64 = -0x8000_0000;

fn dirsync(flags: i64, cookie: &[u8]) -> Control {
    let mut value = Vec::new();
    let begun = ber::begin(&mut value, ber::SEQUENCE);
    ber::put_number(&mut value, ber::INTEGER, flags);
    ber::put_number(&mut value, ber::INTEGER, 1_048_576);
    ber::put(&mut value, ber::OCTETS, cookie);
    ber::end(&mut value, begun);
    Control { value: Some(value), ..control(DIR_SYNC) }
}

/// A client that reads the domain again and again.
struct Reader<'a> {
    client: Client,
    filter: &'a str,
    attributes: &'a [&'a str],
    flags: i64,
    cookie: Vec<u8>,
    more: bool,
}

impl<'a> Reader<'a> {
    async fn new(sim: &Sim, filter: &'a str, attributes: &'a [&'a str]) -> Self {
        Self {
            client: Client::service(sim).await,
            filter,
            attributes,
            flags: SECURE,
            cookie: Vec::new(),
            more: true,
        }
    }

    /// Returns a client that has read everything.
    async fn caught_up(sim: &Sim, filter: &'a str, attributes: &'a [&'a str], flags: i64) -> Self {
        let mut reader = Self { flags, ..Self::new(sim, filter, attributes).await };
        reader.read().await;
        assert!(!reader.more);
        reader
    }

    fn ask(&self) -> Ask<'a> {
        Ask {
            controls: vec![dirsync(self.flags, &self.cookie)],
            ..below(ROOT, self.filter, self.attributes)
        }
    }

    /// Returns the changes, each entry in a line.
    async fn read(&mut self) -> Vec<String> {
        self.entries().await.iter().map(|(dn, attributes)| line(dn, attributes)).collect()
    }

    async fn entries(&mut self) -> Vec<(String, Attributes)> {
        let found = self.client.ask(self.ask()).await;
        assert_eq!((found.code, found.references.len()), (0, 0), "{}", found.text);
        (self.more, self.cookie) = found.dirsync.expect("a DirSync control");
        found.entries
    }
}

/// `bob: mail= title=Boss`: an entry with its attributes, without those of every entry.
fn line(dn: &str, attributes: &Attributes) -> String {
    let short = |name: &str| {
        name.split(',')
            .next()
            .and_then(|rdn| rdn.split_once('='))
            .map(|(_, value)| value.to_owned())
    };
    let cut = |value: &str| {
        if value.contains("DC=") { short(value).expect("a name") } else { value.to_owned() }
    };
    for always in ["objectGUID", "instanceType"] {
        assert_eq!(attributes[always].len(), 1, "{dn} has no {always}");
    }
    let mut line = format!("{}:", cut(dn).split("\\0A").next().unwrap_or_default());
    for (name, values) in attributes {
        match name.as_str() {
            "objectGUID" | "instanceType" => {}
            "parentGUID" => line.push_str(" parentGUID"),
            "name" => line.push_str(" name"),
            _ => {
                let values: Vec<String> =
                    values.iter().map(|value| cut(&String::from_utf8_lossy(value))).collect();
                let _ = write!(line, " {name}={}", values.join("+"));
            }
        }
    }
    line
}

/// A domain with two OUs, two groups and three people.
async fn few() -> Sim {
    let sim = Sim::builder().start().await.expect("starts");
    sim.edit(|ad| {
        ad.add_ou("", "Staff");
        ad.add_ou("", "Leavers");
        for group in ["Basic", "Pro"] {
            ad.add_group("Staff", group);
        }
        for sam in ["ann", "bob", "cat"] {
            let mail = format!("{sam}@example.com");
            ad.add_person(
                NewPerson::new(sam)
                    .mail(&mail)
                    .with("title", "Clerk")
                    .ou("Staff")
                    .member_of("Basic"),
            );
        }
    });
    sim
}
