//! The report of a repository: its figures are those of `stats` and restic, its decisions those of `restic
//! forget`, its page opens in a browser on any screen, whatever names are in it, and no failure replaces it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod browser;
#[path = "../cli/call.rs"]
mod call;
mod failures;
mod figures;
mod hostile;
mod made;
mod many;
mod retention;
mod screens;
#[path = "../support/mod.rs"]
mod support;
