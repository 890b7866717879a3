//! `NodeTime`: an instant with the offset of its writer's zone, written and read as Go does (RFC 3339).
//!
//! The text is part of every tree and so of its hash: fraction without trailing zeros, `Z` for no offset, offsets
//! in whole minutes, years from 0 to 9999. Times of files may be outside: restic then changes the year alone
//! (its `FixTime`), and so does [`NodeTime::from_unix`]. The process's zone is found as Go finds it.

use std::fmt;

use jiff::Timestamp;
use jiff::tz::TimeZone;

mod calendar;

pub use calendar::{CalendarSpan, WallClock};

const DAY: i64 = 86_400;
/// The Gregorian calendar, with its days of the week, repeats after 400 years.
const CYCLE_DAYS: i64 = 146_097;
/// 0000-01-02 and 9999-12-31, UTC: between them no zone leaves the years from 0 to 9999.
const YEARS_SAFE: std::ops::Range<i64> = -62_167_132_800..253_402_214_400;

/// An instant as a node or snapshot records it: with the offset of the zone it was written in.
///
/// Two of them are equal when they would be written alike; compare [`NodeTime::instant`] to compare instants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct NodeTime {
    /// Seconds since 1970, negative before.
    pub seconds: i64,
    /// 0 to 999 999 999.
    pub nanoseconds: u32,
    /// East of UTC, in seconds.
    pub offset_seconds: i32,
}

/// Text that is not a time of RFC 3339 within the years 0 to 9999.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a time has the form 2006-01-02T15:04:05.999999999+07:00")]
pub struct NotATime;

impl NodeTime {
    /// What restic makes of a time that is absent: 0001-01-01T00:00:00Z, Go's zero time.
    pub const UNSET: Self = Self { seconds: -62_135_596_800, nanoseconds: 0, offset_seconds: 0 };

    /// The time `seconds` and `nanoseconds` after 1970 (as `stat` gives them) in `zone`, its year brought into
    /// 0 to 9999 as restic brings it.
    #[must_use]
    pub fn from_unix(seconds: i64, nanoseconds: u32, zone: &TimeZone) -> Self {
        let time = Self { seconds, nanoseconds, offset_seconds: offset_at(seconds, zone) };
        if YEARS_SAFE.contains(&seconds) {
            return time;
        }
        let (local_day, second) = time.local();
        let (year, month, day) = civil(local_day);
        let clamped = year.clamp(0, 9999);
        if clamped == year {
            return time;
        }
        // The wall clock stays. Which offset holds there is found as Go's time.Date finds it: by taking the wall
        // clock for UTC first. A 29 February becomes 1 March when the new year has none.
        let wall = days(clamped, month, day) * DAY + second;
        let offset_seconds = match offset_at(wall, zone) {
            0 => 0,
            offset => offset_at(wall - i64::from(offset), zone),
        };
        Self { seconds: wall - i64::from(offset_seconds), nanoseconds, offset_seconds }
    }

    /// Reads a time in RFC 3339; digits beyond nanoseconds are dropped.
    pub fn parse(text: &[u8]) -> Result<Self, NotATime> {
        let (clock, rest) = text.split_first_chunk::<19>().ok_or(NotATime)?;
        let [c1, c2, y1, y2, b'-', mo1, mo2, b'-', d1, d2, b'T', h1, h2, b':', mi1, mi2, b':', s1, s2] =
            *clock
        else {
            return Err(NotATime);
        };
        let year = two(c1, c2, 99)? * 100 + two(y1, y2, 99)?;
        let (month, day) = (two(mo1, mo2, 12)?, two(d1, d2, 31)?);
        if month == 0 || day == 0 || day > 28 && day > days(year, month + 1, 1) - days(year, month, 1) {
            return Err(NotATime);
        }
        let day_number = days(year, month, day);
        let second_of_day = two(h1, h2, 23)? * 3600 + two(mi1, mi2, 59)? * 60 + two(s1, s2, 59)?;
        let (nanoseconds, zone) = fraction(rest)?;
        let offset = match *zone {
            [b'Z'] => 0,
            [b'+', h1, h2, b':', m1, m2] => two(h1, h2, 23)? * 3600 + two(m1, m2, 59)? * 60,
            [b'-', h1, h2, b':', m1, m2] => -(two(h1, h2, 23)? * 3600 + two(m1, m2, 59)? * 60),
            _ => return Err(NotATime),
        };
        let seconds = day_number * DAY + second_of_day - offset;
        Ok(Self { seconds, nanoseconds, offset_seconds: offset as i32 })
    }

