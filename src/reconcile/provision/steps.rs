//! The steps of one user at one target: what makes the account what it should be.
//!
//! A step changes only an account that rosterd created or adopted. A sighting is what the target
//! showed; where it was not asked, nothing is concluded.

use super::account::{Account, Sighting};
use super::mapping::{AttributePath, Wanted};
use super::wish::Wish;
use crate::model::{
    Adopt, Counterpart, CounterpartState, DriftAction, InactiveReason, LeaverAction,
    MatchAttribute, ProvisionProblem, RemoteId, StepKind, StepOrigin, UserId,
};

/// The rules of a target.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Situation {
    pub adopt: Adopt,
    pub leaver: LeaverAction,
    pub drift: DriftAction,
    pub matched_by: MatchAttribute,
    /// Why the user is looked at: a change of it, or anything else.
    pub origin: StepOrigin,
    /// The account has been inactive for so long that it is to be deleted.
    pub is_overdue: bool,
}

/// One step for one user, at most one request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Step {
    pub user: UserId,
    pub kind: StepKind,
    pub origin: StepOrigin,
    /// The reason of a deactivation or deletion.
    pub reason: Option<InactiveReason>,
    /// `None` for a creation.
    pub id: Option<RemoteId>,
    /// The attributes to write; `None` unassigns one.
    pub attributes: Vec<(AttributePath, Option<String>)>,
}

/// The steps for one user.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Decision {
    /// In the order of sending.
    pub steps: Vec<Step>,
    /// The target has to be searched for the user before anything is created.
    pub needs_search: bool,
    pub problem: Option<ProvisionProblem>,
    /// Another client changed mapped attributes.
    pub has_drifted: bool,
}

/// Why a step is made.
#[derive(Clone, Copy)]
enum Nature {
    /// The step follows the user, if the user changed.
    Following,
    /// The step is a conclusion from what the target showed.
    Concluded,
}

struct Deciding<'a> {
    user: UserId,
    situation: &'a Situation,
    decision: Decision,
}

/// Returns the steps for a user. Every combination of wish, counterpart and sighting has a
/// decision.
pub fn steps(
    user: UserId,
    wish: &Wish,
    counterpart: Option<&Counterpart>,
    sighting: &Sighting,
    situation: &Situation,
) -> Decision {
    let mut deciding = Deciding { user, situation, decision: Decision::default() };
    let state = counterpart.map(|counterpart| counterpart.state);
    let is_linked = |c: &&Counterpart| c.id.is_some() && c.state != CounterpartState::Gone;
    match (wish, state, counterpart.filter(is_linked)) {
        (Wish::Nothing, ..) | (_, Some(CounterpartState::Disowned), _) => {}
        (Wish::Present(wanted), _, Some(linked)) => deciding.present(wanted, linked, sighting),
        (Wish::Inactive(reason, _), _, Some(linked)) => {
            deciding.inactive(*reason, linked, sighting);
        }
        (Wish::Present(wanted), state, None) => {
            // An account that is made anew is a conclusion, and many of them mean another target.
            let nature = match state {
                Some(CounterpartState::Gone) => Nature::Concluded,
                _ => Nature::Following,
            };
            deciding.unlinked(wanted, sighting, nature);
        }
        (Wish::Inactive(reason, wanted), state, None) => {
            let is_intended = state == Some(CounterpartState::Intended);
            deciding.left(*reason, wanted.as_ref(), is_intended, sighting);
        }
    }
    deciding.decision
}

