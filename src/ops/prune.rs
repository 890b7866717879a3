//! `prune`: removes what no snapshot needs, under the exclusive lock.
//!
//! It sees all snapshots, whatever host or path is set. `crate::prune` says why it is safe.

use super::Session;
use crate::error::Result;
use crate::prune::{self, Context};
use crate::report::PruneSummary;
use crate::repository::lock::{Lock, LockMode};

pub use crate::prune::{Options as PruneOptions, UnusedMax, confirm_snapshots, require_fit};

/// Takes the exclusive lock and prunes.
pub fn run(session: &Session<'_>, options: &PruneOptions) -> Result<PruneSummary> {
    session.locked(LockMode::Exclusive, |lock| locked(session, options, lock))
}

/// Prunes under an exclusive lock that is held already.
pub fn locked(session: &Session<'_>, options: &PruneOptions, lock: &Lock) -> Result<PruneSummary> {
    let start = session.repository.clock().elapsed();
    let context = Context {
        repository: &session.repository,
        lock,
        monitor: session.monitor,
        stop: session.stop,
        memory_bytes: session.limits.memory_bytes,
        threads: session.limits.threads,
    };
    let summary = prune::prune(&context, options)?;
    let duration = session.repository.clock().elapsed().saturating_sub(start);
    Ok(PruneSummary { duration: duration.as_secs_f64(), ..summary })
}
