//! The data: packs are read whole, many at once, and all that they hold is opened.
//!
//! Of each pack: its hash is its name, its header lists what the index lists, every blob has the right tag,
//! decompresses and has the hash that it is named by. A pack that fits into a worker's share of the memory
//! budget is one request; a larger one is read in parts, twice: for its hash, and blob by blob.

use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;

use super::findings::Findings;
use super::structure::Inventory;
use super::subset::Pack;
use crate::backend::{BackendErrorKind, DISK_CONNECTIONS_MAX, FileType};
use crate::error::{Error, ErrorKind, Result};
use crate::report::Monitor;
use crate::repository::blob::Opener;
use crate::repository::id::Hasher;
use crate::repository::index::{ByPack, IndexEntry};
use crate::repository::pack::{LENGTH_BYTES, PackedBlob, decode_header, header_length};
use crate::repository::{Id, Repository, in_parallel_with};

/// What a worker needs besides the pack: a sealed and an opened blob, and contexts.
const WORKER_BYTES: u64 = 24 << 20;
/// Parts of a pack that is larger than a worker's share, in bytes.
const PART_BYTES: usize = 4 << 20;
/// Faults of one pack that are told.
const FAULTS_MAX: usize = 10;

/// What reading may use.
#[derive(Debug, Clone, Copy)]
pub(super) struct Share {
    pub(super) memory_bytes: u64,
    pub(super) threads: usize,
}

/// Reads packs, and tells what is wrong with each.
pub(super) fn read_packs(
    repository: &Repository,
    inventory: &Inventory,
    packs: &[Pack],
    share: Share,
    findings: &Findings<'_>,
    monitor: &dyn Monitor,
    stop: &AtomicBool,
) -> Result<()> {
    let largest = packs.iter().map(|(_, _, bytes)| *bytes).max().unwrap_or(0);
    let each = WORKER_BYTES + largest.min(share.memory_bytes / 2);
    // From a disk one pack is read while the others are opened; an object store is kept busy by all connections.
    let connections = match repository.backend().connections() {
        ..=DISK_CONNECTIONS_MAX => 1,
        connections => connections,
    };
    let most = connections.max(share.threads + 1) as u64;
    let workers = (share.memory_bytes / each).clamp(1, most);
    let whole_bytes_max = (share.memory_bytes / workers).saturating_sub(WORKER_BYTES);
    let by_pack = inventory.index.by_pack();
    let work = |opener: &mut Opener, (number, id, bytes): &Pack| {
        if stop.load(Ordering::Relaxed) {
            return Err(Error::new(ErrorKind::Interrupted, "check interrupted"));
        }
        let source = Source::open(repository, *id, *bytes, whole_bytes_max)?;
        let faults = faults(&source, opener, repository, inventory, &by_pack, *number)?;
        if !faults.is_empty() {
            let mut told: Vec<&str> = faults.iter().take(FAULTS_MAX).map(String::as_str).collect();
            if faults.len() > FAULTS_MAX {
                told.push("…");
            }
            let text = format!("pack {id} contains {} errors: [{}]", faults.len(), told.join("; "));
            findings.broken_pack(*id, &text);
        }
        monitor.progress().files_done.add(1);
        monitor.progress().bytes_done.add(*bytes);
        Ok(())
    };
    in_parallel_with(packs, workers as usize, || repository.opener(), work).map(|_| ())
}

/// What is wrong with a pack; entries that cannot be opened are marked as bad.
fn faults(
    source: &Source<'_>,
    opener: &mut Opener,
    repository: &Repository,
    inventory: &Inventory,
    by_pack: &ByPack<'_>,
    number: u32,
) -> Result<Vec<String>> {
    let entries = by_pack.entries(number);
    let mut faults = Vec::new();
    match source.hash()? {
        Ok(hash) if hash == source.pack => {}
        Ok(hash) => faults.push(format!("unexpected pack id {hash}")),
        Err(cause) => faults.push(cause),
    }
    match header(source, repository)? {
        Ok(blobs) => faults.extend(compare(&blobs, &entries)),
        Err(cause) => faults.push(cause),
    }
    let mut plain = Vec::new();
    for (ordinal, entry) in &entries {
        let extent = entry.extent;
        let fault = match source.part(u64::from(extent.offset), extent.length as usize)? {
            Ok(sealed) => {
                opener.open(&entry.id, &sealed, extent.plain_length, &mut plain).err().map(|c| c.to_string())
            }
            Err(cause) => Some(cause),
        };
        if let Some(cause) = fault {
            faults.push(format!("{} blob {}: {cause}", entry.kind.word(), entry.id));
            inventory.bad.set(*ordinal);
        }
    }
    Ok(faults)
}