    /// Appends the time in RFC 3339, without quotes.
    pub fn format_into(&self, out: &mut Vec<u8>) {
        let (local_day, second) = self.local();
        let (year, month, day) = civil(local_day);
        let year = year.clamp(0, 9999);
        let ([c1, c2], [y1, y2]) = (digits(year / 100), digits(year % 100));
        let ([mo1, mo2], [d1, d2]) = (digits(month), digits(day));
        let ([h1, h2], [mi1, mi2], [s1, s2]) =
            (digits(second / 3600), digits(second / 60 % 60), digits(second % 60));
        out.extend_from_slice(&[
            c1, c2, y1, y2, b'-', mo1, mo2, b'-', d1, d2, b'T', h1, h2, b':', mi1, mi2, b':', s1, s2,
        ]);
        push_fraction(out, self.nanoseconds);
        if self.offset_seconds == 0 {
            return out.push(b'Z');
        }
        // Whole minutes, rounded towards zero; then the sign of zero is plus.
        let minutes = i64::from(self.offset_seconds / 60);
        let ([h1, h2], [m1, m2]) = (digits(minutes.abs() / 60), digits(minutes.abs() % 60));
        out.extend_from_slice(&[if minutes < 0 { b'-' } else { b'+' }, h1, h2, b':', m1, m2]);
    }

    /// The instant, whatever the zone: seconds since 1970, and nanoseconds. It sorts and compares.
    #[must_use]
    pub fn instant(&self) -> (i64, u32) {
        (self.seconds, self.nanoseconds)
    }

    /// The day counted from 1970-01-01 and the second of the day, by the clock on the wall.
    fn local(&self) -> (i64, i64) {
        let second = self.seconds.rem_euclid(DAY) + i64::from(self.offset_seconds);
        (self.seconds.div_euclid(DAY) + second.div_euclid(DAY), second.rem_euclid(DAY))
    }
}

impl fmt::Display for NodeTime {
    /// As [`NodeTime::format_into`].
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = Vec::with_capacity(35);
        self.format_into(&mut text);
        formatter.write_str(&String::from_utf8_lossy(&text))
    }
}

/// The zone that Go, and so restic, takes for local time when `TZ` is `variable`: unset is the system's, empty or
/// unknown is UTC, an absolute path is a file, anything else a name in the zone data (a leading colon is dropped).
#[must_use]
pub fn process_zone(variable: Option<&str>) -> TimeZone {
    let Some(name) = variable else { return TimeZone::try_system().unwrap_or(TimeZone::UTC) };
    let name = name.strip_prefix(':').unwrap_or(name);
    let zone = match name {
        "" | "UTC" => return TimeZone::UTC,
        _ if name.starts_with('/') => {
            std::fs::read(name).ok().and_then(|data| TimeZone::tzif(name, &data).ok())
        }
        _ => TimeZone::get(name).ok(),
    };
    zone.unwrap_or(TimeZone::UTC)
}

/// The offset of `zone` at any second, also where jiff's calendar does not reach.
fn offset_at(seconds: i64, zone: &TimeZone) -> i32 {
    let (first, last) = (Timestamp::MIN.as_second(), Timestamp::MAX.as_second());
    let cycle = CYCLE_DAYS * DAY;
    let known = if seconds > last { last - cycle + (seconds - last) % cycle } else { seconds.max(first) };
    Timestamp::from_second(known).map_or(0, |instant| zone.to_offset(instant).seconds())
}

/// Year, month and day of a day counted from 1970-01-01, in the proleptic Gregorian calendar.
fn civil(day_number: i64) -> (i64, i64, i64) {
    // Years begin in March here, so that the leap day is the last of its year.
    let shifted = day_number + 719_468;
    let cycle = shifted.div_euclid(CYCLE_DAYS);
    let day_of_cycle = shifted.rem_euclid(CYCLE_DAYS);
    let year_of_cycle =
        (day_of_cycle - day_of_cycle / 1460 + day_of_cycle / 36_524 - day_of_cycle / 146_096) / 365;
    let day_of_year = day_of_cycle - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (cycle * 400 + year_of_cycle + i64::from(month <= 2), month, day)
}

