//! `FORGET_OPTIONS`: the options of `restic forget`, as `VolSync` hands them over, read into typed values.
//!
//! Words are parted by white space and nothing else, as a shell parts an unquoted variable; options are read as restic
//! 0.19 reads them (`--keep-last 3`, `--keep-last=3`, `-l3`, `-nl 3`). A word that restic would refuse, or would
//! ignore with a warning, is a usage error that names it: what is not understood must not remove anything.

use std::str::SplitWhitespace;

use super::duration;
use super::filter::Filter;
use super::groups::GroupBy;
use super::policy::{Keep, Period, Policy};
use crate::error::{Error, Result};
use crate::prune::UnusedMax;
use crate::repository::time::CalendarSpan;

/// What a forget is told.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ForgetOptions {
    /// What is kept.
    pub policy: Policy,
    /// Which snapshots are looked at.
    pub filter: Filter,
    /// Which of them make a group.
    pub group_by: GroupBy,
    /// Everything may go: a policy that keeps nothing is meant.
    pub remove_all: bool,
    /// A narrow table.
    pub compact: bool,
    /// Remove nothing.
    pub dry_run: bool,
    /// Prune afterwards, under the same lock.
    pub prune: bool,
    /// What that prune is told.
    pub prune_limits: PruneLimits,
}

/// What `--prune` is told; none: as the operation prune.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PruneLimits {
    /// Unused data that may stay.
    pub unused_max: Option<UnusedMax>,
    /// The most bytes to repack.
    pub repack_bytes_max: Option<u64>,
    /// Packs below are repacked, in bytes.
    pub repack_below_bytes: Option<u64>,
    /// Only packs of trees are repacked.
    pub cacheable_only: bool,
    /// All that is not compressed is repacked.
    pub uncompressed: bool,
}

/// What an option takes.
#[derive(Clone, Copy)]
enum Takes {
    Count(Period),
    Within,
    WithinEach(Period),
    KeepTag,
    Host,
    Tag,
    Path,
    GroupBy,
    Switch(fn(&mut ForgetOptions) -> &mut bool),
    MaxUnused,
    MaxRepackSize,
    RepackBelow,
    Deprecated,
}

/// The options of `restic forget` 0.19: name, letter, what it takes.
const KNOWN: [(&str, Option<char>, Takes); 26] = [
    ("keep-last", Some('l'), Takes::Count(Period::Last)),
    ("keep-hourly", Some('H'), Takes::Count(Period::Hourly)),
    ("keep-daily", Some('d'), Takes::Count(Period::Daily)),
    ("keep-weekly", Some('w'), Takes::Count(Period::Weekly)),
    ("keep-monthly", Some('m'), Takes::Count(Period::Monthly)),
    ("keep-yearly", Some('y'), Takes::Count(Period::Yearly)),
    ("keep-within", None, Takes::Within),
    ("keep-within-hourly", None, Takes::WithinEach(Period::Hourly)),
    ("keep-within-daily", None, Takes::WithinEach(Period::Daily)),
    ("keep-within-weekly", None, Takes::WithinEach(Period::Weekly)),
    ("keep-within-monthly", None, Takes::WithinEach(Period::Monthly)),
    ("keep-within-yearly", None, Takes::WithinEach(Period::Yearly)),
    ("keep-tag", None, Takes::KeepTag),
    ("host", None, Takes::Host),
    ("tag", None, Takes::Tag),
    ("path", None, Takes::Path),
    ("group-by", Some('g'), Takes::GroupBy),
    ("unsafe-allow-remove-all", None, Takes::Switch(|options| &mut options.remove_all)),
    ("compact", Some('c'), Takes::Switch(|options| &mut options.compact)),
    ("dry-run", Some('n'), Takes::Switch(|options| &mut options.dry_run)),
    ("prune", None, Takes::Switch(|options| &mut options.prune)),
    ("max-unused", None, Takes::MaxUnused),
    ("max-repack-size", None, Takes::MaxRepackSize),
    ("repack-smaller-than", None, Takes::RepackBelow),
    ("repack-cacheable-only", None, Takes::Switch(|options| &mut options.prune_limits.cacheable_only)),
    ("repack-uncompressed", None, Takes::Switch(|options| &mut options.prune_limits.uncompressed)),
];

/// An option that restic 0.19 still takes and that does nothing there.
const DEPRECATED: &str = "repack-small";

