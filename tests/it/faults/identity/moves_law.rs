//! The law of moves: entries move between two domains of one account, are disabled and deleted, domains are
//! down, and both directories run in any order.

use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use super::estate::{Estate, Leaving};
use super::*;

const PEOPLE: usize = 4;

#[derive(Clone, Copy, Debug)]
enum Event {
    /// The entry moves to the other domain.
    Move(usize, Leaving),
    Disable(usize, bool),
    Delete(usize),
    /// The server of `emea`, or of `corp`, stops or starts.
    Stop(bool),
    Start,
    /// A run of `emea`, or of `corp`; a full one or the scheduled one.
    Run(bool, bool),
}

fn event() -> impl Strategy<Value = Event> {
    let who = 0..PEOPLE;
    let leaving = prop_oneof![Just(Leaving::Nowhere), Just(Leaving::Tombstone)];
    prop_oneof![
        4 => (who.clone(), leaving).prop_map(|(who, how)| Event::Move(who, how)),
        3 => (who.clone(), any::<bool>()).prop_map(|(who, is)| Event::Disable(who, is)),
        1 => who.prop_map(Event::Delete),
        1 => any::<bool>().prop_map(Event::Stop),
        1 => Just(Event::Start),
        8 => (any::<bool>(), any::<bool>()).prop_map(|(emea, full)| Event::Run(emea, full)),
    ]
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Life {
    Enabled,
    Disabled,
    Deleted,
}

/// A person, as the domains show it.
struct Entry {
    user: User,
    is_in_emea: bool,
    life: Life,
    /// A deleted object remains in `corp` after a move, and may suspend while `emea` is down.
    left_a_tombstone: bool,
}

impl Entry {
    fn has_left(&self) -> bool {
        self.life != Life::Enabled
    }

    fn home(&self) -> &'static str {
        if self.is_in_emea { "emea" } else { "corp" }
    }
}

struct Play {
    estate: Estate,
    entries: Vec<Entry>,
    users: usize,
    stopped: Option<bool>,
}

impl Play {
    async fn open() -> Self {
        let estate = Estate::open().await;
        let users = of_directory(&estate.firm, "corp").await.into_iter().take(PEOPLE);
        let entry =
            |user| Entry { user, is_in_emea: false, life: Life::Enabled, left_a_tombstone: false };
        let entries = users.map(entry).collect();
        let users = estate.firm.users().await.len();
        Self { estate, entries, users, stopped: None }
    }

    fn domain(&self, is_emea: bool) -> &Sim {
        if is_emea { &self.estate.emea } else { &self.estate.firm.sim }
    }

    async fn play(&mut self, event: Event) -> Result<(), TestCaseError> {
        match event {
            Event::Move(who, how) => self.moves(who, how),
            Event::Disable(who, is) => {
                let (guid, is_emea) =
                    (guid_of(&self.entries[who].user), self.entries[who].is_in_emea);
                if self.entries[who].life != Life::Deleted {
                    self.domain(is_emea)
                        .edit(|ad| if is { ad.disable(guid) } else { ad.enable(guid) });
                    self.entries[who].life = if is { Life::Disabled } else { Life::Enabled };
                }
            }
            Event::Delete(who) => {
                let (guid, is_emea) =
                    (guid_of(&self.entries[who].user), self.entries[who].is_in_emea);
                if self.entries[who].life != Life::Deleted {
                    self.domain(is_emea).edit(|ad| ad.delete(guid));
                    self.entries[who].life = Life::Deleted;
                }
            }
            Event::Stop(is_emea) if self.stopped.is_none() => {
                self.domain(is_emea).crash().await.expect("a crash");
                self.stopped = Some(is_emea);
            }
            Event::Stop(_) => {}
            Event::Start => self.start().await,
            Event::Run(is_emea, is_full) => self.run(is_emea, is_full).await?,
        }
        Ok(())
    }

