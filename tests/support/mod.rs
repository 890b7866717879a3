//! What integration tests share: fixtures, listings of folders, the peers that `.ci/peers` gets, and how
//! much to test. Every test binary includes all of it and uses a part.
//!
//! Variables: `VOLMOVER_PEERS` (where the peers are), `VOLMOVER_REQUIRE_PEERS=1` (a missing peer fails the
//! test and does not skip it), `VOLMOVER_TEST_SCALE` (1 by default, 10 in CI: repeat random tests so many
//! times as often), `TMPDIR` (all folders of tests lie there, and none in memory).
#![allow(dead_code, reason = "every test binary uses a part of it")]
#![allow(unreachable_pub, reason = "a module of several binaries")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::io::Write;
use std::path::PathBuf;

pub mod children;
pub mod clock;
pub mod dice;
pub mod fixture;
pub mod listing;
pub mod minio;
pub mod mover;
pub mod restic;
mod scratch;
pub mod source;

pub use scratch::scratch;

/// The path of a peer, e.g. `restic-0.19`; `None`, with a line on stderr, where it is missing and not required.
pub fn peer(name: &str) -> Option<PathBuf> {
    let cache = || {
        std::env::var_os("XDG_CACHE_HOME")
            .map(PathBuf::from)
            .or_else(|| std::env::home_dir().map(|home| home.join(".cache")))
    };
    let folder = std::env::var_os("VOLMOVER_PEERS")
        .map(PathBuf::from)
        .or_else(|| Some(cache()?.join("volmover/peers")))
        .unwrap_or_default();
    let path = folder.join("bin").join(name);
    if path.exists() {
        return Some(path);
    }
    assert!(!is_required(), "{} is missing: run .ci/peers", path.display());
    skipped(&format!("{} is missing, .ci/peers gets it", path.display()));
    None
}

/// Whether what is missing for a test fails it.
pub fn is_required() -> bool {
    std::env::var_os("VOLMOVER_REQUIRE_PEERS").is_some_and(|value| value == "1")
}

/// Says what is not tested, past the test runner, which would swallow it.
pub fn skipped(what: &str) {
    let _ = writeln!(std::io::stderr().lock(), "SKIPPED: {what}");
}

/// `base` times `VOLMOVER_TEST_SCALE`: how often a random test repeats.
pub fn scaled(base: usize) -> usize {
    match std::env::var("VOLMOVER_TEST_SCALE") {
        Ok(scale) => base * scale.parse::<usize>().expect("VOLMOVER_TEST_SCALE is a whole number"),
        Err(_) => base,
    }
}

/// Each case in a thread of its own: restic, and what tries again, wait most of the time.
pub fn side_by_side<T: Sync>(cases: &[T], case: impl Fn(&T) + Sync) {
    let case = &case;
    std::thread::scope(|scope| cases.iter().for_each(|each| drop(scope.spawn(move || case(each)))));
}

/// Whether this process may make devices and set owners.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