impl ForgetOptions {
    /// Reads `text`; `source` is where it stands, for errors.
    ///
    /// # Errors
    /// A usage error that names `source` and the word; also when nothing would be kept and nobody said so.
    pub fn parse(text: &str, source: &str) -> Result<Self> {
        let mut options = Self::default();
        let mut words = text.split_whitespace();
        while let Some(word) = words.next() {
            options.take(word, &mut words).map_err(|error| error.at(format!("{source}: {word}")))?;
        }
        options.refuse_no_policy(source)?;
        Ok(options)
    }

    /// One word, and the next where it is the word's value.
    fn take(&mut self, word: &str, words: &mut SplitWhitespace<'_>) -> Result<()> {
        if let Some(long) = word.strip_prefix("--").filter(|long| !long.is_empty()) {
            let (name, value) = match long.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (long, None),
            };
            let takes = by_name(name).ok_or_else(unknown)?;
            return match (takes, value) {
                (Takes::Switch(_) | Takes::Deprecated, value) => self.set(takes, value.unwrap_or("true")),
                (_, Some(value)) => self.set(takes, value),
                (_, None) => self.set(takes, words.next().ok_or_else(no_value)?),
            };
        }
        let Some(letters) = word.strip_prefix('-').filter(|letters| !letters.is_empty() && *letters != "-")
        else {
            return Err(Error::usage("not an option of forget")
                .then("Snapshots to remove are named by MOVER_FORGET_SNAPSHOTS"));
        };
        let mut letters = letters.chars();
        while let Some(letter) = letters.next() {
            let takes = by_letter(letter).ok_or_else(unknown)?;
            let rest = letters.as_str();
            if let Some(value) = rest.strip_prefix('=') {
                return self.set(takes, value);
            }
            match takes {
                Takes::Switch(_) => self.set(takes, "true")?,
                _ if rest.is_empty() => return self.set(takes, words.next().ok_or_else(no_value)?),
                _ => return self.set(takes, rest),
            }
        }
        Ok(())
    }

    fn set(&mut self, takes: Takes, value: &str) -> Result<()> {
        let refused = |accepted: &str| {
            Error::usage("invalid value").because(format!("{value:?}")).then(format!("Accepted: {accepted}"))
        };
        let span =
            || -> Result<CalendarSpan> { duration::parse(value).map_err(|accepted| refused(&accepted)) };
        match takes {
            Takes::Count(period) => {
                let count = count(value).ok_or_else(|| refused("a whole number, or unlimited"))?;
                put(&mut self.policy.counts, period as usize, count);
            }
            Takes::Within => self.policy.within = span()?,
            Takes::WithinEach(period) => {
                put(&mut self.policy.within_each, (period as usize).saturating_sub(1), span()?);
            }
            Takes::KeepTag => self.policy.tags.push(commas(value)),
            Takes::Host => self.filter.hosts.push(value.to_owned()),
            Takes::Tag => self.filter.tags.push(commas(value)),
            Takes::Path if value.starts_with('/') => self.filter.paths.push(value.to_owned()),
            Takes::Path => return Err(refused("an absolute path")),
            Takes::GroupBy => {
                self.group_by = GroupBy::parse(value).map_err(|accepted| refused(&accepted))?;
            }
            Takes::Switch(field) => {
                *field(self) = boolean(value).ok_or_else(|| refused("true or false"))?;
            }
            Takes::Deprecated => {}
            Takes::MaxUnused => {
                let unused = unused(value).ok_or_else(|| refused("5%, 500M or unlimited"))?;
                self.prune_limits.unused_max = Some(unused);
            }
            Takes::MaxRepackSize => {
                self.prune_limits.repack_bytes_max =
                    Some(bytes(value).ok_or_else(|| refused("a size such as 500M"))?);
            }
            Takes::RepackBelow => {
                self.prune_limits.repack_below_bytes =
                    Some(bytes(value).ok_or_else(|| refused("a size such as 8M"))?);
            }
        }
        Ok(())
    }

    /// An empty policy is an accident, unless it is said not to be, and of which snapshots.
    fn refuse_no_policy(&self, source: &str) -> Result<()> {
        if !self.policy.is_empty() {
            return Ok(());
        }
        if !self.remove_all {
            return Err(Error::usage("no policy was specified, no snapshots will be removed")
                .at(source)
                .then("Say what to keep, e.g. --keep-daily 7"));
        }
        if self.filter.is_open() {
            return Err(Error::usage(
                "--unsafe-allow-remove-all is not allowed without a filter of snapshots",
            )
            .at(source)
            .then("Add --host, --tag or --path"));
        }
        Ok(())
    }
}

