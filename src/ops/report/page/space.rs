//! The repository as a whole: its figures, how it grew, and what its room is used for.

use super::super::RepositoryReport;
use super::super::advice::ago;
use super::{chart, size};
use crate::ops::stats::SnapshotStats;
use crate::report::html::Html;

/// The figures that everybody asks for first.
pub(super) fn tiles(html: &mut Html, report: &RepositoryReport) {
    let stats = &report.stats;
    html.markup("<div class=\"tiles\">");
    let newest = stats.snapshots.iter().map(|one| one.snapshot.time.instant().0).max();
    let note = newest.map_or_else(String::new, |newest| {
        format!("newest {} ago", ago((report.time.as_second() - newest).max(0)))
    });
    count(html, "Snapshots", stats.snapshots.len(), &note);
    count(html, "Identities", report.identities.len(), "hosts with their paths");
    let note = format!("{} entries in all", stats.entries);
    amount(html, "Restore size", stats.restore_bytes, &note);
    let whole = &stats.whole;
    amount(html, "Stored", whole.pack_bytes, &format!("in {} packs", whole.packs));
    tile(
        html,
        "Saved",
        &times(stats.restore_bytes, stats.needed.stored_bytes),
        "by deduplication and compression",
    );
    match report.unused_bytes() {
        Some(unused) => {
            let note = format!("{} of what is stored", percent(unused, whole.pack_bytes));
            amount(html, "Unused", unused, &note);
        }
        None => tile(html, "Unused", "–", "not known"),
    }
    html.markup("</div>\n");
}

fn tile(html: &mut Html, name: &'static str, value: &str, note: &str) {
    html.markup("<div class=\"tile\"><span class=\"name\">").markup(name);
    html.markup("</span>").element("span", &[("class", "value")], value);
    html.element("span", &[("class", "note")], note).markup("</div>");
}

fn count(html: &mut Html, name: &'static str, number: usize, note: &str) {
    tile(html, name, &number.to_string(), note);
}

fn amount(html: &mut Html, name: &'static str, bytes: u64, note: &str) {
    html.markup("<div class=\"tile\"><span class=\"name\">").markup(name);
    html.markup("</span><span class=\"value\">");
    size(html, bytes);
    html.markup("</span>").element("span", &[("class", "note")], note).markup("</div>");
}

/// How the repository grew, by the snapshots that are there.
pub(super) fn growth(html: &mut Html, report: &RepositoryReport) {
    let snapshots = &report.stats.snapshots;
    if snapshots.is_empty() {
        return;
    }
    let time = |one: &SnapshotStats| one.snapshot.time.instant().0;
    html.markup("<section><h2>Growth</h2><div class=\"card\"><h3>What the snapshots need</h3>");
    html.markup("<p class=\"quiet small\">Stored data by the oldest snapshot that needs it; ");
    html.markup("what was dropped is not in it.</p>");
    let added: Vec<(i64, u64)> = snapshots.iter().map(|one| (time(one), one.added_bytes)).collect();
    chart::line(html, &added, &report.zone);
    html.markup("<h4>New data by backup</h4>");
    let recorded: Vec<(i64, u64)> = snapshots
        .iter()
        .filter_map(|one| Some((time(one), one.snapshot.summary.as_ref()?.data_added_packed)))
        .collect();
    recorded_bars(html, &recorded, snapshots.len(), report);
    html.markup("</div></section>\n");
}

/// What backups recorded, and how many did not.
pub(super) fn recorded_bars(html: &mut Html, recorded: &[(i64, u64)], all: usize, report: &RepositoryReport) {
    chart::bars(html, recorded, &report.zone);
    let without = all - recorded.len();
    if without > 0 {
        let text = format!(
            "{without} of {all} snapshots do not record what they added: they were written before restic 0.17."
        );
        html.element("p", &[("class", "quiet small")], &text);
    }
}

