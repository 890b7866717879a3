//! The memory budget of a backup, shared out before it starts.
//!
//! ```text
//! budget = index ‖ readers × 4 buffers of 4 MiB ‖ workers × contexts ‖ packs being filled and uploaded × 18 MiB
//!          ‖ packs × 1.5 MiB for long tails, workers × what compressing harder takes, if that is left
//! ```
//!
//! What is not given out here is not allocated later: pools of these sizes bound everything in flight.

use super::effort::EFFORT_BYTES;
use super::large::BUFFER_BYTES;
use super::read::BUFFERS;
use super::store::{LONG_TAIL_BYTES, StorePlan, pack_memory_bytes};
use crate::backend::DISK_CONNECTIONS_MAX;
use crate::error::{Error, ErrorKind, Result};
use crate::repository::Id;
use crate::repository::blob::SCRATCH_BYTES_MAX;

/// What a worker's zstd contexts and scratch memory take, in bytes: three buffers stay between blobs, for the
/// joined chunk, and for what is opened and unpacked again.
const WORKER_BYTES: u64 = (3 << 20) + 3 * SCRATCH_BYTES_MAX as u64;
/// Tree packs that are filled at once.
const TREE_SLOTS: usize = 1;
/// What the program takes besides: code, stacks, trees on their way.
const BASE_BYTES: u64 = 16 << 20;

/// What a plan is made from.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The budget for everything, in bytes (`MOVER_MEMORY`).
    pub memory_bytes: u64,
    /// What the index takes of it.
    pub index_bytes: u64,
    /// Threads that compute (`MOVER_THREADS`).
    pub threads: usize,
    /// Threads that read (`RESTIC_READ_CONCURRENCY`).
    pub readers: usize,
    /// Requests at once.
    pub connections: usize,
    /// Where a pack closes (`RESTIC_PACK_SIZE`), in bytes.
    pub pack_bytes: usize,
}

/// How many threads there are, and how much each stage may hold.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Threads that compute.
    pub workers: usize,
    /// Threads that read.
    pub readers: usize,
    /// The store's share.
    pub store: StorePlan,
}

/// Shares the budget out. Everything has a minimum of one; an index that leaves less is an error.
pub fn plan(limits: Limits) -> Result<Plan> {
    let pack = pack_memory_bytes(limits.pack_bytes) as u64;
    let reader = (BUFFERS * BUFFER_BYTES) as u64;
    let available = limits.memory_bytes.saturating_sub(limits.index_bytes).saturating_sub(BASE_BYTES);
    let least = reader + WORKER_BYTES + 3 * pack;
    if available < least {
        let mib = |bytes: u64| bytes >> 20;
        let (index, others) = (mib(limits.index_bytes), mib(least + BASE_BYTES));
        let budget = mib(limits.memory_bytes);
        return Err(Error::new(ErrorKind::Other, "the memory budget is too small")
            .because(format!(
                "the index takes {index} MiB, the rest {others} MiB, the budget is {budget} MiB"
            ))
            .then("Raise MOVER_MEMORY or the container's memory limit, or lower RESTIC_PACK_SIZE"));
    }
    let mut left = available.saturating_sub(least);
    let mut take = |bytes: u64, most: usize| {
        let count = (left / bytes.max(1)).min(most as u64);
        left -= count * bytes;
        count as usize
    };
    let workers = 1 + take(WORKER_BYTES, limits.threads.saturating_sub(1));
    let data_slots = 1 + take(pack, (workers - 1).min(1));
    let readers = 1 + take(reader, limits.readers.max(1) - 1);
    let data_slots = data_slots + take(pack, workers.saturating_sub(data_slots));
    // A pack is a large request, and each holds 18 MiB: a third of the connections, as many as restic has, keeps an
    // object store busy, a quarter a disk, which is what few connections mean.
    let is_remote = limits.connections > DISK_CONNECTIONS_MAX;
    let share = if is_remote { 3 } else { 4 };
    let uploads = 1 + take(pack, (limits.connections / share).saturating_sub(1));
    let packs = data_slots + TREE_SLOTS + uploads;
    let has_long_tails = take((packs * LONG_TAIL_BYTES) as u64, 1) == 1;
    let compresses_harder = take(EFFORT_BYTES, workers) == workers;
    let store = StorePlan {
        pack_bytes: limits.pack_bytes,
        has_long_tails,
        data_slots,
        tree_slots: TREE_SLOTS,
        verifies_later: data_slots == workers && Id::at_once() > 1,
        starts_short: is_remote,
        uploads,
        compresses_harder,
    };
    Ok(Plan { workers, readers, store })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    const LIMITS: Limits = Limits {
        memory_bytes: 1 << 30,
        index_bytes: 0,
        threads: 4,
        readers: 2,
        connections: 16,
        pack_bytes: 16 << 20,
    };

    #[test]
    fn a_small_budget_still_gives_one_of_each() {
        let plan = plan(Limits { memory_bytes: 96 << 20, ..LIMITS }).unwrap();
        assert!(plan.workers >= 1 && plan.readers >= 1 && plan.store.uploads >= 1);
    }

    #[test]
    fn a_large_budget_gives_what_is_asked_for() {
        let plan = plan(LIMITS).unwrap();
        assert_eq!((plan.workers, plan.readers, plan.store.data_slots, plan.store.uploads), (4, 2, 4, 5));
    }

    #[test]
    fn an_index_that_does_not_fit_is_an_error() {
        let limits = Limits { memory_bytes: 96 << 20, index_bytes: 90 << 20, ..LIMITS };
        assert!(plan(limits).unwrap_err().to_string().contains("MOVER_MEMORY"));
    }
}
