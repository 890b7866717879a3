//! SHA-256, which names everything in a repository: of one message, or of many side by side.
//!
//! One message is a chain of steps that wait for each other, and most of a CPU is idle meanwhile. It moves sixteen
//! messages (AVX-512) or eight (AVX2) on, a lane each, in little more than the time of two, and four (AVX-512) in that
//! of one. With instructions for SHA-256 a step of one message is short, and two messages take seven tenths of their
//! time when they take turns, a block each. `Lanes::of_this_cpu` chooses by the CPU's features:
//!
//! ```text
//! SHA instructions and AVX-512    lanes; of few messages up to three take turns
//! SHA instructions                up to three messages take turns
//! AVX-512, AVX2                   lanes
//! none of these                   one message after the other (aws-lc)
//! ```
//!
//! What would leave most of the lanes idle is hashed one after the other everywhere.
//!
//! A wrong hash would give a blob a name that it does not have, so lanes are not trusted: they are tried on
//! messages of all shapes before they are used, and of every batch that names something one message is hashed again by
//! aws-lc, if it is short or one of a few; a difference ends the run.

#[cfg(target_arch = "x86_64")]
mod lanes;
#[cfg(target_arch = "x86_64")]
mod turns;
#[cfg(target_arch = "x86_64")]
mod x86;

use std::sync::OnceLock;

use aws_lc_rs::digest::{Context, SHA256};

use crate::error::{Error, ErrorKind};

/// A SHA-256.
pub type Digest = [u8; 32];

/// The words of the state of a message.
type State = [u32; 8];

/// The state before the first block (FIPS 180-4, 5.3.3).
const INITIAL: State =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

/// The hash of one message.
#[must_use]
pub fn digest(message: &[u8]) -> Digest {
    fixed(&aws_lc_rs::digest::digest(&SHA256, message))
}

fn fixed(digest: &aws_lc_rs::digest::Digest) -> Digest {
    let mut fixed = Digest::default();
    fixed.copy_from_slice(digest.as_ref());
    fixed
}

/// A hash that runs while a message arrives.
#[derive(Clone)]
pub struct Running(Context);

impl Default for Running {
    fn default() -> Self {
        Self(Context::new(&SHA256))
    }
}

impl Running {
    /// Takes the next bytes.
    pub fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    /// The hash of all bytes taken.
    #[must_use]
    pub fn finish(self) -> Digest {
        fixed(&self.0.finish())
    }
}

/// Two ways to compute a hash that do not agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the CPU's vector instructions computed a wrong SHA-256")]
pub struct WrongHash;

impl From<WrongHash> for Error {
    fn from(wrong: WrongHash) -> Self {
        Self::new(ErrorKind::Other, "a hash is wrong")
            .because(wrong.to_string())
            .then("Nothing named by it was stored; check this machine's CPU and memory, and report its model")
    }
}

/// How this CPU moves many messages on at once.
#[derive(Clone, Copy)]
enum Lanes {
    /// It does not, or need not.
    None,
    #[cfg(target_arch = "x86_64")]
    Some(&'static dyn lanes::Wide),
}

impl Lanes {
    fn of_this_cpu() -> Self {
        static CHOSEN: OnceLock<Lanes> = OnceLock::new();
        *CHOSEN.get_or_init(|| {
            let lanes = Self::fitting();
            if lanes.are_right() {
                return lanes;
            }
            tracing::warn!("{WrongHash}: they are not used");
            Self::None
        })
    }

