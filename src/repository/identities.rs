//! Snapshots counted by host and path: how many there are of each, and when the newest was made.
//!
//! Who watches a fleet sees here counts that drop, apps that vanished and volumes that were never backed up.

use std::collections::BTreeMap;

use super::snapshot::Snapshot;
use crate::report::{IdentitySummary, RepositorySummary};

/// Counts snapshots; with each comes what it added to the repository, as stored, where that is known.
pub fn survey<'a>(snapshots: impl Iterator<Item = (&'a Snapshot, Option<u64>)>) -> RepositorySummary {
    let mut by_name: BTreeMap<String, IdentitySummary> = BTreeMap::new();
    let mut count = 0;
    for (snapshot, stored) in snapshots {
        count += 1;
        let name = format!("{}:{}", snapshot.hostname, snapshot.paths.join(","));
        let (seconds, _) = snapshot.time.instant();
        let of = by_name.entry(name.clone()).or_insert_with(|| IdentitySummary {
            identity: name,
            last_snapshot_seconds: seconds,
            ..IdentitySummary::default()
        });
        of.snapshots += 1;
        of.last_snapshot_seconds = of.last_snapshot_seconds.max(seconds);
        if let Some(stored) = stored {
            *of.stored_bytes.get_or_insert_default() += stored;
        }
    }
    RepositorySummary {
        snapshots: count,
        identities: by_name.into_values().collect(),
        ..RepositorySummary::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repository::time::NodeTime;

    #[test]
    fn snapshots_are_counted_by_host_and_paths() {
        let made = |host: &str, seconds: i64| Snapshot {
            hostname: host.to_owned(),
            paths: vec!["/a".to_owned(), "/b".to_owned()],
            time: NodeTime { seconds, ..NodeTime::default() },
            ..Snapshot::default()
        };
        let (old, new, other) = (made("one", 10), made("one", 20), made("two", 5));
        let survey = survey([(&new, Some(7)), (&other, None), (&old, Some(4))].into_iter());
        assert_eq!(survey.snapshots, 3);
        let seen: Vec<_> = survey
            .identities
            .iter()
            .map(|of| (of.identity.as_str(), of.snapshots, of.stored_bytes, of.last_snapshot_seconds))
            .collect();
        assert_eq!(seen, [("one:/a,/b", 2, Some(11), 20), ("two:/a,/b", 1, None, 5)]);
    }
}
