//! Messages shared out among the lanes of a CPU: a lane that is done takes the next message. When none waits any
//! more, those on their way go on in fewer lanes, where a step takes less time.

use std::cmp::Reverse;

use super::{Digest, INITIAL, Progress, State};

/// What SHA-256 takes in one step.
pub(super) type Block = [u8; 64];

/// The words of the states of `N` messages: the first word of each, the second of each …
pub(super) type States<const N: usize> = [[u32; N]; 8];

/// A CPU that moves `N` messages on at once.
pub(super) trait Advance<const N: usize>: Copy {
    /// Moves each message on by its blocks; all have as many.
    fn advance(self, states: &mut States<N>, blocks: [&[Block]; N]);
}

/// Messages that wait for a lane.
pub(super) type Arrived<'w, 'm> = &'w mut dyn Iterator<Item = Lane<'m>>;

/// Messages that are on their way, as far as they are.
pub(super) type Undone<'a> = std::vec::IntoIter<Lane<'a>>;

/// Who is told the number of a message that is done, and its state.
pub(super) type Done<'a> = &'a mut dyn FnMut(usize, State);

/// A CPU with lanes of one width or of several.
pub(super) trait Wide: Send + Sync {
    /// What its steps cost.
    fn cost(&self) -> Cost;

    /// Hashes all that wait, and may stop when so few are left that are not done, which it returns.
    fn hash<'a>(&self, waiting: Arrived<'_, 'a>, left: usize, done: Done<'_>) -> Undone<'a>;
}

/// How long a step by one block takes, in hundredths of what the plain way takes for a block of one message.
pub(super) struct Cost {
    /// How many messages there may be.
    pub(super) lanes: usize,
    /// With so few messages that the narrowest registers do.
    pub(super) few: usize,
    /// With as many as there may be.
    pub(super) all: usize,
}

const PLAIN: usize = 100;

/// The hashes of `messages`.
pub(super) fn digest_many(cpu: &dyn Wide, messages: &[&[u8]], digests: &mut [Digest]) {
    let message = |number: usize| messages.get(number).copied().unwrap_or_default();
    let mut set =
        |number: usize, digest: Digest| digests.iter_mut().skip(number).take(1).for_each(|d| *d = digest);
    let mut numbers: Vec<usize> = (0..messages.len()).collect();
    numbers.sort_unstable_by_key(|number| Reverse(message(*number).len()));
    let lengths: Vec<usize> = numbers.iter().map(|number| message(*number).len()).collect();
    let (alone, together) = numbers.split_at(too_long(&lengths, &cpu.cost()));
    for number in alone {
        set(*number, super::digest(message(*number)));
    }
    let tails: Vec<Tail> = together.iter().map(|number| Tail::of(message(*number))).collect();
    let mut waiting = together.iter().zip(&tails).filter_map(|(number, tail)| {
        Lane::new(*number, INITIAL, [message(*number).as_chunks().0, tail.blocks()])
    });
    cpu.hash(&mut waiting, 0, &mut |number, state| set(number, digest_of(state)));
}

/// Moves messages on until so few are left that are not done; the hashes of those that are.
pub(super) fn digest_most(
    cpu: &dyn Wide,
    messages: &[&[u8]],
    progress: &mut [Progress],
    left: usize,
) -> Vec<Option<Digest>> {
    let tails: Vec<Tail> = messages.iter().map(|message| Tail::of(message)).collect();
    let mut lanes: Vec<Lane<'_>> = Vec::with_capacity(messages.len());
    for (number, ((message, tail), progress)) in messages.iter().zip(&tails).zip(&*progress).enumerate() {
        let (body, tail) = (message.as_chunks().0, tail.blocks());
        let of_body = progress.blocks.min(body.len());
        let parts =
            [body.get(of_body..), tail.get(progress.blocks - of_body..)].map(Option::unwrap_or_default);
        lanes.extend(Lane::new(number, progress.state, parts));
    }
    let mut digests = vec![None; messages.len()];
    let undone = cpu.hash(&mut longest_first(lanes), left, &mut |number, state| {
        digests.iter_mut().skip(number).take(1).for_each(|digest| *digest = Some(digest_of(state)));
    });
    for lane in undone {
        for (progress, (message, tail)) in
            progress.iter_mut().zip(messages.iter().zip(&tails)).skip(lane.number).take(1)
        {
            let blocks = message.len() / 64 + tail.count - lane.blocks_left();
            *progress = Progress { state: lane.state, blocks };
        }
    }
    digests
}

/// A message that arrives in parts.
#[derive(Clone)]
pub(super) struct Growing {
    state: State,
    /// What does not fill a block yet, at its front.
    rest: Block,
    bytes: u64,
}