    #[cfg(target_arch = "x86_64")]
    fn fitting() -> Self {
        let lanes: Option<Box<dyn lanes::Wide>> = match (turns::Turns::new(), x86::Avx512::new()) {
            (Some(turns), Some(avx512)) => Some(Box::new(x86::Avx512AndTurns(avx512, turns))),
            (Some(turns), None) => Some(Box::new(turns)),
            (None, Some(avx512)) => Some(Box::new(avx512)),
            (None, None) => x86::Avx2::new().map(|avx2| Box::new(avx2) as Box<dyn lanes::Wide>),
        };
        lanes.map_or(Self::None, |lanes| Self::Some(Box::leak(lanes)))
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn fitting() -> Self {
        Self::None
    }

    fn digest_many(self, messages: &[&[u8]], digests: &mut [Digest]) {
        match self {
            Self::None => {
                for (digest, message) in digests.iter_mut().zip(messages) {
                    *digest = self::digest(message);
                }
            }
            #[cfg(target_arch = "x86_64")]
            Self::Some(cpu) => lanes::digest_many(cpu, messages, digests),
        }
    }

    fn digest_most(self, messages: &[&[u8]], progress: &mut [Progress], left: usize) -> Vec<Option<Digest>> {
        match self {
            Self::None => messages.iter().map(|message| Some(digest(message))).collect(),
            #[cfg(target_arch = "x86_64")]
            Self::Some(cpu) => lanes::digest_most(cpu, messages, progress, left),
        }
    }

    /// Whether messages of every length around a block's end, and far longer ones, get their hashes.
    fn are_right(self) -> bool {
        let bytes: Vec<u8> = (0..2000_u32).map(|n| (n.wrapping_mul(0x9e37_79b1) >> 24) as u8).collect();
        let lengths = (0..=130).chain([bytes.len(); 16]);
        let messages: Vec<&[u8]> = lengths.filter_map(|length| bytes.get(bytes.len() - length..)).collect();
        let mut digests = vec![Digest::default(); messages.len()];
        self.digest_many(&messages, &mut digests);
        messages.iter().zip(&digests).all(|(message, actual)| digest(message) == *actual)
    }
}

/// How many messages are hashed side by side: 1 where one after the other is as fast.
#[must_use]
pub fn at_once() -> usize {
    match Lanes::of_this_cpu() {
        Lanes::None => 1,
        #[cfg(target_arch = "x86_64")]
        Lanes::Some(cpu) => cpu.cost().lanes,
    }
}

/// A sample that is longer is taken of one in so many batches.
const SAMPLE_BYTES: usize = 64 << 10;
const LONG_SAMPLES: usize = 32;

/// The hashes of many messages.
///
/// # Errors
/// One that was computed twice, and differently.
pub fn digest_many(messages: &[&[u8]]) -> Result<Vec<Digest>, WrongHash> {
    let digests = digest_many_unconfirmed(messages);
    // One is hashed in the plain way anyhow.
    if messages.len() > 1 {
        confirm(messages, &digests)?;
    }
    Ok(digests)
}

/// The same; no other way has confirmed them: who finds that one is not what it should be calls `digest`.
#[must_use]
pub fn digest_many_unconfirmed(messages: &[&[u8]]) -> Vec<Digest> {
    let mut digests = vec![Digest::default(); messages.len()];
    Lanes::of_this_cpu().digest_many(messages, &mut digests);
    digests
}

/// Computes a sample of what lanes computed again, in the plain way.
///
/// # Errors
/// One that differs.
pub fn confirm(messages: &[&[u8]], digests: &[Digest]) -> Result<(), WrongHash> {
    // The hashes themselves are the dice.
    let Some([dice, rarely, ..]) = digests.first().filter(|_| at_once() > 1) else { return Ok(()) };
    let sample = usize::from(*dice) % messages.len().max(1);
    if let (Some(message), Some(actual)) = (messages.get(sample), digests.get(sample))
        && (message.len() <= SAMPLE_BYTES || usize::from(*rarely) % LONG_SAMPLES == 0)
        && digest(message) != *actual
    {
        return Err(WrongHash);
    }
    Ok(())
}

/// How far the hash of a message is that is moved on beside others.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "without lanes nothing stays unfinished"))]
pub struct Progress {
    state: State,
    blocks: usize,
}

impl Default for Progress {
    fn default() -> Self {
        Self { state: INITIAL, blocks: 0 }
    }
}

/// Moves the hashes of whole messages on, each from where it is, until no more than `left` are not done. The hashes of
/// those that are done; no other way has confirmed them: who finds that one is not what it should be calls `digest`.
pub fn digest_most(messages: &[&[u8]], progress: &mut [Progress], left: usize) -> Vec<Option<Digest>> {
    Lanes::of_this_cpu().digest_most(messages, progress, left)
}

/// Hashes of messages that arrive side by side, a part of each at a time.
pub struct Together(Messages);

enum Messages {
    Plain(Vec<Running>),
    #[cfg(target_arch = "x86_64")]
    Lanes(&'static dyn lanes::Wide, Vec<lanes::Growing>),
}

impl std::fmt::Debug for Together {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Together")
    }
}

impl Together {
    /// Of so many messages, of which nothing arrived yet.
    #[must_use]
    pub fn new(count: usize) -> Self {
        Self::on(if count > 1 { Lanes::of_this_cpu() } else { Lanes::None }, count)
    }

