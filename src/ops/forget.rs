//! `forget`: removes snapshots by policy or by id; under a shared lock, with `--prune` under an exclusive one.
//!
//! Everything is decided before anything is removed, and the plan is shown. Removed are snapshot files and
//! nothing they need: that goes in prune. What a store denies is named, the others go; then the exit code is 3.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use jiff::tz::TimeZone;

use super::Session;
use super::prune::{self, PruneOptions};
use crate::backend::{BackendErrorKind, FileType};
use crate::error::{Error, ErrorKind, Result};
use crate::forget::groups::GroupBy;
use crate::forget::listing::{self, Look};
use crate::forget::options::ForgetOptions;
use crate::forget::policy::Circumstances;
use crate::forget::policy_file::PolicyFile;
use crate::forget::{GroupPlan, LinePlan, plan, plan_by_line, removed};
use crate::report::ForgetSummary;
use crate::repository::lock::{Lock, LockMode};
use crate::repository::snapshot::Snapshot;
use crate::repository::{Id, identities};
use crate::restore::select::{Filter, Selection, select};

/// Snapshots that go between two looks at the lock: one request of a store that deletes in bulk.
const AT_ONCE: usize = 1000;
/// Failures that are shown one by one.
const SHOWN: usize = 10;

/// What to forget, and how.
#[derive(Debug, Clone)]
pub struct ForgetRequest {
    /// What goes.
    pub choice: Choice,
    /// Remove nothing, show what would be.
    pub dry_run: bool,
    /// Besides, the newest snapshot of each group without this tag stays.
    pub unless_tagged: Option<&'static str>,
    /// JSON instead of tables.
    pub json: bool,
    /// The zone of times in tables, and of the calendar that months are counted back by.
    pub zone: TimeZone,
    /// Prune when something was removed.
    pub prune: Option<PruneOptions>,
}

/// What goes.
#[derive(Debug, Clone)]
pub enum Choice {
    /// What a policy does not keep.
    Policy(Box<ForgetOptions>),
    /// What the policy of each identity does not keep.
    Policies(PolicyFile),
    /// These, by id or its first digits.
    Ids(Vec<String>),
}

/// Forgets. A snapshot that could not be removed is no error here: the summary counts it.
pub fn run(session: &Session<'_>, request: &ForgetRequest) -> Result<ForgetSummary> {
    let mode = match &request.prune {
        Some(options) => {
            prune::require_fit(&session.repository, options)?;
            LockMode::Exclusive
        }
        None => LockMode::Shared,
    };
    session.locked(mode, |lock| locked(session, request, lock))
}

/// What a forget that could not remove all ends with.
pub fn verdict(session: &Session<'_>, summary: &ForgetSummary) -> Result<()> {
    let Some((id, cause)) = summary.failed.first() else { return Ok(()) };
    let all = summary.failed.len() + summary.removed.len();
    let what = match summary.failed.len() {
        1 => "a snapshot could not be removed".to_owned(),
        failed => format!("{failed} of {all} snapshots could not be removed"),
    };
    let next = if summary.denied {
        "If the store is append-only or locks its objects, forget with other credentials; backups go on"
    } else {
        "Run forget again"
    };
    Err(Error::new(ErrorKind::Partial, what)
        .at(format!("{} snapshots/{}", session.repository.backend().location(), id.get(..8).unwrap_or(id)))
        .because(cause)
        .then(next))
}

fn locked(session: &Session<'_>, request: &ForgetRequest, lock: &Lock) -> Result<ForgetSummary> {
    session.monitor.phase("loading snapshots");
    let snapshots = session.repository.snapshots()?;
    if request.prune.is_some() && !request.dry_run {
        // Nobody else adds or removes any under this lock: a list that lies ends it before anything goes.
        let ids: Vec<Id> = snapshots.iter().map(|(id, _)| *id).collect();
        prune::confirm_snapshots(&session.repository, &ids)?;
    }
    let (doomed, kept) = decide(session, request, &snapshots)?;
    let doomed: Vec<Id> = doomed.into_iter().collect();
    let mut summary = ForgetSummary { kept, dry_run: request.dry_run, ..ForgetSummary::default() };
    if request.dry_run {
        listing::would_remove(&doomed).lines().for_each(|line| session.monitor.line(line));
        summary.removed = doomed.iter().map(Id::hex).collect();
    } else {
        session.monitor.phase("removing snapshots");
        remove(session, lock, &doomed, &mut summary)?;
    }
    let gone: BTreeSet<&str> = summary.removed.iter().map(String::as_str).collect();
    let left = snapshots.iter().filter(|(id, _)| !gone.contains(id.hex().as_str()));
    session.monitor.surveyed(&identities::survey(left.map(|(_, snapshot)| (snapshot, None))));
    if let (Some(options), false) = (&request.prune, summary.removed.is_empty()) {
        prune_behind(session, options, &snapshots, &summary, lock)?;
    }
    Ok(summary)
}