impl Default for Growing {
    fn default() -> Self {
        Self { state: INITIAL, rest: [0; 64], bytes: 0 }
    }
}

impl Growing {
    fn rest_bytes(&self) -> usize {
        (self.bytes % 64) as usize
    }

    /// Takes what fills the block that is begun; whether it is full, and what comes after.
    fn fill<'a>(&mut self, part: &'a [u8]) -> (bool, &'a [u8]) {
        let begun = self.rest_bytes();
        self.bytes += part.len() as u64;
        let (head, after) =
            if begun == 0 { (&[][..], part) } else { part.split_at(part.len().min(64 - begun)) };
        self.rest.iter_mut().skip(begun).zip(head).for_each(|(place, byte)| *place = *byte);
        (begun + head.len() == 64, after)
    }

    /// Its last blocks.
    fn tail(&self) -> Tail {
        Tail::new(self.rest.get(..self.rest_bytes()).unwrap_or_default(), self.bytes)
    }
}

/// Each message takes its next part; there are as many parts. Returns the hashes of `others`, computed meanwhile.
pub(super) fn grow(
    cpu: &dyn Wide,
    messages: &mut [Growing],
    parts: &[&[u8]],
    others: &[&[u8]],
) -> Vec<Digest> {
    let mut heads: Vec<([Block; 1], usize)> = Vec::with_capacity(messages.len());
    let mut bodies: Vec<&[Block]> = Vec::with_capacity(messages.len());
    for (message, part) in messages.iter_mut().zip(parts) {
        let (is_full, after) = message.fill(part);
        heads.push(([message.rest], usize::from(is_full)));
        let (body, rest) = after.as_chunks();
        bodies.push(body);
        message.rest.iter_mut().zip(rest).for_each(|(place, byte)| *place = *byte);
    }
    let states: Vec<State> = messages.iter().map(|message| message.state).collect();
    let tails: Vec<Tail> = others.iter().map(|other| Tail::of(other)).collect();
    let mut lanes: Vec<Lane<'_>> = Vec::with_capacity(states.len() + others.len());
    for (number, (state, ((head, count), body))) in states.iter().zip(heads.iter().zip(&bodies)).enumerate() {
        lanes.extend(Lane::new(number, *state, [head.get(..*count).unwrap_or_default(), body]));
    }
    for (number, (other, tail)) in others.iter().zip(&tails).enumerate() {
        lanes.extend(Lane::new(states.len() + number, INITIAL, [other.as_chunks().0, tail.blocks()]));
    }
    let mut digests = vec![Digest::default(); tails.len()];
    cpu.hash(&mut longest_first(lanes), 0, &mut |number, state| match number.checked_sub(states.len()) {
        None => messages.iter_mut().skip(number).take(1).for_each(|message| message.state = state),
        Some(other) => digests.iter_mut().skip(other).take(1).for_each(|digest| *digest = digest_of(state)),
    });
    digests
}

/// The hashes of messages that are whole now.
pub(super) fn finish(cpu: &dyn Wide, messages: &[Growing]) -> Vec<Digest> {
    let mut digests = vec![Digest::default(); messages.len()];
    let tails: Vec<(State, Tail)> = messages.iter().map(|message| (message.state, message.tail())).collect();
    let mut waiting = tails
        .iter()
        .enumerate()
        .filter_map(|(number, (state, tail))| Lane::new(number, *state, [tail.blocks(), &[]]));
    cpu.hash(&mut waiting, 0, &mut |number, state| {
        digests.iter_mut().skip(number).take(1).for_each(|digest| *digest = digest_of(state));
    });
    digests
}

