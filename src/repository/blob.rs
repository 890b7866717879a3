//! Blobs: identified data, sealed for a pack and opened again.
//!
//! ```text
//! plaintext ─ zstd (version 2, when it gets smaller or is a tree) ─ seal ─ open again, compare ─ pack
//! ```
//!
//! Invariant: no sealed blob is stored that does not open, decompress and hash to its id, so a broken memory cell
//! or compressor is an error of this run and not of a restore years later. `Sealer::seal` sees to that; who seals
//! many blobs at once calls `verify` for all of them before the first of them goes anywhere.

use std::ops::Range;

use super::Id;
use super::compression::{BadZstd, Compression, Zstd};
use super::crypto::{Cipher, NONCE_BYTES, SEAL_BYTES};
use crate::error::{Error, ErrorKind, Result};
use crate::random::Random;

/// What a blob is; packs hold one type each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum BlobType {
    /// A chunk of a file.
    Data,
    /// A directory.
    Tree,
}

impl BlobType {
    /// The word in an index.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Tree => "tree",
        }
    }

    /// The type that a word in an index names.
    #[must_use]
    pub fn from_word(word: &[u8]) -> Option<Self> {
        [Self::Data, Self::Tree].into_iter().find(|kind| kind.word().as_bytes() == word)
    }
}

/// A blob's place inside a pack, and its lengths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Where its sealed bytes begin in the pack.
    pub offset: u32,
    /// How many sealed bytes.
    pub length: u32,
    /// The plaintext's length when it is stored compressed.
    pub plain_length: Option<u32>,
}

impl Extent {
    /// The plaintext's length in bytes.
    #[must_use]
    pub fn plain_bytes(self) -> u64 {
        self.plain_length.map_or_else(|| u64::from(self.length).saturating_sub(SEAL_BYTES as u64), u64::from)
    }
}

/// Scratch memory that is kept from blob to blob, in bytes. Most chunks are shorter; what a longer one, or the
/// tree of a huge directory, took goes back at once.
pub const SCRATCH_BYTES_MAX: usize = 2 << 20;

/// Empties a buffer, and gives back what it has beyond `SCRATCH_BYTES_MAX`.
pub fn shrink(buffer: &mut Vec<u8>) {
    buffer.clear();
    buffer.shrink_to(SCRATCH_BYTES_MAX);
}

/// Plaintexts of several blobs, one behind the other, in memory that is kept.
#[derive(Debug, Default)]
pub struct Plains {
    /// Beyond `used` is what others left.
    bytes: Vec<u8>,
    used: usize,
}

impl Plains {
    /// Bytes that are taken.
    #[must_use]
    pub fn used(&self) -> usize {
        self.used
    }

    /// Room for the next plaintext of so many bytes, and where it lies.
    pub fn take(&mut self, bytes: usize) -> (Range<usize>, &mut [u8]) {
        let range = self.used..self.used + bytes;
        self.used = range.end;
        if self.bytes.len() < range.end {
            self.bytes.resize(range.end, 0);
        }
        (range.clone(), self.bytes.get_mut(range).unwrap_or_default())
    }

    /// Unpacks the next plaintext of so many bytes. The first one takes no more memory than it has bytes, whatever
    /// is claimed.
    pub fn unpack(&mut self, zstd: &mut Zstd, packed: &[u8], bytes: usize) -> Result<Range<usize>, BadZstd> {
        if self.used == 0 && self.bytes.len() < bytes {
            zstd.decompress_into(packed, bytes, &mut self.bytes)?;
            self.used = bytes;
            return Ok(0..bytes);
        }
        let (range, room) = self.take(bytes);
        zstd.decompress_to(packed, room)?;
        Ok(range)
    }

    /// What lies there.
    #[must_use]
    pub fn at(&self, range: Range<usize>) -> &[u8] {
        self.bytes.get(range).unwrap_or_default()
    }

    /// Empties it, and gives back what it has beyond `bytes_max`.
    pub fn clear(&mut self, bytes_max: usize) {
        self.used = 0;
        self.bytes.truncate(bytes_max);
        self.bytes.shrink_to(bytes_max);
    }
}

