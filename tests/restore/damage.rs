//! Damage: what is lost is named, all else is restored, and the run is an error of the right kind.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use volmover::backend::BackendErrorKind;
use volmover::backend::fault::{Fault, Rule};
use volmover::backend::record::Request;
use volmover::clock::SystemClock;
use volmover::error::ErrorKind;
use volmover::repository::Id;
use volmover::repository::blob::BlobType;

use crate::made::{file, folder, store, store_index, store_pack, tree};
use crate::support::scratch;
use crate::world::{Repo, open, options, random_bytes, run, run_snapshot};

fn flip(path: &std::path::Path, offset: usize) {
    crate::world::set_mode(path, 0o600);
    let mut content = fs::read(path).unwrap();
    content[offset] ^= 1;
    fs::write(path, content).unwrap();
}

#[test]
fn a_flipped_byte_costs_the_files_that_hold_it_and_no_other() {
    let repo = Repo::create();
    let repository = repo.open();
    let chunks: Vec<Vec<u8>> = (0..5).map(|_| random_bytes(10_000)).collect();
    let [a, b, c] = [&chunks[0], &chunks[1], &chunks[2]].map(Vec::as_slice);
    let (d, other) = (chunks[3].as_slice(), chunks[4].as_slice());
    let root = tree(vec![
        file(b"single", &[b]),
        file(b"several", &[a, b, c]),
        file(b"twin", &[b]),
        file(b"whole", &[a, c, d]),
        file(b"other", &[other]),
    ]);
    store(&repository, &[a, b, c, d, other], &[&root]);
    let pack = &repo.packs()[0];
    flip(pack, 10_032 + 5_000);
    let target = scratch();
    let done = run(&repository, &options(target.path()));
    assert_eq!(done.error().kind, ErrorKind::Damaged);
    assert!(done.error().to_string().contains("3 items"), "{}", done.error());
    let mut failed = done.failed_items();
    failed.sort();
    assert_eq!(failed, ["/several", "/single", "/twin"]);
    assert_eq!(fs::read(target.path().join("whole")).unwrap(), [a, c, d].concat());
    assert_eq!(fs::read(target.path().join("other")).unwrap(), other);
    assert!(!target.path().join("single").exists());
    // What could be read of the other is there, but its time does not say that it is right.
    let several = fs::read(target.path().join("several")).unwrap();
    assert!(several[..10_000] == *a && several[20_000..] == *c);
    let modified = fs::metadata(target.path().join("several")).unwrap().modified().unwrap();
    assert!(modified.elapsed().unwrap().as_secs() < 600);
}

/// Its tag is right and its hash is another's: among short blobs, among long ones, and alone.
#[test]
fn the_content_of_another_blob_is_not_restored() {
    for (bytes, count) in [(10_000, 70), (1_500_000, 20), (10_000, 2)] {
        let repo = Repo::create();
        let repository = repo.open();
        let chunks: Vec<Vec<u8>> = (0..count).map(|_| random_bytes(bytes)).collect();
        let names: Vec<String> = (0..count).map(|number| format!("{number:03}")).collect();
        let files = names.iter().zip(&chunks).map(|(name, chunk)| file(name.as_bytes(), &[chunk]));
        let root = tree(files.collect());
        store(&repository, &[], &[&root]);
        let plains: Vec<&[u8]> = chunks.iter().map(Vec::as_slice).collect();
        let mut pack = store_pack(&repository, BlobType::Data, &plains);
        let ids = [pack.blobs[0].id, pack.blobs[1].id];
        (pack.blobs[0].id, pack.blobs[1].id) = (ids[1], ids[0]);
        store_index(&repository, &[pack]);
        let target = scratch();
        let done = run(&repository, &options(target.path()));
        assert_eq!(done.error().kind, ErrorKind::Damaged);
        let mut failed = done.failed_items();
        failed.sort();
        assert_eq!(failed, ["/000", "/001"]);
        for (name, chunk) in names.iter().zip(&chunks).skip(2) {
            assert!(fs::read(target.path().join(name)).unwrap() == *chunk, "{name}");
        }
        assert_eq!(fs::read_dir(target.path()).unwrap().count(), count - 2);
    }
}

#[test]
fn a_second_copy_of_a_blob_saves_the_file() {
    let repo = Repo::create();
    let repository = repo.open();
    let chunk = random_bytes(10_000);
    let root = tree(vec![file(b"f", &[&chunk])]);
    let snapshot = store(&repository, &[&chunk], &[&root]);
    let first = repo.packs()[0].clone();
    let second = store_pack(&repository, BlobType::Data, &[b"another", &chunk]);
    store_index(&repository, &[second]);
    let mut tree_copy = store_pack(&repository, BlobType::Tree, &[&root.encode(), b"not the same pack"]);
    tree_copy.blobs.truncate(1);
    store_index(&repository, &[tree_copy]);
    let damages: [&dyn Fn(&std::path::Path); 3] = [
        &|pack| flip(pack, 100),
        &|pack| fs::OpenOptions::new().write(true).open(pack).unwrap().set_len(50).unwrap(),
        &|pack| fs::remove_file(pack).unwrap(),
    ];
    for damage in damages {
        damage(&first);
        let target = scratch();
        run_snapshot(&repository, &snapshot, &options(target.path()), &AtomicBool::new(false)).summary();
        assert_eq!(fs::read(target.path().join("f")).unwrap(), chunk);
    }
}

