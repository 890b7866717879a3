//! Where a file is cut: restic's content-defined chunker, found by several workers at once.
//!
//! restic slides a Rabin fingerprint of 64 bytes over a chunk and cuts where its low 20 bits are zero, not
//! before 512 KiB and at 8 MiB at the latest (restic design, "Data Chunking"). It refills the window 64 bytes
//! before the minimum, so every fingerprint that counts depends on the last 64 bytes alone and not on where
//! the chunk began. That lets any worker look for cut places in any segment of a file beforehand:
//!
//! ```text
//! scan     segment → runs: from a to b no cut place, at b one (parts right behind one are skipped)
//! resolve  runs of all segments in order → min and max applied → chunks; a skipped part is scanned when
//!          a chunk turns out to begin elsewhere than the scan assumed
//! ```
//!
//! Positions are ends: a cut at `e` makes the byte before `e` the last of its chunk.

use std::ops::Range;

use crate::repository::polynomial::Polynomial;

/// The shortest chunk but a file's last, in bytes.
pub const CHUNK_BYTES_MIN: u64 = 512 << 10;
/// The longest chunk, in bytes.
pub const CHUNK_BYTES_MAX: u64 = 8 << 20;
/// Bytes that a fingerprint covers.
pub const WINDOW_BYTES: usize = 64;
const CUT_MASK: u64 = (1 << 20) - 1;

/// The tables of a polynomial, made once a run.
pub struct Rabin {
    out: [u64; 256],
    reduce: [u64; 256],
    shift: u32,
}

impl std::fmt::Debug for Rabin {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Rabin")
    }
}

impl Rabin {
    /// The tables of a repository's polynomial, which has degree 53.
    #[must_use]
    pub fn new(polynomial: Polynomial) -> Self {
        let degree = polynomial.degree();
        let append = |hash: u64, byte: u8| Polynomial((hash << 8) | u64::from(byte)).modulo(polynomial).0;
        let out = std::array::from_fn(|byte| {
            (1..WINDOW_BYTES).fold(append(0, byte as u8), |hash, _| append(hash, 0))
        });
        let reduce = std::array::from_fn(|byte| {
            let high = (byte as u64) << degree;
            Polynomial(high).modulo(polynomial).0 | high
        });
        Self { out, reduce, shift: degree - 8 }
    }

    #[inline]
    #[expect(clippy::indexing_slicing, reason = "a byte indexes 256 entries")]
    fn append(&self, digest: u64, byte: u8) -> u64 {
        let high = (digest >> self.shift) as u8;
        ((digest << 8) | u64::from(byte)) ^ self.reduce[usize::from(high)]
    }

    #[inline]
    #[expect(clippy::indexing_slicing, reason = "a byte indexes 256 entries")]
    fn slide(&self, digest: u64, leaves: u8, enters: u8) -> u64 {
        self.append(digest ^ self.out[usize::from(leaves)], enters)
    }

    /// The first cut place `e` with `from <= e < to`, or `None`. `data` begins `WINDOW_BYTES` or more before
    /// `from`; positions count from its start.
    #[must_use]
    pub fn find(&self, data: &[u8], from: usize, to: usize) -> Option<usize> {
        let last = to.checked_sub(1).filter(|last| *last >= from)?;
        let first = from.checked_sub(WINDOW_BYTES)?;
        let window = data.get(first..from)?;
        let leaving = data.get(first..last - WINDOW_BYTES)?;
        let entering = data.get(from..last)?;
        let mut digest = window.iter().fold(0, |digest, byte| self.append(digest, *byte));
        for (position, (leaves, enters)) in leaving.iter().zip(entering).enumerate() {
            if digest & CUT_MASK == 0 {
                return Some(from + position);
            }
            digest = self.slide(digest, *leaves, *enters);
        }
        (digest & CUT_MASK == 0).then_some(last)
    }
}

/// How many places are searched in one loop: enough to hide the latency of the table look-ups.
const LANES: usize = 4;
/// A shorter stretch is not shared out among lanes.
const LANE_BYTES_MIN: usize = 64 << 10;

/// One of the places that are searched side by side.
#[derive(Clone, Copy, Default)]
struct Lane {
    from: usize,
    at: usize,
    to: usize,
    digest: u64,
}

