//! Full and scoped runs of a company, from the read to the plan that is applied.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rosterd::model::*;
use rosterd::reconcile::*;

use super::{Company, Facts, Loss};

impl Company {
    /// Returns an observation without people.
    fn observation(&self, scope: Scope, policy: Policy, loss: &Loss) -> Observation {
        Observation::new(scope, policy, "ldaps://dc".to_owned(), self.server(loss))
    }

    /// Returns the server that is read: the one of the forest, or the one that the loss chooses.
    pub(super) fn server(&self, loss: &Loss) -> ServerIdentity {
        self.shown.as_ref().map_or_else(|| loss.server(), |shown| shown.identity.clone())
    }

    /// Runs a full run.
    pub(crate) fn run(&mut self, loss: &Loss) {
        self.run_with(loss, BTreeSet::new());
    }

    /// Approves all held changes in a new run.
    pub(crate) fn approve_all(&mut self, loss: &Loss) {
        let approved = self.held.iter().map(|h| h.change.digest()).collect();
        self.run_with(loss, approved);
    }

    fn run_with(&mut self, loss: &Loss, approved: BTreeSet<Digest>) {
        let policy = self.policy(loss);
        let unmanaged = self
            .users
            .values()
            .filter(|u| u.link.is_none())
            .flat_map(|u| u.addresses.keys())
            .map(|k| address_hash(&k));
        let mut index =
            Index::new(self.people.values().map(|(row, _)| *row).collect(), unmanaged.collect());
        self.seen_disabled.clear();
        let mut seen = self.observation(Scope::All, policy, loss);
        match self.read(loss, &mut index, &mut seen) {
            Ok(complete) => seen.proof = Some(complete),
            Err(incomplete) => {
                seen.failure = Some(incomplete.to_string());
                seen.proof = incomplete.partial;
            }
        }
        self.find_absent(&index.unseen().collect(), loss, &mut seen);
        self.judge(&mut seen);
        self.confirm_groups(&mut seen, loss);
        if loss.no_basic_group {
            seen.failure.get_or_insert("the Basic group was not found".to_owned());
        }
        self.plan_and_apply(&seen, approved);
    }

    /// A run over another server than the one in use, which `truth` and `shown` are of.
    pub(super) fn run_other(&mut self, in_use: &BTreeMap<Guid, Metadata>, loss: &Loss) {
        let is_inactive = |user: &&User| user.status() != Status::Active;
        let links = self.users.values().filter(is_inactive).filter_map(|user| user.link.as_ref());
        let inactive: BTreeSet<Guid> = links.map(|link| link.guid).collect();
        let people: BTreeSet<Guid> =
            self.truth.keys().copied().filter(|guid| !inactive.contains(guid)).collect();
        let mut seen = self.observation(Scope::People(people.clone()), self.policy(loss), loss);
        self.find_absent(&people, loss, &mut seen);
        seen.replica.metadata = self.shown.as_ref().expect("a forest").metadata.clone();
        seen.keep_newer_suspensions(in_use, &self.last_seen());
        self.plan_and_apply(&seen, BTreeSet::new());
    }