/// In the order in which the fewest lanes are idle at the end.
fn longest_first(mut lanes: Vec<Lane<'_>>) -> Undone<'_> {
    lanes.sort_unstable_by_key(|lane| Reverse(lane.blocks_left()));
    lanes.into_iter()
}

/// Moves messages on in `N` lanes until no more than `few` are not done, which it returns.
pub(super) fn race<'a, const N: usize>(
    cpu: impl Advance<N>,
    waiting: Arrived<'_, 'a>,
    few: usize,
    done: Done<'_>,
) -> Undone<'a> {
    let mut lanes: [Option<Lane<'a>>; N] = std::array::from_fn(|_| None);
    let mut states: States<N> = INITIAL.map(|word| [word; N]);
    loop {
        let waits = waiting.size_hint().1.unwrap_or(usize::MAX);
        if waits.saturating_add(lanes.iter().flatten().count()) <= few {
            break;
        }
        for (place, slot) in lanes.iter_mut().enumerate().filter(|(_, slot)| slot.is_none()) {
            let Some(lane) = waiting.next() else { break };
            for (words, word) in states.iter_mut().zip(lane.state) {
                words.iter_mut().skip(place).take(1).for_each(|own| *own = word);
            }
            *slot = Some(lane);
        }
        let busy = lanes.iter().flatten().map(|lane| lane.blocks);
        let Some(shortest) = busy.min_by_key(|blocks| blocks.len()) else { break };
        let steps = shortest.len();
        // An idle lane computes what nobody asks for.
        let blocks = lanes.each_ref().map(|slot| slot.as_ref().map_or(shortest, |lane| lane.blocks));
        cpu.advance(&mut states, blocks.map(|blocks| blocks.get(..steps).unwrap_or_default()));
        for (place, slot) in lanes.iter_mut().enumerate() {
            if let Some(lane) = slot
                && lane.is_done_after(steps)
            {
                done(lane.number, state_of(&states, place));
                *slot = None;
            }
        }
    }
    let undone: Vec<Lane<'a>> = lanes
        .into_iter()
        .enumerate()
        .filter_map(|(place, slot)| Some(Lane { state: state_of(&states, place), ..slot? }))
        .chain(waiting)
        .collect();
    undone.into_iter()
}

/// How many of the longest messages are better hashed one by one, because most lanes would be idle with them.
/// Lengths are in descending order.
fn too_long(lengths: &[usize], cost: &Cost) -> usize {
    let mut rest: usize = lengths.iter().sum();
    let mut plain = 0;
    let mut best = (usize::MAX, 0);
    for (alone, length) in lengths.iter().copied().chain([0]).enumerate() {
        let together = (rest / cost.lanes * cost.all).max(length * cost.few);
        best = best.min((plain * PLAIN + together, alone));
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
        Self::new(message.as_chunks::<64>().1, message.len() as u64)
    }

    /// For a message of so many bytes.
    fn new(rest: &[u8], bytes: u64) -> Self {
        let count = if rest.len() < 56 { 1 } else { 2 };
        let mut blocks = [[0; 64]; 2];
        let padded = blocks.as_flattened_mut();
        let end = padded.iter_mut().zip(rest.iter().chain(&[0x80]));
        end.for_each(|(place, byte)| *place = *byte);
        let bits = (bytes * 8).to_be_bytes();
        padded.iter_mut().skip(count * 64 - bits.len()).zip(bits).for_each(|(place, byte)| *place = byte);
        Self { blocks, count }
    }

    fn blocks(&self) -> &[Block] {
        self.blocks.get(..self.count).unwrap_or_default()
    }
}

/// A message on its way.
pub(super) struct Lane<'a> {
    number: usize,
    /// What it goes on from.
    state: State,
    /// What comes next of it, at least a block until it is done.
    blocks: &'a [Block],
    /// What comes after that.
    tail: &'a [Block],
}

impl<'a> Lane<'a> {
    /// A message that goes on from `state` by the blocks of both parts, if there are any.
    fn new(number: usize, state: State, [blocks, tail]: [&'a [Block]; 2]) -> Option<Self> {
        let mut lane = Self { number, state, blocks, tail };
        (!lane.is_done_after(0)).then_some(lane)
    }

    fn blocks_left(&self) -> usize {
        self.blocks.len() + self.tail.len()
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

/// The state of the message at a place.
pub(super) fn state_of<const N: usize>(states: &States<N>, place: usize) -> State {
    states.map(|words| words.get(place).copied().unwrap_or_default())
}

fn digest_of(state: State) -> Digest {
    let mut digest = Digest::default();
    for (bytes, word) in digest.as_chunks_mut::<4>().0.iter_mut().zip(state) {
        *bytes = word.to_be_bytes();
    }
    digest
}

#[cfg(test)]
mod tests {
    use super::{Cost, too_long};

    #[test]
    fn what_would_run_alone_is_taken_out() {
        let narrow = Cost { lanes: 8, few: 225, all: 225 };
        let wide = Cost { lanes: 16, few: 125, all: 220 };
        for (lengths, with_narrow, with_wide) in [
            (&[][..], 0, 0),
            (&[100], 1, 1),
            (&[100, 100], 2, 0),
            (&[100, 100, 100], 0, 0),
            (&[800, 100, 100, 100, 100, 100], 1, 1),
            (&[800, 100], 2, 2),
            (&[100; 40], 0, 0),
        ] {
            assert_eq!(too_long(lengths, &narrow), with_narrow, "{lengths:?}");
            assert_eq!(too_long(lengths, &wide), with_wide, "{lengths:?}");
        }
    }
}