impl Rabin {
    /// All cut places from `from` to `to` (not included), but for those that lie less than a minimum behind
    /// another: the same as `find` again and again, at several places at once. Runs are in no order.
    fn find_all(&self, data: &[u8], from: usize, to: usize) -> Vec<Run> {
        let mut runs = Vec::new();
        let mut lanes = [Lane::default(); LANES];
        let share = to.saturating_sub(from).div_ceil(LANES).max(LANE_BYTES_MIN);
        for (number, lane) in lanes.iter_mut().enumerate() {
            let start = (from + number * share).min(to);
            *lane = self.lane(data, start, (start + share).min(to));
        }
        loop {
            self.share_out(data, &mut lanes, &mut runs);
            let steps = lanes.iter().map(|lane| lane.to - lane.at).min().unwrap_or(0);
            if steps == 0 {
                break;
            }
            self.step_all(data, &mut lanes, steps);
            for lane in &mut lanes {
                if lane.at < lane.to && lane.digest & CUT_MASK == 0 {
                    runs.push(Run { from: lane.from as u64, to: lane.at as u64, cut: true });
                    let next = (lane.at + CHUNK_BYTES_MIN as usize).min(lane.to);
                    *lane = self.lane(data, next, lane.to);
                }
            }
        }
        for lane in lanes {
            self.finish_lane(data, lane, &mut runs);
        }
        runs
    }

    /// A lane that begins at `from`, its window filled.
    fn lane(&self, data: &[u8], from: usize, to: usize) -> Lane {
        let window = if from < to { data.get(from - WINDOW_BYTES..from) } else { None };
        let digest = window.unwrap_or_default().iter().fold(0, |digest, byte| self.append(digest, *byte));
        Lane { from, at: from, to, digest }
    }

    /// A lane at its end takes half of the longest that is left.
    fn share_out(&self, data: &[u8], lanes: &mut [Lane; LANES], runs: &mut Vec<Run>) {
        while let Some(done) = lanes.iter().position(|lane| lane.at >= lane.to) {
            let longest = lanes.iter_mut().max_by_key(|lane| lane.to - lane.at);
            let Some(longest) = longest.filter(|lane| lane.to - lane.at >= 2 * LANE_BYTES_MIN) else {
                return;
            };
            let (middle, to) = (longest.at + (longest.to - longest.at) / 2, longest.to);
            longest.to = middle;
            if let Some(lane) = lanes.get_mut(done) {
                push_run(runs, lane.from, lane.to, false);
                *lane = self.lane(data, middle, to);
            }
        }
    }

    /// Moves all lanes on by `steps` bytes, or to the first cut place of any.
    #[expect(clippy::indexing_slicing, reason = "all slices are cut to the number of steps before the loop")]
    fn step_all(&self, data: &[u8], lanes: &mut [Lane; LANES], steps: usize) {
        let entering: [&[u8]; LANES] = lanes.map(|lane| &data[lane.at..lane.at + steps - 1]);
        let leaving: [&[u8]; LANES] =
            lanes.map(|lane| &data[lane.at - WINDOW_BYTES..lane.at - WINDOW_BYTES + steps - 1]);
        let [e0, e1, e2, e3] = entering;
        let [l0, l1, l2, l3] = leaving;
        let [mut d0, mut d1, mut d2, mut d3] = lanes.map(|lane| lane.digest);
        let length = e0.len().min(e1.len()).min(e2.len()).min(e3.len());
        let mut moved = length;
        for position in 0..length {
            let cut = |digest: u64| digest & CUT_MASK == 0;
            if cut(d0) | cut(d1) | cut(d2) | cut(d3) {
                moved = position;
                break;
            }
            d0 = self.slide(d0, l0[position], e0[position]);
            d1 = self.slide(d1, l1[position], e1[position]);
            d2 = self.slide(d2, l2[position], e2[position]);
            d3 = self.slide(d3, l3[position], e3[position]);
        }
        for (lane, digest) in lanes.iter_mut().zip([d0, d1, d2, d3]) {
            lane.at += moved;
            lane.digest = digest;
        }
        if moved == length && lanes.iter().all(|lane| lane.digest & CUT_MASK != 0) {
            self.step_last(data, lanes);
        }
    }

