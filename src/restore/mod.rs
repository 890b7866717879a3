//! Restores a snapshot into a directory: select → plan → fetch → open → write → metadata.
//!
//! ```text
//! scan      trees and the target side by side → a batch of entries and blobs        (nothing is changed)
//! compare   what stands there already, blob by blob
//! fetch     ranges of packs, `connections` at once, bytes in flight within the budget
//! open      MAC, decompression, hash                                                (workers)
//! write     in place; a finished file gets its metadata at once                     (workers)
//! links, then --delete, then directories from the bottom, then one sync of the file system
//! ```
//!
//! This is the only file that knows all stages. Every failed item makes the run an error in the end; nothing
//! is ever written that was not verified, and nothing outside the target is touched.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::error::{Error, Result};
use crate::pattern::Patterns;
use crate::report::{Monitor, RestoreSummary};
use crate::repository::Repository;
use crate::repository::index::Index;
use crate::repository::snapshot::Snapshot;

mod compare;
mod delete;
mod directories;
mod fetch;
mod files;
mod flow;
mod holes;
pub(crate) mod metadata;
mod open;
pub(crate) mod plan;
pub(crate) mod run;
mod scan;
pub mod select;
mod space;
pub mod stream;
pub(crate) mod target;
mod write;

use compare::Compared;
use files::OpenFiles;
use flow::{Flow, Work};
use metadata::{Rights, Setter};
use plan::{Batch, Place, Use, What};
use run::{RESTORE, Run, Trouble, spread};
use scan::Scan;
pub use scan::subtree;
use write::{Shared, Writer};

/// What becomes of a file that stands in the target (`MOVER_OVERWRITE`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Overwrite {
    /// It gets the snapshot's content, whatever it holds.
    #[default]
    Always,
    /// The same, but one of equal size and modification time is not read.
    IfChanged,
    /// It is left alone unless the snapshot's is newer.
    IfNewer,
    /// It is left alone.
    Never,
}

/// Which extended attributes are restored (`MOVER_XATTRS`).
#[derive(Debug, Clone, Default)]
pub enum XattrFilter {
    /// All that can be set.
    #[default]
    All,
    /// None; what is there stays.
    None,
    /// Those whose names match, e.g. `user.*`.
    Matching(Patterns),
}

/// What to restore, where to, and how.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own that a user sets")]
pub struct RestoreOptions {
    /// The directory to restore into; it is made when it is missing, and may be a symlink.
    pub target: PathBuf,
    /// The folder of the snapshot whose content is restored; none: all of it.
    pub subfolder: Option<String>,
    /// Remove what the snapshot does not have.
    pub delete: bool,
    /// Restore only what matches these patterns (restic's); none: everything.
    pub include: Vec<String>,
    /// What becomes of files that stand there.
    pub overwrite: Overwrite,
    /// Write long runs of zeros as holes.
    pub sparse: bool,
    /// Compare sizes before anything is written.
    pub space_check: bool,
    /// Which extended attributes are restored.
    pub xattrs: XattrFilter,
    /// Workers.
    pub threads: usize,
    /// Requests at once.
    pub connections: usize,
    /// The budget for the plan and for data in flight, in bytes; the index is not part of it.
    pub memory_bytes: u64,
    /// Change nothing, count what would be done.
    pub dry_run: bool,
}

/// What a worker takes that opens or compares, when chunks are large, in bytes.
const WORKER_BYTES: u64 = 16 << 20;

impl RestoreOptions {
    /// Threads that open or compare: as many as were asked for, and have memory for their buffers.
    fn workers(&self) -> usize {
        let most = usize::try_from(self.memory_bytes / 4 / WORKER_BYTES).unwrap_or(usize::MAX);
        self.threads.clamp(1, most.max(1))
    }
}

