//! The objects of the JSON lines, each with what makes its line from a summary or a status.
//!
//! Field names, their order and which zeros are left out are restic's.

use serde::Serialize;

use super::FIELD_BYTES_MAX;
use crate::error::Error;
use crate::report::run::Status;
use crate::report::sink::clip;
use crate::report::{
    BackupSummary, CheckSummary, ForgetSummary, InitSummary, Operation, PruneSummary, RestoreSummary,
    go_json, lines,
};

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands fields over by reference")]
fn zero(n: &u64) -> bool {
    *n == 0
}

#[derive(Serialize)]
struct BackupStatus<'a> {
    message_type: &'static str,
    #[serde(skip_serializing_if = "zero")]
    seconds_elapsed: u64,
    #[serde(skip_serializing_if = "zero")]
    seconds_remaining: u64,
    percent_done: f64,
    #[serde(skip_serializing_if = "zero")]
    total_files: u64,
    #[serde(skip_serializing_if = "zero")]
    files_done: u64,
    #[serde(skip_serializing_if = "zero")]
    total_bytes: u64,
    #[serde(skip_serializing_if = "zero")]
    bytes_done: u64,
    #[serde(skip_serializing_if = "zero")]
    error_count: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    current_files: Option<[&'a str; 1]>,
}

#[derive(Serialize)]
struct RestoreStatus {
    message_type: &'static str,
    #[serde(skip_serializing_if = "zero")]
    seconds_elapsed: u64,
    percent_done: f64,
    #[serde(skip_serializing_if = "zero")]
    total_files: u64,
    #[serde(skip_serializing_if = "zero")]
    files_restored: u64,
    #[serde(skip_serializing_if = "zero")]
    total_bytes: u64,
    #[serde(skip_serializing_if = "zero")]
    bytes_restored: u64,
}

pub(super) fn status_line(status: &Status) -> Option<String> {
    let s = status;
    let percent_done = if s.bytes_total == 0 { 0.0 } else { s.bytes_done as f64 / s.bytes_total as f64 };
    match s.operation {
        Operation::Backup => Some(go_json::line(&BackupStatus {
            message_type: "status",
            seconds_elapsed: s.seconds_elapsed,
            seconds_remaining: s.seconds_remaining,
            percent_done,
            total_files: s.files_total,
            files_done: s.files_done,
            total_bytes: s.bytes_total,
            bytes_done: s.bytes_done,
            error_count: s.errors,
            current_files: (!s.item.is_empty()).then(|| [clip(&s.item, FIELD_BYTES_MAX)]),
        })),
        Operation::Restore => Some(go_json::line(&RestoreStatus {
            message_type: "status",
            seconds_elapsed: s.seconds_elapsed,
            percent_done,
            total_files: s.files_total,
            files_restored: s.files_done,
            total_bytes: s.bytes_total,
            bytes_restored: s.bytes_done,
        })),
        Operation::Other => None,
    }
}

/// Ours: restic has no summary of a forget.
#[derive(Serialize)]
struct ForgetDone<'a> {
    message_type: &'static str,
    snapshots_removed: &'a [String],
    snapshots_failed: Vec<&'a str>,
    snapshots_kept: u64,
}

pub(super) fn forget_line(summary: &ForgetSummary) -> String {
    go_json::line(&ForgetDone {
        message_type: "summary",
        snapshots_removed: &summary.removed,
        snapshots_failed: summary.failed.iter().map(|(id, _)| id.as_str()).collect(),
        snapshots_kept: summary.kept,
    })
}

#[derive(Serialize)]
struct BackupDone<'a> {
    message_type: &'static str,
    files_new: u64,
    files_changed: u64,
    files_unmodified: u64,
    dirs_new: u64,
    dirs_changed: u64,
    dirs_unmodified: u64,
    data_blobs: u64,
    tree_blobs: u64,
    data_added: u64,
    data_added_packed: u64,
    total_files_processed: u64,
    total_bytes_processed: u64,
    total_duration: f64,
    backup_start: &'a str,
    backup_end: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    snapshot_id: Option<&'a str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    dry_run: bool,
    /// Ours: present only where ignore files are in use.
    #[serde(skip_serializing_if = "zero")]
    ignored: u64,
}

pub(super) fn backup_line(s: &BackupSummary) -> String {
    go_json::line(&BackupDone {
        message_type: "summary",
        files_new: s.files_new,
        files_changed: s.files_changed,
        files_unmodified: s.files_unmodified,
        dirs_new: s.dirs_new,
        dirs_changed: s.dirs_changed,
        dirs_unmodified: s.dirs_unmodified,
        data_blobs: s.data_blobs,
        tree_blobs: s.tree_blobs,
        data_added: s.data_added,
        data_added_packed: s.data_added_packed,
        total_files_processed: s.total_files_processed,
        total_bytes_processed: s.total_bytes_processed,
        total_duration: s.total_duration,
        backup_start: &s.backup_start,
        backup_end: &s.backup_end,
        snapshot_id: s.snapshot_id.as_deref(),
        dry_run: s.dry_run,
        ignored: s.ignored,
    })
}

#[derive(Serialize)]
struct CheckDone<'a> {
    message_type: &'static str,
    num_errors: u64,
    /// `null` when there are none, as restic's is.
    broken_packs: Option<&'a [String]>,
    suggest_repair_index: bool,
    suggest_prune: bool,
}

