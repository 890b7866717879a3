//! The largest folders of each identity's newest snapshot, and those that new data came into.
//!
//! Sizes come from the walk that counted everything; read again are only the trees on the way to what is shown, so
//! the work is bounded whatever a repository holds. A folder stands back for those below it where one of them has
//! most of it, and where there is room to show them all.

use std::sync::atomic::Ordering;

use super::super::Session;
use super::super::stats::figures::Graph;
use super::super::stats::{SnapshotStats, Stats};
use super::identities::Identity;
use crate::error::{Error, ErrorKind, Result};
use crate::repository::index::Index;
use crate::repository::json::lossy;
use crate::repository::tree::{Node, Tree};
use crate::repository::{Id, Repository, in_parallel};

/// Folders that are shown of each.
pub(super) const SHOWN: usize = 8;
/// Trees that are read of one identity, for each of the two lists.
const READ_MAX: usize = 24;
/// Identities whose folders are measured: those with most data.
pub(super) const MEASURED: usize = 50;
/// So far back new data is looked for, in seconds: a week.
const SPAN_SECONDS: i64 = 7 * 86_400;

/// Folders of one identity.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Folders {
    /// The largest of the newest snapshot, by the sizes of their files.
    pub largest: Vec<Folder>,
    /// Those with most data that the snapshot of `since` does not have, as stored.
    pub changing: Vec<Folder>,
    /// The snapshot that the newest is compared with; `None`: there is only one.
    pub since: Option<usize>,
    /// All new data, as stored.
    pub changed_bytes: u64,
}

/// A folder.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Folder {
    /// Its path within the snapshot.
    pub path: String,
    /// Bytes.
    pub bytes: u64,
}

/// Measures the folders of those identities that hold most.
pub(super) fn measure(
    session: &Session<'_>,
    index: &Index,
    graph: &Graph<'_>,
    stats: &Stats,
    identities: &mut [Identity],
) -> Result<()> {
    let mut wanted: Vec<&mut Identity> = identities.iter_mut().collect();
    wanted.sort_by_key(|identity| std::cmp::Reverse(identity.stored_bytes));
    wanted.truncate(MEASURED);
    let reader = Reader { repository: &session.repository, index };
    let connections = session.repository.backend().connections();
    let measured = in_parallel(&wanted, connections, |identity| {
        if session.stop.load(Ordering::Relaxed) {
            return Err(Error::new(ErrorKind::Interrupted, "interrupted while measuring folders"));
        }
        of_identity(&reader, graph, stats, identity)
    })?;
    for (identity, folders) in wanted.into_iter().zip(measured) {
        identity.folders = folders;
    }
    Ok(())
}

fn of_identity(
    reader: &Reader<'_>,
    graph: &Graph<'_>,
    stats: &Stats,
    identity: &Identity,
) -> Result<Option<Folders>> {
    let at = |place: usize| stats.snapshots.get(place);
    let Some(newest) = identity.snapshots.last().and_then(|dated| at(dated.place)) else { return Ok(None) };
    let root = newest.snapshot.tree;
    let largest = reader.find(&root, |tree| graph.bytes_below(tree))?;
    let since = base(stats, identity, newest);
    let (mut changing, mut changed_bytes) = (Vec::new(), 0);
    if let Some(base) = since.and_then(at) {
        let added = graph.added_below(Some(&base.snapshot.tree), &root);
        changed_bytes = added.bytes_below(&root);
        changing = reader.find(&root, |tree| added.bytes_below(tree))?;
    }
    Ok(Some(Folders { largest, changing, since, changed_bytes }))
}

/// The oldest snapshot of the last week, else the one before the newest.
fn base(stats: &Stats, identity: &Identity, newest: &SnapshotStats) -> Option<usize> {
    let (_, older) = identity.snapshots.split_last()?;
    let from = newest.snapshot.time.instant().0.saturating_sub(SPAN_SECONDS);
    let is_within =
        |place: usize| stats.snapshots.get(place).is_some_and(|one| one.snapshot.time.instant().0 >= from);
    let within = older.iter().find(|dated| is_within(dated.place));
    within.or(older.last()).map(|dated| dated.place)
}

struct Reader<'a> {
    repository: &'a Repository,
    index: &'a Index,
}

/// A folder on the way down.
struct Candidate {
    path: String,
    tree: Id,
    bytes: u64,
}

impl Reader<'_> {
    /// The folders with the most bytes, by `bytes_below`, most first.
    fn find(&self, root: &Id, bytes_below: impl Fn(&Id) -> u64) -> Result<Vec<Folder>> {
        let mut opener = self.repository.opener()?;
        let mut open = vec![Candidate { path: String::new(), tree: *root, bytes: bytes_below(root) }];
        let mut found: Vec<Folder> = Vec::new();
        let mut read = 0;
        while found.len() < SHOWN {
            let largest = (0..open.len()).max_by_key(|place| open.get(*place).map(|one| one.bytes));
            let Some(largest) = largest.map(|place| open.swap_remove(place)).filter(|one| one.bytes > 0)
            else {
                break;
            };
            let mut below = Vec::new();
            if read < READ_MAX {
                read += 1;
                match self.repository.read_tree(self.index, &largest.tree, &mut opener) {
                    Ok(tree) => below = folders_of(&tree, &largest.path, &bytes_below),
                    // The walk told of it.
                    Err(error) if error.kind == ErrorKind::Damaged => {}
                    Err(error) => return Err(error),
                }
            }
            let (all, heaviest) =
                below.iter().fold((0, 0), |(all, most), one| (all + one.bytes, one.bytes.max(most)));
            let most = largest.bytes / 10 * 7;
            let there_is_room = found.len() + open.len() + below.len() <= SHOWN;
            // The root stands for everything, which is shown elsewhere.
            let is_root = largest.path.is_empty() && !below.is_empty();
            if is_root || all > most && (heaviest > most || there_is_room) {
                open.append(&mut below);
            } else {
                let path = if largest.path.is_empty() { "/".to_owned() } else { largest.path };
                found.push(Folder { path, bytes: largest.bytes });
            }
        }
        found.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.path.cmp(&b.path)));
        Ok(found)
    }
}

fn folders_of(tree: &Tree, path: &str, bytes_below: &impl Fn(&Id) -> u64) -> Vec<Candidate> {
    let candidate = |node: &Node| {
        let tree = node.subtree?;
        Some(Candidate { path: format!("{path}/{}", lossy(&node.name)), tree, bytes: bytes_below(&tree) })
    };
    tree.nodes.iter().filter_map(candidate).collect()
}
