//! The spool beside a model that is too simple to be wrong, through operations, restarts and crashes
//! in any order.
//!
//! A crash is the directory as it is at some moment between two operations, copied and opened
//! elsewhere: nothing was closed, and the log was not copied into the database. (What a kill in the
//! middle of an operation leaves is tried in `kills.rs`.)

mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use gatepost_spool::{
    About, After, Attempt, Entrance, Filter, LIST_MAX, Notice, Outcome, QueueId, Recipient,
    RecipientState, Spool, Standing,
};
use proptest::{collection::vec, prelude::*, sample::Index};
use rusqlite::Connection;
use tempfile::TempDir;
use world::{at, commit, id, message, octets, options, read};

/// What is done; messages are named by their place among all that ever were.
#[derive(Clone, Debug)]
enum Step {
    Commit { length: usize, recipients: u32, entrance: Entrance },
    Lease(Index),
    Record(Index, Vec<Outcome>, u64),
    Release(Index),
    Reschedule(Index, u64),
    Doubt(Index, bool),
    Withdraw(Index),
    Hold(Index),
    Unhold(Index),
    Remove(Index),
    Retry(Index, Option<usize>),
    RetryAll(Option<usize>),
    Move(usize, usize),
    Notify(Index, Notice),
    SettleDelay(Index),
    Crash,
    Restart,
}

const UPSTREAMS: [&str; 3] = ["google", "ses", "m365"];
/// The clock of all steps but those that say another time.
const NOW: u64 = 100;
/// Octets of a body that is a row.
const INLINE_OCTETS_MAX: usize = 64 * 1024;
/// Older messages are delayed.
const DELAY_AFTER: u64 = 50;

/// A message as the model has it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Kept {
    length: usize,
    upstream: &'static str,
    lease: Option<Standing>,
    held: bool,
    due: u64,
    received: u64,
    expires: u64,
    delay_settled: bool,
    recipients: Vec<(RecipientState, After)>,
    /// Places of those who were told of a delay.
    told: BTreeSet<usize>,
}

impl Kept {
    /// A message for so many, as it is committed: some are older, and some expire sooner.
    fn new(number: u64, length: usize, upstream: &'static str, recipients: u32) -> Self {
        Self {
            length,
            upstream,
            lease: None,
            held: false,
            due: 50,
            received: number % 4 * 20,
            expires: if number.is_multiple_of(5) { 80 } else { 1000 },
            delay_settled: false,
            recipients: vec![(RecipientState::Pending, After::Forget); recipients as usize],
            told: BTreeSet::new(),
        }
    }

    fn pending(&self) -> bool {
        self.recipients.iter().any(|(state, _)| *state == RecipientState::Pending)
    }

    fn after(&self) -> After {
        self.recipients.iter().map(|(_, after)| *after).max().unwrap_or(After::Forget)
    }

    /// Where it stands; nowhere if nothing is left of it.
    fn standing(&self) -> Option<Standing> {
        match (self.lease, self.pending(), self.held, self.after()) {
            (Some(lease), ..) => Some(lease),
            (None, true, true, _) => Some(Standing::Held),
            (None, true, false, _) => Some(Standing::Queued),
            (None, false, _, After::Notify) => Some(Standing::Owing),
            (None, false, _, After::Keep) => Some(Standing::Dead),
            (None, false, _, After::Forget) => None,
        }
    }
}

#[derive(Default)]
struct Model {
    kept: BTreeMap<u64, Kept>,
    /// Messages that ever were.
    made: u64,
}

impl Model {
    fn pick(&self, index: Index) -> u64 {
        1 + index.index(self.made.max(1) as usize) as u64
    }

    /// The message, if it stands as it must.
    fn find(&mut self, number: u64, may: impl FnOnce(Standing) -> bool) -> Option<&mut Kept> {
        self.kept.get_mut(&number).filter(|kept| kept.standing().is_some_and(may))
    }

    fn crash(&mut self) {
        for kept in self.kept.values_mut().filter(|kept| kept.lease.is_some()) {
            kept.lease = None;
            kept.due = kept.due.min(NOW);
        }
    }

    /// Forgets what nothing is left of.
    fn sweep(&mut self) {
        self.kept.retain(|_, kept| kept.standing().is_some());
    }
}

fn is_leased(standing: Standing) -> bool {
    matches!(standing, Standing::Leased | Standing::InDoubt)
}

fn is_undecided(standing: Standing) -> bool {
    !matches!(standing, Standing::Dead | Standing::Owing)
}

