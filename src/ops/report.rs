//! `report`: what a repository holds, what becomes of it and what to do about it, under a shared lock.
//!
//! ```text
//! locks → lists, index → one walk of the trees (stats) → retention (forget) → folders → advice → text, JSON, page
//! ```
//! Sizes are those of `stats` and decisions those of `forget`: nothing is counted or decided a second way. It
//! sees everything and filters only by what is set. What is damaged is told and left out of the figures; then
//! the report is an error of its own besides (`verdict`), so that nobody takes it for a healthy repository's.

mod advice;
mod folders;
mod identities;
mod json;
mod locks;
mod page;
mod retention;
mod text;

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::Session;
use super::forget::Choice;
use super::stats::{self, Stats};
use crate::backend::{FileType, Listed};
use crate::error::{Error, ErrorKind, Result};
use crate::prune::UnusedMax;
use crate::repository::Id;
use crate::repository::index::Index;
use crate::repository::lock::LockMode;
use crate::restore::select::Filter;

pub use advice::{Advice, Urgency};
pub use folders::{Folder, Folders};
pub use identities::{Dated, Identity};
pub use locks::{LockSeen, LockState};
pub use retention::Fate;

/// Faults that are told one by one.
const FAULTS_SHOWN: usize = 10;

/// What to report on.
#[derive(Debug, Clone)]
pub struct ReportOptions {
    /// Where the repository is, without any password.
    pub location: String,
    /// Only snapshots that this accepts.
    pub filter: Filter,
    /// What forget would be told; `None`: no policy is given.
    pub policy: Option<Choice>,
    /// Besides, the newest snapshot of each group without this tag stays.
    pub unless_tagged: Option<&'static str>,
    /// Unused data that may stay.
    pub unused_max: UnusedMax,
    /// What is known of earlier runs.
    pub upkeep: Upkeep,
    /// The zone of times and days.
    pub zone: TimeZone,
}

/// When the repository was last looked after, as far as it is known: a repository does not record it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Upkeep {
    /// When a check last found no fault.
    pub check: Option<Timestamp>,
    /// When a snapshot was last proven to restore.
    pub verify: Option<Timestamp>,
    /// When it was last pruned.
    pub prune: Option<Timestamp>,
}

/// Everything that is reported. Sizes are in bytes.
#[derive(Debug)]
pub struct RepositoryReport {
    /// Where the repository is, without any password.
    pub location: String,
    /// Its id.
    pub id: String,
    /// When the report was made.
    pub time: Timestamp,
    /// The zone of times and days.
    pub zone: TimeZone,
    /// The figures, of the snapshots that were looked at, oldest first.
    pub stats: Stats,
    /// Not all snapshots were looked at.
    pub is_filtered: bool,
    /// Packs that no index names, and their sizes.
    pub unindexed: (u64, u64),
    /// Packs that the index names and the store does not have.
    pub packs_missing: u64,
    /// What is kept, in words, a line each; empty: no policy is given.
    pub policy: Vec<String>,
    /// Snapshots by host and paths, in that order.
    pub identities: Vec<Identity>,
    /// Locks of others when the report began.
    pub locks: Vec<LockSeen>,
    /// When the repository was last looked after.
    pub upkeep: Upkeep,
    /// What cannot be read.
    pub damage: Damage,
    /// What to do, the most urgent first.
    pub advice: Vec<Advice>,
}

/// What cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Damage {
    /// Trees and blobs.
    pub faults: u64,
    /// The first of them, each in words.
    pub shown: Vec<String>,
}

impl RepositoryReport {
    /// One JSON object.
    #[must_use]
    pub fn json(&self) -> String {
        json::json(self)
    }

    /// One page that needs nothing else.
    #[must_use]
    pub fn html(&self) -> String {
        page::html(self)
    }

    /// The figures and advice in a few lines.
    #[must_use]
    pub fn text(&self) -> String {
        text::text(self)
    }

