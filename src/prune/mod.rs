//! Prune: removes what no snapshot needs. The only operation that deletes data, so the argument comes first.
//!
//! # Why nothing that is needed is ever deleted
//! 1. It runs under the exclusive lock, so nobody adds or removes anything meanwhile; the lock is asked for
//!    again before every commit and every round of deletions, and its loss ends the run.
//! 2. Needed is what *all* snapshots reach. A snapshot or a tree that cannot be read, a blob that no index
//!    lists, a needed pack that is missing or has another size than the index says: each ends the run before
//!    anything is changed.
//! 3. Lists may lie. Snapshots, indexes and packs are listed at the beginning, again before the first change,
//!    and again before the first deletion; each list must be the first one and what this run added, to the
//!    entry (`lists.rs`). No snapshots where there is data: it stops. Snapshots that the caller knows must be
//!    in the list. What seems to be damage is compared with a second list before it is called that. The
//!    requests that guards alone make are counted apart (`PruneSummary::guard_requests`).
//! 4. Nothing is overwritten, and the order is: new packs → new index files → proof → old index files → old
//!    packs. The proof (`commit.rs`) reads the new index files back from the store and finds every needed
//!    blob in a pack that is listed and stays. Old packs go only when every old index file is gone: an index
//!    that names deleted packs would make the next backup believe that it need not store their blobs.
//! 5. A blob is copied as it is sealed (one that is stored raw in version 2 is compressed first), into the
//!    buffer that is uploaded, and there opened, decompressed and hashed. The MAC alone would prove that the
//!    bytes are somebody's, not that they are this blob: an index that errs about an id would become the only
//!    truth once the old pack's header is gone.
//!
//! Whatever stops it, at any point: before the old index files go, the repository is as it was, with more
//! copies; after that, it is as it will be, with packs that no index names. The next prune finishes either.
//!
//! ```text
//! lists → index → mark → plan → lists → repack → commit → proof → lists → delete
//! ```
//!
//! # What is repacked
//! restic 0.19's choices (`plan.rs`), so that both leave the same: whole packs that nobody needs are removed,
//! partly used ones repacked, the emptiest first, until no more than `Options::unused_max` is unused; mixed
//! packs, raw trees in version 2 and small packs are repacked too.
//!
//! # Memory
//! The index, which must fit the budget before it is loaded; beside it 4 bytes and 5 bits an entry, 4 bytes a
//! blob with several copies and some 150 bytes a pack; then as many workers as the budget allows, each with a
//! pack that it fills, a range that it reads, and the longest blob twice; and where there is room, and the store is
//! far away, up to four packs that are uploaded meanwhile.
//!
//! # Why not `rustic_core`'s
//! `cargo bench --bench maintenance` on the Linux source, 50 snapshots, 5 kept, 691 MiB stored, medians of
//! three runs with two busy processors:
//! ```text
//! prune               volmover  restic 0.19.1  rustic 0.11.4 (rustic_core 0.13.0)  the same, --fast-repack
//! wall s                   7.7           40.8                                16.2                      6.4
//! cpu s                    3.1           18.2                                16.1                      3.3
//! peak MiB                 125            130                                 196                      187
//! left MiB                 318            317                                 315                      317
//! ```
//! It compresses everything anew, or with `--fast-repack` copies without a look: on a shorter history of two of
//! its folders, with a byte in every 64 KiB of the data packs flipped, that exits 0 and has deleted 32 of 43
//! packs, where the others and this one stop and have deleted none. It knows no locks, and by default keeps
//! what it marked for a day instead. Ours takes a fifth longer than its faster way, with less work of the
//! processors, every copied blob opened and hashed, and two thirds of its memory.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Error, ErrorKind, Result};
use crate::report::{Monitor, PruneSummary, RepositorySummary};
use crate::repository::index::Index;
use crate::repository::lock::Lock;
use crate::repository::reach::Bits;
use crate::repository::{Id, Repository, both, identities, in_parallel};

mod commit;
mod delete;
mod lists;
mod mark;
mod plan;
mod repack;

use commit::{IndexFiles, Proof};
use lists::Lists;
use plan::Plan;

