//! Proves that a snapshot would restore, and says how it knows: content, then conditions, each a check.
//!
//! ```text
//! content   every tree and blob streamed (or a sample of files)  |  a restore into a scratch directory, read back
//! checks    max-age  min-files  min-bytes  sha256sums
//! live      differences to a directory, told and not judged: live data goes on after a backup
//! ```
//! A snapshot that fails is a result, not an error: the report must tell of it. An error here means that
//! nothing was learned: the store is out of reach, the scratch directory is full, a signal came.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::report::{Monitor, format};
use crate::repository::index::Index;
use crate::repository::snapshot::Snapshot;
use crate::repository::{Id, Repository};
use crate::restore::run::{Failed, Run, VERIFY};
use crate::restore::stream::{Means, Sample, stream};
use crate::restore::{self, RestoreOptions, XattrFilter};

mod compare;
mod content;
pub mod report;
mod rules;
mod scratch;
mod sums;

use compare::Comparing;
pub use compare::{Compared, Difference};
use rules::Rules;
use scratch::Scratch;
pub use sums::Sums;

/// What is asked of a snapshot.
#[derive(Debug, Clone)]
pub struct VerifyOptions {
    /// A directory to restore into, and whether what was restored stays there.
    pub scratch: Option<(PathBuf, bool)>,
    /// A live directory to compare with.
    pub live: Option<PathBuf>,
    /// The oldest that the snapshot may be.
    pub max_age: Option<Duration>,
    /// Regular files that it must have.
    pub min_files: Option<u64>,
    /// Bytes of content that it must have.
    pub min_bytes: Option<u64>,
    /// Sums that its files must have.
    pub sums: Option<Sums>,
    /// Read a part of the files alone.
    pub sample: Option<Sample>,
    /// How the scratch directory is written; its target is not used.
    pub restore: RestoreOptions,
}

/// One question and its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// `content`, `max-age`, `min-files`, `min-bytes`, `sha256sums`
    pub name: &'static str,
    /// Whether it holds.
    pub passed: bool,
    /// How it is known, or what is wrong, in one line.
    pub detail: String,
}

/// What came of one snapshot.
#[derive(Debug, Clone, PartialEq)]
pub struct Verified {
    /// The snapshot.
    pub id: Id,
    /// What it says of itself.
    pub snapshot: Snapshot,
    /// Its age in seconds when it was verified.
    pub age_seconds: i64,
    /// Regular files in it, and bytes of their content.
    pub files: u64,
    /// Bytes of its content.
    pub bytes: u64,
    /// The checks, content first.
    pub checks: Vec<Check>,
    /// Items that failed, and how many.
    pub failures: Vec<Failed>,
    /// How many.
    pub failures_total: u64,
    /// The live directory beside it.
    pub live: Option<Compared>,
    /// The failure of the content, with its kind.
    pub error: Option<Error>,
    /// Seconds that it took.
    pub seconds: f64,
}

impl Verified {
    /// Whether all holds.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.checks.iter().all(|check| check.passed)
    }

    /// What the process is to fail with: damage before conditions.
    #[must_use]
    pub fn outcome(&self) -> Option<Error> {
        if let Some(error) = &self.error {
            return Some(error.clone());
        }
        let broken: Vec<String> = self
            .checks
            .iter()
            .filter(|check| !check.passed)
            .map(|check| format!("{}: {}", check.name, check.detail))
            .collect();
        (!broken.is_empty()).then(|| {
            Error::new(ErrorKind::Condition, "a condition of verify is broken")
                .at(format!("snapshot {}", self.id.short()))
                .because(broken.join("; "))
                .then("Look at the last backups of this source, and whether the right one is verified")
        })
    }
}

/// What a verify works with.
pub struct Verify<'a> {
    /// The repository.
    pub repository: &'a Arc<Repository>,
    /// Its index.
    pub index: &'a Index,
    /// What is asked.
    pub options: &'a VerifyOptions,
    /// The machine's share.
    pub means: Means,
    /// Who is told.
    pub monitor: &'a dyn Monitor,
    /// Set when the run must end.
    pub stop: &'a AtomicBool,
}

impl std::fmt::Debug for Verify<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Verify({:?})", self.repository)
    }
}

