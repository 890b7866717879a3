//! How figures look: restic's forms of sizes, durations, percentages and times, to the letter.
//!
//! Pure functions, held against what restic 0.19 prints. They never fail: a value that has no such form
//! gets the nearest one.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};

/// A size: `532 B`, `1.000 KiB`, `3.423 MiB`; units of 1024 up to TiB.
#[must_use]
pub fn bytes(bytes: u64) -> String {
    let units = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
    match units.into_iter().find(|(shift, _)| bytes >> shift > 0) {
        Some((shift, unit)) => format!("{:.3} {unit}", bytes as f64 / (1_u64 << shift) as f64),
        None => format!("{bytes} B"),
    }
}

/// A time span in whole seconds: `0:07`, `12:34`, `1:02:03`.
#[must_use]
pub fn seconds(seconds: u64) -> String {
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") }
}

/// A time span in seconds with a fraction, which is cut off; less than 0 counts as 0.
#[must_use]
#[expect(clippy::cast_sign_loss, reason = "a cast from float saturates, so what is negative becomes 0")]
pub fn duration(seconds_exact: f64) -> String {
    seconds(seconds_exact as u64)
}

/// A share: `40.00%`, never above 100; empty when the whole is 0.
#[must_use]
pub fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return String::new();
    }
    format!("{:.2}%", (100.0 * part as f64 / whole as f64).min(100.0))
}

/// An instant as a restore line shows it, which is how Go prints a time:
/// `2026-11-21 08:11:20.384315469 +0000 UTC`. It is shown with the offset it was recorded with; `zone` is
/// the process's own and gives that offset its name where the two agree.
#[must_use]
pub fn go_time(seconds: i64, nanoseconds: u32, offset_seconds: i32, zone: &TimeZone) -> String {
    let Some((instant, local)) = civil(seconds, offset_seconds) else {
        return format!("{seconds} s after 1970");
    };
    let fraction = format!(".{nanoseconds:09}");
    let minutes = offset_seconds.unsigned_abs() / 60;
    let sign = if offset_seconds < 0 { '-' } else { '+' };
    let offset = format!("{sign}{:02}{:02}", minutes / 60, minutes % 60);
    let info = zone.to_offset_info(instant);
    let name = if offset_seconds == 0 {
        "UTC"
    } else if info.offset().seconds() == offset_seconds {
        info.abbreviation()
    } else {
        &offset
    };
    let fraction = fraction.trim_end_matches('0').trim_end_matches('.');
    format!("{}{fraction} {offset} {name}", local.strftime("%Y-%m-%d %H:%M:%S"))
}

/// An instant as tables show it, in `zone`: `2026-11-21 08:11:20`.
#[must_use]
pub fn table_time(seconds: i64, zone: &TimeZone) -> String {
    let offset = Timestamp::from_second(seconds).map(|instant| zone.to_offset(instant).seconds());
    match offset.ok().and_then(|offset| civil(seconds, offset)) {
        Some((_, local)) => local.strftime("%Y-%m-%d %H:%M:%S").to_string(),
        None => format!("{seconds} s after 1970"),
    }
}

/// A mode as Go prints it: a letter for each of its own bits (`d`, `L`, `u` for setuid …), or `-`, then
/// the permissions.
#[must_use]
pub fn go_mode(mode: u32) -> String {
    let mut text: String = (19..=31)
        .rev()
        .zip("dalTLDpSugct?".chars())
        .filter(|(bit, _)| mode >> bit & 1 == 1)
        .map(|(_, c)| c)
        .collect();
    if text.is_empty() {
        text.push('-');
    }
    let bits = (0..9).rev().zip("rwxrwxrwx".chars());
    text.extend(bits.map(|(bit, c)| if mode >> bit & 1 == 1 { c } else { '-' }));
    text
}

/// A zone's name below a table: `Europe/Berlin`; of a zone without one, its abbreviation at `now`.
#[must_use]
pub fn zone_name(zone: &TimeZone, now: Timestamp) -> String {
    match zone.iana_name() {
        Some(name) => name.to_owned(),
        None => zone.to_offset_info(now).abbreviation().to_owned(),
    }
}

