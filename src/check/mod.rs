//! Looking for damage: everything that `restic check` looks for, and whom it hits.
//!
//! ```text
//! indexes decode → packs are there, of the right size → snapshots decode, trees are read, blobs are listed
//!                → data of all packs or a part → who is touched by what is lost
//! ```
//!
//! Damage does not end it: each fault is told on a line of its own, and the rest is checked. Only a store
//! out of reach and a signal end it. It changes nothing.

mod data;
mod findings;
mod reachability;
pub(crate) mod structure;
mod subset;
pub(crate) mod touched;
mod walk;

use std::sync::atomic::AtomicBool;

pub use subset::Reading;

use crate::backend::FileType;
use crate::error::Result;
use crate::report::{CheckSummary, Monitor};
use crate::repository::snapshot::Snapshot;
use crate::repository::{Id, Repository, identities};
use findings::{Findings, Sums};
use structure::Inventory;

/// What a check may use.
#[derive(Debug, Clone, Copy)]
pub struct CheckOptions {
    /// How much data is read.
    pub reading: Reading,
    /// The budget for everything, in bytes.
    pub memory_bytes: u64,
    /// Threads that compute.
    pub threads: usize,
}

/// What the structure of a repository came to, for a repair: damage is marked and was told to the monitor.
pub(crate) struct Survey {
    pub(crate) inventory: Inventory,
    /// Those that decode, oldest first.
    pub(crate) snapshots: Vec<(Id, Snapshot)>,
    /// Those that do not.
    pub(crate) broken_snapshots: Vec<Id>,
    /// Whether an index file does not decode: what it lists seems lost, and is not.
    pub(crate) index_damaged: bool,
    /// Whether there are packs that no index lists.
    pub(crate) orphans: bool,
}

/// Reads indexes, lists packs, reads snapshots and trees.
pub(crate) fn survey(
    repository: &Repository,
    threads: usize,
    monitor: &dyn Monitor,
    stop: &AtomicBool,
) -> Result<Survey> {
    let findings = Findings::new(monitor);
    let (inventory, snapshots) = walk_all(repository, threads, &findings, monitor, stop)?;
    let sums = findings.finish();
    Ok(Survey {
        inventory,
        snapshots,
        broken_snapshots: sums.broken_snapshots,
        index_damaged: sums.index_damaged,
        orphans: sums.orphans,
    })
}

/// Checks a repository. Damage is no error of the check: it stands in the summary.
pub fn check(
    repository: &Repository,
    options: &CheckOptions,
    monitor: &dyn Monitor,
    stop: &AtomicBool,
) -> Result<CheckSummary> {
    let findings = Findings::new(monitor);
    let (inventory, snapshots) = walk_all(repository, options.threads, &findings, monitor, stop)?;
    let memory_bytes = options.memory_bytes.saturating_sub(inventory.index.memory_bytes());
    let numbered = (0_u32..).zip(inventory.index.packs()).zip(&inventory.pack_bytes);
    let stored = numbered.filter_map(|((number, id), bytes)| Some((number, *id, (*bytes)?))).collect();
    if let Some((packs, line)) = subset::choose(options.reading, stored, repository.random())? {
        step(monitor, "read data", Some(&line));
        monitor.progress().files_total.add(packs.len() as u64);
        monitor.progress().bytes_total.add(packs.iter().map(|(_, _, bytes)| bytes).sum());
        monitor.progress().totals_final.set(1);
        let share = data::Share { memory_bytes, threads: options.threads };
        data::read_packs(repository, &inventory, &packs, share, &findings, monitor, stop)?;
    }
    let sums = findings.finish();
    monitor.surveyed(&identities::survey(snapshots.iter().map(|(_, snapshot)| (snapshot, None))));
    if sums.problems > 0 {
        touched::tell(repository, &inventory, &snapshots, options.threads, monitor, stop)?;
        advise(&sums, monitor);
    }
    Ok(summary(&sums))
}

/// The structure and all that snapshots reach.
fn walk_all(
    repository: &Repository,
    threads: usize,
    findings: &Findings<'_>,
    monitor: &dyn Monitor,
    stop: &AtomicBool,
) -> Result<(Inventory, Vec<(Id, Snapshot)>)> {
    // Listed before the index is: what a snapshot of this list needs was indexed before it.
    let snapshot_ids = repository.ids(FileType::Snapshot)?;
    step(monitor, "load indexes", None);
    let index = structure::load_indexes(repository, findings)?;
    step(monitor, "check all packs", None);
    let inventory = structure::check_packs(repository, index, findings)?;
    step(monitor, "check snapshots, trees and blobs", None);
    let snapshots = reachability::load_snapshots(repository, &snapshot_ids, findings)?;
    let roots: Vec<Id> = snapshots.iter().map(|(_, snapshot)| snapshot.tree).collect();
    reachability::check_trees(repository, &inventory, &roots, threads, findings, monitor, stop)?;
    Ok((inventory, snapshots))
}

/// Each step counts for itself. Its name is one of a few, since metrics have it as a label; its line may say more.
fn step(monitor: &dyn Monitor, name: &'static str, line: Option<&str>) {
    monitor.progress().reset();
    monitor.phase(name);
    monitor.line(line.unwrap_or(name));
}

/// What to run next, a line each, in the order to run it.
fn advise(sums: &Sums, monitor: &dyn Monitor) {
    for line in steps(sums) {
        monitor.problem(&line);
    }
}

fn steps(sums: &Sums) -> Vec<String> {
    let mut steps = Vec::new();
    if !sums.broken_packs.is_empty() {
        let packs: Vec<String> = sums.broken_packs.iter().map(Id::hex).collect();
        steps.push(format!("To save what is left of damaged packs: restic repair packs {}", packs.join(" ")));
    }
    let unlisted = sums.orphans && (sums.content_lost || sums.index_damaged);
    if sums.index_damaged || sums.packs_gone || unlisted {
        steps.push("To rebuild the index from the packs that are there: volmover repair-index".to_owned());
    }
    if unlisted {
        steps.push("Packs that no index lists may hold what is missing: do not prune before that".to_owned());
    }
    if !sums.broken_snapshots.is_empty() {
        let files: Vec<String> = sums.broken_snapshots.iter().map(|id| format!("snapshots/{id}")).collect();
        steps.push(format!("What cannot be read is lost: remove from the store {}", files.join(" ")));
    }
    if sums.content_lost || sums.packs_gone || sums.index_damaged || !sums.broken_packs.is_empty() {
        steps.push(
            "Then, where data is still missing: back up again, which stores anew what the source still has, \
             and rewrite snapshots without what is lost: volmover repair-snapshots"
                .to_owned(),
        );
    }
    steps
}

fn summary(sums: &Sums) -> CheckSummary {
    CheckSummary {
        errors: sums.problems,
        broken_packs: sums.broken_packs.iter().map(Id::hex).collect(),
        suggest_repair_index: sums.index_damaged,
        packs_gone: sums.packs_gone,
        suggest_prune: sums.prunable,
    }
}
