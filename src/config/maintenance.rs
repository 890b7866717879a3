//! What forget, prune, check, unlock and repair are told.

use super::env::Lookup;
use super::operation::Operation;
use super::text_file;
use super::values::{self, Parsed, choice, size};
#[allow(clippy::wildcard_imports, reason = "the table of names is what this file reads")]
use super::variables::*;
use crate::check::Reading;
use crate::error::Result;
use crate::forget::options::ForgetOptions;
use crate::forget::policy_file::PolicyFile;
use crate::prune::UnusedMax;

/// Looking after a repository.
#[derive(Debug, Clone, PartialEq)]
pub struct Maintenance {
    /// What forget keeps, where it is said and not blank (`FORGET_OPTIONS`).
    pub forget_options: Option<ForgetOptions>,
    /// Policies by host and path (`MOVER_POLICY_FILE`); read where forget or report is asked for.
    pub policy_file: Option<PolicyFile>,
    /// Ids or their first digits, of snapshots to remove (`MOVER_FORGET_SNAPSHOTS`).
    pub forget_snapshots: Vec<String>,
    /// Whether forget runs at all (`MOVER_FORGET`).
    pub forget: bool,
    /// Whether prune runs at all (`MOVER_PRUNE`).
    pub prune: bool,
    /// Unused data that may stay (`MOVER_PRUNE_MAX_UNUSED`).
    pub unused_max: UnusedMax,
    /// The most bytes to repack in one run (`MOVER_PRUNE_MAX_REPACK_SIZE`).
    pub repack_bytes_max: Option<u64>,
    /// Packs below are repacked, in bytes (`MOVER_PRUNE_REPACK_SMALLER_THAN`).
    pub repack_below_bytes: Option<u64>,
    /// How much data check reads (`MOVER_CHECK_READ_DATA`, `MOVER_CHECK_SUBSET`).
    pub reading: Reading,
    /// Whether unlock removes live locks too (`MOVER_UNLOCK_ALL`).
    pub unlock_all: bool,
    /// Whether a repair is done, and not shown alone (`MOVER_REPAIR`).
    pub repair: bool,
}

impl Maintenance {
    pub(super) fn parse(lookup: &Lookup, operations: &[Operation]) -> Result<Self> {
        let ids = |text: &str| {
            let ids = text.split(',').map(str::trim).filter(|id| !id.is_empty());
            ids.map(|id| values::id_prefix(id, 4))
                .collect::<Option<Vec<_>>>()
                .ok_or_else(|| "ids of snapshots or their first digits, at least 4".to_owned())
        };
        let repair = [("show", false), ("apply", true)];
        let everything = lookup.flag(&MOVER_CHECK_READ_DATA, false)?;
        let part = lookup.parse(&MOVER_CHECK_SUBSET, subset)?;
        Ok(Self {
            forget_options: lookup
                .text(&FORGET_OPTIONS)?
                .filter(|text| !text.trim().is_empty())
                .map(|text| ForgetOptions::parse(text, FORGET_OPTIONS.name))
                .transpose()?,
            policy_file: if reads_policies(operations) { policies(lookup)? } else { None },
            forget_snapshots: lookup.parse(&MOVER_FORGET_SNAPSHOTS, ids)?.unwrap_or_default(),
            forget: lookup.flag(&MOVER_FORGET, true)?,
            prune: lookup.flag(&MOVER_PRUNE, true)?,
            unused_max: lookup.parse(&MOVER_PRUNE_MAX_UNUSED, unused)?.unwrap_or(UnusedMax::Percent(5.0)),
            repack_bytes_max: lookup.parse(&MOVER_PRUNE_MAX_REPACK_SIZE, size)?,
            repack_below_bytes: lookup.parse(&MOVER_PRUNE_REPACK_SMALLER_THAN, size)?,
            reading: if everything { Reading::All } else { part.unwrap_or(Reading::Structure) },
            unlock_all: lookup.flag(&MOVER_UNLOCK_ALL, false)?,
            repair: lookup.parse(&MOVER_REPAIR, |text| choice(text, &repair))?.unwrap_or(false),
        })
    }
}

fn reads_policies(operations: &[Operation]) -> bool {
    [Operation::Forget, Operation::Report].iter().any(|operation| operations.contains(operation))
}

fn policies(lookup: &Lookup) -> Result<Option<PolicyFile>> {
    let Some(path) = lookup.path(&MOVER_POLICY_FILE) else { return Ok(None) };
    let text = text_file::read(&MOVER_POLICY_FILE, &path)?;
    let source = format!("{}={}", MOVER_POLICY_FILE.name, path.display());
    PolicyFile::parse(&String::from_utf8_lossy(&text), &source).map(Some)
}

fn unused(text: &str) -> Parsed<UnusedMax> {
    let accepted = || "a share such as 5%, a size such as 500M, or unlimited".to_owned();
    match text {
        "unlimited" => Ok(UnusedMax::Unlimited),
        "0%" => Ok(UnusedMax::Percent(0.0)),
        _ if text.ends_with('%') => values::percent(text)
            .ok()
            .filter(|percent| *percent < 100.0)
            .map(UnusedMax::Percent)
            .ok_or_else(accepted),
        _ => size(text).map(UnusedMax::Bytes).map_err(|_| accepted()),
    }
}

fn subset(text: &str) -> Parsed<Reading> {
    let accepted =
        || "a share such as 5%, a part such as 1/7 (of at most 256), or a size such as 500M".to_owned();
    if let Some((part, parts)) = text.split_once('/') {
        let count = |text: &str| values::number(text, 1..=u64::from(u32::MAX)).ok();
        return match (count(part), count(parts)) {
            // A part is told by one byte of an id: a 257th would never hold a pack.
            (Some(part), Some(parts)) if part <= parts && parts <= 256 => Ok(Reading::Part { part, parts }),
            _ => Err(accepted()),
        };
    }
    if text.ends_with('%') {
        return values::percent(text).map(Reading::Percent).map_err(|_| accepted());
    }
    match size(text) {
        Ok(bytes) if bytes > 0 => Ok(Reading::Bytes(bytes)),
        _ => Err(accepted()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_sizes_and_parts() {
        assert_eq!(unused("unlimited"), Ok(UnusedMax::Unlimited));
        assert_eq!(unused("0%"), Ok(UnusedMax::Percent(0.0)));
        assert_eq!(unused("12.5%"), Ok(UnusedMax::Percent(12.5)));
        assert_eq!(unused("0"), Ok(UnusedMax::Bytes(0)));
        assert!(unused("100%").is_err() && unused("five").is_err() && unused("-1%").is_err());
        assert_eq!(subset("2/7"), Ok(Reading::Part { part: 2, parts: 7 }));
        assert_eq!(subset("5%"), Ok(Reading::Percent(5.0)));
        assert_eq!(subset("1M"), Ok(Reading::Bytes(1 << 20)));
        for bad in ["0/7", "8/7", "1/257", "1/", "/", "0%", "101%", "0", "some"] {
            assert!(subset(bad).is_err(), "{bad}");
        }
    }
}
