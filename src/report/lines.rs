//! restic's lines, to the letter, as plain text without the last newline.
//!
//! `VolSync`'s operator and many scripts read these lines: a word changed here is a broken contract. The tests
//! hold them against what restic 0.19.1 printed.

use super::Operation;
use super::format;
use super::run::Status;
use super::sink::{clip, printable};
use super::{BackupSummary, ForgetSummary, InitSummary, PruneSummary, RestoreSummary};
use crate::error::Error;

/// The most bytes of the line that ends a failure, newline included (contract: under 512).
pub const FATAL_BYTES_MAX: usize = 511;

/// What the new repository is called, and restic's warning.
#[must_use]
pub fn initialized(summary: &InitSummary) -> Vec<String> {
    let head = format!("created restic repository {} at {}", clip(&summary.id, 10), summary.location);
    let warning = [
        "",
        "Please note that knowledge of your password is required to access",
        "the repository. Losing your password means that your data is",
        "irrecoverably lost.",
    ];
    std::iter::once(head).chain(warning.map(str::to_owned)).collect()
}

/// What the first line of a backup says of the snapshot compared with, given its first 8 hex digits.
#[must_use]
pub fn parent(parent: Option<&str>) -> String {
    match parent {
        Some(id) => format!("using parent snapshot {id}"),
        None => "no parent snapshot found, will read all files".to_owned(),
    }
}

/// The end of a backup: a blank line first, the snapshot last.
#[must_use]
pub fn backed_up(summary: &BackupSummary) -> Vec<String> {
    let s = summary;
    let counts = |new, changed, same| format!("{new:5} new, {changed:5} changed, {same:5} unmodified");
    let verb = if s.dry_run { "Would add" } else { "Added" };
    let (added, stored) = (format::bytes(s.data_added), format::bytes(s.data_added_packed));
    let mut lines = vec![
        String::new(),
        format!("Files:       {}", counts(s.files_new, s.files_changed, s.files_unmodified)),
        format!("Dirs:        {}", counts(s.dirs_new, s.dirs_changed, s.dirs_unmodified)),
    ];
    if s.ignored > 0 {
        lines.push(format!("Ignored:     {:5} by ignore files", s.ignored));
    }
    lines.push(format!("{verb} to the repository: {added:<5} ({stored:<5} stored)"));
    lines.push(String::new());
    lines.push(format!(
        "processed {} files, {} in {}",
        s.total_files_processed,
        format::bytes(s.total_bytes_processed),
        format::duration(s.total_duration),
    ));
    match &s.snapshot_id {
        _ if s.dry_run => {}
        Some(id) => lines.push(format!("snapshot {} saved", clip(id, 8))),
        None => lines.push("skipped creating snapshot".to_owned()),
    }
    lines
}

/// The end of a forget that removed something; restic shows the same as the end of its progress.
#[must_use]
pub fn forgotten(summary: &ForgetSummary) -> Option<String> {
    let done = summary.removed.len();
    let all = done + summary.failed.len();
    (all > 0 && !summary.dry_run).then(|| format!("removed {done} of {all} snapshots"))
}

/// What the first line of a restore names.
#[derive(Debug, Clone, Copy)]
pub struct Restoring<'a> {
    /// The first 8 hex digits of the snapshot's id.
    pub short_id: &'a str,
    /// The snapshot's paths.
    pub paths: &'a [String],
    /// Its time, in the form of `format::go_time`.
    pub time: &'a str,
    /// The user that it records, may be empty.
    pub username: &'a str,
    /// Its host.
    pub hostname: &'a str,
    /// Where it is restored.
    pub target: &'a str,
}

/// The first line of a restore.
#[must_use]
pub fn restoring(what: &Restoring<'_>) -> String {
    let Restoring { short_id, paths, time, username, hostname, target } = what;
    let paths = paths.join(" ");
    format!("restoring snapshot {short_id} of [{paths}] at {time} by {username}@{hostname} to {target}")
}

