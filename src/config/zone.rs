//! Time zones: names, files and rules; zone data is compiled in, so a scratch image knows them all.
//!
//! `MOVER_TZ` is for snapshot times and lines. Times inside trees follow `TZ` alone: they are part of every
//! tree's bytes, and another zone would make another tree of every directory.

use jiff::tz::TimeZone;

use super::env::Lookup;
use super::values::Parsed;
use super::variables::{MOVER_TZ, TZ};
use crate::error::Result;

/// The time zones of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zones {
    /// Of snapshot times and of lines.
    pub shown: TimeZone,
    /// Of times inside trees.
    pub trees: TimeZone,
}

impl Zones {
    /// From `MOVER_TZ` and `TZ`.
    pub fn parse(lookup: &Lookup) -> Result<Self> {
        let trees = lookup.parse(&TZ, zone)?.unwrap_or(TimeZone::UTC);
        let shown = lookup.parse(&MOVER_TZ, zone)?.unwrap_or_else(|| trees.clone());
        Ok(Self { shown, trees })
    }
}

/// `Europe/Berlin`, `:Europe/Berlin`, a zone file's path, or a POSIX rule such as `CET-1CEST,M3.5.0,M10.5.0/3`.
fn zone(text: &str) -> Parsed<TimeZone> {
    let refused = || "a time zone such as Europe/Berlin or UTC".to_owned();
    let text = text.strip_prefix(':').unwrap_or(text);
    if text.starts_with('/') {
        let named = text.split_once("zoneinfo/").and_then(|(_, name)| TimeZone::get(name).ok());
        let read = || TimeZone::tzif(text, &std::fs::read(text).ok()?).ok();
        return named.or_else(read).ok_or_else(refused);
    }
    TimeZone::get(text).or_else(|_| TimeZone::posix(text)).map_err(|_| refused())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::ffi::OsString;

    use super::super::env::Values;

    use jiff::Timestamp;

    use super::*;

    fn offset_hours(zone: &TimeZone) -> i32 {
        zone.to_offset("2026-07-01T00:00:00Z".parse::<Timestamp>().unwrap()).seconds() / 3600
    }

    fn zones(pairs: &[(&str, &str)]) -> Result<Zones> {
        let environment =
            pairs.iter().map(|(name, value)| ((*name).to_owned(), OsString::from(value))).collect();
        Zones::parse(&Lookup::new(Values::new(), environment).unwrap())
    }

    #[test]
    fn trees_follow_tz_alone() {
        let hours = |pairs: &[(&str, &str)]| {
            let zones = zones(pairs).unwrap();
            (offset_hours(&zones.shown), offset_hours(&zones.trees))
        };
        assert_eq!(hours(&[]), (0, 0));
        assert_eq!(hours(&[("TZ", "Asia/Tokyo")]), (9, 9));
        assert_eq!(hours(&[("MOVER_TZ", "Asia/Tokyo")]), (9, 0));
        assert_eq!(hours(&[("MOVER_TZ", "Asia/Tokyo"), ("TZ", "Europe/Berlin")]), (9, 2));
    }

    #[test]
    fn forms_of_a_zone() {
        for text in [
            "Europe/Berlin",
            ":Europe/Berlin",
            "/usr/share/zoneinfo/Europe/Berlin",
            "CET-1CEST,M3.5.0,M10.5.0/3",
        ] {
            assert_eq!(offset_hours(&zone(text).unwrap()), 2, "{text}");
        }
        assert_eq!(zone("UTC").unwrap(), TimeZone::UTC);
        assert_eq!(zone("Europe/Berlin").unwrap().iana_name(), Some("Europe/Berlin"));
        for text in ["Mars/Olympus", "/nonexistent/zone", "/etc/passwd", ":", "+25"] {
            assert!(zone(text).is_err(), "{text}");
        }
        for name in ["TZ", "MOVER_TZ"] {
            let error = zones(&[(name, "Mars/Olympus")]).unwrap_err();
            assert_eq!(error.kind.exit_code(), 2);
            assert!(
                error.to_string().contains(&format!("{name}=Mars/Olympus. Accepted: a time zone")),
                "{error}"
            );
        }
    }
}
