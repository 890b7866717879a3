//! Identities: a table of all, and a section for each of those with most data.

use std::collections::BTreeMap;

use super::super::advice::every;
use super::super::{Dated, Fate, Folder, Folders, Identity, RepositoryReport};
use super::calendar::{self, Mark};
use super::space::recorded_bars;
use super::{IDENTITIES_MAX, age, left_out, name, short_size, shortened, size, time};
use crate::ops::stats::SnapshotStats;
use crate::report::format::table_time;
use crate::report::html::Html;

/// Rows of each table of a section.
const ROWS_MAX: usize = 8;
/// Reasons to keep that are told.
const REASONS_MAX: usize = 12;

/// All identities.
pub(super) fn table(html: &mut Html, report: &RepositoryReport) {
    if report.identities.is_empty() {
        return;
    }
    html.markup(
        "<section><h2>Snapshots by host and path</h2><div class=\"card\"><table class=\"cards\"><thead><tr>",
    );
    html.markup("<th>Host and paths</th><th class=\"n\">Snapshots</th><th>Newest</th><th>Rhythm</th>");
    html.markup("<th class=\"n\">Restore size</th><th class=\"n\">Stored</th><th class=\"n\">Kept</th>");
    html.markup("<th class=\"n\">Dropped next</th></tr></thead><tbody>");
    for (place, identity) in report.identities.iter().enumerate().take(IDENTITIES_MAX) {
        row(html, report, place, identity);
    }
    html.markup("</tbody></table>");
    left_out(html, report.identities.len(), IDENTITIES_MAX);
    html.markup("</div></section>\n");
}

fn row(html: &mut Html, report: &RepositoryReport, place: usize, identity: &Identity) {
    html.markup("<tr><td class=\"wide identity-name\">");
    if identity.folders.is_some() {
        html.open("a", &[("href", &format!("#identity-{place}"))]);
        name(html, &identity.host);
        html.close("a");
    } else {
        name(html, &identity.host);
    }
    paths(html, identity);
    let number = |html: &mut Html, label: &'static str, number: usize| {
        html.open("td", &[("class", "n"), ("data-label", label)]).text(&number.to_string()).close("td");
    };
    html.markup("</td>");
    number(html, "Snapshots", identity.snapshots.len());
    html.markup("<td data-label=\"Newest\"><span>");
    let newest = newest(report, identity);
    if let Some(newest) = newest {
        let seconds = newest.snapshot.time.instant().0;
        time(html, seconds, &report.zone);
        age(html, report.time.as_second().saturating_sub(seconds));
    }
    html.markup("</span></td><td data-label=\"Rhythm\">");
    html.text(&rhythm(identity)).markup("</td><td class=\"n\" data-label=\"Restore size\">");
    size(html, newest.map_or(0, |newest| newest.restore_bytes));
    html.markup("</td><td class=\"n\" data-label=\"Stored\">");
    size(html, identity.stored_bytes);
    html.markup("</td>");
    number(html, "Kept", count(identity, Mark::Kept) + count(identity, Mark::Soon));
    number(html, "Dropped next", count(identity, Mark::Goes));
    html.markup("</tr>");
}

/// Below the host.
fn paths(html: &mut Html, identity: &Identity) {
    html.element("bdi", &[("class", "path")], &shortened(&identity.paths.join(", ")));
}

fn rhythm(identity: &Identity) -> String {
    identity.rhythm_seconds.map_or_else(|| "–".to_owned(), every)
}

fn newest<'a>(report: &'a RepositoryReport, identity: &Identity) -> Option<&'a SnapshotStats> {
    report.stats.snapshots.get(identity.snapshots.last()?.place)
}

fn mark(fate: &Fate) -> Mark {
    match fate {
        Fate::Alone => Mark::Alone,
        Fate::Goes => Mark::Goes,
        Fate::Kept { until: Some(_), .. } => Mark::Soon,
        Fate::Kept { until: None, .. } => Mark::Kept,
    }
}

fn count(identity: &Identity, wanted: Mark) -> usize {
    identity.snapshots.iter().filter(|dated| mark(&dated.fate) == wanted).count()
}

/// A section for each identity whose folders were measured.
pub(super) fn sections(html: &mut Html, report: &RepositoryReport) {
    calendar::definitions(html);
    for (place, identity) in report.identities.iter().enumerate() {
        if let Some(folders) = &identity.folders {
            section(html, report, place, identity, folders);
        }
    }
    let without = report.identities.iter().filter(|identity| identity.folders.is_none()).count();
    if without > 0 {
        let text = format!("{without} identities with less data stand in the table alone.");
        html.element("p", &[("class", "quiet")], &text);
    }
}