/// What is answered if a message was changed, or was not.
fn only(number: u64, done: bool) -> Vec<QueueId> {
    if done { vec![id(number)] } else { vec![] }
}

/// Does a step to both, and compares what is answered.
async fn step(spool: &Spool, model: &mut Model, step: Step) {
    match step {
        Step::Commit { length, recipients, entrance } => {
            model.made += 1;
            add(spool, model, length, recipients, entrance).await;
        }
        Step::Lease(index) => {
            let number = model.pick(index);
            let found = model.find(number, |standing| standing == Standing::Queued);
            let done = found.map(|kept| kept.lease = Some(Standing::Leased)).is_some();
            assert_eq!(spool.lease(vec![id(number)]).await.expect("writes"), only(number, done));
        }
        Step::Record(index, outcomes, due) => {
            let number = model.pick(index);
            record(spool, model, number, &outcomes, due).await;
        }
        Step::Release(index) => {
            let number = model.pick(index);
            let done = model.find(number, is_leased).map(|kept| kept.lease = None).is_some();
            assert_eq!(spool.release(vec![id(number)]).await.expect("writes"), only(number, done));
        }
        Step::Reschedule(index, due) => {
            let number = model.pick(index);
            let found = model.find(number, is_undecided);
            let done = found.map(|kept| (kept.lease, kept.due) = (None, due)).is_some();
            assert_eq!(spool.reschedule(id(number), at(due)).await.expect("writes"), done);
        }
        Step::Doubt(index, joins) => {
            let number = model.pick(index);
            let joining = joins.then(|| Recipient { path: b"j@d"[..].into(), dsn: Box::default() });
            let found = model.find(number, is_leased);
            let done = found.map(|kept| {
                kept.lease = Some(Standing::InDoubt);
                kept.recipients
                    .extend(joining.iter().map(|_| (RecipientState::Pending, After::Forget)));
            });
            let joining = joining.into_iter().collect();
            assert_eq!(spool.doubt(id(number), joining).await.expect("writes"), done.is_some());
        }
        Step::Withdraw(index) => {
            let number = model.pick(index);
            let done =
                model.find(number, is_leased).is_some() && model.kept.remove(&number).is_some();
            assert_eq!(spool.withdraw(id(number)).await.expect("writes"), done);
        }
        Step::Notify(index, notice) => {
            let number = model.pick(index);
            notify(spool, model, number, notice).await;
        }
        Step::SettleDelay(index) => {
            let number = model.pick(index);
            let done = model.find(number, |_| true).map(|kept| kept.delay_settled = true).is_some();
            let ids = spool.settle_delay(vec![id(number)]).await.expect("writes");
            assert_eq!(ids, only(number, done));
        }
        step => operate(spool, model, step).await,
    }
    model.sweep();
}

/// The same for what operators do.
async fn operate(spool: &Spool, model: &mut Model, step: Step) {
    match step {
        Step::Hold(index) => {
            let number = model.pick(index);
            let done = model.find(number, is_undecided).map(|kept| kept.held = true).is_some();
            assert_eq!(spool.hold(vec![id(number)]).await.expect("writes"), only(number, done));
        }
        Step::Unhold(index) => {
            let number = model.pick(index);
            let done = model.find(number, is_undecided).map(|kept| kept.held = false).is_some();
            assert_eq!(spool.unhold(vec![id(number)]).await.expect("writes"), only(number, done));
        }
        Step::Remove(index) => {
            let number = model.pick(index);
            let done = model.find(number, |standing| !is_leased(standing)).is_some()
                && model.kept.remove(&number).is_some();
            assert_eq!(spool.remove(vec![id(number)]).await.expect("writes"), only(number, done));
        }
        Step::Retry(index, upstream) => {
            let number = model.pick(index);
            retry(spool, model, number, upstream.map(|index| UPSTREAMS[index])).await;
        }
        Step::RetryAll(upstream) => {
            let upstream = upstream.map(|index| UPSTREAMS[index]);
            let mut count = 0;
            for kept in model.kept.values_mut() {
                let is_meant = upstream.is_none_or(|upstream| upstream == kept.upstream);
                if is_meant && kept.standing() == Some(Standing::Queued) && kept.due > NOW {
                    kept.due = NOW;
                    count += 1;
                }
            }
            let upstream = upstream.map(Into::into);
            assert_eq!(spool.retry_all(at(NOW), upstream).await.expect("writes"), count);
        }
        Step::Move(from, to) => {
            let (from, to) = (UPSTREAMS[from], UPSTREAMS[to]);
            for kept in model.kept.values_mut().filter(|kept| kept.upstream == from) {
                kept.upstream = to;
            }
            // Lanes stay when they are empty, so that the answer is not compared.
            spool.move_upstream(from.into(), to.into()).await.expect("writes");
        }
        step => unreachable!("{step:?} is done elsewhere"),
    }
}