impl Deciding<'_> {
    fn step(&mut self, kind: StepKind, nature: Nature, id: Option<&RemoteId>) -> &mut Step {
        let origin = match nature {
            Nature::Following => self.situation.origin,
            Nature::Concluded => StepOrigin::Found,
        };
        let (user, id) = (self.user, id.cloned());
        let step = Step { user, kind, origin, reason: None, id, attributes: Vec::new() };
        self.decision.steps.push(step);
        // The vector has just got this step.
        let last = self.decision.steps.len() - 1;
        &mut self.decision.steps[last]
    }

    fn create(&mut self, wanted: &Wanted, nature: Nature) {
        self.step(StepKind::Create, nature, None).attributes.clone_from(&wanted.attributes);
    }

    /// Takes the account out, in the way of the target.
    fn take_out(&mut self, reason: InactiveReason, id: &RemoteId, nature: Nature) {
        let kind = match self.situation.leaver {
            LeaverAction::Deactivate => StepKind::Deactivate,
            LeaverAction::Delete => StepKind::Delete,
        };
        self.step(kind, nature, Some(id)).reason = Some(reason);
    }

    fn inactive(&mut self, reason: InactiveReason, linked: &Counterpart, sighting: &Sighting) {
        let Some(id) = &linked.id else { return };
        let active = match sighting {
            Sighting::Gone => return,
            Sighting::Unasked => linked.active,
            // An account that does not show `active` is taken at its last word.
            Sighting::Seen(accounts) => account(accounts, id)
                .map_or(linked.active, |account| account.active.or(linked.active)),
        };
        let is_out = active == Some(false) && self.situation.leaver == LeaverAction::Deactivate;
        if !is_out {
            self.take_out(reason, id, Nature::Following);
        } else if self.situation.is_overdue {
            // The user is out already. Without a reason, no deletion is one of a leaver.
            self.step(StepKind::Delete, Nature::Concluded, Some(id));
        }
    }

    fn present(&mut self, wanted: &Wanted, linked: &Counterpart, sighting: &Sighting) {
        let Some(id) = &linked.id else { return };
        let seen = match sighting {
            // Before it is made anew, the target is searched for it under another id.
            Sighting::Gone => {
                self.decision.needs_search = true;
                return;
            }
            Sighting::Unasked => None,
            // A counterpart that was not shown is asked for by id first.
            Sighting::Seen(accounts) => match account(accounts, id) {
                None => return,
                account => account,
            },
        };
        if seen.map_or(linked.active, |account| account.active) == Some(false) {
            if linked.deactivated_by_us {
                self.step(StepKind::Reactivate, Nature::Following, Some(id));
            } else {
                self.decision.problem = Some(ProvisionProblem::DeactivatedElsewhere);
            }
        }
        let is_sent = linked.sent == Some(wanted.fingerprint());
        let has_drifted = seen.is_some_and(|account| linked.echo != Some(account.echo));
        if is_sent {
            self.decision.has_drifted = has_drifted;
        }
        match (is_sent, has_drifted, self.situation.drift) {
            (false, ..) => self.write(wanted, id, seen, Nature::Following),
            (true, true, DriftAction::Correct) => self.write(wanted, id, seen, Nature::Concluded),
            (true, ..) => {}
        }
    }

    /// Writes the attributes that differ from what was seen; all of them if nothing was.
    fn write(&mut self, wanted: &Wanted, id: &RemoteId, seen: Option<&Account>, nature: Nature) {
        let differs = |(path, text): &(AttributePath, Option<String>)| {
            seen.is_none_or(|account| path.read(&account.resource) != *text)
        };
        let different: Vec<_> =
            wanted.attributes.iter().filter(|attribute| differs(attribute)).cloned().collect();
        let (names, others): (Vec<_>, Vec<_>) =
            different.into_iter().partition(|(path, _)| path.is_user_name());
        if !names.is_empty() {
            self.step(StepKind::Rename, nature, Some(id)).attributes = names;
        }
        if !others.is_empty() {
            self.step(StepKind::Update, nature, Some(id)).attributes = others;
        }
    }

    /// Creates, links or adopts the account of a user who has none.
    fn unlinked(&mut self, wanted: &Wanted, sighting: &Sighting, nature: Nature) {
        let Sighting::Seen(candidates) = sighting else {
            self.decision.needs_search = true;
            return;
        };
        match self.find(wanted, candidates) {
            Found::Nothing => self.create(wanted, nature),
            Found::Ours(account) => {
                self.step(StepKind::Link, Nature::Following, Some(&account.id));
                if account.active == Some(false) {
                    self.step(StepKind::Reactivate, Nature::Concluded, Some(&account.id));
                }
                self.write(wanted, &account.id, Some(account), Nature::Following);
            }
            Found::Unmanaged(account) => match self.situation.adopt {
                Adopt::Ask | Adopt::Always => {
                    self.step(StepKind::Adopt, Nature::Concluded, Some(&account.id));
                    self.write(wanted, &account.id, Some(account), Nature::Concluded);
                }
                Adopt::Never => self.decision.problem = Some(ProvisionProblem::NotAdopted),
            },
            Found::Problem(problem) => self.decision.problem = Some(problem),
        }
    }

    /// Takes an account out that the user has left: ours after a lost answer, or an unmanaged one.
    fn left(
        &mut self,
        reason: InactiveReason,
        wanted: Option<&Wanted>,
        is_intended: bool,
        sighting: &Sighting,
    ) {
        let (Some(wanted), Sighting::Seen(accounts)) = (wanted, sighting) else {
            self.decision.needs_search = is_intended && *sighting == Sighting::Unasked;
            return;
        };
        match self.find(wanted, accounts) {
            Found::Ours(account) => {
                self.step(StepKind::Link, Nature::Following, Some(&account.id));
                if account.active != Some(false) {
                    self.take_out(reason, &account.id, Nature::Following);
                }
            }
            // The account of an active user who is out of scope belongs to that user.
            Found::Unmanaged(account)
                if reason == InactiveReason::Suspended
                    && account.active != Some(false)
                    && self.situation.adopt != Adopt::Never =>
            {
                self.step(StepKind::Adopt, Nature::Concluded, Some(&account.id));
                self.take_out(reason, &account.id, Nature::Concluded);
            }
            Found::Problem(ProvisionProblem::Ambiguous) => {
                self.decision.problem = Some(ProvisionProblem::Ambiguous);
            }
            Found::Nothing | Found::Unmanaged(_) | Found::Problem(_) => {}
        }
    }

    /// Compares the values themselves, because filters can be dishonest.
    fn find<'a>(&self, wanted: &Wanted, candidates: &'a [Account]) -> Found<'a> {
        let is_ours = |account: &&Account| {
            wanted.external_id.is_some() && account.external_id == wanted.external_id
        };
        let matches = |account: &&Account| match self.situation.matched_by {
            MatchAttribute::UserName => account
                .user_name
                .as_ref()
                .is_some_and(|name| name.eq_ignore_ascii_case(&wanted.user_name)),
            MatchAttribute::Emails => wanted.email().is_some_and(|wanted| {
                account.emails.iter().any(|email| email.eq_ignore_ascii_case(wanted))
            }),
        };
        let ours: Vec<_> = candidates.iter().filter(is_ours).collect();
        let matching: Vec<_> = candidates.iter().filter(matches).collect();
        match (&ours[..], &matching[..]) {
            ([account], _) => Found::Ours(account),
            ([], []) => Found::Nothing,
            ([], [account]) if account.external_id.is_none() => Found::Unmanaged(account),
            ([], [_]) => Found::Problem(ProvisionProblem::ManagedElsewhere),
            _ => Found::Problem(ProvisionProblem::Ambiguous),
        }
    }
}

