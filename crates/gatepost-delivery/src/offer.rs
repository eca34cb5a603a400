//! What an upstream offers in its answer to EHLO, and whether that has changed.
//!
//! Providers change what they offer without a word: STARTTLS that is gone, a smaller SIZE, a mechanism
//! of AUTH that was the only one in use. Behind one name there may be servers of several versions, so
//! an offer that was seen before is no news, whichever was seen last.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use metrics::{Counter, counter, describe_counter};
use serde::{Deserialize, Serialize};

/// Lines of an offer that are compared; the richest server known has some twenty.
const LINES_MAX: usize = 64;
/// Octets of a line that are compared (RFC 5321 §4.5.3.1.5 gives it 512).
const LINE_OCTETS_MAX: usize = 512;
/// Different offers of one upstream that are remembered: a provider that rolls out a version shows two,
/// and more say nothing.
const KNOWN_MAX: usize = 8;
/// Changes that are told in an hour. An upstream may put the time of day into its offer; all of them
/// are counted.
const TOLD_MAX: u32 = 8;
/// Lines of a change that are told, and characters of each.
const LINES_TOLD_MAX: usize = 16;
const LINE_CHARS_TOLD_MAX: usize = 60;

/// The keywords of an answer to EHLO with their parameters, in an order that means nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer(BTreeSet<String>);

/// The offers of one upstream, the one that was new last at the end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownOffers(Vec<Offer>);

/// What is new in an offer, beside the one that was new last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drift {
    /// Lines that were not there.
    pub gained: Vec<String>,
    /// Lines that are gone.
    pub lost: Vec<String>,
}

/// What one upstream is watched with, connection by connection.
pub(crate) struct OfferWatch {
    upstream: Arc<str>,
    known: Mutex<KnownOffers>,
    told: Mutex<Told>,
    changes: Counter,
}

/// How often a change was told in the hour that has begun then.
#[derive(Default)]
struct Told {
    since: Option<Instant>,
    times: u32,
}

impl OfferWatch {
    pub(crate) fn new(upstream: &Arc<str>) -> Self {
        describe_counter!(
            "gatepost_upstream_offer_changes_total",
            "Answers to EHLO that offer something else than any before"
        );
        let changes =
            counter!("gatepost_upstream_offer_changes_total", "upstream" => upstream.to_string());
        // An alert on the first increase needs a zero to increase from.
        changes.increment(0);
        let (known, told) = (Mutex::default(), Mutex::default());
        Self { upstream: Arc::clone(upstream), known, told, changes }
    }

    /// A connection was opened, and this is what it offers. A change is told, so many times an hour.
    pub(crate) fn observe(&self, offer: &Offer) {
        let mut known = self.known();
        if known.0.contains(offer) {
            return;
        }
        let drift = known.learn(offer);
        drop(known);
        let Some(drift) = drift else { return };
        self.changes.increment(1);
        let may_tell =
            self.told.lock().unwrap_or_else(PoisonError::into_inner).once_more(Instant::now());
        if may_tell {
            tracing::warn!(upstream = &*self.upstream, %drift, "the upstream offers something else in EHLO");
        }
    }

    /// What was known before; what was seen since stays the newest.
    pub(crate) fn restore(&self, before: &KnownOffers) {
        let mut known = self.known();
        let since = std::mem::take(&mut *known);
        for offer in before.0.iter().chain(&since.0) {
            known.learn(offer);
        }
    }

    /// What is known.
    pub(crate) fn known(&self) -> MutexGuard<'_, KnownOffers> {
        // A panic cannot leave half an offer behind.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Told {
    /// Whether it may be told at `now`, which counts.
    fn once_more(&mut self, now: Instant) -> bool {
        const HOUR: Duration = Duration::from_hours(1);
        if self.since.is_none_or(|since| now.saturating_duration_since(since) >= HOUR) {
            *self = Self { since: Some(now), times: 0 };
        }
        self.times += u32::from(self.times <= TOLD_MAX);
        self.times <= TOLD_MAX
    }
}

impl Offer {
    /// Reads the text of an answer to EHLO. Its first line is a greeting, and offers nothing.
    pub fn from_ehlo(text: &[u8]) -> Self {
        let lines = text.split(|&octet| octet == b'\n').skip(1).take(LINES_MAX);
        Self(lines.filter_map(line).collect())
    }

    /// The lines.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

impl KnownOffers {
    /// Takes an offer in, and says what is new in it. The very first is not compared with anything.
    pub fn learn(&mut self, offer: &Offer) -> Option<Drift> {
        if self.0.contains(offer) {
            return None;
        }
        let drift = self.0.last().map(|last| Drift {
            gained: offer.0.difference(&last.0).cloned().collect(),
            lost: last.0.difference(&offer.0).cloned().collect(),
        });
        if self.0.len() >= KNOWN_MAX {
            self.0.remove(0);
        }
        self.0.push(offer.clone());
        drift
    }

    /// The one that was new last.
    pub fn last(&self) -> Option<&Offer> {
        self.0.last()
    }
}

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.lost.is_empty(), self.gained.is_empty()) {
            (true, _) => write!(f, "new: {}", list(&self.gained)),
            (false, true) => write!(f, "gone: {}", list(&self.lost)),
            (false, false) => {
                write!(f, "gone: {}; new: {}", list(&self.lost), list(&self.gained))
            }
        }
    }
}

