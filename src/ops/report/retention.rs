//! What becomes of each snapshot: the decisions of `forget`, now and after the backups that are to be expected.
//!
//! What goes next is found by asking the policy again with snapshots added as they have come so far. A policy
//! that forget would refuse decides nothing: that is told, and every snapshot stays.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;

use super::super::forget::Choice;
use super::advice::{Advice, Urgency};
use super::{ReportOptions, identities};
use crate::error::Result;
use crate::forget::groups::GroupBy;
use crate::forget::policy::{Circumstances, Policy};
use crate::forget::{GroupPlan, plan, plan_by_line};
use crate::repository::Id;
use crate::repository::snapshot::Snapshot;
use crate::repository::time::NodeTime;

/// Backups that are looked ahead.
const AHEAD_MAX: u8 = 40;

/// What becomes of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Fate {
    /// No policy looks at it.
    #[default]
    Alone,
    /// It is kept.
    Kept {
        /// Why, in restic's words.
        reasons: Vec<String>,
        /// When a forget is expected to remove it, in seconds after 1970, if it is among the next that go.
        until: Option<i64>,
    },
    /// The next forget removes it.
    Goes,
}

/// All decisions.
#[derive(Debug, Default)]
pub(super) struct Retention {
    /// What is kept, in words, a line each.
    pub(super) policies: Vec<String>,
    /// Of snapshots that a policy looks at.
    pub(super) fates: HashMap<Id, Fate>,
    /// What is wrong with the policy.
    pub(super) advice: Vec<Advice>,
}

/// Decides.
pub(super) fn decide(snapshots: &[(Id, Snapshot)], options: &ReportOptions, now: Timestamp) -> Retention {
    let around = Circumstances {
        now: (now.as_second(), now.subsec_nanosecond() as u32),
        zone: &options.zone,
        unless_tagged: options.unless_tagged,
    };
    let mut retention = Retention::default();
    let made: Result<Vec<(&Policy, GroupPlan<'_>)>> = match &options.policy {
        Some(Choice::Policy(told)) => {
            retention.policies.push(told.policy.to_string());
            plan(snapshots, told, &around)
                .map(|plans| plans.into_iter().map(|plan| (&told.policy, plan)).collect())
        }
        Some(Choice::Policies(file)) => {
            let line = |line: &crate::forget::policy_file::PolicyLine| {
                format!("host {} path {}: {}", line.host.text(), line.path.text(), line.options.policy)
            };
            retention.policies.extend(file.lines.iter().map(line));
            let alone = snapshots.iter().filter(|(_, snapshot)| file.line_of(snapshot).is_none());
            retention.note_alone(alone);
            plan_by_line(snapshots, file, &around).map(|lines| {
                let plans = lines.into_iter().map(|made| (&made.line.options.policy, made.plans));
                plans.flat_map(|(policy, plans)| plans.into_iter().map(move |plan| (policy, plan))).collect()
            })
        }
        Some(Choice::Ids(_)) | None => {
            retention.note_none();
            Ok(Vec::new())
        }
    };
    match made {
        Ok(plans) => plans.iter().for_each(|(policy, plan)| retention.add(policy, plan, &around)),
        Err(error) => retention.advice.push(Advice {
            urgency: Urgency::Act,
            rule: "policy-refused",
            what: format!("Forget would remove nothing: {}.", error.what),
            next: "Change the policy so that it keeps something of every host and path.".to_owned(),
        }),
    }
    retention
}

impl Retention {
    fn note_none(&mut self) {
        self.advice.push(Advice {
            urgency: Urgency::Consider,
            rule: "no-policy",
            what: "No policy is given, so nothing says which snapshots are kept.".to_owned(),
            next: "Set FORGET_OPTIONS or MOVER_POLICY_FILE, for forget and for this report.".to_owned(),
        });
    }

