//! What an upstream may do to a message at any moment, drawn by lot.

use std::time::Duration;

use gatepost_relay::Mode;
use gatepost_testkit::upstream::{Builder, Move};
use gatepost_testkit::{Action, ScriptedUpstream};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::client::{Form, Grouping, Interlude, Mail, Rcpt, Way};
use crate::fuse::Cut;
use crate::world::Room;

/// How long the upstream may take for anything; the client waits a part of it.
pub(crate) const DEADLINE: Duration = Duration::from_millis(300);
pub(crate) const ANSWER_WITHIN: Duration = Duration::from_millis(60);
/// An upstream that takes so long leaves its client in doubt, and answers all the same.
const LATE: Duration = Duration::from_millis(150);

/// One message, and an upstream that does something to it.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) mode: Mode,
    pub(crate) room: Room,
    /// Another message has gone the same way before: the connection is a used one.
    pub(crate) is_warm: bool,
    pub(crate) extensions: Vec<&'static str>,
    pub(crate) ways: Vec<Way>,
    pub(crate) shape: Shape,
    pub(crate) answers: Answers,
    pub(crate) cut: Option<Cut>,
}

/// The message.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    form: Form,
    grouping: Grouping,
    interlude: Interlude,
    octets: usize,
    piece: usize,
    has_last_line_end: bool,
}

/// What the upstream says.
#[derive(Clone, Debug)]
pub(crate) struct Answers {
    greeting: Option<Action>,
    mail: Option<Action>,
    recipients: Vec<Option<Action>>,
    data: Option<Action>,
    chunk: Option<(usize, Action)>,
    end: Option<Action>,
}

impl Answers {
    /// Whether the upstream says something to data and to its end, and at once.
    pub(crate) fn end_is_plain(&self) -> bool {
        let is_reply = |it: &Action| matches!(it, Action::Reply(reply) if reply.len() > 3);
        let plain = |action: &Option<Action>| action.as_ref().is_none_or(is_reply);
        plain(&self.data)
            && plain(&self.end)
            && self.chunk.as_ref().is_none_or(|(_, action)| is_reply(action))
    }
}

impl Scenario {
    /// Everything in order, to say what is different.
    pub(crate) fn plain(mode: Mode, recipients: usize) -> Self {
        Self {
            mode,
            room: Room::Plenty,
            is_warm: false,
            extensions: vec!["PIPELINING", "8BITMIME"],
            ways: vec![Way::First; recipients],
            shape: Shape {
                form: Form::Data,
                grouping: Grouping::OneByOne,
                interlude: Interlude::None,
                octets: 40,
                piece: 30,
                has_last_line_end: true,
            },
            answers: Answers {
                greeting: None,
                mail: None,
                recipients: vec![None; recipients],
                data: None,
                chunk: None,
                end: None,
            },
            cut: None,
        }
    }

    pub(crate) fn in_chunks(mut self) -> Self {
        self.extensions.push("CHUNKING");
        self.shape.form = Form::Chunks(2);
        self
    }

    pub(crate) const fn pipelined(mut self) -> Self {
        self.shape.grouping = Grouping::Pipelined;
        self
    }

    pub(crate) const fn cut(mut self, cut: Cut) -> Self {
        self.cut = Some(cut);
        self
    }

    /// The message, of an entry of its own.
    pub(crate) fn mail(&self, number: u64) -> Mail {
        let shape = &self.shape;
        let rcpt = |(place, way): (usize, &Way)| Rcpt {
            path: format!("r{place}@b.test"),
            dsn: "",
            way: *way,
        };
        let mut body = b".line of text, with a dot in front\r\nand one without\r\n"
            .repeat(shape.octets / 53 + 1);
        body.truncate(shape.octets);
        // A CR at the end would be a bare one.
        let text = body.len() - body.iter().rev().take_while(|it| b"\r\n".contains(it)).count();
        body.truncate(text);
        if shape.has_last_line_end || shape.form == Form::Data {
            body.extend_from_slice(b"\r\n");
        }
        Mail {
            mode: self.mode,
            sender: format!("s{number}@app.test"),
            entry: format!("e{number}"),
            recipients: self.ways.iter().enumerate().map(rcpt).collect(),
            body,
            form: shape.form,
            grouping: shape.grouping,
            piece: shape.piece,
            interlude: shape.interlude,
        }
    }

    /// The upstream, behind the message that has gone before.
    pub(crate) fn upstream(&self) -> ScriptedUpstream {
        let mut builder = ScriptedUpstream::builder().extensions(&self.extensions);
        let answers = &self.answers;
        let nth = 1 + usize::from(self.is_warm);
        let on = |builder: Builder, event: &str, nth, action: &Option<Action>| match action {
            Some(action) => builder.on_nth(event, nth, action.clone()),
            None => builder,
        };
        builder = on(builder, "CONNECT", 1, &answers.greeting);
        builder = on(builder, "MAIL", nth, &answers.mail);
        for (place, answer) in answers.recipients.iter().enumerate() {
            builder = on(builder, &format!("RCPT TO:<r{place}@"), 1, answer);
        }
        builder = on(builder, "DATA", nth, &answers.data);
        if let Some((chunk, action)) = &answers.chunk {
            builder = builder.on_nth("BDAT", *chunk, action.clone());
        }
        on(builder, ".", nth, &answers.end).start()
    }
}

