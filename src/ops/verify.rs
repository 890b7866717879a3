//! `verify`: proves that selected snapshots would restore, under a shared lock.
//!
//! What is selected is the snapshot that restore would take, or the newest of every host and path. Nothing
//! selected is an error here: whoever verifies believes that there is a backup.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;

use super::Session;
use crate::error::{Error, ErrorKind, Result};
use crate::report::format::go_time;
use crate::repository::index::Index;
use crate::repository::lock::LockMode;
use crate::repository::snapshot::Snapshot;
use crate::repository::{Id, Repository};
use crate::restore::select::{Filter, Selection, existing, select};
use crate::restore::stream::Means;
use crate::restore::subtree;
use crate::verify::{Verified, Verify, VerifyOptions, report};

/// Which snapshots are verified.
#[derive(Debug, Clone)]
pub enum Chosen {
    /// One.
    One(Selection),
    /// The newest of every host and path, of those that the filter accepts.
    LatestEach,
}

/// The folder of a snapshot that is meant (restic's `ID:folder`), as a snapshot of its own.
fn narrowed(
    repository: &Repository,
    index: &Index,
    snapshot: Snapshot,
    subfolder: Option<&str>,
) -> Result<Snapshot> {
    let Some(folder) = subfolder else { return Ok(snapshot) };
    Ok(Snapshot { tree: subtree(repository, index, snapshot.tree, folder)?, ..snapshot })
}

/// Verifies, and tells the lines of each snapshot. What was found before an error is in `verified`.
pub fn run(
    session: &Session<'_>,
    chosen: &Chosen,
    filter: &Filter,
    subfolder: Option<&str>,
    zone: &TimeZone,
    options: &VerifyOptions,
    verified: &mut Vec<Verified>,
) -> Result<()> {
    session.locked(LockMode::Shared, |_| {
        let repository = &session.repository;
        // Snapshots before indexes: what a snapshot needs was indexed before it.
        let snapshots = repository.snapshots()?;
        let wanted = match chosen {
            Chosen::One(selection) => select(&snapshots, selection, filter)?.into_iter().collect(),
            Chosen::LatestEach => latest_each(&snapshots, filter),
        };
        if wanted.is_empty() {
            return Err(Error::new(ErrorKind::Nothing, "there is nothing to verify: no eligible snapshot")
                .at(repository.backend().location())
                .because(existing(&snapshots))
                .then("Set MOVER_HOST and MOVER_PATH to those of the backups"));
        }
        drop(snapshots);
        session.monitor.phase("loading the index");
        let index = repository.load_index()?;
        let means = Means {
            threads: session.limits.threads,
            connections: repository.backend().connections(),
            memory_bytes: session.limits.memory_bytes.saturating_sub(index.memory_bytes()),
        };
        let (monitor, stop) = (session.monitor, session.stop);
        let verify = Verify { repository, index: &index, options, means, monitor, stop };
        for (id, snapshot) in wanted {
            monitor.line(&heading(&id, &snapshot, zone));
            let snapshot = narrowed(repository, &index, snapshot, subfolder)?;
            let one = verify.run(id, &snapshot)?;
            for line in report::lines(&one) {
                monitor.line(&line);
            }
            verified.push(one);
        }
        Ok(())
    })
}

fn latest_each(snapshots: &[(Id, Snapshot)], filter: &Filter) -> Vec<(Id, Snapshot)> {
    let mut newest: BTreeMap<(&str, &[String]), &(Id, Snapshot)> = BTreeMap::new();
    for found in snapshots.iter().filter(|(_, snapshot)| filter.accepts(snapshot)) {
        let (id, snapshot) = found;
        let kept = newest.entry((&snapshot.hostname, &snapshot.paths)).or_insert(found);
        if (kept.1.time.instant(), kept.0) < (snapshot.time.instant(), *id) {
            *kept = found;
        }
    }
    newest.into_values().cloned().collect()
}

fn heading(id: &Id, snapshot: &Snapshot, zone: &TimeZone) -> String {
    let Snapshot { time, hostname, paths, .. } = snapshot;
    let time = go_time(time.seconds, time.nanoseconds, time.offset_seconds, zone);
    let text = format!("verifying snapshot {} of [{}] at {time} by {hostname}", id.short(), paths.join(" "));
    text.replace(['\n', '\r'], " ")
}
