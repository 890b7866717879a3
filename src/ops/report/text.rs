//! The report in a few lines, for a terminal or a log.

use std::fmt::Write;

use super::advice::ago;
use super::{Fate, RepositoryReport};
use crate::report::format::{bytes, table_time};
use crate::report::sink::printable;

/// The lines.
pub(super) fn text(report: &RepositoryReport) -> String {
    let mut text = String::new();
    // A name with a newline in it cannot forge a line. Writing to a `String` cannot fail.
    let mut row = |name: &str, value: String| _ = writeln!(text, "{name:>20}: {}", printable(&value));
    let stats = &report.stats;
    row("Repository", format!("{} at {}", report.id.get(..10).unwrap_or(&report.id), report.location));
    let identities = report.identities.len();
    row("Snapshots", format!("{} of {identities} hosts and paths", stats.snapshots.len()));
    if let Some(newest) = stats.snapshots.last() {
        let (seconds, _) = newest.snapshot.time.instant();
        let age = ago(report.time.as_second().saturating_sub(seconds).max(0));
        row("Newest", format!("{}, {age} ago", table_time(seconds, &report.zone)));
    }
    row("Restore size", bytes(stats.restore_bytes));
    row("Stored size", format!("{} in {} packs", bytes(stats.whole.pack_bytes), stats.whole.packs));
    row("Unused", report.unused_bytes().map_or_else(|| "not known".to_owned(), bytes));
    row("Policy", if report.policy.is_empty() { "none".to_owned() } else { report.policy.join("; ") });
    let fates = || report.identities.iter().flat_map(|one| &one.snapshots).map(|dated| &dated.fate);
    let goes = fates().filter(|fate| **fate == Fate::Goes).count();
    let kept = fates().filter(|fate| matches!(fate, Fate::Kept { .. })).count();
    row("Kept, dropped next", format!("{kept}, {goes}"));
    let upkeep = &report.upkeep;
    for (name, last) in
        [("Last check", upkeep.check), ("Last verification", upkeep.verify), ("Last prune", upkeep.prune)]
    {
        let time = |last: jiff::Timestamp| table_time(last.as_second(), &report.zone);
        row(name, last.map_or_else(|| "not known here".to_owned(), time));
    }
    row("Locks of others", report.locks.len().to_string());
    for advice in &report.advice {
        let _ = writeln!(text, "{}: {} {}", advice.urgency.word(), printable(&advice.what), advice.next);
    }
    text
}
