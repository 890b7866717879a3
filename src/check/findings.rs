//! What a check found: problems, which make it fail, and hints, which do not.
//!
//! Each is told at once, on a line that names its place, and counted. One kind of problem may occur once a
//! blob: after `SAME_MAX` lines of a kind the rest is counted and told as a number.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::Error;
use crate::report::Monitor;
use crate::repository::Id;

/// Lines of one kind that are told one by one.
const SAME_MAX: u64 = 100;

/// What a problem is about; it decides what to run next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// An index file that does not decode.
    Index,
    /// A pack that the index lists and the store does not.
    PackGone,
    /// A pack whose bytes are not what they should be.
    Pack,
    /// A snapshot file that does not decode.
    Snapshot,
    /// A tree that cannot be read.
    Tree,
    /// A node that says nonsense, or needs a blob that no index lists.
    Node,
}

/// Collects from all threads.
pub(super) struct Findings<'a> {
    monitor: &'a dyn Monitor,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    counts: BTreeMap<Kind, u64>,
    broken_packs: BTreeSet<Id>,
    broken_snapshots: BTreeSet<Id>,
    prunable: bool,
    orphans: bool,
}

/// What failed, where and why, without the advice to run a check.
pub(super) fn cause(error: &Error) -> String {
    Error { next: None, ..error.clone() }.to_string()
}

/// The sums.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Sums {
    pub(super) problems: u64,
    pub(super) broken_packs: Vec<Id>,
    pub(super) broken_snapshots: Vec<Id>,
    pub(super) index_damaged: bool,
    pub(super) packs_gone: bool,
    pub(super) content_lost: bool,
    pub(super) prunable: bool,
    pub(super) orphans: bool,
}

impl<'a> Findings<'a> {
    pub(super) fn new(monitor: &'a dyn Monitor) -> Self {
        Self { monitor, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something is damaged.
    pub(super) fn problem(&self, kind: Kind, text: &str) {
        let mut state = self.state();
        let count = state.counts.entry(kind).or_default();
        *count += 1;
        self.monitor.progress().errors.add(1);
        if *count <= SAME_MAX || matches!(kind, Kind::Pack | Kind::PackGone | Kind::Index) {
            self.monitor.problem(text);
        }
    }

    /// A pack's bytes are not what they should be.
    pub(super) fn broken_pack(&self, pack: Id, text: &str) {
        self.state().broken_packs.insert(pack);
        self.problem(Kind::Pack, text);
    }

    /// A snapshot file cannot be read.
    pub(super) fn broken_snapshot(&self, snapshot: Id, text: &str) {
        self.state().broken_snapshots.insert(snapshot);
        self.problem(Kind::Snapshot, text);
    }

    /// Something odd that loses no data; `prunable`: prune takes it away.
    pub(super) fn hint(&self, prunable: bool, text: &str) {
        self.state().prunable |= prunable;
        self.monitor.line(text);
    }

    /// So many packs that no index lists. With a damaged index they may be what that one listed, and no
    /// prune may touch them.
    pub(super) fn orphans(&self, count: usize) {
        let index_damaged = {
            let mut state = self.state();
            state.orphans = true;
            state.counts.contains_key(&Kind::Index)
        };
        if index_damaged {
            return self.hint(false, &format!("{count} packs are listed by no index that can be read"));
        }
        let text = "additional files were found in the repo, which likely contain duplicate data.";
        self.hint(true, &format!("{count} {text}"));
        self.hint(true, "This is non-critical, you can run prune to correct this.");
    }

    /// Tells what was only counted, and adds all up.
    pub(super) fn finish(&self) -> Sums {
        let state = self.state();
        for (kind, word) in [(Kind::Snapshot, "snapshots"), (Kind::Tree, "trees"), (Kind::Node, "nodes")] {
            let more = state.counts.get(&kind).copied().unwrap_or_default().saturating_sub(SAME_MAX);
            if more > 0 {
                self.monitor.problem(&format!("{more} more {word} are damaged"));
            }
        }
        let any = |kind: Kind| state.counts.contains_key(&kind);
        Sums {
            problems: state.counts.values().sum(),
            broken_packs: state.broken_packs.iter().copied().collect(),
            broken_snapshots: state.broken_snapshots.iter().copied().collect(),
            index_damaged: any(Kind::Index),
            packs_gone: any(Kind::PackGone),
            content_lost: any(Kind::Tree) || any(Kind::Node),
            prunable: state.prunable,
            orphans: state.orphans,
        }
    }
}
