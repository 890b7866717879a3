//! SHA-256 (FIPS 180-4) of several messages in the lanes of AVX2 and AVX-512 registers.
//!
//! AVX-512 has its instructions for registers of 256 and 128 bits too, and moves eight or four messages on in half
//! the time of sixteen: `cargo bench --bench stages -- hash`.
//!
//! Everything in the loop over blocks has to be inlined into a function that is compiled for the CPU's features, and
//! rounds unrolled, so that words stay in registers: loops over arrays, and no closures there. Half of the speed is
//! in that.

#![expect(clippy::indexing_slicing, reason = "all places are constants, or below a length taken before")]
#![expect(clippy::needless_range_loop, reason = "iterators bring closures into the loop over blocks")]
#![expect(clippy::inline_always, reason = "what is not inlined is not compiled for the CPU's features")]

use std::arch::x86_64::{__m128i, __m256i, __m512i};

use pulp::x86::{V3, V4};
use pulp::{NullaryFnOnce, cast};

use super::lanes::{Advance, Arrived, Block, Cost, Done, States, Undone, Wide, race};
use super::turns::Turns;

/// The round constants (4.2.2).
const ROUNDS: [u32; 64] = [
    0x428a_2f98,
    0x7137_4491,
    0xb5c0_fbcf,
    0xe9b5_dba5,
    0x3956_c25b,
    0x59f1_11f1,
    0x923f_82a4,
    0xab1c_5ed5,
    0xd807_aa98,
    0x1283_5b01,
    0x2431_85be,
    0x550c_7dc3,
    0x72be_5d74,
    0x80de_b1fe,
    0x9bdc_06a7,
    0xc19b_f174,
    0xe49b_69c1,
    0xefbe_4786,
    0x0fc1_9dc6,
    0x240c_a1cc,
    0x2de9_2c6f,
    0x4a74_84aa,
    0x5cb0_a9dc,
    0x76f9_88da,
    0x983e_5152,
    0xa831_c66d,
    0xb003_27c8,
    0xbf59_7fc7,
    0xc6e0_0bf3,
    0xd5a7_9147,
    0x06ca_6351,
    0x1429_2967,
    0x27b7_0a85,
    0x2e1b_2138,
    0x4d2c_6dfc,
    0x5338_0d13,
    0x650a_7354,
    0x766a_0abb,
    0x81c2_c92e,
    0x9272_2c85,
    0xa2bf_e8a1,
    0xa81a_664b,
    0xc24b_8b70,
    0xc76c_51a3,
    0xd192_e819,
    0xd699_0624,
    0xf40e_3585,
    0x106a_a070,
    0x19a4_c116,
    0x1e37_6c08,
    0x2748_774c,
    0x34b0_bcb5,
    0x391c_0cb3,
    0x4ed8_aa4a,
    0x5b9c_ca4f,
    0x682e_6ff3,
    0x748f_82ee,
    0x78a5_636f,
    0x84c8_7814,
    0x8cc7_0208,
    0x90be_fffa,
    0xa450_6ceb,
    0xbef9_a3f7,
    0xc671_78f2,
];

/// The functions of SHA-256 on words of several messages at once.
trait Words: Copy {
    type Word: Copy;
    fn all(self, word: u32) -> Self::Word;
    fn add(self, a: Self::Word, b: Self::Word) -> Self::Word;
    fn xor3(self, a: Self::Word, b: Self::Word, c: Self::Word) -> Self::Word;
    fn choose(self, a: Self::Word, b: Self::Word, c: Self::Word) -> Self::Word;
    fn majority(self, a: Self::Word, b: Self::Word, c: Self::Word) -> Self::Word;
    /// Rotates right by `BY`; `BACK` is 32 less that.
    fn rotate<const BY: i32, const BACK: i32>(self, a: Self::Word) -> Self::Word;
    fn shift_3(self, a: Self::Word) -> Self::Word;
    fn shift_10(self, a: Self::Word) -> Self::Word;
}

