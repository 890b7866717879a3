//! Lists that lie: whatever a list leaves out or adds, nothing that is needed is deleted.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use volmover::backend::{Backend, BackendError, BackendErrorKind, BackendResult, FileType, Listed};
use volmover::error::{ErrorKind, Result};
use volmover::ops;
use volmover::ops::prune::PruneOptions;

use crate::stage::Stage;
use crate::support::mover::Mover;
use crate::world::{World, open_at, options, prune};

const KINDS: [FileType; 4] = [FileType::Snapshot, FileType::Index, FileType::Pack, FileType::Lock];

#[derive(Debug, Clone)]
pub enum Lie {
    Fails,
    IsEmpty,
    IsCut,
    Lacks(usize),
    Adds(String),
}

impl Lie {
    fn tell(&self, kind: FileType, mut list: Vec<Listed>) -> BackendResult<Vec<Listed>> {
        match self {
            Self::Fails => {
                return Err(BackendError::at(BackendErrorKind::Other, "list", kind.folder(), "scripted"));
            }
            Self::IsEmpty => list.clear(),
            Self::IsCut => list.truncate(list.len() / 2),
            Self::Lacks(place) if *place < list.len() => drop(list.remove(*place)),
            Self::Lacks(_) => {}
            Self::Adds(name) => list.push(Listed { name: name.clone(), bytes: 1000, modified: None }),
        }
        Ok(list)
    }
}

/// Every list of every kind lies once, at the first time that it is asked for, at the second, …: what is told
/// by a list that `is_guarded` is an error, and nothing that is needed goes.
pub fn one_list_lies(
    world: &World,
    run: fn(&Mover) -> Result<()>,
    is_guarded: fn(FileType, usize, &Lie) -> bool,
) {
    for kind in KINDS {
        let entries = world.store().list(kind).unwrap().len();
        let mut lies = vec![Lie::Fails, Lie::IsEmpty, Lie::IsCut, Lie::Adds(world.gone[&kind].clone())];
        lies.extend((0..entries).map(Lie::Lacks));
        for lie in lies {
            for nth in 0..6 {
                let what = format!("list {nth} of {}: {lie:?}", kind.folder());
                let (memory, asked, told) = (world.store(), AtomicUsize::new(0), lie.clone());
                let stage = Stage::on_list(&memory, move |of, list| {
                    let now = of == kind && asked.fetch_add(1, Ordering::SeqCst) == nth;
                    if now { told.tell(of, list) } else { Ok(list) }
                });
                match run(&open_at(Arc::new(stage))) {
                    Ok(()) => assert!(!is_guarded(kind, nth, &lie), "{what}: it went through"),
                    Err(error) => assert_eq!(error.kind.exit_code(), 1, "{what}: {error}"),
                }
                world.assert_whole(&memory, &what);
                if nth == 0 {
                    world.assert_next_finishes(&memory, &what);
                }
            }
        }
    }
}

#[test]
fn one_list_that_lies_costs_nothing() {
    let run = |mover: &Mover| prune(mover).map(|_| ());
    // Lists of data that the guards compare: no difference may pass.
    one_list_lies(&World::new(2), run, |kind, nth, _| kind != FileType::Lock && nth < 3);
}

/// A store that keeps lying in the same way. Indexes and packs that are never shown cost nothing; an empty
/// list of snapshots is refused; a single snapshot that is never shown cannot be known, unless the caller
/// knows it.
#[test]
fn a_store_that_keeps_lying_costs_nothing_that_can_be_known() {
    let world = World::new(2);
    for kind in [FileType::Index, FileType::Pack] {
        let entries = world.store().list(kind).unwrap().len();
        for lie in [Lie::IsEmpty, Lie::IsCut].into_iter().chain((0..entries).map(Lie::Lacks)) {
            let what = format!("{} always: {lie:?}", kind.folder());
            let (memory, told) = (world.store(), lie.clone());
            let stage = Stage::on_list(
                &memory,
                move |of, list| if of == kind { told.tell(of, list) } else { Ok(list) },
            );
            let _ = prune(&open_at(Arc::new(stage)));
            world.assert_whole(&memory, &what);
        }
    }
    let memory = world.store();
    let before = memory.content();
    let stage = Stage::on_list(&memory, |of, list| {
        if of == FileType::Snapshot { Lie::IsEmpty.tell(of, list) } else { Ok(list) }
    });
    let error = prune(&open_at(Arc::new(stage))).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Other);
    assert!(error.to_string().contains("make a backup first"), "{error}");
    assert!(memory.content() == before, "nothing was changed");

    for (place, id) in world.lists.keys().enumerate() {
        let stage = Stage::on_list(&memory, move |of, list| {
            if of == FileType::Snapshot { Lie::Lacks(place).tell(of, list) } else { Ok(list) }
        });
        let mover = open_at(Arc::new(stage));
        let known = PruneOptions { expected: vec![id.parse().unwrap()], ..options() };
        let error = ops::prune::run(&mover.session(), &known).unwrap_err();
        assert!(error.to_string().contains(&id[..8]), "{error}");
        assert!(memory.content() == before, "nothing was changed");
    }
}