fn unknown() -> Error {
    Error::usage("unknown option of forget").then("Known are those of restic forget")
}

fn no_value() -> Error {
    Error::usage("an option lacks its value")
}

fn by_name(wanted: &str) -> Option<Takes> {
    if wanted == DEPRECATED {
        return Some(Takes::Deprecated);
    }
    KNOWN.iter().find(|(name, _, _)| *name == wanted).map(|(_, _, takes)| *takes)
}

fn by_letter(wanted: char) -> Option<Takes> {
    KNOWN.iter().find(|(_, letter, _)| *letter == Some(wanted)).map(|(_, _, takes)| *takes)
}

fn put<T>(values: &mut [T], place: usize, value: T) {
    if let Some(slot) = values.get_mut(place) {
        *slot = value;
    }
}

fn count(text: &str) -> Option<Keep> {
    if text == "unlimited" {
        return Some(Keep::All);
    }
    match u64::try_from(text.parse::<i64>().ok()?).ok()? {
        0 => Some(Keep::Nothing),
        count => Some(Keep::Newest(count)),
    }
}

fn commas(text: &str) -> Vec<String> {
    text.split(',').map(|tag| tag.trim().to_owned()).collect()
}

/// As Go reads a boolean.
fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// restic's sizes: one letter at most, powers of 1024.
fn bytes(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|character: char| character.is_ascii_alphabetic());
    let shift = match text.strip_prefix(digits)? {
        "" | "b" | "B" => 0,
        "k" | "K" => 10,
        "m" | "M" => 20,
        "g" | "G" => 30,
        "t" | "T" => 40,
        _ => return None,
    };
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