    /// A deleted object keeps its GUID in its domain, so such an entry does not move back.
    fn moves(&mut self, who: usize, how: Leaving) {
        let entry = &self.entries[who];
        if entry.life == Life::Deleted || entry.left_a_tombstone {
            return;
        }
        let (guid, from_emea) = (guid_of(&entry.user), entry.is_in_emea);
        let leaves_tombstone = how == Leaving::Tombstone && !from_emea;
        let migrant = self
            .domain(from_emea)
            .edit(|ad| if leaves_tombstone { ad.exile(guid) } else { ad.emigrate(guid) });
        self.domain(!from_emea).edit(|ad| {
            ad.immigrate(migrant, "Sales");
            ad.add_member(names::BASIC, guid);
        });
        let entry = &mut self.entries[who];
        (entry.is_in_emea, entry.left_a_tombstone) = (!from_emea, leaves_tombstone);
    }

    async fn start(&mut self) {
        if let Some(is_emea) = self.stopped.take() {
            self.domain(is_emea).restart().await.expect("a start");
            // The servers are asked again.
            self.estate.later(Duration::from_mins(6));
        }
    }

    async fn run(&self, is_emea: bool, is_full: bool) -> Result<(), TestCaseError> {
        let of = if is_emea { "emea" } else { "corp" };
        let before = self.statuses().await;
        let firm = &self.estate.firm;
        let run = if is_full { sync(firm, of).await } else { tick_of(firm, of).await };
        let now = self.statuses().await;
        for (n, entry) in self.entries.iter().enumerate() {
            let may_suspend =
                entry.has_left() || (entry.left_a_tombstone && self.stopped == Some(true));
            prop_assert!(
                before[n] != Status::Active || now[n] == Status::Active || may_suspend,
                "{of} suspends person {n}, who is in {}: {run:?}",
                entry.home()
            );
            let is_read = run.error.is_none() && entry.home() == of;
            prop_assert!(
                !(entry.life == Life::Disabled && is_read) || now[n] == Status::Suspended,
                "{of} shows that person {n} is disabled, who stays active: {run:?}"
            );
        }
        prop_assert_eq!(self.estate.firm.users().await.len(), self.users, "{:?}", run);
        Ok(())
    }

    async fn statuses(&self) -> Vec<Status> {
        let mut statuses = Vec::new();
        for entry in &self.entries {
            statuses.push(again(&self.estate.firm, &entry.user).await.status());
        }
        statuses
    }

    /// Returns the users with a held change.
    async fn held(&self) -> BTreeSet<UserId> {
        let store = &self.estate.firm.engine.store;
        let mut users = BTreeSet::new();
        for plan in store.plans(false).await.expect("plans") {
            let rows = store.held_rows(plan.id).await.expect("held changes");
            users.extend(rows.into_iter().map(|row| row.user));
        }
        users
    }

    /// Lets both directories run until nothing is left to do, and checks each user.
    async fn rest(&mut self) -> Result<(), TestCaseError> {
        self.start().await;
        for is_emea in [false, true, false, true] {
            self.run(is_emea, true).await?;
        }
        let held = self.held().await;
        for (n, entry) in self.entries.iter().enumerate() {
            let user = again(&self.estate.firm, &entry.user).await;
            // A deletion in a domain that never had the user is no deletion in the user's own domain. There the
            // entry is only missing, which an operator has to confirm.
            let is_held = entry.life == Life::Deleted && held.contains(&user.id);
            let expected =
                if entry.has_left() && !is_held { Status::Suspended } else { Status::Active };
            prop_assert_eq!(
                user.status(),
                expected,
                "person {} in {}: {:?}",
                n,
                entry.home(),
                user.causes
            );
            prop_assert!(entry.has_left() || directory_of(&user) == entry.home(), "person {}", n);
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, max_shrink_iters: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_user_follows_its_entry_and_leaves_with_it_in_whatever_order_directories_run(
        events in prop::collection::vec(event(), 3..16),
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let mut play = Play::open().await;
            for event in events {
                play.play(event).await?;
            }
            play.rest().await
        })?;
    }
}