#[test]
fn a_blob_that_opens_to_something_else_is_damage() {
    let repo = Repo::create();
    let repository = repo.open();
    let (raw, text) = (random_bytes(5000), b"text".repeat(1000));
    let root = tree(vec![file(b"raw", &[&raw]), file(b"text", &[&text])]);
    let mut pack = store_pack(&repository, BlobType::Data, &[&random_bytes(5000), &b"TEXT".repeat(1000)]);
    for (blob, id) in pack.blobs.iter_mut().zip([&raw, &text].map(|plain| Id::of(plain))) {
        blob.id = id;
    }
    store_index(&repository, &[pack]);
    store(&repository, &[], &[&root]);
    let target = scratch();
    let done = run(&repository, &options(target.path()));
    assert_eq!((done.error().kind, done.failed_items().len()), (ErrorKind::Damaged, 2));
    assert_eq!(fs::read_dir(target.path()).unwrap().count(), 0);
}

#[test]
fn a_truncated_pack_costs_only_what_was_cut_off() {
    let repo = Repo::create();
    let repository = repo.open();
    let chunks: Vec<Vec<u8>> = (0..3).map(|_| random_bytes(10_000)).collect();
    let [a, b, c] = [&chunks[0], &chunks[1], &chunks[2]].map(Vec::as_slice);
    store(&repository, &[a, b, c], &[&tree(vec![file(b"a", &[a]), file(b"b", &[b]), file(b"c", &[c])])]);
    let pack = repo.packs()[0].clone();
    crate::world::set_mode(&pack, 0o600);
    fs::OpenOptions::new().write(true).open(&pack).unwrap().set_len(15_000).unwrap();
    let target = scratch();
    let done = run(&repository, &options(target.path()));
    assert_eq!(done.error().kind, ErrorKind::Damaged);
    assert_eq!(fs::read(target.path().join("a")).unwrap(), a);
    let mut failed = done.failed_items();
    failed.sort();
    assert_eq!(failed, ["/b", "/c"]);
    fs::remove_file(&pack).unwrap();
    let target = scratch();
    let done = run(&repository, &options(target.path()));
    assert_eq!((done.error().kind, done.failed_items().len()), (ErrorKind::Damaged, 3));
}

#[test]
fn a_tree_that_is_lost_costs_its_directory_and_nothing_is_deleted() {
    let repo = Repo::create();
    let repository = repo.open();
    let lost = tree(vec![file(b"x", &[b"text"])]);
    let root = tree(vec![folder(b"lost", &lost), file(b"f", &[b"text"])]);
    // The inner tree is not stored.
    store(&repository, &[b"text"], &[&root]);
    let target = scratch();
    fs::create_dir(target.path().join("lost")).unwrap();
    fs::write(target.path().join("lost/x"), b"mine").unwrap();
    fs::write(target.path().join("extra"), b"mine").unwrap();
    let options = volmover::restore::RestoreOptions { delete: true, ..options(target.path()) };
    let done = run(&repository, &options);
    assert_eq!(done.error().kind, ErrorKind::Damaged);
    assert_eq!(done.failed_items(), ["/lost"]);
    assert_eq!(fs::read(target.path().join("f")).unwrap(), b"text");
    assert_eq!(fs::read(target.path().join("lost/x")).unwrap(), b"mine");
    assert_eq!(fs::read(target.path().join("extra")).unwrap(), b"mine");
    assert_eq!(done.monitor.warnings().len(), 1);
}

#[test]
fn a_store_out_of_reach_ends_the_run_with_its_own_kind() {
    let repo = Repo::create();
    store(&repo.open(), &[b"text"], &[&tree(vec![file(b"f", &[b"text"])])]);
    for (backend, kind) in [
        (BackendErrorKind::Unreachable, ErrorKind::Unreachable),
        (BackendErrorKind::Denied, ErrorKind::Denied),
    ] {
        // The first range read is of trees, the second of data.
        for skip in [0, 1] {
            let rule = Rule::on(&[Request::ReadRange]).skip(skip).fail(backend).forever();
            let fault = Arc::new(Fault::new(repo.backend(), clock()));
            let repository = open(fault.clone());
            fault.add(rule);
            let target = scratch();
            let done = run(&repository, &options(target.path()));
            assert_eq!(done.error().kind, kind);
            assert!(!target.path().join("f").exists());
        }
    }
}

#[test]
fn one_bad_transfer_is_read_again() {
    let repo = Repo::create();
    store(&repo.open(), &[b"text"], &[&tree(vec![file(b"f", &[b"text"])])]);
    for skip in [0, 1] {
        let fault = Arc::new(Fault::new(repo.backend(), clock()));
        let repository = open(fault.clone());
        fault.add(Rule::on(&[Request::ReadRange]).skip(skip).flip(20));
        let target = scratch();
        run(&repository, &options(target.path())).summary();
        assert_eq!(fs::read(target.path().join("f")).unwrap(), b"text");
    }
}

fn clock() -> Arc<SystemClock> {
    Arc::new(SystemClock::new())
}

#[test]
fn a_stop_ends_it_as_interrupted() {
    let repo = Repo::create();
    let repository = repo.open();
    store(&repository, &[b"text"], &[&tree(vec![file(b"f", &[b"text"])])]);
    let target = scratch();
    let done = crate::world::run_until(&repository, &options(target.path()), &AtomicBool::new(true));
    assert_eq!(done.error().kind, ErrorKind::Interrupted);
    assert!(!target.path().join("f").exists());
}