/// A worker's context for sealing: contexts and scratch memory, kept from blob to blob.
#[derive(Debug)]
pub struct Sealer {
    cipher: Cipher,
    zstd: Zstd,
    compress_data: bool,
    compress_trees: bool,
    /// Whether data that does not get smaller is stored as it is.
    raw_when_shorter: bool,
    opened: Vec<u8>,
    /// Blobs that were sealed and opened again, and whose hashes are not compared yet.
    waiting: Vec<(Id, Range<usize>)>,
    /// What they opened to.
    plains: Plains,
}

/// What `Sealer::seal` wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SealedLength {
    /// Sealed bytes.
    pub length: u32,
    /// The plaintext's length when it was compressed.
    pub plain_length: Option<u32>,
}

impl Sealer {
    /// A sealer for a repository of `version` (1 knows no compression).
    pub fn new(cipher: Cipher, version: u32, compression: Compression) -> Result<Self> {
        Ok(Self {
            cipher,
            zstd: Zstd::new(compression)?,
            compress_data: version >= 2 && compression != Compression::Off,
            compress_trees: version >= 2,
            raw_when_shorter: true,
            opened: Vec::new(),
            waiting: Vec::new(),
            plains: Plains::default(),
        })
    }

    /// The same, and in version 2 nothing is stored as it is, whatever it costs: who is asked to leave nothing
    /// uncompressed must come to an end.
    #[must_use]
    pub fn compressing_all(self) -> Self {
        Self { compress_data: self.compress_trees, raw_when_shorter: false, ..self }
    }

    /// Compresses data at this level of the C library from now on; `None`: that of the mode.
    pub fn set_level(&mut self, level: Option<i32>) {
        self.zstd.set_level(level);
    }

    /// The most bytes that `seal` may write for `length` bytes of plaintext.
    #[must_use]
    pub fn bound(length: usize) -> usize {
        Zstd::bound(length).max(length) + SEAL_BYTES
    }

    /// Seals `plain` to the front of `output` (at least `bound` bytes), opens it again and compares.
    pub fn seal(
        &mut self,
        kind: BlobType,
        id: &Id,
        plain: &[u8],
        output: &mut [u8],
        random: &dyn Random,
    ) -> Result<SealedLength> {
        let sealed = self.seal_unverified(kind, id, plain, output, random)?;
        self.verify()?;
        Ok(sealed)
    }

    /// The same, but the hash of what it opens to is compared together with others: by `verify`, or here when no
    /// more may wait.
    pub fn seal_unverified(
        &mut self,
        kind: BlobType,
        id: &Id,
        plain: &[u8],
        output: &mut [u8],
        random: &dyn Random,
    ) -> Result<SealedLength> {
        if self.plains.used() > 0 && self.plains.used() + plain.len() > SCRATCH_BYTES_MAX {
            self.verify()?;
        }
        let too_small = || Error::new(ErrorKind::Other, "no room to seal a blob").at(id.hex());
        let room = output.get_mut(NONCE_BYTES..).ok_or_else(too_small)?;
        let packed = match kind {
            BlobType::Data if self.compress_data => Some(self.zstd.compress_data(plain, room)?),
            BlobType::Tree if self.compress_trees => Some(self.zstd.compress_json(plain, room)?),
            _ => None,
        };
        // A tree is compressed even where that makes it longer: restic repacks raw trees at every prune.
        let may_be_raw = kind == BlobType::Data && self.raw_when_shorter;
        let packed = packed.filter(|length| !may_be_raw || *length < plain.len());
        if packed.is_none() {
            room.get_mut(..plain.len()).ok_or_else(too_small)?.copy_from_slice(plain);
        }
        let length = packed.unwrap_or(plain.len()) + SEAL_BYTES;
        let sealed = output.get_mut(..length).ok_or_else(too_small)?;
        self.cipher.seal_in_place(sealed, random)?;
        let plain_length = packed.map(|_| plain.len() as u32);
        self.open(id, sealed, plain_length, plain.len()).map_err(|cause| broken(id, cause))?;
        Ok(SealedLength { length: length as u32, plain_length })
    }

