//! Messages shared out among the lanes of a CPU: a lane that is done takes the next message.

use std::cmp::Reverse;

use super::Digest;

/// What SHA-256 takes in one step.
pub(super) type Block = [u8; 64];

/// The words of the states of `N` messages: the first word of each, the second of each …
pub(super) type States<const N: usize> = [[u32; N]; 8];

/// A CPU that moves `N` messages on at once.
pub(super) trait Advance<const N: usize>: Copy {
    /// Moves each message on by its blocks; all have as many.
    fn advance(self, states: &mut States<N>, blocks: [&[Block]; N]);
}

/// The state before the first block (FIPS 180-4, 5.3.3).
const INITIAL: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

/// How many lanes the plain way is worth.
const PLAIN_SPEED: usize = 5;
const LANE_SPEED: usize = 2;

/// The hashes of `messages`.
pub(super) fn digest_many<const N: usize>(cpu: impl Advance<N>, messages: &[&[u8]], digests: &mut [Digest]) {
    let message = |number: usize| messages.get(number).copied().unwrap_or_default();
    let mut set =
        |number: usize, digest: Digest| digests.iter_mut().skip(number).take(1).for_each(|d| *d = digest);
    let mut numbers: Vec<usize> = (0..messages.len()).collect();
    numbers.sort_unstable_by_key(|number| Reverse(message(*number).len()));
    let lengths: Vec<usize> = numbers.iter().map(|number| message(*number).len()).collect();
    let (alone, together) = numbers.split_at(too_long::<N>(&lengths));
    for number in alone {
        set(*number, super::digest(message(*number)));
    }
    let tails: Vec<Tail> = together.iter().map(|number| Tail::of(message(*number))).collect();
    let mut waiting = together.iter().zip(&tails);
    let mut lanes: [Option<Lane<'_>>; N] = std::array::from_fn(|_| None);
    let mut states: States<N> = INITIAL.map(|word| [word; N]);
    loop {
        for (place, slot) in lanes.iter_mut().enumerate().filter(|(_, slot)| slot.is_none()) {
            let Some((number, tail)) = waiting.next() else { break };
            *slot = Some(Lane::new(*number, message(*number), tail));
            for (words, word) in states.iter_mut().zip(INITIAL) {
                words.iter_mut().skip(place).take(1).for_each(|own| *own = word);
            }
        }
        let busy = || lanes.iter().flatten().map(|lane| lane.blocks);
        let Some(shortest) = busy().min_by_key(|blocks| blocks.len()) else { return };
        let steps = shortest.len();
        // An idle lane computes what nobody asks for.
        let blocks = lanes.each_ref().map(|slot| slot.as_ref().map_or(shortest, |lane| lane.blocks));
        cpu.advance(&mut states, blocks.map(|blocks| blocks.get(..steps).unwrap_or_default()));
        for (place, slot) in lanes.iter_mut().enumerate() {
            if let Some(lane) = slot
                && lane.is_done_after(steps)
            {
                set(lane.number, digest_of(&states, place));
                *slot = None;
            }
        }
    }
}

/// How many of the longest messages are better hashed one by one, because most lanes would be idle with them.
/// Lengths are in descending order.
fn too_long<const N: usize>(lengths: &[usize]) -> usize {
    let mut rest: usize = lengths.iter().sum();
    let mut plain = 0;
    let mut best = (usize::MAX, 0);
    for (alone, length) in lengths.iter().copied().chain([0]).enumerate() {
        let together = (rest / N).max(length);
        best = best.min((plain * LANE_SPEED / PLAIN_SPEED + together, alone));
        plain += length;
        rest -= length;
    }
    best.1
}

/// A message's last blocks: what is left of it, and the padding.
struct Tail {
    blocks: [Block; 2],
    count: usize,
}

impl Tail {
    fn of(message: &[u8]) -> Self {
        let rest = message.as_chunks::<64>().1;
        let count = if rest.len() < 56 { 1 } else { 2 };
        let mut blocks = [[0; 64]; 2];
        let bytes = blocks.as_flattened_mut();
        let end = bytes.iter_mut().zip(rest.iter().chain(&[0x80]));
        end.for_each(|(place, byte)| *place = *byte);
        let bits = (message.len() as u64 * 8).to_be_bytes();
        bytes.iter_mut().skip(count * 64 - bits.len()).zip(bits).for_each(|(place, byte)| *place = byte);
        Self { blocks, count }
    }

    fn blocks(&self) -> &[Block] {
        self.blocks.get(..self.count).unwrap_or_default()
    }
}

/// A message on its way.
struct Lane<'a> {
    number: usize,
    /// What comes next of it, at least a block until it is done.
    blocks: &'a [Block],
    /// What comes after that.
    tail: &'a [Block],
}

impl<'a> Lane<'a> {
    fn new(number: usize, message: &'a [u8], tail: &'a Tail) -> Self {
        let mut lane = Self { number, blocks: message.as_chunks().0, tail: tail.blocks() };
        lane.is_done_after(0);
        lane
    }

    /// Goes on by so many blocks; whether they were the last.
    fn is_done_after(&mut self, steps: usize) -> bool {
        self.blocks = self.blocks.get(steps..).unwrap_or_default();
        if self.blocks.is_empty() {
            self.blocks = std::mem::take(&mut self.tail);
        }
        self.blocks.is_empty()
    }
}

fn digest_of<const N: usize>(states: &States<N>, place: usize) -> Digest {
    let mut digest = Digest::default();
    let words = states.iter().filter_map(|words| words.get(place));
    for (bytes, word) in digest.as_chunks_mut::<4>().0.iter_mut().zip(words) {
        *bytes = word.to_be_bytes();
    }
    digest
}

#[cfg(test)]
mod tests {
    use super::too_long;

    #[test]
    fn what_would_run_alone_is_taken_out() {
        assert_eq!(too_long::<16>(&[]), 0);
        assert_eq!(too_long::<16>(&[100]), 1);
        assert_eq!(too_long::<16>(&[100, 100]), 2);
        assert_eq!(too_long::<16>(&[100, 100, 100]), 0);
        assert_eq!(too_long::<16>(&[800, 100, 100, 100, 100, 100]), 1);
        assert_eq!(too_long::<16>(&[100; 40]), 0);
    }
}
