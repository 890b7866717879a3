//! What prune must not begin with: anything that it cannot read, or that is missing. And what is no reason
//! to stop.

use std::fs;
use std::sync::Arc;

use volmover::backend::memory::MemoryBackend;
use volmover::backend::{Backend, FileType};
use volmover::error::ErrorKind;
use volmover::ops;
use volmover::ops::prune::PruneOptions;
use volmover::repository::blob::BlobType;
use volmover::repository::{Id, Repository};

use crate::support::clock::SleepClock;
use crate::support::mover::{self, Mover, backup_options};
use crate::support::scratch;
use crate::support::source;
use crate::world::{World, assert_clean, forget_and_prune, open, options, prune};

/// Flips the lowest bit in the middle.
fn flip(memory: &MemoryBackend, kind: FileType, name: &str) {
    assert!(memory.corrupt(kind, name, |data| {
        let middle = data.len() / 2;
        data[middle] ^= 1;
    }));
}

#[track_caller]
fn assert_refused(memory: &Arc<MemoryBackend>, kind: ErrorKind, what: &str) {
    let before = memory.content();
    let error = prune(&open(memory)).expect_err(what);
    assert_eq!(error.kind, kind, "{what}: {error}");
    assert!(memory.content() == before, "{what}: something was changed");
}

/// The packs of the root trees, and of a data blob of the newest snapshot.
fn needed_packs(memory: &Arc<MemoryBackend>) -> Vec<(BlobType, Id)> {
    let mover = open(memory);
    let index = mover.repository.load_index().unwrap();
    let mut opener = mover.repository.opener().unwrap();
    let mut packs = Vec::new();
    for (_, snapshot) in mover.repository.snapshots().unwrap() {
        packs.push((BlobType::Tree, index.lookup(BlobType::Tree, &snapshot.tree).unwrap().pack));
        let mut tree = snapshot.tree;
        loop {
            let nodes = mover.repository.read_tree(&index, &tree, &mut opener).unwrap().nodes;
            if let Some(blob) = nodes.iter().find_map(|node| node.content.as_ref()?.first()) {
                let mut places = index.locations(BlobType::Data, blob);
                let place = places.next().unwrap();
                // Of a blob with two copies the other is as good.
                if places.next().is_none() {
                    packs.push((BlobType::Data, place.pack));
                }
                break;
            }
            let Some(next) = nodes.iter().find_map(|node| node.subtree) else { break };
            tree = next;
        }
    }
    packs
}

#[test]
fn what_cannot_be_read_is_refused_before_anything_changes() {
    let world = World::new(2);
    for id in world.lists.keys() {
        let memory = world.store();
        flip(&memory, FileType::Snapshot, id);
        assert_refused(&memory, ErrorKind::Damaged, "a damaged snapshot");
    }
    for index in world.store().list(FileType::Index).unwrap() {
        let memory = world.store();
        flip(&memory, FileType::Index, &index.name);
        assert_refused(&memory, ErrorKind::Damaged, "a damaged index");
    }
    let packs = needed_packs(&world.store());
    assert!(packs.iter().any(|(kind, _)| *kind == BlobType::Data), "{packs:?}");
    for (kind, pack) in packs {
        let what = format!("{kind:?} pack {}", pack.short());
        let memory = world.store();
        memory.delete(FileType::Pack, &pack.hex()).unwrap();
        assert_refused(&memory, ErrorKind::Damaged, &format!("{what} is gone"));
        let memory = world.store();
        memory.corrupt(FileType::Pack, &pack.hex(), |data| data.truncate(data.len() - 7));
        assert_refused(&memory, ErrorKind::Damaged, &format!("{what} is short"));
        if kind == BlobType::Tree {
            let memory = world.store();
            memory.corrupt(FileType::Pack, &pack.hex(), |data| data.fill(7));
            assert_refused(&memory, ErrorKind::Damaged, &format!("{what} is overwritten"));
        }
    }
}

/// A needed index that is gone: its blobs are listed nowhere.
#[test]
fn an_index_that_is_gone_never_costs_a_pack() {
    let world = World::new(2);
    for index in world.store().list(FileType::Index).unwrap() {
        let memory = world.store();
        memory.delete(FileType::Index, &index.name).unwrap();
        let before = memory.content();
        match prune(&open(&memory)) {
            Err(error) => {
                assert_eq!(error.kind, ErrorKind::Damaged, "{error}");
                assert!(memory.content() == before);
            }
            // All that it listed is forgotten, or listed elsewhere.
            Ok(_) => world.assert_whole(&memory, "without an index that nobody needs"),
        }
    }
}

/// A damaged blob in a pack that is repacked: nothing is deleted; where another copy is right, that is taken.
#[test]
fn a_damaged_blob_is_never_copied() {
    let world = World::new(2);
    let mut refused = 0;
    for pack in world.store().list(FileType::Pack).unwrap() {
        let memory = world.store();
        memory.corrupt(FileType::Pack, &pack.name, |data| data[100] ^= 1);
        match prune(&open(&memory)) {
            Ok(_) => {
                // Nobody needs it, or it is kept as it is, or there was another copy.
                let left = memory.list(FileType::Pack).unwrap();
                if left.iter().all(|file| file.name != pack.name) {
                    world.assert_whole(&memory, "without a damaged pack");
                }
            }
            Err(error) => {
                assert_eq!(error.kind, ErrorKind::Damaged, "{error}");
                refused += 1;
                for (kind, name, _) in world.content.files() {
                    assert!(memory.stat(kind, name).is_ok(), "{kind:?} {name} is there");
                }
            }
        }
    }
    assert!(refused > 0);
}

