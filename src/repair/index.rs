//! Rebuilding the index from the headers of packs.
//!
//! A pack is right when an index file lists it with exactly the blobs that make up its size. All others are
//! read; those that are gone, or whose header cannot be read, are dropped, and told with what they held.
//! Index files of which every pack is right stay as they are. New files are written before old ones are
//! deleted, so that at no moment less is listed than before, but for what is lost.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::backend::{BackendErrorKind, FileType};
use crate::error::{Error, ErrorKind, Result};
use crate::report::Monitor;
use crate::repository::index::IndexPack;
use crate::repository::lock::Lock;
use crate::repository::pack::{LENGTH_BYTES, PackedBlob, decode_header, file_bytes, header_length};
use crate::repository::{Id, Repository, in_parallel};

/// An index file is written when it lists so many blobs.
const FILE_BLOBS_MAX: usize = 50_000;
/// What is read of a pack's end at once, in bytes: most headers are shorter.
const TAIL_BYTES: u64 = 64 << 10;
/// Why a pack that the store does not list is dropped.
const GONE: &str = "it does not exist";

/// What a repair of the index does, or would do.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IndexRepair {
    /// Index files that do not decode: they are replaced.
    pub unreadable_files: Vec<Id>,
    /// Index files that list a pack wrongly: they are replaced.
    pub wrong_files: Vec<Id>,
    /// Packs that were read, and are listed now.
    pub added: Vec<IndexPack>,
    /// Packs that are listed no more, with the cause and the blobs that were listed for them.
    pub dropped: BTreeMap<Id, (String, u64)>,
    /// The packs that the store lists, with their sizes in bytes: what all this is about.
    pub packs: HashMap<Id, u64>,
}

impl IndexRepair {
    /// Whether the index is right as it is.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.unreadable_files.is_empty() && self.wrong_files.is_empty() && self.added.is_empty()
    }
}

/// Finds out what is to be done. It changes nothing.
pub fn plan(repository: &Repository, monitor: &dyn Monitor, stop: &AtomicBool) -> Result<IndexRepair> {
    monitor.phase("loading indexes");
    let files = repository.ids(FileType::Index)?;
    let packs: HashMap<Id, u64> = repository.files(FileType::Pack)?.into_iter().collect();
    let survey = Survey { packs: &packs, state: Mutex::default() };
    in_parallel(&files, repository.backend().connections(), |file| survey.look(repository, file))?;
    let mut state = survey.state.into_inner().unwrap_or_else(PoisonError::into_inner);
    if packs.is_empty() && state.listed > 0 {
        return Err(Error::new(ErrorKind::Other, "refused to repair the index")
            .at(repository.backend().location())
            .because("the store lists no packs at all, and the index lists some")
            .then("Check what is mounted there; the index was not changed"));
    }
    state.repair.unreadable_files.sort_unstable();
    state.repair.wrong_files.sort_unstable();
    monitor.phase("reading packs");
    let mut unknown: Vec<(Id, u64)> =
        packs.iter().filter(|(id, _)| !state.right.contains(id)).map(|(id, bytes)| (*id, *bytes)).collect();
    unknown.sort_unstable();
    monitor.progress().files_total.set(unknown.len() as u64);
    let needed_bytes = AtomicU64::new(0);
    let read = in_parallel(&unknown, repository.backend().connections(), |(id, bytes)| {
        if stop.load(Ordering::Relaxed) {
            return Err(Error::new(ErrorKind::Interrupted, "repair interrupted").then("Nothing was changed"));
        }
        monitor.progress().files_done.add(1);
        let header = read_header(repository, id, *bytes)?;
        if let Ok(pack) = &header {
            let bytes = (pack.blobs.len() * size_of::<PackedBlob>()) as u64;
            repository.require_index_memory(needed_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes)?;
        }
        Ok((*id, header))
    })?;
    for (id, header) in read {
        match header {
            Ok(pack) => {
                state.wrong.remove(&id);
                state.repair.added.push(pack);
            }
            Err(cause) => {
                let blobs = state.wrong.remove(&id).unwrap_or(0);
                state.repair.dropped.insert(id, (cause, blobs));
            }
        }
    }
    for (id, blobs) in state.wrong {
        if !state.right.contains(&id) {
            state.repair.dropped.insert(id, (GONE.to_owned(), blobs));
        }
    }
    state.repair.packs = packs;
    Ok(state.repair)
}

