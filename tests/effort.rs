//! Compression follows the bottleneck: a store that is waited for gets fewer bytes, and restic reads them.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use support::listing::{self, assert_same};
use support::mover::{self, Mover, backup_options};
use support::restic::{REFEREES, Restic};
use support::scratch;
use volmover::backend::FileType;
use volmover::backend::fault::{Fault, Rule};
use volmover::backend::record::Request;
use volmover::clock::SystemClock;
use volmover::ops::{self, backup::BackupOptions};

/// Lines that a harder look finds more in.
fn text(seed: u64) -> String {
    let mut text = String::new();
    let mut number = seed;
    for line in 0..40_000 {
        number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let (word, other) = (number >> 52, number >> 40 & 0xff);
        let _ = writeln!(
            text,
            "{line}: the value of word_{word} is taken from place {other} of table_{}",
            word % 7
        );
    }
    text
}

/// Backs up into a new repository whose packs take `delay` each, and says how many bytes were added.
fn stored(source: &Path, repository: &Path, delay: Duration) -> u64 {
    mover::create(repository, 2);
    let fault = Arc::new(Fault::new(mover::local(repository), Arc::new(SystemClock::new())));
    fault.add(Rule::on(&[Request::Write]).kind(FileType::Pack).forever().delay(delay));
    let mover = Mover::open_backend(fault).unwrap();
    let options = BackupOptions { pack_bytes: 256 << 10, ..backup_options(source) };
    ops::backup::run(&mover.session(), options).unwrap().summary.data_added_packed
}

#[test]
fn a_slow_store_gets_fewer_bytes() {
    let [source, quick, slow] = std::array::from_fn(|_| scratch());
    for seed in 0..8 {
        fs::write(source.path().join(format!("{seed}.txt")), text(seed)).unwrap();
    }
    let at_once = stored(source.path(), quick.path(), Duration::ZERO);
    let waited_for = stored(source.path(), slow.path(), Duration::from_millis(300));
    assert!(waited_for * 100 < at_once * 97, "{waited_for} bytes instead of {at_once}");
    for version in REFEREES {
        let Some(restic) = Restic::on(version, slow.path()) else { return };
        restic.check();
        let target = scratch();
        restic.restore("latest", target.path());
        assert_same(&listing::list(source.path()), &listing::list(target.path()), version);
    }
}
