//! Moments in a policy: from when, and until when, an entry is valid.

use std::{fmt, time::Duration};

use toml::value::{Datetime, Offset};

/// What time it is, for whoever decides: policy has no clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Seconds since 1970-01-01T00:00:00Z, for dates.
    pub unix_seconds: i64,
    /// Since a moment that is always the same, and never set back: for rates.
    pub uptime: Duration,
}

/// A date and time with its offset from UTC, shown as it was written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Date {
    unix_seconds: i64,
    written: Box<str>,
}

/// Why a TOML date is not a [`Date`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a date needs a time and an offset, like 2027-01-01T00:00:00Z")]
pub struct DateError;

impl Date {
    /// Whether it has come.
    pub const fn has_come(&self, now: Moment) -> bool {
        self.unix_seconds <= now.unix_seconds
    }

    /// Seconds since 1970-01-01T00:00:00Z.
    pub const fn unix_seconds(&self) -> i64 {
        self.unix_seconds
    }
}

/// TOML has checked that such a day and time exist; parts of a second do not matter here.
impl TryFrom<&Datetime> for Date {
    type Error = DateError;

    fn try_from(written: &Datetime) -> Result<Self, DateError> {
        let (Some(date), Some(time), Some(offset)) = (written.date, written.time, written.offset)
        else {
            return Err(DateError);
        };
        let offset_minutes = match offset {
            Offset::Z => 0,
            Offset::Custom { minutes } => i64::from(minutes),
        };
        let days = days_since_1970(date.year.into(), date.month.into(), date.day.into());
        let minutes = i64::from(time.hour) * 60 + i64::from(time.minute) - offset_minutes;
        let unix_seconds = days * 86_400 + minutes * 60 + i64::from(time.second.unwrap_or(0));
        Ok(Self { unix_seconds, written: written.to_string().into() })
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

/// Days from 1970-01-01 to a day of the Gregorian calendar, years from 0. Years begin in March, so
/// that the day of a leap year comes last.
const fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    const DAYS_TO_1970: i64 = 719_468;
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    // 153 days in five months from March on, 31 and 30 in turns.
    365 * year + leap_days + (153 * month + 2) / 5 + day - 1 - DAYS_TO_1970
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Date, DateError> {
        Date::try_from(&text.parse::<Datetime>().expect("a TOML date"))
    }

    /// Known answers from `date -u -d … +%s`.
    #[test]
    fn dates_are_seconds_since_1970() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2026-01-01T00:00:00Z", 1_767_225_600),
            ("2027-01-01T00:00:00Z", 1_798_761_600),
            ("2024-02-29T23:59:59Z", 1_709_251_199),
            ("2000-03-01T00:00:00Z", 951_868_800),
            ("2100-03-01T00:00:00Z", 4_107_542_400),
            ("1969-12-31T23:59:59Z", -1),
            ("2026-01-01T01:30:00+01:30", 1_767_225_600),
            ("2025-12-31T19:00:00.75-05:00", 1_767_225_600),
        ] {
            let date = read(text).expect(text);
            assert_eq!(date.unix_seconds(), seconds, "{text}");
            assert_eq!(date.to_string(), text);
        }
    }

    #[test]
    fn a_date_without_an_offset_could_be_any() {
        for text in ["2026-01-01", "2026-01-01T00:00:00", "00:00:00"] {
            assert_eq!(read(text), Err(DateError), "{text}");
        }
    }
}
