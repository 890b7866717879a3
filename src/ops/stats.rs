//! `stats`: sizes of a repository and of its snapshots, under a shared lock.
//!
//! One reading of the index and one walk of the trees give what restic tells in three modes (restore-size,
//! files-by-contents, raw-data), and besides: packs, duplicates, what nothing needs, and for each snapshot
//! what it added to the older ones. It sees everything and filters only by what is set. A tree that cannot
//! be read is an error: figures without it would be wrong.

pub(super) mod figures;
pub(super) mod form;

use jiff::tz::TimeZone;

use super::Session;
use crate::backend::{FileType, Listed};
use crate::error::{Error, ErrorKind, Result};
use crate::report::RepositorySummary;
use crate::repository::index::Index;
use crate::repository::lock::LockMode;
use crate::repository::snapshot::Snapshot;
use crate::repository::{Id, identities, reach};
use crate::restore::select::{Filter, Selection, select};
use crate::restore::subtree;

use figures::{Collected, Graph, OnBroken};

/// Of which snapshots, and in which form.
#[derive(Debug, Clone)]
pub struct StatsOptions {
    /// One snapshot only.
    pub selection: Option<Selection>,
    /// Of that, only this folder (restic's `ID:folder`).
    pub subfolder: Option<String>,
    /// Only snapshots that this accepts; an explicit id is never filtered.
    pub filter: Filter,
    /// One JSON object instead of text.
    pub json: bool,
    /// The zone of times in the table.
    pub zone: TimeZone,
}

/// All figures. Sizes are in bytes.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Stats {
    /// The snapshots counted, oldest first.
    pub snapshots: Vec<SnapshotStats>,
    /// Restoring each of them takes so much: the sum of `SnapshotStats::restore_bytes`.
    pub restore_bytes: u64,
    /// Entries of all of them.
    pub entries: u64,
    /// Files with distinct content.
    pub distinct_files: u64,
    /// Their sizes.
    pub distinct_bytes: u64,
    /// Blobs that they need, each once.
    pub needed: Blobs,
    /// The repository as a whole.
    pub whole: Whole,
}

/// One snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SnapshotStats {
    /// Its id.
    pub id: Id,
    /// What it is of.
    pub snapshot: Snapshot,
    /// What a restore of it takes; hard links count once.
    pub restore_bytes: u64,
    /// Files, directories and all else.
    pub entries: u64,
    /// Blobs that none of the older snapshots counted needs, as stored.
    pub added_bytes: u64,
}

/// A set of blobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Blobs {
    /// How many.
    pub count: u64,
    /// As stored: sealed, without headers of packs.
    pub stored_bytes: u64,
    /// Before compression, with what sealing adds, as restic counts.
    pub plain_bytes: u64,
    /// Those that are compressed, as stored.
    pub compressed_stored_bytes: u64,
    /// Those that are compressed, before compression.
    pub compressed_plain_bytes: u64,
}

/// The repository, whatever snapshots are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Whole {
    /// Format version.
    pub version: u32,
    /// Pack files in the store.
    pub packs: u64,
    /// Their sizes.
    pub pack_bytes: u64,
    /// Blobs of the index, duplicates counted.
    pub blobs: u64,
    /// Of these, copies of blobs that are stored elsewhere too.
    pub duplicates: u64,
    /// The copies, as stored.
    pub duplicate_bytes: u64,
    /// What no snapshot needs, as stored, duplicates included; `None` unless all snapshots were counted.
    pub unused: Option<(u64, u64)>,
}

impl Stats {
    /// What metrics tell of a repository whose snapshots were all counted.
    #[must_use]
    pub fn survey(&self) -> RepositorySummary {
        let each = self.snapshots.iter().map(|one| (&one.snapshot, Some(one.added_bytes)));
        RepositorySummary {
            bytes: Some(self.whole.pack_bytes),
            unused_bytes: self.whole.unused.map(|(_, bytes)| bytes),
            ..identities::survey(each)
        }
    }
}