/// Does it: new index files, then the old ones go.
pub fn apply(repository: &Repository, repair: &IndexRepair, lock: &Lock) -> Result<()> {
    let again: HashMap<Id, u64> = repository.files(FileType::Pack)?.into_iter().collect();
    if again != repair.packs {
        return Err(Error::new(ErrorKind::Other, "refused to repair the index")
            .because("two lists of the packs differ")
            .then("Run it again; the index was not changed"));
    }
    let mut next: Vec<IndexPack> = Vec::new();
    let mut blobs = 0;
    let mut write = |pack: Option<IndexPack>| -> Result<()> {
        let last = pack.is_none();
        blobs += pack.as_ref().map_or(0, |pack| pack.blobs.len());
        next.extend(pack);
        if (blobs >= FILE_BLOBS_MAX || last) && !next.is_empty() {
            lock.check()?;
            repository.write_index_file(&next)?;
            next.clear();
            blobs = 0;
        }
        Ok(())
    };
    let added: HashSet<Id> = repair.added.iter().map(|pack| pack.id).collect();
    for file in &repair.wrong_files {
        for pack in repository.read_index_file(file)? {
            let is_right = again.get(&pack.id).is_some_and(|bytes| *bytes == file_bytes(&pack.blobs));
            if is_right && !added.contains(&pack.id) {
                write(Some(pack))?;
            }
        }
    }
    for pack in &repair.added {
        write(Some(pack.clone()))?;
    }
    write(None)?;
    let old: Vec<String> = repair.unreadable_files.iter().chain(&repair.wrong_files).map(Id::hex).collect();
    lock.check()?;
    for deleted in repository.backend().delete_many(FileType::Index, &old) {
        match deleted {
            Err(error) if error.kind != BackendErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
    }
    Ok(())
}

struct Survey<'a> {
    packs: &'a HashMap<Id, u64>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    repair: IndexRepair,
    /// Packs that some file lists rightly.
    right: HashSet<Id>,
    /// Packs that some file lists otherwise, and how many blobs it lists for them.
    wrong: HashMap<Id, u64>,
    listed: usize,
}

impl Survey<'_> {
    fn look(&self, repository: &Repository, file: &Id) -> Result<()> {
        let decoded = repository.read_index_file(file);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match decoded {
            Err(error) if error.kind == ErrorKind::Damaged => state.repair.unreadable_files.push(*file),
            Err(error) => return Err(error),
            Ok(packs) => {
                state.listed += packs.len();
                let mut all_right = true;
                for pack in packs {
                    if self.packs.get(&pack.id) == Some(&file_bytes(&pack.blobs)) {
                        state.right.insert(pack.id);
                    } else {
                        all_right = false;
                        state.wrong.insert(pack.id, pack.blobs.len() as u64);
                    }
                }
                if !all_right {
                    state.repair.wrong_files.push(*file);
                }
            }
        }
        Ok(())
    }
}

/// What a pack's header lists, or why it cannot be used.
fn read_header(repository: &Repository, id: &Id, bytes: u64) -> Result<Result<IndexPack, String>> {
    let name = id.hex();
    let range = |offset: u64, end: u64| {
        let read = repository.backend().read_range(
            FileType::Pack,
            &name,
            offset,
            end.saturating_sub(offset) as usize,
        );
        match read {
            Ok(read) => Ok(Ok(read)),
            Err(error) => match error.kind {
                BackendErrorKind::Unreachable | BackendErrorKind::Throttled | BackendErrorKind::Denied => {
                    Err(Error::from(error))
                }
                _ => Ok(Err(error.cause)),
            },
        }
    };
    let start = bytes.saturating_sub(TAIL_BYTES);
    let tail = match range(start, bytes)? {
        Ok(tail) => tail,
        Err(cause) => return Ok(Err(cause)),
    };
    let length = match header_length(bytes, &tail) {
        Ok(length) => length,
        Err(cause) => return Ok(Err(cause.to_string())),
    };
    let end = bytes.saturating_sub(LENGTH_BYTES as u64);
    let from = end.saturating_sub(length as u64);
    let sealed = match from.checked_sub(start) {
        Some(skip) => tail.slice(skip as usize..tail.len() - LENGTH_BYTES),
        None => match range(from, end)? {
            Ok(sealed) => sealed,
            Err(cause) => return Ok(Err(cause)),
        },
    };
    Ok(match decode_header(&sealed, repository.cipher()) {
        Ok(blobs) if file_bytes(&blobs) == bytes => Ok(IndexPack { id: *id, blobs }),
        Ok(_) => Err("its header does not add up to its size".to_owned()),
        Err(cause) => Err(cause.to_string()),
    })
}