/// Restores `snapshot`. Items that fail are told to `monitor`, the rest goes on, and the result is an error of
/// the kind of their cause; `stop` ends it with `Interrupted`. What was written is used by the next run.
pub fn restore(
    repository: &Arc<Repository>,
    index: &Index,
    snapshot: &Snapshot,
    options: &RestoreOptions,
    monitor: &dyn Monitor,
    stop: &AtomicBool,
) -> Result<RestoreSummary> {
    let clock = repository.clock();
    let start = clock.elapsed();
    let include = Patterns::parse(&options.include, false)
        .map_err(|error| Error::usage("invalid include pattern").because(error))?;
    let tree = match &options.subfolder {
        Some(folder) => scan::subtree(repository, index, snapshot.tree, folder)?,
        None => snapshot.tree,
    };
    let root = target::open(&options.target, !options.dry_run)?;
    let run = Run::new(monitor, stop, &RESTORE).into_target(&options.target);
    let stages = Stages { repository, index, options, run: &run, root: root.as_ref() };
    let scan = Scan::new(&run, repository, index, options, &include, root.as_ref(), tree);
    stages.restore(scan)?;
    let figures = &run.figures;
    let progress = monitor.progress();
    Ok(RestoreSummary {
        snapshot_id: None,
        files_total: progress.files_total.value().saturating_sub(figures.files_skipped.value()),
        files_restored: figures.files_restored.value(),
        files_skipped: figures.files_skipped.value(),
        files_deleted: figures.files_deleted.value(),
        bytes_total: progress.bytes_total.value().saturating_sub(figures.bytes_skipped.value()),
        bytes_restored: figures.bytes_restored.value(),
        bytes_skipped: figures.bytes_skipped.value(),
        duration: clock.elapsed().saturating_sub(start).as_secs_f64(),
    })
}

/// What every stage works with.
struct Stages<'a> {
    repository: &'a Repository,
    index: &'a Index,
    options: &'a RestoreOptions,
    run: &'a Run<'a>,
    /// None: the target does not exist, and this is a dry run.
    root: Option<&'a OwnedFd>,
}

impl<'a> Stages<'a> {
    fn restore(&self, mut scan: Scan<'a>) -> Result<()> {
        let (run, options) = (self.run, self.options);
        let batch_bytes_max = (options.memory_bytes / 4).max(64 << 10);
        run.monitor.phase("reading trees");
        let mut batch = scan.first_batch(batch_bytes_max)?;
        run.monitor.progress().totals_final.set(1);
        let work = self.root.filter(|_| !options.dry_run);
        if let Some(root) = work {
            if options.space_check {
                space::check(root, scan.needs, &options.target.display().to_string())?;
            }
            run.monitor.phase("restoring");
            directories::make(run, root, &scan.dirs, options.threads);
        }
        let setter = Setter { run, rights: Rights::of_this_process(), filter: &options.xattrs };
        loop {
            self.carry_out(&scan, batch, &setter)?;
            match scan.next_batch(batch_bytes_max)? {
                Some(next) => batch = next,
                None => break,
            }
        }
        if let Some(root) = self.root.filter(|_| options.delete) {
            delete::extras(run, root, &scan.dirs, &scan.extras, options.dry_run);
        }
        match work {
            Some(root) => {
                directories::finish(run, root, &scan.dirs, &setter, options.threads);
                run.check()?;
                sync(root, options)?;
            }
            None => self
                .run
                .figures
                .files_restored
                .add(scan.dirs.wanted_levels().iter().map(Vec::len).sum::<usize>() as u64),
        }
        run.outcome()
    }

    fn carry_out(&self, scan: &Scan<'_>, mut batch: Batch, setter: &Setter<'_>) -> Result<()> {
        let (run, options) = (self.run, self.options);
        if let Some(root) = self.root {
            let setter = Some(setter).filter(|_| !options.dry_run);
            let compared = Compared { run, root, index: self.index, dirs: &scan.dirs, batch: &batch, setter };
            let matching = compared.matching(options.workers());
            run.check()?;
            self.drop_what_stands(&mut batch, &matching);
        } else {
            self.drop_what_stands(&mut batch, &[]);
        }
        batch.uses.sort_unstable_by_key(|blob| (blob.pack, blob.offset, blob.entry, blob.position));
        match self.root.filter(|_| !options.dry_run) {
            Some(root) => self.write(scan, &batch, root, setter)?,
            None => self.count(&batch),
        }
        run.check()
    }