#[inline(always)]
#[expect(clippy::many_single_char_names, reason = "the standard names them so")]
fn round<W: Words>(cpu: W, state: &mut [W::Word; 8], word: W::Word, constant: u32) {
    let [a, b, c, d, e, f, g, h] = *state;
    let sum = cpu.xor3(cpu.rotate::<6, 26>(e), cpu.rotate::<11, 21>(e), cpu.rotate::<25, 7>(e));
    let first = cpu.add(cpu.add(h, cpu.add(word, cpu.all(constant))), cpu.add(sum, cpu.choose(e, f, g)));
    let sum = cpu.xor3(cpu.rotate::<2, 30>(a), cpu.rotate::<13, 19>(a), cpu.rotate::<22, 10>(a));
    let second = cpu.add(sum, cpu.majority(a, b, c));
    *state = [cpu.add(first, second), a, b, c, cpu.add(d, first), e, f, g];
}

/// The same again and again, with another constant.
macro_rules! for_each {
    ($constant:ident in $($number:literal)* => $body:block) => {
        $({
            const $constant: usize = $number;
            $body
        })*
    };
}

/// Takes one block of every message, as words.
#[inline(always)]
fn compress<W: Words>(cpu: W, state: &mut [W::Word; 8], mut words: [W::Word; 16]) {
    let mut next = *state;
    for_each!(PLACE in 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 => {
        round(cpu, &mut next, words[PLACE], ROUNDS[PLACE]);
    });
    for_each!(START in 16 32 48 => {
        for_each!(PLACE in 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 => {
            let (one, fourteen) = (words[(PLACE + 1) % 16], words[(PLACE + 14) % 16]);
            let early = cpu.xor3(cpu.rotate::<7, 25>(one), cpu.rotate::<18, 14>(one), cpu.shift_3(one));
            let late =
                cpu.xor3(cpu.rotate::<17, 15>(fourteen), cpu.rotate::<19, 13>(fourteen), cpu.shift_10(fourteen));
            words[PLACE] = cpu.add(cpu.add(words[PLACE], early), cpu.add(words[(PLACE + 9) % 16], late));
            round(cpu, &mut next, words[PLACE], ROUNDS[START + PLACE]);
        });
    });
    for place in 0..8 {
        state[place] = cpu.add(state[place], next[place]);
    }
}

/// Turns the bytes of each word of four around.
const BIG_ENDIAN: [u8; 16] = [3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12];

/// Eight messages at once.
#[derive(Clone, Copy)]
pub(super) struct Avx2(V3);

impl Avx2 {
    /// If the CPU has it.
    pub(super) fn new() -> Option<Self> {
        V3::try_new().map(Self)
    }
}

impl Wide for Avx2 {
    fn cost(&self) -> Cost {
        Cost { lanes: 8, few: 225, all: 225 }
    }

    fn hash<'a>(&self, waiting: Arrived<'_, 'a>, left: usize, done: Done<'_>) -> Undone<'a> {
        race::<8>(*self, waiting, left, done)
    }
}

impl Advance<8> for Avx2 {
    fn advance(self, states: &mut States<8>, blocks: [&[Block]; 8]) {
        self.0.vectorize(EightBlocks { cpu: self.0, words: self.0, states, blocks });
    }
}

/// Sixteen messages at once, or fewer in narrower registers.
#[derive(Clone, Copy)]
pub(super) struct Avx512(V4);

impl Avx512 {
    /// If the CPU has it (F, BW, CD, DQ, VL).
    pub(super) fn new() -> Option<Self> {
        V4::try_new().map(Self)
    }
}

impl Wide for Avx512 {
    fn cost(&self) -> Cost {
        Cost { lanes: 16, few: 125, all: 220 }
    }

    fn hash<'a>(&self, waiting: Arrived<'_, 'a>, left: usize, done: Done<'_>) -> Undone<'a> {
        let mut eight = race::<16>(*self, waiting, left.max(8), done);
        let mut four = race::<8>(*self, &mut eight, left.max(4), done);
        race::<4>(*self, &mut four, left, done)
    }
}

/// Sixteen messages at once, or eight; fewer take turns.
#[derive(Clone, Copy)]
pub(super) struct Avx512AndTurns(pub(super) Avx512, pub(super) Turns);

impl Wide for Avx512AndTurns {
    fn cost(&self) -> Cost {
        Cost { lanes: 16, all: 880, ..self.1.cost() }
    }

