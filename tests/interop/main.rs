//! restic reads what volmover wrote, volmover reads what restic wrote, and both use one repository by turns.
//!
//! restic is the referee: same bytes for the same tree, a clean `check --read-data`, an equal restore. rustic
//! is the second. In a folder, in an S3 server with R2's manners in this process, and in `MinIO`.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
#![allow(unreachable_pub, reason = "modules of one binary")]

mod locks;
mod mixed;
mod place;
mod referee;
mod rustic;
#[path = "../support/s3.rs"]
mod s3;
mod same_bytes;
#[path = "../support/mod.rs"]
mod support;
