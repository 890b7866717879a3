//! Repairs: what a damaged repository still holds is made usable again. Nothing is done unless it is asked
//! for: each repair first says what it would do, and what is lost.
//!
//! ```text
//! index       packs that the index lists wrongly or not at all → their headers → new index → old index goes
//! snapshots   trees that lose something → rewritten without it → new snapshots, tagged; the old ones stay
//! ```
//!
//! `rustic_core` has a repair of the index too. Ours is used because it takes restic's locks, keeps index
//! files that are right, and writes the new ones before it removes the old.

pub mod index;
pub mod snapshots;
mod trees;
