//! Which snapshot is meant: an id, the latest, the one before, the one as of an instant (as `VolSync` selects).
//!
//! Snapshots are ordered by their full time, then by id, so that two of the same second keep an order. "As of"
//! compares instants, inclusively, with snapshot times cut to whole seconds. An explicit id is never filtered.
//! Nothing eligible is not an error here: what it means is for the operation to say.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::error::{Error, ErrorKind, Result};
use crate::repository::Id;
use crate::repository::snapshot::Snapshot;

/// The snapshot that is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// By id, or the beginning of one.
    Id(String),
    /// Counted from the newest.
    Latest {
        /// Only snapshots that are not younger than this instant (`RESTORE_AS_OF`).
        as_of: Option<Timestamp>,
        /// How many newer ones are passed over (`latest~n`, `SELECT_PREVIOUS`).
        back: u64,
    },
}

/// Which snapshots are eligible. Nothing set: all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Of one of these hosts.
    pub hosts: Option<Vec<String>>,
    /// With all of these paths, each equal to one of the snapshot's.
    pub paths: Option<Vec<String>>,
    /// With all tags of one of these lists; no list: whatever the tags.
    pub tags: Vec<Vec<String>>,
}

impl Filter {
    /// Whether a snapshot is eligible.
    #[must_use]
    pub fn accepts(&self, snapshot: &Snapshot) -> bool {
        let has_tags = |tags: &Vec<String>| tags.iter().all(|tag| snapshot.tags.contains(tag));
        self.hosts.as_ref().is_none_or(|hosts| hosts.contains(&snapshot.hostname))
            && self.paths.as_ref().is_none_or(|paths| paths.iter().all(|path| snapshot.paths.contains(path)))
            && (self.tags.is_empty() || self.tags.iter().any(has_tags))
    }
}

/// The snapshot that is meant; `None` when nothing is eligible. An id that does not exist, or that is the
/// beginning of several, is an error.
pub fn select(
    snapshots: &[(Id, Snapshot)],
    selection: &Selection,
    filter: &Filter,
) -> Result<Option<(Id, Snapshot)>> {
    let (as_of, back) = match selection {
        Selection::Id(prefix) => return by_id(snapshots, prefix).map(Some),
        Selection::Latest { as_of, back } => (as_of, *back),
    };
    let in_time = |snapshot: &Snapshot| {
        as_of.is_none_or(|instant| {
            // Both in whole seconds or finer: a snapshot of 12:00:00.9 is eligible as of 12:00:00.
            let (seconds, nanoseconds) = (instant.as_second(), instant.subsec_nanosecond());
            let floor = if nanoseconds < 0 { seconds - 1 } else { seconds };
            snapshot.time.instant().0 <= floor
        })
    };
    let mut eligible: Vec<&(Id, Snapshot)> =
        snapshots.iter().filter(|(_, snapshot)| filter.accepts(snapshot) && in_time(snapshot)).collect();
    eligible.sort_unstable_by(|(a_id, a), (b_id, b)| (b.time.instant(), b_id).cmp(&(a.time.instant(), a_id)));
    let place = usize::try_from(back).unwrap_or(usize::MAX);
    Ok(eligible.get(place).map(|found| (*found).clone()))
}

fn by_id(snapshots: &[(Id, Snapshot)], prefix: &str) -> Result<(Id, Snapshot)> {
    let found: Vec<&(Id, Snapshot)> =
        snapshots.iter().filter(|(id, _)| id.hex().starts_with(prefix)).collect();
    match found.as_slice() {
        [one] => Ok((*one).clone()),
        [] => Err(Error::new(ErrorKind::Other, "failed to find snapshot")
            .at(prefix)
            .because("no matching ID found")
            .then("List the snapshots with the operation snapshots")),
        several => {
            let mut ids: Vec<String> =
                several.iter().map(|(id, _)| id.hex().chars().take(16).collect()).collect();
            ids.sort_unstable();
            let more = if ids.len() > 8 { ", …" } else { "" };
            ids.truncate(8);
            Err(Error::new(ErrorKind::Other, "failed to find snapshot")
                .at(prefix)
                .because(format!("it is the beginning of several: {}{more}", ids.join(", ")))
                .then("Give more digits of the id"))
        }
    }
}

