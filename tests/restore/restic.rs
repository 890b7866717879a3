//! What real restic and rustic wrote comes back entry by entry, with the figures that restic gives.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::AtomicBool;

use tempfile::TempDir;
use volmover::restore::{RestoreOptions, XattrFilter};

use crate::support::{fixture, listing, scratch};
use crate::world::{Repo, options, rich_source, run, run_snapshot};

#[test]
fn every_fixture_restores_to_its_list() {
    for name in fixture::WHOLE {
        let copy = fixture::copy(name);
        let repository = crate::world::open(std::sync::Arc::new(
            volmover::backend::local::LocalBackend::open(copy.path(), 4),
        ));
        let mut snapshots = repository.snapshots().unwrap();
        snapshots.sort_by_key(|(_, snapshot)| snapshot.time.instant());
        for ((_, snapshot), which) in snapshots.iter().zip(["first", "second"]) {
            let target = scratch();
            let done = run_snapshot(&repository, snapshot, &options(target.path()), &AtomicBool::new(false));
            done.summary();
            let expected = fixture::expected(name, which);
            listing::assert_same(&expected, &listing::list(target.path()), &format!("{name} {which}"));
        }
    }
}

#[test]
fn a_source_of_all_kinds_comes_back_and_again_costs_nothing() {
    let (repo, source) = (Repo::create(), rich_source());
    if !repo.backup(source.path()) {
        return;
    }
    let expected = listing::list(source.path());
    let repository = repo.open();
    // With little memory the plan is carried out in many batches; it must come to the same.
    for memory_bytes in [256 << 20, 1 << 20] {
        let target = scratch();
        let options = RestoreOptions { memory_bytes, ..options(target.path()) };
        let first = run(&repository, &options);
        let figures = first.summary().clone();
        listing::assert_same(&expected, &listing::list(target.path()), "the restored tree");
        assert_eq!(first.monitor.warnings(), Vec::<String>::new());
        assert_eq!(figures.files_restored, expected.lines().count() as u64);
        assert_eq!((figures.files_total, figures.files_skipped), (figures.files_restored, 0));
        assert_eq!(figures.bytes_total, figures.bytes_restored);

        let again = run(&repository, &options);
        assert!(again.summary().files_skipped > 300);
        assert_eq!(again.summary().bytes_restored, 0);
        assert_eq!(again.summary().bytes_skipped, figures.bytes_restored);
        listing::assert_same(&expected, &listing::list(target.path()), "the tree restored twice");
    }
}

#[test]
fn figures_are_those_of_restic() {
    let (repo, source) = (Repo::create(), rich_source());
    let theirs = scratch();
    if !repo.backup(source.path()) {
        return;
    }
    assert!(repo.restic(source.path(), &["restore", "latest", "--target", theirs.path().to_str().unwrap()]));
    let ours = scratch();
    let done = run(&repo.open(), &options(ours.path()));
    let listed = listing::list(theirs.path());
    listing::assert_same(&listed, &listing::list(ours.path()), "ours beside restic's");
    assert_eq!(done.summary().files_restored, listed.lines().count() as u64);
    let size = |line: &str| match line.split('\t').collect::<Vec<_>>()[..] {
        // Of several names of a file, the first one counts.
        ["f", _, _, _, size, _, first, _, path] if first == "-" || first == path => size.parse().unwrap(),
        _ => 0_u64,
    };
    assert_eq!(done.summary().bytes_restored, listed.lines().map(size).sum::<u64>());
}

#[test]
fn holes_stay_holes_only_when_asked_for() {
    let (repo, source) = (Repo::create(), rich_source());
    if !repo.backup(source.path()) {
        return;
    }
    let repository = repo.open();
    for (sparse, most_blocks) in [(true, 300), (false, u64::MAX)] {
        let target = TempDir::new().unwrap();
        run(&repository, &RestoreOptions { sparse, ..options(target.path()) }).summary();
        let holes = fs::metadata(target.path().join("a/holes")).unwrap();
        assert_eq!(holes.len(), 20 << 20);
        assert!(holes.blocks() <= most_blocks, "{} blocks", holes.blocks());
        assert!(sparse || holes.blocks() * 512 >= 20 << 20);
        assert!(
            fs::read(target.path().join("a/holes")).unwrap()
                == fs::read(source.path().join("a/holes")).unwrap()
        );
    }
}

#[test]
fn attributes_are_filtered_and_unexpected_ones_go() {
    let (repo, source) = (Repo::create(), rich_source());
    if !repo.backup(source.path()) {
        return;
    }
    let repository = repo.open();
    let target = TempDir::new().unwrap();
    let one = target.path().join("a/one");
    let names = |path: &std::path::Path| {
        let mut names = vec![0_u8; 4096];
        let length = rustix::fs::llistxattr(path, &mut names).unwrap();
        let mut names: Vec<String> = names[..length]
            .split(|byte| *byte == 0)
            .filter(|name| !name.is_empty())
            .map(|name| String::from_utf8(name.to_vec()).unwrap())
            .collect();
        names.sort();
        names
    };
    let user = volmover::pattern::Patterns::parse(&["user.*"], false).unwrap();
    let of_user = RestoreOptions { xattrs: XattrFilter::Matching(user), ..options(target.path()) };
    run(&repository, &of_user).summary();
    assert_eq!(names(&one), ["user.comment"]);

    crate::world::set_xattr(&one, "user.other", b"1");
    let none = RestoreOptions { xattrs: XattrFilter::None, ..options(target.path()) };
    run(&repository, &none).summary();
    assert_eq!(names(&one), ["user.comment", "user.other"]);
    if crate::support::is_root() {
        crate::world::set_xattr(&one, "trusted.other", b"1");
        run(&repository, &of_user).summary();
        assert_eq!(names(&one), ["trusted.other", "user.comment"]);
        run(&repository, &options(target.path())).summary();
        assert_eq!(names(&one), ["trusted.of root", "user.comment"]);
    }
}
