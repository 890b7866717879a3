//! What to do about a repository: rules, each with what was found and the next step.

use super::super::backup::PARTIAL_TAG;
use super::super::stats::SnapshotStats;
use super::{Fate, Identity, LockState, RepositoryReport};
use crate::prune::UnusedMax;
use crate::report::format::bytes;

/// Identities that are named by a rule one by one.
const NAMED_MAX: usize = 20;
/// A clock may be wrong by so many seconds.
const AHEAD_SECONDS: i64 = 3600;
/// A backup is overdue when so many intervals passed without one, and this many seconds besides.
const OVERDUE_INTERVALS: i64 = 2;
const OVERDUE_SECONDS: i64 = 3600;
/// A snapshot shrank when it has less than one in so many of the bytes or entries of the one before.
const SHRUNK_SHARE: u64 = 10;
/// After so many days a check or verification is old.
const OLD_DAYS: i64 = 35;
const DAY_SECONDS: i64 = 86_400;

/// How soon something is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// Backups or data are at risk.
    Act,
    /// It costs room, or a proof is missing.
    Consider,
}

impl Urgency {
    /// In one word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Act => "act",
            Self::Consider => "consider",
        }
    }
}

/// One piece of advice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advice {
    /// How soon.
    pub urgency: Urgency,
    /// The rule's name, which stays the same from version to version.
    pub rule: &'static str,
    /// What was found.
    pub what: String,
    /// What to do next.
    pub next: String,
}

/// Adds what the report gives reason for, and puts all of it in order.
pub(super) fn add(report: &mut RepositoryReport, unused_max: UnusedMax) {
    let mut rules = Rules { report, found: Vec::new() };
    rules.damage();
    rules.locks();
    rules.identities();
    rules.space(unused_max);
    rules.upkeep();
    let found = rules.found;
    report.advice.extend(found);
    report.advice.sort_by_key(|advice| advice.urgency);
}

struct Rules<'a> {
    report: &'a RepositoryReport,
    found: Vec<Advice>,
}

