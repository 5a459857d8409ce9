//! The administrator of the directory: the people, and the effect of edits.

use std::collections::{BTreeMap, BTreeSet};

use adsim::{Ad, Expiry, Migrant, NewPerson, names};
use rosterd::model::{Dn, Timestamp};
use uuid::Uuid;

use super::history::{Edit, Mail, Mass};

/// The OUs of people. The last two are outside of every base, and the very last is always
/// invisible.
const OUS: [&str; 8] = [
    "Engineering",
    "Sales",
    "Operations",
    "Finance",
    "Support",
    "Platform",
    "Elsewhere",
    "Basement",
];
/// The OUs of moves.
const PLACES: usize = 7;
/// The OU that a configuration may exclude. It is below a base, and none itself.
const EXCLUDED: usize = 5;
/// The groups that give a tier by nesting. The last two are empty at first.
pub(super) const GROUPS: [&str; 5] =
    [names::BASIC, names::PRO, names::PRO_NESTED, "Roster Basic Nested", "Roster Deep"];
/// The attributes that the reader can lose.
const ATTRIBUTES: [&str; 8] = [
    "userAccountControl",
    "accountExpires",
    "mail",
    "displayName",
    "memberOf",
    "proxyAddresses",
    "primaryGroupID",
    "employeeType",
];

/// All people, past and present, and the data hidden from the reader.
#[derive(Debug)]
pub(super) struct Cast {
    pub(super) people: Vec<Uuid>,
    pub(super) ous: Vec<Uuid>,
    /// The OUs that are bases, by the name of the directory. They keep their names.
    pub(super) bases: BTreeMap<String, Vec<Uuid>>,
    /// The OU below the bases whose people are out of scope.
    pub(super) excluded: Option<Uuid>,
    pub(super) groups: Vec<Uuid>,
    made: u32,
    pub(super) dark_ous: BTreeSet<usize>,
    pub(super) dark_people: BTreeSet<Uuid>,
    pub(super) dark_attributes: Vec<(&'static str, Option<Uuid>)>,
    pub(super) dark_groups: BTreeSet<usize>,
    pub(super) tombstones: bool,
}

impl Cast {
    /// Returns the people of a new directory, and adds the entries that the simulation needs.
    pub(super) fn of(ad: &mut Ad, service: Uuid, tombstones: bool, made: u32) -> Self {
        for ou in &OUS[6..] {
            ad.add_ou("", ou);
        }
        ad.hide_subtree(OUS[PLACES]);
        // Adds the attribute to the schema.
        let people: Vec<Uuid> = ad.people().into_iter().filter(|p| *p != service).collect();
        ad.set(people[0], "employeeType", "human");
        for group in &GROUPS[3..] {
            ad.add_group(names::GROUPS, group);
        }
        ad.show_tombstones(tombstones);
        ad.set_recycle_bin(true);
        Self {
            people,
            ous: OUS.iter().map(|ou| ad.guid(*ou)).collect(),
            groups: GROUPS.iter().map(|group| ad.guid(*group)).collect(),
            bases: BTreeMap::new(),
            excluded: None,
            made,
            dark_ous: [PLACES].into(),
            dark_people: BTreeSet::new(),
            dark_attributes: Vec::new(),
            dark_groups: BTreeSet::new(),
            tombstones,
        }
    }

    /// Excludes an OU below the bases, and returns it.
    pub(super) fn exclude(&mut self) -> Uuid {
        *self.excluded.insert(self.ous[EXCLUDED])
    }

    pub(super) fn is_alive(ad: &Ad, who: Uuid) -> bool {
        ad.exists(who) && ad.value(who, "isDeleted").is_none()
    }

    pub(super) fn dark_dns(&self, ad: &Ad) -> Vec<String> {
        self.dark_ous.iter().map(|ou| ad.dn(self.ous[*ou])).collect()
    }

    /// Returns the n-th person, or the next one that matches.
    fn pick(&self, n: usize, is_wanted: impl Fn(Uuid) -> bool) -> Option<Uuid> {
        // The last joiner.
        let start = if n == usize::MAX { self.people.len() - 1 } else { n % self.people.len() };
        self.people[start..].iter().chain(&self.people[..start]).copied().find(|p| is_wanted(*p))
    }

    fn ou(&self, n: usize) -> Uuid {
        self.ous[n % PLACES]
    }

    fn group(&self, n: usize) -> Uuid {
        self.groups[n % self.groups.len()]
    }

    fn next(&mut self) -> u32 {
        self.made += 1;
        self.made
    }

