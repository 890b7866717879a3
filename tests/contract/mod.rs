//! What every store must do, as functions over `&dyn Backend`: one suite for all stores.
//!
//! `contract` runs every case in turn on one store, which it creates and empties itself; it must be given a
//! store of its own (a fresh folder, a fresh prefix). `contract_missing` wants a store that does not exist.
//! Nothing here may know which store it tests.

use std::collections::BTreeSet;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use volmover::backend::{Backend, BackendErrorKind, FileType, Listed};
use volmover::repository::Id;

/// A case of the contract: its name, and what it runs.
pub(crate) type Case = (&'static str, fn(&dyn Backend));

/// All cases, for a caller that wants to run or time them one by one. Each empties the store first.
pub(crate) const CASES: [Case; 14] = [
    ("create twice", create_twice),
    ("files come back", files_come_back),
    ("the config has no name", config_has_no_name),
    ("an empty file", empty_file),
    ("ranges are exact", ranges_are_exact),
    ("what is missing is NotFound", missing_is_not_found),
    ("write replaces", write_replaces),
    ("write_new never replaces", write_new_never_replaces),
    ("one of twenty wins", one_of_twenty_wins),
    ("half-written files are not seen", half_written_files_are_not_seen),
    ("many names", many_names),
    ("delete many", delete_many),
    ("strangers are not listed", strangers_are_not_listed),
    ("a large file", large_file),
];

/// Runs all cases on one store, which must be for this test alone.
pub(crate) fn contract(backend: &dyn Backend) {
    backend.create().unwrap();
    for (name, case) in CASES {
        let start = std::time::Instant::now();
        empty(backend);
        case(backend);
        println!("{}: {name}: {} ms", backend.location(), start.elapsed().as_millis());
    }
    empty(backend);
}

/// A store (folder, bucket) that does not exist: every request says so, and no list is empty.
pub(crate) fn contract_missing(backend: &dyn Backend) {
    let name = name_of("missing");
    for kind in FileType::FOLDERS {
        let error = backend.list(kind).expect_err("a list of what is not there");
        assert_eq!(error.kind, BackendErrorKind::NotFound, "list {kind:?}: {error}");
        assert_eq!(kind_of(backend.stat(kind, &name)), BackendErrorKind::NotFound);
    }
    assert_eq!(kind_of(backend.stat(FileType::Config, "")), BackendErrorKind::NotFound);
    assert_eq!(kind_of(backend.read(FileType::Config, "")), BackendErrorKind::NotFound);
    assert_eq!(kind_of(backend.write(FileType::Key, &name, &bytes("x"))), BackendErrorKind::NotFound);
    backend.create().unwrap();
    for kind in FileType::FOLDERS {
        assert_eq!(backend.list(kind).unwrap(), []);
    }
    backend.write(FileType::Pack, &name, &bytes("x")).unwrap();
    assert_eq!(backend.stat(FileType::Pack, &name).unwrap(), 1);
}

fn create_twice(backend: &dyn Backend) {
    let name = name_of("kept");
    backend.write(FileType::Key, &name, &bytes("kept")).unwrap();
    backend.create().unwrap();
    assert_eq!(backend.read(FileType::Key, &name).unwrap(), bytes("kept"));
    for kind in [FileType::Lock, FileType::Snapshot, FileType::Index, FileType::Pack] {
        assert_eq!(backend.list(kind).unwrap(), []);
    }
    assert!(!backend.location().is_empty());
    assert!(backend.connections() > 0);
}

fn files_come_back(backend: &dyn Backend) {
    for kind in FileType::FOLDERS {
        let data = bytes(&format!("content of a {}", kind.word()));
        let name = name_of(kind.word());
        backend.write(kind, &name, &data).unwrap();
        assert_eq!(backend.read(kind, &name).unwrap(), data);
        assert_eq!(backend.stat(kind, &name).unwrap(), data.len() as u64);
        let listed = backend.list(kind).unwrap();
        assert_eq!(listed.len(), 1, "{kind:?}: {listed:?}");
        assert_eq!((listed[0].name.as_str(), listed[0].bytes), (name.as_str(), data.len() as u64));
        backend.delete(kind, &name).unwrap();
        assert_eq!(backend.list(kind).unwrap(), []);
        assert_eq!(kind_of(backend.read(kind, &name)), BackendErrorKind::NotFound);
    }
}

fn config_has_no_name(backend: &dyn Backend) {
    backend.write_new(FileType::Config, &name_of("any"), &bytes("config")).unwrap();
    assert_eq!(backend.read(FileType::Config, "").unwrap(), bytes("config"));
    assert_eq!(backend.stat(FileType::Config, "other").unwrap(), 6);
    assert_eq!(kind_of(backend.write_new(FileType::Config, "", &bytes("late"))), BackendErrorKind::Exists);
    backend.delete(FileType::Config, "").unwrap();
    assert_eq!(kind_of(backend.stat(FileType::Config, "")), BackendErrorKind::NotFound);
}

fn empty_file(backend: &dyn Backend) {
    let name = name_of("empty");
    backend.write(FileType::Lock, &name, &Bytes::new()).unwrap();
    assert_eq!(backend.stat(FileType::Lock, &name).unwrap(), 0);
    assert_eq!(backend.read(FileType::Lock, &name).unwrap(), Bytes::new());
    assert_eq!(backend.read_range(FileType::Lock, &name, 0, 0).unwrap(), Bytes::new());
    assert_eq!(kind_of(backend.read_range(FileType::Lock, &name, 0, 1)), BackendErrorKind::Damaged);
    assert_eq!(names(&backend.list(FileType::Lock).unwrap()), BTreeSet::from([name]));
}

fn ranges_are_exact(backend: &dyn Backend) {
    let (name, data) = (name_of("ranges"), noise(10_000));
    backend.write(FileType::Pack, &name, &data).unwrap();
    for (offset, length) in [(0, 1), (0, 10_000), (1, 9_998), (4_095, 4_098), (9_999, 1), (5_000, 0)] {
        let range = backend.read_range(FileType::Pack, &name, offset as u64, length).unwrap();
        assert!(range == data.slice(offset..offset + length), "{length} bytes from {offset}");
    }
    for (offset, length) in [(0, 10_001), (9_999, 2), (10_000, 1), (20_000, 1), (u64::MAX, 2)] {
        let kind = kind_of(backend.read_range(FileType::Pack, &name, offset, length));
        assert_eq!(kind, BackendErrorKind::Damaged, "{length} bytes from {offset}");
    }
}

fn missing_is_not_found(backend: &dyn Backend) {
    let name = name_of("never written");
    for kind in FileType::FOLDERS.into_iter().chain([FileType::Config]) {
        assert_eq!(kind_of(backend.stat(kind, &name)), BackendErrorKind::NotFound, "stat {kind:?}");
        assert_eq!(kind_of(backend.read(kind, &name)), BackendErrorKind::NotFound, "read {kind:?}");
        let range = backend.read_range(kind, &name, 3, 4);
        assert_eq!(kind_of(range), BackendErrorKind::NotFound, "read a range of {kind:?}");
        if let Err(error) = backend.delete(kind, &name) {
            assert_eq!(error.kind, BackendErrorKind::NotFound, "delete {kind:?}: {error}");
        }
    }
}

/// For stores that can tell without another request: S3 says that the delete of what is missing is done.
pub(crate) fn contract_tells_deletes(backend: &dyn Backend) {
    backend.create().unwrap();
    for kind in FileType::FOLDERS.into_iter().chain([FileType::Config]) {
        assert_eq!(
            kind_of(backend.delete(kind, &name_of("missing"))),
            BackendErrorKind::NotFound,
            "{kind:?}"
        );
    }
}

fn write_replaces(backend: &dyn Backend) {
    let name = name_of("replaced");
    backend.write(FileType::Index, &name, &noise(5_000)).unwrap();
    backend.write(FileType::Index, &name, &bytes("short")).unwrap();
    assert_eq!(backend.read(FileType::Index, &name).unwrap(), bytes("short"));
    assert_eq!(backend.list(FileType::Index).unwrap().len(), 1);
}

fn write_new_never_replaces(backend: &dyn Backend) {
    let name = name_of("exclusive");
    backend.write_new(FileType::Key, &name, &bytes("first")).unwrap();
    let error = backend.write_new(FileType::Key, &name, &bytes("second")).unwrap_err();
    assert_eq!((error.kind, error.temporary), (BackendErrorKind::Exists, false));
    assert_eq!(backend.read(FileType::Key, &name).unwrap(), bytes("first"));
    backend.delete(FileType::Key, &name).unwrap();
    backend.write_new(FileType::Key, &name, &bytes("third")).unwrap();
    assert_eq!(backend.read(FileType::Key, &name).unwrap(), bytes("third"));
}

fn one_of_twenty_wins(backend: &dyn Backend) {
    for (kind, name) in [(FileType::Config, String::new()), (FileType::Key, name_of("race"))] {
        let start = Barrier::new(20);
        let content = |racer: usize| bytes(&format!("written by racer {racer}"));
        let race = |racer: usize| {
            start.wait();
            backend.write_new(kind, &name, &content(racer))
        };
        let results: Vec<_> = std::thread::scope(|scope| {
            let racers: Vec<_> = (0..20).map(|racer| scope.spawn(move || race(racer))).collect();
            racers.into_iter().map(|racer| racer.join().unwrap()).collect()
        });
        let winners: Vec<_> = (0..20).filter(|racer| results[*racer].is_ok()).collect();
        assert_eq!(winners.len(), 1, "{kind:?}: {results:?}");
        for error in results.into_iter().filter_map(Result::err) {
            assert_eq!(error.kind, BackendErrorKind::Exists, "{error}");
        }
        assert_eq!(backend.read(kind, &name).unwrap(), content(winners[0]));
    }
}

fn half_written_files_are_not_seen(backend: &dyn Backend) {
    const BYTES: usize = 1 << 20;
    let name_at = |round: u8| name_of(&format!("half {}", round % 6));
    let done = AtomicBool::new(false);
    let seen = AtomicUsize::new(0);
    let watch = || {
        while !done.load(Ordering::Relaxed) {
            for listed in backend.list(FileType::Pack).unwrap() {
                assert_eq!(listed.bytes, BYTES as u64, "listed while being written");
            }
            for name in (0..6).map(name_at) {
                let Ok(data) = backend.read(FileType::Pack, &name) else { continue };
                seen.fetch_add(1, Ordering::Relaxed);
                assert_eq!(data.len(), BYTES, "read while being written");
                assert!(data.iter().all(|byte| *byte == data[0]), "parts of two files");
            }
        }
    };
    std::thread::scope(|scope| {
        let watcher = scope.spawn(watch);
        for round in 0..12_u8 {
            backend.write(FileType::Pack, &name_at(round), &Bytes::from(vec![round; BYTES])).unwrap();
        }
        while seen.load(Ordering::Relaxed) < 12 && !watcher.is_finished() {
            std::thread::yield_now();
        }
        done.store(true, Ordering::Relaxed);
    });
}

/// More names than one page of a list holds (S3: 1000).
fn many_names(backend: &dyn Backend) {
    let wanted: Vec<String> = (0..1_100).map(|n| name_of(&format!("one of many {n}"))).collect();
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while let Some(name) = wanted.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let kind = if name.starts_with('0') { FileType::Index } else { FileType::Pack };
                    backend.write(kind, name, &bytes(name)).unwrap();
                }
            });
        }
    });
    let mut listed = backend.list(FileType::Pack).unwrap();
    assert!(listed.len() > 1_000);
    listed.extend(backend.list(FileType::Index).unwrap());
    assert!(listed.iter().all(|listed| listed.bytes == 64));
    assert_eq!(listed.len(), wanted.len(), "a name listed twice, or left out");
    assert_eq!(names(&listed), wanted.into_iter().collect());
}

