//! Snapshots: a root tree and a time, byte for byte as restic 0.19 writes them.
//!
//! Here stand the records; `codec` turns them into JSON and back without loss. Text that came from the system
//! as bytes goes through [`super::json::lossy`] first, as restic replaces what is not UTF-8.

mod codec;

use super::Id;
use super::tree::NodeTime;

/// The figures that restic keeps in a snapshot since 0.17.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SnapshotSummary {
    /// When the backup began.
    pub backup_start: NodeTime,
    /// When it ended.
    pub backup_end: NodeTime,
    /// Files that the parent does not have.
    pub files_new: u64,
    /// Files that differ from the parent's.
    pub files_changed: u64,
    /// Files equal to the parent's.
    pub files_unmodified: u64,
    /// Directories that the parent does not have.
    pub dirs_new: u64,
    /// Directories that differ from the parent's.
    pub dirs_changed: u64,
    /// Directories equal to the parent's.
    pub dirs_unmodified: u64,
    /// New data blobs.
    pub data_blobs: u64,
    /// New tree blobs.
    pub tree_blobs: u64,
    /// Bytes of the new blobs before compression.
    pub data_added: u64,
    /// Bytes of the new blobs as stored.
    pub data_added_packed: u64,
    /// Files read or taken over.
    pub total_files_processed: u64,
    /// Their bytes.
    pub total_bytes_processed: u64,
}

/// A snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Snapshot {
    /// When the backup began, in the zone of its writer.
    pub time: NodeTime,
    /// The snapshot that it was compared with.
    pub parent: Option<Id>,
    /// The root tree.
    pub tree: Id,
    /// The absolute paths that were backed up.
    pub paths: Vec<String>,
    /// The host.
    pub hostname: String,
    /// The user's name, empty when unknown.
    pub username: String,
    /// The user's id.
    pub uid: u32,
    /// The group's id.
    pub gid: u32,
    /// The exclude patterns that were used.
    pub excludes: Vec<String>,
    /// Tags.
    pub tags: Vec<String>,
    /// The first snapshot this one was rewritten from.
    pub original: Option<Id>,
    /// Who wrote it, e.g. `restic 0.19.1`.
    pub program_version: String,
    /// The figures, absent from older writers.
    pub summary: Option<SnapshotSummary>,
}
