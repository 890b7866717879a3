//! `snapshots`: lists what the repository holds, oldest first, under a shared lock.
//!
//! It sees everything and filters only by what is set.

use jiff::tz::TimeZone;

use super::Session;
use crate::error::Result;
use crate::forget::listing::row;
use crate::report::format::zone_name;
use crate::report::table::{self, SnapshotRow};
use crate::repository::Id;
use crate::repository::lock::LockMode;
use crate::repository::snapshot::Snapshot;

/// What to list, and how.
#[derive(Debug, Clone)]
pub struct SnapshotsOptions {
    /// Only this host.
    pub host: Option<String>,
    /// Only snapshots of exactly this path.
    pub path: Option<String>,
    /// Only snapshots that have all these tags.
    pub tags: Vec<String>,
    /// JSON instead of a table.
    pub json: bool,
    /// The zone of times in the table.
    pub zone: TimeZone,
}

/// The table, or the JSON array, as restic prints it.
pub fn run(session: &Session<'_>, options: &SnapshotsOptions) -> Result<String> {
    let mut snapshots =
        session.locked_after(LockMode::Shared, || session.repository.snapshots(), |_, found| Ok(found))?;
    snapshots.retain(|(_, snapshot)| options.selects(snapshot));
    snapshots.sort_by_key(|(id, snapshot)| (snapshot.time.instant(), *id));
    if options.json {
        return Ok(json(&snapshots));
    }
    let rows: Vec<SnapshotRow> =
        snapshots.into_iter().map(|(id, snapshot)| row(&id, &snapshot, &options.zone)).collect();
    let zone = zone_name(&options.zone, session.repository.clock().now());
    Ok(table::snapshots(&rows, &zone))
}

impl SnapshotsOptions {
    fn selects(&self, snapshot: &Snapshot) -> bool {
        self.host.as_ref().is_none_or(|host| snapshot.hostname == *host)
            && self.path.as_ref().is_none_or(|path| snapshot.paths == [path.as_str()])
            && self.tags.iter().all(|tag| snapshot.tags.contains(tag))
    }
}

fn json(snapshots: &[(Id, Snapshot)]) -> String {
    let mut array = vec![b'['];
    for (position, (id, snapshot)) in snapshots.iter().enumerate() {
        if position > 0 {
            array.push(b',');
        }
        snapshot.encode_listed(id, &mut array);
    }
    array.extend_from_slice(b"]\n");
    String::from_utf8_lossy(&array).into_owned()
}
