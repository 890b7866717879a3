//! What the clock on the wall shows at a `NodeTime`, and the time some years, months, days and hours before.
//!
//! Both follow Go, and so restic: a time belongs to the zone of the process where the two agree on the offset, else to
//! its own fixed offset; a day that its month does not have runs into the next (31 March less a month is 3 March).

use jiff::tz::TimeZone;

use super::{CYCLE_DAYS, DAY, NodeTime, civil, days, offset_at};

/// What calendar and clock show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WallClock {
    /// The year.
    pub year: i64,
    /// 1 to 12.
    pub month: i64,
    /// 1 to 31.
    pub day: i64,
    /// 0 to 23.
    pub hour: i64,
    /// The year that the week belongs to (ISO 8601).
    pub week_year: i64,
    /// 1 to 53 (ISO 8601).
    pub week: i64,
}

/// A distance on the calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CalendarSpan {
    /// Years.
    pub years: u64,
    /// Months.
    pub months: u64,
    /// Days.
    pub days: u64,
    /// Hours of 3600 seconds.
    pub hours: u64,
}

impl NodeTime {
    /// Calendar and clock where the time was written.
    #[must_use]
    pub fn wall_clock(&self) -> WallClock {
        let (day_number, second) = self.local();
        let (year, month, day) = civil(day_number);
        // A week belongs to the year of its Thursday; 1970 began on one.
        let thursday = day_number - (day_number + 3).rem_euclid(7) + 3;
        let (week_year, _, _) = civil(thursday);
        let week = (thursday - days(week_year, 1, 1)) / 7 + 1;
        WallClock { year, month, day, hour: second / 3600, week_year, week }
    }

    /// The instant `span` before this time, as [`NodeTime::instant`] gives it; `zone` is the process's. What lies
    /// before all calendars is the earliest instant there is.
    #[must_use]
    pub fn before(&self, span: &CalendarSpan, zone: &TimeZone) -> (i64, u32) {
        const EARLIEST: (i64, u32) = (i64::MIN, 0);
        // 400 000 years and as many in months, days and hours are further back than any time that can be written.
        let least = CYCLE_DAYS as u64 * 1000;
        if span.years > 400_000 || span.months > least || span.days > least || span.hours > 24 * least {
            return EARLIEST;
        }
        let (day_number, second) = self.local();
        let (year, month, day) = civil(day_number);
        let months = (year - span.years as i64) * 12 + month - 1 - span.months as i64;
        let first = days(months.div_euclid(12), months.rem_euclid(12) + 1, 1);
        let wall = (first + day - 1 - span.days as i64) * DAY + second;
        let own = self.offset_seconds != 0 && offset_at(self.seconds, zone) == self.offset_seconds;
        let offset = match offset_at(wall, zone) {
            _ if !own => self.offset_seconds,
            0 => 0,
            offset => offset_at(wall - i64::from(offset), zone),
        };
        (wall - i64::from(offset) - span.hours as i64 * 3600, self.nanoseconds)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn time(text: &str) -> NodeTime {
        NodeTime::parse(text.as_bytes()).unwrap()
    }

    fn span(years: u64, months: u64, days: u64, hours: u64) -> CalendarSpan {
        CalendarSpan { years, months, days, hours }
    }

    #[test]
    fn weeks_are_those_of_iso_8601() {
        for (text, week_year, week) in [
            ("2005-01-01T00:00:00Z", 2004, 53),
            ("2005-01-02T00:00:00Z", 2004, 53),
            ("2005-12-31T00:00:00Z", 2005, 52),
            ("2007-01-01T00:00:00Z", 2007, 1),
            ("2008-12-28T23:59:59Z", 2008, 52),
            ("2008-12-29T00:00:00Z", 2009, 1),
            ("2010-01-03T00:00:00Z", 2009, 53),
            ("2008-12-28T23:59:59+14:00", 2008, 52),
            ("1969-12-31T00:00:00Z", 1970, 1),
            ("0000-01-01T00:00:00Z", -1, 52),
        ] {
            let shown = time(text).wall_clock();
            assert_eq!((shown.week_year, shown.week), (week_year, week), "{text}");
        }
        let shown = time("2024-03-31T01:59:59+02:00").wall_clock();
        assert_eq!((shown.year, shown.month, shown.day, shown.hour), (2024, 3, 31, 1));
    }

    // Each was printed by a Go program with time.AddDate and time.Add.
    #[test]
    fn a_day_beyond_its_month_runs_into_the_next() {
        for (from, years, months, days, hours, expected) in [
            ("2023-03-31T12:00:00Z", 0, 1, 0, 0, "2023-03-03T12:00:00Z"),
            ("2024-03-31T12:00:00Z", 0, 1, 0, 0, "2024-03-02T12:00:00Z"),
            ("2024-02-29T12:00:00Z", 1, 0, 0, 0, "2023-03-01T12:00:00Z"),
            ("2024-01-31T12:00:00Z", 0, 2, 0, 0, "2023-12-01T12:00:00Z"),
            ("2024-01-01T00:00:00Z", 0, 13, 1, 1, "2022-11-29T23:00:00Z"),
            ("2024-07-31T12:00:00.5+02:00", 0, 5, 0, 3, "2024-03-02T09:00:00.5+02:00"),
        ] {
            let got = time(from).before(&span(years, months, days, hours), &TimeZone::UTC);
            assert_eq!(got, time(expected).instant(), "{from}");
        }
    }

    #[test]
    fn the_zone_counts_where_it_agrees_on_the_offset() {
        let berlin = TimeZone::get("Europe/Berlin").unwrap();
        let half_a_year = span(0, 6, 0, 0);
        for (from, expected) in [
            ("2024-07-15T12:00:00+02:00", "2024-01-15T12:00:00+01:00"),
            ("2024-07-15T12:00:00+03:00", "2024-01-15T12:00:00+03:00"),
            ("2024-07-15T12:00:00Z", "2024-01-15T12:00:00Z"),
        ] {
            assert_eq!(time(from).before(&half_a_year, &berlin), time(expected).instant(), "{from}");
        }
    }

    #[test]
    fn what_is_further_back_than_any_time_keeps_all() {
        let now = time("2024-07-15T12:00:00Z");
        for far in [
            span(u64::MAX, 0, 0, 0),
            span(0, u64::MAX, 0, 0),
            span(0, 0, u64::MAX, 0),
            span(0, 0, 0, u64::MAX),
        ] {
            assert_eq!(now.before(&far, &TimeZone::UTC), (i64::MIN, 0));
        }
        let far =
            span(400_000, CYCLE_DAYS as u64 * 1000, CYCLE_DAYS as u64 * 1000, CYCLE_DAYS as u64 * 24_000);
        assert!(now.before(&far, &TimeZone::UTC) < time("0000-01-01T00:00:00Z").instant());
    }
}
