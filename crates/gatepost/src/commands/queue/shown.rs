//! How times, sizes and paths of the queue are shown to people.

use gatepost_policy::printable::Printable;
use jiff::Timestamp;

/// Characters of a path in a table: a path may have a thousand octets.
const PATH_SHOWN_MAX: usize = 40;

/// Units of time that are shown, with their seconds: two that follow each other.
const SPANS: [(&str, i64); 4] = [("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)];

/// How long ago that was: `3h 12m`.
pub(super) fn age(since: Timestamp, now: Timestamp) -> String {
    span(now.as_second() - since.as_second())
}

/// When that will be: `in 3m 2s`, or `now`.
pub(super) fn ahead(at: Timestamp, now: Timestamp) -> String {
    match at.as_second() - now.as_second() {
        seconds if seconds > 0 => format!("in {}", span(seconds)),
        _ => "now".to_owned(),
    }
}

fn span(seconds: i64) -> String {
    // A clock that was set back makes nothing younger than now.
    let seconds = seconds.max(0);
    let last = SPANS.len() - 1;
    let first = SPANS.iter().position(|&(_, unit)| seconds >= unit).unwrap_or(last);
    let (name, unit) = SPANS[first];
    let most = format!("{}{name}", seconds / unit);
    match SPANS.get(first + 1).map(|&(name, smaller)| (seconds % unit / smaller, name)) {
        Some((rest @ 1.., name)) => format!("{most} {rest}{name}"),
        _ => most,
    }
}

/// Octets, to a tenth of the largest unit: `12.4 KiB`.
pub(super) fn size(octets: u64) -> String {
    let units = [("GiB", 30), ("MiB", 20), ("KiB", 10)];
    let Some((name, shift)) = units.into_iter().find(|(_, shift)| octets >> shift > 0) else {
        return format!("{octets} B");
    };
    let tenths = (u128::from(octets) * 10) >> shift;
    format!("{}.{} {name}", tenths / 10, tenths % 10)
}

/// A path of the envelope, which is `<>` if it is null.
pub(super) fn path(path: &str) -> String {
    if path.is_empty() { "<>".to_owned() } else { path.to_owned() }
}

/// The same where there is little room. Escaped first: what is escaped is longer.
pub(super) fn short_path(path: &str) -> String {
    cut(&Printable(&self::path(path)).to_string(), PATH_SHOWN_MAX)
}

/// `1 message`, `2 messages`.
pub(super) fn messages(count: u64) -> String {
    format!("{count} {}", if count == 1 { "message" } else { "messages" })
}

/// Lines as the terminal shows them, so that none takes two; whole, if there is no terminal.
pub(super) fn fitted(lines: String) -> String {
    match console::Term::stdout().size_checked() {
        Some((_, width)) if width > 0 => fit(&lines, width.into()),
        _ => lines,
    }
}

fn fit(lines: &str, width: usize) -> String {
    lines.lines().map(|line| cut(line, width) + "\n").collect()
}

/// A text of so many characters at most; that something is left out is seen.
fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text.to_owned(),
        Some(_) => text.chars().take(most.saturating_sub(1)).chain(['…']).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).expect("a time")
    }

    #[test]
    fn times_have_two_units() {
        for (seconds, expected) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m"),
            (61, "1m 1s"),
            (3600, "1h"),
            (3659, "1h"),
            (11_520, "3h 12m"),
            (86_400 * 40 + 3600, "40d 1h"),
            (-5, "0s"),
        ] {
            assert_eq!(age(at(0), at(seconds)), expected);
        }
        assert_eq!(ahead(at(61), at(0)), "in 1m 1s");
        assert_eq!(ahead(at(0), at(0)), "now");
        assert_eq!(ahead(at(0), at(9)), "now");
    }

    #[test]
    fn sizes_are_cut_and_not_rounded_up() {
        for (octets, expected) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (12_698, "12.4 KiB"),
            ((1 << 20) - 1, "1023.9 KiB"),
            (3 << 30, "3.0 GiB"),
            (u64::MAX, "17179869183.9 GiB"),
        ] {
            assert_eq!(size(octets), expected);
        }
    }

    #[test]
    fn what_is_too_long_is_cut_where_characters_end() {
        assert_eq!(cut("añb", 3), "añb");
        assert_eq!(cut("añbc", 3), "añ…");
        assert_eq!(cut("", 0), "");
        assert_eq!(fit("abcdef\nab\n", 4), "abc…\nab\n");
        assert_eq!(short_path(""), "<>");
        assert_eq!(short_path("a\u{1b}[2J@b.example"), "a\\u{1b}[2J@b.example");
        assert_eq!(short_path(&"\u{1b}".repeat(100)).chars().count(), PATH_SHOWN_MAX);
        assert_eq!((messages(1), messages(0)), ("1 message".to_owned(), "0 messages".to_owned()));
    }
}
