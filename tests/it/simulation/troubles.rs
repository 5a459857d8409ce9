//! Faults of the wire, and edits during a read.

use std::sync::Arc;

use adsim::{Fault, What, When};

use super::history::{Edit, Trouble};
use super::office::Office;

impl Office {
    /// Prepares an edit after this many people were read.
    pub(super) fn meanwhile(&self, edit: Edit, after: usize) {
        let domain = &self.domains[edit.number() % self.domains.len()];
        let (cast, moments, truth) =
            (Arc::clone(&domain.cast), Arc::clone(&self.moments), self.truth());
        let now = self.server_now();
        let what = What::edit(move |ad| {
            let mut cast = cast.lock().expect("the cast");
            cast.edit(ad, &edit, now);
            let mut truth = truth.clone();
            truth.add(ad, &cast);
            moments.lock().expect("moments").push(truth);
        });
        domain.sim.faults().push(Fault::new(
            When::search().containing("objectcategory=person").after_entries(after),
            what,
        ));
    }

    pub(super) fn trouble(&mut self, trouble: Trouble) {
        let people = || When::search().containing("objectcategory=person");
        let nth = When::nth_search;
        self.lies += usize::from(matches!(
            trouble,
            Trouble::Empty(_) | Trouble::EmptyPage(_) | Trouble::SkipAfter(_)
        ));
        let (at, what) = match trouble {
            Trouble::CutAfter(n) => (people().after_entries(n), What::Cut),
            Trouble::CutAt(n) => (nth(n), What::Cut),
            Trouble::CutInsideFrame(n) => (nth(n), What::CutInsideFrame),
            Trouble::Refused(n, code) => (nth(n), What::result(code, "no")),
            Trouble::PageRefused(n, code) => (When::page(n), What::result(code, "no")),
            Trouble::NoControl(n) => (When::page(n), What::OmitPagingControl),
            Trouble::SameCookie(n) => (When::page(n), What::RepeatCookie),
            Trouble::Empty(n) => (nth(n), What::EmptySuccess),
            Trouble::EmptyPage(n) => (When::page(n), What::EmptySuccess),
            Trouble::SkipAfter(n) => (people().after_entries(n), What::SkipEntry),
            Trouble::RepeatAfter(n) => (people().after_entries(n), What::RepeatEntry),
            Trouble::Notice(n) => (nth(n), What::NoticeOfDisconnection),
            Trouble::Referral(n) => (nth(n), What::Referral("ldap://elsewhere.test/".to_owned())),
            Trouble::Anonymous => (When::Bind, What::Anonymous),
            Trouble::Locked => (When::Bind, What::BindRefused("775")),
        };
        self.domains[0].sim.faults().push(Fault::new(at, what));
    }

    pub(super) fn calm(&mut self) {
        for domain in &self.domains {
            domain.sim.faults().clear();
        }
        self.lies = 0;
    }

    /// Returns the number of troubles so far, if one of them may have falsified an answer.
    pub(super) fn lies_told(&self) -> usize {
        if self.lies > 0 { self.troubles() } else { 0 }
    }

    /// Returns the number of troubles so far.
    pub(super) fn troubles(&self) -> usize {
        self.domains.iter().map(|d| d.sim.faults().fired()).sum()
    }
}