    fn address(&mut self, mail: Mail) -> Option<String> {
        let n = self.next();
        match mail {
            Mail::Home => Some(format!("person{n}@example.com")),
            Mail::Second => Some(format!("person{n}@example.org")),
            Mail::Foreign => Some(format!("person{n}@elsewhere.test")),
            Mail::Malformed => Some(format!("person {n} at home")),
            Mail::None | Mail::Shouted => None,
        }
    }

    fn hire(
        &mut self,
        ad: &mut Ad,
        ou: usize,
        group: Option<usize>,
        mail: Option<String>,
        staged: bool,
    ) {
        let n = self.next();
        let name = format!("Newcomer {n}");
        let mut person =
            NewPerson::new(format!("new{n}")).cn(&name).with("displayName", &name).ou(self.ou(ou));
        if let Some(mail) = mail {
            person = person.mail(&mail);
        }
        if let Some(group) = group {
            person = person.member_of(self.group(group));
        }
        if staged {
            person = person.disabled();
        }
        self.people.push(ad.add_person(person));
    }

    /// Sets mail and its proxy address.
    fn set_mail(ad: &mut Ad, who: Uuid, mail: Option<&str>) {
        let others: Vec<Vec<u8>> = ad
            .values(who, "proxyAddresses")
            .into_iter()
            .filter(|v| !v.starts_with(b"SMTP:"))
            .collect();
        match mail {
            Some(mail) => {
                ad.set(who, "mail", mail);
                ad.set_values(
                    who,
                    "proxyAddresses",
                    std::iter::once(format!("SMTP:{mail}").into_bytes()).chain(others),
                );
            }
            None => {
                ad.clear(who, "mail");
                ad.set_values(who, "proxyAddresses", others);
            }
        }
    }

