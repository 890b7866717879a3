//! `repair-index` and `repair-snapshots`: show what they would do, or do it.
//!
//! Doing it takes the exclusive lock; showing it changes nothing and takes a shared one.

use super::Session;
use crate::error::Result;
use crate::repair::index::{self, IndexRepair};
use crate::repair::snapshots::{self, Loss, Outcome, Repaired};
use crate::report::sink::printable;
use crate::repository::lock::LockMode;
use crate::repository::snapshot::Snapshot;

/// Losses of one snapshot that are told one by one.
const LOSSES_MAX: usize = 1000;

fn mode(apply: bool) -> LockMode {
    if apply { LockMode::Exclusive } else { LockMode::Shared }
}

/// Repairs the index, or says what that would do.
pub fn index(session: &Session<'_>, apply: bool) -> Result<IndexRepair> {
    session.locked(mode(apply), |lock| {
        let repair = index::plan(&session.repository, session.monitor, session.stop)?;
        tell_index(session, &repair, apply);
        if apply && !repair.is_nothing() {
            index::apply(&session.repository, &repair, lock)?;
        }
        Ok(repair)
    })
}

fn tell_index(session: &Session<'_>, repair: &IndexRepair, apply: bool) {
    let line = |text: String| session.monitor.line(&text);
    for file in &repair.unreadable_files {
        line(format!("index {file}: cannot be read, is replaced"));
    }
    for pack in &repair.added {
        line(format!("pack {}: {} blobs are added to the index", pack.id, pack.blobs.len()));
    }
    for (pack, (cause, blobs)) in &repair.dropped {
        line(match blobs {
            0 => format!("pack {pack}: {cause}; it cannot be indexed"),
            _ => format!("pack {pack}: {cause}; {blobs} blobs of it were in the index and are lost"),
        });
    }
    if repair.is_nothing() {
        return line("the index is right as it is".to_owned());
    }
    let files = repair.unreadable_files.len() + repair.wrong_files.len();
    let (added, dropped) = (repair.added.len(), repair.dropped.len());
    line(format!(
        "{} {files} index files, {added} packs added, {dropped} packs dropped",
        if apply { "replacing" } else { "would replace" }
    ));
    if apply {
        line("Run check to see whether snapshots need what is lost".to_owned());
    } else {
        line("Nothing was changed: MOVER_REPAIR=apply does it".to_owned());
    }
}

/// Rewrites damaged snapshots, or says what that would do.
pub fn snapshots(session: &Session<'_>, apply: bool) -> Result<Vec<Repaired>> {
    session.locked(mode(apply), |lock| {
        let lock = apply.then_some(lock);
        let threads = session.limits.threads;
        session.monitor.phase("reading trees");
        let all = snapshots::repair(&session.repository, lock, threads, session.monitor, session.stop)?;
        tell_snapshots(session, &all, apply);
        Ok(all)
    })
}

fn tell_snapshots(session: &Session<'_>, all: &[Repaired], apply: bool) {
    let line = |text: String| session.monitor.line(&text);
    for one in all {
        let Snapshot { hostname, paths, .. } = &one.snapshot;
        line(format!("snapshot {} of [{}] on {hostname}", one.old.short(), paths.join(" ")));
        for (path, loss) in one.losses.iter().take(LOSSES_MAX) {
            let path = printable(&String::from_utf8_lossy(path));
            line(match loss {
                Loss::Content => format!("  file \"{path}\": removed missing content"),
                Loss::Directory => format!("  dir \"{path}\": replaced with empty directory"),
                Loss::Entry => format!("  entry \"{path}\": removed, it is of no known type"),
            });
        }
        if one.losses.len() > LOSSES_MAX {
            line(format!("  … and {} others", one.losses.len() - LOSSES_MAX));
        }
        line(match one.outcome {
            Outcome::Lost => "  dir \"/\": not readable; nothing of it can be saved".to_owned(),
            Outcome::Known(copy) => format!("  snapshot {} is its repaired copy already", copy.short()),
            Outcome::Would => "  would save new snapshot".to_owned(),
            Outcome::Written(copy) => format!("  saved new snapshot {}", copy.short()),
        });
    }
    if all.is_empty() {
        return line("no snapshot loses anything".to_owned());
    }
    let ids: Vec<String> = all.iter().map(|one| one.old.short()).collect();
    if all.iter().any(|one| one.outcome == Outcome::Would) && !apply {
        line("Nothing was changed: MOVER_REPAIR=apply does it".to_owned());
    } else {
        let ids = ids.join(",");
        line(format!("The damaged snapshots stay until forget removes them: MOVER_FORGET_SNAPSHOTS={ids}"));
    }
}
