//! Medians against what is asked (`targets.rs`), a line for each step.
//!
//! A step holds when it is as many times as fast as the fastest of restic and rustic as is asked, or takes at most
//! 1.15 times as long as one of its floors; when its peak memory and stored bytes are not above restic's; and on an
//! object store when it makes no more requests.

use super::table::{MIB, median};
use super::targets::{self, Asked, Floor, Target, Way};
use super::tool::Step;
use super::turns::Row;

/// As near to a floor as makes up for what a peer may be faster than asked.
const NEAR: f64 = 1.15;
const PEERS: [&str; 2] = ["restic", "rustic"];

/// Prints the verdicts on all steps of a corpus.
pub(super) fn print(rows: &[Row], corpus: &str, way: Way, floors: &[Floor]) {
    let cpu = if targets::has_sha256() { "with" } else { "without" };
    println!("\nwhat is asked of a CPU {cpu} instructions for SHA-256, and what there is");
    println!(
        "{:<21}{:<16}{:<8}{:<15}{:<19}{:<15}{:<8}floors",
        "", "times as fast", "asked", "peak MiB", "stored MiB", "requests", ""
    );
    for step in Step::MEASURED {
        let case = Case { rows, step, way, target: targets::find(step.title(), corpus, way) };
        let floors = floors.iter().filter(|floor| floor.step == step.title());
        if let Some(line) = case.line(&floors.collect::<Vec<_>>()) {
            println!("{:<21}{line}", step.title());
        }
    }
}

/// One step.
struct Case<'a> {
    rows: &'a [Row],
    step: Step,
    way: Way,
    target: Option<&'static Target>,
}

impl Case<'_> {
    fn line(&self, floors: &[&Floor]) -> Option<String> {
        let own = self.median("volmover", wall)?;
        let near = floors.iter().any(|floor| own <= NEAR * floor.seconds);
        let (speed, asked, is_fast) = self.speed(own);
        let peak_share = self.target.map_or(1.0, |target| target.peak_share);
        let (peak, peak_holds) =
            self.beside_restic(|row| row.measured.peak_bytes as f64 / MIB, 0, peak_share);
        let (stored, stored_holds) = self.beside_restic(|row| row.stored_bytes as f64 / MIB, 2, 1.0);
        let (requests, requests_hold) = match self.way {
            Way::Folder => ("-".to_owned(), true),
            _ => self.beside_restic(|row| row.requests as f64, 0, 1.0),
        };
        let holds = is_fast.map(|fast| (fast || near) && peak_holds && stored_holds && requests_hold);
        let verdict = holds.map_or("", |holds| if holds { "holds" } else { "missed" });
        let floors: Vec<String> = floors.iter().map(|floor| self.beside_floor(own, floor)).collect();
        let floors = floors.join("; ");
        Some(format!("{speed:<16}{asked:<8}{peak:<15}{stored:<19}{requests:<15}{verdict:<8}{floors}"))
    }

    /// How fast it is, what is asked, and whether that is enough; nothing where nothing is asked.
    fn speed(&self, own: f64) -> (String, String, Option<bool>) {
        let peers = PEERS.iter().filter_map(|name| Some((self.median(name, wall)?, *name)));
        let fastest = peers.min_by(|one, other| one.0.total_cmp(&other.0));
        let times = fastest.map(|(peer, name)| (peer / own, name));
        let shown = times.map_or("-".to_owned(), |(times, name)| format!("{times:.2} {name}"));
        match self.target.map(|target| target.asked) {
            None => (shown, "-".to_owned(), None),
            Some(Asked::Times(with, without)) => {
                let asked = if targets::has_sha256() { with } else { without };
                (shown, format!("≥ {asked}"), times.map(|(times, _)| times >= asked))
            }
            Some(Asked::OfLine(asked)) => {
                let Way::Narrow(rate) = self.way else { return (shown, "-".to_owned(), None) };
                let bytes = self.median("volmover", |row| row.line_bytes as f64).unwrap_or_default();
                let share = bytes / own / rate as f64;
                (format!("{share:.3} of line"), format!("≥ {asked}"), Some(share >= asked))
            }
            Some(Asked::PeakMib(most)) => {
                let peak = self.median("volmover", |row| row.measured.peak_bytes as f64 / MIB);
                (shown, format!("{most} MiB"), peak.map(|peak| peak <= most))
            }
        }
    }

    /// A figure beside restic's, and whether it is no larger than `share` of it.
    fn beside_restic(&self, figure: fn(&Row) -> f64, decimals: usize, share: f64) -> (String, bool) {
        let Some(own) = self.median("volmover", figure) else { return ("-".to_owned(), true) };
        let Some(restic) = self.median("restic", figure) else { return (format!("{own:.decimals$}"), true) };
        let most = restic * share;
        let sign = if own <= most { '≤' } else { '>' };
        (format!("{own:.decimals$} {sign} {most:.decimals$}"), own <= most)
    }

    fn beside_floor(&self, own: f64, Floor { name, seconds, .. }: &Floor) -> String {
        let most = self.target.and_then(|target| target.floor).filter(|(floor, _)| floor == name);
        let most = most.map_or(String::new(), |(_, most)| format!(" (≤ {most})"));
        format!("{name} {seconds:.2} s × {:.2}{most}", own / seconds)
    }

    fn median(&self, tool: &str, figure: fn(&Row) -> f64) -> Option<f64> {
        median(self.rows, tool, self.step, figure)
    }
}

fn wall(row: &Row) -> f64 {
    row.measured.wall.as_secs_f64()
}