/// What exists, for who finds nothing eligible: hosts and paths with their number of snapshots, under 1 KiB.
#[must_use]
pub fn existing(snapshots: &[(Id, Snapshot)]) -> String {
    let mut identities: BTreeMap<(String, String), u64> = BTreeMap::new();
    for (_, snapshot) in snapshots {
        let identity = (snapshot.hostname.clone(), snapshot.paths.join(" "));
        *identities.entry(identity).or_default() += 1;
    }
    if identities.is_empty() {
        return "the repository holds no snapshots".to_owned();
    }
    let mut text = String::from("snapshots exist of");
    let mut left = identities.len();
    for ((host, paths), count) in identities {
        let part = format!(" host {host} path {paths} ({count}),");
        if text.len() + part.len() > 960 {
            return format!("{text} and {left} others");
        }
        text.push_str(&part);
        left -= 1;
    }
    text.trim_end_matches(',').to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;
    use crate::repository::time::NodeTime;

    fn snapshot(number: u8, time: &str, host: &str, path: &str) -> (Id, Snapshot) {
        let snapshot = Snapshot {
            time: NodeTime::parse(time.as_bytes()).unwrap(),
            hostname: host.to_owned(),
            paths: vec![path.to_owned()],
            tags: vec![format!("t{number}")],
            ..Snapshot::default()
        };
        let mut id = Id([number; 32]);
        id.0[0] = 0xab;
        (id, snapshot)
    }

    fn all() -> Vec<(Id, Snapshot)> {
        vec![
            snapshot(3, "2024-01-02T10:00:00.7Z", "volsync", "/data"),
            snapshot(1, "2024-01-01T10:00:00Z", "volsync", "/data"),
            snapshot(2, "2024-01-02T10:00:00.5Z", "volsync", "/data"),
            snapshot(4, "2024-01-02T12:00:00.7+02:00", "volsync", "/data"),
            snapshot(5, "2024-01-03T10:00:00Z", "other", "/data2"),
        ]
    }

    fn volsync() -> Filter {
        Filter {
            hosts: Some(vec!["volsync".to_owned()]),
            paths: Some(vec!["/data".to_owned()]),
            tags: Vec::new(),
        }
    }

    fn latest(as_of: Option<Timestamp>, back: u64) -> Selection {
        Selection::Latest { as_of, back }
    }

    fn selected(selection: &Selection, filter: &Filter) -> Option<u8> {
        select(&all(), selection, filter).unwrap().map(|(id, _)| id.0[1])
    }

    #[test]
    fn latest_is_by_full_time_then_id_and_skips() {
        for (skip, expected) in
            [(0, Some(4)), (1, Some(3)), (2, Some(2)), (3, Some(1)), (4, None), (9999, None)]
        {
            assert_eq!(selected(&latest(None, skip), &volsync()), expected, "{skip}");
        }
        assert_eq!(selected(&latest(None, 0), &Filter::default()), Some(5));
        let tagged = Filter { tags: vec![vec!["t1".to_owned()], vec!["t2".to_owned()]], ..Filter::default() };
        assert_eq!(selected(&latest(None, 0), &tagged), Some(2));
        let path = Filter { paths: Some(vec!["/dat".to_owned()]), ..Filter::default() };
        assert_eq!(selected(&latest(None, 0), &path), None);
    }

    #[test]
    fn as_of_compares_instants_and_cuts_to_seconds() {
        for (instant, previous, expected) in [
            ("2024-01-02T10:00:00Z", 0, Some(4)),
            ("2024-01-02T12:00:00+02:00", 1, Some(3)),
            ("2024-01-02T09:59:59Z", 0, Some(1)),
            ("2024-01-02T09:59:59.9Z", 0, Some(1)),
            ("1980-01-01T00:00:00Z", 0, None),
            ("2030-01-01T00:00:00Z", 0, Some(4)),
        ] {
            let instant = instant.parse().unwrap();
            assert_eq!(selected(&latest(Some(instant), previous), &volsync()), expected, "{instant}");
        }
    }

    #[test]
    fn an_id_is_found_by_its_beginning_and_never_filtered() {
        let nobody = Filter { hosts: Some(vec!["nobody".to_owned()]), ..Filter::default() };
        assert_eq!(selected(&Selection::Id("ab05".to_owned()), &nobody), Some(5));
        let unknown = select(&all(), &Selection::Id("ff".to_owned()), &nobody).unwrap_err();
        assert_eq!(unknown.kind, ErrorKind::Other);
        assert!(unknown.to_string().starts_with("failed to find snapshot"));
        let ambiguous = select(&all(), &Selection::Id("ab".to_owned()), &nobody).unwrap_err();
        assert!(ambiguous.to_string().contains("ab01010101010101, ab02"), "{ambiguous}");
    }

    #[test]
    fn what_exists_is_told_in_short() {
        assert_eq!(existing(&[]), "the repository holds no snapshots");
        assert_eq!(
            existing(&all()),
            "snapshots exist of host other path /data2 (1), host volsync path /data (4)"
        );
        let many: Vec<_> =
            (0..200).map(|n| snapshot(1, "2024-01-01T10:00:00Z", &format!("host-{n}"), "/data")).collect();
        assert!(existing(&many).len() < 1024);
    }
}
