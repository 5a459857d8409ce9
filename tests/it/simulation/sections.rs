//! The directories of the account in the configuration, and changes of it.

use std::collections::{BTreeMap, BTreeSet};

use adsim::{Ad, names};
use rosterd::engine::DirectoryConfig;
use rosterd::model::DirectoryName;
use uuid::Uuid;

use super::edits::Cast;
use super::history::{Layout, Reload};

/// One section of the configuration.
#[derive(Clone, Debug)]
struct Section {
    name: String,
    /// Its previous name, if the configuration has one.
    rename_from: Option<String>,
    /// The domain of the section.
    domain: usize,
    /// The OUs of its bases, and the removed ones.
    bases: Vec<Uuid>,
    forgotten: Vec<Uuid>,
}

/// All sections, and all their names, past and present.
#[derive(Debug)]
pub(super) struct Sections {
    all: Vec<Section>,
    names: BTreeSet<String>,
    /// The directories with at least one full read.
    read: BTreeSet<String>,
    /// The accepted bases of each directory.
    accepted: BTreeMap<String, BTreeSet<Uuid>>,
    /// The directories whose changed bases were rejected.
    refused: BTreeSet<String>,
    /// The setting that a reload without effect changes.
    beats: u64,
    made: usize,
}

impl Sections {
    /// Returns the sections of a layout over the domains.
    pub(super) fn of(layout: Layout, casts: &[&Cast], ad: &Ad) -> Self {
        let staff = ad.guid(names::STAFF);
        // Engineering contains Platform.
        let departments = &casts[0].ous[..5];
        let section = |name: &str, domain, bases: &[Uuid]| Section {
            name: name.to_owned(),
            rename_from: None,
            domain,
            bases: bases.to_vec(),
            forgotten: Vec::new(),
        };
        let sections = match layout {
            Layout::One => vec![section("corp", 0, &[staff])],
            Layout::Bases => vec![section("corp", 0, departments)],
            Layout::Departments(2) => {
                vec![section("corp", 0, &departments[..2]), section("emea", 0, &departments[2..])]
            }
            Layout::Departments(_) => {
                vec![
                    section("corp", 0, &departments[..2]),
                    section("emea", 0, &departments[2..4]),
                    section("apac", 0, &departments[4..]),
                ]
            }
            Layout::Domains => {
                vec![section("corp", 0, departments), section("emea", 1, &casts[1].ous[..5])]
            }
        };
        let names = sections.iter().map(|s| s.name.clone()).collect();
        let mut all = Self {
            all: sections,
            names,
            read: BTreeSet::new(),
            accepted: BTreeMap::new(),
            refused: BTreeSet::new(),
            beats: 0,
            made: 0,
        };
        all.begin();
        all
    }

    /// A new directory's bases are accepted, because before its first read there is nothing to
    /// compare with.
    fn begin(&mut self) {
        for section in self.all.iter().filter(|section| !self.read.contains(&section.name)) {
            self.accepted.insert(section.name.clone(), section.bases.iter().copied().collect());
        }
    }

    /// Records a full read of a directory.
    pub(super) fn note_read(&mut self, name: &str) {
        self.read.insert(name.to_owned());
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// Returns the name of the n-th section.
    pub(super) fn name(&self, n: usize) -> &str {
        &self.all[n % self.all.len()].name
    }

    /// Returns all names of directories, past and present.
    pub(super) fn names(&self) -> &BTreeSet<String> {
        &self.names
    }

    /// Returns the directories with changed bases, whose runs only plan.
    pub(super) fn rescoped(&self) -> BTreeSet<String> {
        let is_other = |s: &&Section| {
            self.accepted.get(&s.name).is_some_and(|was| *was != s.bases.iter().copied().collect())
        };
        self.all.iter().filter(is_other).map(|s| s.name.clone()).collect()
    }

    /// Notes that the plan of a directory was rejected. If its bases had changed, the rejection is about them.
    pub(super) fn refuse(&mut self, name: &str) {
        if self.rescoped().contains(name) {
            self.refused.insert(name.to_owned());
        }
    }

    /// Returns whether changed bases of the directory were rejected.
    pub(super) fn is_refused(&self, name: &str) -> bool {
        self.refused.contains(name)
    }

    /// Accepts the current bases of a directory.
    pub(super) fn accept(&mut self, name: &str) {
        self.refused.remove(name);
        if let Some(section) = self.all.iter().find(|s| s.name == name) {
            self.accepted.insert(name.to_owned(), section.bases.iter().copied().collect());
        }
    }

    /// Updates which OUs of a domain are bases, and of which directory.
    pub(super) fn bases(&self, domain: usize) -> BTreeMap<String, Vec<Uuid>> {
        self.all
            .iter()
            .filter(|s| s.domain == domain)
            .map(|s| (s.name.clone(), s.bases.clone()))
            .collect()
    }

    /// Returns the configuration of every directory; `plain` is one for each domain, without bases.
    pub(super) fn configs(
        &self,
        plain: &[DirectoryConfig],
        dn: impl Fn(usize, Uuid) -> String,
    ) -> Vec<DirectoryConfig> {
        let config = |section: &Section| {
            let mut config = plain[section.domain].clone();
            config.name = DirectoryName::parse(&section.name).expect("a name");
            config.rename_from = section
                .rename_from
                .as_ref()
                .map(|name| DirectoryName::parse(name).expect("a name"));
            config.settings.bases =
                section.bases.iter().map(|ou| dn(section.domain, *ou)).collect();
            config.stale_after += std::time::Duration::from_secs(self.beats);
            config
        };
        self.all.iter().map(config).collect()
    }

    /// Changes the sections, or nothing if the change is impossible now.
    pub(super) fn change(&mut self, reload: Reload) {
        match reload {
            Reload::Harmless => self.beats += 1,
            Reload::Narrow(n) => {
                let at = n % self.all.len();
                let section = &mut self.all[at];
                if section.bases.len() > 1 {
                    let base = section.bases.remove(n % section.bases.len());
                    section.forgotten.push(base);
                }
            }
            Reload::Widen => {
                for section in &mut self.all {
                    section.bases.append(&mut section.forgotten);
                }
            }
            Reload::Rename(n) => {
                self.made += 1;
                let at = n % self.all.len();
                let name = format!("section-{}", self.made);
                self.names.insert(name.clone());
                let was = std::mem::replace(&mut self.all[at].name, name);
                // Without it the directories detect the change themselves.
                self.all[at].rename_from = Some(was).filter(|_| n % 2 == 0);
            }
            Reload::Rebase(from, to) => {
                let (from, to) = (from % self.all.len(), to % (self.all.len() + 1));
                if self.all[from].bases.len() < 2 || from == to {
                    return;
                }
                let domain = self.all[from].domain;
                if self.all.get(to).is_some_and(|s| s.domain != domain) {
                    return;
                }
                let base = self.all[from].bases.pop().expect("two bases");
                if let Some(section) = self.all.get_mut(to) {
                    section.bases.push(base);
                } else if self.all.len() < 4 {
                    self.made += 1;
                    let name = format!("section-{}", self.made);
                    self.names.insert(name.clone());
                    self.all.push(Section {
                        name,
                        rename_from: None,
                        domain,
                        bases: vec![base],
                        forgotten: Vec::new(),
                    });
                } else {
                    self.all[from].bases.push(base);
                }
            }
        }
        self.begin();
        // A rejection of changed bases ends when they are changed back.
        let rescoped = self.rescoped();
        self.refused.retain(|name| rescoped.contains(name));
    }
}