    fn open(
        &mut self,
        id: &Id,
        sealed: &[u8],
        plain_length: Option<u32>,
        plain_bytes: usize,
    ) -> Result<(), BadBlob> {
        let (range, plain) = self.plains.take(plain_bytes);
        self.waiting.push((*id, range));
        if plain_length.is_none() {
            return Ok(self.cipher.open_to(sealed, plain)?);
        }
        self.cipher.open_into(sealed, &mut self.opened)?;
        self.zstd.decompress_to(&self.opened, plain)?;
        shrink(&mut self.opened);
        Ok(())
    }

    /// What the blobs that were sealed since the last time open to.
    pub fn waiting(&self) -> impl Iterator<Item = &[u8]> {
        self.waiting.iter().map(|(_, range)| self.plains.at(range.clone()))
    }

    /// Compares the hashes of these with their ids.
    pub fn verify(&mut self) -> Result<()> {
        let expected: Vec<Id> = self.waiting.iter().map(|(id, _)| *id).collect();
        let actual = Id::of_expected(&self.waiting().collect::<Vec<_>>(), &expected);
        self.verify_by(&actual)
    }

    /// The same, for hashes of what is `waiting` that were computed together with others.
    pub fn verify_by(&mut self, actual: &[Id]) -> Result<()> {
        let blobs = std::mem::take(&mut self.waiting);
        self.plains.clear(SCRATCH_BYTES_MAX);
        let hashes = actual.iter().copied().chain(std::iter::repeat(Id::default()));
        let wrong = blobs.iter().zip(hashes).find(|((id, _), actual)| id != actual);
        wrong.map_or(Ok(()), |((id, _), actual)| Err(broken(id, BadBlob::OtherHash(actual))))
    }
}

fn broken(id: &Id, cause: BadBlob) -> Error {
    Error::new(ErrorKind::Other, "a blob does not open again after sealing")
        .at(id.hex())
        .because(cause.to_string())
        .then("Nothing of it was stored; check this machine's memory")
}

/// A worker's context for opening blobs.
#[derive(Debug)]
pub struct Opener {
    cipher: Cipher,
    zstd: Zstd,
    opened: Vec<u8>,
}

/// A worker's context for opening many blobs: each where it lies, and unpacked if it is compressed. Whoever uses it
/// compares their hashes, of many together.
#[derive(Debug)]
pub struct InPlace {
    cipher: Cipher,
    zstd: Zstd,
    plains: Plains,
}

/// Where an opened blob's plaintext lies.
#[derive(Debug, Clone)]
pub enum Plain {
    /// At this place of its own sealed bytes.
    InPlace(Range<usize>),
    /// At this place of what was unpacked.
    Unpacked(Range<usize>),
}

/// The same of a blob that was unpacked apart from others.
#[derive(Debug)]
pub enum Apart {
    /// At this place of its own sealed bytes.
    InPlace(Range<usize>),
    /// In a buffer of its own.
    Unpacked(Vec<u8>),
}

impl InPlace {
    /// An opener.
    pub fn new(cipher: Cipher) -> Result<Self> {
        Ok(Self { cipher, zstd: Zstd::new(Compression::Auto)?, plains: Plains::default() })
    }

    /// Opens a sealed blob, and unpacks it behind others; nothing of it changes when it is not authentic.
    pub fn open(&mut self, sealed: &mut [u8], plain_length: Option<u32>) -> Result<Plain, BadBlob> {
        let opened = self.cipher.open_in_place(sealed)?;
        Ok(match plain_length {
            Some(length) => Plain::Unpacked(self.plains.unpack(&mut self.zstd, opened, length as usize)?),
            None => Plain::InPlace(NONCE_BYTES..NONCE_BYTES + opened.len()),
        })
    }

    /// The same, but what is compressed is unpacked into a buffer of its own.
    pub fn open_apart(&mut self, sealed: &mut [u8], plain_length: Option<u32>) -> Result<Apart, BadBlob> {
        let opened = self.cipher.open_in_place(sealed)?;
        let Some(length) = plain_length.map(|length| length as usize) else {
            return Ok(Apart::InPlace(NONCE_BYTES..NONCE_BYTES + opened.len()));
        };
        let mut plain = Vec::new();
        self.zstd.decompress_into(opened, length, &mut plain)?;
        Ok(Apart::Unpacked(plain))
    }

