//! The C library's allocator, told what to keep.
//!
//! A buffer of its own mapping costs a page fault for every 4 KiB, each time: on a CPU that hashes 2 GB/s a quarter
//! of what it takes to verify data. What lies in a heap is there already. Left alone glibc does that by halves: it has a
//! heap for nearly every thread, and a pipeline's buffers are freed by others than who made them, so each heap holds
//! what another one lacks; and it raises the size from on which buffers are mapped whenever one is freed. So threads
//! share heaps, buffers of all but packs and keys lie in them, and what is free at a heap's end goes back
//! (`benches/README.md` has what each takes). glibc reads that from a variable, before `main`: so the program starts
//! itself again with the variable set, once. It stays the same process, with the same arguments.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::thread;

use crate::config::env::Values;
use crate::config::operation::Operation;
use crate::config::variables::GLIBC_TUNABLES;

/// From so many bytes on a buffer is mapped: a pack is, a chunk most often not.
const MAPPED_BYTES_MIN: usize = 4 << 20;
/// So many processors share a heap, and one is for all: more heaps are less waiting, and some MiB more at the peak.
const PROCESSORS_OF_HEAP: usize = 4;
/// What may be free at a heap's end, in bytes: less is more page faults.
const FREE_BYTES_MAX: usize = 8 << 20;
/// A backup has pools of its own for what is long, and the highest peak of all: it does without the heap for all, and
/// gives back more.
const FREE_BYTES_MAX_OF_BACKUP: usize = 2 << 20;

/// Starts the program again unless the allocator was told something. Where that cannot be, the run goes on as it
/// is, with more memory.
pub fn settle(environment: &Values, arguments: impl IntoIterator<Item = OsString>, operations: &[Operation]) {
    if !cfg!(target_env = "gnu") || environment.contains_key(GLIBC_TUNABLES.name) {
        return;
    }
    let mut arguments = arguments.into_iter();
    let (Ok(program), Some(called)) = (std::env::current_exe(), arguments.next()) else { return };
    let mut again = Command::new(program);
    again.arg0(called).args(arguments).env(GLIBC_TUNABLES.name, settings(operations));
    let _not_started = again.exec();
}

fn settings(operations: &[Operation]) -> String {
    let shared = thread::available_parallelism().map_or(1, |count| count.get().div_ceil(PROCESSORS_OF_HEAP));
    let (heaps, free_bytes) = if operations.contains(&Operation::Backup) {
        (shared, FREE_BYTES_MAX_OF_BACKUP)
    } else {
        (shared + 1, FREE_BYTES_MAX)
    };
    [("mmap_threshold", MAPPED_BYTES_MIN), ("trim_threshold", free_bytes), ("arena_max", heaps)]
        .map(|(name, value)| format!("glibc.malloc.{name}={value}"))
        .join(":")
}
