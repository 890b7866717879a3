//! A plan as `restic forget` 0.19 prints it: tables with reasons, or one JSON array of groups.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::GroupPlan;
use super::groups::GroupBy;
use crate::report::format::{table_time, zone_name};
use crate::report::table::{self, SnapshotRow};
use crate::repository::Id;
use crate::repository::json::{push_string, push_strings};
use crate::repository::snapshot::Snapshot;

/// How tables look.
#[derive(Debug, Clone)]
pub struct Look<'a> {
    /// The zone of times.
    pub zone: &'a TimeZone,
    /// This moment: it decides the zone's name below the tables.
    pub now: Timestamp,
    /// Narrow tables, without paths and reasons.
    pub compact: bool,
}

/// One snapshot's row.
#[must_use]
pub fn row(id: &Id, snapshot: &Snapshot, zone: &TimeZone) -> SnapshotRow {
    let (seconds, _) = snapshot.time.instant();
    SnapshotRow {
        short_id: id.short(),
        time_text: table_time(seconds, zone),
        host: snapshot.hostname.clone(),
        tags: snapshot.tags.clone(),
        paths: snapshot.paths.clone(),
        reasons: Vec::new(),
        size: snapshot.summary.as_ref().map(|summary| summary.total_bytes_processed),
    }
}

/// A snapshot as it looks once restic has grouped it: its paths in order, and its tags if they were looked at.
fn shown(snapshot: &Snapshot, by: GroupBy) -> Snapshot {
    let mut snapshot = snapshot.clone();
    snapshot.paths.sort_unstable();
    if by.tags {
        snapshot.tags.sort_unstable();
    }
    snapshot
}

/// What is kept and removed of each group; a blank line ends each table.
#[must_use]
pub fn text(plans: &[GroupPlan<'_>], look: &Look<'_>) -> String {
    let zone = zone_name(look.zone, look.now);
    let mut text = String::new();
    let mut push = |verb: &str, rows: &[SnapshotRow]| {
        if !rows.is_empty() {
            let table = if look.compact {
                table::snapshots_compact(rows, &zone)
            } else {
                table::snapshots(rows, &zone)
            };
            text += &format!("{verb} {} snapshots:\n{table}\n", rows.len());
        }
    };
    for plan in plans {
        let kept = plan.keep.iter().rev().map(|((id, snapshot), reasons)| SnapshotRow {
            reasons: reasons.clone(),
            ..row(id, &shown(snapshot, plan.by), look.zone)
        });
        push("keep", &kept.collect::<Vec<_>>());
        let removed = plan.remove.iter().rev();
        let removed = removed.map(|(id, snapshot)| row(id, &shown(snapshot, plan.by), look.zone));
        push("remove", &removed.collect::<Vec<_>>());
    }
    text
}

/// What a dry run ends with; nothing where nothing would be removed.
#[must_use]
pub fn would_remove(removed: &[Id]) -> String {
    if removed.is_empty() {
        return String::new();
    }
    let ids: Vec<String> = removed.iter().map(Id::short).collect();
    format!("Would have removed the following snapshots:\n{{{}}}\n\n", ids.join(" "))
}

/// The array of groups, on one line; nothing where there is no group.
#[must_use]
pub fn json(plans: &[GroupPlan<'_>]) -> String {
    if plans.is_empty() {
        return String::new();
    }
    let mut out = Vec::new();
    push_array(&mut out, plans, push_group);
    String::from_utf8_lossy(&out).into_owned()
}

fn push_group(out: &mut Vec<u8>, plan: &GroupPlan<'_>) {
    out.extend_from_slice(b"{\"tags\":");
    push_strings_or_null(out, &plan.key.tags);
    out.extend_from_slice(b",\"host\":");
    push_string(out, plan.key.host.as_bytes());
    out.extend_from_slice(b",\"paths\":");
    push_strings_or_null(out, &plan.key.paths);
    out.extend_from_slice(b",\"keep\":");
    let listed = |out: &mut Vec<u8>, id, snapshot| shown(snapshot, plan.by).encode_listed(id, out);
    push_array(out, &plan.keep, |out, ((id, snapshot), _)| listed(out, id, snapshot));
    out.extend_from_slice(b",\"remove\":");
    push_array(out, &plan.remove, |out, (id, snapshot)| listed(out, id, snapshot));
    out.extend_from_slice(b",\"reasons\":");
    push_array(out, &plan.keep, |out, ((id, snapshot), reasons)| {
        out.extend_from_slice(b"{\"snapshot\":");
        listed(out, id, snapshot);
        out.extend_from_slice(b",\"matches\":");
        push_strings(out, reasons);
        out.push(b'}');
    });
    out.push(b'}');
}

/// Go writes a list that was never begun as `null`.
fn push_array<T>(out: &mut Vec<u8>, items: &[T], push: impl Fn(&mut Vec<u8>, &T)) {
    if items.is_empty() {
        return out.extend_from_slice(b"null");
    }
    for (place, item) in items.iter().enumerate() {
        out.push(if place == 0 { b'[' } else { b',' });
        push(out, item);
    }
    out.push(b']');
}

fn push_strings_or_null(out: &mut Vec<u8>, texts: &[String]) {
    if texts.is_empty() { out.extend_from_slice(b"null") } else { push_strings(out, texts) }
}
