//! Reads a snapshot as a restore does, and writes nothing: every tree, and every blob or a sample of the files.
//!
//! What was read was opened and has the hash of its id, so it would restore. A failed item is told and counted
//! and the rest goes on; only what makes going on senseless (a store out of reach, a signal) is an error here.
//! A sample is of files, never of none, and the same seed takes the same files.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::flow::{Flow, Work};
use super::plan::{Batch, Use, What};
use super::run::{Failed, Run, Trouble, VERIFY, lock};
use super::scan::Scan;
use super::{Overwrite, RestoreOptions, XattrFilter};
use crate::error::{Error, Result};
use crate::pattern::Patterns;
use crate::report::{Count, Monitor};
use crate::repository::index::Index;
use crate::repository::snapshot::Snapshot;
use crate::repository::{Id, Repository};

/// Which files are read: those that a seed chooses.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// The share of the files, in percent.
    pub percent: f64,
    /// What chooses them.
    pub seed: u64,
}

/// The machine's share of a reading.
#[derive(Debug, Clone, Copy)]
pub struct Means {
    /// Workers.
    pub threads: usize,
    /// Requests at once.
    pub connections: usize,
    /// The budget for the plan and for data in flight, in bytes; the index is not part of it.
    pub memory_bytes: u64,
}

/// What came of a reading.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Streamed {
    /// Entries of every kind, directories too.
    pub entries: u64,
    /// Regular files, each name counted.
    pub files: u64,
    /// Bytes of all files' content; a file with several names counts once.
    pub bytes: u64,
    /// Files that were read.
    pub files_read: u64,
    /// Bytes of content that were read.
    pub bytes_read: u64,
    /// Items that failed.
    pub failed: u64,
    /// The first of them.
    pub failures: Vec<Failed>,
    /// What the reading comes to when any failed.
    pub error: Option<Error>,
}

/// Entries that are planned at once, in bytes: nothing waits for the whole plan, and what lies close together is
/// stored close together.
const BATCH_BYTES_MAX: u64 = 12 << 20;

/// Reads `snapshot`, all of it or a sample.
pub fn stream(
    repository: &Arc<Repository>,
    index: &Index,
    snapshot: &Snapshot,
    sample: Option<Sample>,
    means: Means,
    monitor: &dyn Monitor,
    stop: &AtomicBool,
) -> Result<Streamed> {
    let options = reading(means);
    let (run, include) = (Run::new(monitor, stop, &VERIFY), Patterns::default());
    let mut scan = Scan::new(&run, repository, index, &options, &include, None, snapshot.tree);
    let batch_bytes_max = (means.memory_bytes / 4).clamp(64 << 10, BATCH_BYTES_MAX);
    monitor.phase("reading trees");
    let mut found = Streamed::default();
    let mut batch = scan.first_batch(batch_bytes_max)?;
    monitor.progress().totals_final.set(1);
    monitor.phase("verifying");
    let mut chosen = Chosen::new(sample);
    let bytes_read = Count::default();
    loop {
        found.count(&batch);
        chosen.cut(&mut batch, &scan);
        read(&run, repository, index, &options, &scan, &mut batch, &bytes_read);
        run.check()?;
        match scan.next_batch(batch_bytes_max)? {
            Some(next) => batch = next,
            None => break,
        }
    }
    if let Some(mut batch) = chosen.at_least_one() {
        read(&run, repository, index, &options, &scan, &mut batch, &bytes_read);
        run.check()?;
    }
    found.entries = monitor.progress().files_total.value();
    found.files_read = chosen.files;
    found.bytes_read = bytes_read.value();
    found.failed = run.failed_items();
    found.failures = run.named_failures();
    found.error = run.outcome().err();
    run.check()?;
    Ok(found)
}

/// A restore that goes nowhere.
pub(super) fn reading(means: Means) -> RestoreOptions {
    RestoreOptions {
        target: PathBuf::new(),
        subfolder: None,
        delete: false,
        include: Vec::new(),
        overwrite: Overwrite::Always,
        // A hole needs no data, but here it is the data that is asked for.
        sparse: false,
        space_check: false,
        xattrs: XattrFilter::None,
        threads: means.threads,
        connections: means.connections,
        memory_bytes: means.memory_bytes,
        dry_run: true,
    }
}

impl Streamed {
    fn count(&mut self, batch: &Batch) {
        for entry in &batch.entries {
            match entry.what {
                What::File { bytes } => {
                    self.files += 1;
                    self.bytes += bytes;
                }
                What::Link { .. } => self.files += 1,
                What::Symlink { .. } | What::Device { .. } | What::Fifo => {}
            }
        }
    }
}