fn delete_many(backend: &dyn Backend) {
    let present: Vec<String> = (0..5).map(|n| name_of(&format!("present {n}"))).collect();
    let kept = name_of("kept");
    for name in present.iter().chain([&kept]) {
        backend.write(FileType::Snapshot, name, &bytes("x")).unwrap();
    }
    let mut asked = present.clone();
    asked.insert(2, name_of("absent"));
    let results = backend.delete_many(FileType::Snapshot, &asked);
    assert_eq!(results.len(), asked.len());
    for (name, result) in asked.iter().zip(results) {
        match result {
            Ok(()) => {}
            Err(error) => {
                assert_eq!(error.kind, BackendErrorKind::NotFound, "{error}");
                assert!(!present.contains(name), "{error}");
            }
        }
    }
    assert_eq!(names(&backend.list(FileType::Snapshot).unwrap()), BTreeSet::from([kept]));
    assert!(backend.delete_many(FileType::Snapshot, &[]).is_empty());
}

fn strangers_are_not_listed(backend: &dyn Backend) {
    let name = name_of("whole");
    let strangers = ["README".to_owned(), format!("{name}-tmp-12345"), name.to_uppercase(), "ab".repeat(31)];
    for kind in [FileType::Key, FileType::Pack] {
        backend.write(kind, &name, &bytes("whole")).unwrap();
        for stranger in &strangers {
            backend.write(kind, stranger, &bytes("not ours")).unwrap();
        }
        assert_eq!(names(&backend.list(kind).unwrap()), BTreeSet::from([name.clone()]));
        for stranger in &strangers {
            backend.delete(kind, stranger).unwrap();
        }
    }
}

