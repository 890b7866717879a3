//! Repositories for tests.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use super::Repository;
use super::compression::Compression;
use super::open::Access;
use super::scrypt::ScryptCost;
use crate::backend::Backend;
use crate::clock::SystemClock;
use crate::random::SystemRandom;

/// A new repository whose key opens at once.
pub(crate) fn create(backend: Arc<dyn Backend>) -> Repository {
    let access = Access {
        password: b"p",
        key_hint: None,
        compression: Compression::Auto,
        scrypt: ScryptCost::CHEAP,
        threads: 1,
        host_and_user: ("h", "u"),
        clock: Arc::new(SystemClock::new()),
        random: Arc::new(SystemRandom),
    };
    Repository::create(backend, &access).unwrap()
}