impl Rules<'_> {
    fn say(&mut self, urgency: Urgency, rule: &'static str, what: String, next: &str) {
        self.found.push(Advice { urgency, rule, what, next: next.to_owned() });
    }

    fn damage(&mut self) {
        let report = self.report;
        if report.damage.faults > 0 {
            let what = format!(
                "Trees and blobs that snapshots need and that cannot be read: {}. The figures are without them.",
                report.damage.faults
            );
            self.say(
                Urgency::Act,
                "damage",
                what,
                "Run check: it names the snapshots and files that are hit, and what repairs the rest.",
            );
        }
        if report.packs_missing > 0 {
            let what =
                format!("Packs that the index names and the store does not have: {}.", report.packs_missing);
            self.say(
                Urgency::Act,
                "packs-missing",
                what,
                "Look whether the store lost files or a mount is missing; then run check.",
            );
        }
        if report.unindexed.0 > 0 {
            let (packs, size) = report.unindexed;
            let what = format!(
                "Packs in no index: {packs} ({}). A backup runs, or one was interrupted.",
                bytes(size)
            );
            self.say(
                Urgency::Consider,
                "packs-unindexed",
                what,
                "The next backup of the same data and prune clean up.",
            );
        }
    }

    fn locks(&mut self) {
        let count = |state| self.report.locks.iter().filter(|lock| lock.state == state).count();
        let (stale, removed, unreadable) =
            (count(LockState::Stale), count(LockState::Removed), count(LockState::Unreadable));
        if stale > 0 {
            let what = format!("Stale locks that could not be removed: {stale}.");
            self.say(Urgency::Consider, "locks-stale", what, "Run unlock with credentials that may delete.");
        }
        if removed > 0 {
            let what = format!("Stale locks that were there and were removed: {removed}.");
            self.say(
                Urgency::Consider,
                "locks-removed",
                what,
                "See why their holders ended without giving them back: killed, out of memory, a node gone.",
            );
        }
        if unreadable > 0 {
            let what = format!("Files under locks/ that are empty or cannot be read: {unreadable}.");
            self.say(
                Urgency::Consider,
                "locks-unreadable",
                what,
                "If they stay and nothing works on the repository, run unlock with MOVER_UNLOCK_ALL=1.",
            );
        }
    }

    fn identities(&mut self) {
        let report = self.report;
        if report.identities.is_empty() {
            let next = "Run backup, or look whether this is the right repository.";
            self.say(Urgency::Act, "no-snapshots", "There is no snapshot.".to_owned(), next);
        }
        self.each(
            Urgency::Act,
            "empty",
            "The newest snapshot holds no file's content",
            "See whether the volume was mounted; older snapshots are there as long as the policy keeps them.",
            |one| {
                let newest = report.newest(one)?;
                (newest.restore_bytes == 0).then(String::new)
            },
        );
        self.each(
            Urgency::Act,
            "shrunk",
            "The newest snapshot is much smaller than the one before",
            "See whether that was meant before the policy drops the older ones; MOVER_MAX_SHRINK warns in time.",
            |one| report.shrunk(one),
        );
        self.each(
            Urgency::Act,
            "overdue",
            "Backups stopped coming, by their own rhythm",
            "See whether the job still runs, and why it fails.",
            |one| {
                let (age, rhythm) = (report.age(one)?, one.rhythm_seconds?);
                let is_late = age > rhythm.saturating_mul(OVERDUE_INTERVALS) + OVERDUE_SECONDS;
                is_late.then(|| format!("{} ago, {} before", ago(age), every(rhythm)))
            },
        );
        self.each(
            Urgency::Act,
            "future",
            "The newest snapshot is of the future",
            "Set the clock of the machine that made it: policies count from the newest snapshot.",
            |one| {
                report.age(one).filter(|age| *age < -AHEAD_SECONDS).map(|age| format!("{} ahead", ago(-age)))
            },
        );
        self.each(
            Urgency::Act,
            "partial",
            "The newest snapshot lacks what could not be read",
            "See the warnings of that backup.",
            |one| {
                let tags = &report.newest(one)?.snapshot.tags;
                tags.iter().any(|tag| tag == PARTIAL_TAG).then(String::new)
            },
        );
    }

    /// One piece of advice about all identities that a rule fits; `fits` says how, or nothing.
    fn each(
        &mut self,
        urgency: Urgency,
        rule: &'static str,
        what: &str,
        next: &str,
        fits: impl Fn(&Identity) -> Option<String>,
    ) {
        let hit = self.report.identities.iter().filter_map(|one| {
            let how = fits(one)?;
            Some(if how.is_empty() { one.name() } else { format!("{} ({how})", one.name()) })
        });
        let hit: Vec<String> = hit.collect();
        if hit.is_empty() {
            return;
        }
        let shown: Vec<&str> = hit.iter().take(NAMED_MAX).map(String::as_str).collect();
        let more = match hit.len() - shown.len() {
            0 => String::new(),
            more => format!(" and {more} others"),
        };
        let what = format!("{what}: {}{more}.", shown.join("; "));
        self.found.push(Advice { urgency, rule, what, next: next.to_owned() });
    }

    fn space(&mut self, unused_max: UnusedMax) {
        let report = self.report;
        let used = report.stats.needed.stored_bytes;
        let limit = unused_max.bytes(used);
        if let Some(unused) = report.unused_bytes().filter(|unused| *unused > limit) {
            let what =
                format!("Unused data: {}, more than the {} that may stay.", bytes(unused), bytes(limit));
            self.say(Urgency::Consider, "unused", what, "Run prune; MOVER_PRUNE_MAX_UNUSED sets the limit.");
        }
        let fates = report.identities.iter().flat_map(|one| &one.snapshots);
        let goes = fates.filter(|dated| dated.fate == Fate::Goes).count();
        if goes > 0 {
            let what = format!("Snapshots that the next forget drops: {goes}.");
            self.say(
                Urgency::Consider,
                "forget-due",
                what,
                "Run forget, then prune; MOVER_DRY_RUN=1 shows it first.",
            );
        }
        if report.stats.whole.version == 1 {
            self.say(
                Urgency::Consider,
                "version-1",
                "The repository has format version 1: nothing in it is compressed.".to_owned(),
                "Run restic migrate upgrade_repo_v2 once; new data is compressed from then on.",
            );
        }
    }

    fn upkeep(&mut self) {
        let upkeep = self.report.upkeep;
        let verify = (
            upkeep.verify,
            ["verify-unknown", "verify-old"],
            "verification",
            "Run verify; with MOVER_SNAPSHOT=latest-each it proves the newest snapshot of every identity.",
        );
        let check = (
            upkeep.check,
            ["check-unknown", "check-old"],
            "check",
            "Run check from time to time, with MOVER_CHECK_SUBSET=5% for a part of the data.",
        );
        for (last, [unknown, old], name, next) in [verify, check] {
            let days = last.map(|last| (self.report.time.as_second() - last.as_second()) / DAY_SECONDS);
            match days {
                None => {
                    let what =
                        format!("No successful {name} is known here: MOVER_METRICS_FILE remembers them.");
                    self.say(Urgency::Consider, unknown, what, next);
                }
                Some(days) if days > OLD_DAYS => {
                    let what = format!("The last successful {name} was {days} days ago.");
                    self.say(Urgency::Consider, old, what, next);
                }
                Some(_) => {}
            }
        }
    }
}

