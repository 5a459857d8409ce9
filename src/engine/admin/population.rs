//! The people of a directory, counted by what a run would make of them. Nothing is written about them.

use std::collections::BTreeMap;

use crate::directory::{CheckReport, Decoder, Use};
use crate::engine::{Engine, EngineError};
use crate::model::{Address, AddressKey, CheckOutcome, CheckStep, Tier};
use crate::reconcile::{Desired, Expectation, Ledger, Primary, decide};
use crate::telemetry::chain;

/// The numbers of people below the bases.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Population {
    found: u64,
    /// Members of the configured groups by tier.
    entitled: BTreeMap<Tier, u64>,
    /// Members of no configured group.
    in_no_group: u64,
    /// Members without a usable mail address.
    without_mail: u64,
    /// Members by the domains that the account does not hold.
    unclaimed: BTreeMap<String, u64>,
    holders: BTreeMap<AddressKey, u64>,
    /// Entries that cannot be decoded.
    malformed: u64,
}

impl Population {
    fn add(&mut self, person: &Desired) {
        self.found += 1;
        let Some(tier) = person.tier.given() else {
            self.in_no_group += 1;
            return;
        };
        *self.entitled.entry(tier).or_default() += 1;
        match &person.primary {
            Primary::Usable(address) => self.hold(address),
            Primary::Unclaimed(address) => {
                let domain = address.as_str().rsplit('@').next().unwrap_or_default();
                *self.unclaimed.entry(domain.to_owned()).or_default() += 1;
                self.hold(address);
            }
            Primary::Malformed | Primary::Absent | Primary::Unseen => self.without_mail += 1,
        }
    }

    fn hold(&mut self, address: &Address) {
        *self.holders.entry(address.key()).or_default() += 1;
    }

    /// Returns the numbers as a step of a check.
    fn step(&self) -> CheckStep {
        let Self { found, entitled, in_no_group, without_mail, unclaimed, holders, malformed } =
            self;
        let of = |tier: Tier| entitled.get(&tier).copied().unwrap_or(0);
        let members = of(Tier::Pro) + of(Tier::Basic);
        let mut parts = vec![
            format!("{found} people found"),
            format!("{members} in your groups ({} pro, {} basic)", of(Tier::Pro), of(Tier::Basic)),
        ];
        let shared = holders.values().filter(|people| **people > 1).sum::<u64>();
        let unclaimed_people: u64 = unclaimed.values().sum();
        let domains = unclaimed.keys().cloned().collect::<Vec<_>>().join(", ");
        for (people, what) in [
            (*without_mail, "without a mail address".to_owned()),
            (unclaimed_people, format!("of domains that the account does not hold ({domains})")),
            (shared, "share a mail address".to_owned()),
            (*in_no_group, "in no group".to_owned()),
            (*malformed, "unreadable".to_owned()),
        ] {
            parts.extend((people > 0).then(|| format!("{people} {what}")));
        }
        let remedy = match (members, without_mail + shared, unclaimed_people) {
            (0, ..) => Some("put people in the groups of pro-groups and basic-groups".to_owned()),
            (_, _, 1..) => Some(format!("rosterctl domain claim ACCOUNT DOMAIN, for {domains}")),
            (_, 1.., _) => Some("give each of these people a mail address of its own".to_owned()),
            _ => None,
        };
        let outcome = if remedy.is_some() { CheckOutcome::Warning } else { CheckOutcome::Ok };
        CheckStep::new("people", outcome, parts.join("; "), remedy)
    }
}

impl Engine {
    /// Adds the numbers of people to a check in which no step failed.
    pub async fn check_people(&self, name: &str, report: &mut CheckReport) {
        if !report.is_ok() {
            return;
        }
        report.steps.push(match self.population(name).await {
            Ok(population) => population.step(),
            Err(error) => CheckStep::new("people", CheckOutcome::Failed, chain(&error), None),
        });
    }

    /// Reads all people of a directory and counts them.
    async fn population(&self, name: &str) -> Result<Population, EngineError> {
        let directory = self.directory(name)?;
        let mut warnings = Vec::new();
        let mut connection = self.connect(&directory, Use::Follow).await?;
        let began_at = self.clock.now();
        let session = &mut connection.session;
        let bases = self.bases(&directory, session, &mut warnings).await?;
        // A missing group is a step of the check; its members count as members of no group.
        let (closure, _) = self.groups(&directory, session, &mut warnings).await?;
        let policy = self
            .policy(&directory, &mut connection.session, closure, began_at, &mut warnings)
            .await?;
        let decoder = Decoder::new(&connection.settings.attributes, &policy.closure);
        let mut ledger = Ledger::new(Expectation {
            bases: bases.dns.clone(),
            attributes: decoder.attributes(),
            universal: Decoder::universal(),
            ..Expectation::default()
        });
        let mut population = Population::default();
        let filter = connection.settings.filter_text();
        let page_size = connection.settings.page_size;
        let read = connection.session.read_people(
            &bases.dns,
            filter.as_deref(),
            page_size,
            &decoder,
            &mut ledger,
            |entry| match entry {
                Ok(person) => population.add(&decide(person, &policy)),
                Err(_) => population.malformed += 1,
            },
        );
        read.await?;
        Ok(population)
    }
}
