//! The report as one JSON object. `stats` in it is what the operation `stats` prints.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::super::stats::form;
use super::{Fate, Folder, Identity, RepositoryReport};
use crate::report::go_json::line;
use crate::repository::time::NodeTime;

/// One JSON object, on one line.
pub(super) fn json(report: &RepositoryReport) -> String {
    let whole = &report.stats.whole;
    let stats = serde_json::to_value(form::object(&report.stats)).unwrap_or_default();
    line(&json!({
        "message_type": "report",
        "program_version": concat!("volmover ", env!("CARGO_PKG_VERSION")),
        "time": report.time.to_string(),
        "repository": {
            "location": report.location,
            "id": report.id,
            "version": whole.version,
            "unindexed_packs": report.unindexed.0,
            "unindexed_bytes": report.unindexed.1,
            "missing_packs": report.packs_missing,
        },
        "all_snapshots": !report.is_filtered,
        "stats": stats,
        "policy": report.policy,
        "identities": report.identities.iter().map(|one| identity(report, one)).collect::<Vec<_>>(),
        "locks": report.locks.iter().map(|lock| json!({
            "name": lock.name,
            "state": lock.state.word(),
            "holder": lock.holder,
            "since": lock.since.map(|since| since.to_string()),
            "exclusive": lock.exclusive,
        })).collect::<Vec<_>>(),
        "last_success": {
            "check": moment(report.upkeep.check),
            "verify": moment(report.upkeep.verify),
            "prune": moment(report.upkeep.prune),
        },
        "damage": { "faults": report.damage.faults, "shown": report.damage.shown },
        "advice": report.advice.iter().map(|advice| json!({
            "urgency": advice.urgency.word(),
            "rule": advice.rule,
            "what": advice.what,
            "next": advice.next,
        })).collect::<Vec<_>>(),
    }))
}

fn moment(time: Option<Timestamp>) -> Value {
    time.map_or(Value::Null, |time| time.to_string().into())
}

fn identity(report: &RepositoryReport, identity: &Identity) -> Value {
    let snapshots = &report.stats.snapshots;
    let id = |place: usize| snapshots.get(place).map(|one| one.id.hex());
    let dated = identity.snapshots.iter().map(|dated| {
        let added = snapshots.get(dated.place).and_then(|one| one.snapshot.summary.as_ref());
        let (decision, reasons, until) = match &dated.fate {
            Fate::Alone => ("none", &[][..], None),
            Fate::Goes => ("remove", &[][..], None),
            Fate::Kept { reasons, until } => ("keep", reasons.as_slice(), *until),
        };
        json!({
            "id": id(dated.place),
            "decision": decision,
            "reasons": reasons,
            "expected_removal": until.map(|seconds| {
                NodeTime { seconds, ..NodeTime::default() }.to_string()
            }),
            "recorded_added_size": added.map(|summary| summary.data_added_packed),
        })
    });
    let folders = identity.folders.as_ref().map(|folders| {
        json!({
            "largest": listed(&folders.largest),
            "changing": listed(&folders.changing),
            "changed_size": folders.changed_bytes,
            "since": folders.since.and_then(id),
        })
    });
    json!({
        "hostname": identity.host,
        "paths": identity.paths,
        "stored_size": identity.stored_bytes,
        "rhythm_seconds": identity.rhythm_seconds,
        "snapshots": dated.collect::<Vec<_>>(),
        "folders": folders,
    })
}

fn listed(folders: &[Folder]) -> Vec<Value> {
    folders.iter().map(|folder| json!({ "path": folder.path, "size": folder.bytes })).collect()
}
