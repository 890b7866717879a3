//! `reach::walk` meets every tree that snapshots reach, each once, and reads each pack of trees about once.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use support::mover::{self, Mover, backup_options};
use support::scratch;
use support::source;
use volmover::backend::memory::MemoryBackend;
use volmover::backend::record::{Record, Request};
use volmover::backend::{Backend, FileType};
use volmover::error::{Error, ErrorKind, Result};
use volmover::ops::{self, backup::BackupOptions};
use volmover::repository::blob::BlobType;
use volmover::repository::index::Index;
use volmover::repository::reach::{self, Visitor};
use volmover::repository::tree::Tree;
use volmover::repository::{Id, Repository};

#[derive(Default)]
struct Seen {
    trees: Mutex<HashMap<Id, usize>>,
    broken: Mutex<Vec<Id>>,
    end_at_broken: bool,
}

impl Visitor for Seen {
    fn tree(&self, id: &Id, _tree: &Tree) -> Result<()> {
        *self.trees.lock().unwrap().entry(*id).or_default() += 1;
        Ok(())
    }

    fn broken(&self, id: &Id, error: Error) -> Result<()> {
        self.broken.lock().unwrap().push(*id);
        if self.end_at_broken { Err(error) } else { Ok(()) }
    }
}

/// A repository with six snapshots in many small packs.
fn world() -> (Arc<MemoryBackend>, Vec<Id>) {
    let (folder, memory) = (scratch(), Arc::new(MemoryBackend::new()));
    mover::create_in(memory.as_ref(), 2);
    let mover = Mover::open_backend(Arc::clone(&memory) as _).unwrap();
    for round in 0..6 {
        for folder_number in 0..40 {
            let place = folder.path().join(format!("a-{}/b-{folder_number}/c", folder_number % 5));
            std::fs::create_dir_all(&place).unwrap();
            if folder_number % 7 == round {
                std::fs::write(place.join("file"), format!("{round} {folder_number}")).unwrap();
            }
        }
        let options = BackupOptions { pack_bytes: 4 << 10, ..backup_options(folder.path()) };
        ops::backup::run(&mover.session(), options).unwrap();
    }
    source::files(folder.path(), 3, 1000, 1);
    let roots = mover.repository.snapshots().unwrap().iter().map(|(_, snapshot)| snapshot.tree).collect();
    (memory, roots)
}

fn by_hand(repository: &Repository, index: &Index, id: Id, seen: &mut BTreeSet<Id>) {
    if seen.insert(id) {
        let tree = repository.read_tree(index, &id, &mut repository.opener().unwrap()).unwrap();
        tree.nodes.iter().filter_map(|node| node.subtree).for_each(|id| by_hand(repository, index, id, seen));
    }
}

#[test]
fn every_tree_is_met_once_and_every_pack_is_read_about_once() {
    let (memory, roots) = world();
    let record = Arc::new(Record::keeping_all(Arc::clone(&memory) as _));
    let mover = Mover::open_backend(Arc::clone(&record) as _).unwrap();
    let index = mover.repository.load_index().unwrap();
    let mut expected = BTreeSet::new();
    for root in &roots {
        by_hand(&mover.repository, &index, *root, &mut expected);
    }
    record.clear();
    let seen = Seen::default();
    reach::walk(&mover.repository, &index, &roots, 3, &seen, &AtomicBool::new(false)).unwrap();
    let trees = seen.trees.into_inner().unwrap();
    assert_eq!(trees.keys().copied().collect::<BTreeSet<_>>(), expected);
    assert!(trees.values().all(|times| *times == 1) && trees.len() > 100, "{} trees", trees.len());
    let packs = index.pack_ends(BlobType::Tree).len() as u64;
    assert!(packs > 6, "{packs} packs");
    assert_eq!(record.counts().of(Request::ReadRange), packs);
}

#[test]
fn a_tree_that_is_gone_is_told_once_and_the_visitor_decides() {
    let (memory, roots) = world();
    let mover = Mover::open_backend(Arc::clone(&memory) as _).unwrap();
    let index = mover.repository.load_index().unwrap();
    let location = index.lookup(BlobType::Tree, &roots[0]).unwrap();
    memory.delete(FileType::Pack, &location.pack.hex()).unwrap();
    let unknown = Id::of(b"no such tree");
    let roots = [roots.as_slice(), &[unknown, unknown]].concat();
    let walk = |seen: &Seen, stop: bool| {
        reach::walk(&mover.repository, &index, &roots, 3, seen, &AtomicBool::new(stop))
    };
    let seen = Seen::default();
    walk(&seen, false).unwrap();
    let broken = seen.broken.into_inner().unwrap();
    assert!(broken.contains(&roots[0]) && broken.contains(&unknown), "{broken:?}");
    assert_eq!(broken.iter().collect::<BTreeSet<_>>().len(), broken.len(), "each once");
    let seen = Seen { end_at_broken: true, ..Seen::default() };
    assert_eq!(walk(&seen, false).unwrap_err().kind, ErrorKind::Damaged);
    let stopped = AtomicBool::new(true);
    let error =
        reach::walk(&mover.repository, &index, &roots[..1], 3, &Seen::default(), &stopped).unwrap_err();
    assert!(stopped.load(Ordering::SeqCst) && error.kind == ErrorKind::Interrupted, "{error}");
}
