//! The forms that values have: lists, words, numbers with units. Each method reports what is wrong
//! with a value and returns what can be gone on with.

use std::{fmt, str::FromStr, sync::Arc};

use toml::Spanned;

use crate::{
    choice::{self, Choices},
    date::Date,
    entry::{Mode, Terms},
    file::{Day, Number, Strings, Text},
    pattern::Pattern,
    report::{Place, Report},
    site::{Site, UpstreamId},
};

const MODES: Choices<Mode> =
    &[("sync", Some(Mode::Sync)), ("hybrid", Some(Mode::Hybrid)), ("spool", Some(Mode::Spool))];

/// A table that is judged: `entry billing`, or `entry` where it has no name.
#[derive(Clone, Copy)]
pub(super) struct Subject<'a> {
    pub(super) table: &'static str,
    pub(super) id: Option<&'a str>,
    /// A table that is not enabled may name what is not there any more: it does not exist.
    pub(super) is_enabled: bool,
    /// Where it begins.
    pub(super) at: usize,
}

impl fmt::Display for Subject<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.table)?;
        self.id.map_or(Ok(()), |id| write!(f, " {id}"))
    }
}

/// What the patterns of a list may mean.
#[derive(Clone, Copy)]
pub(super) enum Meant {
    /// Reverse-paths: every pattern.
    Senders,
    /// Forward-paths, which are never null.
    Recipients,
    /// Names of hosts.
    Names,
}

/// Judges values of one part of the text.
pub(super) struct Values<'s> {
    pub(super) site: &'s Site,
    /// Where the part of the text begins from which spans count.
    pub(super) part_at: usize,
    pub(super) report: Report,
}

impl Values<'_> {
    /// The terms of an entry that says nothing about them.
    pub(super) fn terms(&self) -> Terms {
        Terms::new(self.site.max_message_size, self.site.max_recipients)
    }

    /// Whether messages of these terms are kept as far as no route says otherwise.
    pub(super) fn keeps_messages(&self, terms: &Terms) -> bool {
        terms.mode.unwrap_or(self.site.default_mode).keeps_messages()
    }

    pub(super) fn offset<T>(&self, written: &Spanned<T>) -> usize {
        self.part_at + written.span().start
    }

    pub(super) fn place<T>(&self, written: &Spanned<T>) -> Place {
        Place::At(self.offset(written))
    }

    pub(super) fn error<T>(
        &mut self,
        written: &Spanned<T>,
        subject: impl fmt::Display,
        message: impl fmt::Display,
    ) {
        self.report.error(self.place(written), subject, message);
    }

    /// A name that stands for nothing.
    pub(super) fn unknown<T>(
        &mut self,
        written: &Spanned<T>,
        subject: Subject<'_>,
        message: impl fmt::Display,
    ) {
        if subject.is_enabled {
            self.error(written, subject, message);
        } else {
            self.report.warn(self.place(written), subject, message);
        }
    }

    /// Parses a list; `None` if one of its items is wrong. Every wrong one is reported.
    pub(super) fn each<T>(
        &mut self,
        subject: Subject<'_>,
        noun: &str,
        list: &[Spanned<Box<str>>],
    ) -> Option<Vec<T>>
    where
        T: FromStr<Err: fmt::Display>,
    {
        let mut parsed = Vec::with_capacity(list.len());
        for item in list {
            match item.get_ref().parse() {
                Ok(value) => parsed.push(value),
                Err(error) => {
                    let message = format_args!("{noun} {:?}: {error}", item.get_ref());
                    self.error(item, subject, message);
                }
            }
        }
        (parsed.len() == list.len()).then_some(parsed)
    }

    /// Patterns that make sense for what they are held against.
    pub(super) fn patterns(
        &mut self,
        subject: Subject<'_>,
        noun: &str,
        list: &[Spanned<Box<str>>],
        meant: Meant,
    ) -> Option<Vec<Pattern>> {
        let patterns: Vec<Pattern> = self.each(subject, noun, list)?;
        let mut all_right = true;
        for (pattern, item) in patterns.iter().zip(list) {
            let mend = match meant {
                Meant::Recipients if pattern.is_null() => "no recipient is null; leave it out",
                Meant::Names if !pattern.is_of_names() => {
                    "is not a name; write host.example.com, *.example.com or *"
                }
                _ => continue,
            };
            all_right = false;
            self.error(item, subject, format_args!("{noun} {:?}: {mend}", item.get_ref()));
        }
        all_right.then_some(patterns)
    }

    /// A list of patterns that restricts only if it is written.
    pub(super) fn optional_patterns(
        &mut self,
        subject: Subject<'_>,
        noun: &str,
        written: Option<Strings>,
        meant: Meant,
    ) -> Option<Arc<[Pattern]>> {
        let list = written?.0.into_inner();
        self.patterns(subject, noun, &list, meant).map(Into::into)
    }

    /// A value with a form of its own.
    pub(super) fn parsed<T>(
        &mut self,
        subject: Subject<'_>,
        key: &str,
        written: Option<&Spanned<Box<str>>>,
    ) -> Option<T>
    where
        T: FromStr<Err: fmt::Display>,
    {
        let written = written?;
        let parsed = written.get_ref().parse();
        let told = |error| {
            let message = format_args!("{key} {:?}: {error}", written.get_ref());
            self.error(written, subject, message);
        };
        parsed.map_err(told).ok()
    }

    /// A number of at least one.
    pub(super) fn positive(
        &mut self,
        subject: Subject<'_>,
        key: &str,
        written: Number,
        mend: &str,
    ) -> Option<u32> {
        let written = written?;
        if *written.get_ref() == 0 {
            self.error(&written, subject, format_args!("{key} must not be zero; {mend}"));
        }
        Some(written.into_inner())
    }

    /// The value behind a word. `None`: the key is not written, or wrong.
    pub(super) fn choice<T: Copy>(
        &mut self,
        subject: Subject<'_>,
        key: &str,
        written: Text,
        choices: Choices<T>,
    ) -> Option<T> {
        let written = written?;
        let chosen = choice::choose(written.get_ref(), choices);
        chosen.map_err(|error| self.error(&written, subject, format_args!("{key} {error}"))).ok()
    }

    pub(super) fn mode(&mut self, subject: Subject<'_>, written: Text) -> Option<Mode> {
        self.choice(subject, "mode", written, MODES)
    }

    pub(super) fn date(&mut self, subject: Subject<'_>, key: &str, written: Day) -> Option<Date> {
        let written = written?;
        let told = |error| {
            let message = format_args!("{key} {}: {error}", written.get_ref());
            self.error(&written, subject, message);
        };
        Date::try_from(written.get_ref()).map_err(told).ok()
    }

    pub(super) fn upstream(&mut self, subject: Subject<'_>, written: Text) -> Option<UpstreamId> {
        let written = written?;
        let name = written.get_ref();
        let upstream = self.site.upstream(name);
        if upstream.is_none() {
            let known = self.site.upstreams.join(", ");
            let message = format_args!("there is no upstream {name:?}; known are {known}");
            self.unknown(&written, subject, message);
        }
        upstream
    }
}