/// `--prune`: what no snapshot needs any more goes under the same exclusive lock. A list that lacks a snapshot
/// that stayed stops it.
fn prune_behind(
    session: &Session<'_>,
    options: &PruneOptions,
    snapshots: &[(Id, Snapshot)],
    summary: &ForgetSummary,
    lock: &Lock,
) -> Result<()> {
    let gone: BTreeSet<&str> = summary.removed.iter().map(String::as_str).collect();
    let (without, expected) =
        snapshots.iter().map(|(id, _)| *id).partition(|id| gone.contains(id.hex().as_str()));
    let without = if summary.dry_run { without } else { Vec::new() };
    let options = PruneOptions { expected, without, dry_run: summary.dry_run, ..options.clone() };
    let mut pruned = prune::locked(session, &options, lock)?;
    pruned.guard_requests += u64::from(!summary.dry_run);
    session.monitor.pruned(&pruned);
    Ok(())
}

/// What goes, and how many of those looked at stay; the plan is shown.
fn decide(
    session: &Session<'_>,
    request: &ForgetRequest,
    snapshots: &[(Id, Snapshot)],
) -> Result<(BTreeSet<Id>, u64)> {
    let now = session.repository.clock().now();
    let around = Circumstances {
        now: (now.as_second(), now.subsec_nanosecond() as u32),
        zone: &request.zone,
        unless_tagged: request.unless_tagged,
    };
    let (plans, compact) = match &request.choice {
        Choice::Ids(prefixes) => {
            let doomed = by_id(snapshots, prefixes)?;
            let kept = snapshots.len().saturating_sub(doomed.len());
            return Ok((doomed, kept as u64));
        }
        Choice::Policy(options) => {
            session.monitor.line(&format!("Applying Policy: {}", options.policy));
            (plan(snapshots, options, &around)?, options.compact)
        }
        Choice::Policies(file) => (by_identity(session, file, snapshots, &around)?, false),
    };
    if request.json {
        session.monitor.output(&listing::json(&plans));
    } else {
        let look = Look { zone: &request.zone, now, compact };
        session.monitor.output(&listing::text(&plans, &look));
    }
    let kept: usize = plans.iter().map(|plan| plan.keep.len()).sum();
    Ok((removed(&plans), kept as u64))
}

/// All ids are found before any goes.
fn by_id(snapshots: &[(Id, Snapshot)], prefixes: &[String]) -> Result<BTreeSet<Id>> {
    let mut doomed = BTreeSet::new();
    for prefix in prefixes {
        let found = select(snapshots, &Selection::Id(prefix.clone()), &Filter::default())?;
        doomed.extend(found.map(|(id, _)| id));
    }
    Ok(doomed)
}

/// Each snapshot by the first line that matches it; the plan is told line by line.
fn by_identity<'a>(
    session: &Session<'_>,
    file: &'a PolicyFile,
    snapshots: &'a [(Id, Snapshot)],
    around: &Circumstances<'_>,
) -> Result<Vec<GroupPlan<'a>>> {
    let mut plans = Vec::new();
    for LinePlan { line, snapshots, plans: made } in plan_by_line(snapshots, file, around)? {
        session.monitor.line(&format!(
            "host {} path {}: {}: {snapshots} snapshots, {} to remove",
            line.host.text(),
            line.path.text(),
            line.options.policy,
            removed(&made).len()
        ));
        plans.extend(made);
    }
    let alone = snapshots.iter().filter(|(_, snapshot)| file.line_of(snapshot).is_none());
    for (identity, own) in GroupBy::default().group(alone) {
        session.monitor.warn(&format!("no line of the policy file matches {identity}: {} kept", own.len()));
    }
    Ok(plans)
}

/// Removes snapshots, many at once; what fails is counted and told, and the others go.
fn remove(session: &Session<'_>, lock: &Lock, doomed: &[Id], summary: &mut ForgetSummary) -> Result<()> {
    let backend = session.repository.backend();
    let progress = session.monitor.progress();
    progress.files_total.set(doomed.len() as u64);
    for batch in doomed.chunks(AT_ONCE) {
        if session.stop.load(Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::Interrupted, "interrupted while removing snapshots")
                .because(format!("{} of {} were removed", summary.removed.len(), doomed.len()))
                .then("Run forget again"));
        }
        lock.check()?;
        let names: Vec<String> = batch.iter().map(Id::hex).collect();
        for (name, done) in names.iter().zip(backend.delete_many(FileType::Snapshot, &names)) {
            match done {
                Err(error) if error.kind != BackendErrorKind::NotFound => {
                    summary.denied |= error.kind == BackendErrorKind::Denied;
                    if summary.failed.len() < SHOWN {
                        session.monitor.item_failed("forget", &error.path, &error.cause);
                    }
                    progress.errors.add(1);
                    summary.failed.push((name.clone(), error.cause));
                }
                _ => {
                    progress.files_done.add(1);
                    summary.removed.push(name.clone());
                }
            }
        }
    }
    Ok(())
}
