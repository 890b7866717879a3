//! Holes: long runs of zeros that a sparse restore leaves out of new files.
//!
//! Pure: what is data and what is a hole, and nothing about files.

use crate::repository::Id;

/// Zeros from this many bytes on become a hole, and at which boundaries a hole begins and ends.
pub(super) const HOLE_BYTES: usize = 64 << 10;
const PAGE_BYTES: usize = 4 << 10;
/// The chunk that long runs of zeros are cut into, and its SHA-256.
const ZEROS_BYTES: u64 = 8 << 20;
const ZEROS: Id = Id([
    0x2d, 0xae, 0xb1, 0xf3, 0x60, 0x95, 0xb4, 0x4b, 0x31, 0x84, 0x10, 0xb3, 0xf4, 0xe8, 0xb5, 0xd9, 0x89,
    0xdc, 0xc7, 0xbb, 0x02, 0x3d, 0x14, 0x26, 0xc4, 0x92, 0xda, 0xb0, 0xa3, 0x05, 0x3e, 0x74,
]);

/// Whether a blob is known to be nothing but zeros, so that a sparse restore needs neither room nor data for it.
pub(super) fn is_hole(plain_bytes: u64, id: impl FnOnce() -> Id) -> bool {
    plain_bytes == ZEROS_BYTES && id() == ZEROS
}

/// The parts of `plain`, which stands at `position` of a file, that are no holes: what is left when runs of
/// `HOLE_BYTES` zeros and more are taken out, cut at pages of the file.
pub(super) fn data_runs(plain: &[u8], position: u64) -> Vec<(usize, usize)> {
    let mut runs = Vec::new();
    let mut data_start = 0;
    let mut zeros_start = None;
    let mut at = 0;
    let first = PAGE_BYTES - (position % PAGE_BYTES as u64) as usize;
    let mut length = first;
    while at < plain.len() {
        let page = plain.get(at..plain.len().min(at + length)).unwrap_or_default();
        let is_zero = is_zero(page);
        match (is_zero, zeros_start) {
            (true, None) => zeros_start = Some(at),
            (false, Some(start)) => {
                if at - start >= HOLE_BYTES {
                    runs.push((data_start, start));
                    data_start = at;
                }
                zeros_start = None;
            }
            _ => {}
        }
        at += page.len();
        length = PAGE_BYTES;
    }
    let end = zeros_start.filter(|start| at - start >= HOLE_BYTES).unwrap_or(at);
    runs.push((data_start, end));
    runs.retain(|(start, end)| start < end);
    runs
}

fn is_zero(page: &[u8]) -> bool {
    const ZERO: [u8; PAGE_BYTES] = [0; PAGE_BYTES];
    page.first() == Some(&0) && ZERO.get(..page.len()) == Some(page)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;

    #[test]
    fn the_known_hole_is_8_mib_of_zeros() {
        assert!(is_hole(8 << 20, || Id::of(&vec![0; 8 << 20])));
        assert!(!is_hole(8 << 20, || Id::of(b"")));
    }

    #[test]
    fn long_runs_of_zeros_are_left_out_and_the_rest_is_kept() {
        let filled = |runs: &[(usize, usize)], length: usize| {
            let mut plain = vec![0; length];
            for (start, end) in runs {
                plain[*start..*end].fill(1);
            }
            plain
        };
        for (ones, length, position) in [
            (vec![(0, 100)], 300_000, 0),
            (vec![(200_000, 200_001)], 300_000, 0),
            (vec![(0, 5000), (150_000, 299_999)], 300_000, 77),
            (vec![], 300_000, 0),
            (vec![(0, 300_000)], 300_000, 4095),
            (vec![(0, 10), (50_000, 50_010)], 60_000, 0),
        ] {
            let plain = filled(&ones, length);
            let runs = data_runs(&plain, position);
            let mut kept = vec![0; length];
            for (start, end) in &runs {
                assert!(start < end);
                kept[*start..*end].copy_from_slice(&plain[*start..*end]);
            }
            assert!(kept == plain, "content is lost: {ones:?}");
            let written: usize = runs.iter().map(|(start, end)| end - start).sum();
            let ones: usize = ones.iter().map(|(start, end)| end - start).sum();
            assert!(written <= ones + 4 * 64 * 1024 + 8192, "{written} bytes written");
        }
        assert_eq!(data_runs(&filled(&[], 300_000), 1), []);
        assert_eq!(data_runs(b"", 0), []);
    }
}
