//! scryptROMix of several lanes side by side, in AVX2 and AVX-512 registers: two or four lanes take little longer than
//! one.
//!
//! Rows that are not in the table are computed again, more of them for one lane than for another. So lanes do not keep
//! step: each mixes what it needs next, on its way to a row or from row to row, and only the mixing is common to all.

#![expect(
    clippy::indexing_slicing,
    reason = "places in arrays of four, and in rows and tables of equal lengths"
)]
#![expect(clippy::inline_always, reason = "what is not inlined is not compiled for the CPU's features")]

use std::arch::x86_64::{__m256i, __m512i};

use pulp::x86::{V3, V4};
use pulp::{NullaryFnOnce, cast};

use super::{BLOCK_BYTES, DIAGONALS, Kept};

/// Lanes, each with a table that keeps every `stride`th of its rows.
pub(super) struct Lanes<'a, 'l> {
    pub(super) lanes: &'a mut [&'l mut [u8]],
    pub(super) tables: &'a mut [&'l mut [Kept]],
    pub(super) rows: usize,
    pub(super) stride: usize,
}

/// Two lanes at most.
pub(super) fn mix_two(cpu: V3, lanes: Lanes<'_, '_>) {
    cpu.vectorize(Mix::<2, V3> { cpu, of: lanes });
}

/// Four lanes at most.
pub(super) fn mix_four(cpu: V4, lanes: Lanes<'_, '_>) {
    cpu.vectorize(Mix::<4, V4> { cpu, of: lanes });
}

/// Four words of each of `N` lanes, in a register.
trait Words<const N: usize>: Copy {
    type Words: Copy;
    fn of(self, words: [[u32; 4]; N]) -> Self::Words;
    fn each(self, words: Self::Words) -> [[u32; 4]; N];
    fn add(self, a: Self::Words, b: Self::Words) -> Self::Words;
    fn xor(self, a: Self::Words, b: Self::Words) -> Self::Words;
    fn and(self, a: Self::Words, b: Self::Words) -> Self::Words;
    /// Rotates left by `BY`; `BACK` is 32 less that.
    fn rotate<const BY: i32, const BACK: i32>(self, a: Self::Words) -> Self::Words;
    /// The second, third and fourth word of each lane, then its first.
    fn turn(self, a: Self::Words) -> Self::Words;
    fn turn_twice(self, a: Self::Words) -> Self::Words;
    fn turn_back(self, a: Self::Words) -> Self::Words;
}

macro_rules! words {
    ($cpu:ident, $lanes:literal, $register:ident, $set:ident, $and:ident, $add:ident, $xor:ident, $shuffle:ident,
     |$this:ident, $word:ident| $rotate:expr) => {
        impl Words<$lanes> for $cpu {
            type Words = $register;

            #[inline(always)]
            fn of(self, words: [[u32; 4]; $lanes]) -> $register {
                cast(words)
            }

            #[inline(always)]
            fn each(self, words: $register) -> [[u32; 4]; $lanes] {
                cast(words)
            }

            #[inline(always)]
            fn add(self, a: $register, b: $register) -> $register {
                self.$set.$add(a, b)
            }

            #[inline(always)]
            fn xor(self, a: $register, b: $register) -> $register {
                self.$set.$xor(a, b)
            }

            #[inline(always)]
            fn and(self, a: $register, b: $register) -> $register {
                self.$set.$and(a, b)
            }

            #[inline(always)]
            fn rotate<const BY: i32, const BACK: i32>(self, $word: $register) -> $register {
                let $this = self;
                $rotate
            }

            #[inline(always)]
            fn turn(self, a: $register) -> $register {
                self.$set.$shuffle::<0b00_11_10_01>(a)
            }

            #[inline(always)]
            fn turn_twice(self, a: $register) -> $register {
                self.$set.$shuffle::<0b01_00_11_10>(a)
            }

            #[inline(always)]
            fn turn_back(self, a: $register) -> $register {
                self.$set.$shuffle::<0b10_01_00_11>(a)
            }
        }
    };
}

words!(
    V3,
    2,
    __m256i,
    avx2,
    _mm256_and_si256,
    _mm256_add_epi32,
    _mm256_xor_si256,
    _mm256_shuffle_epi32,
    |cpu, word| cpu
        .avx2
        ._mm256_or_si256(cpu.avx2._mm256_slli_epi32::<BY>(word), cpu.avx2._mm256_srli_epi32::<BACK>(word))
);
words!(
    V4,
    4,
    __m512i,
    avx512f,
    _mm512_and_si512,
    _mm512_add_epi32,
    _mm512_xor_si512,
    _mm512_shuffle_epi32,
    |cpu, word| cpu.avx512f._mm512_rol_epi32::<BY>(word)
);

/// A block of every lane, as the diagonals of Salsa20's square.
type Blocks<W> = [W; 4];

