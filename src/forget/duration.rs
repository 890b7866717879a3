//! The durations of restic's `--keep-within*`: `1y5m7d2h`, where `m` is months and never minutes.
//!
//! Units come in any order, a later one of the same name wins, no unit is zero, and zero is no rule at all, as
//! restic reads them. Signs are refused. The durations of `MOVER_*` are others (`config/values.rs`).

use std::fmt;

use crate::repository::time::CalendarSpan;

/// Reads a duration; the error says what is accepted.
pub fn parse(text: &str) -> Result<CalendarSpan, String> {
    let refused = || "a duration such as 1y5m7d2h (m = months)".to_owned();
    let mut span = CalendarSpan::default();
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|character: char| !character.is_ascii_digit()).ok_or_else(refused)?;
        let (digits, tail) = rest.split_at_checked(end).ok_or_else(refused)?;
        let number = digits.parse().map_err(|_| refused())?;
        let mut after = tail.chars();
        match after.next() {
            Some('y') => span.years = number,
            Some('m') => span.months = number,
            Some('d') => span.days = number,
            Some('h') => span.hours = number,
            _ => return Err(refused()),
        }
        rest = after.as_str();
    }
    Ok(span)
}

/// Whether it is no duration at all.
#[must_use]
pub fn is_zero(span: &CalendarSpan) -> bool {
    *span == CalendarSpan::default()
}

/// A duration as restic prints it: `1y5m7d2h`, without what is zero.
#[derive(Debug, Clone, Copy)]
pub struct Shown<'a>(pub &'a CalendarSpan);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let CalendarSpan { years, months, days, hours } = self.0;
        for (number, unit) in [(years, 'y'), (months, 'm'), (days, 'd'), (hours, 'h')] {
            if *number != 0 {
                write!(formatter, "{number}{unit}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    // What restic forget 0.19.1 printed for each after "within".
    #[test]
    fn what_restic_reads() {
        for (text, shown) in [
            ("1y5m7d2h", "1y5m7d2h"),
            ("1m1y", "1y1m"),
            ("1h1d", "1d1h"),
            ("1y1y", "1y"),
            ("1000000000y", "1000000000y"),
            ("9223372036854775807h", "9223372036854775807h"),
            ("", ""),
            ("0d", ""),
            ("0h", ""),
        ] {
            let span = parse(text).unwrap();
            assert_eq!(Shown(&span).to_string(), shown, "{text}");
            assert_eq!(is_zero(&span), shown.is_empty(), "{text}");
        }
        assert_eq!(parse("5m").unwrap().months, 5);
    }

    #[test]
    fn what_restic_refuses() {
        for text in [
            "5",
            "h",
            "-1d",
            "+1d",
            "1.5h",
            "1w",
            "1Y",
            "99999999999999999999d",
            "1d2",
            "d1",
            "1dd",
            "1s",
            "1y-2m",
            "1é",
        ] {
            assert!(parse(text).unwrap_err().contains("m = months"), "{text}");
        }
    }
}