    /// The last byte of a stretch has been looked at: moves beyond it, where a window may end with the data.
    fn step_last(&self, data: &[u8], lanes: &mut [Lane; LANES]) {
        for lane in lanes {
            let bytes = (data.get(lane.at - WINDOW_BYTES), data.get(lane.at));
            if let (Some(leaves), Some(enters)) = bytes {
                lane.digest = self.slide(lane.digest, *leaves, *enters);
            }
            lane.at += 1;
        }
    }

    fn finish_lane(&self, data: &[u8], mut lane: Lane, runs: &mut Vec<Run>) {
        while let Some(cut) = self.find(data, lane.at, lane.to) {
            push_run(runs, lane.from, cut, true);
            lane.at = (cut + CHUNK_BYTES_MIN as usize).min(lane.to);
            lane.from = lane.at;
        }
        push_run(runs, lane.from, lane.to, false);
    }
}

fn push_run(runs: &mut Vec<Run>, from: usize, to: usize, cut: bool) {
    if cut || from < to {
        runs.push(Run { from: from as u64, to: to as u64, cut });
    }
}

/// Ends from `from` up to `to` were looked at: none is a cut place but `to` itself when `cut` is set; without
/// `cut`, `to` is not included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    from: u64,
    to: u64,
    cut: bool,
}

/// The bytes of a segment, and of the window before it.
pub trait SegmentBytes {
    /// Up to `WINDOW_BYTES` bytes before the segment (fewer at the start of a file), then the segment.
    fn with_window(&self) -> &[u8];
    /// How many of them stand before the segment.
    fn window_bytes(&self) -> usize;
}

/// A part of a file with the cut places found in it.
#[derive(Debug)]
pub struct Segment<B> {
    /// Its bytes.
    pub bytes: B,
    /// Where it begins in the file.
    pub start: u64,
    runs: Vec<Run>,
}

impl<B: SegmentBytes> Segment<B> {
    /// Looks for cut places from `from` on (a position in the file; earlier ones are left for `resolve`).
    pub fn scan(rabin: &Rabin, bytes: B, start: u64, from: u64) -> Self {
        let mut segment = Self { bytes, start, runs: Vec::new() };
        let from = from.max(start + 1).max(WINDOW_BYTES as u64);
        let base = start - segment.bytes.window_bytes() as u64;
        let end = segment.end() + 1;
        if from < end {
            let data = segment.bytes.with_window();
            let mut runs = rabin.find_all(data, (from - base) as usize, (end - base) as usize);
            for run in &mut runs {
                run.from += base;
                run.to += base;
            }
            runs.sort_unstable_by_key(|run| (run.to, run.from));
            segment.runs = runs;
        }
        segment
    }

    /// Where it ends in the file.
    pub fn end(&self) -> u64 {
        self.start + (self.bytes.with_window().len() - self.bytes.window_bytes()) as u64
    }

    fn look(&self, rabin: &Rabin, from: u64, to: u64) -> Run {
        let data = self.bytes.with_window();
        let base = self.start - self.bytes.window_bytes() as u64;
        let found = rabin.find(data, (from - base) as usize, (to - base) as usize);
        match found {
            Some(position) => Run { from, to: base + position as u64, cut: true },
            None => Run { from, to, cut: false },
        }
    }

    /// The first cut place from `from` to `until` (both included) in this segment.
    fn cut_from(&self, rabin: &Rabin, mut from: u64, until: u64) -> Option<u64> {
        let until = until.min(self.end());
        while from <= until {
            let next = self.runs.partition_point(|run| run.to < from || (run.to == from && !run.cut));
            let run = match self.runs.get(next) {
                Some(run) if run.from <= from => *run,
                later => self.look(rabin, from, later.map_or(until + 1, |run| run.from.min(until + 1))),
            };
            if run.cut {
                return (run.to <= until).then_some(run.to);
            }
            from = run.to;
        }
        None
    }
}

/// Applies min and max to the cut places of a file's segments, which are given in order.
#[derive(Debug, Default)]
pub struct Resolver {
    chunk_start: u64,
    looked_to: u64,
}

impl Resolver {
    /// Where the open chunk begins.
    #[must_use]
    pub fn chunk_start(&self) -> u64 {
        self.chunk_start
    }