    /// An error where something cannot be read.
    ///
    /// # Errors
    /// `Damaged`, which names the first fault.
    pub fn verdict(&self) -> Result<()> {
        let Some(first) = self.damage.shown.first() else { return Ok(()) };
        Err(Error::new(ErrorKind::Damaged, "the report lacks what cannot be read")
            .at(&self.location)
            .because(format!("{} faults; the first: {first}", self.damage.faults))
            .then("Run check to see which snapshots and files are hit"))
    }

    /// Bytes that are unused, as `stats` counts them; `None` where that is not known.
    #[must_use]
    pub fn unused_bytes(&self) -> Option<u64> {
        self.stats.whole.unused.map(|(_, bytes)| bytes)
    }
}

/// Reports. What cannot be read is in the report.
pub fn run(session: &Session<'_>, options: &ReportOptions) -> Result<RepositoryReport> {
    // Taking a lock removes stale ones.
    let mut locks = locks::see(session)?;
    session.locked(LockMode::Shared, |_| {
        locks::mark_removed(session, &mut locks)?;
        locked(session, options, locks)
    })
}

fn locked(session: &Session<'_>, options: &ReportOptions, locks: Vec<LockSeen>) -> Result<RepositoryReport> {
    let repository = &session.repository;
    session.monitor.phase("loading snapshots");
    let mut snapshots = repository.snapshots()?;
    let count = snapshots.len();
    snapshots.retain(|(_, snapshot)| options.filter.accepts(snapshot));
    snapshots.sort_by_key(|(id, snapshot)| (snapshot.time.instant(), *id));
    let is_filtered = snapshots.len() < count;
    session.monitor.phase("loading the index");
    let index = repository.load_index()?;
    let packs = repository.backend().list(FileType::Pack)?;
    let faults: Mutex<Damage> = Mutex::default();
    let time = repository.clock().now();
    let retention = retention::decide(&snapshots, options, time);
    let broken = |error: Error| -> Result<()> {
        note(&mut faults.lock().unwrap_or_else(PoisonError::into_inner), &error);
        Ok(())
    };
    let (mut stats, graph) = stats::count_all(session, &index, &packs, snapshots, !is_filtered, &broken)?;
    if faults.lock().unwrap_or_else(PoisonError::into_inner).faults > 0 {
        // What is needed below a tree that cannot be read is not known.
        stats.whole.unused = None;
    }
    if !is_filtered {
        session.monitor.surveyed(&stats.survey());
    }
    session.monitor.phase("measuring folders");
    let mut identities = identities::group(&stats, retention.fates);
    folders::measure(session, &index, &graph, &stats, &mut identities)?;
    drop(graph);
    let (unindexed, packs_missing) = compare(&index, &packs);
    let mut report = RepositoryReport {
        location: options.location.clone(),
        id: repository.config().id.clone(),
        time,
        zone: options.zone.clone(),
        stats,
        is_filtered,
        unindexed,
        packs_missing,
        policy: retention.policies,
        identities,
        locks,
        upkeep: options.upkeep,
        damage: faults.into_inner().unwrap_or_else(PoisonError::into_inner),
        advice: retention.advice,
    };
    advice::add(&mut report, options.unused_max);
    Ok(report)
}

/// Notes a fault, without its cause: that may be what a store answered, who repeats what it was asked with.
fn note(damage: &mut Damage, error: &Error) {
    damage.faults += 1;
    if damage.shown.len() < FAULTS_SHOWN {
        let place = error.place.as_deref().unwrap_or_default();
        damage.shown.push(format!("{}: {place}", error.what));
    }
}

/// Packs that no index names, with their sizes, and how many it names that are not there.
fn compare(index: &Index, packs: &[Listed]) -> ((u64, u64), u64) {
    let mut named: HashSet<Id> = index.packs().iter().copied().collect();
    let mut unindexed = (0, 0);
    for pack in packs {
        if !pack.name.parse().is_ok_and(|id: Id| named.remove(&id)) {
            unindexed.0 += 1;
            unindexed.1 += pack.bytes;
        }
    }
    (unindexed, named.len() as u64)
}
