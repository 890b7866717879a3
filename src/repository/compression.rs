//! zstd as the format uses it: no checksum, size announced, one context a worker.
//!
//! Level names are restic's (`RESTIC_COMPRESSION`); the levels behind them are the C library's.

use std::cell::RefCell;

use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe::{CParameter, WriteBuf, compress_bound, get_frame_content_size};

use crate::error::{Error, ErrorKind, Result};

/// How hard to compress (`RESTIC_COMPRESSION`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    /// A good ratio at full speed.
    #[default]
    Auto,
    /// Data blobs are stored as they are; trees and metadata are compressed all the same.
    Off,
    /// The least work.
    Fastest,
    /// A better ratio.
    Better,
    /// The best ratio.
    Max,
}

impl Compression {
    /// The level of the C library. Of those that store no more than restic's `auto` on sources and on programs,
    /// 3 is the quickest, with tables of its own (`AUTO`; see `benches/README.md`).
    #[must_use]
    pub const fn level(self) -> i32 {
        match self {
            Self::Fastest => -1,
            Self::Auto | Self::Off => 3,
            Self::Better => 7,
            Self::Max => 15,
        }
    }
}

/// How a message is compressed: a level of the C library, and what else than that level says (0: as it says).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shape {
    level: i32,
    /// Logarithms of the number of places in the table of long matches, and in that of short ones.
    hash_log: u32,
    chain_log: u32,
    /// The least bytes of a match.
    min_match: u32,
}

impl Shape {
    const fn of_level(level: i32) -> Self {
        Self { level, hash_log: 0, chain_log: 0, min_match: 0 }
    }
}

/// For trees, index files and all other JSON, whatever the mode. Half of such a text are ids, where what a search finds
/// takes more bytes than it saves: a thorough search makes it longer, and a table of a thousand places is best (see
/// `benches/README.md`).
const JSON: Shape = Shape { hash_log: 10, ..Shape::of_level(1) };

/// For data of `auto`, up to so many bytes: tables that stay in a core's own cache, and fewer short matches, store a
/// hundredth more and still less than restic does, in a tenth less time (see `benches/README.md`).
const AUTO: [(usize, Shape); 4] = [
    (4 << 10, Shape::of_level(1)),
    (16 << 10, Shape { min_match: 5, ..OF_AUTO }),
    (128 << 10, Shape { hash_log: 14, chain_log: 13, ..OF_AUTO }),
    (usize::MAX, Shape { hash_log: 16, chain_log: 14, min_match: 5, ..OF_AUTO }),
];
const OF_AUTO: Shape = Shape::of_level(Compression::Auto.level());

/// The largest plaintext that one message may unpack to, in bytes: damage must not take all memory.
pub const PLAIN_BYTES_MAX: usize = 1 << 30;

/// A compression context and a decompression context, kept for the life of a worker.
pub struct Zstd {
    compressor: Compressor<'static>,
    mode: Compression,
    /// For data.
    level: i32,
    /// What the compressor is set to.
    shape: Shape,
    decompressor: Decompressor<'static>,
}

impl std::fmt::Debug for Zstd {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Zstd")
    }
}

impl Zstd {
    /// Contexts for `compression`.
    pub fn new(compression: Compression) -> Result<Self> {
        let level = compression.level();
        let mut compressor = Compressor::new(level).map_err(|cause| cannot_set_up(&cause))?;
        compressor.set_parameter(CParameter::ChecksumFlag(false)).map_err(|cause| cannot_set_up(&cause))?;
        let decompressor = Decompressor::new().map_err(|cause| cannot_set_up(&cause))?;
        Ok(Self { compressor, mode: compression, level, shape: Shape::of_level(level), decompressor })
    }

    /// Compresses data at this level of the C library from now on; `None`: that of the mode.
    pub fn set_level(&mut self, level: Option<i32>) {
        self.level = level.unwrap_or(self.mode.level());
    }

    /// The most bytes that compressing may need for `length` bytes.
    #[must_use]
    pub fn bound(length: usize) -> usize {
        compress_bound(length)
    }

    /// Compresses data into `output`, which must have room for `bound(plain.len())`; returns the length.
    pub fn compress_data(&mut self, plain: &[u8], output: &mut [u8]) -> Result<usize> {
        self.set_shape(self.shape_of_data(plain.len()))?;
        self.compressor.compress_to_buffer(plain, output).map_err(|cause| cannot_compress(&cause))
    }

