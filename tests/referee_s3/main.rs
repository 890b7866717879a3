//! Whole programs on object stores: the built binary and the real restic, on an S3 server in this process
//! with the manners of plain S3 and of R2, and on a real `MinIO`.
//!
//! What one wrote the other finds sound and restores equal, a second backup adds nothing, stores that
//! throttle and lose answers do no harm, twenty starters make one repository, and a backup asks the store no
//! more often than restic does. Where the store is, and restic, is `tests/interop/place.rs`.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod faults;
mod init;
#[path = "../interop/place.rs"]
mod place;
mod program;
mod referee;
mod requests;
#[path = "../support/s3.rs"]
mod s3;
#[path = "../support/mod.rs"]
mod support;
