//! `backup`: a snapshot of a directory, under a shared lock.
//!
//! Order of writes: packs, then index, then the snapshot. A run that fails or is stopped leaves no snapshot,
//! and whatever packs it has indexed are used by the next. When some item could not be read, the rest is
//! saved and the snapshot tagged `partial`.

use std::collections::HashSet;
use std::path::PathBuf;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::Session;
use crate::backend::FileType;
use crate::backup::entry::NodeMaker;
use crate::backup::exclude::Excludes;
use crate::backup::parent::Ignore;
use crate::backup::plan::{self, plan};
use crate::backup::{self, Saved};
use crate::error::{Error, ErrorKind, Result};
use crate::host::{Holder, Names};
use crate::report::{BackupSummary, lines};
use crate::repository::index::Index;
use crate::repository::lock::{Lock, LockMode};
use crate::repository::snapshot::{Snapshot, SnapshotSummary};
use crate::repository::time::NodeTime;
use crate::repository::{Id, Repository};

/// The tag of a snapshot that lacks what could not be read.
pub const PARTIAL_TAG: &str = "partial";
/// A younger snapshot that is equal in every way is kept instead of making another.
const KEPT_SECONDS: i64 = 60 * 60;

/// What to back up.
#[derive(Debug)]
pub struct BackupOptions {
    /// The directory whose entries are saved (`DATA_DIR`).
    pub source: PathBuf,
    /// The host recorded and compared with (`MOVER_HOST`).
    pub host: String,
    /// The path recorded and compared with (`MOVER_PATH`).
    pub path: String,
    /// Tags of the snapshot.
    pub tags: Vec<String>,
    /// What is left out.
    pub excludes: Excludes,
    /// The patterns of it that the snapshot records.
    pub exclude_patterns: Vec<String>,
    /// What may differ in an unchanged file.
    pub ignore: Ignore,
    /// Threads that read (`RESTIC_READ_CONCURRENCY`).
    pub readers: usize,
    /// Where a pack closes, in bytes (`RESTIC_PACK_SIZE`).
    pub pack_bytes: usize,
    /// The zone of times inside trees (`TZ`).
    pub tree_zone: TimeZone,
    /// The zone of the snapshot's time (`MOVER_TZ`).
    pub zone: TimeZone,
    /// How many times fewer files or bytes than the parent's are a warning, as the share that is gone
    /// (`MOVER_MAX_SHRINK`), in percent.
    pub shrink_percent_max: Option<f64>,
    /// Store nothing.
    pub dry_run: bool,
}

/// What a backup led to.
#[derive(Debug)]
pub struct Backup {
    /// The figures.
    pub summary: BackupSummary,
    /// The source shrank by more than `shrink_percent_max`: forget must not run.
    pub shrunk: bool,
}