    /// The same for JSON; what a vector holds is replaced.
    pub fn compress_json(&mut self, json: &[u8], output: &mut (impl WriteBuf + ?Sized)) -> Result<usize> {
        self.set_shape(JSON)?;
        self.compressor.compress_to_buffer(json, output).map_err(|cause| cannot_compress(&cause))
    }

    fn shape_of_data(&self, bytes: usize) -> Shape {
        let of_auto = AUTO.iter().find(|(bytes_max, _)| bytes <= *bytes_max);
        match of_auto.filter(|_| self.level == Compression::Auto.level()) {
            Some((_, shape)) => *shape,
            None => Shape::of_level(self.level),
        }
    }

    fn set_shape(&mut self, shape: Shape) -> Result<()> {
        if shape != self.shape {
            for parameter in [
                CParameter::CompressionLevel(shape.level),
                CParameter::HashLog(shape.hash_log),
                CParameter::ChainLog(shape.chain_log),
                CParameter::MinMatch(shape.min_match),
            ] {
                self.compressor.set_parameter(parameter).map_err(|cause| cannot_set_up(&cause))?;
            }
            self.shape = shape;
        }
        Ok(())
    }

    /// Unpacks exactly `plain_bytes` bytes into `plain`, whose old content is dropped.
    pub fn decompress_into(
        &mut self,
        packed: &[u8],
        plain_bytes: usize,
        plain: &mut Vec<u8>,
    ) -> Result<(), BadZstd> {
        if plain_bytes > PLAIN_BYTES_MAX {
            return Err(BadZstd("it claims to unpack to more than 1 GiB".to_owned()));
        }
        plain.clear();
        plain.reserve_exact(plain_bytes);
        let written = self
            .decompressor
            .decompress_to_buffer(packed, plain)
            .map_err(|cause| BadZstd(cause.to_string()))?;
        if written == plain_bytes {
            Ok(())
        } else {
            Err(BadZstd(format!("it unpacks to {written} bytes instead of {plain_bytes}")))
        }
    }

    /// Unpacks exactly as many bytes as `plain` holds.
    pub fn decompress_to(&mut self, packed: &[u8], plain: &mut [u8]) -> Result<(), BadZstd> {
        let written = self.decompressor.decompress_to_buffer(packed, plain);
        match written.map_err(|cause| BadZstd(cause.to_string()))? {
            written if written == plain.len() => Ok(()),
            written => Err(BadZstd(format!("it unpacks to {written} bytes instead of {}", plain.len()))),
        }
    }

    /// Unpacks a message whose length nobody but itself says, bounded by `PLAIN_BYTES_MAX`. What is written today says
    /// it at its beginning, and is unpacked at once by a context that the thread keeps.
    pub fn decompress_alone(packed: &[u8]) -> Result<Vec<u8>, BadZstd> {
        thread_local! {
            static CONTEXT: RefCell<Decompressor<'static>> = RefCell::default();
        }
        let said = get_frame_content_size(packed).ok().flatten();
        let Some(bytes) = said.filter(|bytes| *bytes <= PLAIN_BYTES_MAX as u64) else {
            return Self::decompress_stream(packed);
        };
        let mut plain = Vec::new();
        let has_room = plain.try_reserve_exact(bytes as usize).is_ok();
        let unpacks = has_room
            && CONTEXT.with_borrow_mut(|context| context.decompress_to_buffer(packed, &mut plain).is_ok());
        // Frames may follow each other, which only a stream unpacks; and it says what is wrong.
        if unpacks { Ok(plain) } else { Self::decompress_stream(packed) }
    }

    fn decompress_stream(packed: &[u8]) -> Result<Vec<u8>, BadZstd> {
        use std::io::Read;
        let mut plain = Vec::new();
        zstd::Decoder::new(packed)
            .and_then(|decoder| decoder.take(PLAIN_BYTES_MAX as u64 + 1).read_to_end(&mut plain))
            .map_err(|cause| BadZstd(cause.to_string()))?;
        if plain.len() > PLAIN_BYTES_MAX {
            return Err(BadZstd("it unpacks to more than 1 GiB".to_owned()));
        }
        Ok(plain)
    }
}

fn cannot_set_up(cause: &std::io::Error) -> Error {
    Error::new(ErrorKind::Other, "cannot set up zstd").because(cause)
}