/// What the packs hold.
pub(super) fn space(html: &mut Html, report: &RepositoryReport) {
    let stats = &report.stats;
    let whole = &stats.whole;
    let used = stats.needed.stored_bytes;
    html.markup("<section><h2>Space</h2><div class=\"card two\"><div><h3>What is stored</h3>");
    if let Some(unused) = report.unused_bytes() {
        let rest = whole.pack_bytes.saturating_sub(used + unused);
        stack(html, [("used", used), ("unused", unused), ("rest", rest)]);
    }
    html.markup("<table><tbody>");
    let mut row = |key: &'static str, name: &'static str, bytes: u64, note: &str| {
        html.markup("<tr><td>");
        if !key.is_empty() {
            html.open("span", &[("class", &format!("key {key}"))]).close("span");
        }
        html.markup(name).markup(" ").element("span", &[("class", "quiet")], note);
        html.markup("</td><td class=\"n\">");
        size(html, bytes);
        html.markup("</td></tr>");
    };
    row("used", "Needed by snapshots", used, &format!("{} blobs", stats.needed.count));
    if let Some((blobs, unused)) = whole.unused {
        row("unused", "Unused", unused, &format!("{blobs} blobs"));
        let rest = whole.pack_bytes.saturating_sub(used + unused);
        row("rest", "Headers and unindexed packs", rest, "");
    }
    row("", "In all", whole.pack_bytes, &format!("{} packs", whole.packs));
    let (copies, bytes) = (whole.duplicates, whole.duplicate_bytes);
    row("", "Stored twice", bytes, &format!("{copies} blobs, part of unused"));
    row("", "Packs in no index", report.unindexed.1, &format!("{} packs", report.unindexed.0));
    html.markup("</tbody></table></div><div><h3>Deduplication and compression</h3><table><tbody>");
    let mut row = |name: &'static str, note: &str, bytes: Option<u64>, text: &str| {
        html.markup("<tr><td>").markup(name).markup(" ");
        html.element("span", &[("class", "quiet")], note).markup("</td><td class=\"n\">");
        match bytes {
            Some(bytes) => size(html, bytes),
            None => _ = html.text(text),
        }
        html.markup("</td></tr>");
    };
    row("All files of all snapshots", "", Some(stats.restore_bytes), "");
    let files = format!("{} files", stats.distinct_files);
    row("Files of distinct content", &files, Some(stats.distinct_bytes), "");
    row("Distinct pieces, before compression", "", Some(stats.needed.plain_bytes), "");
    row("The same, as stored", "", Some(used), "");
    row("Saved by deduplication", "", None, &times(stats.restore_bytes, stats.needed.plain_bytes));
    if whole.version >= 2 {
        let needed = &stats.needed;
        let part = format!("of {:.0} % of the data", needed.compression_progress());
        row("Saved by compression", &part, None, &format!("{:.2}×", needed.compression_ratio()));
    }
    html.markup("</tbody></table></div></div></section>\n");
}

/// Shares of one bar.
fn stack(html: &mut Html, parts: [(&'static str, u64); 3]) {
    let all: u64 = parts.iter().map(|(_, bytes)| bytes).sum();
    html.markup(
        "<svg class=\"stack\" viewBox=\"0 0 1000 10\" preserveAspectRatio=\"none\" aria-hidden=\"true\">",
    );
    let mut before = 0;
    for (class, bytes) in parts {
        let place =
            |bytes: u64| if all == 0 { 0 } else { (u128::from(bytes) * 1000 / u128::from(all)) as u64 };
        let (x, end) = (place(before), place(before + bytes));
        let (x, width) = (x.to_string(), (end - x).to_string());
        html.open("rect", &[("class", class), ("x", &x), ("width", &width), ("height", "10")]).close("rect");
        before += bytes;
    }
    html.markup("</svg>");
}

/// How many times as much one is as the other.
fn times(whole: u64, part: u64) -> String {
    if part == 0 {
        return "–".to_owned();
    }
    let times = whole as f64 / part as f64;
    if times < 100.0 { format!("{times:.2}×") } else { format!("{times:.0}×") }
}

fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "0 %".to_owned();
    }
    format!("{:.1} %", 100.0 * part as f64 / whole as f64)
}
