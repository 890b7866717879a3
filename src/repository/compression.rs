//! zstd as the format uses it: no checksum, size announced, one context a worker.
//!
//! Level names are restic's (`RESTIC_COMPRESSION`); the levels behind them are the C library's.

use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe::{CParameter, compress_bound};

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
    /// 3 is the quickest (see `benches/README.md`).
    #[must_use]
    pub fn level(self) -> i32 {
        match self {
            Self::Fastest => -1,
            Self::Auto | Self::Off => 3,
            Self::Better => 7,
            Self::Max => 15,
        }
    }
}

/// The largest plaintext that one message may unpack to, in bytes: damage must not take all memory.
pub const PLAIN_BYTES_MAX: usize = 1 << 30;

/// A compression context and a decompression context, kept for the life of a worker.
pub struct Zstd {
    compressor: Compressor<'static>,
    mode: Compression,
    level: i32,
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
        let failed = |cause| Error::new(ErrorKind::Other, "cannot set up zstd").because(cause);
        let mut compressor = Compressor::new(compression.level()).map_err(failed)?;
        compressor.set_parameter(CParameter::ChecksumFlag(false)).map_err(failed)?;
        let decompressor = Decompressor::new().map_err(failed)?;
        Ok(Self { compressor, mode: compression, level: compression.level(), decompressor })
    }

    /// Compresses at this level of the C library from now on; `None`: that of the mode.
    pub fn set_level(&mut self, level: Option<i32>) -> Result<()> {
        let level = level.unwrap_or(self.mode.level());
        if level != self.level {
            self.compressor
                .set_compression_level(level)
                .map_err(|cause| Error::new(ErrorKind::Other, "cannot set up zstd").because(cause))?;
            self.level = level;
        }
        Ok(())
    }

    /// The most bytes that `compress_into` may need for `length` bytes.
    #[must_use]
    pub fn bound(length: usize) -> usize {
        compress_bound(length)
    }

    /// Compresses into `output`, which must have room for `bound(plain.len())`; returns the length.
    pub fn compress_into(&mut self, plain: &[u8], output: &mut [u8]) -> Result<usize> {
        self.compressor
            .compress_to_buffer(plain, output)
            .map_err(|cause| Error::new(ErrorKind::Other, "zstd cannot compress").because(cause))
    }

    /// Compresses into a new vector.
    pub fn compress(&mut self, plain: &[u8]) -> Result<Vec<u8>> {
        self.compressor
            .compress(plain)
            .map_err(|cause| Error::new(ErrorKind::Other, "zstd cannot compress").because(cause))
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

    /// Unpacks a message of unknown length, streamed, bounded by `PLAIN_BYTES_MAX`.
    pub fn decompress_stream(packed: &[u8]) -> Result<Vec<u8>, BadZstd> {
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

/// Data that does not decompress.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("it does not decompress: {0}")]
pub struct BadZstd(String);
