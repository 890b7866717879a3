//! Which snapshots a forget looks at; what does not fit is left alone and not counted.

use super::policy::has_tags;
use crate::repository::snapshot::Snapshot;

/// Which snapshots are looked at. Nothing set: all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filter {
    /// Of one of these hosts (`--host`); none, or an empty one alone: of any.
    pub hosts: Vec<String>,
    /// With all of these among their paths (`--path`).
    pub paths: Vec<String>,
    /// With all tags of one of these lists (`--tag`); an empty tag is had by snapshots without tags.
    pub tags: Vec<Vec<String>>,
    /// Of this host, whatever `hosts` says (`MOVER_HOST`).
    pub host_only: Option<String>,
    /// Of this path and no other (`MOVER_PATH`).
    pub path_only: Option<String>,
}

impl Filter {
    /// Whether a snapshot is looked at.
    #[must_use]
    pub fn accepts(&self, snapshot: &Snapshot) -> bool {
        (self.any_host() || self.hosts.contains(&snapshot.hostname))
            && self.paths.iter().all(|path| snapshot.paths.contains(path))
            && (self.tags.is_empty() || self.tags.iter().any(|tags| has_tags(snapshot, tags)))
            && self.host_only.as_ref().is_none_or(|host| snapshot.hostname == *host)
            && self.path_only.as_ref().is_none_or(|path| snapshot.paths == [path.as_str()])
    }

    /// Whether the options let every snapshot through.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.any_host() && self.paths.is_empty() && self.tags.is_empty()
    }

    fn any_host(&self) -> bool {
        self.hosts.is_empty() || self.hosts == [""]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(host: &str, paths: &[&str], tags: &[&str]) -> Snapshot {
        let own = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
        Snapshot { hostname: host.to_owned(), paths: own(paths), tags: own(tags), ..Snapshot::default() }
    }

    fn list(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|&text| text.to_owned()).collect()
    }

    // As restic forget 0.19.1 chose with these options.
    #[test]
    fn options_filter_as_restic_does() {
        let tagged = snapshot("h", &["/a", "/b"], &["a", "b"]);
        let plain = snapshot("g", &["/a"], &[]);
        for (filter, tagged_fits, plain_fits) in [
            (Filter::default(), true, true),
            (Filter { hosts: list(&[""]), ..Filter::default() }, true, true),
            (Filter { hosts: list(&["h", ""]), ..Filter::default() }, true, false),
            (Filter { paths: list(&["/a"]), ..Filter::default() }, true, true),
            (Filter { paths: list(&["/a", "/b"]), ..Filter::default() }, true, false),
            (Filter { paths: list(&["/a/"]), ..Filter::default() }, false, false),
            (Filter { tags: vec![list(&["a", "b"]), list(&["x"])], ..Filter::default() }, true, false),
            (Filter { tags: vec![list(&["", "a"])], ..Filter::default() }, false, true),
            (Filter { tags: vec![list(&["a", ""])], ..Filter::default() }, false, false),
        ] {
            assert_eq!(
                (filter.accepts(&tagged), filter.accepts(&plain)),
                (tagged_fits, plain_fits),
                "{filter:?}"
            );
        }
    }

    #[test]
    fn host_and_path_of_the_run_must_be_equal() {
        let both = snapshot("h", &["/a", "/b"], &[]);
        let only = |path: &str| Filter { path_only: Some(path.to_owned()), ..Filter::default() };
        assert!(!only("/a").accepts(&both) && only("/a").accepts(&snapshot("g", &["/a"], &[])));
        let host = Filter { hosts: list(&["h"]), host_only: Some("g".to_owned()), ..Filter::default() };
        assert!(!host.accepts(&both) && !host.accepts(&snapshot("g", &[], &[])));
    }
}