async fn add(spool: &Spool, model: &mut Model, length: usize, recipients: u32, entrance: Entrance) {
    let number = model.made;
    let upstream = UPSTREAMS[number as usize % 2];
    let mut kept = Kept::new(number, length, upstream, recipients);
    (kept.lease, kept.due) = match entrance {
        Entrance::Due(_) => (None, 50),
        Entrance::Leased => (Some(Standing::Leased), kept.received),
        Entrance::InDoubt => (Some(Standing::InDoubt), kept.received),
    };
    let mut message = message(number, upstream, recipients, entrance);
    message.envelope.received_at = at(kept.received);
    message.envelope.expires_at = at(kept.expires);
    model.kept.insert(number, kept);
    let mut body = spool.body(id(number));
    for chunk in octets(number, length).chunks(50_000) {
        body.append(Bytes::copy_from_slice(chunk)).await.expect("is taken");
    }
    let brought_back = spool.commit_and_keep(message, body).await.expect("is taken");
    let is_row = length <= INLINE_OCTETS_MAX;
    assert_eq!(brought_back, is_row.then(|| octets(number, length)));
}

async fn record(spool: &Spool, model: &mut Model, number: u64, outcomes: &[Outcome], due: u64) {
    if let Some(kept) = model.find(number, is_leased) {
        (kept.lease, kept.due) = (None, due);
        for (recipient, outcome) in kept.recipients.iter_mut().zip(outcomes) {
            if recipient.0 == RecipientState::Pending {
                *recipient = match *outcome {
                    Outcome::Deferred => (RecipientState::Pending, After::Forget),
                    Outcome::Delivered(after) => (RecipientState::Delivered, after),
                    Outcome::Expired(after) => (RecipientState::Expired, after),
                    Outcome::Failed(after) => (RecipientState::Failed, after),
                };
            }
        }
    }
    let expected = model.kept.get(&number).and_then(Kept::standing);
    let attempts = (0..).zip(outcomes);
    let attempts = attempts.map(|(place, &outcome)| Attempt { place, outcome, reply: None });
    let stands = spool.record(id(number), attempts.collect(), at(due)).await.expect("writes");
    assert_eq!(stands, expected);
}

async fn retry(spool: &Spool, model: &mut Model, number: u64, upstream: Option<&'static str>) {
    let may = |it| matches!(it, Standing::Dead | Standing::Held | Standing::Queued);
    let found = model.find(number, may);
    let done = found.map(|kept| {
        if kept.standing() == Some(Standing::Dead) {
            for recipient in &mut kept.recipients {
                if recipient.1 == After::Keep {
                    *recipient = (RecipientState::Pending, After::Forget);
                }
            }
        }
        (kept.due, kept.held) = (NOW, false);
        kept.upstream = upstream.unwrap_or(kept.upstream);
    });
    let ids = spool.retry(vec![id(number)], at(NOW), upstream.map(Into::into)).await;
    assert_eq!(ids.expect("writes").len(), usize::from(done.is_some()));
}

/// Commits a notification about everybody who is owed one, or about everybody who is pending.
async fn notify(spool: &Spool, model: &mut Model, number: u64, notice: Notice) {
    if number > model.made {
        return; // It would be about itself.
    }
    let mut places = vec![];
    if let Some(kept) = model.kept.get_mut(&number) {
        kept.delay_settled |= notice == Notice::Delay;
        for (place, recipient) in (0..).zip(&mut kept.recipients) {
            if notice == Notice::End && recipient.1 == After::Notify {
                recipient.1 = After::Forget;
                places.push(place);
            } else if notice == Notice::Delay && recipient.0 == RecipientState::Pending {
                kept.told.insert(place as usize);
                places.push(place);
            }
        }
    }
    // Whoever is not there is told nothing.
    places.push(100);
    model.made += 1;
    let (new, upstream) = (model.made, UPSTREAMS[2]);
    let mut notification = message(new, upstream, 1, Entrance::Due(at(50)));
    notification.about = Some(About { id: id(number), recipients: places.into(), notice });
    let kept = Kept { received: 0, expires: 1000, ..Kept::new(new, 10, upstream, 1) };
    model.kept.insert(new, kept);
    commit(spool, notification, 10).await.expect("is taken");
}

