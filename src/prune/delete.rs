//! Deletes what is obsolete: index files first, and packs only when every one of those is gone.
//!
//! Many at once, in portions of what a store deletes with one request; the lock is asked for before each. A
//! file that is gone already is as good as deleted.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Context;
use crate::backend::FileType;
use crate::error::{Error, ErrorKind, Result};
use crate::repository::{Id, in_parallel};

/// What S3 deletes with one request.
const PORTION: usize = 1000;
/// Fewer are not spread over connections: one request, or a moment of a store that deletes one by one.
const PORTION_MIN: usize = 50;

/// Deletes index files, and returns how many. The first failure ends the run.
pub(super) fn indexes(context: &Context<'_>, ids: &BTreeSet<Id>) -> Result<u64> {
    let ids: Vec<Id> = ids.iter().copied().collect();
    let (deleted, failed) = delete(context, FileType::Index, &ids)?;
    failed.map_or(Ok(deleted), |error| {
        let next = match error.kind {
            ErrorKind::Denied => "No pack was deleted; prune with credentials that may delete",
            _ => "No pack was deleted; the next prune finishes the work",
        };
        Err(error.then(next))
    })
}

/// Deletes packs, and returns how many. One that cannot be deleted is an error in the end.
pub(super) fn packs(context: &Context<'_>, ids: &[Id]) -> Result<u64> {
    let (deleted, failed) = delete(context, FileType::Pack, ids)?;
    failed.map_or(Ok(deleted), |error| {
        let left = ids.len() as u64 - deleted;
        Err(error.then(format!("{left} packs that nothing needs are left; the next prune removes them")))
    })
}

/// How many were deleted, and the first failure.
fn delete(context: &Context<'_>, kind: FileType, ids: &[Id]) -> Result<(u64, Option<Error>)> {
    let progress = context.monitor.progress();
    progress.files_total.set(ids.len() as u64);
    let deleted = AtomicU64::new(0);
    let connections = context.repository.backend().connections();
    // Stores that delete one by one get portions enough for all connections.
    let portion = ids.len().div_ceil(connections.max(1)).clamp(PORTION_MIN, PORTION);
    let portions: Vec<&[Id]> = ids.chunks(portion).collect();
    let failures = in_parallel(&portions, connections, |portion| {
        context.may_change()?;
        let names: Vec<String> = portion.iter().map(Id::hex).collect();
        let mut failure = None;
        for result in context.repository.backend().delete_many(kind, &names) {
            match result {
                Err(error) if !error.is_not_found() => {
                    failure.get_or_insert(Error::from(error));
                }
                _ => {
                    deleted.fetch_add(1, Ordering::Relaxed);
                    progress.files_done.add(1);
                }
            }
        }
        Ok(failure)
    })?;
    Ok((deleted.load(Ordering::Relaxed), failures.into_iter().flatten().next()))
}
