//! A pack, read from its start to its end in pieces that hold whole blobs.
//!
//! An index may say nonsense about a damaged pack. Blobs that overlap or lie beyond its end, and all that come after
//! a piece that cannot be read, are left over: whoever walks reads each of them alone.

use std::iter::Peekable;
use std::vec::IntoIter;

use bytes::{Bytes, BytesMut};

use crate::backend::{BackendErrorKind, BackendResult, FileType};
use crate::error::{Error, Result};
use crate::repository::id::Hasher;
use crate::repository::index::IndexEntry;
use crate::repository::pack::{LENGTH_BYTES, PackedBlob, decode_header, header_length};
use crate::repository::{Id, Repository};

/// What stands behind the last blob is read with it up to so many bytes.
const END_BYTES_MAX: u64 = 1 << 20;
/// Parts that are read for a hash alone, in bytes.
const PART_BYTES: u64 = 4 << 20;

/// A blob of a pack, with its ordinal in the index.
pub(super) type Listed = (usize, IndexEntry);

/// A pack on its way.
pub(super) struct Walk<'a> {
    repository: &'a Repository,
    pub(super) pack: Id,
    bytes: u64,
    piece_bytes: u64,
    ahead: Peekable<IntoIter<Listed>>,
    piece: BytesMut,
    start: u64,
    end: u64,
    /// The blobs of the piece.
    pub(super) blobs: Vec<Listed>,
    /// Blobs that no piece holds.
    pub(super) left_over: Vec<Listed>,
    /// Why the pack could not be read to its end.
    pub(super) broken: Option<String>,
    header: Option<Result<Vec<PackedBlob>, String>>,
}

impl<'a> Walk<'a> {
    /// A pack of `bytes` bytes of which nothing is read yet; `blobs` are in the order of their places. A piece ends
    /// with the blob that brings it to `piece_bytes`.
    pub(super) fn new(
        repository: &'a Repository,
        pack: Id,
        bytes: u64,
        blobs: Vec<Listed>,
        piece_bytes: u64,
    ) -> Self {
        Self {
            repository,
            pack,
            bytes,
            piece_bytes,
            ahead: blobs.into_iter().peekable(),
            piece: BytesMut::new(),
            start: 0,
            end: 0,
            blobs: Vec::new(),
            left_over: Vec::new(),
            broken: None,
            header: None,
        }
    }