/// What is known of the content of a snapshot.
#[derive(Default)]
struct Known {
    files: u64,
    bytes: u64,
    detail: String,
    failures: Vec<Failed>,
    failures_total: u64,
    error: Option<Error>,
}

impl Verify<'_> {
    /// Verifies one snapshot.
    pub fn run(&self, id: Id, snapshot: &Snapshot) -> Result<Verified> {
        let clock = self.repository.clock();
        let start = clock.elapsed();
        let known = match &self.options.scratch {
            Some((path, keep)) => self.restored(snapshot, path, *keep)?,
            None => self.streamed(snapshot)?,
        };
        let content = Check { name: "content", passed: known.error.is_none(), detail: known.detail.clone() };
        let age_seconds = clock.now().as_second() - snapshot.time.instant().0;
        let mut checks = vec![content];
        checks.extend(self.conditions(&known, age_seconds));
        checks.extend(self.sums(snapshot)?);
        Ok(Verified {
            id,
            snapshot: snapshot.clone(),
            age_seconds,
            files: known.files,
            bytes: known.bytes,
            checks,
            failures: known.failures,
            failures_total: known.failures_total,
            live: self.options.live.as_deref().map(|path| self.live(snapshot, path)).transpose()?,
            error: known.error,
            seconds: clock.elapsed().saturating_sub(start).as_secs_f64(),
        })
    }

    /// Every tree and every blob, or those of a sample.
    fn streamed(&self, snapshot: &Snapshot) -> Result<Known> {
        let sample = self.options.sample;
        let read =
            stream(self.repository, self.index, snapshot, sample, self.means, self.monitor, self.stop)?;
        let bytes_read = format::bytes(read.bytes_read);
        let mut detail = match sample {
            None => format!("{} entries, {bytes_read} read, opened and hashed", read.entries),
            Some(Sample { percent, seed }) => format!(
                "all trees, {} of {} files, {bytes_read} read, opened and hashed: a sample of {percent}%, seed {seed}",
                read.files_read, read.files
            ),
        };
        if let Some(error) = &read.error {
            detail = error.to_string();
        }
        Ok(Known {
            files: read.files,
            bytes: read.bytes,
            detail,
            failures: read.failures,
            failures_total: read.failed,
            error: read.error,
        })
    }

    /// A restore for real, read back from the disk.
    fn restored(&self, snapshot: &Snapshot, path: &Path, keep: bool) -> Result<Known> {
        let scratch = Scratch::open(path, keep)?;
        let options = RestoreOptions {
            target: path.to_owned(),
            threads: self.means.threads,
            connections: self.means.connections,
            memory_bytes: self.means.memory_bytes,
            ..self.options.restore.clone()
        };
        let known = self.restore_and_read(snapshot, &scratch, &options);
        scratch.emptied(known)
    }

    fn restore_and_read(
        &self,
        snapshot: &Snapshot,
        scratch: &Scratch,
        options: &RestoreOptions,
    ) -> Result<Known> {
        let Self { repository, index, monitor, stop, .. } = self;
        let done = restore::restore(repository, index, snapshot, options, *monitor, stop);
        match done {
            Ok(_) => self.read_back(snapshot, scratch, &options.xattrs, None),
            // What is damaged is a result; the rest was restored and is worth reading.
            Err(error) if error.kind == ErrorKind::Damaged => {
                self.read_back(snapshot, scratch, &options.xattrs, Some(error))
            }
            Err(error) => Err(error),
        }
    }

    fn read_back(
        &self,
        snapshot: &Snapshot,
        scratch: &Scratch,
        xattrs: &XattrFilter,
        error: Option<Error>,
    ) -> Result<Known> {
        self.monitor.phase("reading back");
        let run = Run::new(self.monitor, self.stop, &VERIFY);
        let rules = Rules::of_scratch(scratch.root(), xattrs);
        let compared = self.comparing(&run, rules).compare(snapshot.tree, scratch.root())?;
        let differs = compared.differences_total;
        let mut failures = run.named_failures();
        failures.extend(
            compared
                .differences
                .iter()
                .map(|difference| Failed { item: difference.path.clone(), cause: difference.in_words() }),
        );
        let error = error.or_else(|| run.outcome().err()).or_else(|| {
            let first = compared.differences.first()?;
            Some(
                Error::damaged(
                    format!("{differs} items are not as the snapshot has them, the first"),
                    first.path.as_str(),
                    first.in_words(),
                )
                .then("Look at the scratch file system first, then run check"),
            )
        });
        let bytes = format::bytes(compared.bytes);
        let detail = match &error {
            None => format!("{} entries, {bytes} restored, read back and equal", compared.entries),
            Some(error) => error.to_string(),
        };
        let failures_total = run.failed_items() + differs;
        Ok(Known {
            files: compared.files,
            bytes: compared.bytes,
            detail,
            failures,
            failures_total: failures_total.max(u64::from(error.is_some())),
            error,
        })
    }

    fn comparing<'c>(&'c self, run: &'c Run<'c>, rules: Rules<'c>) -> Comparing<'c> {
        Comparing {
            run,
            repository: self.repository,
            index: self.index,
            rules,
            threads: self.means.threads,
            memory_bytes: self.means.memory_bytes,
        }
    }

    fn conditions(&self, known: &Known, age_seconds: i64) -> Vec<Check> {
        let mut checks = Vec::new();
        if let Some(most) = self.options.max_age {
            let (age, most) = (age_seconds.max(0).cast_unsigned(), most.as_secs());
            let detail = format!("{} old, at most {}", span(age), span(most));
            checks.push(Check { name: "max-age", passed: age <= most, detail });
        }
        if let Some(least) = self.options.min_files {
            let detail = format!("{} files, at least {least}", known.files);
            checks.push(Check { name: "min-files", passed: known.files >= least, detail });
        }
        if let Some(least) = self.options.min_bytes {
            let detail = format!("{}, at least {}", format::bytes(known.bytes), format::bytes(least));
            checks.push(Check { name: "min-bytes", passed: known.bytes >= least, detail });
        }
        checks
    }

    fn sums(&self, snapshot: &Snapshot) -> Result<Option<Check>> {
        let Some(sums) = &self.options.sums else { return Ok(None) };
        self.monitor.phase("comparing sums");
        let run = Run::new(self.monitor, self.stop, &VERIFY);
        let go_on = || run.check();
        let (passed, detail) = sums.check(self.repository, self.index, snapshot.tree, &go_on)?;
        Ok(Some(Check { name: "sha256sums", passed, detail }))
    }

    fn live(&self, snapshot: &Snapshot, path: &Path) -> Result<Compared> {
        self.monitor.phase("comparing with the live directory");
        let run = Run::new(self.monitor, self.stop, &VERIFY);
        let root = compare::open(path)?;
        let rules = Rules::of_live(&XattrFilter::All);
        let mut compared = self.comparing(&run, rules).compare(snapshot.tree, &root)?;
        let unread = run.named_failures();
        compared.differences_total += run.failed_items();
        compared.differences.extend(unread.into_iter().map(|failed| Difference {
            path: failed.item,
            change: '?',
            what: failed.cause,
        }));
        Ok(compared)
    }
}

impl Difference {
    /// What is wrong, for people.
    fn in_words(&self) -> String {
        match self.change {
            '-' => "it is missing".to_owned(),
            '+' => "the snapshot does not have it".to_owned(),
            'T' => "it is of another kind".to_owned(),
            _ => format!("it differs: {}", self.what),
        }
    }
}

/// A time span in its two largest units: `1d2h`, `3h12m`, `45s`.
fn span(seconds: u64) -> String {
    let mut rest = seconds;
    let mut parts = Vec::new();
    for (length, unit) in [(86400, "d"), (3600, "h"), (60, "m"), (1, "s")] {
        if rest >= length {
            parts.push(format!("{}{unit}", rest / length));
        }
        rest %= length;
    }
    parts.truncate(2);
    if parts.is_empty() { "0s".to_owned() } else { parts.concat() }
}

#[cfg(test)]
mod tests {
    use super::span;

    #[test]
    fn spans() {
        let spans =
            [(0, "0s"), (45, "45s"), (60, "1m"), (11_520, "3h12m"), (93_661, "1d2h"), (86_405, "1d5s")];
        for (seconds, text) in spans {
            assert_eq!(span(seconds), text);
        }
    }
}
