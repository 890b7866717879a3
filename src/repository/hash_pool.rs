//! Messages that are hashed side by side: those that are done leave, and others take their place.
//!
//! A batch of long messages would end with the longest one alone, and most lanes of a wide CPU idle. Here it goes on
//! beside those that come next. Where the CPU has no lanes, a message is hashed when it comes.

use super::Id;
use super::sha256::{self, Progress};

/// What a lane is filled by: a chunk of a file.
const LANE_BYTES: usize = 3 << 19;
/// Lanes that are filled by chunks: more take more memory than they save time.
const LANES_MAX: usize = 8;
/// Messages that a pool holds at most: short ones fill the lanes as well.
const MESSAGES: usize = 64;

/// What a pool holds at most, but for a message that is longer, in bytes.
#[must_use]
pub fn bytes_max() -> usize {
    let lanes = Id::at_once();
    if lanes > 1 { lanes.min(LANES_MAX) * LANE_BYTES } else { 0 }
}

/// What a pool holds.
pub trait Message {
    /// What is hashed.
    fn content(&self) -> &[u8];

    /// What it takes of the pool's room, in bytes.
    fn held_bytes(&self) -> usize {
        self.content().len()
    }
}

/// Messages on their way.
#[derive(Debug)]
pub struct HashPool<M> {
    bytes_max: usize,
    messages: Vec<M>,
    progress: Vec<Progress>,
    bytes: usize,
}

impl<M> Default for HashPool<M> {
    fn default() -> Self {
        Self::new(bytes_max())
    }
}

impl<M> HashPool<M> {
    /// One that holds at most so many bytes, but for a message that is longer.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        let bytes_max = bytes.min(bytes_max());
        Self { bytes_max, messages: Vec::new(), progress: Vec::new(), bytes: 0 }
    }
}

impl<M: Message> HashPool<M> {
    /// Takes a message in. Returns those that are done, with their ids: whoever finds that one is not what it should
    /// be computes it again by `Id::of`.
    #[must_use]
    pub fn push(&mut self, message: M) -> Vec<(M, Id)> {
        self.bytes += message.held_bytes();
        self.messages.push(message);
        self.progress.push(Progress::default());
        if self.bytes < self.bytes_max && self.messages.len() < MESSAGES {
            return Vec::new();
        }
        self.advance((Id::at_once() / 2).min(self.messages.len() - 1))
    }

    /// All that it holds.
    #[must_use]
    pub fn finish(&mut self) -> Vec<(M, Id)> {
        self.advance(0)
    }

    /// Goes on until no more than `left` are not done, or fewer if they are too long to be kept.
    fn advance(&mut self, left: usize) -> Vec<(M, Id)> {
        let mut done = Vec::new();
        for left in std::iter::successors(Some(left), |left| left.checked_div(2)) {
            self.take_done(left, &mut done);
            if left == 0 || self.bytes < self.bytes_max {
                break;
            }
        }
        done
    }

    fn take_done(&mut self, left: usize, done: &mut Vec<(M, Id)>) {
        let plains: Vec<&[u8]> = self.messages.iter().map(Message::content).collect();
        let digests = sha256::digest_most(&plains, &mut self.progress, left);
        let messages = std::mem::take(&mut self.messages);
        let progress = std::mem::take(&mut self.progress);
        for ((message, progress), digest) in messages.into_iter().zip(progress).zip(digests) {
            if let Some(digest) = digest {
                self.bytes -= message.held_bytes();
                done.push((message, Id(digest)));
            } else {
                self.messages.push(message);
                self.progress.push(progress);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;
    use crate::random::{Random, SystemRandom};

    impl Message for &[u8] {
        fn content(&self) -> &[u8] {
            self
        }
    }

    #[test]
    fn every_message_comes_out_once_with_its_id_and_no_more_than_a_pool_full_stays() {
        let mut noise = vec![0; 9 << 20];
        SystemRandom.fill(&mut noise).unwrap();
        let messages: Vec<&[u8]> = (0..300_usize)
            .map(|number| match number / 50 {
                0 => &noise[..number],
                1 => &noise[number..number * 500],
                2 => &noise[number * 20_000..(number + 1) * 20_000],
                3 => &noise[number % 3..(1 + number % 8) << 20],
                4 => &noise[..8 << 20],
                _ => &noise[number..number + 1000 * (number % 60)],
            })
            .collect();
        for bytes_max in [bytes_max(), bytes_max().min(5 << 20)] {
            let mut pool = HashPool::new(bytes_max);
            let mut done = Vec::new();
            for message in &messages {
                done.extend(pool.push(*message));
                let held: usize = pool.messages.iter().map(|message| message.len()).sum();
                assert_eq!(held, pool.bytes);
                assert!(held == 0 || (held < bytes_max && pool.messages.len() < MESSAGES), "{held}");
            }
            done.extend(pool.finish());
            assert!(pool.messages.is_empty() && pool.bytes == 0);
            assert!(done.iter().all(|(message, id)| *id == Id::of(message)));
            let place = |message: &[u8]| (message.as_ptr() as usize, message.len());
            let mut expected: Vec<_> = messages.iter().map(|message| place(message)).collect();
            let mut actual: Vec<_> = done.iter().map(|(message, _)| place(message)).collect();
            expected.sort_unstable();
            actual.sort_unstable();
            assert_eq!(actual, expected);
        }
    }
}
