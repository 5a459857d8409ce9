//! A generated company: always the same for the same number.

use crate::directory::{Ad, Who};
use crate::entry::Id;
use crate::person::NewPerson;

const GIVEN: [(&str, &str); 32] = [
    ("Anna", "anna"),
    ("Ben", "ben"),
    ("Clara", "clara"),
    ("David", "david"),
    ("Élodie", "elodie"),
    ("Felix", "felix"),
    ("Grace", "grace"),
    ("Hugo", "hugo"),
    ("Ivana", "ivana"),
    ("Jürgen", "juergen"),
    ("Katarzyna", "katarzyna"),
    ("Liam", "liam"),
    ("María", "maria"),
    ("Noah", "noah"),
    ("Olga", "olga"),
    ("Pedro", "pedro"),
    ("Quentin", "quentin"),
    ("Renée", "renee"),
    ("Søren", "soeren"),
    ("Tomáš", "tomas"),
    ("Ursula", "ursula"),
    ("Viktor", "viktor"),
    ("Wanda", "wanda"),
    ("Xavier", "xavier"),
    ("Yuki", "yuki"),
    ("Zoë", "zoe"),
    ("Aisha", "aisha"),
    ("Bruno", "bruno"),
    ("Chen", "chen"),
    ("Dmitri", "dmitri"),
    ("Emma", "emma"),
    ("Farid", "farid"),
];

const SURNAMES: [(&str, &str); 32] = [
    ("Smith", "smith"),
    ("Müller", "mueller"),
    ("García", "garcia"),
    ("Nowak", "nowak"),
    ("Rossi", "rossi"),
    ("Dubois", "dubois"),
    ("Jensen", "jensen"),
    ("Kovács", "kovacs"),
    ("Novák", "novak"),
    ("Silva", "silva"),
    ("O'Brien", "obrien"),
    ("Schmidt", "schmidt"),
    ("Weiß", "weiss"),
    ("Łukasik", "lukasik"),
    ("Tanaka", "tanaka"),
    ("Wang", "wang"),
    ("Ivanov", "ivanov"),
    ("Haddad", "haddad"),
    ("Andersson", "andersson"),
    ("Bakker", "bakker"),
    ("Costa", "costa"),
    ("Doyle", "doyle"),
    ("Eriksen", "eriksen"),
    ("Fischer", "fischer"),
    ("Green", "green"),
    ("Hughes", "hughes"),
    ("Ito", "ito"),
    ("Jansen", "jansen"),
    ("King", "king"),
    ("Lopez", "lopez"),
    ("Martin", "martin"),
    ("Nagy", "nagy"),
];

/// Departments, each an OU below Staff; Platform is nested one deeper.
const DEPARTMENTS: [&str; 6] =
    ["Engineering", "Sales", "Operations", "Finance", "Support", "Platform"];

const TITLES: [&str; 6] =
    ["Engineer", "Account Manager", "Coordinator", "Analyst", "Specialist", "Team Lead"];

/// The names of the population's OUs and groups.
pub mod names {
    /// The OU that holds all generated people, in sub-OUs by department.
    pub const STAFF: &str = "Staff";
    /// The OU that holds the groups.
    pub const GROUPS: &str = "Groups";
    /// The group of about 75 % of the people.
    pub const BASIC: &str = "Roster Basic";
    /// The group of about 20 % of the people, half of them through [`PRO_NESTED`].
    pub const PRO: &str = "Roster Pro";
    /// A group in [`PRO`].
    pub const PRO_NESTED: &str = "Roster Pro Nested";
}

/// Adds the OUs and groups, and `people` people with addresses in `mail_domain`.
pub(crate) fn populate(ad: &mut Ad, people: usize, mail_domain: &str) {
    ad.add_ou("", names::STAFF);
    for department in &DEPARTMENTS[..5] {
        ad.add_ou(names::STAFF, department);
    }
    ad.add_ou(DEPARTMENTS[0], DEPARTMENTS[5]);
    ad.add_ou("", names::GROUPS);
    for group in [names::BASIC, names::PRO, names::PRO_NESTED] {
        ad.add_group(names::GROUPS, group);
    }
    ad.add_member(names::PRO, names::PRO_NESTED);

    ad.reserve(people);
    let places = DEPARTMENTS.map(|name| Who::Guid(ad.guid(name)));
    let groups = [names::BASIC, names::PRO, names::PRO_NESTED].map(|name| Who::Guid(ad.guid(name)));
    let mut manager: Option<Who> = None;
    for number in 0..people {
        let guid = ad.add_person(person(number, mail_domain, &places, &groups, manager.as_ref()));
        if number % 10 == 0 {
            manager = Some(guid.into());
        }
    }
}

fn person(
    number: usize,
    mail_domain: &str,
    places: &[Who],
    groups: &[Who; 3],
    manager: Option<&Who>,
) -> NewPerson {
    let (given, given_ascii) = GIVEN[number % GIVEN.len()];
    let (surname, surname_ascii) = SURNAMES[(number / GIVEN.len() + number) % SURNAMES.len()];
    let round = number / (GIVEN.len() * SURNAMES.len());
    let (suffix, cn_suffix) = if round == 0 {
        (String::new(), String::new())
    } else {
        ((round + 1).to_string(), format!(" {}", round + 1))
    };
    let local = format!("{given_ascii}.{surname_ascii}{suffix}");
    let place = number % DEPARTMENTS.len();
    let mut sam = local.clone();
    if sam.len() > 20 {
        // AD allows 20 characters; the number keeps it unique.
        sam = format!("{}{number}", &given_ascii[..2]);
    }
    let mut proxies = vec![format!("SMTP:{local}@{mail_domain}")];
    if number.is_multiple_of(3) {
        proxies.push(format!("smtp:{given_ascii}{number}@{mail_domain}"));
    }
    if number.is_multiple_of(7) {
        proxies.push(format!("X500:/o=Corp/ou=Exchange/cn=Recipients/cn={local}"));
    }
    let mut person = NewPerson::new(sam)
        .cn(&format!("{given} {surname}{cn_suffix}"))
        .name(given, surname)
        .upn(&format!("{local}@{mail_domain}"))
        .mail(&format!("{local}@{mail_domain}"))
        .with_values("proxyAddresses", proxies)
        .with("title", TITLES[place])
        .with("department", DEPARTMENTS[place])
        .with("telephoneNumber", &format!("+49 30 {number:07}"))
        .with("employeeID", &format!("{:07}", 100_000 + number))
        .ou(&places[place]);
    if let Some(manager) = manager {
        person = person.manager(manager);
    }
    let [basic, pro, nested] = groups;
    if number % 4 != 3 {
        person = person.member_of(basic);
    }
    match number % 10 {
        0 => person = person.member_of(nested),
        5 => person = person.member_of(pro),
        _ => {}
    }
    person
}

impl Ad {
    /// Adds the account that programs bind with, in an OU of its own.
    pub(crate) fn add_service(&mut self, sam: &str, password: &str) -> Id {
        self.add_ou("", "Service Accounts");
        let person = NewPerson::new(sam)
            .cn(sam)
            .with("displayName", "Directory synchronisation")
            .ou("Service Accounts")
            .control(0x10200)
            .password(password);
        let guid = self.add_person(person);
        self.need(guid)
    }
}