fn cannot_compress(cause: &std::io::Error) -> Error {
    Error::new(ErrorKind::Other, "zstd cannot compress").because(cause)
}

/// Data that does not decompress.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("it does not decompress: {0}")]
pub struct BadZstd(String);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;
    use crate::repository::Id;

    /// As the C library has it, with its length at its beginning.
    fn at_level_of_auto(plain: &[u8]) -> Vec<u8> {
        zstd::bulk::compress(plain, Compression::Auto.level()).unwrap()
    }

    #[test]
    fn json_with_ids_gets_shorter_than_as_data_and_data_is_not_touched_by_it() {
        let entry = |number: u32| {
            let id = Id::of(&number.to_le_bytes());
            format!(r#"{{"id":"{}","type":"data","offset":{}}},"#, id.hex(), number * u32::from(id.0[0]))
        };
        let json: String = (0..20_000).map(entry).collect();
        let mut zstd = Zstd::new(Compression::Auto).unwrap();
        let mut packed = vec![0; Zstd::bound(json.len())];
        let as_data = zstd.compress_data(json.as_bytes(), &mut packed).unwrap();
        let as_json = zstd.compress_json(json.as_bytes(), &mut packed[..]).unwrap();
        let of_level = at_level_of_auto(json.as_bytes()).len();
        assert!(as_json * 20 < of_level * 19, "{as_json} of {of_level}");
        assert!(as_json < as_data, "{as_json} of {as_data}");
        assert_eq!(Zstd::decompress_alone(&packed[..as_json]).unwrap(), json.as_bytes());
        assert_eq!(zstd.compress_data(json.as_bytes(), &mut packed).unwrap(), as_data);
        zstd.set_level(Some(12));
        assert_ne!(zstd.compress_data(json.as_bytes(), &mut packed).unwrap(), as_data);
        zstd.set_level(None);
        assert_eq!(zstd.compress_data(json.as_bytes(), &mut packed).unwrap(), as_data);
    }

    #[test]
    fn a_message_opens_alone_whether_it_says_its_length_or_not_and_in_several_frames() {
        let plain: Vec<u8> = (0..300_000_u32).flat_map(|n| (n.wrapping_mul(n) / 7).to_le_bytes()).collect();
        let (head, tail) = plain.split_at(100_000);
        let said = at_level_of_auto;
        let unsaid = |bytes: &[u8]| zstd::stream::encode_all(bytes, Compression::Auto.level()).unwrap();
        let opens = |packed: &[u8]| Zstd::decompress_alone(packed).is_ok_and(|opened| opened == plain);
        assert!(get_frame_content_size(&unsaid(&plain)).unwrap().is_none());
        for packed in [
            said(&plain),
            unsaid(&plain),
            [said(head), said(tail)].concat(),
            [said(head), unsaid(tail)].concat(),
            [unsaid(head), said(tail)].concat(),
        ] {
            assert!(opens(&packed));
            for bad in [&packed[..packed.len() - 1], &packed[1..], &[packed.as_slice(), b"more"].concat()] {
                assert!(Zstd::decompress_alone(bad).is_err());
            }
            // The context is the same after all that failed.
            assert!(opens(&packed));
        }
        assert!(Zstd::decompress_alone(&said(&[])).unwrap().is_empty());
    }

    #[test]
    fn data_of_every_length_opens_again_and_takes_little_more_than_at_the_level() {
        let words: Vec<String> =
            (0..3000_u32).map(|n| Id::of(&n.to_le_bytes()).hex()[..5].to_owned()).collect();
        let text: Vec<&str> = (0..200_000_usize).map(|n| words[n * n % words.len()].as_str()).collect();
        let text = text.join(" ");
        let mut zstd = Zstd::new(Compression::Auto).unwrap();
        let mut packed = vec![0; Zstd::bound(text.len())];
        for border in AUTO.iter().map(|(bytes_max, _)| (*bytes_max).min(1 << 20)) {
            for data in [&text.as_bytes()[..border], &text.as_bytes()[..=border]] {
                let length = zstd.compress_data(data, &mut packed).unwrap();
                let mut plain = vec![0; data.len()];
                zstd.decompress_to(&packed[..length], &mut plain).unwrap();
                assert!(plain == data);
                let of_level = at_level_of_auto(data).len();
                assert!(length * 20 <= of_level * 21, "{length} of {of_level} for {}", data.len());
            }
        }
    }
}