    fn note_alone<'a>(&mut self, alone: impl Iterator<Item = &'a (Id, Snapshot)>) {
        let groups: BTreeMap<_, _> = GroupBy::default().group(alone);
        if let Some((first, _)) = groups.first_key_value() {
            self.advice.push(Advice {
                urgency: Urgency::Consider,
                rule: "policy-unmatched",
                what: match groups.len() {
                    1 => format!("No line of the policy file matches {first}: its snapshots stay for ever."),
                    count => format!(
                        "No line of the policy file matches {count} identities, {first} among them: their \
                         snapshots stay for ever."
                    ),
                },
                next: "Add a line for them, last of all one for \"* *\".".to_owned(),
            });
        }
    }

    fn add(&mut self, policy: &Policy, plan: &GroupPlan<'_>, around: &Circumstances<'_>) {
        let next: HashMap<Id, i64> = next_to_go(policy, plan, around).into_iter().collect();
        for ((id, _), reasons) in &plan.keep {
            let fate = Fate::Kept { reasons: reasons.clone(), until: next.get(id).copied() };
            self.fates.insert(*id, fate);
        }
        self.fates.extend(plan.remove.iter().map(|(id, _)| (*id, Fate::Goes)));
    }
}

/// The next of the kept ones that go, and when, should backups go on as they came so far.
fn next_to_go(policy: &Policy, plan: &GroupPlan<'_>, around: &Circumstances<'_>) -> Vec<(Id, i64)> {
    let mut held: Vec<(Id, Snapshot)> = plan.keep.iter().map(|((id, one), _)| (*id, one.clone())).collect();
    let all = plan.keep.iter().map(|(one, _)| *one).chain(plan.remove.iter().copied());
    let times: Vec<i64> = all.map(|(_, snapshot)| snapshot.time.instant().0).collect();
    let (Some(rhythm), Some((_, newest))) = (identities::rhythm(&times), held.first().cloned()) else {
        return Vec::new();
    };
    let begin = newest.time.seconds.max(around.now.0 - rhythm);
    for number in 1..=AHEAD_MAX {
        let seconds = begin + rhythm * i64::from(number);
        let expected = Id([number; 32]);
        let time = NodeTime { seconds, ..newest.time };
        held.push((expected, Snapshot { time, ..newest.clone() }));
        let decided: Vec<&(Id, Snapshot)> = held.iter().collect();
        let then = Circumstances { now: (seconds, 0), ..around.clone() };
        let gone = policy.apply(&decided, &then).into_iter().filter(|decision| decision.reasons.is_empty());
        let gone: Vec<Id> = gone.filter_map(|of| decided.get(of.place).map(|(id, _)| *id)).collect();
        let known = gone.iter().filter(|id| plan.keep.iter().any(|((kept, _), _)| kept == *id));
        let known: Vec<(Id, i64)> = known.map(|id| (*id, seconds)).collect();
        if !known.is_empty() {
            return known;
        }
        held.retain(|(id, _)| !gone.contains(id));
    }
    Vec::new()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use jiff::tz::TimeZone;

    use super::*;
    use crate::forget::options::ForgetOptions;

    const DAY: i64 = 86_400;

    fn daily(days: std::ops::Range<i64>) -> Vec<(Id, Snapshot)> {
        let one = |day: i64| {
            let time = NodeTime { seconds: day * DAY, ..NodeTime::default() };
            (Id([100 + day as u8; 32]), Snapshot { time, ..Snapshot::default() })
        };
        days.map(one).collect()
    }

    fn next(snapshots: &[(Id, Snapshot)], policy: &str) -> Vec<(Id, i64)> {
        let options = ForgetOptions::parse(policy, "test").unwrap();
        let around = Circumstances { now: (10 * DAY, 0), zone: &TimeZone::UTC, unless_tagged: None };
        let plans = plan(snapshots, &options, &around).unwrap();
        next_to_go(&options.policy, plans.first().unwrap(), &around)
    }

    #[test]
    fn the_oldest_of_a_full_count_goes_with_the_next_backup() {
        assert_eq!(next(&daily(1..11), "--keep-daily 10"), [(Id([101; 32]), 11 * DAY)]);
        // Two places are free.
        assert_eq!(next(&daily(1..11), "--keep-daily 12"), [(Id([101; 32]), 13 * DAY)]);
        assert_eq!(next(&daily(1..11), "--keep-yearly 3 --keep-last 50"), []);
        assert_eq!(next(&daily(9..11), "--keep-last 2"), [], "two make no rhythm");
    }
}