struct Mix<'a, 'l, const N: usize, W> {
    cpu: W,
    of: Lanes<'a, 'l>,
}

impl<const N: usize, W: Words<N>> NullaryFnOnce for Mix<'_, '_, N, W> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { cpu, of: Lanes { lanes, tables, rows, stride } } = self;
        let blocks = lanes.first().map_or(0, |lane| lane.len() / BLOCK_BYTES);
        let mut mixed = vec![[cpu.of([[0; 4]; N]); 4]; blocks];
        load(cpu, lanes, &mut mixed);
        let mut row = mixed.clone();
        for number in 0..rows {
            if number % stride == 0 {
                keep(cpu, &mixed, tables, number / stride * blocks);
            }
            std::mem::swap(&mut row, &mut mixed);
            mix_row(cpu, &row, &mut mixed);
        }
        let mut next = mixed.clone();
        let nothing = vec![Kept::default(); blocks];
        let mut ways: [Way; N] = std::array::from_fn(|lane| Way::new(lane < lanes.len(), rows));
        while !ways.iter().all(|way| way.is_done) {
            let last = cpu.each(mixed[blocks - 1][0]);
            let mut kept: [&[Kept]; N] = [&nothing; N];
            let (mut from_mixed, mut from_row, mut is_row) = ([[0; 4]; N], [[0; 4]; N], [[0; 4]; N]);
            for lane in 0..N {
                let number = last[lane][0] as usize % rows;
                let step = ways[lane].step(number, stride);
                if step.takes_kept {
                    let place = number / stride * blocks;
                    kept[lane] = &tables[lane][place..place + blocks];
                }
                from_mixed[lane] = all(step.takes_mixed);
                from_row[lane] = all(step.takes_row);
                is_row[lane] = all(step.ends_row);
            }
            let takes = Takes {
                kept,
                from_mixed: cpu.of(from_mixed),
                from_row: cpu.of(from_row),
                is_row: cpu.of(is_row),
            };
            takes.mix(cpu, &mixed, &mut row, &mut next);
            std::mem::swap(&mut mixed, &mut next);
        }
        store(cpu, &row, lanes);
    }
}

/// What every lane mixes next.
struct Takes<'t, const N: usize, W: Words<N>> {
    kept: [&'t [Kept]; N],
    from_mixed: W::Words,
    from_row: W::Words,
    is_row: W::Words,
}

impl<const N: usize, W: Words<N>> Takes<'_, N, W> {
    /// A block of it.
    #[inline(always)]
    fn block(
        &self,
        cpu: W,
        mixed: &[Blocks<W::Words>],
        row: &[Blocks<W::Words>],
        block: usize,
    ) -> Blocks<W::Words> {
        let mut taken = mixed[block];
        for diagonal in 0..4 {
            let kept = cpu.of(std::array::from_fn(|lane| self.kept[lane][block][diagonal]));
            let (new, old) = (mixed[block][diagonal], row[block][diagonal]);
            taken[diagonal] =
                cpu.xor(cpu.xor(cpu.and(new, self.from_mixed), cpu.and(old, self.from_row)), kept);
        }
        taken
    }

    /// `mix_row`, with blocks that are put together while the one before is mixed: each waits for that one alone.
    #[inline(always)]
    fn mix(
        &self,
        cpu: W,
        mixed: &[Blocks<W::Words>],
        row: &mut [Blocks<W::Words>],
        to: &mut [Blocks<W::Words>],
    ) {
        let mut last = self.block(cpu, mixed, row, mixed.len() - 1);
        let (even, odd) = to.split_at_mut(mixed.len() / 2);
        for (pair, (even, odd)) in even.iter_mut().zip(odd).enumerate() {
            for (block, to) in [(2 * pair, even), (2 * pair + 1, odd)] {
                let taken = self.block(cpu, mixed, row, block);
                for diagonal in 0..4 {
                    let (new, old) = (mixed[block][diagonal], row[block][diagonal]);
                    row[block][diagonal] = cpu.xor(old, cpu.and(cpu.xor(old, new), self.is_row));
                }
                last = salsa(cpu, last, &taken);
                *to = last;
            }
        }
    }
}

/// How far a lane is in its second half.
struct Way {
    rows_left: usize,
    /// Rows that are still mixed on the way to one that the table does not keep.
    between: usize,
    is_done: bool,
}

/// What a lane mixes next is the sum of these, and what it mixed last may be a row of its own.
#[derive(Default)]
struct Step {
    ends_row: bool,
    takes_mixed: bool,
    takes_row: bool,
    takes_kept: bool,
}

impl Way {
    fn new(is_there: bool, rows: usize) -> Self {
        Self { rows_left: rows, between: 0, is_done: !is_there }
    }

