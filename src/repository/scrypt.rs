//! scrypt (RFC 7914): a password and a salt become a key, at a cost in work and memory.
//!
//! Every run pays it before anything else, so its lanes, which do not depend on each other, are computed at
//! once, and all of them in the memory of one: with k lanes at once, each keeps every k-th row of its table
//! and computes the rows between again when it needs them. That costs (k − 1) / 2 row mixes more a read, an
//! eighth of the work for two lanes, three eighths for four; more would do more work than they save time.
//!
//! A thread of a CPU with AVX2 mixes two lanes side by side in little more than the time of one, with AVX-512 four
//! (`x86.rs`). That does the work of the rows between as well, so eight lanes at once are less work than two were, and keep
//! one row of nine: this table is the most that a small run takes. As a wrong key would lock a new repository for ever,
//! the lanes are tried before they are used.

#[cfg(target_arch = "x86_64")]
mod x86;

use std::sync::OnceLock;
use std::thread;

#[cfg(target_arch = "x86_64")]
use pulp::x86::{V3, V4};
use sha2::Sha256;
use wide::u32x4;
use zeroize::Zeroizing;

/// How much memory a key file may ask for, in bytes.
pub const MEMORY_BYTES_MAX: u64 = 1 << 30;
/// Lanes at once, at most: one a thread, and with several side by side.
const LANES_MAX: usize = 4;
const WIDE_LANES_MAX: usize = 8;
const BLOCK_BYTES: usize = 64;

/// `128 · n · r` bytes of memory and `n · r · p` work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScryptCost {
    /// Rows of the table; a power of two.
    pub n: u32,
    /// Size of a row, in 128 bytes.
    pub r: u32,
    /// Lanes.
    pub p: u32,
}

impl ScryptCost {
    /// What restic's calibration (500 ms, 60 MiB) arrives at on current machines.
    pub const RESTIC: Self = Self { n: 1 << 15, r: 8, p: 8 };
    /// For tests only: no strength at all, and no wait.
    pub const CHEAP: Self = Self { n: 128, r: 1, p: 1 };

    /// Memory in bytes, whatever the number of lanes at once.
    #[must_use]
    pub fn memory_bytes(self) -> u64 {
        let row_bytes = 128_u64.saturating_mul(u64::from(self.r));
        row_bytes.saturating_mul(u64::from(self.n).saturating_add(u64::from(self.p)))
    }
}

/// Why there is no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScryptError {
    /// No scrypt has these parameters.
    #[error("invalid scrypt parameters {0:?}")]
    Invalid(ScryptCost),
    /// They ask for more memory than is allowed.
    #[error("its scrypt parameters ask for {0} MiB of memory, more than the {max} MiB allowed", max = MEMORY_BYTES_MAX >> 20)]
    TooCostly(u64),
    /// The system gives no threads.
    #[error("{0}")]
    Refused(String),
}

/// Fills `key` by up to `threads` threads.
///
/// # Errors
/// Parameters that are not valid or ask for too much, a system that gives no memory or threads.
pub fn derive(
    password: &[u8],
    salt: &[u8],
    cost: ScryptCost,
    threads: usize,
    key: &mut [u8],
) -> Result<(), ScryptError> {
    if cost.memory_bytes() > MEMORY_BYTES_MAX {
        return Err(ScryptError::TooCostly(cost.memory_bytes() >> 20));
    }
    if !cost.n.is_power_of_two() || cost.n < 2 || cost.r == 0 || cost.p == 0 {
        return Err(ScryptError::Invalid(cost));
    }
    let lane_bytes = 128 * cost.r as usize;
    let mut lanes = Zeroizing::new(vec![0; lane_bytes * cost.p as usize]);
    pbkdf2::pbkdf2_hmac::<Sha256>(password, salt, 1, &mut lanes);
    mix(SideBySide::of_this_cpu(), &mut lanes, lane_bytes, cost.n as usize, threads)?;
    pbkdf2::pbkdf2_hmac::<Sha256>(password, &lanes, 1, key);
    Ok(())
}