/// The day counted from 1970-01-01; a day beyond its month runs into the next.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let year_of_cycle = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_cycle = year_of_cycle * 365 + year_of_cycle / 4 - year_of_cycle / 100 + day_of_year;
    year.div_euclid(400) * CYCLE_DAYS + day_of_cycle - 719_468
}

fn digits(number: i64) -> [u8; 2] {
    let number = (number % 100).unsigned_abs() as u8;
    [b'0' + number / 10, b'0' + number % 10]
}

fn two(tens: u8, ones: u8, max: i64) -> Result<i64, NotATime> {
    if !tens.is_ascii_digit() || !ones.is_ascii_digit() {
        return Err(NotATime);
    }
    let number = i64::from(tens - b'0') * 10 + i64::from(ones - b'0');
    if number > max { Err(NotATime) } else { Ok(number) }
}

fn push_fraction(out: &mut Vec<u8>, nanoseconds: u32) {
    let mut fraction = [b'.'; 10];
    let mut left = nanoseconds;
    for digit in fraction.iter_mut().skip(1).rev() {
        *digit = b'0' + (left % 10) as u8;
        left /= 10;
    }
    if nanoseconds != 0 {
        let zeros = fraction.iter().rev().take_while(|digit| **digit == b'0').count();
        out.extend(fraction.iter().take(fraction.len() - zeros));
    }
}

