//! restic and volmover on one repository, in random order and at the same time, against a model that knows
//! what every snapshot must restore to.
//!
//! After every step restic finds no error, the snapshots are those that the model kept, and they restore to
//! what was backed up. Seeds are printed by what fails; `VOLMOVER_TEST_SCALE` says how often.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
#![allow(unreachable_pub, reason = "modules of one binary")]

#[path = "../interop/place.rs"]
mod place;
#[path = "../support/s3.rs"]
mod s3;
mod sequence;
#[path = "../support/mod.rs"]
mod support;
mod together;
mod world;