    /// Asks for people by GUID and decides about those that are absent.
    fn find_absent(&mut self, absent: &BTreeSet<Guid>, loss: &Loss, seen: &mut Observation) {
        let found = if loss.unconfirmed { BTreeMap::new() } else { self.ask(absent, loss) };
        let unanswered: Vec<Guid> =
            absent.iter().copied().filter(|guid| !found.contains_key(guid)).collect();
        if !unanswered.is_empty() {
            seen.failure.get_or_insert("people could not be asked for".to_owned());
            seen.all_answered = false;
            seen.add_unknown(unanswered);
        }
        seen.malformed.extend(found.iter().filter_map(|(guid, c)| match c {
            Confirmation::Malformed(rest) => Some((Some(*guid), rest.dn.clone())),
            _ => None,
        }));
        let stored = |guid: &Guid| Some((*guid, self.people.get(guid)?.1.dn.clone()));
        let last_seen = absent.iter().filter_map(stored).collect();
        let known = self.load(absent, &BTreeSet::new());
        let is_suspended =
            |guid| known.of_person(guid).is_none_or(|u| u.status() != Status::Active);
        let answered = found.keys().copied().collect();
        let scoped = if seen.is_full() { None } else { Complete::of_people(&answered, &found) };
        let proof = seen.proof.as_ref().or(scoped.as_ref());
        let absent = Absent::decide(&found, &last_seen, proof, is_suspended, &seen.policy);
        if !absent.unexplained.is_empty() {
            seen.failure.get_or_insert("a base shows no entry".to_owned());
        }
        seen.add_unknown(absent.unknown);
        seen.desired.extend(absent.desired);
    }

    /// A scoped run: it also reads the other people who want, or hold, an address that would change
    /// hands.
    pub(crate) fn run_over(&mut self, people: &BTreeSet<Guid>) {
        let loss = Loss { tombstones_visible: true, ..Loss::default() };
        let scope = Scope::People(people.clone());
        let mut seen = self.observation(scope, self.policy(&loss), &loss);
        let mut more = people.clone();
        while !more.is_empty() {
            let is_there = |guid: &Guid| {
                self.people.contains_key(guid) || self.visible(*guid, &loss).is_some()
            };
            more.retain(is_there);
            self.find_absent(&more, &loss, &mut seen);
            let people = seen.desired.keys().copied().collect();
            let wanted = seen.desired.values().flat_map(Desired::wanted_keys).collect();
            let known = self.load(&people, &wanted);
            let wanted = newly_wanted(&seen.desired, &known);
            let shows = |truth: &Facts| {
                let proxies =
                    truth.proxies.iter().filter_map(|p| p.split_once(':')).map(|(_, text)| text);
                proxies
                    .chain([truth.mail.as_str()])
                    .filter_map(|text| Address::parse(text).ok())
                    .any(|a| wanted.contains(&a.key()))
            };
            let shown = self
                .truth
                .iter()
                .filter(|(guid, truth)| self.visible(**guid, &loss).is_some() && shows(truth))
                .map(|(guid, _)| *guid);
            let holders = wanted
                .iter()
                .filter_map(|key| known.holder(key)?.link.as_ref().map(|link| link.guid));
            more = shown.chain(holders).filter(|guid| !seen.covers(*guid)).collect();
            seen.cover(&more);
        }
        self.confirm_groups(&mut seen, &loss);
        self.plan_and_apply(&seen, BTreeSet::new());
    }

