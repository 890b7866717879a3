//! The same history, pruned by restic and by us: what is left differs by less than a hundredth. By the
//! operation prune, and by what `FORGET_OPTIONS` say about `--prune`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Mutex;

use tempfile::TempDir;
use volmover::ops;
use volmover::ops::prune::{PruneOptions, UnusedMax};

use crate::support::fixture::{PASSWORD, link_folder};
use crate::support::listing;
use crate::support::mover::{self, Mover};
use crate::support::restic::{REFEREES, Restic};
use crate::support::source;
use crate::support::{scratch, side_by_side};

const MIB: usize = 1 << 20;

/// Twelve states of a folder, every other one not compressed; the lists of the last three.
fn history(restic: &Restic, folder: &Path, compressions: [&str; 2]) -> Vec<String> {
    let mut lists = Vec::new();
    for round in 0..12_u64 {
        for number in 0..10_u64 {
            if round == 0 || (number + round) % 4 == 0 {
                let bytes = source::random_bytes(round * 100 + number, 400_000 + 90_000 * number as usize);
                fs::write(folder.join(format!("file-{number}")), bytes).unwrap();
            }
        }
        let small = folder.join(format!("folder-{}", round % 5));
        fs::create_dir_all(&small).unwrap();
        for number in 0..20 {
            let text = source::content(source::Content::Text, round * 50 + number, 30_000);
            fs::write(small.join(format!("small-{number}")), text).unwrap();
        }
        restic.backup(folder, &["--compression", compressions[round as usize % 2]]);
        lists.push(listing::list(folder));
    }
    lists.split_off(9)
}

fn data_bytes(repository: &Path) -> u64 {
    let mut bytes = 0;
    for folder in fs::read_dir(repository.join("data")).unwrap() {
        for pack in fs::read_dir(folder.unwrap().path()).unwrap() {
            bytes += pack.unwrap().metadata().unwrap().len();
        }
    }
    bytes
}

/// Two copies of a repository, one to be pruned by restic and one by ours, and restic on each.
fn copies(repository: &Path) -> ([TempDir; 2], [Restic; 2]) {
    // Beside it: names of one file stand in one file system.
    let copies = [(), ()].map(|()| TempDir::new_in(repository.parent().unwrap()).unwrap());
    for copy in &copies {
        link_folder(repository, copy.path());
    }
    let restics = copies
        .each_ref()
        .map(|copy| Restic::on(REFEREES[0], copy.path()).unwrap().with("RESTIC_PACK_SIZE", "4"));
    (copies, restics)
}

#[test]
fn the_same_limits_leave_the_same() {
    same_limits(2);
}

#[test]
fn the_same_limits_leave_the_same_of_version_1() {
    same_limits(1);
}

fn same_limits(version: u32) {
    let limits: [(&[&str], PruneOptions); 6] = {
        let ours = PruneOptions { repack_below_bytes: None, ..mover::prune_options(4 * MIB) };
        let unused = |unused_max| PruneOptions { unused_max, ..ours.clone() };
        [
            (&[], unused(UnusedMax::Percent(5.0))),
            (&["--max-unused", "0"], unused(UnusedMax::Bytes(0))),
            (&["--max-unused", "20%"], unused(UnusedMax::Percent(20.0))),
            (&["--max-unused", "unlimited"], unused(UnusedMax::Unlimited)),
            (
                &["--max-unused", "0", "--max-repack-size", "9M"],
                PruneOptions { repack_bytes_max: Some(9 << 20), ..unused(UnusedMax::Bytes(0)) },
            ),
            (
                &["--repack-smaller-than", "3M"],
                PruneOptions { repack_below_bytes: Some(3 << 20), ..unused(UnusedMax::Percent(5.0)) },
            ),
        ]
    };
    let (folder, repository) = (scratch(), scratch());
    mover::create(repository.path(), version);
    let Some(restic) = Restic::on(REFEREES[0], repository.path()) else { return };
    let restic = restic.with("RESTIC_PACK_SIZE", "4");
    let lists = history(&restic, folder.path(), ["auto"; 2]);
    restic.ok(&["forget", "--keep-last", "3"]);
    side_by_side(&limits, |(arguments, options)| {
        let (copies, [theirs, ours]) = copies(repository.path());
        theirs.ok(&[&["prune"], *arguments].concat());
        let mover = Mover::open(copies[1].path()).unwrap();
        let summary = ops::prune::run(&mover.session(), options).unwrap();
        let [theirs_bytes, ours_bytes] = copies.each_ref().map(|copy| data_bytes(copy.path()));
        let before = data_bytes(repository.path());
        assert!(
            ours_bytes.abs_diff(theirs_bytes) * 100 <= theirs_bytes,
            "version {version}, {arguments:?}: {before} → restic {theirs_bytes}, ours {ours_bytes}: {summary:?}"
        );
        ours.check();
        let ids = mover.snapshot_ids();
        for (id, list) in ids.iter().zip(&lists) {
            listing::assert_same(list, &mover.restored(id), "after our prune");
        }
        // restic finds nothing left to do that we left undone, under no limit at all.
        if arguments.contains(&"0") && arguments.len() == 2 {
            let said = ours.ok(&["prune", "--dry-run", "--max-unused", "0"]);
            assert!(said.contains("total prune:           0 blobs / 0 B"), "{said}");
        }
    });
}

