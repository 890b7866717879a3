//! What verify asks of a snapshot, and where it tells of it.

use std::path::PathBuf;
use std::time::Duration;

use super::env::Lookup;
use super::values::{self, number, percent, size};
#[allow(clippy::wildcard_imports, reason = "the table of names is what this file reads")]
use super::variables::*;
use crate::error::{Error, Result};

/// `MOVER_VERIFY_*`, and `latest-each`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct VerifyConfig {
    /// The newest snapshot of every host and path, instead of one.
    pub each: bool,
    /// A directory to restore into.
    pub dir: Option<PathBuf>,
    /// What was restored stays there.
    pub keep: bool,
    /// Compare with the live source.
    pub compare: bool,
    /// The oldest that a snapshot may be.
    pub max_age: Option<Duration>,
    /// Files that it must have.
    pub min_files: Option<u64>,
    /// Bytes of content that it must have.
    pub min_bytes: Option<u64>,
    /// A list of sums.
    pub sums: Option<PathBuf>,
    /// The share of the files to read, in percent.
    pub sample_percent: Option<f64>,
    /// What chooses them.
    pub seed: Option<u64>,
    /// Where the JSON report goes.
    pub report: Option<PathBuf>,
    /// Where the `JUnit` report goes.
    pub junit: Option<PathBuf>,
}

impl VerifyConfig {
    pub(super) fn parse(lookup: &Lookup) -> Result<Self> {
        let any = |text: &str| number(text, 0..=u64::MAX);
        let config = Self {
            each: lookup.text(&MOVER_SNAPSHOT)? == Some(LATEST_EACH),
            dir: lookup.path(&MOVER_VERIFY_DIR),
            keep: lookup.flag(&MOVER_VERIFY_KEEP, false)?,
            compare: lookup.flag(&MOVER_VERIFY_COMPARE, false)?,
            max_age: lookup.parse(&MOVER_VERIFY_MAX_AGE, values::duration)?,
            min_files: lookup.parse(&MOVER_VERIFY_MIN_FILES, any)?,
            min_bytes: lookup.parse(&MOVER_VERIFY_MIN_BYTES, size)?,
            sums: lookup.path(&MOVER_VERIFY_SHA256SUMS),
            sample_percent: lookup.parse(&MOVER_VERIFY_SAMPLE, percent)?,
            seed: lookup.parse(&MOVER_VERIFY_SEED, any)?,
            report: lookup.path(&MOVER_VERIFY_REPORT),
            junit: lookup.path(&MOVER_VERIFY_JUNIT),
        };
        let apart = |one: &str, other: &str, next: &str| {
            Err(Error::usage("two variables do not go together").at(format!("{one} and {other}")).then(next))
        };
        match &config {
            Self { dir: Some(_), sample_percent: Some(_), .. } => {
                apart("MOVER_VERIFY_DIR", "MOVER_VERIFY_SAMPLE", "A real restore is of everything: unset one")
            }
            Self { dir: Some(_), keep: true, each: true, .. } => apart(
                "MOVER_VERIFY_KEEP",
                "MOVER_SNAPSHOT=latest-each",
                "One snapshot after the other is restored into the same directory: unset one",
            ),
            _ => Ok(config),
        }
    }
}

/// The newest snapshot of every host and path.
pub(super) const LATEST_EACH: &str = "latest-each";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::ffi::OsString;

    use super::super::env::Values;
    use super::*;

    fn parse(pairs: &[(&str, &str)]) -> Result<VerifyConfig> {
        let environment =
            pairs.iter().map(|(name, value)| ((*name).to_owned(), OsString::from(value))).collect();
        VerifyConfig::parse(&Lookup::new(Values::new(), environment).unwrap())
    }

    #[test]
    fn nothing_is_asked_by_default() {
        assert_eq!(parse(&[]), Ok(VerifyConfig::default()));
    }

    #[test]
    fn values_and_what_does_not_go_together() {
        let all = parse(&[
            ("MOVER_VERIFY_MAX_AGE", "26h"),
            ("MOVER_VERIFY_MIN_FILES", "1"),
            ("MOVER_VERIFY_MIN_BYTES", "1K"),
            ("MOVER_VERIFY_SAMPLE", "5%"),
            ("MOVER_VERIFY_SEED", "7"),
            ("MOVER_SNAPSHOT", "latest-each"),
        ])
        .unwrap();
        assert_eq!((all.max_age, all.min_files), (Some(Duration::from_hours(26)), Some(1)));
        assert_eq!((all.min_bytes, all.sample_percent, all.seed), (Some(1024), Some(5.0), Some(7)));
        assert!(all.each);
        for pairs in [
            [("MOVER_VERIFY_DIR", "/s"), ("MOVER_VERIFY_SAMPLE", "5%"), ("MOVER_VERIFY_KEEP", "0")],
            [("MOVER_VERIFY_DIR", "/s"), ("MOVER_VERIFY_KEEP", "1"), ("MOVER_SNAPSHOT", "latest-each")],
        ] {
            let error = parse(&pairs).unwrap_err();
            assert_eq!(error.kind.exit_code(), 2);
            assert!(error.to_string().contains("do not go together"), "{error}");
        }
        for bad in
            [("MOVER_VERIFY_SAMPLE", "5"), ("MOVER_VERIFY_MAX_AGE", "26"), ("MOVER_VERIFY_MIN_FILES", "x")]
        {
            assert!(parse(&[bad]).is_err(), "{bad:?}");
        }
    }
}