fn unused(text: &str) -> Option<UnusedMax> {
    if text == "unlimited" {
        return Some(UnusedMax::Unlimited);
    }
    let Some(percent) = text.strip_suffix('%') else { return bytes(text).map(UnusedMax::Bytes) };
    let plain = percent.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let percent = percent.parse::<f64>().ok().filter(|percent| plain && (0.0..100.0).contains(percent));
    percent.map(UnusedMax::Percent)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn parse(text: &str) -> ForgetOptions {
        ForgetOptions::parse(text, "FORGET_OPTIONS").unwrap()
    }

    fn refused(text: &str) -> String {
        let error = ForgetOptions::parse(text, "FORGET_OPTIONS").unwrap_err();
        assert_eq!(error.kind.exit_code(), 2);
        error.to_string()
    }

    // What restic forget 0.19.1 printed after "Applying Policy: ".
    #[test]
    fn policies_read_as_restic_reads_them() {
        for (text, policy) in [
            (" --keep-hourly 3 --keep-daily 2", "keep 3 hourly, 2 daily snapshots"),
            ("-l unlimited -H1 -d=2 -w 3", "keep all latest, 1 hourly, 2 daily, 3 weekly snapshots"),
            ("--keep-last=+5 --keep-yearly\t05", "keep 5 latest, 5 yearly snapshots"),
            ("--keep-last 1 --keep-last 2", "keep 2 latest snapshots"),
            ("--keep-daily 3 --keep-within-daily 3d", "keep 3 daily snapshots, daily snapshots within 3d"),
            (
                "--keep-within-daily 3d --keep-within 2d",
                "keep daily snapshots within 3d and all snapshots within 2d of the newest",
            ),
            ("--keep-tag a --keep-tag=", "keep all snapshots with tags [[a] []]"),
            (
                "--keep-tag a,,b --keep-within-yearly 1y",
                "keep yearly snapshots within 1y and all snapshots with tags [[a, , b]]",
            ),
            ("--unsafe-allow-remove-all --host h", "remove"),
        ] {
            assert_eq!(parse(text).policy.to_string(), policy, "{text}");
        }
    }

    #[test]
    fn the_rest_is_read_as_well() {
        let options = parse(
            "-ncl1 --host h --host= --path /a --tag a,b --tag= -g host,,tag --prune=f --prune \
             --max-unused 2.5% --max-repack-size 5K --repack-smaller-than 8m --repack-small --repack-uncompressed=t",
        );
        assert!(options.dry_run && options.compact && options.prune && !options.remove_all);
        assert_eq!(options.filter.hosts, ["h", ""]);
        assert_eq!((options.filter.paths, options.filter.tags.len()), (vec!["/a".to_owned()], 2));
        assert_eq!(options.group_by, GroupBy { host: true, paths: false, tags: true });
        let limits = PruneLimits {
            unused_max: Some(UnusedMax::Percent(2.5)),
            repack_bytes_max: Some(5120),
            repack_below_bytes: Some(8 << 20),
            cacheable_only: false,
            uncompressed: true,
        };
        assert_eq!(options.prune_limits, limits);
        assert_eq!(parse("-l 1 --max-unused unlimited").prune_limits.unused_max, Some(UnusedMax::Unlimited));
        assert_eq!(parse("-l 1 --max-unused 5").prune_limits.unused_max, Some(UnusedMax::Bytes(5)));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, what) in [
            ("--keep-lasst 1", "unknown option of forget: FORGET_OPTIONS: --keep-lasst. Known are"),
            ("--keep-l 1", "unknown option of forget: FORGET_OPTIONS: --keep-l."),
            ("-Z", "unknown option of forget: FORGET_OPTIONS: -Z."),
            ("-nZl 1", "unknown option of forget: FORGET_OPTIONS: -nZl."),
            ("-n1", "unknown option of forget: FORGET_OPTIONS: -n1."),
            ("-l 1 036b", "not an option of forget: FORGET_OPTIONS: 036b. Snapshots to remove are named by"),
            ("-l 1 latest", "not an option of forget: FORGET_OPTIONS: latest."),
            ("-l 1 -- x", "not an option of forget: FORGET_OPTIONS: --."),
            ("-l 1 -", "not an option of forget: FORGET_OPTIONS: -."),
            ("--keep-last", "an option lacks its value: FORGET_OPTIONS: --keep-last"),
            ("-cl", "an option lacks its value: FORGET_OPTIONS: -cl"),
            (
                "--keep-last -1",
                "invalid value: FORGET_OPTIONS: --keep-last: \"-1\". Accepted: a whole number",
            ),
            ("--keep-last --keep-daily 1", "invalid value: FORGET_OPTIONS: --keep-last: \"--keep-daily\"."),
            ("-l=1x", "invalid value: FORGET_OPTIONS: -l=1x: \"1x\"."),
            ("-l Unlimited", "invalid value: FORGET_OPTIONS: -l: \"Unlimited\"."),
            ("-l 99999999999999999999", "invalid value"),
            ("--keep-within 5", "invalid value: FORGET_OPTIONS: --keep-within: \"5\". Accepted: a duration"),
            ("--dry-run=maybe -l 1", "invalid value: FORGET_OPTIONS: --dry-run=maybe: \"maybe\"."),
            ("-g bogus -l 1", "invalid value: FORGET_OPTIONS: -g: \"bogus\". Accepted: host"),
            (
                "--path data -l 1",
                "invalid value: FORGET_OPTIONS: --path: \"data\". Accepted: an absolute path",
            ),
            ("--max-unused 100% -l 1", "invalid value: FORGET_OPTIONS: --max-unused: \"100%\"."),
            ("--max-unused 5MB -l 1", "invalid value"),
            ("--max-repack-size bogus -l 1", "invalid value"),
            ("--repack-smaller-than 5MiB -l 1", "invalid value"),
            ("--json -l 1", "unknown option"),
        ] {
            let error = refused(text);
            assert!(error.starts_with(what), "{text}: {error}");
        }
    }

    #[test]
    fn a_policy_that_keeps_nothing_is_refused() {
        for text in
            ["", "--dry-run", "--keep-last 0", "-l -0", "--keep-within 0d", "--keep-daily 3 -d 0", "--host h"]
        {
            let error = refused(text);
            assert!(
                error.starts_with("no policy was specified, no snapshots will be removed"),
                "{text}: {error}"
            );
        }
        for text in ["--unsafe-allow-remove-all", "--unsafe-allow-remove-all --host="] {
            let error = refused(text);
            assert!(error.starts_with("--unsafe-allow-remove-all is not allowed without"), "{text}: {error}");
        }
    }
}
