//! Snapshots by host and paths, each with what becomes of it.

use std::collections::{BTreeMap, HashMap};

use super::super::stats::Stats;
use super::folders::Folders;
use super::retention::Fate;
use crate::repository::Id;

/// Intervals between the newest snapshots that make a rhythm, at most.
const INTERVALS_MAX: usize = 9;
/// And at least.
const INTERVALS_MIN: usize = 2;

/// The snapshots of one host and its paths.
#[derive(Debug, Default)]
pub struct Identity {
    /// The host.
    pub host: String,
    /// The paths.
    pub paths: Vec<String>,
    /// Its snapshots, oldest first.
    pub snapshots: Vec<Dated>,
    /// What they added to older ones of the repository, as stored.
    pub stored_bytes: u64,
    /// Seconds between two of them, as they came lately; `None` where there are too few.
    pub rhythm_seconds: Option<i64>,
    /// Its folders; `None` where they were not measured.
    pub folders: Option<Folders>,
}

/// A snapshot of an identity.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Dated {
    /// Its place in the figures.
    pub place: usize,
    /// What becomes of it.
    pub fate: Fate,
}

impl Identity {
    /// `host:path`, further paths after commas.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}:{}", self.host, self.paths.join(","))
    }
}

/// The identities, by host and paths.
pub(super) fn group(stats: &Stats, mut fates: HashMap<Id, Fate>) -> Vec<Identity> {
    let mut by_name: BTreeMap<(&str, &[String]), Identity> = BTreeMap::new();
    for (place, one) in stats.snapshots.iter().enumerate() {
        let key = (one.snapshot.hostname.as_str(), one.snapshot.paths.as_slice());
        let identity = by_name.entry(key).or_default();
        identity.stored_bytes += one.added_bytes;
        identity.snapshots.push(Dated { place, fate: fates.remove(&one.id).unwrap_or_default() });
    }
    let time = |dated: &Dated| stats.snapshots.get(dated.place).map(|one| one.snapshot.time.instant().0);
    let named = by_name.into_iter().map(|((host, paths), identity)| {
        let times: Vec<i64> = identity.snapshots.iter().filter_map(time).collect();
        let rhythm_seconds = rhythm(&times);
        Identity { host: host.to_owned(), paths: paths.to_vec(), rhythm_seconds, ..identity }
    });
    named.collect()
}

/// The seconds between two snapshots: the median of the newest intervals.
pub(super) fn rhythm(times: &[i64]) -> Option<i64> {
    let mut times = times.to_vec();
    times.sort_unstable();
    let pairs = times.iter().rev().zip(times.iter().rev().skip(1));
    let mut intervals: Vec<i64> = pairs.map(|(newer, older)| newer - older).take(INTERVALS_MAX).collect();
    if intervals.len() < INTERVALS_MIN {
        return None;
    }
    intervals.sort_unstable();
    intervals.get(intervals.len() / 2).copied().filter(|seconds| *seconds > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rhythm_is_that_of_the_newest_snapshots() {
        assert_eq!(rhythm(&[5]), None);
        assert_eq!(rhythm(&[5, 10]), None);
        assert_eq!(rhythm(&[30, 10, 20]), Some(10));
        assert_eq!(rhythm(&[10, 10, 10]), None, "all at once is no rhythm");
        // Thinned out by a policy: weekly long ago, daily of late, once by hand.
        let times = [0, 70, 140, 210, 220, 230, 231, 240, 250, 260, 270, 280];
        assert_eq!(rhythm(&times), Some(10));
    }
}