/// What is no yes, to whatever was asked.
fn trouble() -> impl Strategy<Value = Action> {
    prop_oneof![
        4 => Just(Action::from("451 4.3.0 later")),
        4 => Just("550 5.7.1 no".into()),
        2 => Just("421 4.3.2 leaving".into()),
        2 => Just(Action::ReplyThenClose("421 4.3.2 leaving".to_owned())),
        1 => Just("452 4.5.3 too many".into()),
        1 => Just("552 5.2.2 full".into()),
        1 => Just("503 5.5.1 what".into()),
        2 => Just(Action::Close),
        2 => Just(Action::Reset),
        1 => Just(Action::Silence),
        1 => Just(Action::Raw(b"250".to_vec())),
        1 => Just(Action::Raw(b"what\r\n".to_vec())),
        1 => Just(Action::Play(vec![Move::Say(b"45".to_vec()), Move::Close])),
    ]
}

/// The same, seldom.
fn perhaps(strategy: impl Strategy<Value = Action> + 'static) -> BoxedStrategy<Option<Action>> {
    prop_oneof![5 => Just(None), 1 => strategy.prop_map(Some)].boxed()
}

fn to_data() -> impl Strategy<Value = Action> {
    // Not a yes: once the final dot is on its way, nobody can tell that it was said too early.
    let reply = prop_oneof!["451 4.3.0 later\r\n", "554 5.7.1 no\r\n"];
    let said = (0..20_000usize, reply, any::<bool>()).prop_map(|(octets, reply, closes)| {
        let then = if closes { Move::Close } else { Move::Silence };
        Action::PlayInData(octets, vec![Move::Say(reply.into_bytes()), then])
    });
    prop_oneof![
        3 => trouble(),
        1 => (0..20_000usize).prop_map(Action::CloseAfterData),
        1 => said,
        1 => (0..500usize).prop_map(Action::StallAfterData),
    ]
}

fn to_end() -> impl Strategy<Value = Action> {
    let late = prop_oneof![Just("250 2.0.0 taken"), Just("451 4.3.0 later"), Just("554 5.7.1 no"),];
    prop_oneof![
        3 => trouble(),
        2 => late.prop_map(|reply| Action::Delay(LATE, reply.to_owned())),
        1 => Just(Action::Play(vec![Move::Wait(LATE), Move::Close])),
        1 => Just(Action::TwoReplies("250 2.0.0 ok".to_owned(), "554 5.0.0 no".to_owned())),
        1 => Just(Action::ReplyThenClose("250 2.0.0 ok".to_owned())),
    ]
}

fn answers(recipients: usize) -> impl Strategy<Value = Answers> {
    let seldom = |strategy: BoxedStrategy<Action>| prop_oneof![12 => Just(None), 1 => strategy.prop_map(Some)];
    (
        seldom(trouble().boxed()),
        seldom(trouble().boxed()),
        vec(perhaps(trouble()), recipients),
        perhaps(to_data()),
        prop_oneof![5 => Just(None), 1 => (1..4usize, trouble()).prop_map(Some)],
        prop_oneof![Just(None), to_end().prop_map(Some)],
    )
        .prop_map(|(greeting, mail, recipients, data, chunk, end)| Answers {
            greeting,
            mail,
            recipients,
            data,
            chunk,
            end,
        })
}

fn shape() -> impl Strategy<Value = Shape> {
    // Around what is held in memory, and around what is a row.
    let octets = prop_oneof![6 => 0..300usize, 3 => 7_900..8_300usize, 1 => 60_000..140_000usize];
    let interlude = prop_oneof![
        20 => Just(Interlude::None),
        1 => Just(Interlude::StallsBeforeData),
        1 => Just(Interlude::StallsInData),
    ];
    let form = prop_oneof![Just(Form::Data), (1..5usize).prop_map(Form::Chunks)];
    let grouping = prop_oneof![Just(Grouping::OneByOne), Just(Grouping::Pipelined)];
    (form, grouping, interlude, octets, 1..5_000usize, any::<bool>()).prop_map(
        |(form, grouping, interlude, octets, piece, has_last_line_end)| Shape {
            form,
            grouping,
            interlude,
            // An octet at a time is for small ones.
            piece: piece.max(octets / 200 + 1),
            octets,
            has_last_line_end,
        },
    )
}

pub(crate) fn scenario() -> impl Strategy<Value = Scenario> {
    let way = prop_oneof![
        8 => Just(Way::First),
        1 => (0..2usize).prop_map(Way::Other),
        1 => Just(Way::Renamed),
    ];
    let mode = prop_oneof![1 => Just(Mode::Sync), 1 => Just(Mode::Spool), 4 => Just(Mode::Hybrid)];
    let room = prop_oneof![8 => Just(Room::Plenty), 1 => Just(Room::Full)];
    let cut = prop_oneof![
        2 => Just(None),
        1 => (1..900usize).prop_map(|octets| Some(Cut::Heard(octets))),
        1 => (1..300usize).prop_map(|octets| Some(Cut::Said(octets))),
    ];
    (mode, room, vec(way, 1..5), shape(), any::<[bool; 4]>(), cut).prop_flat_map(
        |(mode, room, mut ways, shape, [is_warm, pipelines, chunks, eight_bit], cut)| {
            ways[0] = Way::First;
            let offered =
                [(pipelines, "PIPELINING"), (chunks, "CHUNKING"), (eight_bit, "8BITMIME")];
            let extensions: Vec<_> =
                offered.iter().filter(|(is_there, _)| *is_there).map(|(_, name)| *name).collect();
            answers(ways.len()).prop_map(move |answers| Scenario {
                mode,
                room,
                // A greeting that is no greeting keeps the message before away, too.
                is_warm: is_warm && answers.greeting.is_none(),
                extensions: extensions.clone(),
                ways: ways.clone(),
                shape: shape.clone(),
                answers,
                cut,
            })
        },
    )
}