fn header(source: &Source<'_>, repository: &Repository) -> Result<Result<Vec<PackedBlob>, String>> {
    let Some(end) = source.bytes.checked_sub(LENGTH_BYTES as u64) else {
        return Ok(Err("it is too short for a header".to_owned()));
    };
    let last = match source.part(end, LENGTH_BYTES)? {
        Ok(last) => last,
        Err(cause) => return Ok(Err(cause)),
    };
    let length = match header_length(source.bytes, &last) {
        Ok(length) => length,
        Err(cause) => return Ok(Err(cause.to_string())),
    };
    Ok(match source.part(end.saturating_sub(length as u64), length)? {
        Ok(sealed) => decode_header(&sealed, repository.cipher()).map_err(|cause| cause.to_string()),
        Err(cause) => Err(cause),
    })
}

/// The header against the index.
fn compare(blobs: &[PackedBlob], entries: &[(usize, IndexEntry)]) -> Vec<String> {
    let key = |blob: &PackedBlob| {
        (blob.extent.offset, blob.extent.length, blob.extent.plain_length, blob.id, blob.kind)
    };
    let in_header: std::collections::BTreeSet<_> = blobs.iter().map(key).collect();
    let in_index: std::collections::BTreeSet<_> = entries
        .iter()
        .map(|(_, entry)| key(&PackedBlob { id: entry.id, kind: entry.kind, extent: entry.extent }))
        .collect();
    let unlisted = in_header.difference(&in_index);
    let unlisted = unlisted.map(|(.., id, kind)| format!("{} blob {id} is not in the index", kind.word()));
    let strange = in_index.difference(&in_header);
    let strange =
        strange.map(|(.., id, kind)| format!("{} blob {id} of the index is not in its header", kind.word()));
    unlisted.chain(strange).collect()
}

/// The bytes of one pack. What cannot be read is a fault of the pack; a store out of reach ends the check.
struct Source<'a> {
    repository: &'a Repository,
    pack: Id,
    bytes: u64,
    whole: Option<Result<Bytes, String>>,
}

impl<'a> Source<'a> {
    fn open(repository: &'a Repository, pack: Id, bytes: u64, whole_bytes_max: u64) -> Result<Self> {
        let mut source = Self { repository, pack, bytes, whole: None };
        if bytes <= whole_bytes_max {
            let read = repository.backend().read(FileType::Pack, &pack.hex());
            let whole = fault_or_end(read)?;
            if let Ok(whole) = &whole {
                source.bytes = whole.len() as u64;
            }
            source.whole = Some(whole);
        }
        Ok(source)
    }

    fn part(&self, offset: u64, length: usize) -> Result<Result<Bytes, String>> {
        let end = offset.saturating_add(length as u64);
        if end > self.bytes {
            return Ok(Err(format!("it ends at {end} and the pack at {}", self.bytes)));
        }
        match &self.whole {
            Some(Ok(whole)) => Ok(Ok(whole.slice(offset as usize..end as usize))),
            Some(Err(cause)) => Ok(Err(cause.clone())),
            None => {
                let name = self.pack.hex();
                fault_or_end(self.repository.backend().read_range(FileType::Pack, &name, offset, length))
            }
        }
    }

    fn hash(&self) -> Result<Result<Id, String>> {
        let mut hasher = Hasher::default();
        let mut offset = 0;
        while offset < self.bytes {
            let length = (self.bytes - offset).min(PART_BYTES as u64);
            match self.part(offset, length as usize)? {
                Ok(part) => hasher.update(&part),
                Err(cause) => return Ok(Err(cause)),
            }
            offset += length;
        }
        Ok(match &self.whole {
            Some(Err(cause)) => Err(cause.clone()),
            _ => Ok(hasher.finish()),
        })
    }
}

fn fault_or_end(read: crate::backend::BackendResult<Bytes>) -> Result<Result<Bytes, String>> {
    match read {
        Ok(bytes) => Ok(Ok(bytes)),
        Err(error) => match error.kind {
            BackendErrorKind::Unreachable | BackendErrorKind::Throttled | BackendErrorKind::Denied => {
                Err(error.into())
            }
            _ => Ok(Err(Error::from(error).to_string())),
        },
    }
}
