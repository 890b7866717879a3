//! Restores: of what other programs wrote, into targets in every state, from repositories sound, damaged and
//! hostile. What comes out is compared entry by entry with what went in (`support::listing`).
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
#![allow(clippy::similar_names, reason = "tests")]
#![allow(unreachable_pub, reason = "modules of one binary")]

mod damage;
mod hostile;
mod made;
mod restic;
mod rights;
mod standing;
#[path = "../support/mod.rs"]
mod support;
mod world;