/// Unused data that may stay.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum UnusedMax {
    /// This share of the repository after the prune, in percent.
    Percent(f64),
    /// So many bytes.
    Bytes(u64),
    /// All of it: nothing is repacked for its sake.
    Unlimited,
}

impl UnusedMax {
    /// The same in bytes, beside so many that are used.
    #[must_use]
    pub fn bytes(self, used_bytes: u64) -> u64 {
        match self {
            Self::Percent(percent) => (percent / (100.0 - percent) * used_bytes as f64) as u64,
            Self::Bytes(bytes) => bytes,
            Self::Unlimited => u64::MAX,
        }
    }
}

/// What prune is told.
#[derive(Debug, Clone)]
pub struct Options {
    /// Unused data that may stay (`MOVER_PRUNE_MAX_UNUSED`).
    pub unused_max: UnusedMax,
    /// The most bytes to repack in one run (`MOVER_PRUNE_MAX_REPACK_SIZE`).
    pub repack_bytes_max: Option<u64>,
    /// Packs below are repacked, in bytes (`MOVER_PRUNE_REPACK_SMALLER_THAN`); none: only where there are
    /// many very small ones.
    pub repack_below_bytes: Option<u64>,
    /// Where a new pack closes, in bytes (`RESTIC_PACK_SIZE`).
    pub pack_bytes: usize,
    /// Repack only packs of trees: what a cache holds, so that nothing is downloaded (`--repack-cacheable-only`).
    pub cacheable_only: bool,
    /// Compress what is stored raw in version 2 (`--repack-uncompressed`).
    pub uncompressed: bool,
    /// Snapshots that the caller knows to be there: a list that lacks one is wrong.
    pub expected: Vec<Id>,
    /// Snapshots that count as removed, in a dry run.
    pub without: Vec<Id>,
    /// Change nothing, say what would be done.
    pub dry_run: bool,
}

/// What prune works with.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The repository.
    pub repository: &'a Repository,
    /// The exclusive lock.
    pub lock: &'a Lock,
    /// Who is told.
    pub monitor: &'a dyn Monitor,
    /// Set when the run must end.
    pub stop: &'a AtomicBool,
    /// The budget for everything, in bytes.
    pub memory_bytes: u64,
    /// Threads that compute.
    pub threads: usize,
}

impl std::fmt::Debug for Context<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Context({:?})", self.repository)
    }
}

impl Context<'_> {
    fn go_on(&self) -> Result<()> {
        if self.stop.load(Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::Interrupted, "prune interrupted")
                .then("The repository is sound; the next prune finishes the work"));
        }
        Ok(())
    }

    /// A step that counts for itself.
    fn phase(&self, name: &str) {
        self.monitor.progress().reset();
        self.monitor.phase(name);
    }

    /// Before anything is committed or deleted: the lock is held, and nobody wants the end.
    fn may_change(&self) -> Result<()> {
        self.go_on()?;
        self.lock.check()
    }

    /// A store that was waited for fails because of the signal: the signal is the cause.
    fn caused<T>(&self, outcome: Result<T>) -> Result<T> {
        outcome.or_else(|error| self.go_on().and(Err(error)))
    }
}

/// An error for options that the repository cannot follow; whoever removes something first asks first.
pub fn require_fit(repository: &Repository, options: &Options) -> Result<()> {
    if options.uncompressed && repository.config().version < 2 {
        return Err(Error::usage("compression needs a repository of version 2")
            .at("--repack-uncompressed")
            .then("Nothing was changed. Leave the option out"));
    }
    Ok(())
}

/// An error unless a second list of snapshots is `expected`: for who removes some and prunes behind that.
pub fn confirm_snapshots(repository: &Repository, expected: &[Id]) -> Result<()> {
    lists::confirm_snapshots(repository, expected)
}

/// Prunes.
pub fn prune(context: &Context<'_>, options: &Options) -> Result<PruneSummary> {
    let outcome = prune_all(context, options);
    context.caused(outcome)
}