fn section(html: &mut Html, report: &RepositoryReport, place: usize, identity: &Identity, folders: &Folders) {
    html.open("section", &[("class", "card identity"), ("id", &format!("identity-{place}"))]);
    html.markup("<h3 class=\"identity-name\">");
    name(html, &identity.host);
    paths(html, identity);
    html.markup("</h3><p class=\"quiet small\">");
    html.text(&format!(
        "{} {}, {} stored",
        identity.snapshots.len(),
        if identity.snapshots.len() == 1 { "snapshot" } else { "snapshots" },
        short_size(identity.stored_bytes)
    ));
    if identity.rhythm_seconds.is_some() {
        html.text(&format!(", {}", rhythm(identity)));
    }
    html.markup("</p>");
    retention(html, report, identity);
    let recorded: Vec<(i64, u64)> = snapshots(report, identity)
        .filter_map(|(_, one)| {
            Some((one.snapshot.time.instant().0, one.snapshot.summary.as_ref()?.data_added_packed))
        })
        .collect();
    html.markup("<h4>New data by backup</h4>");
    recorded_bars(html, &recorded, identity.snapshots.len(), report);
    html.markup("<div class=\"two\"><div><h4>Largest folders</h4>");
    listed(html, &folders.largest, "No folder holds anything.");
    html.markup("</div><div><h4>Folders with most new data</h4>");
    let since = folders.since.and_then(|place| report.stats.snapshots.get(place));
    if let Some(since) = since {
        html.markup("<p class=\"quiet small\">");
        html.text(&format!("{} stored that the snapshot of ", short_size(folders.changed_bytes)));
        time(html, since.snapshot.time.instant().0, &report.zone);
        html.markup(" does not have</p>");
        listed(html, &folders.changing, "Nothing is new.");
    } else {
        html.markup("<p class=\"quiet\">There is one snapshot only.</p>");
    }
    html.markup("</div></div>");
    latest(html, report, identity);
    html.markup("</section>\n");
}

fn snapshots<'a>(
    report: &'a RepositoryReport,
    identity: &'a Identity,
) -> impl DoubleEndedIterator<Item = (&'a Dated, &'a SnapshotStats)> {
    let of = move |dated: &'a Dated| Some((dated, report.stats.snapshots.get(dated.place)?));
    identity.snapshots.iter().filter_map(of)
}

fn retention(html: &mut Html, report: &RepositoryReport, identity: &Identity) {
    let mut days: BTreeMap<i64, Mark> = BTreeMap::new();
    for (dated, one) in snapshots(report, identity) {
        if let Some(day) = calendar::day(one.snapshot.time.instant().0, &report.zone) {
            let known = days.entry(day).or_insert(Mark::Alone);
            *known = (*known).max(mark(&dated.fate));
        }
    }
    let today = calendar::day(report.time.as_second(), &report.zone).unwrap_or(0);
    let outside = calendar::calendar(html, &days, today);
    calendar::legend(html);
    if outside > 0 {
        let text = format!("{outside} days with snapshots are older than that, or of the future.");
        html.element("p", &[("class", "quiet small")], &text);
    }
    html.markup("<div class=\"two\"><div><h4>Kept, and why</h4>");
    reasons(html, report, identity);
    html.markup("</div><div><h4>Dropped next</h4>");
    next(html, report, identity);
    html.markup("</div></div>");
}

/// How many snapshots each reason keeps; one snapshot may have several.
fn reasons(html: &mut Html, report: &RepositoryReport, identity: &Identity) {
    let mut kept: Vec<(&str, usize, i64, i64)> = Vec::new();
    for (dated, one) in snapshots(report, identity).rev() {
        let Fate::Kept { reasons, .. } = &dated.fate else { continue };
        let seconds = one.snapshot.time.instant().0;
        for reason in reasons {
            match kept.iter_mut().find(|(known, ..)| *known == reason.as_str()) {
                Some((_, count, oldest, _)) => (*count, *oldest) = (*count + 1, seconds),
                None => kept.push((reason, 1, seconds, seconds)),
            }
        }
    }
    if kept.is_empty() {
        html.markup("<p class=\"quiet\">No policy looks at them: all stay.</p>");
        return;
    }
    html.markup("<table><tbody>");
    for (reason, count, oldest, newest) in kept.iter().take(REASONS_MAX) {
        html.markup("<tr><td>").text(&shortened(reason)).markup("</td><td class=\"n\">");
        html.text(&count.to_string()).markup("</td><td class=\"n quiet\">");
        days(html, report, *oldest, *newest);
        html.markup("</td></tr>");
    }
    html.markup("</tbody></table>");
    left_out(html, kept.len(), REASONS_MAX);
}

