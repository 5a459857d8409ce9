//! Where a history plays: a directory, a daemon without its socket, and everybody who acts on them.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use adsim::{Fault, Sim, What, When};
use futures_util::future::BoxFuture;
use rosterd::clock::Clock;
use rosterd::directory::ServerUrl;
use rosterd::engine::{Cron, DirectoryConfig, Engine, EngineError, Request, Rules, Scope, Selection};
use rosterd::model::{Actor, DirectoryName, Dn, Domain, Reason, Timestamp, Trigger, User, WrittenChange};
use rosterd::reconcile::{Filter, WithoutGroup};
use rosterd::store::{HeldRow, Run, Store, UserFilter};
use tokio_util::sync::CancellationToken;

use super::books::shown;
use super::edits::Cast;
use super::history::{Do, Edit, Mail, Stage, Step, Trouble};
use super::truth::Truth;
use crate::firm::{alice, config};

/// The domain that is claimed and released.
pub(super) const SECOND: &str = "example.org";

/// What the company is measured by; the directory's configuration, and what a history never changes.
#[derive(Debug)]
pub(super) struct Rulebook {
    pub(super) config: DirectoryConfig,
    pub(super) base: Dn,
    pub(super) filtered: bool,
    pub(super) without_group: WithoutGroup,
}

#[derive(Debug)]
pub(super) struct Office {
    sim: Sim,
    replica: Option<Sim>,
    folder: tempfile::TempDir,
    clock: Clock,
    engine: Option<Arc<Engine>>,
    pub(super) rulebook: Rulebook,
    cast: Arc<Mutex<Cast>>,
    /// What was true since the last step began.
    moments: Arc<Mutex<Vec<Truth>>>,
    /// The changes that operators have been shown and have approved, and when.
    shown: Mutex<BTreeMap<String, Timestamp>>,
    /// Troubles that show what is not, and have not happened yet.
    lies: usize,
    has_backup: bool,
}

/// A future that is dropped after it has been polled so often: what a crash makes of it.
struct Cut<'a, T> {
    inner: BoxFuture<'a, T>,
    left: u32,
}

impl<T> Future for Cut<'_, T> {
    type Output = Option<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(left) = self.left.checked_sub(1) else { return Poll::Ready(None) };
        self.left = left;
        self.inner.as_mut().poll(context).map(Some)
    }
}

impl Office {
    /// Opens: the directory is there, the account has its domain, nobody has been read.
    pub(super) async fn open(stage: &Stage, seed: u64) -> Self {
        let sim = Sim::builder().people(stage.people).seed(seed).start().await.expect("a simulator");
        let folder = tempfile::tempdir().expect("a folder");
        let service = sim.service_dn();
        let cast = sim.edit(|ad| {
            let service = ad.guid(service.as_str());
            Cast::of(ad, service, stage.tombstones)
        });
        let mut config = config(&sim, folder.path());
        let base = sim.look(|ad| ad.dn(adsim::names::STAFF));
        config.settings.bases = vec![base.clone()];
        config.settings.page_size = stage.page_size;
        config.settings.timeouts.operation = Duration::from_secs(2);
        let text = "(!(employeeType=robot))";
        if stage.filtered {
            sim.edit(|ad| ad.set(cast.people[0], "employeeType", "human"));
            config.settings.filter = Some((text.to_owned(), Filter::parse(text).expect("a filter")));
        }
        let without_group = [WithoutGroup::Suspend, WithoutGroup::Keep, WithoutGroup::Basic][stage.without_group];
        config.tiers.without_group = without_group;
        // A tick reads everybody only for want of another way.
        config.full = Cron::parse("0 0 29 2 *", chrono_tz::Tz::UTC).expect("a schedule");
        if !stage.settles {
            config.limits.settle = Duration::ZERO;
        }
        let replica = stage.two_servers.then(|| sim.replica("DC2").expect("another server"));
        if let Some(replica) = &replica {
            config.settings.servers.push(ServerUrl::parse(&replica.ldaps_url()).expect("a URL"));
        }
        if stage.protects {
            let address = sim.look(|ad| ad.value(cast.people[0], "mail")).expect("an address");
            config.protect = vec![rosterd::model::Address::parse(&address).expect("an address")];
        }
        let rulebook = Rulebook { config, base: Dn::new(base), filtered: stage.filtered, without_group };
        let mut office = Self {
            sim,
            replica,
            folder,
            clock: Clock::system(),
            engine: None,
            rulebook,
            cast: Arc::new(Mutex::new(cast)),
            moments: Arc::default(),
            shown: Mutex::default(),
            lies: 0,
            has_backup: false,
        };
        office.start().await;
        let engine = office.engine();
        engine.create_account("acme", "Acme", &alice()).await.expect("an account");
        engine.claim("acme", "example.com", &alice()).await.expect("a claim");
        office
    }

