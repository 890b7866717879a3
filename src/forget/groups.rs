//! Groups of snapshots: a policy is applied to each by itself.
//!
//! The order of groups is by host, paths and tags, always the same; restic's changes from run to run.

use std::collections::BTreeMap;
use std::fmt;

use crate::repository::Id;
use crate::repository::snapshot::Snapshot;

/// What snapshots of one group have in common (`--group-by`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupBy {
    /// Their host.
    pub host: bool,
    /// Their paths.
    pub paths: bool,
    /// Their tags.
    pub tags: bool,
}

/// What the snapshots of a group have in common; what they are not grouped by is empty.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct GroupKey {
    /// The host.
    pub host: String,
    /// The paths, in order.
    pub paths: Vec<String>,
    /// The tags, in order.
    pub tags: Vec<String>,
}

impl Default for GroupBy {
    /// Host and paths.
    fn default() -> Self {
        Self { host: true, paths: true, tags: false }
    }
}

impl GroupBy {
    /// Reads restic's list, e.g. `host,paths`; empty: one group of all. The error says what is accepted.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut by = Self { host: false, paths: false, tags: false };
        for word in text.split(',') {
            match word {
                "" => {}
                "host" | "hosts" => by.host = true,
                "path" | "paths" => by.paths = true,
                "tag" | "tags" => by.tags = true,
                _ => return Err("host, paths and tags, parted by commas".to_owned()),
            }
        }
        Ok(by)
    }

    /// The snapshots by group.
    #[must_use]
    pub fn group<'a>(
        &self,
        snapshots: impl IntoIterator<Item = &'a (Id, Snapshot)>,
    ) -> BTreeMap<GroupKey, Vec<&'a (Id, Snapshot)>> {
        let sorted = |texts: &[String]| {
            let mut texts = texts.to_vec();
            texts.sort_unstable();
            texts
        };
        let mut groups: BTreeMap<GroupKey, Vec<_>> = BTreeMap::new();
        for entry in snapshots {
            let mut key = GroupKey::default();
            if self.host {
                key.host.clone_from(&entry.1.hostname);
            }
            if self.paths {
                key.paths = sorted(&entry.1.paths);
            }
            if self.tags {
                key.tags = sorted(&entry.1.tags);
            }
            groups.entry(key).or_default().push(entry);
        }
        groups
    }
}

impl fmt::Display for GroupKey {
    /// As restic names a group: `host h, path [/a]`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if !self.host.is_empty() {
            parts.push(format!("host {}", self.host));
        }
        if !self.paths.is_empty() {
            parts.push(format!("path [{}]", self.paths.join(" ")));
        }
        if !self.tags.is_empty() {
            parts.push(format!("tags [{}]", self.tags.join(" ")));
        }
        formatter.write_str(&parts.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_restic_reads() {
        let by = |host, paths, tags| Ok(GroupBy { host, paths, tags });
        assert_eq!(GroupBy::parse("host,,paths"), by(true, true, false));
        assert_eq!(GroupBy::parse("tag"), by(false, false, true));
        assert_eq!(GroupBy::parse(""), by(false, false, false));
        for text in ["HOST", " host", "host;paths", "time"] {
            assert!(GroupBy::parse(text).is_err(), "{text}");
        }
    }
}