/// Whether a directory holds nothing to back up: no entry but `lost+found`.
pub fn is_empty(source: &std::path::Path) -> Result<bool> {
    let unreadable = |cause: std::io::Error| {
        let next = match cause.kind() {
            std::io::ErrorKind::NotFound => "Mount the volume there, or set DATA_DIR",
            std::io::ErrorKind::NotADirectory => "DATA_DIR must name a directory",
            _ => "Check the volume and its permissions",
        };
        Error::new(ErrorKind::Other, "cannot read the source")
            .at(source.display().to_string())
            .because(cause)
            .then(next)
    };
    for entry in std::fs::read_dir(source).map_err(unreadable)? {
        if entry.map_err(unreadable)?.file_name() != "lost+found" {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Backs up.
pub fn run(session: &Session<'_>, options: BackupOptions) -> Result<Backup> {
    let (host, path) = (options.host.clone(), options.path.clone());
    let read = || Known::read(session, &host, &path);
    session.locked_after(LockMode::Shared, read, |lock, known| locked(session, options, lock, known))
}

/// What a repository holds that the backup compares with: of all snapshots, which may be many, the parent.
struct Known {
    parent: Option<(Id, Snapshot)>,
    index_files: Vec<(Id, u64)>,
    index: Index,
}

impl Known {
    fn read(session: &Session<'_>, host: &str, path: &str) -> Result<Self> {
        let repository = &session.repository;
        session.monitor.phase("loading the index");
        let parent = parent(repository.snapshots()?, host, path, repository.clock().now());
        let index_files = repository.files(FileType::Index)?;
        let index = repository.load_index_files(index_files.clone(), &|_, packs| packs)?;
        Ok(Self { parent, index_files, index })
    }

    /// Whether all that the index names is still there: whoever removes packs first replaces the index files
    /// that name them.
    fn holds(&self, repository: &Repository) -> Result<bool> {
        if self.index_files.is_empty() {
            return Ok(true);
        }
        let there: HashSet<Id> = repository.ids(FileType::Index)?.into_iter().collect();
        Ok(self.index_files.iter().all(|(id, _)| there.contains(id)))
    }
}

fn locked(session: &Session<'_>, options: BackupOptions, lock: &Lock, mut known: Known) -> Result<Backup> {
    let repository = &session.repository;
    // A prune that nobody's lock stopped may have ended since.
    if !known.holds(repository)? {
        known = Known::read(session, &options.host, &options.path)?;
    }
    let Known { parent, index, .. } = known;
    let start = repository.clock().now();
    let started = repository.clock().elapsed();
    let parent_short = parent.as_ref().map(|(id, _)| id.short());
    session.monitor.line(&lines::parent(parent_short.as_deref()));
    session.monitor.phase("backup");
    let BackupOptions { source, excludes, ignore, tree_zone, .. } = options;
    let names = Names::read(std::path::Path::new("/"));
    let plan = plan(plan::Limits {
        memory_bytes: session.limits.memory_bytes,
        index_bytes: index.memory_bytes(),
        threads: session.limits.threads,
        readers: options.readers,
        connections: repository.backend().connections(),
        pack_bytes: options.pack_bytes,
    })?;
    let work =
        backup::Options { source, excludes, ignore, maker: NodeMaker { names, zone: tree_zone }, plan };
    let root = parent.as_ref().map(|(_, snapshot)| snapshot.tree);
    let saved = backup::save(repository, &index, root, &work, session.monitor, session.stop)?;

    let end = repository.clock().now();
    let at = |time: Timestamp| {
        NodeTime::from_unix(time.as_second(), time.subsec_nanosecond() as u32, &options.zone)
    };
    let figures = figures(&saved, at(start), at(end));
    let shrunk = shrunk(parent.as_ref().map(|(_, snapshot)| snapshot), &figures, options.shrink_percent_max);
    let partial = saved.counts.errors.value() > 0;
    let mut tags = options.tags;
    if partial && !tags.iter().any(|tag| tag == PARTIAL_TAG) {
        tags.push(PARTIAL_TAG.to_owned());
    }
    let (username, uid, gid) = user(&session.locks.holder);
    let snapshot = Snapshot {
        time: at(start),
        parent: parent.as_ref().map(|(id, _)| *id),
        tree: saved.tree,
        paths: vec![options.path],
        hostname: options.host,
        username,
        uid,
        gid,
        excludes: options.exclude_patterns,
        tags,
        original: None,
        program_version: concat!("volmover ", env!("CARGO_PKG_VERSION")).to_owned(),
        summary: Some(figures),
    };
    let kept = parent.filter(|(_, parent)| is_kept(parent, &snapshot, start)).map(|(id, _)| id);
    // A forget beside this run may have removed it meanwhile.
    let kept = kept.filter(|id| repository.backend().stat(FileType::Snapshot, &id.hex()).is_ok());
    let snapshot_id = match kept {
        _ if options.dry_run => None,
        Some(id) => Some(id),
        None => {
            lock.check()?;
            Some(repository.write_unpacked(FileType::Snapshot, &snapshot.encode())?)
        }
    };
    let duration = repository.clock().elapsed().saturating_sub(started);
    let summary = BackupSummary {
        snapshot_id: snapshot_id.map(|id| id.hex()),
        kept_existing: kept.is_some(),
        dry_run: options.dry_run,
        shrunk,
        parent: parent_short,
        total_duration: duration.as_secs_f64(),
        ..summary(&saved, snapshot.summary.as_ref())
    };
    Ok(Backup { summary, shrunk })
}

/// The newest snapshot of the same host and path, not from the future.
fn parent(snapshots: Vec<(Id, Snapshot)>, host: &str, path: &str, now: Timestamp) -> Option<(Id, Snapshot)> {
    let now = (now.as_second(), now.subsec_nanosecond() as u32);
    snapshots
        .into_iter()
        .filter(|(_, snapshot)| snapshot.hostname == host || host == "*")
        .filter(|(_, snapshot)| snapshot.paths == [path])
        .filter(|(_, snapshot)| snapshot.time.instant() <= now)
        .max_by_key(|(id, snapshot)| (snapshot.time.instant(), *id))
}

/// A retried job does not pile up snapshots: an equal one of the last hour is kept as it is.
fn is_kept(parent: &Snapshot, new: &Snapshot, now: Timestamp) -> bool {
    let (seconds, _) = parent.time.instant();
    now.as_second() - seconds < KEPT_SECONDS
        && parent.tree == new.tree
        && parent.hostname == new.hostname
        && parent.paths == new.paths
        && parent.tags == new.tags
}

/// Without a passwd entry a snapshot names no user, as restic's.
fn user(holder: &Holder) -> (String, u32, u32) {
    match holder.username.as_str() {
        "" => (String::new(), 0, 0),
        name => (name.to_owned(), holder.uid, holder.gid),
    }
}

fn figures(saved: &Saved, start: NodeTime, end: NodeTime) -> SnapshotSummary {
    let (counts, added) = (&saved.counts, &saved.added);
    SnapshotSummary {
        backup_start: start,
        backup_end: end,
        files_new: counts.files.new.value(),
        files_changed: counts.files.changed.value(),
        files_unmodified: counts.files.unmodified.value(),
        dirs_new: counts.dirs.new.value(),
        dirs_changed: counts.dirs.changed.value(),
        dirs_unmodified: counts.dirs.unmodified.value(),
        data_blobs: added.data_blobs.value(),
        tree_blobs: added.tree_blobs.value(),
        data_added: added.bytes.value(),
        data_added_packed: added.packed_bytes.value(),
        total_files_processed: counts.files_processed.value(),
        total_bytes_processed: counts.bytes_processed.value(),
    }
}

fn summary(saved: &Saved, figures: Option<&SnapshotSummary>) -> BackupSummary {
    let Some(figures) = figures else { return BackupSummary::default() };
    BackupSummary {
        files_new: figures.files_new,
        files_changed: figures.files_changed,
        files_unmodified: figures.files_unmodified,
        dirs_new: figures.dirs_new,
        dirs_changed: figures.dirs_changed,
        dirs_unmodified: figures.dirs_unmodified,
        data_blobs: figures.data_blobs,
        tree_blobs: figures.tree_blobs,
        data_added: figures.data_added,
        data_added_packed: figures.data_added_packed,
        total_files_processed: figures.total_files_processed,
        total_bytes_processed: figures.total_bytes_processed,
        backup_start: figures.backup_start.to_string(),
        backup_end: figures.backup_end.to_string(),
        errors: saved.counts.errors.value(),
        ..BackupSummary::default()
    }
}

/// Whether files or bytes shrank by more than `percent_max` against the parent.
fn shrunk(parent: Option<&Snapshot>, figures: &SnapshotSummary, percent_max: Option<f64>) -> bool {
    let (Some(percent_max), Some(before)) = (percent_max, parent.and_then(|parent| parent.summary.as_ref()))
    else {
        return false;
    };
    let is_less = |before: u64, after: u64| (after as f64) < before as f64 * (1.0 - percent_max / 100.0);
    is_less(before.total_files_processed, figures.total_files_processed)
        || is_less(before.total_bytes_processed, figures.total_bytes_processed)
}