/// scryptROMix of all lanes.
fn mix(
    side_by_side: SideBySide,
    lanes: &mut [u8],
    lane_bytes: usize,
    rows: usize,
    threads: usize,
) -> Result<(), ScryptError> {
    let count = lanes.len() / lane_bytes;
    let (wide, most) = match side_by_side.lanes() {
        1 => (1, LANES_MAX),
        lanes => (lanes, WIDE_LANES_MAX / lanes),
    };
    let threads = threads.clamp(1, most).min(count.div_ceil(wide));
    let share = count.div_ceil(threads);
    let together = wide.min(share);
    let (at_once, is_side_by_side) = (threads * together, wide > 1);
    let stride = at_once + usize::from(is_side_by_side);
    let table_blocks = rows.div_ceil(stride) * (lane_bytes / BLOCK_BYTES);
    // One piece for all: it is mapped by itself, and goes back as soon as the key is there (`allocator.rs`).
    let mut tables = vec![Kept::default(); at_once * table_blocks];
    let shares = lanes.chunks_mut(share * lane_bytes).zip(tables.chunks_exact_mut(together * table_blocks));
    thread::scope(|scope| {
        for (share, tables) in shares {
            let work = move || {
                for group in share.chunks_mut(together * lane_bytes) {
                    let mut lanes: Vec<&mut [u8]> = group.chunks_exact_mut(lane_bytes).collect();
                    let mut tables: Vec<&mut [Kept]> = tables.chunks_exact_mut(table_blocks).collect();
                    side_by_side.mix(&mut lanes, &mut tables, rows, stride);
                }
            };
            let started = thread::Builder::new().name("key".to_owned()).spawn_scoped(scope, work);
            started.map_err(|cause| ScryptError::Refused(cause.to_string()))?;
        }
        Ok(())
    })
}

/// How many lanes a thread mixes at once.
#[derive(Clone, Copy)]
enum SideBySide {
    One,
    #[cfg(target_arch = "x86_64")]
    Two(V3),
    #[cfg(target_arch = "x86_64")]
    Four(V4),
}

impl SideBySide {
    fn of_this_cpu() -> Self {
        static CHOSEN: OnceLock<SideBySide> = OnceLock::new();
        *CHOSEN.get_or_init(|| {
            let fitting = Self::fitting();
            if fitting.is_right() {
                return fitting;
            }
            tracing::warn!("the CPU's vector instructions computed a wrong scrypt: they are not used");
            Self::One
        })
    }

    #[cfg(target_arch = "x86_64")]
    fn fitting() -> Self {
        let four = V4::try_new().map(Self::Four);
        four.or_else(|| V3::try_new().map(Self::Two)).unwrap_or(Self::One)
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn fitting() -> Self {
        Self::One
    }

    fn lanes(self) -> usize {
        match self {
            Self::One => 1,
            #[cfg(target_arch = "x86_64")]
            Self::Two(_) => 2,
            #[cfg(target_arch = "x86_64")]
            Self::Four(_) => 4,
        }
    }

    /// Mixes up to that many lanes, each with its table.
    fn mix<'l>(self, lanes: &mut [&'l mut [u8]], tables: &mut [&'l mut [Kept]], rows: usize, stride: usize) {
        match self {
            Self::One => {
                for (lane, table) in lanes.iter_mut().zip(tables) {
                    mix_lane(lane, table, rows, stride);
                }
            }
            #[cfg(target_arch = "x86_64")]
            Self::Two(cpu) => x86::mix_two(cpu, x86::Lanes { lanes, tables, rows, stride }),
            #[cfg(target_arch = "x86_64")]
            Self::Four(cpu) => x86::mix_four(cpu, x86::Lanes { lanes, tables, rows, stride }),
        }
    }

    /// Whether it computes what one lane after the other gives.
    fn is_right(self) -> bool {
        let (lane_bytes, rows) = (128, 64);
        let lanes: Vec<u8> =
            (0..lane_bytes * self.lanes()).map(|byte| (byte * 37 + byte / 16) as u8).collect();
        let mixed = |way: Self| {
            let mut lanes = lanes.clone();
            mix(way, &mut lanes, lane_bytes, rows, 1).map(|()| lanes)
        };
        mixed(self) == mixed(Self::One)
    }
}

/// 64 bytes, as rows of the diagonals of Salsa20's square: all four columns, then all four rows of the square
/// are worked on at once.
type Block = [u32x4; 4];
/// A block of the table: memory that is all zeros costs nothing before it is used.
type Kept = [[u32; 4]; 4];