    fn hash<'a>(&self, waiting: Arrived<'_, 'a>, left: usize, done: Done<'_>) -> Undone<'a> {
        let mut eight = race::<16>(self.0, waiting, left.max(8), done);
        let mut few = race::<8>(self.0, &mut eight, left.max(6), done);
        self.1.hash(&mut few, left, done)
    }
}

impl Advance<16> for Avx512 {
    fn advance(self, states: &mut States<16>, blocks: [&[Block]; 16]) {
        self.0.vectorize(SixteenBlocks { cpu: self.0, states, blocks });
    }
}

impl Advance<8> for Avx512 {
    fn advance(self, states: &mut States<8>, blocks: [&[Block]; 8]) {
        self.0.vectorize(EightBlocks { cpu: *self.0, words: Words256(self.0), states, blocks });
    }
}

impl Advance<4> for Avx512 {
    fn advance(self, states: &mut States<4>, blocks: [&[Block]; 4]) {
        self.0.vectorize(FourBlocks { cpu: self.0, states, blocks });
    }
}

struct SixteenBlocks<'a> {
    cpu: V4,
    states: &'a mut States<16>,
    blocks: [&'a [Block]; 16],
}

impl NullaryFnOnce for SixteenBlocks<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let cpu = self.cpu;
        let order: __m512i = cast([BIG_ENDIAN; 4]);
        let steps = self.blocks.iter().map(|blocks| blocks.len()).min().unwrap_or(0);
        let blocks = self.blocks.map(|blocks| &blocks[..steps]);
        let mut state: [__m512i; 8] = self.states.map(cast);
        for step in 0..steps {
            let mut rows = [order; 16];
            for lane in 0..16 {
                rows[lane] = cpu.avx512bw._mm512_shuffle_epi8(cast(blocks[lane][step]), order);
            }
            compress(Words512(cpu), &mut state, transpose_16(cpu, rows));
        }
        *self.states = state.map(cast);
    }
}

struct EightBlocks<'a, W> {
    cpu: V3,
    words: W,
    states: &'a mut States<8>,
    blocks: [&'a [Block]; 8],
}

impl<W: Words<Word = __m256i>> NullaryFnOnce for EightBlocks<'_, W> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let cpu = self.cpu;
        let order: __m256i = cast([BIG_ENDIAN; 2]);
        let steps = self.blocks.iter().map(|blocks| blocks.len()).min().unwrap_or(0);
        let blocks = self.blocks.map(|blocks| &blocks[..steps]);
        let mut state: [__m256i; 8] = self.states.map(cast);
        for step in 0..steps {
            let (mut first, mut second) = ([order; 8], [order; 8]);
            for lane in 0..8 {
                let [one, two] = cast::<Block, [__m256i; 2]>(blocks[lane][step]);
                first[lane] = cpu.avx2._mm256_shuffle_epi8(one, order);
                second[lane] = cpu.avx2._mm256_shuffle_epi8(two, order);
            }
            let mut words = [order; 16];
            words[..8].copy_from_slice(&transpose_8(cpu, first));
            words[8..].copy_from_slice(&transpose_8(cpu, second));
            compress(self.words, &mut state, words);
        }
        *self.states = state.map(cast);
    }
}

struct FourBlocks<'a> {
    cpu: V4,
    states: &'a mut States<4>,
    blocks: [&'a [Block]; 4],
}

impl NullaryFnOnce for FourBlocks<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let cpu = self.cpu;
        let order: __m128i = cast(BIG_ENDIAN);
        let steps = self.blocks.iter().map(|blocks| blocks.len()).min().unwrap_or(0);
        let blocks = self.blocks.map(|blocks| &blocks[..steps]);
        let mut state: [__m128i; 8] = self.states.map(cast);
        for step in 0..steps {
            let mut rows = [[order; 4]; 4];
            for lane in 0..4 {
                rows[lane] = cast(blocks[lane][step]);
            }
            let mut words = [order; 16];
            for quarter in 0..4 {
                let mut four = [order; 4];
                for lane in 0..4 {
                    four[lane] = cpu.ssse3._mm_shuffle_epi8(rows[lane][quarter], order);
                }
                words[4 * quarter..4 * quarter + 4].copy_from_slice(&transpose_4(cpu, four));
            }
            compress(Words128(cpu), &mut state, words);
        }
        *self.states = state.map(cast);
    }
}

