//! Reachability: every snapshot decodes, every tree below it can be read, every blob that a file needs is
//! listed by an index.
//!
//! Each tree is read once, whichever snapshots hold it. The size of a file is not compared with that of its
//! blobs, as restic does not: old versions wrote files whose sizes differ.

use std::sync::atomic::AtomicBool;

use super::findings::{Findings, Kind, cause};
use super::structure::Inventory;
use crate::error::{Error, ErrorKind, Result};
use crate::report::Monitor;
use crate::repository::blob::BlobType;
use crate::repository::quote::quote;
use crate::repository::reach::{self, Visitor};
use crate::repository::snapshot::Snapshot;
use crate::repository::tree::{Node, NodeKind, Tree};
use crate::repository::{Id, Repository, in_parallel};

/// Those of `ids` that decode, oldest first. One that is gone was forgotten since it was listed.
pub(super) fn load_snapshots(
    repository: &Repository,
    ids: &[Id],
    findings: &Findings<'_>,
) -> Result<Vec<(Id, Snapshot)>> {
    let read =
        in_parallel(ids, repository.backend().connections(), |id| match repository.snapshot_if_there(id) {
            Err(error) if error.kind == ErrorKind::Damaged => {
                let text = format!("error: failed to load snapshot {}: {}", id.short(), cause(&error));
                findings.broken_snapshot(*id, &text);
                Ok(None)
            }
            loaded => Ok(loaded?.map(|snapshot| (*id, snapshot))),
        })?;
    let mut snapshots: Vec<_> = read.into_iter().flatten().collect();
    snapshots.sort_by_key(|(id, snapshot)| (snapshot.time.instant(), *id));
    Ok(snapshots)
}

/// Walks all trees.
pub(super) fn check_trees(
    repository: &Repository,
    inventory: &Inventory,
    roots: &[Id],
    threads: usize,
    findings: &Findings<'_>,
    monitor: &dyn Monitor,
    stop: &AtomicBool,
) -> Result<()> {
    reach::walk(repository, &inventory.index, roots, threads, &Visit { inventory, findings, monitor }, stop)
}

struct Visit<'a> {
    inventory: &'a Inventory,
    findings: &'a Findings<'a>,
    monitor: &'a dyn Monitor,
}

impl Visitor for Visit<'_> {
    fn tree(&self, id: &Id, tree: &Tree) -> Result<()> {
        self.monitor.progress().files_done.add(1);
        for node in &tree.nodes {
            for fault in self.faults(node) {
                let name = String::from_utf8_lossy(&quote(&node.name)).into_owned();
                let text =
                    format!("error for tree {}: {} \"{name}\" {fault}", id.short(), node.kind.as_str());
                self.findings.problem(Kind::Node, &text);
            }
        }
        Ok(())
    }

    fn broken(&self, id: &Id, error: Error) -> Result<()> {
        self.findings.problem(Kind::Tree, &format!("error for tree {}: {}", id.short(), cause(&error)));
        // All places were tried.
        let places = self.inventory.index.ordinal(BlobType::Tree, id).into_iter().flat_map(|first| first..);
        for ordinal in places {
            match self.inventory.index.at(ordinal) {
                Some(entry) if entry.id == *id && entry.kind == BlobType::Tree => {
                    self.inventory.bad.set(ordinal);
                }
                Some(entry) if entry.id == *id => {}
                _ => break,
            }
        }
        Ok(())
    }
}

impl Visit<'_> {
    /// What is wrong with a node, in restic's words.
    fn faults(&self, node: &Node) -> Vec<String> {
        if let Some(nonsense) = nonsense(node) {
            return vec![nonsense.to_owned()];
        }
        let blobs = node.content.iter().flatten().filter(|_| node.kind == NodeKind::File);
        blobs
            .filter(|blob| !self.inventory.index.contains(BlobType::Data, blob))
            .map(|blob| format!("blob {blob} not found in index"))
            .collect()
    }
}

/// What makes no sense in a node, whatever is stored.
pub(super) fn nonsense(node: &Node) -> Option<&'static str> {
    match (node.kind, &node.content, &node.subtree) {
        (NodeKind::File, None, _) => Some("has nil blob list"),
        (NodeKind::Dir, _, None) => Some("has no subtree"),
        (NodeKind::Dir, _, Some(subtree)) if *subtree == Id::default() => Some("subtree id is null"),
        (NodeKind::Irregular, ..) => Some("has an invalid type"),
        _ => None,
    }
}