/// Which files of a batch are read.
struct Chosen {
    sample: Option<Sample>,
    files: u64,
    /// The blobs of the file that is next in line, should none be chosen.
    nearest: Option<(u64, Vec<Use>)>,
}

impl Chosen {
    fn new(sample: Option<Sample>) -> Self {
        Self { sample, files: 0, nearest: None }
    }

    /// Takes the blobs of files that are not chosen out of a batch.
    fn cut(&mut self, batch: &mut Batch, scan: &Scan<'_>) {
        let Some(sample) = self.sample else {
            self.files += batch.entries.iter().filter(|entry| entry.uses > 0).count() as u64;
            return;
        };
        let limit = (sample.percent / 100.0 * u64::MAX as f64) as u64;
        let mut keep = vec![false; batch.entries.len()];
        let (mut nearest, mut first_use) = (None, 0);
        for (keep, entry) in keep.iter_mut().zip(&batch.entries) {
            let uses = first_use..first_use + entry.uses as usize;
            first_use = uses.end;
            if uses.is_empty() {
                continue;
            }
            let draw = draw(sample.seed, &scan.dirs.path(entry.dir, batch.name(entry)));
            *keep = draw <= limit;
            self.files += u64::from(*keep);
            if nearest.as_ref().is_none_or(|(other, _)| draw < *other) {
                nearest = Some((draw, uses));
            }
        }
        let nearer = nearest.filter(|(draw, _)| self.nearest.as_ref().is_none_or(|(other, _)| draw < other));
        if let Some((draw, uses)) = nearer.filter(|_| self.files == 0) {
            self.nearest = Some((draw, batch.uses.get(uses).unwrap_or_default().to_vec()));
        }
        batch.uses.retain(|blob| keep.get(blob.entry as usize).copied().unwrap_or(false));
    }

    /// A batch of one file, when no other was read.
    fn at_least_one(&mut self) -> Option<Batch> {
        if self.files > 0 {
            return None;
        }
        let (_, uses) = self.nearest.take()?;
        self.files = 1;
        Some(Batch { uses, ..Batch::default() })
    }
}

/// A number that seed and path decide.
fn draw(seed: u64, path: &[u8]) -> u64 {
    let id = Id::of(&[&seed.to_le_bytes(), path].concat());
    id.0.first_chunk::<8>().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// Reads the blobs of a batch.
fn read(
    run: &Run<'_>,
    repository: &Repository,
    index: &Index,
    options: &RestoreOptions,
    scan: &Scan<'_>,
    batch: &mut Batch,
    bytes_read: &Count,
) {
    batch.uses.sort_unstable_by_key(|blob| (blob.pack, blob.offset, blob.entry, blob.position));
    let told = std::sync::Mutex::new(std::collections::HashSet::new());
    let flow = Flow { run, repository, index, options };
    let batch = &*batch;
    flow.run(&batch.uses, || Reading { run, index, scan, batch, bytes_read, told: &told });
}

/// A worker that only counts: what was handed to it is right.
struct Reading<'a> {
    run: &'a Run<'a>,
    index: &'a Index,
    scan: &'a Scan<'a>,
    batch: &'a Batch,
    bytes_read: &'a Count,
    /// Entries whose failure was told.
    told: &'a std::sync::Mutex<std::collections::HashSet<u32>>,
}

impl Reading<'_> {
    fn path(&self, blob: &Use) -> String {
        match self.batch.entry(blob.entry) {
            Some(entry) => self.scan.dirs.path_text(entry.dir, self.batch.name(entry)),
            None => format!("a file of the sample, blob {}", blob.id(self.index).short()),
        }
    }
}

impl Work for Reading<'_> {
    fn unit(&mut self, first: &Use) {
        self.run.monitor.working_on(&self.path(first));
    }

    fn blob(&mut self, uses: &[Use], plain: std::result::Result<&[u8], &Trouble>) {
        for blob in uses {
            match plain {
                Ok(plain) => {
                    self.bytes_read.add(plain.len() as u64);
                    self.run.monitor.progress().bytes_done.add(plain.len() as u64);
                }
                Err(trouble) if lock(self.told).insert(blob.entry) => {
                    self.run.item_failed(&self.path(blob), trouble.clone());
                }
                Err(_) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_draws_the_same_and_another_seed_draws_others() {
        let share = |seed: u64| {
            let limit = u64::MAX / 4;
            (0..4000_u32).filter(|n| draw(seed, &n.to_le_bytes()) <= limit).collect::<Vec<_>>()
        };
        assert_eq!(share(1), share(1));
        assert_ne!(share(1), share(2));
        assert!((800..1200).contains(&share(1).len()), "{}", share(1).len());
    }
}
