//! The population: always the same people, shaped like those of an Active Directory, as LDIF.

use std::io::{self, Write};

use xxhash_rust::xxh3::xxh3_128;

/// Raised with every change to the generated people, so that no directory of an older recipe is
/// reused.
const RECIPE: u32 = 2;

/// The domain. Names are in OpenLDAP's spelling, which, like AD's, is the same everywhere for one
/// object.
pub const ROOT: &str = "dc=corp,dc=example,dc=com";
/// The DN that both sides bind with.
pub const READER: &str = "cn=svc-rosterd,ou=Service,dc=corp,dc=example,dc=com";
/// The server's own object, which names its database.
pub const SERVER: &str = "cn=NTDS Settings,ou=Service,dc=corp,dc=example,dc=com";
/// The groups that give a tier. Odd people are in the first one, the others in the second.
pub const TIER_GROUPS: [&str; 2] = ["Roster Pro", "Roster Basic"];
/// The attributes of a person that rosterd asks for, in its order.
pub const ATTRIBUTES: [&str; 17] = [
    "objectGUID",
    "userAccountControl",
    "accountExpires",
    "primaryGroupID",
    "memberOf",
    "proxyAddresses",
    "mail",
    "displayName",
    "givenName",
    "sn",
    "title",
    "department",
    "telephoneNumber",
    "employeeID",
    "manager",
    "sAMAccountName",
    "objectSid",
];

const GIVEN: [&str; 16] = [
    "Ada", "Björn", "Chiara", "David", "Eleni", "Fatima", "Georg", "Hanna", "Ivan", "Julia",
    "Kenji", "Léa", "Mateo", "Nadia", "Olga", "Pavel",
];
const FAMILY: [&str; 16] = [
    "Lindqvist",
    "Müller",
    "Rossi",
    "Okafor",
    "Papadopoulos",
    "Hassan",
    "Schneider",
    "Virtanen",
    "Petrov",
    "Nowak",
    "Tanaka",
    "Dubois",
    "García",
    "Ivanova",
    "Kowalska",
    "Novák",
];
const DEPARTMENTS: [&str; 10] = [
    "Engineering",
    "Sales",
    "Finance",
    "People",
    "Legal",
    "Support",
    "Marketing",
    "Procurement",
    "Logistics",
    "Research",
];
const TITLES: [&str; 8] = [
    "Engineer",
    "Senior Engineer",
    "Manager",
    "Account Executive",
    "Analyst",
    "Director",
    "Administrator",
    "Consultant",
];

/// The number of people, and of the groups of each.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Population {
    pub people: u64,
    /// Values of `memberOf` per person.
    pub memberships: u64,
}

impl Population {
    /// Returns a name that differs for every population and recipe.
    pub fn name(self) -> String {
        format!("recipe{RECIPE}-people{}-memberships{}", self.people, self.memberships)
    }

    /// Returns the objects that are asked for by GUID or SID, which only Active Directory
    /// understands.
    pub fn objects_by_guid() -> Vec<(String, String)> {
        let mut known: Vec<(String, String)> =
            [ROOT, READER].iter().map(|dn| (guid_reference(dn), (*dn).to_owned())).collect();
        known.extend(
            TIER_GROUPS.iter().map(|name| (guid_reference(&group_dn(name)), group_dn(name))),
        );
        known.push((format!("<SID={READER_SID}>"), READER.to_owned()));
        known
    }

    /// Writes the population as LDIF.
    pub fn write(self, to: &mut impl Write) -> io::Result<()> {
        writeln!(
            to,
            "dn: {ROOT}\nobjectClass: top\nobjectClass: container\nobjectClass: adObject\ndc: corp"
        )?;
        guid(to, ROOT)?;
        for unit in ["Service", "Groups"].iter().chain(&DEPARTMENTS) {
            let dn = format!("ou={unit},{ROOT}");
            writeln!(
                to,
                "dn: {dn}\nobjectClass: top\nobjectClass: container\nobjectClass: adObject\nou: {unit}"
            )?;
            guid(to, &dn)?;
        }
        writeln!(
            to,
            "dn: {SERVER}\nobjectClass: top\nobjectClass: container\nobjectClass: adObject\ncn: NTDS Settings"
        )?;
        writeln!(to, "invocationId:: {}", base64(&xxh3_128(b"invocation").to_le_bytes()))?;
        guid(to, SERVER)?;
        writeln!(
            to,
            "dn: {READER}\nobjectClass: top\nobjectClass: user\ncn: svc-rosterd\nobjectCategory: service\nsAMAccountName: svc-rosterd"
        )?;
        guid(to, READER)?;
        let other = (0..self.memberships).map(other_group);
        for (rid, name) in TIER_GROUPS.iter().map(|n| (*n).to_owned()).chain(other).enumerate() {
            let dn = group_dn(&name);
            writeln!(
                to,
                "dn: {dn}\nobjectClass: top\nobjectClass: group\ncn: {name}\nobjectCategory: group\nsAMAccountName: {name}"
            )?;
            writeln!(to, "objectSid:: {}", base64(&sid(5_000 + rid as u32)))?;
            guid(to, &dn)?;
        }
        (0..self.people).try_for_each(|n| self.person(n, to))
    }