/// What `FORGET_OPTIONS` may say about the prune behind a forget, each with what restic makes of it.
#[test]
fn forget_with_prune_takes_restics_options() {
    let (folder, repository) = (scratch(), scratch());
    mover::create(repository.path(), 2);
    let Some(restic) = Restic::on(REFEREES[0], repository.path()) else { return };
    let lists = history(&restic.with("RESTIC_PACK_SIZE", "4"), folder.path(), ["auto", "off"]);
    let before = data_bytes(repository.path());
    let left = Mutex::new(BTreeMap::new());
    let all = [
        "",
        "--max-unused 0",
        "--max-unused=20%",
        "--max-unused 700k",
        "--max-unused unlimited",
        "--max-unused 0 --max-repack-size 9M",
        "--max-repack-size 0",
        "--repack-cacheable-only",
        "--repack-uncompressed",
        "--repack-uncompressed --max-unused unlimited",
        "--repack-cacheable-only --repack-uncompressed --max-unused 0",
        "--repack-small",
        "--repack-smaller-than 3M",
    ];
    side_by_side(&all, |options| {
        let (copies, [theirs, ours]) = copies(repository.path());
        let words: Vec<&str> = options.split_whitespace().collect();
        theirs.ok(&[&["forget", "--keep-last", "3", "--prune"], words.as_slice()].concat());
        let ran = std::process::Command::new(env!("CARGO_BIN_EXE_volmover"))
            .arg("forget")
            .env_clear()
            .env("RESTIC_REPOSITORY", copies[1].path())
            .env("RESTIC_PASSWORD", PASSWORD)
            .env("RESTIC_PACK_SIZE", "4")
            .env("FORGET_OPTIONS", format!("--keep-last 3 --prune {options}"))
            .output()
            .unwrap();
        let said = format!(
            "{options}: {}{}",
            String::from_utf8_lossy(&ran.stdout),
            String::from_utf8_lossy(&ran.stderr)
        );
        assert!(ran.status.success(), "{said}");
        let [theirs_bytes, ours_bytes] = copies.each_ref().map(|copy| data_bytes(copy.path()));
        assert!(
            ours_bytes.abs_diff(theirs_bytes) * 100 <= theirs_bytes,
            "{before} → restic {theirs_bytes}, ours {ours_bytes}: {said}"
        );
        left.lock().unwrap().insert(*options, ours_bytes);
        ours.check();
        let mover = Mover::open(copies[1].path()).unwrap();
        for (id, list) in mover.snapshot_ids().iter().zip(&lists) {
            listing::assert_same(list, &mover.restored(id), options);
        }
        if options.starts_with("--repack-uncompressed") {
            let index = mover.repository.load_index().unwrap();
            assert!(
                index.iter().all(|entry| entry.extent.plain_length.is_some()),
                "{options}: raw blobs are left"
            );
        }
    });
    // Options that leave the same would show nothing.
    let left = left.into_inner().unwrap();
    let sizes = ["--repack-uncompressed", "", "--repack-cacheable-only"].map(|options| left[options]);
    assert!(sizes.is_sorted_by(|less, more| less * 102 < more * 100), "{left:?}");
}