    /// Reads the next piece; whether there was one. What cannot be read breaks the walk, a store out of reach is an
    /// error.
    pub(super) fn advance(&mut self) -> Result<bool> {
        self.blobs.clear();
        self.piece.clear();
        self.start = self.end;
        if self.broken.is_some() || self.start >= self.bytes {
            self.left_over.extend(&mut self.ahead);
            return Ok(false);
        }
        self.choose();
        let is_whole = self.start == 0 && self.end == self.bytes;
        let read = if is_whole {
            let read = self.repository.backend().read(FileType::Pack, &self.pack.hex());
            fault_or_end(read)?
        } else {
            self.part(self.start, (self.end - self.start) as usize)?
        };
        match read {
            Ok(piece) => {
                self.piece = piece.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&*shared));
                if is_whole {
                    self.bytes = self.piece.len() as u64;
                    self.end = self.bytes;
                }
                if self.end == self.bytes {
                    self.header = self.header_in_piece();
                }
                Ok(true)
            }
            Err(cause) => {
                self.broken = Some(cause);
                self.end = self.start;
                self.left_over.append(&mut self.blobs);
                self.left_over.extend(&mut self.ahead);
                Ok(false)
            }
        }
    }

    /// Where the next piece ends, and which blobs it holds.
    fn choose(&mut self) {
        while self.end - self.start < self.piece_bytes {
            let Some((ordinal, entry)) = self.ahead.peek().copied() else {
                let rest = self.bytes - self.end;
                let room = END_BYTES_MAX.max(self.piece_bytes.saturating_sub(self.end - self.start));
                if rest <= room || self.end == self.start {
                    self.end += rest.min(room);
                }
                return;
            };
            let offset = u64::from(entry.extent.offset);
            let blob_end = offset + u64::from(entry.extent.length);
            if offset < self.end || blob_end > self.bytes {
                self.left_over.push((ordinal, entry));
            } else if offset - self.end > self.piece_bytes {
                // A gap: nothing of it is known but that the hash counts it.
                self.end += self.piece_bytes;
                return;
            } else {
                self.blobs.push((ordinal, entry));
                self.end = blob_end;
            }
            self.ahead.next();
        }
    }

    /// The piece, for the hash of all.
    pub(super) fn piece(&self) -> &[u8] {
        &self.piece
    }

    /// Bytes that no piece held.
    pub(super) fn unread(&self) -> u64 {
        self.bytes - self.end
    }

    /// The sealed bytes of a blob of the piece, unless the pack turned out to be shorter.
    pub(super) fn sealed(&mut self, blob: &IndexEntry) -> Option<&mut [u8]> {
        let start = (u64::from(blob.extent.offset).checked_sub(self.start)?) as usize;
        self.piece.get_mut(start..start + blob.extent.length as usize)
    }

    /// Bytes that lie at a place of a blob of the piece.
    pub(super) fn at(&self, blob: &IndexEntry, place: std::ops::Range<usize>) -> &[u8] {
        let start = u64::from(blob.extent.offset).saturating_sub(self.start) as usize;
        self.piece.get(start + place.start..start + place.end).unwrap_or_default()
    }

    /// What the pack's header lists.
    pub(super) fn header(&mut self) -> Result<Result<Vec<PackedBlob>, String>> {
        if let Some(header) = self.header.take() {
            return Ok(header);
        }
        let Some(end) = self.bytes.checked_sub(LENGTH_BYTES as u64) else {
            return Ok(Err("it is too short for a header".to_owned()));
        };
        let last = match self.part(end, LENGTH_BYTES)? {
            Ok(last) => last,
            Err(cause) => return Ok(Err(cause)),
        };
        let length = match header_length(self.bytes, &last) {
            Ok(length) => length,
            Err(cause) => return Ok(Err(cause.to_string())),
        };
        let sealed = self.part(end.saturating_sub(length as u64), length)?;
        Ok(sealed.and_then(|sealed| self.decode(&sealed)))
    }

    /// The same, if the piece has all of it.
    fn header_in_piece(&self) -> Option<Result<Vec<PackedBlob>, String>> {
        let (rest, last) = self.piece.split_at_checked(self.piece.len().checked_sub(LENGTH_BYTES)?)?;
        match header_length(self.bytes, last) {
            Ok(length) => Some(self.decode(rest.get(rest.len().checked_sub(length)?..)?)),
            Err(cause) => Some(Err(cause.to_string())),
        }
    }

    fn decode(&self, sealed: &[u8]) -> Result<Vec<PackedBlob>, String> {
        decode_header(sealed, self.repository.cipher()).map_err(|cause| cause.to_string())
    }

    /// The hash of the pack, read again.
    pub(super) fn hash(&self) -> Result<Result<Id, String>> {
        let mut hasher = Hasher::default();
        let mut offset = 0;
        while offset < self.bytes {
            let length = (self.bytes - offset).min(PART_BYTES);
            match self.part(offset, length as usize)? {
                Ok(part) => hasher.update(&part),
                Err(cause) => return Ok(Err(cause)),
            }
            offset += length;
        }
        Ok(Ok(hasher.finish()))
    }

    /// Bytes of the pack; what cannot be read is a fault of the pack.
    pub(super) fn part(&self, offset: u64, length: usize) -> Result<Result<Bytes, String>> {
        let end = offset.saturating_add(length as u64);
        if end > self.bytes {
            return Ok(Err(format!("it ends at {end} and the pack at {}", self.bytes)));
        }
        let name = self.pack.hex();
        fault_or_end(self.repository.backend().read_range(FileType::Pack, &name, offset, length))
    }
}

fn fault_or_end(read: BackendResult<Bytes>) -> Result<Result<Bytes, String>> {
    match read {
        Ok(bytes) => Ok(Ok(bytes)),
        Err(error) => match error.kind {
            BackendErrorKind::Unreachable | BackendErrorKind::Throttled | BackendErrorKind::Denied => {
                Err(error.into())
            }
            _ => Ok(Err(Error::from(error).to_string())),
        },
    }
}
