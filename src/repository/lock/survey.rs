//! The locks that are there: read, and judged.
//!
//! A lock file never changes, it is replaced by another of another name: what was read once is known. One
//! that cannot be read may be one that is being written, so whoever wants a lock asks again, as restic does,
//! after 5, 10 and 20 seconds. Empty files are nobody's lock: somebody may be writing one.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;

use super::file::{LockFile, Standing, StoreTime};
use crate::backend::{BackendErrorKind, FileType, Listed};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::host::Holder;
use crate::random::random_array;
use crate::repository::{Id, Repository, in_parallel};

/// The longest time that a wait goes on after the run was told to stop.
const SLICE: Duration = Duration::from_millis(200);

/// Waits; an error as soon as the run is told to stop.
pub(super) fn pause(clock: &dyn Clock, duration: Duration, stop: &AtomicBool) -> Result<()> {
    let end = clock.elapsed().saturating_add(duration);
    loop {
        if stop.load(Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::Interrupted, "interrupted while waiting for a lock"));
        }
        let left = end.saturating_sub(clock.elapsed());
        if left.is_zero() {
            return Ok(());
        }
        clock.sleep(left.min(SLICE));
    }
}

/// A lock's content; `None` when it is gone by now.
fn read_once(repository: &Repository, id: &Id) -> Result<Option<LockFile>> {
    let Some(json) = repository.read_unpacked_if_there(FileType::Lock, id)? else { return Ok(None) };
    serde_json::from_slice(&json).map(Some).map_err(|cause| unreadable(id, cause))
}

fn unreadable(id: &Id, cause: impl std::fmt::Display) -> Error {
    Error::damaged("cannot read a lock", format!("locks/{id}"), cause)
        .then("If no other process works on the repository, run unlock with MOVER_UNLOCK_ALL=1")
}

/// The same, tried 4 times before it is an error.
fn read(repository: &Repository, id: &Id, stop: &AtomicBool) -> Result<Option<LockFile>> {
    for wait in [5, 10, 20].map(Duration::from_secs) {
        match read_once(repository, id) {
            Err(error) if error.kind == ErrorKind::Damaged => pause(repository.clock(), wait, stop)?,
            read => return read,
        }
    }
    read_once(repository, id).map_err(|error| match error.kind {
        ErrorKind::Damaged => unreadable(id, error.cause.unwrap_or_default()),
        _ => error,
    })
}

/// Reads locks, many at once; those that are gone by now are left out.
pub(super) fn read_all(
    repository: &Repository,
    listed: &[Listed],
    stop: &AtomicBool,
) -> Result<Vec<(String, LockFile)>> {
    let read = in_parallel(listed, repository.backend().connections(), |listed| {
        let Ok(id) = listed.name.parse() else { return Ok(None) };
        Ok(read(repository, &id, stop)?.map(|file| (listed.name.clone(), file)))
    })?;
    Ok(read.into_iter().flatten().collect())
}

/// A file under `locks/`.
#[derive(Debug)]
pub enum Seen {
    /// An empty one.
    Empty,
    /// One that cannot be read, and why not.
    Unreadable(Error),
    /// A lock whose holder works, as far as one can know.
    Live(LockFile),
    /// A lock whose holder is gone.
    Stale(LockFile),
}

/// All files under `locks/` by name, for who takes no lock. Where a lock's age decides, a probe is written
/// (an empty file, which every program passes over) to learn what time it is for the store.
pub fn survey(repository: &Repository, holder: &Holder) -> Result<Vec<(String, Seen)>> {
    let listed = repository.backend().list(FileType::Lock)?;
    let read = in_parallel(&listed, repository.backend().connections(), |listed| {
        let Ok(id) = listed.name.parse::<Id>() else { return Ok(None) };
        match read_once(repository, &id) {
            _ if listed.bytes == 0 => Ok(Some(Err(None))),
            Ok(file) => Ok(file.map(Ok)),
            Err(error) if error.kind == ErrorKind::Damaged => Ok(Some(Err(Some(error)))),
            Err(error) => Err(error),
        }
    })?;
    let clock = repository.clock();
    let mut store = StoreTime::Unknown;
    let mut all = Vec::new();
    for (listed, read) in listed.iter().zip(read) {
        let seen = match read {
            None => continue,
            Some(Err(None)) => Seen::Empty,
            Some(Err(Some(error))) => Seen::Unreadable(error),
            Some(Ok(file)) => {
                let mut standing = file.standing(holder, listed, clock, store);
                if standing == Standing::Old {
                    store = probe(repository)?;
                    standing = file.standing(holder, listed, clock, store);
                }
                if standing == Standing::Stale { Seen::Stale(file) } else { Seen::Live(file) }
            }
        };
        all.push((listed.name.clone(), seen));
    }
    Ok(all)
}

/// What time it is for the store.
fn probe(repository: &Repository) -> Result<StoreTime> {
    let name = Id(random_array(repository.random())?).hex();
    let backend = repository.backend();
    backend.write(FileType::Lock, &name, &Bytes::new())?;
    let listed = backend.list(FileType::Lock);
    match backend.delete(FileType::Lock, &name) {
        Err(error) if error.kind != BackendErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let listed = listed?.into_iter().find(|file| file.name == name);
    Ok(listed.map_or(StoreTime::Untold, |file| StoreTime::of(&file, repository.clock())))
}