/// Rows become columns: four words of four messages become four messages' words.
#[inline(always)]
fn transpose_4(cpu: V4, rows: [__m128i; 4]) -> [__m128i; 4] {
    let sse2 = cpu.sse2;
    let low = [sse2._mm_unpacklo_epi32(rows[0], rows[1]), sse2._mm_unpacklo_epi32(rows[2], rows[3])];
    let high = [sse2._mm_unpackhi_epi32(rows[0], rows[1]), sse2._mm_unpackhi_epi32(rows[2], rows[3])];
    [
        sse2._mm_unpacklo_epi64(low[0], low[1]),
        sse2._mm_unpackhi_epi64(low[0], low[1]),
        sse2._mm_unpacklo_epi64(high[0], high[1]),
        sse2._mm_unpackhi_epi64(high[0], high[1]),
    ]
}

/// Rows become columns: eight words of eight messages become eight messages' words.
#[inline(always)]
fn transpose_8(cpu: V3, rows: [__m256i; 8]) -> [__m256i; 8] {
    let avx2 = cpu.avx2;
    let (mut pairs, mut fours, mut eights) = (rows, rows, rows);
    for from in [0, 2, 4, 6] {
        pairs[from] = avx2._mm256_unpacklo_epi32(rows[from], rows[from + 1]);
        pairs[from + 1] = avx2._mm256_unpackhi_epi32(rows[from], rows[from + 1]);
    }
    for from in [0, 4] {
        fours[from] = avx2._mm256_unpacklo_epi64(pairs[from], pairs[from + 2]);
        fours[from + 1] = avx2._mm256_unpackhi_epi64(pairs[from], pairs[from + 2]);
        fours[from + 2] = avx2._mm256_unpacklo_epi64(pairs[from + 1], pairs[from + 3]);
        fours[from + 3] = avx2._mm256_unpackhi_epi64(pairs[from + 1], pairs[from + 3]);
    }
    for from in 0..4 {
        eights[from] = avx2._mm256_permute2x128_si256::<0x20>(fours[from], fours[from + 4]);
        eights[from + 4] = avx2._mm256_permute2x128_si256::<0x31>(fours[from], fours[from + 4]);
    }
    eights
}

/// Rows become columns: sixteen words of sixteen messages become sixteen messages' words.
#[inline(always)]
fn transpose_16(cpu: V4, rows: [__m512i; 16]) -> [__m512i; 16] {
    let f = cpu.avx512f;
    let (mut pairs, mut fours, mut eights, mut all) = (rows, rows, rows, rows);
    for from in [0, 2, 4, 6, 8, 10, 12, 14] {
        pairs[from] = f._mm512_unpacklo_epi32(rows[from], rows[from + 1]);
        pairs[from + 1] = f._mm512_unpackhi_epi32(rows[from], rows[from + 1]);
    }
    for from in [0, 4, 8, 12] {
        fours[from] = f._mm512_unpacklo_epi64(pairs[from], pairs[from + 2]);
        fours[from + 1] = f._mm512_unpackhi_epi64(pairs[from], pairs[from + 2]);
        fours[from + 2] = f._mm512_unpacklo_epi64(pairs[from + 1], pairs[from + 3]);
        fours[from + 3] = f._mm512_unpackhi_epi64(pairs[from + 1], pairs[from + 3]);
    }
    // Even quarters of two registers, then odd ones.
    for from in [0, 1, 2, 3, 8, 9, 10, 11] {
        eights[from] = f._mm512_shuffle_i32x4::<0x88>(fours[from], fours[from + 4]);
        eights[from + 4] = f._mm512_shuffle_i32x4::<0xdd>(fours[from], fours[from + 4]);
    }
    for from in 0..8 {
        all[from] = f._mm512_shuffle_i32x4::<0x88>(eights[from], eights[from + 8]);
        all[from + 8] = f._mm512_shuffle_i32x4::<0xdd>(eights[from], eights[from + 8]);
    }
    all
}

impl Words for V3 {
    type Word = __m256i;

    #[inline(always)]
    fn all(self, word: u32) -> __m256i {
        self.avx._mm256_set1_epi32(word.cast_signed())
    }

    #[inline(always)]
    fn add(self, a: __m256i, b: __m256i) -> __m256i {
        self.avx2._mm256_add_epi32(a, b)
    }

