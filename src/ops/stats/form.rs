//! The figures as text and as JSON. The three objects of restic's modes stand in the JSON under the modes'
//! names, field by field as `restic stats --mode … --json` prints them.

use std::fmt::Write;

use jiff::tz::TimeZone;
use serde::Serialize;

use super::{Blobs, Stats};
use crate::report::format::{bytes, table_time};
use crate::report::go_json::line;
use crate::report::table::Table;

impl Blobs {
    /// Of what is compressed: plain bytes a stored byte. 0 where nothing is.
    #[must_use]
    pub fn compression_ratio(&self) -> f64 {
        quotient(self.compressed_plain_bytes, self.compressed_stored_bytes)
    }

    /// How much of all is compressed, in percent.
    #[must_use]
    pub fn compression_progress(&self) -> f64 {
        quotient(self.compressed_plain_bytes, self.plain_bytes) * 100.0
    }

    /// What compression saves of all, in percent.
    #[must_use]
    pub fn space_saving(&self) -> f64 {
        if self.plain_bytes == 0 {
            0.0
        } else {
            (1.0 - quotient(self.stored_bytes, self.plain_bytes)) * 100.0
        }
    }
}

fn quotient(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// One JSON object.
pub(super) fn json(stats: &Stats) -> String {
    line(&object(stats))
}

/// The same, to be part of another.
pub(in crate::ops) fn object(stats: &Stats) -> impl Serialize {
    let count = stats.snapshots.len() as u64;
    let needed = &stats.needed;
    let modern = stats.whole.version >= 2;
    Json {
        snapshots_count: count,
        restore_size: Mode {
            total_size: stats.restore_bytes,
            total_file_count: stats.entries,
            snapshots_count: count,
            ..Mode::default()
        },
        files_by_contents: Mode {
            total_size: stats.distinct_bytes,
            total_file_count: stats.distinct_files,
            snapshots_count: count,
            ..Mode::default()
        },
        raw_data: Mode {
            total_size: needed.stored_bytes,
            total_uncompressed_size: if modern { needed.plain_bytes } else { 0 },
            compression_ratio: needed.compression_ratio(),
            compression_progress: if modern { needed.compression_progress() } else { 0.0 },
            compression_space_saving: if modern { needed.space_saving() } else { 0.0 },
            total_blob_count: needed.count,
            snapshots_count: count,
            ..Mode::default()
        },
        repository: Repository {
            packs: stats.whole.packs,
            pack_bytes: stats.whole.pack_bytes,
            blobs: stats.whole.blobs,
            duplicate_blobs: stats.whole.duplicates,
            duplicate_bytes: stats.whole.duplicate_bytes,
            unused_blobs: stats.whole.unused.map(|(blobs, _)| blobs),
            unused_bytes: stats.whole.unused.map(|(_, bytes)| bytes),
        },
        snapshots: stats.snapshots.iter().map(Snapshot::of).collect(),
    }
}

#[derive(Serialize)]
struct Json {
    snapshots_count: u64,
    #[serde(rename = "restore-size")]
    restore_size: Mode,
    #[serde(rename = "files-by-contents")]
    files_by_contents: Mode,
    #[serde(rename = "raw-data")]
    raw_data: Mode,
    repository: Repository,
    snapshots: Vec<Snapshot>,
}

#[derive(Serialize, Default)]
struct Mode {
    total_size: u64,
    #[serde(skip_serializing_if = "no")]
    total_uncompressed_size: u64,
    #[serde(skip_serializing_if = "none")]
    compression_ratio: f64,
    #[serde(skip_serializing_if = "none")]
    compression_progress: f64,
    #[serde(skip_serializing_if = "none")]
    compression_space_saving: f64,
    #[serde(skip_serializing_if = "no")]
    total_file_count: u64,
    #[serde(skip_serializing_if = "no")]
    total_blob_count: u64,
    snapshots_count: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands fields over by reference")]
fn no(number: &u64) -> bool {
    *number == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands fields over by reference")]
fn none(number: &f64) -> bool {
    *number == 0.0
}

#[derive(Serialize)]
struct Repository {
    packs: u64,
    pack_bytes: u64,
    blobs: u64,
    duplicate_blobs: u64,
    duplicate_bytes: u64,
    unused_blobs: Option<u64>,
    unused_bytes: Option<u64>,
}

#[derive(Serialize)]
struct Snapshot {
    id: String,
    short_id: String,
    time: String,
    hostname: String,
    paths: Vec<String>,
    total_size: u64,
    total_file_count: u64,
    added_size: u64,
}

impl Snapshot {
    fn of(one: &super::SnapshotStats) -> Self {
        let mut time = Vec::new();
        one.snapshot.time.format_into(&mut time);
        Self {
            id: one.id.hex(),
            short_id: one.id.short(),
            time: String::from_utf8_lossy(&time).into_owned(),
            hostname: one.snapshot.hostname.clone(),
            paths: one.snapshot.paths.clone(),
            total_size: one.restore_bytes,
            total_file_count: one.entries,
            added_size: one.added_bytes,
        }
    }
}

/// A table of snapshots, and the sums below it.
pub(super) fn text(stats: &Stats, zone: &TimeZone) -> String {
    let mut text = String::new();
    if !stats.snapshots.is_empty() {
        let mut table = Table::new(&["ID", "Time", "Host", "Paths", "Restore size", "Entries", "Added"]);
        for one in &stats.snapshots {
            table.row(vec![
                one.id.short(),
                table_time(one.snapshot.time.instant().0, zone),
                one.snapshot.hostname.clone(),
                one.snapshot.paths.join("\n"),
                bytes(one.restore_bytes),
                one.entries.to_string(),
                bytes(one.added_bytes),
            ]);
        }
        text = table.text();
    }
    let needed = &stats.needed;
    let mut row = |name: &str, value: String| _ = writeln!(text, "{name:>20}: {value}");
    row("Snapshots", stats.snapshots.len().to_string());
    row("Restore size", format!("{} in {} entries", bytes(stats.restore_bytes), stats.entries));
    row("Distinct files", format!("{} in {} files", bytes(stats.distinct_bytes), stats.distinct_files));
    row("Stored size", format!("{} in {} blobs", bytes(needed.stored_bytes), needed.count));
    if stats.whole.version >= 2 {
        row("Uncompressed size", bytes(needed.plain_bytes));
        row(
            "Compression",
            format!(
                "ratio {:.2}x, {:.2}% of the data, saves {:.2}%",
                needed.compression_ratio(),
                needed.compression_progress(),
                needed.space_saving()
            ),
        );
    }
    let whole = &stats.whole;
    row("Packs", format!("{} in {} packs", bytes(whole.pack_bytes), whole.packs));
    row("Duplicates", format!("{} in {} blobs", bytes(whole.duplicate_bytes), whole.duplicates));
    if let Some((blobs, unused)) = whole.unused {
        row("Unused", format!("{} in {blobs} blobs", bytes(unused)));
    }
    text
}
