//! The report as one HTML page that needs nothing else: no network, no script, no fonts.
//!
//! Every text goes through `Html`, which escapes it. The page's own policy (`Content-Security-Policy`) allows its
//! one style sheet, by its hash, and nothing else: should a name ever get past the escaping, it would still load
//! and run nothing. Rows are limited and what is left out is counted, so that the page stays small.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use jiff::tz::TimeZone;

use super::advice::ago;
use super::{LockState, RepositoryReport, Urgency};
use crate::report::format::{table_time, zone_name};
use crate::report::html::Html;
use crate::repository::Id;
use crate::repository::time::NodeTime;

mod calendar;
mod chart;
mod identity;
mod space;

/// The style sheet.
const STYLE: &str = include_str!("page/style.css");
/// Characters of a name that are shown; the middle of a longer one is left out.
const NAME_CHARS_MAX: usize = 120;
/// Rows of the table of identities.
const IDENTITIES_MAX: usize = 500;
/// Rows of the table of locks.
const LOCKS_MAX: usize = 50;

/// The page.
pub(super) fn html(report: &RepositoryReport) -> String {
    let mut html = Html::default();
    head(&mut html, report);
    html.markup("<body><main>");
    header(&mut html, report);
    space::tiles(&mut html, report);
    advice(&mut html, report);
    upkeep(&mut html, report);
    space::growth(&mut html, report);
    space::space(&mut html, report);
    identity::table(&mut html, report);
    identity::sections(&mut html, report);
    footer(&mut html, report);
    html.markup("</main></body></html>\n");
    html.finish()
}

