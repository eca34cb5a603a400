//! Rows of a table, played: each with an upstream, a relay and a spool of its own.

use std::collections::BTreeMap;

use gatepost_relay::Mode;
use gatepost_spool::RecipientState;
use gatepost_testkit::ScriptedUpstream;
use gatepost_testkit::upstream::Builder;

use crate::client::{Heard, Mail, Way, send};
use crate::world::{Delivered, Due, Room, Row, Setting, Store, World, delivered, rows};

pub(crate) const A: &str = "a@b.test";
pub(crate) const B: &str = "b@b.test";
pub(crate) const C: &str = "c@b.test";
/// What a client hears whose message is in the spool.
pub(crate) const QUEUED: &str = "250 2.0.0 Ok: queued as ";
/// What it hears of a recipient who is owed to it.
pub(crate) const KEPT: &str = "250 2.1.5 accepted, to be relayed later";

/// What must have come of a message, when its client is answered.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    /// How the replies to its recipients begin.
    recipients: Vec<&'static str>,
    /// How the last reply begins; none if there is no data.
    end: Option<&'static str>,
    /// Whom the upstream has it for.
    upstream: Vec<&'static str>,
    /// Whom the spool has it for, and when it is due.
    spool: Vec<&'static str>,
    due: Due,
    ambiguous: u64,
}

