//! What a policy keeps of one group, and why: the decisions of restic 0.19.
//!
//! Snapshots are seen newest first. A rule of a period keeps the first of each hour, day, week, month or year
//! while its counter lasts, by the clock of the snapshot's own offset; the oldest of all is kept besides where
//! a counter is left. Rules are ORed. `within` reaches back from the newest snapshot that is not in the future.

use std::fmt;

use jiff::tz::TimeZone;

use super::duration::{Shown, is_zero};
use crate::repository::Id;
use crate::repository::snapshot::Snapshot;
use crate::repository::time::{CalendarSpan, NodeTime, WallClock};

/// How many a rule keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Keep {
    /// There is no such rule.
    #[default]
    Nothing,
    /// So many, at least one.
    Newest(u64),
    /// As many as there are.
    All,
}

/// The periods by which snapshots are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Period {
    /// Each by itself.
    Last,
    /// Hours.
    Hourly,
    /// Days.
    Daily,
    /// Weeks of ISO 8601.
    Weekly,
    /// Months.
    Monthly,
    /// Years.
    Yearly,
}

/// What is kept. Nothing set: everything is removed, which nobody may ask for by accident.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Policy {
    /// How many by each of `Period::ALL`.
    pub counts: [Keep; 6],
    /// Everything so far back (`--keep-within`).
    pub within: CalendarSpan,
    /// One of each period so far back, by `Period::ALL` without its first.
    pub within_each: [CalendarSpan; 5],
    /// Everything with all tags of one of these lists.
    pub tags: Vec<Vec<String>>,
}

/// What becomes of one snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Which snapshot, by its place in the list that was given.
    pub place: usize,
    /// Why it is kept, in restic's words; empty: it is removed.
    pub reasons: Vec<String>,
}

/// What else decides besides the policy.
#[derive(Debug, Clone)]
pub struct Circumstances<'a> {
    /// This moment: seconds and nanoseconds since 1970.
    pub now: (i64, u32),
    /// The zone of the process; months are counted back by its calendar.
    pub zone: &'a TimeZone,
    /// Besides, the newest snapshot without this tag is kept.
    pub unless_tagged: Option<&'a str>,
}

impl Period {
    /// All, in the order of restic's reasons.
    pub const ALL: [Self; 6] =
        [Self::Last, Self::Hourly, Self::Daily, Self::Weekly, Self::Monthly, Self::Yearly];

    /// The word in reasons and options.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Last => "last",
            Self::Hourly => "hourly",
            Self::Daily => "daily",
            Self::Weekly => "weekly",
            Self::Monthly => "monthly",
            Self::Yearly => "yearly",
        }
    }

    /// What is equal within one period; `place` makes each its own.
    fn bucket(self, shown: &WallClock, place: usize) -> [i64; 4] {
        let WallClock { year, month, day, hour, week_year, week } = *shown;
        match self {
            Self::Last => [place as i64, 0, 0, 0],
            Self::Hourly => [year, month, day, hour],
            Self::Daily => [year, month, day, 0],
            Self::Weekly => [week_year, week, 0, 0],
            Self::Monthly => [year, month, 0, 0],
            Self::Yearly => [year, 0, 0, 0],
        }
    }
}

/// A rule at work: what it still keeps, and which period it kept last.
struct Rule {
    period: Period,
    left: Keep,
    /// Only what is younger than this, and the duration that says so.
    since: Option<((i64, u32), String)>,
    last: Option<[i64; 4]>,
}

impl Rule {
    /// Why the snapshot is kept, if it is.
    fn reason(&mut self, time: NodeTime, place: usize, is_oldest: bool) -> Option<String> {
        if self.left == Keep::Nothing
            || self.since.as_ref().is_some_and(|(since, _)| time.instant() <= *since)
        {
            return None;
        }
        let bucket = self.period.bucket(&time.wall_clock(), place);
        let is_new = self.last != Some(bucket);
        if !is_new && !is_oldest {
            return None;
        }
        self.last = Some(bucket);
        self.left = match self.left {
            Keep::Newest(count) if count > 1 => Keep::Newest(count - 1),
            Keep::Newest(_) => Keep::Nothing,
            other => other,
        };
        let oldest = if is_new { "" } else { "oldest " };
        let word = self.period.word();
        Some(match &self.since {
            Some((_, span)) => format!("{oldest}{word} within {span}"),
            None => format!("{oldest}{word} snapshot"),
        })
    }
}