/// Everything is as the model has it: the list, each message, its body, the account, what is due.
async fn compare(spool: &Spool, model: &Model) {
    let page = spool.list(Filter::default(), None, LIST_MAX).await.expect("reads");
    let listed: Vec<_> = page.messages.iter().map(|message| message.id.as_u64()).collect();
    assert_eq!(listed, model.kept.keys().copied().collect::<Vec<_>>());
    let mut tallies: BTreeMap<_, (u64, u64)> = BTreeMap::new();
    let mut due = BTreeSet::new();
    for (&number, kept) in &model.kept {
        let shown = spool.show(id(number)).await.expect("reads").expect("is there");
        let standing = kept.standing().expect("something is left");
        assert_eq!(shown.standing, standing, "{number}");
        assert_eq!(shown.due_at, at(kept.due), "{number}");
        assert_eq!(&*shown.envelope.upstream, kept.upstream, "{number}");
        let recipients = shown.recipients.iter().map(|it| (it.state, it.after));
        assert_eq!(recipients.collect::<Vec<_>>(), kept.recipients, "{number}");
        let told = shown.recipients.iter().filter(|it| it.delay_told);
        let told: BTreeSet<_> = told.map(|it| it.place as usize).collect();
        assert_eq!(told, kept.told, "{number}");
        let listed = page.messages.iter().find(|it| it.id == id(number)).expect("is listed");
        let pending = kept.recipients.iter().filter(|it| it.0 == RecipientState::Pending).count();
        assert_eq!(
            (listed.pending, listed.recipients),
            (pending as u64, kept.recipients.len() as u64)
        );
        assert_eq!(read(spool, number).await, Some(octets(number, kept.length)), "{number}");
        let tally =
            tallies.entry((kept.upstream, format!("e{}", number % 3), standing)).or_default();
        *tally = (tally.0 + 1, tally.1 + kept.length as u64);
        if standing == Standing::Queued && kept.due <= NOW {
            due.insert(number);
        }
    }
    let stats = spool.stats(at(NOW)).await.expect("reads");
    let counted: Vec<_> = stats
        .tallies
        .iter()
        .map(|it| ((&*it.upstream, it.entry.to_string(), it.standing), (it.messages, it.octets)))
        .collect();
    assert_eq!(counted, tallies.into_iter().collect::<Vec<_>>());
    let undecided = model.kept.values().filter(|it| it.standing().is_some_and(is_undecided));
    assert_eq!(stats.oldest, undecided.map(|kept| at(kept.received)).min());
    compare_aged(spool, model).await;
    let found = spool.due(at(NOW), LIST_MAX, &[]).await.expect("reads");
    assert_eq!(found.iter().map(|it| it.id.as_u64()).collect::<BTreeSet<_>>(), due);
    assert_eq!(found.len(), due.len());
}

/// The same for what is past its time, and then for what is delayed.
async fn compare_aged(spool: &Spool, model: &Model) {
    let mut aged = [BTreeSet::new(), BTreeSet::new()];
    for (&number, kept) in &model.kept {
        if kept.standing() == Some(Standing::Queued) {
            if kept.expires <= NOW {
                aged[0].insert(number);
            } else if kept.received + DELAY_AFTER <= NOW && !kept.delay_settled {
                aged[1].insert(number);
            }
        }
    }
    let delay_after = Duration::from_secs(DELAY_AFTER);
    let found = spool.aged(at(NOW), delay_after, LIST_MAX).await.expect("reads");
    let found: Vec<_> = found.iter().map(|it| it.id.as_u64()).collect();
    assert_eq!(found.len(), aged[0].len() + aged[1].len());
    let (expired, delayed) = found.split_at(aged[0].len());
    assert_eq!([expired, delayed].map(|it| it.iter().copied().collect::<BTreeSet<_>>()), aged);
    let one = spool.aged(at(NOW), delay_after, 1).await.expect("reads");
    assert_eq!(
        one.iter().map(|it| it.id.as_u64()).collect::<Vec<_>>(),
        found[..found.len().min(1)]
    );
}