/// Lines one after the other, as many as people read.
fn list(lines: &[String]) -> String {
    let shown = lines.iter().take(LINES_TOLD_MAX);
    let mut shown: Vec<String> =
        shown.map(|line| line.chars().take(LINE_CHARS_TOLD_MAX).collect()).collect();
    if lines.len() > LINES_TOLD_MAX {
        shown.push(format!("and {} more", lines.len() - LINES_TOLD_MAX));
    }
    shown.join(", ")
}

/// A keyword in capitals and its words in order, because `AUTH LOGIN PLAIN` offers what
/// `AUTH PLAIN LOGIN` does.
fn line(octets: &[u8]) -> Option<String> {
    let octets = &octets[..octets.len().min(LINE_OCTETS_MAX)];
    let text = String::from_utf8_lossy(octets).replace(char::is_control, " ");
    let mut words = text.split_whitespace();
    let keyword = words.next()?.to_ascii_uppercase();
    let mut parameters: Vec<&str> = words.collect();
    parameters.sort_unstable();
    parameters.insert(0, &keyword);
    Some(parameters.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(lines: &[&str]) -> Offer {
        Offer::from_ehlo(format!("mx.test at your service\n{}", lines.join("\n")).as_bytes())
    }

    #[test]
    fn order_and_case_and_greeting_do_not_matter() {
        let one = offer(&["SIZE 1000", "AUTH LOGIN PLAIN", "8BITMIME"]);
        let other = Offer::from_ehlo(b"elsewhere\n8bitmime\nsize 1000\nauth PLAIN LOGIN");
        assert_eq!(one, other);
        assert_eq!(one.lines().collect::<Vec<_>>(), ["8BITMIME", "AUTH LOGIN PLAIN", "SIZE 1000"]);
        assert_ne!(one, offer(&["SIZE 999", "AUTH LOGIN PLAIN", "8BITMIME"]));
    }

    #[test]
    fn what_was_seen_before_is_no_news() {
        let mut known = KnownOffers::default();
        let (old, new) = (offer(&["STARTTLS", "SIZE 1000"]), offer(&["SIZE 500", "DSN"]));
        assert_eq!(known.learn(&old), None, "the first is compared with nothing");
        assert_eq!(known.learn(&old), None);
        let drift = known.learn(&new).expect("is news");
        assert_eq!(drift.to_string(), "gone: SIZE 1000, STARTTLS; new: DSN, SIZE 500");
        for offer in [&old, &new, &old] {
            assert_eq!(known.learn(offer), None);
        }
        let drift = known.learn(&offer(&["SIZE 500"])).expect("is news");
        assert_eq!(drift.to_string(), "gone: DSN");
    }

    #[test]
    fn memory_is_bounded() {
        let mut known = KnownOffers::default();
        for size in 0..100 {
            known.learn(&offer(&[&format!("SIZE {size}")]));
        }
        assert_eq!(known.0.len(), KNOWN_MAX);
        let long = offer(&vec!["X".repeat(5000).as_str(); 3000]);
        assert_eq!(long.lines().map(str::len).sum::<usize>(), LINE_OCTETS_MAX);
        let many: Vec<String> = (0..3000).map(|it| format!("X{it}")).collect();
        let many = offer(&many.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(many.lines().count(), LINES_MAX);
        assert_eq!(offer(&["A\u{1b}[31m\0B"]).lines().collect::<Vec<_>>(), ["A B [31m"]);
    }

    #[test]
    fn a_file_with_too_much_in_it_is_no_licence_to_grow() {
        let many = |from: u32, to: u32| (from..to).map(|size| offer(&[&format!("SIZE {size}")]));
        let watch = OfferWatch::new(&"a".into());
        watch.restore(&KnownOffers(many(0, 100).collect()));
        many(100, 200).for_each(|offer| watch.observe(&offer));
        assert_eq!(watch.known().0.len(), KNOWN_MAX);
        assert_eq!(watch.known().last(), many(199, 200).next().as_ref());
    }

    #[test]
    fn an_offer_that_always_changes_does_not_fill_the_log() {
        let (mut told, start) = (Told::default(), Instant::now());
        let in_an_hour = |told: &mut Told, begin| {
            (0..1000).filter(|second| told.once_more(begin + Duration::from_secs(*second))).count()
        };
        assert_eq!(in_an_hour(&mut told, start), 8);
        assert_eq!(in_an_hour(&mut told, start + Duration::from_hours(1)), 8);
    }

    #[test]
    fn a_drift_is_told_in_a_line_that_people_can_read() {
        let mut known = KnownOffers::default();
        known.learn(&offer(&["DSN"]));
        let many: Vec<String> = (0..60).map(|it| format!("X{it} {}", "y".repeat(500))).collect();
        let many = offer(&many.iter().map(String::as_str).collect::<Vec<_>>());
        let told = known.learn(&many).expect("is news").to_string();
        assert!(told.chars().count() <= 1100, "{}", told.chars().count());
    }
}
