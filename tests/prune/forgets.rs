//! `forget --prune`: one lock over both, lists that lie, what it would do, and a store that denies deletions.

use std::collections::BTreeSet;
use std::sync::Arc;

use volmover::backend::fault::{Fault, Rule};
use volmover::backend::record::{Record, Recorded, Request};
use volmover::backend::{Backend, BackendErrorKind, FileType};
use volmover::clock::SystemClock;
use volmover::error::{ErrorKind, Result};
use volmover::ops;
use volmover::ops::forget::ForgetRequest;
use volmover::ops::prune::PruneOptions;
use volmover::report::ForgetSummary;

use crate::lists::{Lie, one_list_lies};
use crate::support::mover::Mover;
use crate::world::{World, assert_clean, forget_and_prune, open, open_at, options};

const KEPT: usize = 2;

fn run(mover: &Mover) -> Result<ForgetSummary> {
    ops::forget::run(&mover.session(), &forget_and_prune(KEPT, options()))
}

/// Requests of a kind, in order.
fn asked(record: &Record, request: Request, kind: FileType) -> Vec<Recorded> {
    let all = record.requests().into_iter();
    all.filter(|asked| asked.request == request && asked.kind == Some(kind)).collect()
}

/// One lock file is written, before anything else is, and it goes when everything else is done: between the
/// forget and the prune nobody gets in.
#[test]
fn one_lock_covers_both() {
    let world = World::new(2).keeping(KEPT);
    let memory = world.store();
    let record = Arc::new(Record::keeping_all(Arc::clone(&memory) as _));
    let mover = open_at(Arc::clone(&record) as _);
    let summary = run(&mover).unwrap();
    let removed: BTreeSet<String> = summary.removed.iter().cloned().collect();
    let gone: BTreeSet<String> = world.lists.keys().filter(|id| !world.kept.contains(*id)).cloned().collect();
    assert_eq!(removed, gone);

    let taken = asked(&record, Request::Write, FileType::Lock);
    let given_back = asked(&record, Request::Delete, FileType::Lock);
    assert_eq!((taken.len(), given_back.len()), (1, 1));
    let change = |asked: &Recorded| {
        let changes = [Request::Write, Request::Delete, Request::DeleteMany];
        changes.contains(&asked.request) && asked.kind != Some(FileType::Lock)
    };
    let changes: Vec<Recorded> = record.requests().into_iter().filter(change).collect();
    assert!(changes.len() > 20, "{}", changes.len());
    for change in &changes {
        assert!(taken[0].finished < change.started && change.finished < given_back[0].started, "{change:?}");
    }
    // Snapshots, then new packs, then new index files, then the old ones of each.
    let of = |request, kind| {
        let all = asked(&record, request, kind);
        let first = all.iter().map(|asked| asked.started).min().unwrap();
        (first, all.iter().map(|asked| asked.finished).max().unwrap())
    };
    let order = [
        of(Request::DeleteMany, FileType::Snapshot),
        of(Request::Write, FileType::Pack),
        of(Request::DeleteMany, FileType::Index),
        of(Request::DeleteMany, FileType::Pack),
    ];
    assert!(order.is_sorted_by(|earlier, later| earlier.1 < later.0), "{order:?}");
    let indexed = of(Request::Write, FileType::Index);
    assert!(order[1].1 < indexed.1 && indexed.1 < order[2].0, "{indexed:?} in {order:?}");

    // Lists that are asked for again, and new index files that are read back, are what guards alone do.
    let pruned = mover.monitor.prune_summaries();
    let lists = [FileType::Snapshot, FileType::Index, FileType::Pack]
        .map(|kind| asked(&record, Request::List, kind).len() as u64);
    assert_eq!(lists, [5, 3, 3]);
    let written: BTreeSet<String> =
        asked(&record, Request::Write, FileType::Index).into_iter().map(|asked| asked.name).collect();
    let read_back = asked(&record, Request::Read, FileType::Index);
    let read_back = read_back.iter().filter(|asked| written.contains(&asked.name)).count() as u64;
    // The first lists of forget and of prune are no guards.
    assert_eq!(pruned[0].guard_requests, lists.iter().sum::<u64>() - 4 + read_back);
    assert_clean(&open(&memory), "after a forget with prune");
    world.assert_whole(&memory, "after a forget with prune");
    world.assert_restic_is_content(&memory, "after a forget with prune");
}