    pub(super) fn url(&self) -> String {
        format!("sqlite://{}", self.folder.path().join("rosterd.db").display())
    }

    pub(super) fn engine(&self) -> Arc<Engine> {
        Arc::clone(self.engine.as_ref().expect("a daemon that runs"))
    }

    pub(super) fn store(&self) -> Arc<Store> {
        Arc::clone(&self.engine().store)
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// As the daemon starts.
    async fn start(&mut self) {
        let store = Arc::new(Store::open(&self.url()).await.expect("a store"));
        store.cancel_cut_runs(self.clock.now()).await.expect("cut runs that are ended");
        let trusted = ["example.com", SECOND].map(|d| Domain::parse(d).expect("a domain"));
        let rules = Rules { trusted: trusted.into(), ..Rules::default() };
        let directories = vec![self.rulebook.config.clone()];
        self.engine = Some(Arc::new(Engine::new(store, self.clock.clone(), directories, rules, CancellationToken::new())));
    }

    /// Stops as SIGTERM does.
    async fn stop(&mut self) {
        if let Some(engine) = self.engine.take() {
            engine.stop.cancel();
            engine.store.close().await;
        }
    }

    /// What is true now.
    fn truth(&self) -> Truth {
        let cast = self.cast.lock().expect("the cast");
        self.sim.look(|ad| Truth::of(ad, &cast, self.clock.now()))
    }

    /// What was true since the step began, and the changes that were approved in it.
    pub(super) fn since_then(&self) -> (Vec<Truth>, BTreeSet<String>) {
        let mut moments = std::mem::take(&mut *self.moments.lock().expect("moments"));
        moments.push(self.truth());
        (moments, self.shown.lock().expect("what was shown").keys().cloned().collect())
    }

    fn edit(&self, edit: &Edit) {
        let mut cast = self.cast.lock().expect("the cast");
        let now = self.clock.now();
        self.sim.edit(|ad| cast.edit(ad, edit, now));
    }

    /// Makes a step happen; says what came of it. What an operator is refused is no failure.
    pub(super) async fn step(&mut self, step: &Step) -> Result<String, EngineError> {
        let truth = self.truth();
        *self.moments.lock().expect("moments") = vec![truth];
        self.forget_approved().await?;
        match step {
            Step::Edit(edit) => self.edit(edit),
            Step::Do(what) => return self.carry_out(what).await,
            Step::During(edit, after, what) => {
                self.meanwhile(edit.clone(), *after);
                return self.carry_out(what).await;
            }
            Step::Both(one, other) => {
                let (one, other) = tokio::join!(self.carry_out(one), self.carry_out(other));
                return Ok(format!("{} / {}", one?, other?));
            }
            Step::Trouble(trouble) => self.trouble(*trouble),
            Step::Calm => self.calm(),
            Step::Kill(what, polls) => {
                let done = Cut { inner: self.carry_out(what), left: *polls }.await;
                let told = done.transpose()?.map_or_else(|| "killed on the way".to_owned(), |told| format!("killed after: {told}"));
                // No farewell: what was not committed is gone.
                drop(self.engine.take());
                self.start().await;
                return Ok(told);
            }
            Step::Restart => {
                self.stop().await;
                self.start().await;
            }
            Step::Backup => {
                let file = self.folder.path().join("backup.db");
                if file.exists() {
                    std::fs::remove_file(&file).expect("an old backup that can be removed");
                }
                self.engine().store.backup(&file).await?;
                self.has_backup = true;
            }
            Step::Restore if self.has_backup => {
                self.stop().await;
                for end in ["", "-wal", "-shm"] {
                    let file = self.folder.path().join(format!("rosterd.db{end}"));
                    if file.exists() {
                        std::fs::remove_file(file).expect("an old store that can be removed");
                    }
                }
                std::fs::copy(self.folder.path().join("backup.db"), self.folder.path().join("rosterd.db")).expect("a copy");
                self.start().await;
            }
            Step::Restore => {}
            Step::ServerDown => self.sim.crash().await.expect("a crash"),
            Step::ServerUp => self.sim.restart().await.expect("a restart"),
            Step::Wait(minutes) => self.later(Duration::from_mins(*minutes)),
        }
        Ok(String::new())
    }

    /// Whether the step puts the backup in the store's place.
    pub(super) fn restores(&self, step: &Step) -> bool {
        matches!(step, Step::Restore) && self.has_backup
    }

    fn later(&self, by: Duration) {
        self.clock.advance(by);
        let ahead = (self.clock.now().0 - Clock::system().now().0) / 1_000_000;
        for server in std::iter::once(&self.sim).chain(&self.replica) {
            server.set_clock_skew(ahead);
        }
    }

    /// Arms an edit for when so many people have been read.
    fn meanwhile(&self, edit: Edit, after: usize) {
        let (cast, moments, clock) = (Arc::clone(&self.cast), Arc::clone(&self.moments), self.clock.clone());
        let what = What::edit(move |ad| {
            let mut cast = cast.lock().expect("the cast");
            cast.edit(ad, &edit, clock.now());
            moments.lock().expect("moments").push(Truth::of(ad, &cast, clock.now()));
        });
        self.sim.faults().push(Fault::new(When::search().containing("objectcategory=person").after_entries(after), what));
    }

    fn trouble(&mut self, trouble: Trouble) {
        let people = || When::search().containing("objectcategory=person");
        let nth = When::nth_search;
        self.lies += usize::from(matches!(trouble, Trouble::Empty(_) | Trouble::EmptyPage(_) | Trouble::SkipAfter(_)));
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
        self.sim.faults().push(Fault::new(at, what));
    }

    fn calm(&mut self) {
        self.sim.faults().clear();
        self.lies = 0;
    }

    /// How many troubles have happened, if any of them may have been a lie.
    pub(super) fn lies_told(&self) -> usize {
        if self.lies > 0 { self.sim.faults().fired() } else { 0 }
    }

    /// Everything can be seen and reached again, and whatever has changed for good is accepted.
    pub(super) async fn make_well(&mut self) {
        self.calm();
        self.sim.restart().await.expect("a restart");
        for edit in [Edit::ShowOus, Edit::ShowPeople, Edit::ShowAttributes, Edit::ShowMembers] {
            self.edit(&edit);
        }
        // A base that shows nobody is never believed, so somebody has to work there.
        self.edit(&Edit::Hire { ou: 1, group: 0, mail: Mail::Home, staged: false });
        let engine = self.engine();
        engine.resume("corp", &alice()).await.expect("a pause that ends");
        engine.repin("corp", &alice()).await.expect("what is so is accepted");
    }

    /// What was approved may be applied by any run for as long as it waits, and for a day.
    async fn forget_approved(&self) -> Result<(), EngineError> {
        let store = self.store();
        let held = match store.current_plan(&DirectoryName::parse("corp").expect("a name")).await? {
            Some(plan) => store.plan_changes(plan.id).await?,
            None => Vec::new(),
        };
        let waiting: BTreeSet<String> = held.iter().map(recognised).collect();
        let since = self.clock.now().minus(self.rulebook.config.limits.approval_expires);
        self.shown.lock().expect("what was shown").retain(|change, at| waiting.contains(change) && *at >= since);
        Ok(())
    }

    /// An operator looks at a plan, and chooses; all of it, where nothing is chosen.
    async fn note_shown(&self, plan: rosterd::model::PlanId, chosen: &[bool]) -> Result<(), EngineError> {
        let changes = self.store().plan_changes(plan).await?;
        let now = self.clock.now();
        let approved = changes.iter().enumerate().filter(|(n, _)| chosen.get(*n).copied().unwrap_or(chosen.is_empty()));
        self.shown.lock().expect("what was shown").extend(approved.map(|(_, c)| (recognised(c), now)));
        Ok(())
    }

    /// Does what rosterd is asked to do.
    fn carry_out<'a>(&'a self, what: &'a Do) -> BoxFuture<'a, Result<String, EngineError>> {
        Box::pin(async move {
            match Box::pin(self.ask(what)).await {
                Err(error @ EngineError::Store(_)) => Err(error),
                Err(refused) => Ok(format!("refused: {refused}")),
                Ok(told) => Ok(told),
            }
        })
    }

    async fn ask(&self, what: &Do) -> Result<String, EngineError> {
        let engine = self.engine();
        let corp = engine.directory("corp")?;
        let actor = alice();
        let of_user = |user: Option<User>| user.map(|u| u.id.to_string()).ok_or_else(|| nobody("user"));
        let told = |user: &User| format!("{} is {}", user.id, user.status().as_str());
        Ok(match what {
            Do::Tick => {
                let request = engine.scheduled(&corp).await;
                ended(&engine.run(&corp, request).await?)
            }
            Do::Full => ended(&engine.run(&corp, Request::full(Trigger::Schedule, None)).await?),
            Do::Due => self.due(&engine).await?,
            Do::SyncUser(n) => ended(&engine.sync_user(&of_user(self.user(*n, |u| u.link.is_some()).await?)?, &actor).await?),
            Do::Plan => {
                let proposed = engine.propose(&corp, &Request::full(Trigger::Manual, Some(actor))).await?;
                format!("{} would be applied", proposed.judged.verdict.admitted.len())
            }
            Do::Approve => {
                let plan = engine.store.plans(false).await?.into_iter().next().ok_or_else(|| nobody("plan"))?;
                self.note_shown(plan.id, &[]).await?;
                ended(&engine.approve(plan.id, actor).await?.run)
            }
            Do::ApprovePart(n) => {
                let plan = engine.store.plans(false).await?.into_iter().next().ok_or_else(|| nobody("plan"))?;
                let rows = engine.store.held_rows(plan.id).await?;
                let row = rows.get(n % rows.len().max(1)).ok_or_else(|| nobody("change"))?;
                let (causes, people) =
                    if n % 2 == 0 { (vec![row.key.clone()], Vec::new()) } else { (Vec::new(), vec![row.user.to_string()]) };
                let is_chosen = |r: &HeldRow| if n % 2 == 0 { r.key == row.key } else { r.user == row.user };
                self.note_shown(plan.id, &rows.iter().map(is_chosen).collect::<Vec<_>>()).await?;
                ended(&engine.approve_part(plan.id, &Selection { causes, people }, "by chance", actor).await?.run)
            }
            Do::ApproveOld(n) => {
                let plans = engine.store.plans(true).await?;
                let plan = plans.get(n % plans.len().max(1)).ok_or_else(|| nobody("plan"))?;
                self.note_shown(plan.id, &[]).await?;
                ended(&engine.approve(plan.id, actor).await?.run)
            }
            Do::Reject => {
                let plan = engine.store.plans(false).await?.into_iter().next().ok_or_else(|| nobody("plan"))?;
                let rejected = engine.reject(plan.id, "by chance", &actor).await?;
                self.shown.lock().expect("what was shown").clear();
                rejected.id.to_string()
            }
            Do::Undo(n) => {
                let runs = engine.store.runs(None, 12).await?;
                let run = runs.get(n % runs.len().max(1)).ok_or_else(|| nobody("run"))?;
                let undone = engine.undo(run.id, &actor).await?;
                format!(
                    "{} taken back, {} left; {}",
                    undone.changes.len(),
                    undone.left.len(),
                    undone.read.as_ref().map_or_else(String::new, ended)
                )
            }
            Do::Suspend(n) => told(&engine.suspend(&of_user(self.user(*n, |_| true).await?)?, "by chance", &actor).await?),
            Do::Activate(n) => {
                let user = self.user(*n, |u| u.status() == rosterd::model::Status::Suspended).await?;
                told(&engine.activate(&of_user(user)?, &actor).await?.0)
            }
            Do::Pause(minutes) => engine.pause("corp", Some(Duration::from_mins(*minutes)), &actor).await?.state.to_owned(),
            Do::Resume => engine.resume("corp", &actor).await?.state.to_owned(),
            Do::Relink(n) => self.relink(&engine, *n, &actor).await?,
            Do::ReleaseAddress(n) => {
                let user = self.user(*n, |u| u.status() == rosterd::model::Status::Suspended).await?;
                told(&engine.release_address(&of_user(user)?, &actor).await?)
            }
            Do::Unpin(n) => told(&engine.unpin(&of_user(self.user(*n, |u| !u.pins.is_empty()).await?)?, &actor).await?),
            Do::Claim => engine.claim("acme", SECOND, &actor).await?.domain.to_string(),
            Do::Release => format!("touches {}", engine.release(SECOND, Some("acme"), &actor).await?.people.len()),
            Do::Invite(n) => {
                let person = { self.cast.lock().expect("the cast").people.get(n % 40).copied() };
                let mail = person.and_then(|p| self.sim.look(|ad| ad.exists(p).then(|| ad.value(p, "mail"))).flatten());
                let text = mail.unwrap_or_else(|| format!("person{n}@example.com"));
                format!("{:?}", engine.invite("acme", &[text], &actor).await?)
            }
            Do::Repin => engine.repin("corp", &actor).await?.state.to_owned(),
        })
    }

    /// What the schedule has to do beside its ticks. A pause holds it back.
    async fn due(&self, engine: &Engine) -> Result<String, EngineError> {
        let corp = engine.directory("corp")?;
        let now = engine.clock.now();
        let name = &corp.config.name;
        if engine.store.directory(name).await?.paused_until.is_some_and(|until| until > now) {
            return Ok("paused".to_owned());
        }
        let mut text = String::new();
        let settling = engine.store.settling(name).await?;
        let again = settling.into_iter().filter(|s| s.due.is_some_and(|due| due <= now)).map(|s| s.guid).collect();
        let expired = engine.store.expired_between(name, now.minus(Duration::from_hours(24)), now).await?;
        for (trigger, people) in [(Trigger::SecondLook, again), (Trigger::Expiry, expired)] {
            let request = Request::people(trigger, people, None);
            if request.scope != Scope::People(BTreeSet::new()) {
                text.push_str(&ended(&engine.run(&corp, request).await?));
            }
        }
        Ok(text)
    }

    /// Somebody who was created anew is the same person.
    async fn relink(&self, engine: &Engine, n: usize, actor: &Actor) -> Result<String, EngineError> {
        let waiting = engine.store.quarantined(&DirectoryName::parse("corp").expect("a name")).await?;
        let (person, ..) = waiting.get(n % waiting.len().max(1)).ok_or_else(|| nobody("person"))?;
        let left = |u: &User| u.causes.has(Reason::Deleted) || u.causes.has(Reason::Vanished);
        let user = self.user(n, left).await?.ok_or_else(|| nobody("user"))?;
        Ok(ended(&engine.relink(&user.id.to_string(), &person.to_string(), actor).await?))
    }

    /// The n-th user, or the next one that is as wanted.
    async fn user(&self, n: usize, is_wanted: impl Fn(&User) -> bool) -> Result<Option<User>, EngineError> {
        let users = self.store().users(&UserFilter { limit: Some(10_000), ..UserFilter::default() }).await?;
        let start = n % users.len().max(1);
        Ok(users.iter().skip(start).chain(users.iter().take(start)).find(|u| is_wanted(u)).cloned())
    }
}

fn recognised(change: &WrittenChange) -> String {
    shown(change.user, &change.kind, &change.before, &change.after, change.reason.as_deref())
}

fn nobody(what: &'static str) -> EngineError {
    EngineError::NotFound { what, name: "as wanted".to_owned() }
}

fn ended(run: &Run) -> String {
    let Run { mode, state, counts, held, quarantined, dropped, error, .. } = run;
    let quarantined = if *quarantined > 0 { format!(", {quarantined} in quarantine") } else { String::new() };
    let dropped = if *dropped > 0 { format!(", {dropped} dropped") } else { String::new() };
    let error = error.as_ref().map(|e| format!(": {e}")).unwrap_or_default();
    format!("{} {} {state:?}, {} changed, {held} held{quarantined}{dropped}{error}", run.trigger.as_str(), mode, counts.total())
}
