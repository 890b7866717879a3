//! A sealed file: what is in the cache is unreadable without the repository's key, and cannot be changed unseen.
//!
//! ```text
//! file    = mark (16) ‖ salt (32) ‖ bytes of the plaintext (u64, little endian) ‖ segment ‖ …
//! segment = up to 64 KiB of plaintext under AES-256-GCM ‖ tag (16); the nonce is the segment's number
//! key     = BLAKE3 of kind ‖ name ‖ salt ‖ bytes of the plaintext, keyed with the cache's own key
//! ```
//!
//! The salt is new for each file, so no key seals two files and numbers can be nonces. A file of another name,
//! of another repository, cut off or grown has another key or length, and does not open. A range is read
//! without the rest.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;

use aes_gcm::aead::AeadInOut;
use aes_gcm::{Aes256Gcm, KeyInit};

/// The first bytes of a file; another number is another form.
const MARK: &[u8; 16] = b"volmover cache 1";
const HEADER_BYTES: usize = 56;
const SEGMENT_BYTES: usize = 64 << 10;
const TAG_BYTES: usize = 16;

/// Bytes of a file that holds so many bytes of plaintext.
pub(super) fn file_bytes(plain_bytes: u64) -> u64 {
    let segments = plain_bytes.div_ceil(SEGMENT_BYTES as u64).max(1);
    HEADER_BYTES as u64 + plain_bytes + segments * TAG_BYTES as u64
}

/// Writes the whole file of the entry that `label` names.
pub(super) fn write(
    mut file: impl Write,
    cache_key: &[u8; 32],
    label: &str,
    salt: &[u8; 32],
    plain: &[u8],
) -> io::Result<()> {
    let plain_bytes = (plain.len() as u64).to_le_bytes();
    file.write_all(&[MARK.as_slice(), salt, &plain_bytes].concat())?;
    let cipher = cipher(cache_key, label, salt, &plain_bytes);
    let mut sealed = Vec::with_capacity(SEGMENT_BYTES + TAG_BYTES);
    // A tag proves the length of an empty entry as well.
    let segments = plain.chunks(SEGMENT_BYTES).chain(plain.is_empty().then_some(plain));
    for (number, segment) in segments.enumerate() {
        sealed.clear();
        sealed.extend_from_slice(segment);
        let tag = cipher
            .encrypt_inout_detached(&nonce(number as u64).into(), &[], sealed.as_mut_slice().into())
            .map_err(|_| io::Error::other("a segment is too long"))?;
        sealed.extend_from_slice(&tag);
        file.write_all(&sealed)?;
    }
    Ok(())
}

/// An open file of the cache.
pub(super) struct Sealed {
    file: File,
    cipher: Aes256Gcm,
    plain_bytes: u64,
}

impl Sealed {
    /// `None`: it is no file of the entry that `label` names.
    pub(super) fn open(file: File, cache_key: &[u8; 32], label: &str) -> Option<Self> {
        let mut header = [0; HEADER_BYTES];
        file.read_exact_at(&mut header, 0).ok()?;
        let (mark, rest) = header.split_first_chunk::<16>()?;
        let (salt, plain_bytes) = rest.split_first_chunk::<32>()?;
        let length = u64::from_le_bytes(plain_bytes.try_into().ok()?);
        // What is longer than the file, or no length at all, is asked for here: nothing is reserved for it.
        let there = file.metadata().ok()?.len();
        let is_whole = length <= there && file_bytes(length) == there;
        (mark == MARK && is_whole).then(|| Self {
            cipher: cipher(cache_key, label, salt, plain_bytes),
            plain_bytes: length,
            file,
        })
    }

    /// Bytes of its plaintext, as its header says: a range that was read proves it.
    pub(super) fn plain_bytes(&self) -> u64 {
        self.plain_bytes
    }

    /// A part of the plaintext; `None` when it is damaged or shorter.
    pub(super) fn read(&self, offset: u64, length: usize) -> Option<Vec<u8>> {
        let end = offset.checked_add(length as u64).filter(|end| *end <= self.plain_bytes)?;
        let first = offset / SEGMENT_BYTES as u64;
        let last = end.saturating_sub(1).max(offset) / SEGMENT_BYTES as u64;
        let mut plain = Vec::with_capacity(length);
        let mut segment = Vec::with_capacity(SEGMENT_BYTES + TAG_BYTES);
        for number in first..=last {
            let start = number * SEGMENT_BYTES as u64;
            self.open_segment(number, &mut segment)?;
            let from = offset.saturating_sub(start) as usize;
            let to = (end - start).min(segment.len() as u64) as usize;
            plain.extend_from_slice(segment.get(from..to)?);
        }
        Some(plain)
    }