#[test]
fn one_list_that_lies_costs_nothing() {
    let world = World::new(2).keeping(KEPT);
    one_list_lies(
        &world,
        |mover| run(mover).map(|_| ()),
        |kind, nth, lie| match kind {
            // A snapshot that is shown and not there has been removed by another forget, as far as one can know.
            FileType::Snapshot if nth == 0 => !matches!(lie, Lie::Adds(_)),
            // Half of them are gone by then: no list leaves out what is not there.
            FileType::Snapshot if nth >= 2 => nth < 5 && !matches!(lie, Lie::Lacks(place) if *place >= KEPT),
            FileType::Snapshot => true,
            FileType::Lock => false,
            _ => nth < 3,
        },
    );
}

#[test]
fn a_dry_run_says_what_both_would_do() {
    let world = World::new(2).keeping(KEPT);
    let memory = world.store();
    let mover = open(&memory);
    let dry = ForgetRequest {
        dry_run: true,
        ..forget_and_prune(KEPT, PruneOptions { dry_run: true, ..options() })
    };
    let would = ops::forget::run(&mover.session(), &dry).unwrap();
    assert!(memory.content() == world.content, "something was changed");
    let did = run(&mover).unwrap();
    assert_eq!((&would.removed, would.kept, would.dry_run), (&did.removed, did.kept, true));
    let [would, did] = mover.monitor.prune_summaries().try_into().unwrap();
    assert!(would.dry_run && would.bytes_freed() > 0 && would.packs_deleted == 0, "{would:?}");
    assert_eq!((would.bytes_freed(), would.blobs_removed), (did.bytes_freed(), did.blobs_removed));
    assert_eq!((would.packs_repacked, would.bytes_remaining), (did.packs_repacked, did.bytes_remaining));
    let alone = ops::prune::run(&open(&world.store()).session(), &options()).unwrap();
    assert!(would.bytes_freed() > alone.bytes_freed(), "what the forgotten snapshots needed goes as well");
}

/// Deletions are denied but for locks, as to append-only credentials.
fn append_only(world: &World) -> (Arc<volmover::backend::memory::MemoryBackend>, Mover) {
    let memory = world.store();
    let fault = Arc::new(Fault::new(Arc::clone(&memory) as _, Arc::new(SystemClock::new())));
    for kind in [FileType::Snapshot, FileType::Index, FileType::Pack] {
        let delete = [Request::Delete, Request::DeleteMany];
        fault.add(Rule::on(&delete).kind(kind).forever().fail(BackendErrorKind::Denied));
    }
    (memory, open_at(fault))
}

#[test]
fn a_store_that_denies_deletions_loses_nothing() {
    let world = World::new(2);
    let (memory, mover) = append_only(&world);
    let session = mover.session();
    let summary = run(&mover).unwrap();
    let error = ops::forget::verdict(&session, &summary).unwrap_err();
    assert_eq!((error.kind.exit_code(), summary.removed.len(), summary.denied), (3, 0, true), "{error}");
    assert!(mover.monitor.prune_summaries().is_empty(), "nothing was removed, so nothing is pruned");
    assert!(memory.content() == world.content, "nothing was changed");

    for round in ["once", "again"] {
        let error = ops::prune::run(&session, &options()).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Denied, "{round}: {error}");
        for (kind, name, data) in world.content.files() {
            assert_eq!(&memory.read(kind, name).unwrap(), data, "{round}: {kind:?} {name}");
        }
        world.assert_whole(&memory, round);
    }
    world.assert_restic_is_content(&memory, "after denied prunes");
    world.assert_next_finishes(&memory, "after denied prunes");
}

#[test]
fn compression_of_version_1_is_refused_before_anything_goes() {
    let world = World::new(1);
    let memory = world.store();
    let uncompressed = PruneOptions { uncompressed: true, ..options() };
    let request = forget_and_prune(KEPT, uncompressed.clone());
    let mover = open(&memory);
    let error = ops::forget::run(&mover.session(), &request).unwrap_err();
    assert_eq!(error.kind.exit_code(), 2, "{error}");
    assert_eq!(ops::prune::run(&mover.session(), &uncompressed).unwrap_err().kind.exit_code(), 2);
    assert!(memory.content() == world.content, "something was changed");
}
