//! Which packs are read: all, a share, so many bytes, or the n-th of t parts.
//!
//! A part is fixed by the first byte of a pack's id, as restic's is: parts read one after the other read
//! everything. Shares are drawn at random, by a seed that is printed.

use crate::error::Result;
use crate::random::{Random, random_array};
use crate::repository::Id;

/// How much data a check reads.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Reading {
    /// None: the structure alone.
    #[default]
    Structure,
    /// All packs.
    All,
    /// A random share of the packs, in percent; at least one pack.
    Percent(f64),
    /// Random packs of about so many bytes in all.
    Bytes(u64),
    /// The `part`-th of `parts` parts, counted from 1; at most 256 parts.
    Part {
        /// Which.
        part: u64,
        /// Of how many.
        parts: u64,
    },
}

/// A pack of the index: its number, its id, its size in bytes.
pub(super) type Pack = (u32, Id, u64);

/// The packs to read, and restic's line that says which; `None` when none are to be read.
pub(super) fn choose(
    reading: Reading,
    mut packs: Vec<Pack>,
    random: &dyn Random,
) -> Result<Option<(Vec<Pack>, String)>> {
    let total = packs.len();
    let all_bytes: u64 = packs.iter().map(|(_, _, bytes)| bytes).sum();
    let (percent, line) = match reading {
        Reading::Structure => return Ok(None),
        Reading::All => return Ok(Some((packs, "read all data".to_owned()))),
        Reading::Part { part, parts } => {
            packs.retain(|(_, id, _)| {
                let [first, ..] = id.0;
                u64::from(first) % parts.max(1) == part.saturating_sub(1)
            });
            let (chosen, line) = (packs.len(), "read group #");
            let line =
                format!("{line}{part} of {chosen} data packs (out of total {total} packs in {parts} groups)");
            return Ok(Some((packs, line)));
        }
        Reading::Percent(percent) => (percent, format!("read {percent:.1}% of packfiles")),
        Reading::Bytes(bytes) => {
            let percent = if all_bytes == 0 { 100.0 } else { 100.0 * bytes as f64 / all_bytes as f64 };
            let (percent, bytes) = (percent.min(100.0), bytes.min(all_bytes));
            (percent, format!("read {bytes} bytes ({percent:.1}%) of data packs"))
        }
    };
    let seed = u64::from_le_bytes(random_array(random)?);
    let chosen = draw(packs, percent, seed);
    Ok(Some((chosen, format!("{line}, seed {seed}"))))
}

/// So many percent of the packs, at least one; the same ones for the same seed.
fn draw(mut packs: Vec<Pack>, percent: f64, seed: u64) -> Vec<Pack> {
    #[expect(clippy::cast_sign_loss, reason = "a percentage is not negative")]
    let wanted = ((packs.len() as f64 * percent / 100.0) as usize).clamp(1, packs.len().max(1));
    packs.sort_unstable_by_key(|(_, id, _)| *id);
    // xorshift64*: good enough to draw lots, and the same on every machine.
    let mut state = seed | 1;
    for place in 0..wanted.min(packs.len()) {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        let number = state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16;
        let left = (packs.len() - place) as u64;
        packs.swap(place, place + (number % left) as usize);
    }
    packs.truncate(wanted);
    packs
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::random::SystemRandom;

    fn packs() -> Vec<Pack> {
        (0..1000_u32).map(|n| (n, Id::of(&n.to_le_bytes()), 100)).collect()
    }

    #[test]
    fn parts_cover_everything_once() {
        for parts in [1, 2, 7, 256] {
            let mut seen = Vec::new();
            for part in 1..=parts {
                let (chosen, line) =
                    choose(Reading::Part { part, parts }, packs(), &SystemRandom).unwrap().unwrap();
                assert!(line.contains(&format!("#{part} of {} data packs", chosen.len())));
                seen.extend(chosen);
            }
            seen.sort_unstable();
            assert_eq!(seen, packs());
        }
    }

    #[test]
    fn shares_are_of_their_size_and_repeat_with_their_seed() {
        for (percent, expected) in [(5.0, 50), (100.0, 1000), (0.01, 1)] {
            let chosen = draw(packs(), percent, 7);
            assert_eq!(chosen.len(), expected);
            assert_eq!(chosen, draw(packs().into_iter().rev().collect(), percent, 7));
            let mut distinct = chosen.clone();
            distinct.sort_unstable();
            distinct.dedup();
            assert_eq!(distinct.len(), expected);
        }
        assert_ne!(draw(packs(), 5.0, 7), draw(packs(), 5.0, 9));
        let (chosen, line) = choose(Reading::Bytes(20_000), packs(), &SystemRandom).unwrap().unwrap();
        assert_eq!(chosen.len(), 200);
        assert!(line.starts_with("read 20000 bytes (20.0%) of data packs, seed "), "{line}");
        assert!(choose(Reading::Percent(5.0), Vec::new(), &SystemRandom).unwrap().unwrap().0.is_empty());
        assert!(choose(Reading::Structure, packs(), &SystemRandom).unwrap().is_none());
    }
}