    fn open_segment(&self, number: u64, segment: &mut Vec<u8>) -> Option<()> {
        let start = number * SEGMENT_BYTES as u64;
        let plain_bytes = (self.plain_bytes.checked_sub(start)?).min(SEGMENT_BYTES as u64) as usize;
        segment.clear();
        segment.resize(plain_bytes + TAG_BYTES, 0);
        let place = HEADER_BYTES as u64 + number * (SEGMENT_BYTES + TAG_BYTES) as u64;
        self.file.read_exact_at(segment, place).ok()?;
        let (text, tag) = segment.split_last_chunk_mut::<TAG_BYTES>()?;
        let tag = (*tag).into();
        self.cipher.decrypt_inout_detached(&nonce(number).into(), &[], text.into(), &tag).ok()?;
        segment.truncate(plain_bytes);
        Some(())
    }
}

fn cipher(cache_key: &[u8; 32], label: &str, salt: &[u8], plain_bytes: &[u8]) -> Aes256Gcm {
    // Salt and length have fixed sizes, so no two entries hash the same bytes.
    let mut hasher = blake3::Hasher::new_keyed(cache_key);
    hasher.update(salt).update(plain_bytes).update(label.as_bytes());
    let key: [u8; 32] = hasher.finalize().into();
    Aes256Gcm::new(&key.into())
}

fn nonce(number: u64) -> [u8; 12] {
    let mut nonce = [0; 12];
    let (counter, _) = nonce.split_at_mut(8);
    counter.copy_from_slice(&number.to_le_bytes());
    nonce
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;

    const KEY: [u8; 32] = [7; 32];

    fn sealed(plain: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        write(&mut bytes, &KEY, "index-1", &[3; 32], plain).unwrap();
        assert_eq!(bytes.len() as u64, file_bytes(plain.len() as u64));
        bytes
    }

    fn open(bytes: &[u8], key: &[u8; 32], label: &str) -> Option<Sealed> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        Sealed::open(file, key, label)
    }

    fn plain(bytes: usize) -> Vec<u8> {
        (0..bytes).map(|position| (position * 31 % 251) as u8).collect()
    }

    #[test]
    fn every_range_of_every_length_comes_back() {
        let segment = SEGMENT_BYTES;
        for bytes in [0, 1, segment - 1, segment, segment + 1, 3 * segment, 3 * segment + 5] {
            let plain = plain(bytes);
            let file = open(&sealed(&plain), &KEY, "index-1").unwrap();
            assert_eq!(file.plain_bytes(), bytes as u64);
            assert_eq!(file.read(0, bytes).unwrap(), plain);
            for (offset, length) in
                [(0, 1), (segment - 1, 2), (segment, segment), (bytes.saturating_sub(1), 1)]
            {
                let wanted = plain.get(offset..offset + length);
                assert_eq!(file.read(offset as u64, length).as_deref(), wanted, "{offset} of {bytes}");
            }
            assert_eq!(file.read(bytes as u64, 1), None);
            assert_eq!(file.read(u64::MAX, 2), None);
        }
    }

    #[test]
    fn what_was_changed_cut_or_swapped_does_not_open() {
        let text = plain(SEGMENT_BYTES + 100);
        let good = sealed(&text);
        let reads = |bytes: &[u8], key, label| {
            open(bytes, key, label).and_then(|file| file.read(0, text.len())).is_some()
        };
        assert!(reads(&good, &KEY, "index-1"));
        assert!(!reads(&good, &KEY, "index-2") && !reads(&good, &[8; 32], "index-1"));
        for position in [0, 15, 16, 47, 48, 55, 56, 1000, HEADER_BYTES + SEGMENT_BYTES, good.len() - 1] {
            let mut bad = good.clone();
            bad[position] ^= 1;
            assert!(!reads(&bad, &KEY, "index-1"), "byte {position}");
        }
        for length in [0, 10, 55, 56, 100, good.len() - 1] {
            assert!(!reads(&good[..length], &KEY, "index-1"), "cut at {length}");
        }
        assert!(!reads(&[good.as_slice(), &[0]].concat(), &KEY, "index-1"));
        let mut swapped = good[..HEADER_BYTES].to_vec();
        swapped.extend_from_slice(&good[HEADER_BYTES + SEGMENT_BYTES + TAG_BYTES..]);
        swapped.extend_from_slice(&good[HEADER_BYTES..HEADER_BYTES + SEGMENT_BYTES + TAG_BYTES]);
        assert!(!reads(&swapped, &KEY, "index-1"));
        // A length that nobody has does not reserve memory.
        let mut huge = good;
        huge[48..56].copy_from_slice(&u64::MAX.to_le_bytes());
        assert!(!reads(&huge, &KEY, "index-1"));
    }
}