    /// The chunks that end in the next segment, as ranges of the file.
    pub fn next<B: SegmentBytes>(&mut self, rabin: &Rabin, segment: &Segment<B>) -> Vec<Range<u64>> {
        let mut chunks = Vec::new();
        let end = segment.end();
        loop {
            let earliest = (self.chunk_start + CHUNK_BYTES_MIN).max(self.looked_to + 1);
            let latest = self.chunk_start + CHUNK_BYTES_MAX;
            let cut = segment.cut_from(rabin, earliest, latest).or((latest <= end).then_some(latest));
            let Some(cut) = cut else { break };
            chunks.push(self.chunk_start..cut);
            self.chunk_start = cut;
            self.looked_to = cut;
        }
        self.looked_to = end;
        chunks
    }

    /// The last chunk of a file of `file_bytes` bytes, if any byte is left.
    #[must_use]
    pub fn finish(self, file_bytes: u64) -> Option<Range<u64>> {
        (self.chunk_start < file_bytes).then_some(self.chunk_start..file_bytes)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;

    const POLYNOMIAL: Polynomial = Polynomial(0x003D_A335_8B4D_C173);

    struct Plain {
        data: Vec<u8>,
        window: usize,
    }

    impl SegmentBytes for Plain {
        fn with_window(&self) -> &[u8] {
            &self.data
        }
        fn window_bytes(&self) -> usize {
            self.window
        }
    }

    /// restic's loop, as its design describes it: one byte at a time, one chunk after the other.
    fn plain_cuts(data: &[u8]) -> Vec<u64> {
        let rabin = Rabin::new(POLYNOMIAL);
        let (mut cuts, mut start) = (Vec::new(), 0_usize);
        while start < data.len() {
            let mut end = start + CHUNK_BYTES_MIN as usize;
            loop {
                if end >= data.len() {
                    end = data.len();
                    break;
                }
                let digest = data[end - 64..end].iter().fold(0, |digest, byte| rabin.append(digest, *byte));
                if digest & CUT_MASK == 0 || end - start >= CHUNK_BYTES_MAX as usize {
                    break;
                }
                end += 1;
            }
            cuts.push(end as u64);
            start = end;
        }
        cuts
    }

    fn segment_cuts(data: &[u8], segment_bytes: usize, guess: bool) -> Vec<u64> {
        let rabin = Rabin::new(POLYNOMIAL);
        let mut resolver = Resolver::default();
        let mut cuts = Vec::new();
        for start in (0..data.len()).step_by(segment_bytes) {
            let window = start.min(WINDOW_BYTES);
            let end = (start + segment_bytes).min(data.len());
            let bytes = Plain { data: data[start - window..end].to_vec(), window };
            let from = if guess { 0 } else { resolver.chunk_start() + CHUNK_BYTES_MIN };
            let segment = Segment::scan(&rabin, bytes, start as u64, from);
            cuts.extend(resolver.next(&rabin, &segment).into_iter().map(|chunk| chunk.end));
        }
        cuts.extend(resolver.finish(data.len() as u64).map(|chunk| chunk.end));
        cuts
    }

    fn noise(length: usize, mut state: u64) -> Vec<u8> {
        let mut data = Vec::with_capacity(length + 8);
        while data.len() < length {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            data.extend_from_slice(&state.to_le_bytes());
        }
        data.truncate(length);
        data
    }

    #[test]
    fn segments_of_any_size_give_the_cuts_of_the_plain_loop() {
        let mut mixed = noise(5 << 20, 1);
        mixed.extend_from_slice(&vec![0; 9 << 20]);
        mixed.extend_from_slice(&noise(3 << 20, 2));
        for data in
            [noise(6 << 20, 3), mixed, noise(100, 4), noise(512 << 10, 5), vec![7; (8 << 20) + 1], Vec::new()]
        {
            let expected = plain_cuts(&data);
            for (segment_bytes, guess) in
                [(2 << 20, true), (1 << 20, false), (700_001, true), (100_003, true)]
            {
                assert_eq!(segment_cuts(&data, segment_bytes, guess), expected, "{segment_bytes} {guess}");
            }
        }
    }

    #[test]
    fn a_cut_at_a_segment_boundary_is_found_once() {
        let data = noise(4 << 20, 9);
        let expected = plain_cuts(&data);
        let first = expected[0] as usize;
        for segment_bytes in [first - 1, first, first + 1] {
            assert_eq!(segment_cuts(&data, segment_bytes, true), expected);
        }
    }
}