#[test]
fn a_dry_run_says_what_would_go_and_changes_nothing() {
    let world = World::new(2);
    let memory = world.store();
    let mover = open(&memory);
    let would = ops::prune::run(&mover.session(), &PruneOptions { dry_run: true, ..options() }).unwrap();
    assert!(memory.content() == world.content, "nothing was changed");
    let bytes = |memory: &MemoryBackend| -> u64 {
        memory.list(FileType::Pack).unwrap().iter().map(|file| file.bytes).sum()
    };
    let before = bytes(&memory);
    let did = prune(&mover).unwrap();
    assert_eq!((would.bytes_freed(), would.packs_repacked), (did.bytes_freed(), did.packs_repacked));
    assert!(would.dry_run && would.packs_unreferenced > 0 && would.packs_removed > 0, "{would:?}");
    assert!(would.packs_repacked > 1 && would.blobs_duplicate > 0, "{would:?}");
    let freed = before - bytes(&memory);
    // The headers of the new packs are all that the figure leaves out.
    assert!(freed.abs_diff(did.bytes_freed()) < before / 50, "{freed} and {}", did.bytes_freed());
    assert_clean(&mover, "after it");
    world.assert_restic_is_content(&memory, "after a prune");
}

#[test]
fn an_index_beyond_the_budget_is_refused_before_it_is_loaded() {
    let memory = World::new(2).store();
    let before = memory.content();
    let clock = Arc::new(SleepClock::new());
    let repository = Repository::open(Arc::clone(&memory) as _, &mover::access(clock)).unwrap();
    let error = prune(&Mover::of(repository.with_memory(1000))).unwrap_err();
    assert!(error.to_string().contains("MOVER_MEMORY"), "{error}");
    // It fits, but nothing can be repacked beside it.
    let mut small = open(&memory);
    small.limits.memory_bytes = 30 << 20;
    assert!(prune(&small).unwrap_err().to_string().contains("RESTIC_PACK_SIZE"));
    assert!(memory.content() == before, "nothing was changed");
}

#[test]
fn an_empty_repository_is_pruned_in_no_time() {
    for version in [1, 2] {
        let memory = Arc::new(MemoryBackend::new());
        mover::create_in(memory.as_ref(), version);
        assert_eq!(prune(&open(&memory)).unwrap().bytes_freed(), 0);
    }
}

/// All snapshots removed on purpose: refused, and the way out that the message names works.
#[test]
fn after_all_snapshots_are_gone_a_backup_shows_the_way() {
    let world = World::new(2);
    let memory = world.store();
    for id in world.lists.keys() {
        memory.delete(FileType::Snapshot, id).unwrap();
    }
    assert_refused(&memory, ErrorKind::Other, "no snapshots");
    let folder = scratch();
    source::files(folder.path(), 2, 100, 9);
    let mover = Mover::open_backend(Arc::clone(&memory) as _).unwrap();
    ops::backup::run(&mover.session(), backup_options(folder.path())).unwrap();
    prune(&mover).unwrap();
    assert_clean(&mover, "after a first backup");
}

/// Two blobs whose tags are right, each under the other's id.
#[test]
fn the_content_of_another_blob_is_never_copied() {
    for version in [1, 2] {
        let memory = Arc::new(MemoryBackend::new());
        mover::create_in(&*memory, version);
        let folder = scratch();
        let text = |seed: &str, bytes: usize| {
            let words = (0_u32..).map(|number| format!("{} ", Id::of(format!("{seed}{number}").as_bytes())));
            words.flat_map(String::into_bytes).take(bytes).collect::<Vec<u8>>()
        };
        let contents = [("a", 20_000), ("b", 20_000), ("c", 60_000)];
        for (name, bytes) in contents {
            fs::write(folder.path().join(name), text(name, bytes)).unwrap();
        }
        let mover = open(&memory);
        mover.backup(folder.path()).unwrap();
        fs::remove_file(folder.path().join("c")).unwrap();
        mover.backup(folder.path()).unwrap();
        let ids = contents.map(|(name, bytes)| Id::of(&text(name, bytes)));
        for file in memory.list(FileType::Index).unwrap() {
            let mut packs = mover.repository.read_index_file(&file.name.parse().unwrap()).unwrap();
            for blob in packs.iter_mut().flat_map(|pack| &mut pack.blobs) {
                blob.id = match blob.id {
                    id if id == ids[0] => ids[1],
                    id if id == ids[1] => ids[0],
                    id => id,
                };
            }
            mover.repository.write_index_file(&packs).unwrap();
            memory.delete(FileType::Index, &file.name).unwrap();
        }
        let packs = memory.list(FileType::Pack).unwrap();
        let error = ops::forget::run(&open(&memory).session(), &forget_and_prune(1, options())).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Damaged, "version {version}: {error}");
        assert!(error.to_string().contains(&ids[0].short()) || error.to_string().contains(&ids[1].short()));
        let left = memory.list(FileType::Pack).unwrap();
        assert!(packs.iter().all(|pack| left.iter().any(|other| other.name == pack.name)));
    }
}
