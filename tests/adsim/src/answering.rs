//! Sends a search's answer, with the faults that occur within it.

use std::io;

use crate::connection::{Connection, Flow, Rest, Twist};
use crate::dirsync::{Asked, Receipt};
use crate::fault::{Seen, What, When};
use crate::frames::{self, Outcome, done_with_cookie, done_with_dirsync};
use crate::log::{Event, LoggedSearch, shortened};
use crate::netlogon;
use crate::request::{Control, Search, oid};
use crate::search::{self, Answer};

impl Connection {
    pub(crate) async fn search(
        &mut self,
        id: i64,
        search: &Search,
        controls: Vec<Control>,
    ) -> io::Result<Flow> {
        let filter = search.filter.to_string();
        // Searches of the rootDSE before the first bind are neither logged nor disturbed.
        if !self.session.has_bound && search::is_root_dse(search) {
            return self.greeting(id, search, &filter, &controls).await;
        }
        let (page, before) = self.session.progress(&controls);
        let seen =
            Seen { page, filter: filter.to_lowercase(), base: search.base.to_lowercase(), before };
        let mut twist = Twist::default();
        let mut between = Vec::new();
        for what in self.shared.faults.at_request(&seen) {
            if matches!(what, What::RepeatEntry | What::SkipEntry) {
                between.push((0, what));
                continue;
            }
            let flow = self.happen(what, id, &mut twist).await?;
            if flow != Flow::Next {
                return Ok(flow);
            }
        }

        let remembered = self.session.remember(&controls);
        let asked = Asked::of(&controls).and_then(Result::ok).map(|asked| asked.cookie);
        let mut answer = {
            let server = self.shared.server();
            let directory = std::sync::Arc::clone(&self.shared.directory);
            let ad = directory.read().unwrap_or_else(std::sync::PoisonError::into_inner);
            search::run(&ad, &server, &mut self.session, id, search, &filter, &controls)
        };
        let paged = controls.iter().any(|control| control.oid == oid::PAGED);
        self.note(Event::Search(LoggedSearch {
            base: search.base.clone(),
            scope: search.scope,
            filter: shortened(filter),
            attributes: search.attributes.clone(),
            controls,
            page,
            size_limit: search.size_limit,
            entries: answer.ends.len(),
            code: answer.outcome.code,
        }));
        if twist.repeat_cookie {
            answer.cookie = self.session.repeat(remembered, answer.cookie.take());
            answer.receipt = answer.receipt.map(|receipt| receipt.endless(asked));
        }
        if answer.open {
            if twist.leaves_open() {
                return Ok(Flow::Next);
            }
            self.session.watches.retain(|watch| watch.id != id);
        }
        if let Some(bytes) = twist.instead.take() {
            self.send(&bytes).await?;
            return Ok(Flow::Next);
        }
        if let Some(outcome) = twist.outcome.take() {
            answer = Answer { outcome, ..Answer::default() };
        } else if twist.rest == Rest::Nothing {
            answer = Answer {
                cookie: paged.then(Vec::new),
                receipt: answer.receipt.map(Receipt::last),
                ..Answer::default()
            };
        }
        between.extend(self.shared.faults.between_entries(&seen, answer.ends.len()));
        self.deliver(id, answer, between, twist).await
    }

    async fn greeting(
        &mut self,
        id: i64,
        search: &Search,
        filter: &str,
        controls: &[Control],
    ) -> io::Result<Flow> {
        let mut twist = Twist::default();
        if netlogon::is_ping(search)
            && let Some(flow) = self.twisted(&When::Ping, id, &mut twist).await?
        {
            return Ok(flow);
        }
        let server = self.shared.server();
        let directory = std::sync::Arc::clone(&self.shared.directory);
        let answer = {
            let ad = directory.read().unwrap_or_else(std::sync::PoisonError::into_inner);
            search::run(&ad, &server, &mut self.session, id, search, filter, controls)
        };
        self.deliver(id, answer, Vec::new(), twist).await
    }

    /// Sends an answer, with the faults between its entries.
    async fn deliver(
        &mut self,
        id: i64,
        mut answer: Answer,
        between: Vec<(usize, What)>,
        mut twist: Twist,
    ) -> io::Result<Flow> {
        let mut sent = 0; // bytes of frames
        for (after, what) in between {
            let here = answer.ends[..after].last().copied().unwrap_or(0);
            if sent < here {
                self.send(&answer.frames[sent..here]).await?;
                sent = here;
            }
            match what {
                What::SkipEntry => sent = answer.ends.get(after).copied().unwrap_or(sent).max(sent),
                What::RepeatEntry => {
                    let (from, to) = match after {
                        0 => (0, answer.ends.first().copied().unwrap_or(0)),
                        1 => (0, here),
                        _ => (answer.ends[after - 2], here),
                    };
                    self.send(&answer.frames[from..to]).await?;
                }
                other => {
                    let flow = self.happen(other, id, &mut twist).await?;
                    if flow != Flow::Next {
                        return Ok(flow);
                    }
                }
            }
            if let Some(bytes) = twist.instead.take() {
                self.send(&bytes).await?;
                return Ok(Flow::Next);
            }
            if let Some(outcome) = twist.outcome.take() {
                self.send(&frames::result(id, frames::SEARCH_DONE, &outcome)).await?;
                return Ok(Flow::Next);
            }
            if twist.rest == Rest::Nothing {
                // The rest is left out, and the result is success.
                answer.frames.truncate(sent);
                answer.cookie = answer.cookie.map(|_| Vec::new());
                answer.receipt = answer.receipt.map(Receipt::last);
                answer.outcome = Outcome::default();
                break;
            }
            if twist.rest == Rest::HalfFrame {
                break;
            }
        }
        let mut rest = answer.frames.split_off(sent.min(answer.frames.len()));
        if twist.rest == Rest::HalfFrame {
            let ends = answer.ends.iter().map(|end| end.saturating_sub(sent));
            let first = ends.filter(|end| *end > 0).min();
            let done = frames::result(id, frames::SEARCH_DONE, &answer.outcome);
            let half = match first {
                Some(end) => rest[..end / 2].to_vec(),
                None => done[..done.len() / 2].to_vec(),
            };
            self.send(&half).await?;
            return Ok(Flow::Close);
        }
        rest.extend_from_slice(&answer.references);
        let cookie = answer.cookie.filter(|_| !twist.omit_paging);
        let receipt = answer.receipt.filter(|_| !twist.omit_dirsync);
        rest.extend_from_slice(&match (cookie, receipt) {
            (Some(cookie), _) => done_with_cookie(id, &answer.outcome, &cookie),
            (None, Some(Receipt { more, cookie })) => {
                done_with_dirsync(id, &answer.outcome, more, &cookie)
            }
            (None, None) => frames::result(id, frames::SEARCH_DONE, &answer.outcome),
        });
        self.send(&rest).await?;
        Ok(Flow::Next)
    }
}
