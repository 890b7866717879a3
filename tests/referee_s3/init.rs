//! Twenty starters on one empty prefix make one repository, also where the store knows no conditional write.

use std::sync::{Arc, Barrier};

use volmover::backend::FileType;
use volmover::clock::SystemClock;
use volmover::repository::Repository;
use volmover::repository::open::Origin;

use crate::place::Place;
use crate::s3::{Conditions, Profile};
use crate::support::mover::access;

const STARTERS: usize = 20;

fn race(conditions: Conditions) {
    let place = Place::server("S3", Profile { conditions, ..Profile::plain() });
    let barrier = Barrier::new(STARTERS);
    let started: Vec<(Repository, Origin)> = std::thread::scope(|scope| {
        let starter = || {
            // A store of its own, as every process has.
            let backend = place.beside("race").backend;
            barrier.wait();
            Repository::open_or_create(backend, &access(Arc::new(SystemClock::new()))).unwrap()
        };
        let threads: Vec<_> = (0..STARTERS).map(|_| scope.spawn(starter)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let id = &started[0].0.config().id;
    assert!(started.iter().all(|(repository, _)| repository.config().id == *id), "{conditions:?}");
    assert_eq!(started.iter().filter(|(_, origin)| *origin == Origin::Created).count(), 1, "{conditions:?}");
    let place = place.beside("race");
    let keys = place.backend.list(FileType::Key).unwrap();
    assert_eq!(keys.len(), 1, "{conditions:?}: a stray key makes restic fail at random");
    assert_eq!(place.mover().repository.config().id, *id, "{conditions:?}");
}

#[test]
fn where_conditions_are_honoured() {
    race(Conditions::Honoured);
}

#[test]
fn where_conditions_are_refused() {
    race(Conditions::Refused);
}