fn head(html: &mut Html, report: &RepositoryReport) {
    let hash = BASE64_STANDARD.encode(Id::of(STYLE.as_bytes()).0);
    let policy =
        format!("default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'");
    html.markup("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">");
    html.open("meta", &[("http-equiv", "Content-Security-Policy"), ("content", &policy)]);
    html.markup("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">");
    html.markup("<meta name=\"color-scheme\" content=\"light dark\">");
    html.markup("<meta name=\"referrer\" content=\"no-referrer\"><meta name=\"robots\" content=\"noindex\">");
    html.element("title", &[], &format!("Repository report: {}", shortened(&report.location)));
    html.markup("<style>").markup(STYLE).markup("</style></head>\n");
}

fn header(html: &mut Html, report: &RepositoryReport) {
    html.markup("<header><h1>Repository report</h1><p>");
    name(html, &report.location);
    html.markup("</p><p class=\"quiet small\">id ");
    html.element("bdi", &[], report.id.get(..10).unwrap_or(&report.id));
    html.text(&format!(" · format version {} · made ", report.stats.whole.version));
    time(html, report.time.as_second(), &report.zone);
    html.text(&format!(" ({})", zone_name(&report.zone, report.time)));
    if report.is_filtered {
        html.text(" · of selected snapshots only: MOVER_HOST, MOVER_PATH or MOVER_TAGS is set");
    }
    html.markup("</p></header>\n");
}

fn advice(html: &mut Html, report: &RepositoryReport) {
    html.markup("<section><h2>What to do</h2>");
    if report.advice.is_empty() {
        html.markup("<p class=\"card fine\">Nothing: backups come, checks pass, and room is used well.</p>");
    } else {
        html.markup("<ul class=\"advice\">");
        for advice in &report.advice {
            let class = if advice.urgency == Urgency::Act { "act" } else { "" };
            html.open("li", &[("class", class), ("data-rule", advice.rule)]);
            html.element("b", &[], advice.urgency.word()).text(&advice.what);
            html.element("span", &[("class", "next quiet")], &advice.next).close("li");
        }
        html.markup("</ul>");
    }
    if !report.damage.shown.is_empty() {
        html.markup("<details><summary>What cannot be read</summary><ul>");
        for shown in &report.damage.shown {
            html.element("li", &[], &shortened(shown));
        }
        let more = report.damage.faults - report.damage.shown.len() as u64;
        if more > 0 {
            html.element("li", &[], &format!("and {more} others"));
        }
        html.markup("</ul></details>");
    }
    html.markup("</section>\n");
}

fn upkeep(html: &mut Html, report: &RepositoryReport) {
    html.markup("<section><h2>Upkeep</h2><div class=\"card two\"><dl class=\"rows\">");
    let upkeep = &report.upkeep;
    let last =
        [("Last check", upkeep.check), ("Last verification", upkeep.verify), ("Last prune", upkeep.prune)];
    for (title, last) in last {
        html.element("dt", &[], title).markup("<dd>");
        match last {
            Some(last) => {
                time(html, last.as_second(), &report.zone);
                age(html, report.time.as_second() - last.as_second());
            }
            None => _ = html.markup("<span class=\"quiet\">not known here</span>"),
        }
        html.markup("</dd>");
    }
    html.markup("</dl><div><dl class=\"rows\"><dt>Policy</dt><dd>");
    if report.policy.is_empty() {
        html.markup("<span class=\"quiet\">none is given</span>");
    }
    for line in report.policy.iter().take(LOCKS_MAX) {
        html.element("div", &[], &shortened(line));
    }
    html.markup("</dd></dl></div></div>");
    locks(html, report);
    html.markup("</section>\n");
}

fn locks(html: &mut Html, report: &RepositoryReport) {
    html.markup("<div class=\"card\"><h3>Locks of others</h3>");
    if report.locks.is_empty() {
        html.markup("<p class=\"quiet\">None: nobody else worked on the repository.</p>");
    } else {
        html.markup("<table class=\"cards\"><thead><tr><th>Holder</th><th>State</th><th>Kind</th><th>Since</th></tr></thead><tbody>");
        for lock in report.locks.iter().take(LOCKS_MAX) {
            html.markup("<tr><td class=\"wide\">");
            let holder = if lock.holder.is_empty() { &lock.name } else { &lock.holder };
            name(html, holder);
            html.markup("</td><td data-label=\"State\">").text(match lock.state {
                LockState::Live => "live",
                LockState::Stale => "stale",
                LockState::Removed => "stale, removed by this run",
                LockState::Unreadable => "cannot be read",
            });
            html.markup("</td><td data-label=\"Kind\">");
            html.text(if lock.exclusive { "exclusive" } else { "shared" });
            html.markup("</td><td data-label=\"Since\"><span>");
            if let Some(since) = lock.since {
                time(html, since.as_second(), &report.zone);
                age(html, report.time.as_second() - since.as_second());
            }
            html.markup("</span></td></tr>");
        }
        html.markup("</tbody></table>");
        left_out(html, report.locks.len(), LOCKS_MAX);
    }
    html.markup("</div>");
}

fn footer(html: &mut Html, report: &RepositoryReport) {
    html.markup("<footer><p>Made by volmover ").text(env!("CARGO_PKG_VERSION"));
    html.text(". Sizes are of powers of 1024. Stored is what the repository takes, after deduplication and ");
    html.text("compression; restore size is what the files take. Times are shown in ");
    html.text(&zone_name(&report.zone, report.time)).markup(".</p></footer>\n");
}

/// How many rows a table does not show.
fn left_out(html: &mut Html, all: usize, shown: usize) {
    if all > shown {
        html.element("p", &[("class", "quiet small")], &format!("and {} others", all - shown));
    }
}

/// A name out of the repository: it stands apart, also where it is written from right to left.
fn name(html: &mut Html, text: &str) {
    html.element("bdi", &[], &shortened(text));
}

/// A text of bounded length, without its middle where it is too long.
fn shortened(text: &str) -> String {
    let chars = text.chars().count();
    if chars <= NAME_CHARS_MAX {
        return text.to_owned();
    }
    let half = NAME_CHARS_MAX / 2;
    let begin = text.chars().take(half);
    begin.chain(['…']).chain(text.chars().skip(chars - half)).collect()
}

/// A size, with the bytes for machines.
fn size(html: &mut Html, bytes: u64) {
    html.element("data", &[("value", &bytes.to_string())], &short_size(bytes));
}

/// A size in three digits.
fn short_size(bytes: u64) -> String {
    let units = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
    let Some((shift, unit)) = units.into_iter().find(|(shift, _)| bytes >> shift > 0) else {
        return format!("{bytes} B");
    };
    let value = bytes as f64 / (1_u64 << shift) as f64;
    let digits = if value < 9.995 { 2 } else { usize::from(value < 99.95) };
    format!("{value:.digits$} {unit}")
}

/// A time to the minute, with all of it for machines.
fn time(html: &mut Html, seconds: i64, zone: &TimeZone) {
    let exact = NodeTime { seconds, ..NodeTime::default() }.to_string();
    let shown = table_time(seconds, zone);
    html.element("time", &[("datetime", &exact)], shown.get(..16).unwrap_or(&shown));
}

/// How long ago something was.
fn age(html: &mut Html, seconds: i64) {
    let text = if seconds < 0 {
        format!(" · {} ahead", ago(-seconds))
    } else {
        format!(" · {} ago", ago(seconds))
    };
    html.element("span", &[("class", "quiet")], &text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_three_digits() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.00 KiB"),
            (10_235, "10.0 KiB"),
            (102_350, "100 KiB"),
            (5 << 40, "5.00 TiB"),
        ] {
            assert_eq!(short_size(bytes), text);
        }
    }

    #[test]
    fn long_names_lose_their_middle() {
        assert_eq!(shortened("short"), "short");
        let long = shortened(&format!("begin{}end", "é".repeat(500)));
        assert_eq!(long.chars().count(), NAME_CHARS_MAX + 1);
        assert!(long.starts_with("begin") && long.ends_with("end") && long.contains('…'));
    }
}