enum Found<'a> {
    Nothing,
    /// The account shows our `externalId`.
    Ours(&'a Account),
    /// One account matches, and has no `externalId`.
    Unmanaged(&'a Account),
    Problem(ProvisionProblem),
}

fn account<'a>(accounts: &'a [Account], id: &RemoteId) -> Option<&'a Account> {
    accounts.iter().find(|account| account.id == *id)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::LinkOrigin;
    use crate::reconcile::provision::{Mapping, Resource, Template};

    fn mapping() -> Mapping {
        let attribute = |path: &str| {
            (AttributePath::parse(path).unwrap(), Template::parse("x", |_| None).unwrap())
        };
        let attributes = ["userName", "externalId", "title"].map(attribute).into();
        Mapping { attributes, values: std::collections::BTreeMap::default() }
    }

    fn wanted(title: &str) -> Wanted {
        let texts = ["anna@example.com", "u1", title];
        let paths = mapping().attributes.into_iter().map(|(path, _)| path);
        Wanted {
            user: USER,
            user_name: texts[0].to_owned(),
            external_id: Some(texts[1].to_owned()),
            attributes: paths.zip(texts.map(|text| Some(text.to_owned()))).collect(),
        }
    }

    const USER: UserId = UserId(uuid::Uuid::nil());

    fn seen(id: &str, name: &str, external_id: &str, active: Option<bool>) -> Account {
        let resource = json!({ "id": id, "userName": name, "externalId": external_id, "active": active, "title": "Boss" });
        Account::of(Resource(resource.as_object().unwrap().clone()), &mapping()).unwrap()
    }

    fn counterpart(state: CounterpartState) -> Counterpart {
        Counterpart {
            user: USER,
            state,
            id: (state != CounterpartState::Intended).then(|| RemoteId("7".to_owned())),
            origin: LinkOrigin::Created,
            sent: Some(wanted("Boss").fingerprint()),
            echo: Some(seen("7", "anna@example.com", "u1", Some(true)).echo),
            active: Some(true),
            deactivated_by_us: false,
        }
    }

    const RULES: Situation = Situation {
        adopt: Adopt::Ask,
        leaver: LeaverAction::Deactivate,
        drift: DriftAction::Report,
        matched_by: MatchAttribute::UserName,
        origin: StepOrigin::Followed,
        is_overdue: false,
    };

    /// Returns the kinds of the steps, `?` for a search, and the problem.
    fn decided(
        wish: &Wish,
        counterpart: Option<&Counterpart>,
        sighting: &Sighting,
        rules: Situation,
    ) -> String {
        let found = steps(USER, wish, counterpart, sighting, &rules);
        let kinds = found.steps.iter().map(|step| {
            let mark = if step.origin == StepOrigin::Found { "!" } else { "" };
            format!("{}{mark}", step.kind)
        });
        let search = found.needs_search.then(|| "?".to_owned());
        let problem = found.problem.map(|problem| problem.to_string());
        let drift = found.has_drifted.then(|| "drift".to_owned());
        kinds.chain(search).chain(problem).chain(drift).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn every_combination_of_wish_counterpart_and_sighting_has_its_steps() {
        use CounterpartState::{Disowned, Gone, Intended, Linked};
        let present = Wish::Present(wanted("Boss"));
        let inactive = Wish::Inactive(InactiveReason::Suspended, Some(wanted("Boss")));
        let ours = |active| Sighting::Seen(vec![seen("7", "anna@example.com", "u1", active)]);
        let unmanaged = Sighting::Seen(vec![seen("8", "Anna@Example.com", "", Some(true))]);
        let foreign = Sighting::Seen(vec![seen("9", "anna@example.com", "theirs", Some(true))]);
        let twice = Sighting::Seen(vec![
            seen("7", "anna@example.com", "u1", None),
            seen("8", "b@example.com", "u1", None),
        ]);
        let other = Sighting::Seen(vec![seen("3", "bob@example.com", "u2", Some(true))]);
        let sightings = [
            ("unasked", Sighting::Unasked),
            ("ours", ours(Some(true))),
            ("ours inactive", ours(Some(false))),
            ("ours unknown", ours(None)),
            ("unmanaged", unmanaged),
            ("foreign", foreign),
            ("twice", twice),
            ("other", other),
            ("gone", Sighting::Gone),
        ];
        let counterparts = [
            ("none", None),
            ("intended", Some(counterpart(Intended))),
            ("linked", Some(counterpart(Linked))),
            ("gone", Some(counterpart(Gone))),
            ("disowned", Some(counterpart(Disowned))),
        ];
        let wishes = [("present", present), ("inactive", inactive), ("nothing", Wish::Nothing)];
        let mut table = Vec::new();
        for (wish_name, wish) in &wishes {
            for (counterpart_name, counterpart) in &counterparts {
                for (sighting_name, sighting) in &sightings {
                    let decided = decided(wish, counterpart.as_ref(), sighting, RULES);
                    // A combination without a line has no step.
                    if !decided.is_empty() {
                        let row = [wish_name, counterpart_name, sighting_name].map(|n| *n);
                        table.push(format!("{}: {decided}", row.join(", ")));
                    }
                }
            }
        }
        insta::assert_snapshot!(table.join("\n"), @"
        present, none, unasked: ?
        present, none, ours: link
        present, none, ours inactive: link reactivate!
        present, none, ours unknown: link
        present, none, unmanaged: adopt! rename! update!
        present, none, foreign: managed-elsewhere
        present, none, twice: ambiguous
        present, none, other: create
        present, none, gone: ?
        present, intended, unasked: ?
        present, intended, ours: link
        present, intended, ours inactive: link reactivate!
        present, intended, ours unknown: link
        present, intended, unmanaged: adopt! rename! update!
        present, intended, foreign: managed-elsewhere
        present, intended, twice: ambiguous
        present, intended, other: create
        present, intended, gone: ?
        present, linked, ours inactive: deactivated-elsewhere
        present, linked, gone: ?
        present, gone, unasked: ?
        present, gone, ours: link
        present, gone, ours inactive: link reactivate!
        present, gone, ours unknown: link
        present, gone, unmanaged: adopt! rename! update!
        present, gone, foreign: managed-elsewhere
        present, gone, twice: ambiguous
        present, gone, other: create!
        present, gone, gone: ?
        inactive, none, ours: link deactivate
        inactive, none, ours inactive: link
        inactive, none, ours unknown: link deactivate
        inactive, none, unmanaged: adopt! deactivate!
        inactive, none, twice: ambiguous
        inactive, intended, unasked: ?
        inactive, intended, ours: link deactivate
        inactive, intended, ours inactive: link
        inactive, intended, ours unknown: link deactivate
        inactive, intended, unmanaged: adopt! deactivate!
        inactive, intended, twice: ambiguous
        inactive, linked, unasked: deactivate
        inactive, linked, ours: deactivate
        inactive, linked, ours unknown: deactivate
        inactive, linked, unmanaged: deactivate
        inactive, linked, foreign: deactivate
        inactive, linked, twice: deactivate
        inactive, linked, other: deactivate
        inactive, gone, ours: link deactivate
        inactive, gone, ours inactive: link
        inactive, gone, ours unknown: link deactivate
        inactive, gone, unmanaged: adopt! deactivate!
        inactive, gone, twice: ambiguous
        ");
    }

    #[test]
    fn an_account_that_another_client_deactivated_stays_inactive() {
        let inactive = Sighting::Seen(vec![seen("7", "anna@example.com", "u1", Some(false))]);
        let present = Wish::Present(wanted("Boss"));
        let by_them = counterpart(CounterpartState::Linked);
        let by_us = Counterpart { deactivated_by_us: true, active: Some(false), ..by_them.clone() };
        assert_eq!(decided(&present, Some(&by_us), &Sighting::Unasked, RULES), "reactivate");
        assert!(decided(&present, Some(&by_us), &inactive, RULES).starts_with("reactivate"));
        assert!(
            decided(&present, Some(&by_them), &inactive, RULES).contains("deactivated-elsewhere")
        );
    }

    #[test]
    fn an_update_writes_what_differs_and_drift_is_written_only_where_configured() {
        let linked = counterpart(CounterpartState::Linked);
        let changed = Wish::Present(wanted("Head"));
        let as_sent = Sighting::Seen(vec![seen("7", "anna@example.com", "u1", Some(true))]);
        let found = steps(USER, &changed, Some(&linked), &as_sent, &RULES);
        let [update] = &found.steps[..] else { panic!("{found:?}") };
        let names: Vec<_> = update.attributes.iter().map(|(path, _)| path.to_string()).collect();
        assert_eq!((update.kind, names), (StepKind::Update, vec!["title".to_owned()]));
        // Unseen, all attributes are written, and the name in a step of its own.
        assert_eq!(decided(&changed, Some(&linked), &Sighting::Unasked, RULES), "rename update");
        let renamed = Sighting::Seen(vec![seen("7", "a@example.com", "u1", Some(true))]);
        let wish = Wish::Present(wanted("Boss"));
        assert_eq!(decided(&wish, Some(&linked), &renamed, RULES), "drift");
        let correcting = Situation { drift: DriftAction::Correct, ..RULES };
        assert_eq!(decided(&wish, Some(&linked), &renamed, correcting), "rename! drift");
    }

    #[test]
    fn only_leavers_of_a_target_without_active_and_overdue_accounts_are_deleted() {
        let inactive = Wish::Inactive(InactiveReason::Suspended, None);
        let linked = counterpart(CounterpartState::Linked);
        let deleting = Situation { leaver: LeaverAction::Delete, ..RULES };
        assert_eq!(decided(&inactive, Some(&linked), &Sighting::Unasked, deleting), "delete");
        assert_eq!(decided(&inactive, Some(&linked), &Sighting::Gone, deleting), "");
        assert_eq!(decided(&inactive, Some(&linked), &Sighting::Unasked, RULES), "deactivate");
        let overdue = Situation { is_overdue: true, ..RULES };
        let out = Sighting::Seen(vec![seen("7", "anna@example.com", "u1", Some(false))]);
        assert_eq!(decided(&inactive, Some(&linked), &out, overdue), "delete!");
        assert_eq!(decided(&inactive, Some(&linked), &out, RULES), "");
    }

    #[test]
    fn the_rule_of_adoption_decides_about_an_unmanaged_account() {
        let seen = Sighting::Seen(vec![seen("8", "Anna@Example.com", "", Some(true))]);
        let present = Wish::Present(wanted("Boss"));
        for (adopt, wanted) in [
            (Adopt::Ask, "adopt! rename! update!"),
            (Adopt::Always, "adopt! rename! update!"),
            (Adopt::Never, "not-adopted"),
        ] {
            assert_eq!(decided(&present, None, &seen, Situation { adopt, ..RULES }), wanted);
        }
    }

    #[test]
    fn only_a_suspended_user_has_an_unmanaged_account_to_deactivate() {
        let seen = Sighting::Seen(vec![seen("8", "anna@example.com", "", Some(true))]);
        for (reason, steps) in [
            (InactiveReason::Suspended, "adopt! deactivate!"),
            (InactiveReason::OutOfScope, ""),
            (InactiveReason::Transferred, ""),
            (InactiveReason::Released, ""),
            (InactiveReason::Removed, ""),
        ] {
            let wish = Wish::Inactive(reason, Some(wanted("Boss")));
            assert_eq!(decided(&wish, None, &seen, RULES), steps, "{reason}");
        }
    }
}