impl RepositoryReport {
    fn newest(&self, identity: &Identity) -> Option<&SnapshotStats> {
        self.stats.snapshots.get(identity.snapshots.last()?.place)
    }

    /// Seconds since the newest snapshot.
    fn age(&self, identity: &Identity) -> Option<i64> {
        let (seconds, _) = self.newest(identity)?.snapshot.time.instant();
        Some(self.time.as_second().saturating_sub(seconds))
    }

    fn shrunk(&self, identity: &Identity) -> Option<String> {
        let before = identity.snapshots.iter().rev().nth(1)?;
        let (new, old) = (self.newest(identity)?, self.stats.snapshots.get(before.place)?);
        let fewer = |new: u64, old: u64| new < old / SHRUNK_SHARE;
        let (new_bytes, old_bytes) = (new.restore_bytes, old.restore_bytes);
        let shrunk = fewer(new_bytes, old_bytes) || fewer(new.entries, old.entries);
        (shrunk && new_bytes > 0).then(|| {
            format!(
                "{} in {} entries after {} in {}",
                bytes(new_bytes),
                new.entries,
                bytes(old_bytes),
                old.entries
            )
        })
    }
}

/// A span of time in its largest unit that is not too coarse.
pub(super) fn ago(seconds: i64) -> String {
    let units = [(365 * DAY_SECONDS, "year"), (DAY_SECONDS, "day"), (3600, "hour"), (60, "minute")];
    let fits = |(length, _): &(i64, &str)| {
        seconds >= 2 * length || (*length..length + length / 12).contains(&seconds)
    };
    let (length, name) = units.into_iter().find(fits).unwrap_or((1, "second"));
    match seconds / length {
        1 => format!("1 {name}"),
        count => format!("{count} {name}s"),
    }
}

/// How often something comes.
pub(super) fn every(seconds: i64) -> String {
    let span = ago(seconds);
    format!("every {}", span.strip_prefix("1 ").unwrap_or(&span))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_told_in_units_that_are_not_coarse() {
        for (seconds, text) in [
            (0, "0 seconds"),
            (1, "1 second"),
            (60, "1 minute"),
            (90, "90 seconds"),
            (120, "2 minutes"),
            (86_400, "1 day"),
            (30 * 3600, "30 hours"),
            (2 * 86_400, "2 days"),
            (729 * 86_400, "729 days"),
            (800 * 86_400, "2 years"),
        ] {
            assert_eq!(ago(seconds), text);
        }
        assert_eq!((every(3700), every(7 * 86_400)), ("every hour".to_owned(), "every 7 days".to_owned()));
    }
}