pub(super) fn check_line(s: &CheckSummary) -> String {
    go_json::line(&CheckDone {
        message_type: "summary",
        num_errors: s.errors,
        broken_packs: (!s.broken_packs.is_empty()).then_some(s.broken_packs.as_slice()),
        suggest_repair_index: s.suggest_repair_index,
        suggest_prune: s.suggest_prune,
    })
}

#[derive(Serialize)]
struct RestoreDone {
    message_type: &'static str,
    #[serde(skip_serializing_if = "zero")]
    seconds_elapsed: u64,
    #[serde(skip_serializing_if = "zero")]
    total_files: u64,
    #[serde(skip_serializing_if = "zero")]
    files_restored: u64,
    #[serde(skip_serializing_if = "zero")]
    files_skipped: u64,
    #[serde(skip_serializing_if = "zero")]
    files_deleted: u64,
    #[serde(skip_serializing_if = "zero")]
    total_bytes: u64,
    #[serde(skip_serializing_if = "zero")]
    bytes_restored: u64,
    #[serde(skip_serializing_if = "zero")]
    bytes_skipped: u64,
}

pub(super) fn restore_line(s: &RestoreSummary) -> String {
    go_json::line(&RestoreDone {
        message_type: "summary",
        #[expect(clippy::cast_sign_loss, reason = "a cast from float saturates")]
        seconds_elapsed: s.duration as u64,
        total_files: s.files_total,
        files_restored: s.files_restored,
        files_skipped: s.files_skipped,
        files_deleted: s.files_deleted,
        total_bytes: s.bytes_total,
        bytes_restored: s.bytes_restored,
        bytes_skipped: s.bytes_skipped,
    })
}

/// restic's prune has no JSON: the names are ours, all fields are always there.
#[derive(Serialize)]
struct PruneDone {
    message_type: &'static str,
    dry_run: bool,
    blobs_used: u64,
    bytes_used: u64,
    blobs_duplicate: u64,
    bytes_duplicate: u64,
    blobs_repacked: u64,
    bytes_repacked: u64,
    blobs_repacked_away: u64,
    bytes_repacked_away: u64,
    blobs_removed: u64,
    bytes_removed: u64,
    packs_unreferenced: u64,
    bytes_unreferenced: u64,
    bytes_freed: u64,
    blobs_remaining: u64,
    bytes_remaining: u64,
    bytes_unused_after: u64,
    packs_kept: u64,
    packs_repacked: u64,
    packs_removed: u64,
    packs_written: u64,
    packs_deleted: u64,
    index_files_written: u64,
    index_files_deleted: u64,
    guard_requests: u64,
    total_duration: f64,
}

pub(super) fn prune_line(s: &PruneSummary) -> String {
    go_json::line(&PruneDone {
        message_type: "summary",
        dry_run: s.dry_run,
        blobs_used: s.blobs_used,
        bytes_used: s.bytes_used,
        blobs_duplicate: s.blobs_duplicate,
        bytes_duplicate: s.bytes_duplicate,
        blobs_repacked: s.blobs_repacked,
        bytes_repacked: s.bytes_repacked,
        blobs_repacked_away: s.blobs_repacked_away,
        bytes_repacked_away: s.bytes_repacked_away,
        blobs_removed: s.blobs_removed,
        bytes_removed: s.bytes_removed,
        packs_unreferenced: s.packs_unreferenced,
        bytes_unreferenced: s.bytes_unreferenced,
        bytes_freed: s.bytes_freed(),
        blobs_remaining: s.blobs_remaining,
        bytes_remaining: s.bytes_remaining,
        bytes_unused_after: s.bytes_unused_after,
        packs_kept: s.packs_kept,
        packs_repacked: s.packs_repacked,
        packs_removed: s.packs_removed,
        packs_written: s.packs_written,
        packs_deleted: s.packs_deleted,
        index_files_written: s.index_files_written,
        index_files_deleted: s.index_files_deleted,
        guard_requests: s.guard_requests,
        total_duration: s.duration,
    })
}

#[derive(Serialize)]
struct Initialized<'a> {
    message_type: &'static str,
    id: &'a str,
    repository: &'a str,
}

pub(super) fn initialized_line(s: &InitSummary) -> String {
    go_json::line(&Initialized { message_type: "initialized", id: &s.id, repository: &s.location })
}

#[derive(Serialize)]
struct ItemFailed<'a> {
    message_type: &'static str,
    error: Message<'a>,
    during: &'a str,
    item: &'a str,
}

#[derive(Serialize)]
struct Message<'a> {
    message: &'a str,
}

pub(super) fn error_line(during: &str, item: &str, cause: &str) -> String {
    go_json::line(&ItemFailed {
        message_type: "error",
        error: Message { message: clip(cause, FIELD_BYTES_MAX) },
        during,
        item: clip(item, FIELD_BYTES_MAX),
    })
}

#[derive(Serialize)]
struct Exit<'a> {
    message_type: &'static str,
    code: u8,
    message: &'a str,
}

pub(super) fn exit_line(error: &Error) -> String {
    let message = lines::fatal(error);
    go_json::line(&Exit { message_type: "exit_error", code: error.kind.exit_code(), message: &message })
}

#[derive(Serialize)]
struct Problem<'a> {
    message_type: &'static str,
    message: &'a str,
}

pub(super) fn problem_line(text: &str) -> String {
    go_json::line(&Problem { message_type: "error", message: clip(text, FIELD_BYTES_MAX) })
}
