//! Rewriting snapshots without what is lost.
//!
//! A snapshot that loses something gets a copy beside it that needs only what is there: tagged `repaired`,
//! naming the snapshot it comes from, as restic writes it. The old one is never removed here: what is lost
//! today may be found again (another copy of a pack), and its removal is one forget away. So is a snapshot
//! whose root cannot be read: of that nothing can be rewritten.

use std::sync::atomic::AtomicBool;

pub use super::trees::Loss;
use super::trees::{Store, Trees, rewrite};
use crate::backend::FileType;
use crate::check::touched::Map;
use crate::check::{Survey, survey};
use crate::error::{Error, ErrorKind, Result};
use crate::report::{Monitor, SilentMonitor};
use crate::repository::blob::BlobType;
use crate::repository::lock::Lock;
use crate::repository::snapshot::Snapshot;
use crate::repository::{Id, Repository};

/// The tag of a rewritten snapshot.
pub const TAG: &str = "repaired";

/// One damaged snapshot, and what becomes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repaired {
    /// The damaged one.
    pub old: Id,
    /// What it is of.
    pub snapshot: Snapshot,
    /// What its copy loses, by path; nothing is known where the root cannot be read.
    pub losses: Vec<(Vec<u8>, Loss)>,
    /// What becomes of it.
    pub outcome: Outcome,
}

/// What becomes of a damaged snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Its root cannot be read: nothing is left to rewrite.
    Lost,
    /// An earlier repair wrote this copy.
    Known(Id),
    /// A copy would be written.
    Would,
    /// This copy was written.
    Written(Id),
}

/// Finds the damaged snapshots and, under an exclusive lock, writes their copies. Without one it changes
/// nothing.
pub fn repair(
    repository: &Repository,
    lock: Option<&Lock>,
    threads: usize,
    monitor: &dyn Monitor,
    stop: &AtomicBool,
) -> Result<Vec<Repaired>> {
    let Survey { inventory, snapshots, broken_snapshots, index_damaged, orphans } =
        survey(repository, threads, &SilentMonitor::default(), stop)?;
    for id in &broken_snapshots {
        monitor.warn(&format!("snapshots/{id} cannot be read and is left alone: run check"));
    }
    let roots: Vec<Id> = snapshots.iter().map(|(_, snapshot)| snapshot.tree).collect();
    let map = Map::draw(repository, &inventory, &roots, threads, stop)?;
    if index_damaged {
        return Err(Error::new(ErrorKind::Damaged, "refused to repair snapshots")
            .at(repository.backend().location())
            .because("an index file is damaged")
            .then("Run repair-index first: what seems lost may be there"));
    }
    if orphans && !map.hits.is_empty() {
        monitor.warn("packs that no index lists may hold what is missing: run repair-index first");
    }
    let store = Store::new(repository, &inventory, lock)?;
    let trees = rewrite(repository, &inventory, &map, &store, threads, stop)?;
    store.finish()?;
    let mut all = Vec::new();
    for (id, snapshot) in &snapshots {
        let root = inventory.index.ordinal(BlobType::Tree, &snapshot.tree).map(|root| root as u32);
        let lost = inventory.lost(BlobType::Tree, &snapshot.tree).is_some();
        let rewritten = root.and_then(|root| Some((root, trees.get(&root)?.id)));
        let (losses, outcome) = match rewritten {
            _ if lost => (Vec::new(), Outcome::Lost),
            None => continue,
            Some((root, tree)) => {
                let copy = copy_of(id, snapshot, tree);
                let known = snapshots.iter().find(|(_, other)| is_copy(other, &copy));
                let outcome = match (known, lock) {
                    (Some((known, _)), _) => Outcome::Known(*known),
                    (None, None) => Outcome::Would,
                    (None, Some(lock)) => {
                        lock.check()?;
                        Outcome::Written(repository.write_unpacked(FileType::Snapshot, &copy.encode())?)
                    }
                };
                (paths(root, &trees), outcome)
            }
        };
        all.push(Repaired { old: *id, snapshot: snapshot.clone(), losses, outcome });
    }
    Ok(all)
}

fn copy_of(id: &Id, snapshot: &Snapshot, tree: Id) -> Snapshot {
    let mut copy = Snapshot { tree, original: Some(snapshot.original.unwrap_or(*id)), ..snapshot.clone() };
    if !copy.tags.iter().any(|tag| tag == TAG) {
        copy.tags.push(TAG.to_owned());
    }
    copy
}

fn is_copy(other: &Snapshot, copy: &Snapshot) -> bool {
    other.tree == copy.tree && other.original == copy.original && other.time == copy.time
}

/// Paths below a rewritten root that lose something, in their order within each directory.
fn paths(root: u32, trees: &Trees) -> Vec<(Vec<u8>, Loss)> {
    let mut all = Vec::new();
    let mut rest = vec![(Vec::new(), root)];
    while let Some((path, tree)) = rest.pop() {
        let Some(rewritten) = trees.get(&tree) else { continue };
        let below = |name: &[u8]| [path.as_slice(), b"/", name].concat();
        all.extend(rewritten.losses.iter().map(|(name, loss)| (below(name), *loss)));
        rest.extend(rewritten.below.iter().rev().map(|(name, tree)| (below(name), *tree)));
    }
    all.sort();
    all
}
