//! The directory that verify restores into: empty before, and empty again after unless it is to be kept.
//!
//! It is refused when anything stands in it but `lost+found`: nothing of anybody's is ever removed.

use std::os::fd::OwnedFd;
use std::path::Path;

use crate::error::{Error, Result};
use crate::restore::target;

/// The directory, open.
pub(super) struct Scratch {
    root: OwnedFd,
    path: String,
    keep: bool,
}

impl Scratch {
    /// Opens it, and makes it when it is missing.
    pub(super) fn open(path: &Path, keep: bool) -> Result<Self> {
        let shown = path.display().to_string();
        let failed = |cause: String| {
            Error::usage("cannot use the scratch directory")
                .at(format!("MOVER_VERIFY_DIR={shown}"))
                .because(cause)
        };
        let root = target::open(path, true)?.ok_or_else(|| failed("it does not exist".to_owned()))?;
        let mut names = target::names(&root).map_err(|errno| failed(errno.to_string()))?;
        names.retain(|name| name != b"lost+found");
        if let Some(name) = names.first() {
            let cause = format!("it is not empty, {} stands in it", String::from_utf8_lossy(name));
            return Err(failed(cause).then("Name a directory of its own: it is emptied afterwards"));
        }
        Ok(Self { root, path: shown, keep })
    }

    pub(super) fn root(&self) -> &OwnedFd {
        &self.root
    }

    /// Empties it, whatever came of the work in it. What cannot be removed is an error where all else was well.
    pub(super) fn emptied<T>(&self, done: Result<T>) -> Result<T> {
        if self.keep {
            return done;
        }
        let names = target::names(&self.root).unwrap_or_default();
        let mut left = None;
        for name in names.iter().filter(|name| name.as_slice() != b"lost+found") {
            if let Err(trouble) = target::remove(&self.root, name, true) {
                left.get_or_insert((String::from_utf8_lossy(name).into_owned(), trouble));
            }
        }
        match (done, left) {
            (Ok(_), Some((name, trouble))) => {
                Err(Error::new(trouble.kind, "cannot empty the scratch directory")
                    .at(format!("{}/{name}", self.path))
                    .because(trouble.cause)
                    .then("Empty it by hand"))
            }
            (done, _) => done,
        }
    }
}
