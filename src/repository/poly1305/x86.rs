//! Poly1305 in four lanes of AVX2 registers.
//!
//! A tag is the value of a polynomial in `r` whose coefficients are the blocks of the message, modulo 2¹³⁰ − 5. In four
//! lanes it is four polynomials in `r⁴`, each of every fourth block, and one product with `r⁴`, `r³`, `r²` and `r` at the
//! end. As `r` stays the same, its powers are computed once.
//!
//! A number is five limbs of 26 bits, a word of 64 bits each, so that products are those of one vector instruction.
//! What is written here as loops over lanes becomes vectors in a function that is compiled for the CPU's features.
//!
//! Sixteen lanes in registers of AVX-512 are half as fast again, and their products lower the clock of all else that
//! runs: a restore of small files takes longer with them (`benches/README.md`).

#![expect(clippy::indexing_slicing, reason = "limbs and lanes are arrays, and places in them constants")]
#![expect(
    clippy::needless_range_loop,
    reason = "iterators would keep the compiler from making vectors of lanes"
)]
#![expect(clippy::inline_always, reason = "what is not inlined is not compiled for the CPU's features")]

use pulp::NullaryFnOnce;
use pulp::x86::V3;
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::Tag;

const LANES: usize = 4;
const LIMB_BITS: usize = 26;
const LIMB: u64 = (1 << LIMB_BITS) - 1;
/// A whole block's 129th bit, in its last limb.
const WHOLE: u64 = 1 << 24;
/// The bits of `r` that count.
const CLAMP: u128 = 0x0fff_fffc_0fff_fffc_0fff_fffc_0fff_ffff;

type Block = [u8; 16];

/// Numbers in lanes: the lowest limb of each, the next one of each …
type Numbers<const N: usize> = [[u64; N]; 5];

/// A CPU with AVX2, and the powers of `r`.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub(super) struct Lanes {
    #[zeroize(skip)]
    cpu: V3,
    r: Numbers<1>,
    /// `r⁴` in every lane.
    step: Numbers<LANES>,
    /// `r⁴`, `r³`, `r²`, `r`.
    last: Numbers<LANES>,
}

impl Lanes {
    /// `None` where the CPU has no AVX2.
    pub(super) fn new(r: &[u8; 16]) -> Option<Self> {
        let cpu = V3::try_new()?;
        let clamped = u128::from_le_bytes(*r) & CLAMP;
        let r: Numbers<1> = std::array::from_fn(|limb| [(clamped >> (LIMB_BITS * limb)) as u64 & LIMB]);
        let mut last = [[0; LANES]; 5];
        let mut power = r;
        for lane in (0..LANES).rev() {
            for limb in 0..5 {
                last[limb][lane] = power[limb][0];
            }
            power = product(&power, &r);
        }
        let step = last.map(|[fourth, ..]| [fourth; LANES]);
        power.zeroize();
        Some(Self { cpu, r, step, last })
    }

    pub(super) fn tag(&self, pad: &[u8; 16], message: &[u8]) -> Tag {
        let (blocks, rest) = message.as_chunks();
        let (groups, after) = blocks.as_chunks();
        let mut value = self.cpu.vectorize(InLanes { lanes: self, groups });
        for block in after {
            value = product(&sum(&value, &numbers(&[*block])), &self.r);
        }
        if !rest.is_empty() {
            let mut block = Block::default();
            block[..rest.len()].copy_from_slice(rest);
            block[rest.len()] = 1;
            let mut number = numbers(&[block]);
            number[4][0] -= WHOLE;
            value = product(&sum(&value, &number), &self.r);
        }
        finish(value, pad)
    }
}

/// The value of all blocks that fill the lanes.
struct InLanes<'a> {
    lanes: &'a Lanes,
    groups: &'a [[Block; LANES]],
}

impl NullaryFnOnce for InLanes<'_> {
    type Output = Numbers<1>;

    #[inline(always)]
    fn call(self) -> Numbers<1> {
        let Some((first, groups)) = self.groups.split_first() else { return Numbers::default() };
        let mut values = numbers(first);
        for blocks in groups {
            values = sum(&product(&values, &self.lanes.step), &numbers(blocks));
        }
        let values = product(&values, &self.lanes.last);
        let mut value = values.map(|limbs| [limbs.iter().sum()]);
        carry(&mut value);
        value
    }
}

