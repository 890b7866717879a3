//! Prune loses nothing: whatever ends it, whatever the lists say; and it leaves what restic's leaves.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
#![allow(unreachable_pub, reason = "modules of one binary")]

mod append_only;
mod crash;
mod forgets;
mod lists;
#[path = "../interop/place.rs"]
mod place;
mod races;
mod refusals;
mod restic;
#[path = "../support/s3.rs"]
mod s3;
mod stage;
mod stores;
#[path = "../support/mod.rs"]
mod support;
mod world;
