//! The real binary, ended at any moment or seen from outside: what a kill leaves is whole, SIGTERM leaves
//! nothing undone, and the system calls come in the order that a power cut needs.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
#![allow(unreachable_pub, reason = "modules of one binary")]

mod calls;
mod locks;
mod program;
mod signals;
#[path = "../support/mod.rs"]
mod support;