/// The nanoseconds of a fraction, if there is one, and what follows it.
fn fraction(text: &[u8]) -> Result<(u32, &[u8]), NotATime> {
    let [b'.', text @ ..] = text else { return Ok((0, text)) };
    let count = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = text.split_at_checked(count).ok_or(NotATime)?;
    let number = digits.iter().take(9).fold(0, |number, digit| number * 10 + u32::from(digit - b'0'));
    let nanoseconds = (count..9).fold(number, |number, _| number * 10);
    if count == 0 { Err(NotATime) } else { Ok((nanoseconds, rest)) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;
    use crate::repository::tree::Tree;

    /// The times given to the files of `fixtures/json/times-*.json`, by name.
    const STAMPS: [(&str, i64, u32); 26] = [
        ("-0001", -62_167_219_202, 250_000_000),
        ("-0004-feb29", -62_288_352_000, 0),
        ("-29719", -1_000_000_000_001, 500_000_000),
        ("0000", -62_167_219_201, 750_000_000),
        ("1", -62_135_596_800, 0),
        ("10000", 253_402_300_800, 0),
        ("10000-feb29", 253_407_441_600, 125_000_000),
        ("10000-jul", 253_418_191_200, 0),
        ("1700", -8_520_000_000, 42),
        ("1883", -2_740_000_000, 0),
        ("1900", -2_208_988_800, 1),
        ("1901", -2_147_483_649, 500_000_000),
        ("1969", -1, 999_999_999),
        ("2038", 2_147_483_648, 120_000_000),
        ("2106", 4_294_967_296, 100),
        ("2446", 15_032_385_536, 10),
        ("318857", 10_000_000_000_000, 123_456_789),
        ("9999", 253_402_300_799, 999_999_999),
        ("epoch", 0, 0),
        ("leap", 1_709_164_800, 0),
        ("max", i64::MAX, 0),
        ("milli", 1_700_000_000, 1_000_000),
        ("nano", 1_700_000_000, 123_456_789),
        ("summer", 1_720_000_000, 7),
        ("tenth", 1_700_000_000, 900_000_000),
        ("whole", 1_700_000_000, 0),
    ];

    #[test]
    fn files_get_the_times_that_restic_gives_them() {
        let trees: [(&str, &[u8]); 3] = [
            ("UTC", include_bytes!("../../fixtures/json/times-utc.json")),
            ("Asia/Kolkata", include_bytes!("../../fixtures/json/times-kolkata.json")),
            ("America/New_York", include_bytes!("../../fixtures/json/times-new-york.json")),
        ];
        for (name, json) in trees {
            let zone = process_zone(Some(name));
            let tree = Tree::decode(json).unwrap();
            assert_eq!(tree.nodes.len(), STAMPS.len());
            for (node, (file, seconds, nanoseconds)) in tree.nodes.iter().zip(STAMPS) {
                assert_eq!(*node.name, *file.as_bytes());
                let time = NodeTime::from_unix(seconds, nanoseconds, &zone);
                assert_eq!(time.to_string(), node.mtime.to_string(), "{file} in {name}");
            }
        }
    }

    #[test]
    fn text_survives() {
        for text in [
            "2023-11-14T22:13:20Z",
            "2023-11-14T22:13:20.000000001+05:30",
            "0000-01-01T00:00:00.1-04:56",
            "9999-12-31T23:59:59.999999999+23:59",
            "2024-02-29T00:00:00Z",
            "0001-01-01T00:00:00Z",
        ] {
            assert_eq!(NodeTime::parse(text.as_bytes()).unwrap().to_string(), text);
        }
        let same = [
            &b"2024-01-01T00:30:00+01:00"[..],
            b"2023-12-31T23:30:00Z",
            b"2023-12-31T23:30:00.0000000009-00:00",
        ];
        let instants = same.map(|text| NodeTime::parse(text).unwrap().instant());
        assert_eq!(instants, [(1_704_065_400, 0); 3]);
        assert_eq!(NodeTime::UNSET.to_string(), "0001-01-01T00:00:00Z");
    }

    #[test]
    fn what_is_not_a_time_is_refused() {
        for text in [
            "",
            "Z",
            "2023-02-29T00:00:00Z",
            "2023-13-01T00:00:00Z",
            "2023-00-01T00:00:00Z",
            "2023-04-31T00:00:00Z",
            "2023-12-32T00:00:00Z",
            "2023-01-00T00:00:00Z",
            "2023-01-01T24:00:00Z",
            "2023-01-01T00:60:00Z",
            "2023-01-01T00:00:60Z",
            "2023-01-01T00:00:00",
            "2023-01-01 00:00:00Z",
            "2023-01-01T00:00:00.Z",
            "2023-01-01T00:00:00+24:00",
            "2023-01-01T00:00:00+1:00",
            "2023-01-01T00:00:00ZZ",
            "12023-01-01T00:00:00Z",
            "-023-01-01T00:00:00Z",
            "2023-01-01T00:00:00.5",
            "20x3-01-01T00:00:00Z",
        ] {
            assert_eq!(NodeTime::parse(text.as_bytes()), Err(NotATime), "{text}");
        }
    }

    #[test]
    fn every_day_is_itself_and_no_number_panics() {
        let mut before = civil(-1_000_001);
        for day in -1_000_000..3_000_000 {
            let date = civil(day);
            assert_eq!(days(date.0, date.1, date.2), day);
            assert!(date > before && (1..=12).contains(&date.1) && (1..=31).contains(&date.2));
            before = date;
        }
        assert_eq!((civil(0), civil(-719_528)), ((1970, 1, 1), (0, 1, 1)));
        let zones =
            ["UTC", "Asia/Kolkata", "America/New_York", "Europe/Berlin"].map(|name| process_zone(Some(name)));
        for seconds in [i64::MIN, i64::MIN + 1, i64::MAX - 1, i64::MAX, 1 << 40, -(1 << 40)] {
            for zone in &zones {
                let text = NodeTime::from_unix(seconds, 999_999_999, zone).to_string();
                assert_eq!(NodeTime::parse(text.as_bytes()).unwrap().to_string(), text);
            }
            for offset_seconds in [i32::MIN, -59, 0, 59, i32::MAX] {
                let _text = NodeTime { seconds, nanoseconds: u32::MAX, offset_seconds }.to_string();
            }
        }
        let lmt = NodeTime { offset_seconds: -59, ..NodeTime::default() };
        assert_eq!(lmt.to_string(), "1969-12-31T23:59:01+00:00");
    }

    #[test]
    fn zones_are_found_as_go_finds_them() {
        let offset =
            |variable| NodeTime::from_unix(1_720_000_000, 0, &process_zone(Some(variable))).offset_seconds;
        for (variable, seconds) in [
            ("", 0),
            ("UTC", 0),
            ("No/Such", 0),
            ("UTC-5", 0),
            ("Asia/Kolkata", 19_800),
            (":Europe/Berlin", 7200),
            ("/nowhere", 0),
        ] {
            assert_eq!(offset(variable), seconds, "{variable}");
        }
    }
}
