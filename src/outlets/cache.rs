//! How much room the cache's folder takes, measured once when metrics ask for it.
//!
//! The folder is not ours alone, and may be large or on a disk that hangs: whoever measures it is a way out
//! with a deadline, and past `PATIENCE` it is not known.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// How long measuring may take.
const PATIENCE: Duration = Duration::from_secs(1);

/// The folder, and its size once it is measured; clones share it.
#[derive(Clone)]
pub(super) struct Cache {
    folder: Option<PathBuf>,
    measured: Arc<OnceLock<Option<u64>>>,
}

impl Cache {
    pub(super) fn at(folder: Option<PathBuf>) -> Self {
        Self { folder, measured: Arc::default() }
    }

    /// Bytes of the files in it; `None` where there is none, or nobody knows.
    pub(super) fn bytes(&self) -> Option<u64> {
        let folder = self.folder.as_deref()?;
        *self.measured.get_or_init(|| measure(folder, Instant::now() + PATIENCE))
    }
}

fn measure(folder: &Path, until: Instant) -> Option<u64> {
    let mut bytes = 0;
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).ok()? {
            if Instant::now() >= until {
                return None;
            }
            // What is gone by now takes no room. Links are not followed.
            let Some((entry, status)) =
                entry.ok().and_then(|entry| Some((entry.path(), entry.metadata().ok()?)))
            else {
                continue;
            };
            if status.is_dir() {
                folders.push(entry);
            } else {
                bytes += status.len();
            }
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn files_are_counted_at_any_depth_and_links_are_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("a/b")).unwrap();
        std::fs::write(folder.path().join("a/b/c"), [0; 1000]).unwrap();
        std::fs::write(folder.path().join("d"), [0; 20]).unwrap();
        let cache = Cache::at(Some(folder.path().to_owned()));
        assert_eq!(cache.bytes(), Some(1020));
        std::fs::write(folder.path().join("e"), "later").unwrap();
        assert_eq!(cache.clone().bytes(), Some(1020), "it is measured once");
        std::os::unix::fs::symlink("/", folder.path().join("a/root")).unwrap();
        assert_eq!(Cache::at(Some(folder.path().to_owned())).bytes(), Some(1026));
        assert_eq!(measure(folder.path(), Instant::now()), None, "it has no patience");
        assert_eq!(Cache::at(Some(folder.path().join("none"))).bytes(), None);
        assert_eq!(Cache::at(None).bytes(), None);
    }
}
