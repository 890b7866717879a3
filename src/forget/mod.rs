//! What a forget removes: options, policies and groups make a plan; nothing is removed here.
//!
//! ```text
//! options (FORGET_OPTIONS), policy_file ── filter ── groups ── policy (each group) ── Plan ── listing (text, JSON)
//! ```
//! The decisions are those of restic 0.19; `tests/forget` holds them against it. A plan that would remove the
//! last snapshot of a group is an error as a whole: then nothing of any group is removed.

use std::collections::BTreeSet;

use crate::error::{Error, ErrorKind, Result};
use crate::repository::Id;
use crate::repository::snapshot::Snapshot;

pub mod duration;
pub mod filter;
pub mod groups;
pub mod listing;
pub mod options;
pub mod policy;
pub mod policy_file;

use groups::{GroupBy, GroupKey};
use options::ForgetOptions;
use policy::Circumstances;
use policy_file::{PolicyFile, PolicyLine};

/// What becomes of the snapshots of one group.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupPlan<'a> {
    /// The group.
    pub key: GroupKey,
    /// What its snapshots have in common.
    pub by: GroupBy,
    /// What is kept and why, newest first.
    pub keep: Vec<(&'a (Id, Snapshot), Vec<String>)>,
    /// What is removed, newest first.
    pub remove: Vec<&'a (Id, Snapshot)>,
}

/// Decides by one set of options; snapshots that its filter leaves out are in no group.
///
/// # Errors
/// A policy that would keep nothing of a group, unless no policy at all was meant.
pub fn plan<'a>(
    snapshots: impl IntoIterator<Item = &'a (Id, Snapshot)>,
    options: &ForgetOptions,
    around: &Circumstances<'_>,
) -> Result<Vec<GroupPlan<'a>>> {
    let eligible = snapshots.into_iter().filter(|(_, snapshot)| options.filter.accepts(snapshot));
    let mut plans = Vec::new();
    for (key, group) in options.group_by.group(eligible) {
        let mut plan = GroupPlan { key, by: options.group_by, keep: Vec::new(), remove: Vec::new() };
        for decision in options.policy.apply(&group, around) {
            let Some(entry) = group.get(decision.place) else { continue };
            if decision.reasons.is_empty() {
                plan.remove.push(entry);
            } else {
                plan.keep.push((entry, decision.reasons));
            }
        }
        if plan.keep.is_empty() && !options.policy.is_empty() {
            return Err(Error::new(
                ErrorKind::Other,
                format!("refusing to delete last snapshot of snapshot group \"{}\"", plan.key),
            )
            .because(format!("the policy ({}) keeps none of it", options.policy))
            .then("Nothing was removed; change the policy so that it keeps something of every group"));
        }
        plans.push(plan);
    }
    Ok(plans)
}

/// What one line of a policy file decides.
#[derive(Debug, Clone, PartialEq)]
pub struct LinePlan<'a> {
    /// The line.
    pub line: &'a PolicyLine,
    /// Snapshots that it counts for.
    pub snapshots: usize,
    /// What becomes of them.
    pub plans: Vec<GroupPlan<'a>>,
}

/// Decides by a policy file: each snapshot by the first line that matches it.
///
/// # Errors
/// As [`plan`].
pub fn plan_by_line<'a>(
    snapshots: &'a [(Id, Snapshot)],
    file: &'a PolicyFile,
    around: &Circumstances<'_>,
) -> Result<Vec<LinePlan<'a>>> {
    let decided = file.lines.iter().enumerate().map(|(place, line)| {
        let own: Vec<&(Id, Snapshot)> =
            snapshots.iter().filter(|(_, snapshot)| file.line_of(snapshot) == Some(place)).collect();
        Ok(LinePlan { line, snapshots: own.len(), plans: plan(own, &line.options, around)? })
    });
    decided.collect()
}

/// The ids that plans remove, in order.
#[must_use]
pub fn removed(plans: &[GroupPlan<'_>]) -> BTreeSet<Id> {
    plans.iter().flat_map(|plan| plan.remove.iter().map(|(id, _)| *id)).collect()
}