/// The figures in their form: text or JSON.
pub fn run(session: &Session<'_>, options: &StatsOptions) -> Result<String> {
    let stats = stats(session, options)?;
    if options.selection.is_none() && options.subfolder.is_none() && options.filter == Filter::default() {
        session.monitor.surveyed(&stats.survey());
    }
    Ok(if options.json { form::json(&stats) } else { form::text(&stats, &options.zone) })
}

/// The figures.
pub fn stats(session: &Session<'_>, options: &StatsOptions) -> Result<Stats> {
    session.locked(LockMode::Shared, |_| {
        let repository = &session.repository;
        let all = repository.snapshots()?;
        let count = all.len();
        let mut counted = match &options.selection {
            Some(selection) => Vec::from_iter(select(&all, selection, &options.filter)?),
            None => all.into_iter().filter(|(_, snapshot)| options.filter.accepts(snapshot)).collect(),
        };
        counted.sort_by_key(|(id, snapshot)| (snapshot.time.instant(), *id));
        session.monitor.phase("loading the index");
        let index = repository.load_index()?;
        if let Some(folder) = &options.subfolder {
            for (_, snapshot) in &mut counted {
                snapshot.tree = subtree(repository, &index, snapshot.tree, folder)?;
            }
        }
        let packs = repository.backend().list(FileType::Pack)?;
        let all_counted = count == counted.len() && options.subfolder.is_none();
        let (stats, _) = count_all(session, &index, &packs, counted, all_counted, &Err)?;
        Ok(stats)
    })
}

/// The figures of these snapshots, given oldest first, and the graph that they were taken from. `broken` is told
/// of what cannot be read: where it returns no error, the figures are of the rest.
pub(super) fn count_all<'a>(
    session: &Session<'_>,
    index: &'a Index,
    packs: &[Listed],
    snapshots: Vec<(Id, Snapshot)>,
    are_all: bool,
    broken: OnBroken<'_>,
) -> Result<(Stats, Graph<'a>)> {
    let repository = &session.repository;
    let room = session.limits.memory_bytes.saturating_sub(index.memory_bytes());
    session.monitor.phase("reading trees");
    let roots: Vec<Id> = snapshots.iter().map(|(_, snapshot)| snapshot.tree).collect();
    let collected = Collected::new(index, room, broken);
    reach::walk(repository, index, &roots, session.limits.threads, &collected, session.stop)?;
    let mut graph = collected.finish();
    let mut stats = Stats::default();
    graph.add_up(snapshots, &mut stats, broken)?;
    stats.whole = whole(index, are_all.then_some(stats.needed));
    stats.whole.version = repository.config().version;
    stats.whole.packs = packs.len() as u64;
    stats.whole.pack_bytes = packs.iter().map(|pack| pack.bytes).sum();
    Ok((stats, graph))
}

fn whole(index: &Index, needed: Option<Blobs>) -> Whole {
    let mut whole = Whole { blobs: index.len() as u64, ..Whole::default() };
    let (mut last, mut bytes) = (None, 0);
    for entry in index.iter() {
        let length = u64::from(entry.extent.length);
        bytes += length;
        if last == Some((entry.id, entry.kind)) {
            whole.duplicates += 1;
            whole.duplicate_bytes += length;
        }
        last = Some((entry.id, entry.kind));
    }
    let left = |all: u64, used: u64| all.saturating_sub(used);
    whole.unused = needed.map(|needed| (left(whole.blobs, needed.count), left(bytes, needed.stored_bytes)));
    whole
}

fn too_large(bytes: u64) -> Error {
    Error::new(ErrorKind::Other, "the memory budget is too small")
        .because(format!("the trees of all snapshots take {} MiB", bytes >> 20))
        .then("Raise MOVER_MEMORY, or count fewer snapshots with MOVER_SNAPSHOT, MOVER_HOST or MOVER_PATH")
}