pub(crate) fn told(recipients: &[&'static str], end: &'static str) -> Told {
    Told {
        recipients: recipients.to_vec(),
        end: Some(end).filter(|end| !end.is_empty()),
        upstream: Vec::new(),
        spool: Vec::new(),
        due: Due::Later,
        ambiguous: 0,
    }
}

impl Told {
    pub(crate) fn upstream(mut self, recipients: &[&'static str]) -> Self {
        self.upstream = recipients.to_vec();
        self
    }

    pub(crate) fn spool(mut self, recipients: &[&'static str], due: Due) -> Self {
        (self.spool, self.due) = (recipients.to_vec(), due);
        self
    }

    pub(crate) const fn ambiguous(mut self) -> Self {
        self.ambiguous = 1;
        self
    }
}

/// One row: what is special about it.
pub(crate) struct Play {
    pub(crate) name: &'static str,
    pub(crate) setting: Setting,
    pub(crate) room: Room,
    /// Changes the usual message, to A and B.
    pub(crate) mail: fn(&mut Mail),
}

impl Play {
    pub(crate) fn of(name: &'static str) -> Self {
        Self { name, setting: Setting::default(), room: Room::Plenty, mail: |_| {} }
    }

    pub(crate) fn mail(mut self, mail: fn(&mut Mail)) -> Self {
        self.mail = mail;
        self
    }

    pub(crate) fn setting(mut self, change: impl FnOnce(&mut Setting)) -> Self {
        change(&mut self.setting);
        self
    }

    /// The spool takes nothing.
    pub(crate) const fn full(mut self) -> Self {
        self.room = Room::Full;
        self
    }

    /// Plays it in each of these modes, with an upstream like that.
    pub(crate) async fn runs(&self, build: impl Fn(Builder) -> Builder, expected: &[(Mode, Told)]) {
        for (mode, told) in expected {
            let upstream = build(ScriptedUpstream::builder()).start();
            self.run(&upstream, *mode, told).await;
            upstream.stop().await;
        }
    }

    async fn run(&self, upstream: &ScriptedUpstream, mode: Mode, told: &Told) {
        let store = Store::open(self.room);
        let world = World::new(upstream.addr(), &self.setting, Some(&store.spool));
        let mut mail = Mail::to(mode, &[A, B]);
        (self.mail)(&mut mail);
        let heard = send(&world, &mail).await;
        let rows = match store.spool.stats(std::time::SystemTime::now()).await {
            Ok(_) => world.rows().await,
            Err(_) => reopened(&store).await,
        };
        let delivered = delivered(upstream);
        self.check(mode, &heard, told);
        let (of_upstream, of_spool) = (whom(&delivered), pending(&rows));
        let name = self.name;
        assert_eq!(of_upstream, told.upstream, "{name}, {mode:?}: the upstream has it for");
        assert_eq!(of_spool, told.spool, "{name}, {mode:?}: the spool has it for");
        for row in &rows {
            assert_eq!(row.due, told.due, "{name}, {mode:?}: {row:?}");
        }
        let ambiguous = world.counts.ambiguous();
        assert_eq!(ambiguous, told.ambiguous, "{name}, {mode:?}: ambiguous");
        judge(&mail, &heard, (&rows, &delivered), ambiguous)
            .unwrap_or_else(|wrong| panic!("{name}, {mode:?}: {wrong}"));
    }

    fn check(&self, mode: Mode, heard: &Heard, told: &Told) {
        let name = self.name;
        let replies = heard.recipients.iter().flatten().map(ToString::to_string);
        let replies: Vec<_> = replies.collect();
        let fits = replies.len() == told.recipients.len()
            && replies.iter().zip(&told.recipients).all(|(reply, told)| reply.starts_with(told));
        assert!(fits, "{name}, {mode:?}: RCPT heard {replies:?}, not {:?}", told.recipients);
        let end = heard.end.as_ref().map(ToString::to_string);
        let fits = match (&end, told.end) {
            (Some(end), Some(told)) => end.starts_with(told),
            (end, told) => end.is_none() && told.is_none(),
        };
        assert!(fits, "{name}, {mode:?}: the end heard {end:?}, not {:?}", told.end);
    }
}

/// What the spool has, when it is opened again.
async fn reopened(store: &Store) -> Vec<Row> {
    let (_copy, spool, _) = store.crashed();
    rows(&spool, gatepost_spool::Filter::default()).await
}

fn whom(delivered: &[Delivered]) -> Vec<&str> {
    delivered.iter().flat_map(|message| message.recipients.iter().map(|path| &**path)).collect()
}

fn pending(rows: &[Row]) -> Vec<&str> {
    rows.iter().flat_map(Row::pending).collect()
}

/// The invariant: each recipient is in one place, and it is the one that its client was told of. What
/// the upstream has and nobody was told is allowed where nobody could know it, and is counted.
pub(crate) fn judge(
    mail: &Mail,
    heard: &Heard,
    (rows, delivered): (&[Row], &[Delivered]),
    ambiguous: u64,
) -> Result<(), String> {
    let mut upstream: BTreeMap<&str, usize> = BTreeMap::new();
    for message in delivered {
        if message.content != heard.stored(mail) && message.content != heard.plain(mail) {
            return Err(format!("the upstream has other content: {message:?}"));
        }
        message.recipients.iter().for_each(|path| *upstream.entry(path).or_default() += 1);
    }
    for row in rows {
        if row.body != heard.stored(mail) {
            return Err(format!("the spool has other content: {row:?}"));
        }
    }
    for (place, rcpt) in mail.recipients.iter().enumerate() {
        let path = rcpt.path.as_str();
        let sent = upstream.remove(path).unwrap_or(0);
        let states = rows.iter().flat_map(|row| &row.recipients).filter(|(it, _)| it == path);
        let states: Vec<_> = states.map(|(_, state)| *state).collect();
        // What is kept for the sake of others, although it was delivered, is no place of its own.
        let kept = states.iter().filter(|it| **it != RecipientState::Delivered).count();
        let granted = heard.is_granted(place);
        let right = match (granted, sent, kept) {
            (true, 1, 0) | (true, 0, 1) | (false, 0, 0) => true,
            (true, 1, 1) | (false, 1, 0) => ambiguous > 0,
            _ => false,
        };
        if !right {
            return Err(format!(
                "{path}: told {granted}, the upstream has it {sent} times, the spool has {states:?}, \
                 {ambiguous} are ambiguous"
            ));
        }
        if sent > 0 && rcpt.way != Way::First {
            return Err(format!("{path} went to another upstream"));
        }
    }
    match upstream.keys().next() {
        Some(stranger) => Err(format!("nobody has named {stranger}")),
        None => Ok(()),
    }
}