/// The end of a restore.
#[must_use]
pub fn restored(summary: &RestoreSummary) -> String {
    let s = summary;
    let head = if (s.files_restored, s.bytes_restored) == (s.files_total, s.bytes_total) {
        format!("{} files/dirs ({})", s.files_total, format::bytes(s.bytes_total))
    } else {
        let (done, total) = (format::bytes(s.bytes_restored), format::bytes(s.bytes_total));
        format!("{} / {} files/dirs ({done} / {total})", s.files_restored, s.files_total)
    };
    let mut parts = vec![format!("Summary: Restored {head} in {}", format::duration(s.duration))];
    if s.files_skipped > 0 {
        parts.push(format!("skipped {} files/dirs {}", s.files_skipped, format::bytes(s.bytes_skipped)));
    }
    if s.files_deleted > 0 {
        parts.push(format!("deleted {} files/dirs", s.files_deleted));
    }
    parts.join(", ")
}

/// The end of a prune, in restic's words.
#[must_use]
pub fn pruned(summary: &PruneSummary) -> Vec<String> {
    let s = summary;
    let line = |label: &str, blobs: u64, bytes: u64| {
        format!("{label:<14}{blobs:>10} blobs / {}", format::bytes(bytes))
    };
    let mut lines = Vec::new();
    if s.dry_run {
        lines.extend(["Would have made the following changes:".to_owned(), String::new()]);
    }
    lines.extend([
        line("to repack:", s.blobs_repacked, s.bytes_repacked),
        line("this removes:", s.blobs_repacked_away, s.bytes_repacked_away),
        line("to delete:", s.blobs_removed, s.bytes_removed + s.bytes_unreferenced),
        line("total prune:", s.blobs_removed + s.blobs_repacked_away, s.bytes_freed()),
        line("remaining:", s.blobs_remaining, s.bytes_remaining),
    ]);
    let share = match format::percent(s.bytes_unused_after, s.bytes_remaining) {
        share if share.is_empty() => "0.00%".to_owned(),
        share => share,
    };
    let unused = format::bytes(s.bytes_unused_after);
    lines.push(format!("unused size after prune: {unused} ({share} of remaining size)"));
    if !s.dry_run {
        lines.push(String::new());
        if s.packs_deleted + s.index_files_deleted > 0 {
            let (index, packs) = (s.index_files_deleted, s.packs_deleted);
            lines.push(format!("removed {packs} old packs and {index} old index files"));
        }
        lines.push("done".to_owned());
    }
    lines
}

/// One item failed. No such line begins with a word of `VolSync`'s log filter, whatever the item is called.
#[must_use]
pub fn item_failed(during: &str, item: &str, cause: &str) -> String {
    if during == "restore" {
        format!("ignoring error for {item}: {cause}")
    } else if cause.contains(item) {
        format!("error: {cause}")
    } else {
        format!("error: {item}: {cause}")
    }
}

/// A warning. It begins with this word, so that nothing in the text is taken for a line of the contract.
#[must_use]
pub fn warning(text: &str) -> String {
    if text.starts_with("Warning: ") { text.to_owned() } else { format!("Warning: {text}") }
}

/// The last line of a failure: one line of at most `FATAL_BYTES_MAX` with its newline. What is too long
/// loses its middle, since the end says what to do.
#[must_use]
pub fn fatal(error: &Error) -> String {
    const TAIL_BYTES: usize = 200;
    let line = printable(&format!("Fatal: {error}"));
    let room = FATAL_BYTES_MAX - "\n".len();
    if line.len() <= room {
        return line;
    }
    let head = clip(&line, room - TAIL_BYTES - "…".len());
    let tail =
        line.split_at_checked(line.ceil_char_boundary(line.len() - TAIL_BYTES)).map_or("", |(_, tail)| tail);
    format!("{head}…{tail}")
}

/// What the operation waits for while nothing moves.
pub(super) fn waiting(status: &Status) -> String {
    format!("[{}] waiting for {}", format::seconds(status.seconds_elapsed), status.waiting)
}

