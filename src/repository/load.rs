//! Loading the index within the memory budget. Everybody who wants an index loads it here.
//!
//! Files that fit whatever is in them are read at once. Else the largest is read first: by what its entries take, and
//! by the listed sizes of all, it is known what the whole will take, and one that cannot fit is an error before the
//! rest is read. Estimates may be wrong, so what is loaded is counted as well: it never outgrows the budget by more
//! than the files in flight.

use std::sync::{Mutex, PoisonError};

use super::index::{ENTRY_BYTES, Index, IndexBuilder};
use super::{EachIndexFile, Id, Repository, in_parallel};
use crate::error::{Error, ErrorKind, Result};

/// An index that is estimated at this share more than the budget is not loaded, in percent. Files differ: a
/// smaller excess is found out while loading.
const EXCESS_PERCENT: u64 = 25;
/// What a file in flight takes for each of its bytes: itself, its JSON, and the decoded entries.
const FLIGHT_FACTOR: u64 = 8;

/// The index of `files`, given with their sizes, which may take up to `memory_bytes` in memory.
pub(super) fn index(
    repository: &Repository,
    memory_bytes: u64,
    mut files: Vec<(Id, u64)>,
    each: &EachIndexFile<'_>,
) -> Result<Index> {
    files.sort_unstable_by_key(|(id, bytes)| std::cmp::Reverse((*bytes, *id)));
    let Some((first, others)) = files.split_first() else { return Ok(IndexBuilder::default().finish()) };
    let largest_bytes = first.1.max(1);
    let all_bytes: u64 = files.iter().map(|(_, bytes)| bytes).sum();
    let of_all = |part: u64, bytes: u64| {
        (u128::from(part) * u128::from(all_bytes) / u128::from(bytes.max(1))).try_into().unwrap_or(u64::MAX)
    };
    let builder = Mutex::new(IndexBuilder::default());
    let load = |(id, bytes): &(Id, u64)| {
        let packs = each(id, repository.read_index_file(id))?;
        let mut builder = builder.lock().unwrap_or_else(PoisonError::into_inner);
        let is_first = builder.needed_bytes() == 0;
        builder.add(&packs);
        let needed = builder.needed_bytes();
        require(repository, needed, memory_bytes)?;
        if is_first {
            builder.expect(of_all(needed, *bytes).min(memory_bytes));
        }
        Ok(needed)
    };
    // An id is noise: no compression makes an entry shorter.
    let mut estimate = all_bytes / size_of::<Id>() as u64 * ENTRY_BYTES as u64;
    let mut left = files.as_slice();
    if estimate > memory_bytes {
        left = others;
        estimate = of_all(load(first)?, largest_bytes);
        let most = memory_bytes.saturating_add(memory_bytes / 100 * EXCESS_PERCENT);
        if estimate > most {
            require(repository, estimate, memory_bytes)?;
        }
    }
    let in_flight = memory_bytes.saturating_sub(estimate) / largest_bytes.saturating_mul(FLIGHT_FACTOR);
    let workers = usize::try_from(in_flight).unwrap_or(usize::MAX).max(1);
    let workers = repository.backend().connections().min(workers);
    in_parallel(left, workers, load)?;
    let index = builder.into_inner().unwrap_or_else(PoisonError::into_inner).finish_with(workers);
    if let Some(cache) = repository.cache() {
        let listed: Vec<Id> = files.iter().map(|(id, _)| *id).collect();
        cache.tidy(&listed, &index);
    }
    Ok(index)
}

/// An error when an index needs more than it may take, in bytes.
pub(super) fn require(repository: &Repository, needed: u64, memory_bytes: u64) -> Result<()> {
    if needed <= memory_bytes {
        return Ok(());
    }
    let mib = |bytes: u64| bytes.div_ceil(1 << 20);
    Err(Error::new(ErrorKind::Other, "the index does not fit into the memory budget")
        .at(repository.backend().location())
        .because(format!("it takes {} MiB or more, the budget is {} MiB", mib(needed), mib(memory_bytes)))
        .then("Raise MOVER_MEMORY or the container's memory limit, or prune the repository"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use std::sync::Arc;

    use super::*;
    use crate::backend::FileType;
    use crate::backend::fault::{Fault, Rule};
    use crate::backend::memory::MemoryBackend;
    use crate::backend::record::Request;
    use crate::clock::SystemClock;
    use crate::repository::blob::{BlobType, Extent};
    use crate::repository::index::{IndexPack, encode};
    use crate::repository::pack::PackedBlob;
    use crate::repository::testing;

    /// A repository of `files` index files of 500 blobs, and how many of them were read.
    fn repository(files: u32) -> (Repository, Arc<Fault>) {
        let fault = Arc::new(Fault::new(Arc::new(MemoryBackend::new()), Arc::new(SystemClock::new())));
        let repository = testing::create(Arc::<Fault>::clone(&fault));
        let extent = Extent { offset: 0, length: 50, plain_length: None };
        for file in 0..files {
            let blob = |n: u32| PackedBlob {
                id: Id::of(&(file * 500 + n).to_le_bytes()),
                kind: BlobType::Data,
                extent,
            };
            let pack = IndexPack { id: Id::of(&[9, file as u8]), blobs: (0..500).map(blob).collect() };
            repository.write_unpacked(FileType::Index, &encode(&[pack])).unwrap();
        }
        fault
            .add(Rule::on(&[Request::Read]).kind(FileType::Index).forever().delay(std::time::Duration::ZERO));
        (repository, fault)
    }

    #[test]
    fn what_cannot_fit_is_refused_before_it_is_loaded() {
        let needed = 40 * (500 * 48 + 32);
        let (whole, _) = repository(40);
        assert_eq!(whole.load_index().unwrap().len(), 20_000);
        assert_eq!(whole.with_memory(needed).load_index().unwrap().len(), 20_000);
        let (small, fault) = repository(40);
        let error = small.with_memory(needed / 2).load_index().unwrap_err().to_string();
        assert!(error.contains("MOVER_MEMORY") && error.contains("the budget is 1 MiB"), "{error}");
        assert_eq!(fault.hits(), 1, "one file tells");
        // An estimate may be a little too low: then it is found out on the way.
        let (close, _) = repository(40);
        assert!(close.with_memory(needed - 1).load_index().is_err());
    }
}