impl Policy {
    /// Whether nothing at all would be kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.counts.iter().all(|count| *count == Keep::Nothing)
            && is_zero(&self.within)
            && self.within_each.iter().all(is_zero)
            && self.tags.is_empty()
    }

    /// Decides on the snapshots of one group; the decisions come newest first.
    #[must_use]
    pub fn apply(&self, snapshots: &[&(Id, Snapshot)], around: &Circumstances<'_>) -> Vec<Decision> {
        let mut order: Vec<usize> = (0..snapshots.len()).collect();
        order.sort_by_key(|place| {
            snapshots.get(*place).map(|(id, snapshot)| std::cmp::Reverse((snapshot.time.instant(), *id)))
        });
        let sorted: Vec<(usize, &Snapshot)> = order
            .into_iter()
            .filter_map(|place| snapshots.get(place).map(|(_, snapshot)| (place, snapshot)))
            .collect();
        let reference = sorted
            .iter()
            .find(|(_, snapshot)| snapshot.time.instant() <= around.now)
            .or(sorted.first())
            .map_or(NodeTime::UNSET, |(_, snapshot)| snapshot.time);
        let mut rules = self.rules(reference, around.zone);
        let within = (!is_zero(&self.within)).then(|| reference.before(&self.within, around.zone));
        let spared = around.unless_tagged.and_then(|tag| {
            sorted.iter().position(|(_, snapshot)| !snapshot.tags.iter().any(|own| own == tag))
        });
        let decide = |(at, (place, snapshot)): (usize, &(usize, &Snapshot))| {
            let tags = self.tags.iter().filter(|tags| has_tags(snapshot, tags));
            let mut reasons: Vec<String> = tags.map(|tags| format!("has tags {}", Listed(tags))).collect();
            if within.is_some_and(|since| snapshot.time.instant() > since) {
                reasons.push(format!("within {}", Shown(&self.within)));
            }
            let is_oldest = at + 1 == sorted.len();
            reasons.extend(rules.iter_mut().filter_map(|rule| rule.reason(snapshot.time, at, is_oldest)));
            if let (Some(tag), true) = (around.unless_tagged, spared == Some(at) && !self.is_empty()) {
                reasons.push(format!("newest without tag {tag}"));
            }
            Decision { place: *place, reasons }
        };
        sorted.iter().enumerate().map(decide).collect()
    }

    fn rules(&self, reference: NodeTime, zone: &TimeZone) -> Vec<Rule> {
        let counted = Period::ALL.into_iter().zip(self.counts);
        let counted = counted.map(|(period, left)| Rule { period, left, since: None, last: None });
        let spans = Period::ALL.into_iter().skip(1).zip(&self.within_each);
        let spans = spans.filter(|(_, span)| !is_zero(span)).map(|(period, span)| Rule {
            period,
            left: Keep::All,
            since: Some((reference.before(span, zone), Shown(span).to_string())),
            last: None,
        });
        counted.chain(spans).collect()
    }
}

/// Whether a snapshot has all these tags; an empty one is had by snapshots without tags.
#[must_use]
pub fn has_tags(snapshot: &Snapshot, tags: &[String]) -> bool {
    for tag in tags {
        if tag.is_empty() && snapshot.tags.is_empty() {
            return true;
        }
        if !snapshot.tags.contains(tag) {
            return false;
        }
    }
    true
}

/// A list as restic prints it: `[a, b]`.
#[derive(Debug, Clone, Copy)]
pub struct Listed<'a>(pub &'a [String]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "[{}]", self.0.join(", "))
    }
}

impl fmt::Display for Policy {
    /// What restic prints after `Applying Policy: `.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = Period::ALL.into_iter().zip(self.counts).filter_map(|(period, count)| {
            let word = if period == Period::Last { "latest" } else { period.word() };
            match count {
                Keep::Nothing => None,
                Keep::Newest(count) => Some(format!("{count} {word}")),
                Keep::All => Some(format!("all {word}")),
            }
        });
        let counts: Vec<String> = counts.collect();
        let mut periods = Vec::new();
        if !counts.is_empty() {
            periods.push(format!("{} snapshots", counts.join(", ")));
        }
        for (period, span) in Period::ALL.into_iter().skip(1).zip(&self.within_each) {
            if !is_zero(span) {
                periods.push(format!("{} snapshots within {}", period.word(), Shown(span)));
            }
        }
        let mut parts = Vec::new();
        if !periods.is_empty() {
            parts.push(periods.join(", "));
        }
        if !self.tags.is_empty() {
            let lists: Vec<String> = self.tags.iter().map(|tags| Listed(tags).to_string()).collect();
            parts.push(format!("all snapshots with tags [{}]", lists.join(" ")));
        }
        if !is_zero(&self.within) {
            parts.push(format!("all snapshots within {} of the newest", Shown(&self.within)));
        }
        match parts.as_slice() {
            [] => formatter.write_str("remove"),
            parts => write!(formatter, "keep {}", parts.join(" and ")),
        }
    }
}