    #[inline(always)]
    fn xor3(self, a: __m256i, b: __m256i, c: __m256i) -> __m256i {
        self.avx2._mm256_xor_si256(self.avx2._mm256_xor_si256(a, b), c)
    }

    #[inline(always)]
    fn choose(self, a: __m256i, b: __m256i, c: __m256i) -> __m256i {
        let avx2 = self.avx2;
        avx2._mm256_xor_si256(c, avx2._mm256_and_si256(a, avx2._mm256_xor_si256(b, c)))
    }

    #[inline(always)]
    fn majority(self, a: __m256i, b: __m256i, c: __m256i) -> __m256i {
        let avx2 = self.avx2;
        let differ = avx2._mm256_and_si256(avx2._mm256_xor_si256(a, b), avx2._mm256_xor_si256(b, c));
        avx2._mm256_xor_si256(b, differ)
    }

    #[inline(always)]
    fn rotate<const BY: i32, const BACK: i32>(self, a: __m256i) -> __m256i {
        let avx2 = self.avx2;
        avx2._mm256_or_si256(avx2._mm256_srli_epi32::<BY>(a), avx2._mm256_slli_epi32::<BACK>(a))
    }

    #[inline(always)]
    fn shift_3(self, a: __m256i) -> __m256i {
        self.avx2._mm256_srli_epi32::<3>(a)
    }

    #[inline(always)]
    fn shift_10(self, a: __m256i) -> __m256i {
        self.avx2._mm256_srli_epi32::<10>(a)
    }
}

/// The truth tables of three-input functions: bit `4a + 2b + c` is their value.
const XOR: i32 = 0x96;
const CHOOSE: i32 = 0xca;
const MAJORITY: i32 = 0xe8;

/// The instructions of AVX-512 on registers of 512 bits.
#[derive(Clone, Copy)]
struct Words512(V4);

/// The same of 256 bits.
#[derive(Clone, Copy)]
struct Words256(V4);

/// The same of 128 bits.
#[derive(Clone, Copy)]
struct Words128(V4);

/// The same functions for registers of each width.
macro_rules! words_of_avx512 {
    ($cpu:ty, $word:ty, $sets:ident $set:ident, $adds:ident $add:ident $shift:ident, $table:ident $rotate:ident) => {
        impl Words for $cpu {
            type Word = $word;

            #[inline(always)]
            fn all(self, word: u32) -> $word {
                self.0.$sets.$set(word.cast_signed())
            }

            #[inline(always)]
            fn add(self, a: $word, b: $word) -> $word {
                self.0.$adds.$add(a, b)
            }

            #[inline(always)]
            fn xor3(self, a: $word, b: $word, c: $word) -> $word {
                self.0.avx512f.$table::<XOR>(a, b, c)
            }

            #[inline(always)]
            fn choose(self, a: $word, b: $word, c: $word) -> $word {
                self.0.avx512f.$table::<CHOOSE>(a, b, c)
            }

            #[inline(always)]
            fn majority(self, a: $word, b: $word, c: $word) -> $word {
                self.0.avx512f.$table::<MAJORITY>(a, b, c)
            }

            #[inline(always)]
            fn rotate<const BY: i32, const BACK: i32>(self, a: $word) -> $word {
                self.0.avx512f.$rotate::<BY>(a)
            }

            #[inline(always)]
            fn shift_3(self, a: $word) -> $word {
                self.0.$adds.$shift::<3>(a)
            }

            #[inline(always)]
            fn shift_10(self, a: $word) -> $word {
                self.0.$adds.$shift::<10>(a)
            }
        }
    };
}

words_of_avx512!(Words512, __m512i, avx512f _mm512_set1_epi32, avx512f _mm512_add_epi32 _mm512_srli_epi32,
    _mm512_ternarylogic_epi32 _mm512_ror_epi32);
words_of_avx512!(Words256, __m256i, avx _mm256_set1_epi32, avx2 _mm256_add_epi32 _mm256_srli_epi32,
    _mm256_ternarylogic_epi32 _mm256_ror_epi32);
words_of_avx512!(Words128, __m128i, sse2 _mm_set1_epi32, sse2 _mm_add_epi32 _mm_srli_epi32,
    _mm_ternarylogic_epi32 _mm_ror_epi32);