/// Where the words of a block stand in its bytes.
const DIAGONALS: [[usize; 4]; 4] = [[0, 5, 10, 15], [4, 9, 14, 3], [8, 13, 2, 7], [12, 1, 6, 11]];

/// scryptROMix, with every `stride`th of the rows kept in `table`.
fn mix_lane(lane: &mut [u8], table: &mut [Kept], rows: usize, stride: usize) {
    let block = |bytes| DIAGONALS.map(|places| u32x4::new(load(bytes, places)));
    let mut row: Vec<Block> = lane.chunks_exact(BLOCK_BYTES).map(block).collect();
    let (length, mut next, mut other) = (row.len(), row.clone(), row.clone());
    for number in 0..rows {
        if number % stride == 0 {
            let place = number / stride * length;
            for (kept, block) in table.iter_mut().skip(place).zip(&row) {
                *kept = block.map(u32x4::to_array);
            }
        }
        mix_row(&row, &mut next);
        std::mem::swap(&mut row, &mut next);
    }
    for _ in 0..rows {
        let number = row.last().map_or(0, |[diagonal, ..]| diagonal.to_array()[0] as usize) % rows;
        let place = number / stride * length;
        for (other, kept) in other.iter_mut().zip(table.iter().skip(place)) {
            *other = kept.map(u32x4::new);
        }
        for _ in 0..number % stride {
            mix_row(&other, &mut next);
            std::mem::swap(&mut other, &mut next);
        }
        for (block, other) in row.iter_mut().zip(&other) {
            *block = xor(block, other);
        }
        mix_row(&row, &mut next);
        std::mem::swap(&mut row, &mut next);
    }
    for (bytes, block) in lane.chunks_exact_mut(BLOCK_BYTES).zip(&row) {
        for (diagonal, places) in block.iter().zip(DIAGONALS) {
            store(diagonal.to_array(), places, bytes);
        }
    }
}

/// The words at these places of a block.
fn load(bytes: &[u8], places: [usize; 4]) -> [u32; 4] {
    places.map(|place| {
        let word = bytes.get(4 * place..).and_then(|bytes| bytes.first_chunk());
        u32::from_le_bytes(word.copied().unwrap_or_default())
    })
}

fn store(words: [u32; 4], places: [usize; 4], bytes: &mut [u8]) {
    for (word, place) in words.into_iter().zip(places) {
        if let Some(to) = bytes.get_mut(4 * place..).and_then(|bytes| bytes.first_chunk_mut()) {
            *to = word.to_le_bytes();
        }
    }
}

/// scryptBlockMix: the blocks in turn, even ones to the first half, odd ones to the second.
fn mix_row(from: &[Block], to: &mut [Block]) {
    let Some(mut block) = from.last().copied() else { return };
    let (even, odd) = to.split_at_mut(from.len() / 2);
    for ((from, even), odd) in from.chunks_exact(2).zip(even).zip(odd) {
        for (from, to) in from.iter().zip([even, odd]) {
            block = salsa(&xor(&block, from));
            *to = block;
        }
    }
}

/// Salsa20/8.
#[inline]
fn salsa(block: &Block) -> Block {
    let [mut a, mut b, mut c, mut d] = *block;
    for _ in 0..4 {
        b = step::<7, 25>(b, a, d);
        c = step::<9, 23>(c, b, a);
        d = step::<13, 19>(d, c, b);
        a = step::<18, 14>(a, d, c);
        (b, c, d) = (turn(turn(turn(b))), turn(turn(c)), turn(d));
        d = step::<7, 25>(d, a, b);
        c = step::<9, 23>(c, d, a);
        b = step::<13, 19>(b, c, d);
        a = step::<18, 14>(a, b, c);
        (b, c, d) = (turn(b), turn(turn(c)), turn(turn(turn(d))));
    }
    joined(&[a, b, c, d], block, |mixed, word| mixed + word)
}

/// `to ^= (a + b) <<< LEFT`; `RIGHT` is 32 − `LEFT`.
#[inline]
fn step<const LEFT: u32, const RIGHT: u32>(to: u32x4, a: u32x4, b: u32x4) -> u32x4 {
    let sum = a + b;
    to ^ (sum << LEFT) ^ (sum >> RIGHT)
}

