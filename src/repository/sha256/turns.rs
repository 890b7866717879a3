//! SHA-256 (FIPS 180-4) by a CPU's own instructions, of up to three messages that take turns, a block each: while the
//! steps of one wait for each other, the CPU goes on with another.

use sha2::block_api::compress256;

use super::State;
use super::lanes::{Advance, Arrived, Block, Cost, Done, States, Undone, Wide, race, state_of};

/// A CPU with instructions for SHA-256.
#[derive(Clone, Copy)]
pub(super) struct Turns(());

impl Turns {
    /// If the CPU has them.
    pub(super) fn new() -> Option<Self> {
        std::arch::is_x86_feature_detected!("sha").then_some(Self(()))
    }
}

impl Wide for Turns {
    fn cost(&self) -> Cost {
        Cost { lanes: 3, few: 145, all: 215 }
    }

    fn hash<'a>(&self, waiting: Arrived<'_, 'a>, left: usize, done: Done<'_>) -> Undone<'a> {
        let mut two = race::<3>(*self, waiting, left.max(2), done);
        let mut one = race::<2>(*self, &mut two, left.max(1), done);
        race::<1>(*self, &mut one, left, done)
    }
}

impl<const N: usize> Advance<N> for Turns {
    fn advance(self, states: &mut States<N>, blocks: [&[Block]; N]) {
        let mut own: [State; N] = std::array::from_fn(|place| state_of(states, place));
        if let ([state], [blocks]) = (own.as_mut_slice(), blocks.as_slice()) {
            compress256(state, blocks);
        } else {
            let steps = blocks.iter().map(|blocks| blocks.len()).min().unwrap_or(0);
            for step in 0..steps {
                for (state, blocks) in own.iter_mut().zip(&blocks) {
                    compress256(state, blocks.get(step..=step).unwrap_or_default());
                }
            }
        }
        *states = std::array::from_fn(|word| own.map(|state| state.get(word).copied().unwrap_or_default()));
    }
}