/// How far the operation is, as restic says it.
pub(super) fn status(status: &Status) -> String {
    let s = status;
    let time = format::seconds(s.seconds_elapsed);
    if s.is_uncounted() && !s.phase.is_empty() {
        return format!("[{time}] {}", s.phase);
    }
    let (done, total) = (format::bytes(s.bytes_done), format::bytes(s.bytes_total));
    match s.operation {
        Operation::Backup if s.files_total == 0 => {
            format!("[{time}] {} files, {done}, {} errors", s.files_done, s.errors)
        }
        Operation::Backup => {
            let (mut percent, mut left) = (String::new(), String::new());
            if s.seconds_remaining > 0 && s.bytes_done < s.bytes_total {
                percent = format!("{}  ", format::percent(s.bytes_done, s.bytes_total));
                left = format!(" ETA {}", format::seconds(s.seconds_remaining));
            }
            let (files, of, errors) = (s.files_done, s.files_total, s.errors);
            format!("[{time}] {percent}{files} files {done}, total {of} files {total}, {errors} errors{left}")
        }
        Operation::Restore => {
            let percent = format::percent(s.bytes_done, s.bytes_total);
            let (files, of) = (s.files_done, s.files_total);
            format!("[{time}] {percent}  {files} files/dirs {done}, total {of} files/dirs {total}")
        }
        Operation::Other if s.files_total == 0 => format!("[{time}]          {} {}", s.files_done, s.phase),
        Operation::Other => {
            let percent = format::percent(s.files_done, s.files_total);
            format!("[{time}] {percent}  {} / {} {}", s.files_done, s.files_total, s.phase)
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;
    use crate::error::ErrorKind;

    // Every expected text below was printed by restic 0.19.1, unless it says otherwise.

    fn backup() -> BackupSummary {
        BackupSummary {
            files_new: 5,
            dirs_new: 1,
            data_added: 3_591_000,
            data_added_packed: 3_049_278,
            total_files_processed: 5,
            total_bytes_processed: 3_588_903,
            total_duration: 0.94,
            snapshot_id: Some(format!("084f4943{}", "0".repeat(56))),
            ..BackupSummary::default()
        }
    }

    #[test]
    fn a_backup_ends_as_restics() {
        let expected = "
Files:           5 new,     0 changed,     0 unmodified
Dirs:            1 new,     0 changed,     0 unmodified
Added to the repository: 3.425 MiB (2.908 MiB stored)

processed 5 files, 3.423 MiB in 0:00
snapshot 084f4943 saved";
        assert_eq!(backed_up(&backup()).join("\n"), expected);
    }

    #[test]
    fn a_backup_without_a_snapshot_says_so_and_a_dry_run_does_not() {
        let unchanged = BackupSummary {
            files_unmodified: 1,
            dirs_unmodified: 1,
            total_files_processed: 1,
            total_bytes_processed: 1024,
            ..BackupSummary::default()
        };
        let expected = "
Files:           0 new,     0 changed,     1 unmodified
Dirs:            0 new,     0 changed,     1 unmodified
Added to the repository: 0 B   (0 B   stored)

processed 1 files, 1.000 KiB in 0:00
skipped creating snapshot";
        assert_eq!(backed_up(&unchanged).join("\n"), expected);
        let dry = BackupSummary { dry_run: true, data_added: 1777, data_added_packed: 620, ..backup() };
        let expected = "
Files:           5 new,     0 changed,     0 unmodified
Dirs:            1 new,     0 changed,     0 unmodified
Would add to the repository: 1.735 KiB (620 B stored)

processed 5 files, 3.423 MiB in 0:00";
        assert_eq!(backed_up(&dry).join("\n"), expected);
    }

    #[test]
    fn a_restore_begins_and_ends_as_restics() {
        let paths = ["/tmp/rp/m1".to_owned(), "/tmp/rp/m2".to_owned()];
        let what = Restoring {
            short_id: "e96d739d",
            paths: &paths,
            time: "2025-07-02 03:04:05 +0000 UTC",
            username: "root",
            hostname: "ünï",
            target: "rtt",
        };
        let expected = "restoring snapshot e96d739d of [/tmp/rp/m1 /tmp/rp/m2] at \
                        2025-07-02 03:04:05 +0000 UTC by root@ünï to rtt";
        assert_eq!(restoring(&what), expected);

        let all = RestoreSummary {
            files_total: 6,
            files_restored: 6,
            bytes_total: 3_588_934,
            bytes_restored: 3_588_934,
            ..RestoreSummary::default()
        };
        assert_eq!(restored(&all), "Summary: Restored 6 files/dirs (3.423 MiB) in 0:00");
        let again = RestoreSummary {
            files_total: 1,
            files_restored: 1,
            files_skipped: 5,
            files_deleted: 1,
            bytes_skipped: 3_588_934,
            ..RestoreSummary::default()
        };
        let expected = "Summary: Restored 1 files/dirs (0 B) in 0:00, skipped 5 files/dirs 3.423 MiB, deleted 1 files/dirs";
        assert_eq!(restored(&again), expected);
        let half = RestoreSummary {
            files_total: 2,
            files_restored: 1,
            files_skipped: 1,
            files_deleted: 1,
            bytes_total: 14_000,
            bytes_restored: 5000,
            bytes_skipped: 700,
            duration: 0.2,
            ..RestoreSummary::default()
        };
        let expected = "Summary: Restored 1 / 2 files/dirs (4.883 KiB / 13.672 KiB) in 0:00, \
                        skipped 1 files/dirs 700 B, deleted 1 files/dirs";
        assert_eq!(restored(&half), expected);
    }

    #[test]
    fn init_warns_of_a_lost_password() {
        let summary = InitSummary {
            id: "b89c1b8296aa7f25df19608234e3d19a011c80dadbf7caf4e36ad603440120ab".into(),
            location: "/tmp/rp/repo0.19".into(),
        };
        let expected = "created restic repository b89c1b8296 at /tmp/rp/repo0.19

Please note that knowledge of your password is required to access
the repository. Losing your password means that your data is
irrecoverably lost.";
        assert_eq!(initialized(&summary).join("\n"), expected);
    }

    #[test]
    fn status_lines_are_restics() {
        let backup = Status {
            operation: Operation::Backup,
            seconds_elapsed: 1,
            files_total: 3,
            files_done: 3,
            bytes_total: 10_000_000,
            bytes_done: 10_000_000,
            ..Status::default()
        };
        assert_eq!(status(&backup), "[0:01] 3 files 9.537 MiB, total 3 files 9.537 MiB, 0 errors");
        let restore = Status {
            operation: Operation::Restore,
            files_total: 4,
            files_done: 1,
            bytes_done: 4_000_000,
            ..backup.clone()
        };
        assert_eq!(status(&restore), "[0:01] 40.00%  1 files/dirs 3.815 MiB, total 4 files/dirs 9.537 MiB");
        // By restic's documented form, not seen: the moments of a longer backup.
        let half =
            Status { bytes_done: 4_000_000, files_done: 1, seconds_remaining: 75, errors: 2, ..backup };
        let expected = "[0:01] 40.00%  1 files 3.815 MiB, total 3 files 9.537 MiB, 2 errors ETA 1:15";
        assert_eq!(status(&half), expected);
        let scanning = Status { files_total: 0, ..half };
        assert_eq!(status(&scanning), "[0:01] 1 files, 3.815 MiB, 2 errors");
        let other =
            Status { operation: Operation::Other, files_total: 3, files_done: 3, ..Status::default() };
        let other = Status { phase: "index files loaded".into(), ..other };
        assert_eq!(status(&other), "[0:00] 100.00%  3 / 3 index files loaded");
    }

    #[test]
    fn failures_of_items_name_the_item_once() {
        let named = item_failed("archival", "/d/secret", "/d/secret: open secret: permission denied");
        assert_eq!(named, "error: /d/secret: open secret: permission denied");
        assert_eq!(item_failed("scan", "/d/x", "permission denied"), "error: /d/x: permission denied");
        let restore = item_failed("restore", "/ok", "lchown /ro/ok: no such file or directory");
        assert_eq!(restore, "ignoring error for /ok: lchown /ro/ok: no such file or directory");
    }

    #[test]
    fn the_last_line_is_short_and_keeps_its_advice() {
        let error =
            Error::new(ErrorKind::Usage, "failed to open").at("s3:x").because("no\nroute").then("Try again");
        assert_eq!(fatal(&error), "Fatal: failed to open: s3:x: no route. Try again");
        let long = error.because("é".repeat(4000));
        let line = fatal(&long);
        assert!(line.len() < FATAL_BYTES_MAX && line.len() > 500, "{} bytes", line.len());
        assert!(line.starts_with("Fatal: failed to open: s3:x: é") && line.ends_with("é. Try again"));
    }
}
