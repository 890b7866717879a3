//! forget, held against `restic forget`: the same decisions on any list, the same text, the same JSON; and what
//! it does where a store denies, a repository is empty or old, or very many snapshots are there.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout, reason = "tests")]
#![allow(unreachable_pub, reason = "modules of a binary")]

mod documented;
mod lists;
mod random;
mod removal;
#[path = "../support/mod.rs"]
mod support;
