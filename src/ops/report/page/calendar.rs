//! The retention calendar: a year of days, a column a week, each day by what becomes of its snapshots.
//!
//! What is kept, what goes next and what goes differ in form as well as in colour. All days of one kind are one
//! path, so a calendar takes a few kilobytes at most.

use std::collections::BTreeMap;
use std::fmt::Write;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

use crate::report::html::Html;

/// Columns.
pub(super) const WEEKS: i64 = 53;
/// Between two cells' corners, and a cell's side, in the drawing's units.
const PITCH: i64 = 10;

/// What becomes of the snapshots of a day: that of the one that stays longest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Mark {
    Alone,
    Goes,
    Soon,
    Kept,
}

impl Mark {
    const ALL: [Self; 4] = [Self::Kept, Self::Soon, Self::Goes, Self::Alone];

    fn class(self) -> &'static str {
        match self {
            Self::Alone => "alone",
            Self::Goes => "goes",
            Self::Soon => "soon",
            Self::Kept => "kept",
        }
    }

    /// In words, for the legend.
    fn meaning(self) -> &'static str {
        match self {
            Self::Alone => "no policy looks at it",
            Self::Goes => "dropped by the next forget",
            Self::Soon => "kept, next to go",
            Self::Kept => "kept",
        }
    }

    /// The form within a cell, from its upper left corner on.
    fn form(self) -> &'static str {
        match self {
            Self::Kept => "h8v8h-8z",
            Self::Soon => "h8l-8 8z",
            Self::Goes => "m1 1h6v6h-6z",
            Self::Alone => "m2 2h4v4h-4z",
        }
    }
}

/// A day counted from 1970-01-01 in a zone.
pub(super) fn day(seconds: i64, zone: &TimeZone) -> Option<i64> {
    let instant = Timestamp::from_second(seconds).ok()?;
    Some((seconds + i64::from(zone.to_offset(instant).seconds())).div_euclid(86_400))
}

/// Weeks begin on Monday; 1970 began on a Thursday.
fn week(day: i64) -> i64 {
    (day + 3).div_euclid(7)
}

/// The calendar that ends with the week of `today`, and how many of `days` lie outside of it.
pub(super) fn calendar(html: &mut Html, days: &BTreeMap<i64, Mark>, today: i64) -> usize {
    let first = week(today) - WEEKS + 1;
    let column = |day: i64| Some(week(day) - first).filter(|column| (0..WEEKS).contains(column));
    html.markup("<figure class=\"calendar\"><div class=\"months\">");
    for (week, name) in months(first) {
        html.element("span", &[("class", &format!("w{week}"))], &name);
    }
    html.markup("</div><svg viewBox=\"0 0 530 70\" role=\"img\"");
    html.markup(" aria-label=\"Days with snapshots, by what becomes of them\">");
    html.markup("<rect width=\"530\" height=\"70\" fill=\"url(#days)\"/>");
    for mark in Mark::ALL {
        let mut path = String::new();
        for (day, _) in days.iter().filter(|(_, found)| **found == mark) {
            let Some(column) = column(*day) else { continue };
            let row = (day + 3).rem_euclid(7);
            // Writing to a `String` cannot fail.
            let _ = write!(path, "M{} {}{}", column * PITCH + 1, row * PITCH + 1, mark.form());
        }
        if !path.is_empty() {
            html.open("path", &[("class", mark.class()), ("d", &path)]).close("path");
        }
    }
    html.markup("</svg></figure>");
    days.keys().filter(|day| column(**day).is_none()).count()
}

/// The months that begin within the calendar, by the week of their first day.
fn months(first: i64) -> Vec<(i64, String)> {
    let monday = first * 7 - 3;
    let date = |day: i64| Date::constant(1970, 1, 1).checked_add(day.days()).ok();
    let begins = |day: i64| date(day).filter(|date| date.day() == 1);
    let days = (monday..monday + WEEKS * 7).filter_map(|day| Some((day, begins(day)?)));
    // The last would not have room for its name.
    let months = days.map(|(day, date)| ((day - monday) / 7, date.strftime("%b").to_string()));
    months.filter(|(week, _)| *week < WEEKS - 1).collect()
}

/// What all calendars of a page share: the form of an empty day.
pub(super) fn definitions(html: &mut Html) {
    html.markup("<svg width=\"0\" height=\"0\" aria-hidden=\"true\" class=\"definitions\"><defs>");
    html.markup("<pattern id=\"days\" width=\"10\" height=\"10\" patternUnits=\"userSpaceOnUse\">");
    html.markup(
        "<rect class=\"grid\" x=\"1\" y=\"1\" width=\"8\" height=\"8\" rx=\"1\"/></pattern></defs></svg>",
    );
}

/// What the forms mean.
pub(super) fn legend(html: &mut Html) {
    html.markup("<p class=\"legend calendar\">");
    for mark in Mark::ALL {
        html.markup("<span><svg viewBox=\"0 0 10 10\" aria-hidden=\"true\">");
        html.open("path", &[("class", mark.class()), ("d", &format!("M1 1{}", mark.form()))]).close("path");
        html.markup("</svg>").text(mark.meaning()).markup("</span>");
    }
    html.markup("<span>a column a week, Monday on top</span></p>");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-22, a Sunday.
    const TODAY: i64 = 20_779;

    fn drawn(days: &[(i64, Mark)]) -> (String, usize) {
        let mut html = Html::default();
        let outside = calendar(&mut html, &days.iter().copied().collect(), TODAY);
        (html.finish(), outside)
    }

    #[test]
    fn a_day_stands_in_its_week() {
        assert_eq!(day(TODAY * 86_400 + 86_399, &TimeZone::UTC), Some(TODAY));
        let (page, outside) = drawn(&[(TODAY, Mark::Kept), (TODAY - 6, Mark::Kept), (TODAY - 7, Mark::Goes)]);
        assert!(page.contains("class=\"kept\" d=\"M521 1h8v8h-8zM521 61h8v8h-8z\""), "{page}");
        assert!(page.contains("class=\"goes\" d=\"M511 61m1 1"), "{page}");
        assert_eq!(outside, 0);
    }

    #[test]
    fn what_is_older_or_of_the_future_is_counted() {
        let monday = TODAY - 6 - 52 * 7;
        let (page, outside) =
            drawn(&[(monday, Mark::Soon), (monday - 1, Mark::Kept), (TODAY + 1, Mark::Kept)]);
        assert!(page.contains("class=\"soon\" d=\"M1 1h8l-8 8z\""), "{page}");
        assert_eq!(outside, 2);
        assert!(page.contains(">Dec</span>") && page.matches("<span").count() >= 11, "{page}");
    }
}