/// Whole blocks as numbers.
#[inline(always)]
fn numbers<const N: usize>(blocks: &[Block; N]) -> Numbers<N> {
    let mut numbers = [[0; N]; 5];
    for lane in 0..N {
        let block = u128::from_le_bytes(blocks[lane]);
        let (low, high) = (block as u64, (block >> 64) as u64);
        numbers[0][lane] = low & LIMB;
        numbers[1][lane] = (low >> 26) & LIMB;
        numbers[2][lane] = ((low >> 52) | (high << 12)) & LIMB;
        numbers[3][lane] = (high >> 14) & LIMB;
        numbers[4][lane] = (high >> 40) | WHOLE;
    }
    numbers
}

#[inline(always)]
fn sum<const N: usize>(one: &Numbers<N>, other: &Numbers<N>) -> Numbers<N> {
    let mut sum = *one;
    for limb in 0..5 {
        for lane in 0..N {
            sum[limb][lane] += other[limb][lane];
        }
    }
    sum
}

/// A product whose limbs have 26 bits, and the second and the last at most a few more. Those of a factor have up to 32,
/// which is told to the compiler: its vectors have products of 32 bits by 32.
#[inline(always)]
fn product<const N: usize>(value: &Numbers<N>, r: &Numbers<N>) -> Numbers<N> {
    let mut product = [[0; N]; 5];
    for lane in 0..N {
        let half = |limb: u64| limb & 0xffff_ffff;
        let [v0, v1, v2, v3, v4] = [
            half(value[0][lane]),
            half(value[1][lane]),
            half(value[2][lane]),
            half(value[3][lane]),
            half(value[4][lane]),
        ];
        let [r0, r1, r2, r3, r4] =
            [half(r[0][lane]), half(r[1][lane]), half(r[2][lane]), half(r[3][lane]), half(r[4][lane])];
        // What goes beyond 2¹³⁰ comes back five times.
        let [s1, s2, s3, s4] = [half(5 * r1), half(5 * r2), half(5 * r3), half(5 * r4)];
        product[0][lane] = v0 * r0 + v1 * s4 + v2 * s3 + v3 * s2 + v4 * s1;
        product[1][lane] = v0 * r1 + v1 * r0 + v2 * s4 + v3 * s3 + v4 * s2;
        product[2][lane] = v0 * r2 + v1 * r1 + v2 * r0 + v3 * s4 + v4 * s3;
        product[3][lane] = v0 * r3 + v1 * r2 + v2 * r1 + v3 * r0 + v4 * s4;
        product[4][lane] = v0 * r4 + v1 * r3 + v2 * r2 + v3 * r1 + v4 * r0;
    }
    carry(&mut product);
    product
}

/// Hands on what limbs have too much, as two chains side by side.
#[inline(always)]
fn carry<const N: usize>(numbers: &mut Numbers<N>) {
    hand_on(numbers, 0, 1);
    hand_on(numbers, 3, 4);
    hand_on(numbers, 1, 2);
    hand_on(numbers, 4, 0);
    hand_on(numbers, 2, 3);
    hand_on(numbers, 0, 1);
    hand_on(numbers, 3, 4);
}

/// What goes beyond 2¹³⁰ comes back five times.
#[inline(always)]
fn hand_on<const N: usize>(numbers: &mut Numbers<N>, from: usize, to: usize) {
    let times = if to == 0 { 5 } else { 1 };
    for lane in 0..N {
        let excess = numbers[from][lane] >> LIMB_BITS;
        numbers[from][lane] &= LIMB;
        numbers[to][lane] += times * excess;
    }
}

/// The one number below 2¹³⁰ − 5, and the pad.
fn finish(mut value: Numbers<1>, pad: &[u8; 16]) -> Tag {
    carry(&mut value);
    // One less the modulus, if that is not below zero, which its carry tells.
    let (mut less, mut carried) = (value, 5);
    for [limb] in &mut less {
        *limb += carried;
        carried = *limb >> LIMB_BITS;
        *limb &= LIMB;
    }
    let is_beyond = 0_u64.wrapping_sub(carried);
    let mut whole = u128::from_le_bytes(*pad);
    for (limb, ([value], [less])) in value.iter().zip(&less).enumerate() {
        let chosen = u128::from((value & !is_beyond) | (less & is_beyond));
        whole = whole.wrapping_add(chosen << (LIMB_BITS * limb));
    }
    whole.to_le_bytes()
}
