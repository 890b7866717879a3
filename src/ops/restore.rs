//! `restore`: a selected snapshot into a directory, under a shared lock.
//!
//! Nothing eligible is no failure of its own: the caller decides what it means. Whatever could not be restored
//! is an error, also where the rest was.

use jiff::tz::TimeZone;

use super::Session;
use crate::error::Result;
use crate::report::RestoreSummary;
use crate::report::format::go_time;
use crate::report::lines::{self, Restoring};
use crate::repository::Id;
use crate::repository::lock::LockMode;
use crate::repository::snapshot::Snapshot;
use crate::restore::select::{Filter, Selection, existing, select};
use crate::restore::{self, RestoreOptions};

/// What came of it.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// It was restored.
    Restored(RestoreSummary),
    /// No snapshot is eligible; the text says which exist, in less than 1 KiB.
    NothingEligible(String),
}

/// How the line that names the snapshot shows what it names.
#[derive(Debug, Clone, Copy)]
pub struct Shown<'a> {
    /// The zone of its time.
    pub zone: &'a TimeZone,
    /// The target.
    pub target: &'a str,
}

/// Restores. The memory budget of `options` is the session's, less what the index takes.
pub fn run(
    session: &Session<'_>,
    selection: &Selection,
    filter: &Filter,
    shown: &Shown<'_>,
    options: RestoreOptions,
) -> Result<Outcome> {
    let repository = &session.repository;
    // Snapshots before indexes: what a snapshot needs was indexed before it.
    session.locked_after(
        LockMode::Shared,
        || repository.snapshots(),
        |_, snapshots| {
            let Some((id, snapshot)) = select(&snapshots, selection, filter)? else {
                return Ok(Outcome::NothingEligible(existing(&snapshots)));
            };
            drop(snapshots);
            session.monitor.line(&restoring(&id, &snapshot, shown));
            session.monitor.phase("loading the index");
            let index = repository.load_index()?;
            let memory_bytes = session.limits.memory_bytes.saturating_sub(index.memory_bytes());
            let options = RestoreOptions { memory_bytes, threads: session.limits.threads, ..options };
            let summary =
                restore::restore(repository, &index, &snapshot, &options, session.monitor, session.stop)?;
            Ok(Outcome::Restored(RestoreSummary { snapshot_id: Some(id.hex()), ..summary }))
        },
    )
}

fn restoring(id: &Id, snapshot: &Snapshot, shown: &Shown<'_>) -> String {
    let time = snapshot.time;
    lines::restoring(&Restoring {
        short_id: &id.short(),
        paths: &snapshot.paths,
        time: &go_time(time.seconds, time.nanoseconds, time.offset_seconds, shown.zone),
        username: &snapshot.username,
        hostname: &snapshot.hostname,
        target: shown.target,
    })
}