    /// After a mix. If that gave a row of the lane's own, `number` is the row that it names.
    #[inline(always)]
    fn step(&mut self, number: usize, stride: usize) -> Step {
        if self.is_done {
            return Step::default();
        }
        if self.between > 0 {
            self.between -= 1;
            return Step { takes_mixed: true, takes_row: self.between == 0, ..Step::default() };
        }
        if self.rows_left == 0 {
            self.is_done = true;
            return Step { ends_row: true, ..Step::default() };
        }
        self.rows_left -= 1;
        self.between = number % stride;
        Step { ends_row: true, takes_mixed: self.between == 0, takes_row: false, takes_kept: true }
    }
}

#[inline(always)]
fn all(bits: bool) -> [u32; 4] {
    [if bits { u32::MAX } else { 0 }; 4]
}

#[inline(always)]
fn load<const N: usize, W: Words<N>>(cpu: W, lanes: &[&mut [u8]], to: &mut [Blocks<W::Words>]) {
    for (block, to) in to.iter_mut().enumerate() {
        for (diagonal, places) in DIAGONALS.iter().enumerate() {
            let mut words = [[0; 4]; N];
            for (words, lane) in words.iter_mut().zip(lanes) {
                *words = super::load(&lane[block * BLOCK_BYTES..], *places);
            }
            to[diagonal] = cpu.of(words);
        }
    }
}

#[inline(always)]
fn store<const N: usize, W: Words<N>>(cpu: W, from: &[Blocks<W::Words>], lanes: &mut [&mut [u8]]) {
    for (block, from) in from.iter().enumerate() {
        for (diagonal, places) in DIAGONALS.iter().enumerate() {
            for (words, lane) in cpu.each(from[diagonal]).into_iter().zip(lanes.iter_mut()) {
                super::store(words, *places, &mut lane[block * BLOCK_BYTES..]);
            }
        }
    }
}

/// Keeps the lanes' rows in their tables.
#[inline(always)]
fn keep<const N: usize, W: Words<N>>(
    cpu: W,
    rows: &[Blocks<W::Words>],
    tables: &mut [&mut [Kept]],
    place: usize,
) {
    for (block, diagonals) in rows.iter().enumerate() {
        for diagonal in 0..4 {
            for (words, table) in cpu.each(diagonals[diagonal]).into_iter().zip(tables.iter_mut()) {
                table[place + block][diagonal] = words;
            }
        }
    }
}

/// scryptBlockMix: the blocks in turn, even ones to the first half, odd ones to the second.
#[inline(always)]
fn mix_row<const N: usize, W: Words<N>>(cpu: W, from: &[Blocks<W::Words>], to: &mut [Blocks<W::Words>]) {
    let Some(mut block) = from.last().copied() else { return };
    let (even, odd) = to.split_at_mut(from.len() / 2);
    for ((from, even), odd) in from.as_chunks::<2>().0.iter().zip(even).zip(odd) {
        block = salsa(cpu, block, &from[0]);
        *even = block;
        block = salsa(cpu, block, &from[1]);
        *odd = block;
    }
}

/// Salsa20/8 of a block and another.
#[inline(always)]
fn salsa<const N: usize, W: Words<N>>(
    cpu: W,
    mut block: Blocks<W::Words>,
    other: &Blocks<W::Words>,
) -> Blocks<W::Words> {
    for diagonal in 0..4 {
        block[diagonal] = cpu.xor(block[diagonal], other[diagonal]);
    }
    let [mut a, mut b, mut c, mut d] = block;
    for _ in 0..4 {
        b = step::<7, 25, N, W>(cpu, b, a, d);
        c = step::<9, 23, N, W>(cpu, c, b, a);
        d = step::<13, 19, N, W>(cpu, d, c, b);
        a = step::<18, 14, N, W>(cpu, a, d, c);
        (b, c, d) = (cpu.turn_back(b), cpu.turn_twice(c), cpu.turn(d));
        d = step::<7, 25, N, W>(cpu, d, a, b);
        c = step::<9, 23, N, W>(cpu, c, d, a);
        b = step::<13, 19, N, W>(cpu, b, c, d);
        a = step::<18, 14, N, W>(cpu, a, b, c);
        (b, c, d) = (cpu.turn(b), cpu.turn_twice(c), cpu.turn_back(d));
    }
    [cpu.add(a, block[0]), cpu.add(b, block[1]), cpu.add(c, block[2]), cpu.add(d, block[3])]
}

/// `to ^= (a + b) <<< LEFT`; `BACK` is 32 − `LEFT`.
#[inline(always)]
fn step<const LEFT: i32, const BACK: i32, const N: usize, W: Words<N>>(
    cpu: W,
    to: W::Words,
    a: W::Words,
    b: W::Words,
) -> W::Words {
    cpu.xor(to, cpu.rotate::<LEFT, BACK>(cpu.add(a, b)))
}