/// The days from one time to another.
fn days(html: &mut Html, report: &RepositoryReport, oldest: i64, newest: i64) {
    let day = |seconds| {
        let shown = table_time(seconds, &report.zone);
        shown.get(..10).unwrap_or(&shown).to_owned()
    };
    let (oldest, newest) = (day(oldest), day(newest));
    let same_year = oldest.get(..5) == newest.get(..5);
    html.text(&match newest.get(5..).filter(|_| same_year) {
        _ if oldest == newest => oldest,
        Some(newest) => format!("{oldest} – {newest}"),
        None => format!("{oldest} – {newest}"),
    });
}

/// What the next forget drops, and what goes after the backups that are to be expected.
fn next(html: &mut Html, report: &RepositoryReport, identity: &Identity) {
    let goes: Vec<_> = snapshots(report, identity).filter(|(dated, _)| dated.fate == Fate::Goes).collect();
    let until = |dated: &Dated| match dated.fate {
        Fate::Kept { until, .. } => until,
        _ => None,
    };
    let soon: Vec<_> =
        snapshots(report, identity).filter_map(|(dated, one)| Some((until(dated)?, one))).collect();
    if goes.is_empty() && soon.is_empty() {
        html.markup("<p class=\"quiet\">Nothing, as far as one can see.</p>");
        return;
    }
    html.markup("<table><tbody>");
    for (_, one) in goes.iter().take(ROWS_MAX) {
        html.markup("<tr><td>");
        time(html, one.snapshot.time.instant().0, &report.zone);
        html.markup("</td><td>").element("bdi", &[("class", "id")], &one.id.short());
        html.markup("</td><td class=\"drops\">next forget</td></tr>");
    }
    for (seconds, one) in soon.iter().take(ROWS_MAX) {
        html.markup("<tr><td>");
        time(html, one.snapshot.time.instant().0, &report.zone);
        html.markup("</td><td>").element("bdi", &[("class", "id")], &one.id.short());
        html.markup("</td><td class=\"next-to-go\">about <time>");
        days(html, report, *seconds, *seconds);
        html.markup("</time></td></tr>");
    }
    html.markup("</tbody></table>");
    left_out(html, goes.len() + soon.len(), goes.len().min(ROWS_MAX) + soon.len().min(ROWS_MAX));
}

fn listed(html: &mut Html, folders: &[Folder], none: &'static str) {
    if folders.is_empty() {
        html.markup("<p class=\"quiet\">").markup(none).markup("</p>");
        return;
    }
    let most = folders.iter().map(|folder| folder.bytes).max().unwrap_or(0);
    html.markup("<table class=\"folder\"><tbody>");
    for folder in folders {
        html.markup("<tr><td><div class=\"line\">");
        name(html, &folder.path);
        size(html, folder.bytes);
        html.markup("</div><svg class=\"bar\" viewBox=\"0 0 100 1\" preserveAspectRatio=\"none\" aria-hidden=\"true\">");
        let width = if most == 0 { 0 } else { u128::from(folder.bytes) * 100 / u128::from(most) };
        html.open("rect", &[("width", &width.to_string()), ("height", "1")]).close("rect");
        html.markup("</svg></td></tr>");
    }
    html.markup("</tbody></table>");
}

/// The newest snapshots, with the reasons of each.
fn latest(html: &mut Html, report: &RepositoryReport, identity: &Identity) {
    html.markup("<details><summary>Newest snapshots</summary><table class=\"cards\"><thead><tr>");
    html.markup("<th>Time</th><th>Id</th><th class=\"n\">Restore size</th><th class=\"n\">Entries</th>");
    html.markup("<th class=\"n\">Added</th><th>What becomes of it</th></tr></thead><tbody>");
    for (dated, one) in snapshots(report, identity).rev().take(ROWS_MAX) {
        html.markup("<tr><td class=\"wide\">");
        time(html, one.snapshot.time.instant().0, &report.zone);
        html.markup("</td><td data-label=\"Id\">").element("bdi", &[("class", "id")], &one.id.short());
        html.markup("</td><td class=\"n\" data-label=\"Restore size\">");
        size(html, one.restore_bytes);
        html.markup("</td><td class=\"n\" data-label=\"Entries\">").text(&one.entries.to_string());
        html.markup("</td><td class=\"n\" data-label=\"Added\">");
        size(html, one.added_bytes);
        html.markup("</td><td data-label=\"Kept\"><span>");
        match &dated.fate {
            Fate::Alone => html.markup("no policy looks at it"),
            Fate::Goes => html.markup("<span class=\"drops\">dropped by the next forget</span>"),
            Fate::Kept { reasons, .. } => html.text(&shortened(&reasons.join(", "))),
        };
        html.markup("</span></td></tr>");
    }
    html.markup("</tbody></table>");
    left_out(html, identity.snapshots.len(), ROWS_MAX);
    html.markup("</details>");
}