fn prune_all(context: &Context<'_>, options: &Options) -> Result<PruneSummary> {
    let Context { repository, monitor, .. } = context;
    assert!(options.dry_run || options.without.is_empty(), "only a trial leaves snapshots out");
    require_fit(repository, options)?;
    context.phase("loading snapshots and the index");
    let lists = Lists::read(repository)?;
    lists.require(&options.expected)?;
    let stays = |id: &&Id| !options.without.contains(id);
    let snapshots: Vec<Id> = lists.snapshots.iter().filter(stays).copied().collect();
    if snapshots.is_empty() {
        return without_snapshots(context, &lists, options.dry_run);
    }
    let found =
        find(context, &lists, &snapshots, options).map_err(|error| lists.explain(repository, error))?;
    let Found { index, files, used, plan, survey } = &found;
    let mut summary = PruneSummary { dry_run: options.dry_run, ..plan.summary.clone() };
    let (bytes, unused_bytes) = (Some(summary.bytes_remaining), Some(summary.bytes_unused_after));
    let surveyed = RepositorySummary { bytes, unused_bytes, ..survey.clone() };
    let replaced = files.replaced(index, plan);
    if options.dry_run {
        return Ok(summary);
    }
    if plan.changes_nothing() && replaced.files.is_empty() {
        monitor.surveyed(&surveyed);
        return Ok(summary);
    }

    // The second look at the lists, before anything changes.
    lists.confirm(repository, &[], &[])?;
    context.may_change()?;
    let by_pack = index.by_pack();
    let repacked = repack::repack(context, &by_pack, plan, options)?;
    context.phase("writing the index");
    let written = commit::write(context, &by_pack, &replaced, repacked.unindexed)?;
    let new_indexes = [repacked.indexes, written].concat();
    let proof = Proof {
        by_pack: &by_pack,
        used,
        plan,
        files,
        replaced: &replaced,
        new_packs: &repacked.packs,
        new_indexes: &new_indexes,
    };
    commit::prove(context, &proof)?;

    // The third, before anything is deleted.
    lists.confirm(repository, &new_indexes, &repacked.packs)?;
    summary.guard_requests = 2 * lists::LISTS + new_indexes.len() as u64;
    summary.index_files_written = new_indexes.len() as u64;
    summary.packs_written = repacked.packs.len() as u64;
    context.phase("deleting old index files");
    summary.index_files_deleted = delete::indexes(context, &replaced.files)?;
    context.phase("deleting old packs");
    summary.packs_deleted = delete::packs(context, &plan.obsolete(index))?;
    monitor.surveyed(&surveyed);
    Ok(summary)
}

/// What is there, what of it is needed, and what is to be done.
struct Found {
    index: Index,
    files: IndexFiles,
    used: Bits,
    plan: Plan,
    survey: RepositorySummary,
}

fn find(context: &Context<'_>, lists: &Lists, snapshots: &[Id], options: &Options) -> Result<Found> {
    let repository = context.repository;
    let kept = || {
        in_parallel(snapshots, repository.backend().connections(), |id| {
            context.go_on()?;
            repository.snapshot(id)
        })
    };
    let ((index, files), kept) = both(|| IndexFiles::load(repository, lists.indexes.clone()), kept)?;
    let roots: Vec<Id> = kept.iter().map(|snapshot| snapshot.tree).collect();
    let survey = identities::survey(kept.iter().map(|snapshot| (snapshot, None)));
    drop(kept);
    context.phase("finding data that is in use");
    let used = mark::mark(context, &index, &roots)?;
    context.phase("choosing packs");
    let plan = plan::plan(&index, &used, lists, options, repository.config().version)?;
    Ok(Found { index, files, used, plan, survey })
}

/// No snapshots: either nothing is there, or the list is wrong, or somebody removed all of them. The last two
/// look alike, and only one of them may lose everything.
fn without_snapshots(context: &Context<'_>, lists: &Lists, dry_run: bool) -> Result<PruneSummary> {
    let index = context.repository.load_index_files(lists.indexes.clone(), &|_, packs| packs)?;
    if !index.is_empty() {
        return Err(Error::new(ErrorKind::Other, "refused to prune: the list of snapshots is empty, the index is not")
            .at(context.repository.backend().location())
            .then("Nothing was changed. If all snapshots were removed on purpose, make a backup first and prune then"));
    }
    if !lists.packs.is_empty() {
        let packs = lists.packs.len();
        context.monitor.warn(&format!(
            "there is no snapshot: {packs} packs that no index names stay until there is one"
        ));
    }
    Ok(PruneSummary { dry_run, ..PruneSummary::default() })
}