    /// Makes the edit, or nothing if it is impossible now.
    pub(super) fn edit(&mut self, ad: &mut Ad, edit: &Edit, now: Timestamp) {
        let alive = |cast: &Self, ad: &Ad, n: usize| cast.pick(n, |p| Self::is_alive(ad, p));
        let Some(who) = self.subject(ad, edit) else { return };
        match edit {
            Edit::Hire { ou, group, mail, staged } => {
                let mail = self.address(*mail);
                // Most are entitled and in an OU of the scope.
                let group = (group % 5 != 4).then_some(*group % 3);
                self.hire(ad, if ou % 9 == 0 { 6 } else { ou % 6 }, group, mail, *staged);
            }
            Edit::Recreate(n) => {
                let mail = ad.value(who, "mail");
                ad.delete(who);
                self.hire(ad, *n % 6, Some(*n % 3), mail, false);
            }
            Edit::Disable(_) => ad.disable(who),
            Edit::Enable(_) => ad.enable(who),
            Edit::Expire(_, minutes) => {
                let at = Timestamp(now.0 + minutes * 60_000_000);
                ad.set_expiry(who, Expiry::Ticks(at.to_filetime()));
            }
            Edit::NeverExpire(_) => ad.set_expiry(who, Expiry::Never),
            Edit::Delete(_) => ad.delete(who),
            Edit::Purge(_) => {
                self.dark_people.remove(&who);
                ad.purge(who);
            }
            Edit::Restore(_) => ad.restore(who),
            Edit::Move(_, ou) => ad.move_to(who, self.ou(*ou)),
            Edit::Rename(_) => {
                let name = format!("Renamed {}", self.next());
                ad.rename(who, &name);
            }
            Edit::Redisplay(_) => {
                let name = format!("Called {}", self.next());
                ad.set(who, "displayName", &name);
            }
            Edit::RenameOu(ou)
                if self.bases.values().flatten().any(|base| *base == self.ou(*ou)) => {}
            // A directory that is new to rosterd finds the excluded OU by its configured name alone.
            Edit::RenameOu(ou)
                if self.excluded.is_some_and(|ex| {
                    Dn::new(ad.dn(ex)).is_within(&Dn::new(ad.dn(self.ou(*ou))))
                }) => {}
            Edit::RenameOu(ou) => {
                let name = format!("Department {}", self.next());
                ad.rename(self.ou(*ou), &name);
            }
            Edit::SetMail(_, Mail::Shouted) => {
                let mail = ad.value(who, "mail").map(|m| m.to_uppercase());
                Self::set_mail(ad, who, mail.as_deref());
            }
            Edit::SetMail(_, mail) => {
                let mail = self.address(*mail);
                Self::set_mail(ad, who, mail.as_deref());
            }
            Edit::SwapMail(_, b) | Edit::StealMail(_, b) => {
                let Some(other) = alive(self, ad, *b) else { return };
                let (mine, theirs) = (ad.value(who, "mail"), ad.value(other, "mail"));
                Self::set_mail(ad, who, theirs.as_deref());
                if matches!(edit, Edit::SwapMail(..)) {
                    Self::set_mail(ad, other, mine.as_deref());
                }
            }
            Edit::ShareProxy(_, b) => {
                let Some(other) = alive(self, ad, *b) else { return };
                let alias = format!("smtp:alias{}@example.com", b % 7).into_bytes();
                for one in [who, other] {
                    let others: Vec<Vec<u8>> = ad
                        .values(one, "proxyAddresses")
                        .into_iter()
                        .filter(|v| *v != alias)
                        .collect();
                    ad.set_values(one, "proxyAddresses", others.into_iter().chain([alias.clone()]));
                }
            }
            Edit::Join(_, group) => ad.add_member(self.group(*group), who),
            Edit::Leave(_, group) => ad.remove_member(self.group(*group), who),
            Edit::LeaveAll(_) => self.leave_all(ad, who),
            Edit::PrimaryGroup(_, group) => ad.set_primary_group(who, self.group(*group)),
            // A configured group in itself has no effect.
            Edit::Nest(a, b) => {
                if self.group(*a) != self.group(*b) {
                    ad.add_member(self.group(*a), self.group(*b));
                }
            }
            Edit::Unnest(a, b) => ad.remove_member(self.group(*a), self.group(*b)),
            Edit::EmptyGroup(group) => {
                let group = self.group(*group);
                ad.members(group).into_iter().for_each(|member| ad.remove_member(group, member));
            }
            Edit::RenameGroup(group) => {
                let name = format!("Group {}", self.next());
                ad.rename(self.group(*group), &name);
            }
            Edit::HideOu(ou) => {
                let ou = ou % PLACES;
                self.dark_ous.insert(ou);
                ad.hide_subtree(self.ous[ou]);
            }
            Edit::ShowOus => {
                let shown = std::mem::replace(&mut self.dark_ous, [PLACES].into());
                shown
                    .into_iter()
                    .filter(|ou| *ou != PLACES)
                    .for_each(|ou| ad.show_subtree(self.ous[ou]));
            }
            Edit::HidePerson(_) => {
                self.dark_people.insert(who);
                ad.hide_entry(who);
            }
            Edit::ShowPeople => {
                for person in std::mem::take(&mut self.dark_people) {
                    ad.show_entry(person);
                }
            }
            Edit::HideAttribute(attribute, ou) => {
                let attribute = ATTRIBUTES[attribute % ATTRIBUTES.len()];
                let ou = ou.map(|ou| self.ou(ou));
                self.dark_attributes.push((attribute, ou));
                ad.hide_attribute(attribute, ou.map(Into::into));
            }
            Edit::ShowAttributes => std::mem::take(&mut self.dark_attributes)
                .into_iter()
                .for_each(|(a, _)| ad.show_attribute(a)),
            Edit::HideMembers(group) => {
                self.dark_groups.insert(group % self.groups.len());
                ad.hide_members(self.group(*group));
            }
            Edit::ShowMembers => std::mem::take(&mut self.dark_groups)
                .into_iter()
                .for_each(|g| ad.show_members(self.groups[g])),
            Edit::ShowTombstones(shown) => {
                self.tombstones = *shown;
                ad.show_tombstones(*shown);
            }
            Edit::Robot(_, is) => ad.set(who, "employeeType", if *is { "robot" } else { "human" }),
            Edit::Many(every, what) => self.many(ad, *every, *what),
            Edit::ExpireSoon(_, seconds) => {
                let at = Timestamp(now.0 + seconds * 1_000_000);
                ad.set_expiry(who, Expiry::Ticks(at.to_filetime()));
            }
            Edit::Retitle(_) => {
                let title = format!("Title {}", self.next());
                ad.set(who, "title", &title);
            }
            Edit::Clash(n) => {
                let mail = self.address(Mail::Home);
                self.hire(ad, *n % 6, Some(0), mail.clone(), false);
                self.hire(ad, (*n / 6) % 6, Some(1), mail, false);
            }
            Edit::HideByMove(_) => {
                ad.disable(who);
                ad.move_to(who, self.ous[PLACES]);
            }
            Edit::ShowByMove(n) => ad.move_to(who, self.ous[*n % 6]),
            Edit::DeleteManager(_) => {
                let reports =
                    self.people.iter().copied().filter(|p| *p != who && Self::is_alive(ad, *p));
                for report in reports.collect::<Vec<_>>() {
                    ad.set(report, "manager", &ad.dn(who));
                }
                ad.delete(who);
            }
            Edit::DeleteSlice(ou, n) => {
                let doomed: Vec<Uuid> = self.standing_in(ad, self.ou(*ou)).take(*n).collect();
                for person in doomed {
                    ad.delete(person);
                }
            }
            Edit::LeaveSlice(group, n) => {
                let group = self.group(*group);
                let leaving =
                    ad.members(group).into_iter().filter(|m| !self.groups.contains(m)).take(*n);
                leaving.collect::<Vec<_>>().into_iter().for_each(|m| ad.remove_member(group, m));
            }
            Edit::RestoreAll => {
                let deleted = self
                    .people
                    .iter()
                    .copied()
                    .filter(|p| ad.exists(*p) && !Self::is_alive(ad, *p));
                deleted.collect::<Vec<_>>().into_iter().for_each(|p| ad.restore(p));
            }
            // Needs two directories: see `emigrate`.
            Edit::Emigrate(..) => {}
        }
    }

