//! Values of variables: sizes, durations, booleans, numbers, percentages, choices, ids.
//!
//! Every parser answers with the value, or with what is accepted, as the end of a sentence that begins with
//! `Accepted:`. A refused text is never part of the answer: it may be a secret. Durations here have `m` for
//! minutes; restic's `--keep-within*` has `m` for months and does not pass here.

use std::time::Duration;

/// A value, or what is accepted.
pub type Parsed<T> = Result<T, String>;

/// Units of sizes, restic's way: `K` is 1024.
const SIZES: [(&str, u32); 5] = [("k", 10), ("m", 20), ("g", 30), ("t", 40), ("p", 50)];

/// Units of durations in seconds, largest first.
const DURATIONS: [(char, u64); 4] = [('d', 86400), ('h', 3600), ('m', 60), ('s', 1)];

/// A size in bytes: `500M`, `2GiB`, `500B`, plain bytes. All units are powers of 1024, as restic's are;
/// `MB` is refused because people mean two things by it.
pub fn size(text: &str) -> Parsed<u64> {
    let refused = || "a size such as 500M, 2GiB or plain bytes".to_owned();
    let digits = text.trim_end_matches(|character: char| !character.is_ascii_digit());
    let unit = text.strip_prefix(digits).unwrap_or_default().to_ascii_lowercase();
    let number = decimal(digits).ok_or_else(refused)?;
    if matches!(unit.as_str(), "" | "b") {
        return Ok(number);
    }
    let (_, shift) =
        SIZES.iter().find(|(name, _)| unit == *name || unit == format!("{name}ib")).ok_or_else(refused)?;
    number.checked_mul(1 << shift).ok_or_else(refused)
}

/// A duration: `90s`, `5m`, `2h30m`, `7d`, `0`. Units come in this order, each at most once: d, h, m, s.
pub fn duration(text: &str) -> Parsed<Duration> {
    let refused = || "a duration such as 90s, 5m, 2h30m or 7d".to_owned();
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let mut units = DURATIONS.iter();
    let mut seconds = 0_u64;
    let mut rest = text;
    while !rest.is_empty() {
        let at = rest.find(|character: char| !character.is_ascii_digit()).ok_or_else(refused)?;
        let (digits, tail) = rest.split_at_checked(at).ok_or_else(refused)?;
        let mut characters = tail.chars();
        let unit = characters.next().ok_or_else(refused)?;
        let (_, unit_seconds) = units.find(|(name, _)| *name == unit).ok_or_else(refused)?;
        let part =
            decimal(digits).and_then(|number| number.checked_mul(*unit_seconds)).ok_or_else(refused)?;
        seconds = seconds.checked_add(part).ok_or_else(refused)?;
        rest = characters.as_str();
    }
    if text.is_empty() { Err(refused()) } else { Ok(Duration::from_secs(seconds)) }
}

/// A boolean: `1/0`, `true/false`, `yes/no`, `on/off`, in any case.
pub fn boolean(text: &str) -> Parsed<bool> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => Ok(true),
        "0" | "false" | "no" | "off" => Ok(false),
        _ => Err("1 or 0, true or false, yes or no, on or off".to_owned()),
    }
}

/// A whole number of `range`.
pub fn number(text: &str, range: std::ops::RangeInclusive<u64>) -> Parsed<u64> {
    decimal(text).filter(|number| range.contains(number)).ok_or_else(|| match *range.end() {
        u64::MAX => format!("a whole number, at least {}", range.start()),
        end => format!("a whole number from {} to {end}", range.start()),
    })
}

/// A share in percent, over 0 and up to 100: `90%`, `2.5%`.
pub fn percent(text: &str) -> Parsed<f64> {
    text.strip_suffix('%')
        .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.'))
        .and_then(|digits| digits.parse::<f64>().ok())
        .filter(|percent| *percent > 0.0 && *percent <= 100.0)
        .ok_or_else(|| "a share such as 90%".to_owned())
}

/// One of a few words.
pub fn choice<T: Copy>(text: &str, words: &[(&str, T)]) -> Parsed<T> {
    words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value).ok_or_else(|| {
        let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        match names.split_last() {
            Some((last, [])) => (*last).to_owned(),
            Some((last, others)) => format!("{} or {last}", others.join(", ")),
            None => String::new(),
        }
    })
}

/// An id or its first digits, in lower case; at least `digits_min` hex digits.
#[must_use]
pub fn id_prefix(text: &str, digits_min: usize) -> Option<String> {
    let fits = (digits_min..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    fits.then(|| text.to_ascii_lowercase())
}

/// Digits alone, no sign: Go's `ParseUint` and Rust's `parse` differ in `+1`.
fn decimal(text: &str) -> Option<u64> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn sizes() {
        let good = [
            ("0", 0),
            ("123", 123),
            ("500B", 500),
            ("500M", 500 << 20),
            ("500m", 500 << 20),
            ("2GiB", 2 << 30),
            ("7kib", 7 << 10),
            ("1T", 1 << 40),
            ("16383P", 16383 << 50),
        ];
        for (text, bytes) in good {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in
            ["", "M", "5MB", "5 M", "-1", "+1", "1.5G", "5X", "16384P", "99999999999999999999", "5M5", "M5"]
        {
            assert!(size(text).unwrap_err().contains("500M"), "{text}");
        }
    }

    #[test]
    fn durations() {
        let good = [
            ("0", 0),
            ("0s", 0),
            ("90s", 90),
            ("5m", 300),
            ("2h30m", 9000),
            ("7d", 604_800),
            ("1d1h1m1s", 90061),
        ];
        for (text, seconds) in good {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in
            ["", "5", "s", "5x", "30m2h", "1m1m", "-5m", "1.5h", "5M", "5m ", "99999999999999999999d", "5ms"]
        {
            assert!(duration(text).unwrap_err().contains("2h30m"), "{text}");
        }
    }

    #[test]
    fn booleans() {
        for text in ["1", "true", "YES", "On"] {
            assert_eq!(boolean(text), Ok(true), "{text}");
        }
        for text in ["0", "false", "NO", "Off"] {
            assert_eq!(boolean(text), Ok(false), "{text}");
        }
        for text in ["", "2", "y", "ja", "t"] {
            assert!(boolean(text).is_err(), "{text}");
        }
    }

    #[test]
    fn numbers_percentages_choices_ids() {
        assert_eq!(number("128", 4..=128), Ok(128));
        for text in ["", "3", "129", "+16", "-1", " 16", "0x10", "16.5", "abc"] {
            assert_eq!(number(text, 4..=128).unwrap_err(), "a whole number from 4 to 128", "{text}");
        }
        assert_eq!(number("x", 0..=u64::MAX).unwrap_err(), "a whole number, at least 0");
        assert_eq!(percent("90%"), Ok(90.0));
        assert_eq!(percent("2.5%"), Ok(2.5));
        for text in ["", "%", "90", "0%", "101%", "-5%", "inf%", "nan%", "1e1%"] {
            assert!(percent(text).is_err(), "{text}");
        }
        let words = [("always", 1), ("if-newer", 2), ("never", 3)];
        assert_eq!(choice("never", &words), Ok(3));
        assert_eq!(choice("Never", &words).unwrap_err(), "always, if-newer or never");
        assert_eq!(id_prefix("ABcd", 1).as_deref(), Some("abcd"));
        for text in ["", "xyz", &"a".repeat(65)] {
            assert_eq!(id_prefix(text, 1), None, "{text}");
        }
        assert_eq!(id_prefix("abcd123", 8), None);
    }
}