    /// Takes out what needs no data: blobs that stand in the target, and holes of new files.
    fn drop_what_stands(&self, batch: &mut Batch, matching: &[bool]) {
        let (run, options) = (self.run, self.options);
        let entries = &mut batch.entries;
        // A file with other names that is not right as it stands is not written through: it makes room.
        for entry in entries.iter_mut().filter(|entry| entry.standing_shared) {
            if entry.standing_bytes != entry.bytes() {
                entry.place = Place::Taken;
            }
        }
        for (place, blob) in batch.uses.iter().enumerate() {
            let differs = !matching.get(place).copied().unwrap_or(false);
            if let Some(entry) = entries.get_mut(blob.entry as usize).filter(|entry| entry.standing_shared)
                && differs
            {
                entry.place = Place::Taken;
            }
        }
        let mut place = 0;
        batch.uses.retain(|blob| {
            let matches = matching.get(place).copied().unwrap_or(false);
            place += 1;
            let Some(entry) = entries.get(blob.entry as usize) else { return false };
            let stands = matches && entry.place == Place::Usable;
            let is_hole = options.sparse
                && entry.place != Place::Usable
                && holes::is_hole(blob.plain_bytes(), || blob.id(self.index));
            if stands || is_hole {
                run.monitor.progress().bytes_done.add(blob.plain_bytes());
                return false;
            }
            entry.pending.fetch_add(1, Ordering::Relaxed);
            true
        });
    }

    /// A dry run's figures.
    fn count(&self, batch: &Batch) {
        for entry in &batch.entries {
            let stands = entry.place == Place::Usable
                && entry.pending.load(Ordering::Relaxed) == 0
                && entry.standing_bytes == entry.bytes();
            let figures = &self.run.figures;
            let (files, bytes) = if stands {
                (&figures.files_skipped, &figures.bytes_skipped)
            } else {
                (&figures.files_restored, &figures.bytes_restored)
            };
            files.add(1);
            bytes.add(entry.bytes());
        }
    }

    /// All blobs of one batch and what needs none, then its hard links.
    fn write(&self, scan: &Scan<'_>, batch: &Batch, root: &OwnedFd, setter: &Setter<'_>) -> Result<()> {
        let (run, options) = (self.run, self.options);
        let (dirs, links) = (&scan.dirs, &scan.links);
        let shared = Shared { run, root, options, dirs, links, batch, setter, files: OpenFiles::default() };
        let simple: Vec<u32> = numbers(batch, |entry| {
            let needs_no_data = entry.pending.load(Ordering::Relaxed) == 0;
            needs_no_data && !matches!(entry.what, What::Link { .. }) && !entry.done.load(Ordering::Relaxed)
        });
        let next_simple = AtomicUsize::new(0);
        let flow = Flow { run, repository: self.repository, index: self.index, options };
        flow.run(&batch.uses, || Filling {
            shared: &shared,
            writer: Writer::new(&shared),
            simple: &simple,
            next_simple: &next_simple,
        });
        run.check()?;
        let links = numbers(batch, |entry| matches!(entry.what, What::Link { .. }));
        let writer = || Writer::new(&shared);
        spread(run, &links, options.threads, writer, |writer, number| {
            batch.entry(*number).map(|entry| writer.entry(entry))
        });
        Ok(())
    }
}

/// A worker that writes: entries that need no data first, while the first data arrives; then data.
struct Filling<'a> {
    shared: &'a Shared<'a>,
    writer: Writer<'a>,
    simple: &'a [u32],
    next_simple: &'a AtomicUsize,
}

impl Work for Filling<'_> {
    fn begin(&mut self) {
        while let Some(number) = flow::next(self.shared.run, self.simple, self.next_simple) {
            if let Some(entry) = self.shared.batch.entry(*number) {
                self.writer.entry(entry);
            }
        }
    }

    fn unit(&mut self, first: &Use) {
        let shared = self.shared;
        if let Some(entry) = shared.batch.entry(first.entry) {
            shared.run.monitor.working_on(&shared.dirs.path_text(entry.dir, shared.batch.name(entry)));
        }
    }

    fn is_busy(&self, uses: &[Use]) -> bool {
        matches!(uses, [blob] if self.shared.files.is_written(blob.entry))
    }

    fn blob(&mut self, uses: &[Use], plain: std::result::Result<&[u8], &Trouble>) {
        self.writer.blob(uses, plain);
    }
}

fn numbers(batch: &Batch, wanted: impl Fn(&plan::Entry) -> bool) -> Vec<u32> {
    let all = batch.entries.iter().enumerate();
    all.filter(|(_, entry)| wanted(entry)).map(|(number, _)| number as u32).collect()
}

/// All of the target's file system reaches the disk: one call instead of one a file.
fn sync(root: &OwnedFd, options: &RestoreOptions) -> Result<()> {
    rustix::fs::syncfs(root).map_err(|errno| {
        let trouble = run::Trouble::system("bring the restored files to the disk", errno);
        Error::new(trouble.kind, "restore failed")
            .at(options.target.display().to_string())
            .because(trouble.cause)
            .then("Look at the disk, then run restore again")
    })
}