    fn person(self, n: u64, to: &mut impl Write) -> io::Result<()> {
        let (given, family) = (GIVEN[n as usize % 16], FAMILY[n as usize / 16 % 16]);
        let (department, title) = (DEPARTMENTS[n as usize % 10], TITLES[n as usize / 10 % 8]);
        let (dn, login) = (person_dn(n), format!("user{n:07}"));
        writeln!(to, "dn:: {}", base64(dn.as_bytes()))?;
        writeln!(
            to,
            "objectClass: top\nobjectClass: user\nobjectCategory: person\nsAMAccountName: {login}"
        )?;
        for (name, value) in [
            ("cn", format!("{given} {family} {n}")),
            ("displayName", format!("{given} {family}")),
            ("givenName", given.to_owned()),
            ("sn", family.to_owned()),
            ("manager", person_dn(n / 10)),
        ] {
            writeln!(to, "{name}:: {}", base64(value.as_bytes()))?;
        }
        writeln!(
            to,
            "title: {title}\ndepartment: {department}\ntelephoneNumber: +49 30 {:07}\nemployeeID: {n:08}",
            n % 10_000_000
        )?;
        writeln!(
            to,
            "mail: {login}@example.com\nproxyAddresses: SMTP:{login}@example.com\nproxyAddresses: smtp:{login}@mail.example.com"
        )?;
        writeln!(
            to,
            "proxyAddresses: X500:/o=Example/ou=Exchange Administrative Group/cn=Recipients/cn={login}"
        )?;
        writeln!(to, "primaryGroupID: 513\nsAMAccountType: 805306368")?;
        // One in fifty is disabled, one in twenty will expire.
        writeln!(to, "userAccountControl: {}", if n % 50 == 49 { 514 } else { 512 })?;
        writeln!(
            to,
            "accountExpires: {}",
            if n % 20 == 19 { 150_000_000_000_000_000 } else { i64::MAX }
        )?;
        writeln!(to, "memberOf: {}", group_dn(TIER_GROUPS[usize::from(n.is_multiple_of(2))]))?;
        for g in 1..self.memberships {
            writeln!(to, "memberOf: {}", group_dn(&other_group(g)))?;
        }
        writeln!(to, "objectSid:: {}", base64(&sid(10_000 + n as u32)))?;
        guid(to, &dn)
    }
}

/// The SID of the reader, as text.
const READER_SID: &str = "S-1-5-21-1-2-3-1104";

/// The reader's SID, in the form of the rootDSE's `tokenGroups`.
pub fn reader_sid() -> Vec<u8> {
    sid(1104)
}

fn sid(rid: u32) -> Vec<u8> {
    let mut sid = vec![1, 5, 0, 0, 0, 0, 0, 5];
    sid.extend([21, 1, 2, 3, rid].iter().flat_map(|part: &u32| part.to_le_bytes()));
    sid
}

fn person_dn(n: u64) -> String {
    let (given, family) = (GIVEN[n as usize % 16], FAMILY[n as usize / 16 % 16]);
    format!("cn={given} {family} {n},ou={},{ROOT}", DEPARTMENTS[n as usize % 10])
}

fn group_dn(name: &str) -> String {
    format!("cn={name},ou=Groups,{ROOT}")
}

fn other_group(n: u64) -> String {
    format!("Distribution List {n:03}")
}

/// Returns an object's GUID, scattered like those of real ones.
fn guid_of(dn: &str) -> [u8; 16] {
    xxh3_128(dn.as_bytes()).to_le_bytes()
}

fn guid_reference(dn: &str) -> String {
    format!("<GUID={}>", uuid::Uuid::from_bytes_le(guid_of(dn)))
}

fn guid(to: &mut impl Write, dn: &str) -> io::Result<()> {
    writeln!(to, "objectGUID:: {}\n", base64(&guid_of(dn)))
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for piece in bytes.chunks(3) {
        let word = piece
            .iter()
            .enumerate()
            .fold(0_u32, |word, (at, byte)| word | u32::from(*byte) << (16 - 8 * at));
        for at in 0..4 {
            let digit = DIGITS[(word >> (18 - 6 * at)) as usize & 63] as char;
            text.push(if at > piece.len() { '=' } else { digit });
        }
    }
    text
}