    /// Of one message, most of which arrives while others are hashed.
    #[must_use]
    pub fn with_others() -> Self {
        Self::on(Lanes::of_this_cpu(), 1)
    }

    fn on(lanes: Lanes, count: usize) -> Self {
        Self(match lanes {
            Lanes::None => Messages::Plain(vec![Running::default(); count]),
            #[cfg(target_arch = "x86_64")]
            Lanes::Some(cpu) => Messages::Lanes(cpu, vec![lanes::Growing::default(); count]),
        })
    }

    /// Takes the next part of every message, in their order.
    pub fn update(&mut self, parts: &[&[u8]]) {
        self.update_with(parts, &[]);
    }

    /// The same, and meanwhile computes the hashes of other messages.
    pub fn update_with(&mut self, parts: &[&[u8]], others: &[&[u8]]) -> Vec<Digest> {
        match &mut self.0 {
            Messages::Plain(messages) => {
                messages.iter_mut().zip(parts).for_each(|(message, part)| message.update(part));
                others.iter().map(|other| digest(other)).collect()
            }
            #[cfg(target_arch = "x86_64")]
            Messages::Lanes(cpu, messages) => lanes::grow(*cpu, messages, parts, others),
        }
    }

    /// The hashes. No other way has confirmed them, nor what `update_with` returned: who names something by one calls
    /// `confirm`, and who finds that one is not what it should be, `digest`.
    #[must_use]
    pub fn finish(self) -> Vec<Digest> {
        match self.0 {
            Messages::Plain(messages) => messages.into_iter().map(Running::finish).collect(),
            #[cfg(target_arch = "x86_64")]
            Messages::Lanes(cpu, messages) => lanes::finish(cpu, &messages),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;
    use crate::random::{Random, SystemRandom};

    /// Every kind of lanes that this CPU has.
    fn all() -> Vec<Lanes> {
        #[cfg(target_arch = "x86_64")]
        return fitting_all().into_iter().map(|cpu| Lanes::Some(Box::leak(cpu))).collect();
        #[cfg(not(target_arch = "x86_64"))]
        Vec::new()
    }

    #[cfg(target_arch = "x86_64")]
    fn fitting_all() -> Vec<Box<dyn lanes::Wide>> {
        let (avx2, avx512, turns) = (x86::Avx2::new(), x86::Avx512::new(), turns::Turns::new());
        let mut all: Vec<Box<dyn lanes::Wide>> = Vec::new();
        all.extend(avx2.map(|cpu| Box::new(cpu) as _));
        all.extend(avx512.map(|cpu| Box::new(cpu) as _));
        all.extend(turns.map(|cpu| Box::new(cpu) as _));
        all.extend(
            avx512.zip(turns).map(|(avx512, turns)| Box::new(x86::Avx512AndTurns(avx512, turns)) as _),
        );
        all
    }

    fn noise(bytes: usize) -> Vec<u8> {
        let mut noise = vec![0; bytes];
        SystemRandom.fill(&mut noise).unwrap();
        noise
    }

    /// By two implementations that share nothing.
    fn reference(message: &[u8]) -> Digest {
        let reference: Digest = <sha2::Sha256 as sha2::Digest>::digest(message).into();
        assert_eq!(digest(message), reference);
        reference
    }

    #[test]
    fn any_lengths_together_get_the_hashes_of_the_plain_way() {
        let data = noise(300_000);
        let random = noise(40_000);
        let lengths: Vec<usize> = random
            .chunks_exact(4)
            .map(|bytes| match (bytes[0] % 8, usize::from(bytes[1]), usize::from(bytes[2])) {
                (0..=3, low, _) => low,
                (4..=6, low, high) => low + 256 * (high % 64),
                (_, low, high) => low + 256 * high * 4,
            })
            .collect();
        for lanes in all() {
            let mut rest = lengths.as_slice();
            for count in (0..70).cycle() {
                if rest.len() < count {
                    break;
                }
                let (batch, after) = rest.split_at(count);
                rest = after;
                let messages: Vec<&[u8]> = batch
                    .iter()
                    .map(|length| &data[count..count + length.min(&(data.len() - count))])
                    .collect();
                let mut digests = vec![[0; 32]; count];
                lanes.digest_many(&messages, &mut digests);
                for (message, digest) in messages.iter().zip(&digests) {
                    assert_eq!(*digest, reference(message), "{} bytes among {count}", message.len());
                }
            }
        }
    }

    #[test]
    fn what_is_chosen_is_right_and_is_checked() {
        assert!(Lanes::of_this_cpu().are_right());
        assert!(all().into_iter().all(Lanes::are_right));
        let data = noise(5_000_000);
        for count in [0, 1, 2, 5, 17] {
            let messages: Vec<&[u8]> = (0..count).map(|n| &data[n..data.len() / (n + 1)]).collect();
            let expected: Vec<Digest> = messages.iter().map(|message| reference(message)).collect();
            assert_eq!(digest_many(&messages).unwrap(), expected);
            assert!(messages.iter().zip(&expected).all(|(message, expected)| digest(message) == *expected));
        }
    }

    #[test]
    fn a_running_hash_is_that_of_the_whole() {
        let data = noise(100_000);
        let mut running = Running::default();
        for part in data.chunks(777) {
            running.update(part);
        }
        assert_eq!(running.clone().finish(), reference(&data));
        assert_eq!(Running::default().finish(), reference(b""));
    }

    #[test]
    fn messages_that_grow_side_by_side_get_the_hashes_of_the_whole() {
        let data = noise(60_000);
        let dice = noise(4000);
        let cut = |message: usize, round: usize| match dice[(message * 97 + round * 31) % dice.len()] {
            dice @ 0..=99 => usize::from(dice % 3),
            dice @ 100..=199 => 32 * usize::from(dice % 5),
            dice => 100 * usize::from(dice),
        } + 20;
        for lanes in all().into_iter().chain([Lanes::None]) {
            for count in 0..20 {
                let mut together = Together::on(lanes, count);
                let mut ends = vec![0; count];
                for round in 0..12 {
                    let parts = ends.iter_mut().enumerate().map(|(message, end)| {
                        let start = std::mem::replace(end, data.len().min(*end + cut(message, round)));
                        &data[start..*end]
                    });
                    let others: Vec<&[u8]> =
                        (0..round).map(|other| &data[other..cut(other, round)]).collect();
                    let hashes = together.update_with(&parts.collect::<Vec<_>>(), &others);
                    assert_eq!(hashes, others.iter().map(|other| reference(other)).collect::<Vec<_>>());
                }
                let expected: Vec<Digest> = ends.iter().map(|end| reference(&data[..*end])).collect();
                assert_eq!(together.finish(), expected, "{count} messages");
            }
        }
    }

    #[test]
    fn as_many_as_may_be_left_are_not_begun() {
        let data = noise(10_000);
        for lanes in all() {
            for left in [1, 2, 4, 8, 20] {
                let mut progress = vec![Progress::default(); left];
                let digests = lanes.digest_most(&vec![data.as_slice(); left], &mut progress, left);
                assert!(digests.iter().all(Option::is_none), "{left}");
                assert!(progress.iter().all(|progress| progress.blocks == 0), "{left}");
            }
        }
    }

    #[test]
    fn messages_that_are_moved_on_beside_changing_others_get_the_hashes_of_the_whole() {
        let data = noise(200_000);
        let dice = noise(3000);
        for lanes in all().into_iter().chain([Lanes::None]) {
            let mut lengths = dice.chunks_exact(3).map(|dice| match dice[0] % 4 {
                0 => usize::from(dice[1]),
                1 => 56 + 64 * usize::from(dice[1] % 8) + usize::from(dice[2] % 16),
                _ => 3 * usize::from(dice[1]) * usize::from(dice[2]),
            });
            let (mut messages, mut progress): (Vec<&[u8]>, Vec<Progress>) = (Vec::new(), Vec::new());
            for round in 0..200 {
                for length in lengths.by_ref().take(round % 23) {
                    messages.push(&data[round..round + length]);
                    progress.push(Progress::default());
                }
                let left = round % 11;
                let digests = lanes.digest_most(&messages, &mut progress, left);
                assert_eq!(digests.len(), messages.len());
                let undone: Vec<_> =
                    (0..messages.len()).filter(|number| digests[*number].is_none()).collect();
                assert!(undone.len() <= left, "{} of {}", undone.len(), messages.len());
                for (message, digest) in messages.iter().zip(digests) {
                    assert!(digest.is_none_or(|digest| digest == reference(message)), "{}", message.len());
                }
                progress = undone.iter().map(|number| progress[*number]).collect();
                messages = undone.iter().map(|number| messages[*number]).collect();
            }
            assert!(lengths.next().is_none());
        }
    }
}