    /// Returns bounds without any history.
    pub(crate) fn bounds<'a>(
        &self,
        limits: &'a Limits,
        replica: &'a Replica,
        protected: &'a BTreeSet<Guid>,
    ) -> Bounds<'a> {
        Bounds {
            limits,
            active: self.active(),
            used: BTreeMap::new(),
            waiting: Vec::new(),
            first_seen: BTreeMap::new(),
            ous: Vec::new(),
            is_quiet: false,
            held: BTreeSet::new(),
            clusters: BTreeMap::new(),
            newcomers: BTreeMap::new(),
            protected,
            hold_all: HoldAll::No,
            approved: BTreeSet::new(),
            rejected: Rejected::default(),
            replica,
            server_changed_at: None,
            deferred_until: None,
            now: self.now,
        }
    }

    /// Divides the people of a plan as the engine does.
    fn slices(&self, seen: &Observation) -> Vec<Slice> {
        let people = seen.people();
        if people.len() <= self.slice {
            return vec![Slice { known: people.clone(), people }];
        }
        let mut division = Division::default();
        for some in people.chunks(self.slice) {
            let known = self.known(seen, some);
            for guid in some {
                division.add(*guid, seen, &known);
            }
        }
        division.slices(self.slice)
    }

    fn known(&self, seen: &Observation, people: &[Guid]) -> Known {
        let decided = people.iter().filter_map(|guid| seen.desired.get(guid));
        let wanted = decided.flat_map(Desired::wanted_keys).collect();
        self.load(&people.iter().copied().collect(), &wanted)
    }

    /// Plans and guards an observation with the functions of the engine, then stores what follows.
    fn plan_and_apply(&mut self, seen: &Observation, approved: BTreeSet<Digest>) {
        let window = self.now.minus(self.limits.window);
        let hour = self.now.minus(Duration::from_hours(1));
        let used = ChangeClass::ALL.into_iter().map(|class| {
            let count = |since| {
                self.applied.iter().filter(|(at, c)| *c == class && *at > since).count() as u64
            };
            (class, Used { window: count(window), hour: count(hour) })
        });
        let slices = self.slices(seen);
        let clusters = self.clusters(window);
        let situation = Situation {
            limits: &self.limits,
            is_plan_only: matches!(self.hold_all, HoldAll::Everything(_)),
            is_held_by_gate: false,
            is_new_scope: self.hold_all == HoldAll::ExceptPositive,
            active: self.started_with.unwrap_or(0),
            used: used.collect(),
            held: self.held_changes(),
            grace_periods: self.grace_periods.clone(),
            homes: self.homes(window),
            protected: &self.protected,
            approved,
            last_server: self.last_server.clone(),
            is_quiet: self.is_quiet,
            now: self.now,
        };
        let mut review = Review::new(seen, situation, self.rejections.clone());
        let mut plans = Vec::new();
        for Slice { people, known } in &slices {
            let draft = Draft::of(seen, people, self.known(seen, known), &self.rejections);
            let plan = review.add(draft);
            // As the engine does, which keeps the plans of a large run in a file.
            let is_kept_in_a_file = slices.len() > 1;
            plans.push(if is_kept_in_a_file { read_back(&plan) } else { plan });
        }
        let newcomers = review
            .leavers(&clusters)
            .into_iter()
            .map(|(cluster, users)| {
                let came = self.newcomers(&cluster, window);
                (cluster, users.intersection(&came).copied().collect())
            })
            .collect();
        let verdict = review.rule(clusters, newcomers).whole(plans);
        self.slices_planned = slices.len();
        self.warned = verdict.warnings.iter().map(|warning| format!("{warning:?}")).collect();
        self.rejections.retain(|rejection| !verdict.ended.contains(rejection));
        if let Some(proof) = seen.proof.as_ref().filter(|_| seen.is_full() && seen.is_complete()) {
            self.counts = proof.counts().clone();
        }
        if !seen.only_suspends {
            self.remember_server(seen);
        }
        self.apply(verdict, seen);
        let undecided = seen.undecided().into_iter().map(|undecided| (true, undecided));
        let leavers = seen.leavers().into_iter().map(|leaver| (false, leaver));
        for (is_undecided, (guid, metadata)) in leavers.chain(undecided) {
            let has_user = self.people.get(&guid).is_some_and(|(_, person)| person.user.is_some());
            if is_undecided || !has_user {
                let noted = self.early_leavers.remove(&guid).unwrap_or_default();
                self.early_leavers.insert(guid, noted.merged(&metadata, self.now));
            }
        }
    }

    fn remember_server(&mut self, seen: &Observation) {
        let LastServer { server, identity, changed_at } = &mut self.last_server;
        let is_other = *server != Some(seen.server.clone())
            || *identity != Some(seen.identity.clone())
            || seen.replica.is_set_back;
        if is_other && server.is_some() {
            *changed_at = Some(self.now);
        }
        (*server, *identity) = (Some(seen.server.clone()), Some(seen.identity.clone()));
    }
}

fn read_back(plan: &Proposal) -> Proposal {
    let line = serde_json::to_vec(plan).expect("a line");
    serde_json::from_slice(&line).expect("a plan")
}