#[inline]
fn turn(words: u32x4) -> u32x4 {
    let [first, second, third, fourth] = words.to_array();
    u32x4::new([second, third, fourth, first])
}

#[inline]
fn xor(block: &Block, other: &Block) -> Block {
    joined(block, other, |one, other| one ^ other)
}

#[inline]
fn joined(block: &Block, other: &Block, join: impl Fn(u32x4, u32x4) -> u32x4) -> Block {
    let ([a1, b1, c1, d1], [a2, b2, c2, d2]) = (*block, *other);
    [join(a1, a2), join(b1, b2), join(c1, c2), join(d1, d2)]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::random::{Random, SystemRandom};

    fn ours(password: &str, salt: &str, cost: ScryptCost, threads: usize) -> [u8; 64] {
        let mut key = [0; 64];
        derive(password.as_bytes(), salt.as_bytes(), cost, threads, &mut key).unwrap();
        key
    }

    #[test]
    fn keys_are_those_of_the_rfc() {
        let first = ours("", "", ScryptCost { n: 16, r: 1, p: 1 }, 1);
        assert_eq!(first[..8], [0x77, 0xd6, 0x57, 0x62, 0x38, 0x65, 0x7b, 0x20]);
        let second = ours("password", "NaCl", ScryptCost { n: 1024, r: 8, p: 16 }, 2);
        assert_eq!(second[..8], [0xfd, 0xba, 0xbe, 0x1c, 0x9d, 0x34, 0x72, 0x00]);
    }

    #[test]
    fn keys_are_those_of_another_implementation_by_any_number_of_threads() {
        for n in [2, 4, 64] {
            for r in [1, 2, 3, 8] {
                for p in [1, 2, 3, 8] {
                    let parameters = scrypt::Params::new(u32::ilog2(n) as u8, r, p).unwrap();
                    let mut expected = [0; 64];
                    scrypt::scrypt(b"p", b"salt", &parameters, &mut expected).unwrap();
                    let cost = ScryptCost { n, r, p };
                    for threads in 0..=6 {
                        assert_eq!(ours("p", "salt", cost, threads), expected, "{cost:?}, {threads} threads");
                    }
                }
            }
        }
    }

    #[test]
    fn lanes_side_by_side_give_what_they_give_one_by_one() {
        let mut ways = vec![SideBySide::One];
        #[cfg(target_arch = "x86_64")]
        {
            ways.extend(V3::try_new().map(SideBySide::Two));
            ways.extend(V4::try_new().map(SideBySide::Four));
        }
        assert!(ways.iter().all(|way| way.is_right()));
        for (rows, r, count) in [(2, 1, 4), (16, 2, 1), (16, 1, 3), (64, 2, 5), (64, 8, 8), (128, 3, 11)] {
            let lane_bytes = 128 * r;
            let mut lanes = vec![0; lane_bytes * count];
            SystemRandom.fill(&mut lanes).unwrap();
            let mixed = |way, threads| {
                let mut lanes = lanes.clone();
                mix(way, &mut lanes, lane_bytes, rows, threads).unwrap();
                lanes
            };
            let expected = mixed(SideBySide::One, 1);
            for way in &ways {
                for threads in 0..=6 {
                    assert!(mixed(*way, threads) == expected, "{count} lanes, {threads} threads");
                }
            }
        }
    }

    #[test]
    fn parameters_that_cannot_be_or_ask_for_too_much_are_refused() {
        let refused = |n, r, p| derive(b"p", b"s", ScryptCost { n, r, p }, 2, &mut [0; 64]).unwrap_err();
        for cost in [(0, 1, 1), (1, 1, 1), (3, 1, 1), (16, 0, 1), (16, 1, 0)] {
            assert!(matches!(refused(cost.0, cost.1, cost.2), ScryptError::Invalid(_)), "{cost:?}");
        }
        for cost in [(1 << 31, 8, 1), (16, u32::MAX, 1), (16, 8, u32::MAX)] {
            assert!(matches!(refused(cost.0, cost.1, cost.2), ScryptError::TooCostly(_)), "{cost:?}");
        }
    }
}
