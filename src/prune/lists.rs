//! The lists that prune relies on, and the guards against those that lie.
//!
//! Under the exclusive lock nobody adds or removes files. So every later list must hold exactly what the
//! first did, and what this run wrote: a store that leaves an entry out, repeats an old answer or shows a
//! file that was not there, and a writer without a lock, are all seen as a difference, and end the run.

use std::collections::BTreeMap;

use crate::backend::FileType;
use crate::error::{Error, ErrorKind, Result};
use crate::repository::{Id, Repository, in_parallel};

/// What a repository holds, each list sorted.
pub(super) struct Lists {
    pub(super) snapshots: Vec<Id>,
    /// With their sizes in bytes.
    pub(super) indexes: Vec<(Id, u64)>,
    /// The same.
    pub(super) packs: Vec<(Id, u64)>,
}

/// The lists that a repository has.
pub(super) const LISTS: u64 = 3;

impl Lists {
    /// All at once: under the exclusive lock they are of one moment, and whoever writes without a lock is seen as a
    /// difference, whichever list shows it first.
    pub(super) fn read(repository: &Repository) -> Result<Self> {
        let kinds = [FileType::Snapshot, FileType::Index, FileType::Pack];
        let mut lists = in_parallel(&kinds, kinds.len(), |kind| list(repository, *kind))?.into_iter();
        let mut next = || lists.next().unwrap_or_default();
        Ok(Self { snapshots: ids(&next()), indexes: next(), packs: next() })
    }

    /// The listed size of a pack.
    pub(super) fn pack_bytes(&self, id: &Id) -> Option<u64> {
        let place = self.packs.binary_search_by_key(id, |(id, _)| *id).ok()?;
        self.packs.get(place).map(|(_, bytes)| *bytes)
    }

    /// An error unless the list of snapshots holds `expected`.
    pub(super) fn require(&self, expected: &[Id]) -> Result<()> {
        match expected.iter().find(|id| self.snapshots.binary_search(id).is_err()) {
            Some(id) => Err(lying(FileType::Snapshot, format!("it lacks snapshot {}", id.short()))),
            None => Ok(()),
        }
    }

    /// What seems to be damage may be a list that left something out, or that shows what is gone: when a second
    /// look differs, that is the cause.
    pub(super) fn explain(&self, repository: &Repository, error: Error) -> Error {
        if error.kind != ErrorKind::Damaged {
            return error;
        }
        self.confirm(repository, &[], &[]).err().unwrap_or(error)
    }

    /// Lists again; an error unless each is what it was, with what this run added.
    pub(super) fn confirm(
        &self,
        repository: &Repository,
        added_indexes: &[Id],
        added_packs: &[(Id, u64)],
    ) -> Result<()> {
        let now = Self::read(repository)?;
        let indexes = [ids(&self.indexes).as_slice(), added_indexes].concat();
        let packs = [self.packs.as_slice(), added_packs].concat();
        same(FileType::Snapshot, &plain(&self.snapshots), &plain(&now.snapshots))?;
        same(FileType::Index, &plain(&indexes), &plain(&ids(&now.indexes)))?;
        same(FileType::Pack, &packs, &now.packs)
    }
}

/// An error unless the list of snapshots holds `expected`, and nothing else: for who decides by an earlier one.
pub(super) fn confirm_snapshots(repository: &Repository, expected: &[Id]) -> Result<()> {
    let now = ids(&list(repository, FileType::Snapshot)?);
    same(FileType::Snapshot, &plain(expected), &plain(&now))
}

fn ids(files: &[(Id, u64)]) -> Vec<Id> {
    files.iter().map(|(id, _)| *id).collect()
}

/// Of files whose sizes do not matter.
fn plain(ids: &[Id]) -> Vec<(Id, u64)> {
    ids.iter().map(|id| (*id, 0)).collect()
}

fn list(repository: &Repository, kind: FileType) -> Result<Vec<(Id, u64)>> {
    let mut files = repository.files(kind)?;
    files.sort_unstable();
    files.dedup();
    Ok(files)
}

fn same(kind: FileType, expected: &[(Id, u64)], now: &[(Id, u64)]) -> Result<()> {
    let expected: BTreeMap<Id, u64> = expected.iter().copied().collect();
    let found: BTreeMap<Id, u64> = now.iter().copied().collect();
    if expected == found {
        return Ok(());
    }
    let gone = expected.keys().find(|id| !found.contains_key(id));
    let new = found.keys().find(|id| !expected.contains_key(id));
    let cause = match (gone, new) {
        (Some(id), _) => format!("{} is not there any more", id.short()),
        (None, Some(id)) => format!("{} was not there before", id.short()),
        (None, None) => "a size is another".to_owned(),
    };
    Err(lying(kind, format!("{} entries, then {}: {cause}", expected.len(), found.len())))
}

fn lying(kind: FileType, cause: String) -> Error {
    Error::new(ErrorKind::Other, format!("the list of {} cannot be relied on", kind.folder()))
        .because(cause)
        .then("Nothing was deleted. Find out whether the store lists reliably and who else writes, then run it again")
}