/// Larger than a pack, and than the threshold of a multipart upload may be.
fn large_file(backend: &dyn Backend) {
    let (name, data) = (name_of("large"), noise(20 << 20));
    backend.write(FileType::Pack, &name, &data).unwrap();
    assert_eq!(backend.stat(FileType::Pack, &name).unwrap(), 20 << 20);
    assert!(backend.read(FileType::Pack, &name).unwrap() == data);
    let middle = backend.read_range(FileType::Pack, &name, 7_654_321, 9_876_543).unwrap();
    assert!(middle == data.slice(7_654_321..7_654_321 + 9_876_543));
}

/// Removes all that a case before may have left.
fn empty(backend: &dyn Backend) {
    for kind in FileType::FOLDERS {
        let names: Vec<String> = backend.list(kind).unwrap().into_iter().map(|listed| listed.name).collect();
        for result in backend.delete_many(kind, &names) {
            result.unwrap();
        }
    }
    if let Err(error) = backend.delete(FileType::Config, "") {
        assert_eq!(error.kind, BackendErrorKind::NotFound, "{error}");
    }
}

fn kind_of<T>(result: volmover::backend::BackendResult<T>) -> BackendErrorKind {
    result.map(drop).expect_err("this request cannot succeed").kind
}

fn names(listed: &[Listed]) -> BTreeSet<String> {
    listed.iter().map(|listed| listed.name.clone()).collect()
}

fn name_of(text: &str) -> String {
    Id::of(text.as_bytes()).hex()
}

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

/// Bytes without a pattern, the same in every run (a linear congruential generator).
fn noise(length: usize) -> Bytes {
    let mut state = 1_u64;
    let step = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    std::iter::repeat_with(step).take(length).collect()
}