fn civil(seconds: i64, offset_seconds: i32) -> Option<(Timestamp, DateTime)> {
    let instant = Timestamp::from_second(seconds).ok()?;
    let offset = Offset::from_seconds(offset_seconds).ok()?;
    Some((instant, offset.to_datetime(instant)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn sizes_change_their_unit_at_the_power_itself() {
        let cases = [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.000 KiB"),
            (1025, "1.001 KiB"),
            (525_064, "512.758 KiB"),
            (1 << 20, "1.000 MiB"),
            (10_000_000, "9.537 MiB"),
            (1 << 30, "1.000 GiB"),
            (5 << 40, "5.000 TiB"),
            (u64::MAX, "16777216.000 TiB"),
        ];
        for (value, text) in cases {
            assert_eq!(bytes(value), text);
        }
    }

    #[test]
    fn durations_show_hours_from_an_hour_on() {
        for (value, text) in
            [(0.99, "0:00"), (59.9, "0:59"), (3599.0, "59:59"), (3600.0, "1:00:00"), (-4.0, "0:00")]
        {
            assert_eq!(duration(value), text);
        }
        assert_eq!(seconds(36_000 + 62), "10:01:02");
    }

    #[test]
    fn percentages_stop_at_a_hundred() {
        assert_eq!(percent(4, 10), "40.00%");
        assert_eq!(percent(11, 10), "100.00%");
        assert_eq!(percent(1, 0), "");
    }

    // Printed by `restic restore` 0.19.1 with TZ set to the zone; the two in UTC after that by Go's own time package.
    #[test]
    fn times_are_named_by_the_zone_that_recorded_them() {
        let zone = |name: &str| TimeZone::get(name).unwrap();
        let june = 1_590_962_401; // 2020-06-01 00:00:01 +0200
        assert_eq!(go_time(june, 0, 7200, &zone("Europe/Berlin")), "2020-06-01 00:00:01 +0200 CEST");
        assert_eq!(go_time(june, 0, 7200, &TimeZone::UTC), "2020-06-01 00:00:01 +0200 +0200");
        let kolkata = june - 19_800 + 7200;
        assert_eq!(go_time(kolkata, 0, 19_800, &zone("Asia/Kolkata")), "2020-06-01 00:00:01 +0530 IST");
        assert_eq!(go_time(kolkata, 0, 19_800, &zone("America/New_York")), "2020-06-01 00:00:01 +0530 +0530");
        let november = 1_795_248_830;
        let text = "2026-11-21 08:13:50.666792236 +0000 UTC";
        assert_eq!(go_time(november, 666_792_236, 0, &zone("Europe/London")), text);
        assert_eq!(go_time(november, 660_000_000, 0, &TimeZone::UTC), "2026-11-21 08:13:50.66 +0000 UTC");
        assert_eq!(go_time(0, 0, -12_600, &TimeZone::UTC), "1969-12-31 20:30:00 -0330 -0330");
        // Out of range of any calendar: ours.
        assert_eq!(go_time(i64::MAX, 0, 0, &TimeZone::UTC), "9223372036854775807 s after 1970");
    }

    // Printed by `restic ls --json` 0.19.1.
    #[test]
    fn modes_show_their_bits() {
        for (mode, text) in [
            (0, "----------"),
            (420, "-rw-r--r--"),
            (2_147_484_141, "drwxr-xr-x"),
            (2_148_532_735, "dtrwxrwxrwx"),
            (134_218_239, "Lrwxrwxrwx"),
            (69_206_436, "Dcrw-r--r--"),
            (8_389_101, "urwxr-xr-x"),
            (33_554_848, "prw-r-----"),
        ] {
            assert_eq!(go_mode(mode), text);
        }
    }

    #[test]
    fn tables_show_local_time() {
        let instant = 1_751_425_445; // 2025-07-02 03:04:05 UTC
        let shown = |name: &str| table_time(instant, &TimeZone::get(name).unwrap());
        assert_eq!(shown("UTC"), "2025-07-02 03:04:05");
        assert_eq!(shown("Europe/Berlin"), "2025-07-02 05:04:05");
        assert_eq!(shown("America/New_York"), "2025-07-01 23:04:05");
        assert_eq!(shown("Asia/Kolkata"), "2025-07-02 08:34:05");
    }
}
