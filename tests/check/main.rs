//! `check`, `stats`, `ls` and the repairs, held against the real restic on sound and on damaged repositories.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
#![allow(unreachable_pub, reason = "shared by the modules of this test")]

mod called;
mod damaged;
mod figures;
mod listed;
mod made;
mod many;
mod matrix;
mod repaired;
#[path = "../support/mod.rs"]
mod support;