    /// What was unpacked by `open`, of all blobs since the last `clear`.
    #[must_use]
    pub fn plains(&self) -> &Plains {
        &self.plains
    }

    /// Forgets what was unpacked, and gives back what it took beyond `bytes_max`.
    pub fn clear(&mut self, bytes_max: usize) {
        self.plains.clear(bytes_max);
    }
}

/// Why a stored blob is not what its id says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadBlob {
    /// The tag does not match.
    #[error(transparent)]
    NotAuthentic(#[from] super::crypto::NotAuthentic),
    /// It does not decompress.
    #[error(transparent)]
    Zstd(#[from] BadZstd),
    /// It opens to something else.
    #[error("its content has the hash {0}")]
    OtherHash(Id),
}

impl Opener {
    /// An opener.
    pub fn new(cipher: Cipher) -> Result<Self> {
        Ok(Self { cipher, zstd: Zstd::new(Compression::Auto)?, opened: Vec::new() })
    }

    /// Opens a sealed blob into `plain` and compares its hash with `id`.
    pub fn open(
        &mut self,
        id: &Id,
        sealed: &[u8],
        plain_length: Option<u32>,
        plain: &mut Vec<u8>,
    ) -> Result<(), BadBlob> {
        self.open_unverified(sealed, plain_length, plain)?;
        let actual = Id::of(plain);
        if actual == *id { Ok(()) } else { Err(BadBlob::OtherHash(actual)) }
    }

    /// The same without the hash, for whoever compares those of many blobs together.
    pub fn open_unverified(
        &mut self,
        sealed: &[u8],
        plain_length: Option<u32>,
        plain: &mut Vec<u8>,
    ) -> Result<(), BadBlob> {
        match plain_length {
            Some(length) => {
                self.cipher.open_into(sealed, &mut self.opened)?;
                self.zstd.decompress_into(&self.opened, length as usize, plain)?;
                shrink(&mut self.opened);
            }
            None => self.cipher.open_into(sealed, plain)?,
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;
    use crate::random::SystemRandom;
    use crate::repository::crypto::SealKey;

    fn round_trip(kind: BlobType, version: u32, compression: Compression, plain: &[u8]) -> SealedLength {
        let cipher = SealKey::random(&SystemRandom).unwrap().cipher();
        let mut sealer = Sealer::new(cipher.clone(), version, compression).unwrap();
        let mut output = vec![0; Sealer::bound(plain.len())];
        let id = Id::of(plain);
        let sealed = sealer.seal(kind, &id, plain, &mut output, &SystemRandom).unwrap();
        let bytes = &output[..sealed.length as usize];
        let mut opened = Vec::new();
        let mut opener = Opener::new(cipher).unwrap();
        opener.open(&id, bytes, sealed.plain_length, &mut opened).unwrap();
        assert_eq!(opened, plain);
        let other = Id::of(b"other");
        assert!(opener.open(&other, bytes, sealed.plain_length, &mut opened).is_err());
        sealed
    }

    #[test]
    fn compresses_what_gets_smaller_and_trees_always() {
        let zeros = vec![0; 100_000];
        let mut noise = vec![0; 100_000];
        SystemRandom.fill(&mut noise).unwrap();
        assert!(round_trip(BlobType::Data, 2, Compression::Auto, &zeros).length < 1000);
        assert_eq!(round_trip(BlobType::Data, 2, Compression::Auto, &noise).plain_length, None);
        assert_eq!(round_trip(BlobType::Data, 2, Compression::Off, &zeros).plain_length, None);
        assert!(round_trip(BlobType::Tree, 2, Compression::Off, b"{}").plain_length.is_some());
        assert_eq!(round_trip(BlobType::Tree, 1, Compression::Max, &zeros).plain_length, None);
        round_trip(BlobType::Data, 2, Compression::Auto, b"");

        let cipher = SealKey::random(&SystemRandom).unwrap().cipher();
        for (version, is_packed) in [(2, true), (1, false)] {
            let sealer = Sealer::new(cipher.clone(), version, Compression::Off).unwrap();
            let mut output = vec![0; Sealer::bound(noise.len())];
            let sealed = sealer
                .compressing_all()
                .seal(BlobType::Data, &Id::of(&noise), &noise, &mut output, &SystemRandom)
                .unwrap();
            assert_eq!(sealed.plain_length.is_some(), is_packed, "version {version}");
        }
    }

    #[test]
    fn what_a_long_blob_took_is_given_back() {
        let cipher = SealKey::random(&SystemRandom).unwrap().cipher();
        let mut sealer = Sealer::new(cipher, 2, Compression::Auto).unwrap();
        let plain = vec![7; 3 * SCRATCH_BYTES_MAX];
        let mut output = vec![0; Sealer::bound(plain.len())];
        sealer.seal(BlobType::Tree, &Id::of(&plain), &plain, &mut output, &SystemRandom).unwrap();
        assert!(sealer.opened.capacity() <= SCRATCH_BYTES_MAX);
        assert!(sealer.plains.bytes.capacity() <= SCRATCH_BYTES_MAX);
    }

    #[test]
    fn a_sealed_blob_that_does_not_open_is_an_error() {
        let cipher = SealKey::random(&SystemRandom).unwrap().cipher();
        let mut sealer = Sealer::new(cipher, 2, Compression::Auto).unwrap();
        let mut output = vec![0; Sealer::bound(5)];
        let wrong = Id::of(b"something else");
        assert!(sealer.seal(BlobType::Data, &wrong, b"plain", &mut output, &SystemRandom).is_err());
    }

    #[test]
    fn plaintexts_lie_one_behind_the_other() {
        let mut zstd = Zstd::new(Compression::Auto).unwrap();
        let mut packed = vec![0; Sealer::bound(100_000)];
        let length = zstd.compress_data(&vec![7; 100_000], &mut packed).unwrap();
        let mut plains = Plains::default();
        // Nothing is given to a claim.
        assert!(plains.unpack(&mut zstd, &packed[..length], 1 << 30).is_err());
        for kept in [0, 50_000, 1 << 20] {
            plains.clear(kept);
            assert!(plains.bytes.capacity() <= kept.max(1 << 20), "{}", plains.bytes.capacity());
            let first = plains.unpack(&mut zstd, &packed[..length], 100_000).unwrap();
            plains.take(3).1.copy_from_slice(b"abc");
            assert!(plains.unpack(&mut zstd, &packed[..length], 99_999).is_err());
            let last = plains.unpack(&mut zstd, &packed[..length], 100_000).unwrap();
            assert_eq!((first.clone(), last.len()), (0..100_000, 100_000));
            assert!(plains.at(first).iter().chain(plains.at(last)).all(|byte| *byte == 7));
            assert_eq!(plains.at(100_000..100_003), b"abc");
        }
    }

    #[test]
    fn one_wrong_hash_among_many_is_an_error_and_the_next_batch_none() {
        let cipher = SealKey::random(&SystemRandom).unwrap().cipher();
        let mut sealer = Sealer::new(cipher, 2, Compression::Auto).unwrap();
        let mut noise = vec![0; 1 << 20];
        SystemRandom.fill(&mut noise).unwrap();
        let mut output = vec![0; Sealer::bound(noise.len())];
        for wrong in [0, 5, 9] {
            for number in 0..10 {
                let plain = &noise[..(number + 1) * 30_000];
                let id = if number == wrong { Id::of(b"another") } else { Id::of(plain) };
                sealer.seal_unverified(BlobType::Data, &id, plain, &mut output, &SystemRandom).unwrap();
            }
            let error = sealer.verify().unwrap_err();
            assert!(error.to_string().contains(&Id::of(b"another").hex()), "{error}");
            sealer.verify().unwrap();
        }
        // No more than the limit waits: what is wrong shows before all of it is sealed.
        let sealed = (0..10).map(|_| {
            sealer.seal_unverified(BlobType::Data, &Id::of(b"another"), &noise, &mut output, &SystemRandom)
        });
        let sealed: Vec<bool> = sealed.map(|sealed| sealed.is_ok()).collect();
        assert_eq!(sealed, [true, true, false, true, true, false, true, true, false, true]);
    }
}
