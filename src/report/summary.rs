//! What an operation did: plain figures, from which text, JSON, metrics and reports are all made.
//!
//! Ids are hex text and times are RFC 3339 text, since this floor knows no repository. The meaning of each
//! figure is restic's. Nothing here may hold a secret: locations come without any password.

use serde::Serialize;

/// What a backup did. Counts of files and directories leave the root out.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct BackupSummary {
    /// The first 8 hex digits of the snapshot that was compared with.
    pub parent: Option<String>,
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
    /// Seconds.
    pub total_duration: f64,
    /// When the backup began, RFC 3339.
    pub backup_start: String,
    /// When it ended, RFC 3339.
    pub backup_end: String,
    /// The snapshot's id, 64 hex digits; none when no snapshot was made or kept.
    pub snapshot_id: Option<String>,
    /// Nothing was stored: the figures say what would be.
    pub dry_run: bool,
    /// An equal snapshot was there already and was kept: `snapshot_id` names it.
    pub kept_existing: bool,
    /// Entries left out because of ignore files.
    pub ignored: u64,
    /// Items that could not be read.
    pub errors: u64,
    /// The source shrank by more than `MOVER_MAX_SHRINK` against the parent.
    pub shrunk: bool,
}

/// What a restore did. Files are entries of every kind, directories too; the totals are of what had to be
/// restored, without what was skipped because it was right already.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct RestoreSummary {
    /// The whole id of the snapshot, where the caller says it.
    pub snapshot_id: Option<String>,
    /// Entries to restore.
    pub files_total: u64,
    /// Entries restored.
    pub files_restored: u64,
    /// Entries that were right already.
    pub files_skipped: u64,
    /// Entries deleted because the snapshot does not have them.
    pub files_deleted: u64,
    /// Bytes to restore.
    pub bytes_total: u64,
    /// Bytes restored.
    pub bytes_restored: u64,
    /// Bytes of the skipped files.
    pub bytes_skipped: u64,
    /// Seconds.
    pub duration: f64,
}

/// What a prune did, or would do. Bytes are as stored; blobs that are stored several times count each time.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct PruneSummary {
    /// Nothing was changed: the figures say what would be.
    pub dry_run: bool,
    /// Blobs that snapshots need.
    pub blobs_used: u64,
    /// Bytes of the packs that hold some, without what nobody needs in them.
    pub bytes_used: u64,
    /// Further copies of needed blobs.
    pub blobs_duplicate: u64,
    /// Their bytes.
    pub bytes_duplicate: u64,
    /// Blobs of the packs that are repacked.
    pub blobs_repacked: u64,
    /// Bytes of these packs.
    pub bytes_repacked: u64,
    /// Blobs that are not copied out of them.
    pub blobs_repacked_away: u64,
    /// Their bytes.
    pub bytes_repacked_away: u64,
    /// Blobs of the packs that are removed whole.
    pub blobs_removed: u64,
    /// Bytes of these packs.
    pub bytes_removed: u64,
    /// Blobs that remain.
    pub blobs_remaining: u64,
    /// Bytes that remain, about: headers of new packs differ from those of the old.
    pub bytes_remaining: u64,
    /// Bytes that remain and that nobody needs.
    pub bytes_unused_after: u64,
    /// Packs that no index names.
    pub packs_unreferenced: u64,
    /// Their bytes.
    pub bytes_unreferenced: u64,
    /// Packs that stay.
    pub packs_kept: u64,
    /// Packs that are repacked.
    pub packs_repacked: u64,
    /// Packs that nobody needs.
    pub packs_removed: u64,
    /// Packs written.
    pub packs_written: u64,
    /// Packs deleted.
    pub packs_deleted: u64,
    /// Index files written.
    pub index_files_written: u64,
    /// Index files deleted.
    pub index_files_deleted: u64,
    /// Requests that guards alone made: lists that were asked for again, new index files that were read back.
    pub guard_requests: u64,
    /// Seconds.
    pub duration: f64,
}

impl PruneSummary {
    /// Bytes that it frees.
    #[must_use]
    pub fn bytes_freed(&self) -> u64 {
        self.bytes_removed + self.bytes_repacked_away + self.bytes_unreferenced
    }
}

/// What a forget did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ForgetSummary {
    /// The ids removed, 64 hex digits each; with `dry_run`, those that would be.
    pub removed: Vec<String>,
    /// How many of the snapshots looked at stay.
    pub kept: u64,
    /// The ids that could not be removed, and why.
    pub failed: Vec<(String, String)>,
    /// The store denied some of them.
    pub denied: bool,
    /// Nothing was removed: the summary says what would be.
    pub dry_run: bool,
}

/// A repository that was created.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct InitSummary {
    /// The repository's id, 64 hex digits.
    pub id: String,
    /// The repository's URL, without any password.
    pub location: String,
}

/// What a check came to, as `restic check --json` sums it up.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CheckSummary {
    /// Faults found.
    pub errors: u64,
    /// Ids of packs whose bytes are not what they should be.
    pub broken_packs: Vec<String>,
    /// The index must be rebuilt before anything else.
    pub suggest_repair_index: bool,
    /// Packs of the index are missing in the store; not told in JSON.
    pub packs_gone: bool,
    /// Prune would tidy up.
    pub suggest_prune: bool,
}

/// What a verify proved.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct VerifySummary {
    /// Snapshots that were verified.
    pub snapshots: u64,
    /// Of these, those of which all holds.
    pub passed: u64,
    /// Regular files in them.
    pub files: u64,
    /// Bytes of their content.
    pub bytes: u64,
    /// Items whose content does not hold.
    pub items_failed: u64,
    /// What does not hold of any: `content`, `max-age` and so on, each once.
    pub failed_checks: Vec<&'static str>,
    /// Seconds.
    pub duration: f64,
}

/// What is known of a repository as a whole, or of those snapshots of it that an operation looked at.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct RepositorySummary {
    /// Snapshots of any identity.
    pub snapshots: u64,
    /// Bytes of the pack files; `None` where nobody counted.
    pub bytes: Option<u64>,
    /// Bytes of blobs that no snapshot needs; `None` where nobody counted.
    pub unused_bytes: Option<u64>,
    /// By host and path.
    #[serde(skip)]
    pub identities: Vec<IdentitySummary>,
}

/// The snapshots of one host and path.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IdentitySummary {
    /// `host:path`, further paths after commas.
    pub identity: String,
    /// How many.
    pub snapshots: u64,
    /// What they added to the older ones of the repository, as stored; `None` where nobody counted.
    pub stored_bytes: Option<u64>,
    /// When the newest was made, in seconds after 1970.
    pub last_snapshot_seconds: i64,
}