    fn standing_in(&self, ad: &Ad, ou: Uuid) -> impl Iterator<Item = Uuid> {
        let below = format!(",{}", ad.dn(ou));
        self.people
            .iter()
            .copied()
            .filter(move |p| Self::is_alive(ad, *p) && ad.dn(*p).ends_with(&below))
    }

    /// Removes a person from this domain.
    pub(super) fn emigrate(&mut self, ad: &mut Ad, n: usize) -> Option<(Uuid, Migrant)> {
        let who = self.pick(n, |p| Self::is_alive(ad, p)).filter(|_| self.people.len() > 1)?;
        self.people.retain(|p| *p != who);
        self.dark_people.remove(&who);
        Some((who, ad.emigrate(who)))
    }

    /// Adds a person of another domain, entitled as before.
    pub(super) fn immigrate(&mut self, ad: &mut Ad, (who, migrant): (Uuid, Migrant), n: usize) {
        ad.immigrate(migrant, self.ous[n % 6]);
        ad.add_member(self.groups[n % 2], who);
        self.people.push(who);
    }

    /// Returns the person of an edit, or any person if it concerns none.
    fn subject(&self, ad: &Ad, edit: &Edit) -> Option<Uuid> {
        match edit {
            Edit::Purge(n) => self.pick(*n, |p| ad.exists(p)),
            Edit::Restore(n) => self.pick(*n, |p| ad.exists(p) && !Self::is_alive(ad, p)),
            Edit::Recreate(n)
            | Edit::Disable(n)
            | Edit::Enable(n)
            | Edit::Expire(n, _)
            | Edit::NeverExpire(n)
            | Edit::Delete(n)
            | Edit::Move(n, _)
            | Edit::Rename(n)
            | Edit::Redisplay(n)
            | Edit::SetMail(n, _)
            | Edit::SwapMail(n, _)
            | Edit::StealMail(n, _)
            | Edit::ShareProxy(n, _)
            | Edit::Join(n, _)
            | Edit::Leave(n, _)
            | Edit::LeaveAll(n)
            | Edit::PrimaryGroup(n, _)
            | Edit::HidePerson(n)
            | Edit::HideAttribute(n, _)
            | Edit::Robot(n, _)
            | Edit::ExpireSoon(n, _)
            | Edit::Retitle(n)
            | Edit::HideByMove(n)
            | Edit::DeleteManager(n) => self.pick(*n, |p| Self::is_alive(ad, p)),
            Edit::ShowByMove(n) => {
                let below = format!(",{}", ad.dn(self.ous[PLACES]));
                self.pick(*n, |p| Self::is_alive(ad, p) && ad.dn(p).ends_with(&below))
            }
            _ => self.people.first().copied(),
        }
    }

    fn leave_all(&self, ad: &mut Ad, who: Uuid) {
        // The previous primary group becomes an ordinary one.
        ad.set_primary_group(who, "Domain Users");
        for group in &self.groups {
            ad.remove_member(*group, who);
        }
    }

    fn many(&mut self, ad: &mut Ad, every: usize, what: Mass) {
        let chosen: Vec<Uuid> =
            self.people.iter().copied().filter(|p| Self::is_alive(ad, *p)).step_by(every).collect();
        for (n, who) in chosen.into_iter().enumerate() {
            match what {
                Mass::Disable => ad.disable(who),
                Mass::Enable => ad.enable(who),
                Mass::Delete => ad.delete(who),
                Mass::MoveOut => ad.move_to(who, self.ous[6]),
                Mass::LeaveGroups => self.leave_all(ad, who),
                Mass::JoinPro => ad.add_member(self.groups[1], who),
                Mass::Readdress => {
                    let mail = self.address(Mail::Home);
                    Self::set_mail(ad, who, mail.as_deref());
                }
                Mass::Hire => {
                    let mail = self.address(Mail::Home);
                    self.hire(ad, n % 6, Some(n % 3), mail, false);
                }
            }
        }
    }
}