/// Copies a spool as it lies there, but for what belongs to the process that has it open.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to.join("bodies")).expect("is made");
    for name in ["spool.db", "spool.db-wal"] {
        fs::copy(from.join(name), to.join(name)).expect("is there");
    }
    for body in fs::read_dir(from.join("bodies")).expect("is there") {
        let name = body.expect("is there").file_name();
        // One that is removed just now may be there or not.
        let _ = fs::copy(from.join("bodies").join(&name), to.join("bodies").join(&name));
    }
}

/// What belongs to a message goes with it.
fn no_row_is_left_over(path: &Path) {
    let connection = Connection::open(path.join("spool.db")).expect("opens");
    for table in ["body", "recipient"] {
        let sql =
            format!("SELECT count(*) FROM {table} WHERE message NOT IN (SELECT id FROM message)");
        let rows: u32 = connection.query_row(&sql, (), |row| row.get(0)).expect("counts");
        assert_eq!(rows, 0, "{table}");
    }
}

async fn follow(steps: Vec<Step>) {
    let mut directory = TempDir::new().expect("a directory");
    let path = |directory: &TempDir| directory.path().join("spool");
    let open =
        |directory: &TempDir| Spool::open(&path(directory), options(), at(NOW)).expect("opens");
    let (mut spool, _) = open(&directory);
    let mut model = Model::default();
    for next in steps {
        if !matches!(next, Step::Crash | Step::Restart) {
            step(&spool, &mut model, next).await;
            continue;
        }
        compare(&spool, &model).await;
        if matches!(next, Step::Crash) {
            let elsewhere = TempDir::new().expect("a directory");
            copy(&path(&directory), &path(&elsewhere));
            directory = elsewhere;
        } else {
            spool.close().await;
        }
        no_row_is_left_over(&path(&directory));
        let leased = model.kept.values().filter(|kept| kept.lease.is_some()).count();
        model.crash();
        let recovery;
        (spool, recovery) = open(&directory);
        assert_eq!(recovery.leases, leased as u64);
        assert_eq!(recovery.messages, model.kept.len() as u64);
        assert_eq!(recovery.bodies_lost, []);
        compare(&spool, &model).await;
    }
    compare(&spool, &model).await;
    spool.close().await;
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let after =
        || prop_oneof![4 => Just(After::Forget), 1 => Just(After::Keep), 1 => Just(After::Notify)];
    let outcome = prop_oneof![
        2 => Just(Outcome::Deferred),
        3 => after().prop_map(Outcome::Delivered),
        2 => after().prop_map(Outcome::Failed),
        1 => after().prop_map(Outcome::Expired),
    ];
    let length =
        prop_oneof![5 => 0..5000_usize, 1 => 65_000..70_000_usize, 1 => 190_000..500_000_usize];
    let entrance = prop_oneof![
        4 => Just(Entrance::Due(at(50))),
        1 => Just(Entrance::Leased),
        1 => Just(Entrance::InDoubt),
    ];
    let due = || prop_oneof![Just(50_u64), Just(100), Just(200)];
    let any = any::<Index>;
    let step = prop_oneof![
        8 => (length, 1..4_u32, entrance)
            .prop_map(|(length, recipients, entrance)| Step::Commit { length, recipients, entrance }),
        6 => any().prop_map(Step::Lease),
        6 => (any(), vec(outcome, 4), due()).prop_map(|(index, outcomes, due)| Step::Record(index, outcomes, due)),
        2 => any().prop_map(Step::Release),
        2 => (any(), due()).prop_map(|(index, due)| Step::Reschedule(index, due)),
        2 => (any(), proptest::bool::ANY).prop_map(|(index, joins)| Step::Doubt(index, joins)),
        1 => any().prop_map(Step::Withdraw),
        1 => any().prop_map(Step::Hold),
        1 => any().prop_map(Step::Unhold),
        1 => any().prop_map(Step::Remove),
        2 => (any(), proptest::option::of(0..3_usize)).prop_map(|(index, upstream)| Step::Retry(index, upstream)),
        1 => proptest::option::of(0..3_usize).prop_map(Step::RetryAll),
        1 => (0..3_usize, 0..3_usize).prop_map(|(from, to)| Step::Move(from, to)),
        2 => any().prop_map(|index| Step::Notify(index, Notice::End)),
        1 => any().prop_map(|index| Step::Notify(index, Notice::Delay)),
        1 => any().prop_map(Step::SettleDelay),
        2 => Just(Step::Crash),
        1 => Just(Step::Restart),
    ];
    vec(step, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_lost_and_nothing_comes_back(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(follow(steps));
    }
}
