//! Packs: files of sealed blobs with a sealed header at their end (restic design, "Pack Format").
//!
//! ```text
//! pack   = blob ‖ … ‖ blob ‖ sealed(header) ‖ length of the sealed header (u32, little endian)
//! header = entry ‖ … ‖ entry
//! entry  = type (u8: 0 data, 1 tree)                     ‖ length (u32 le)                          ‖ id (32)
//!        | type (u8: 2 data, 3 tree; compressed)         ‖ length (u32 le) ‖ plain length (u32 le)  ‖ id (32)
//! ```
//!
//! Blobs stand without gaps in the order of the entries, so offsets are sums of lengths. A pack is built in
//! the buffer that is uploaded: blobs are sealed at its tail, and its hash runs along. On a CPU that hashes many
//! messages side by side it waits for company (`PackBuilder::hash_with`): a lane more costs nothing.

use bytes::Bytes;

use super::Id;
use super::blob::{BlobType, Extent, SealedLength};
use super::crypto::{Cipher, SEAL_BYTES};
use super::sha256::{Together, WrongHash};
use crate::error::{Error, ErrorKind, Result};
use crate::random::Random;

/// The largest header that restic reads, in bytes.
pub const HEADER_BYTES_MAX: usize = 16 << 20;
/// Bytes of the length field at the end.
pub const LENGTH_BYTES: usize = 4;
/// Bytes of an entry without plain length.
pub const ENTRY_RAW_BYTES: usize = 37;
/// Bytes of an entry with plain length.
pub const ENTRY_PACKED_BYTES: usize = 41;

/// One blob of a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackedBlob {
    /// The blob's id.
    pub id: Id,
    /// Its type.
    pub kind: BlobType,
    /// Where it stands.
    pub extent: Extent,
}

/// The size of a pack's file by its blobs: what check and prune compare with the listed size.
#[must_use]
pub fn file_bytes(blobs: &[PackedBlob]) -> u64 {
    blobs.iter().map(|blob| u64::from(blob.extent.length) + entry_bytes(blob) as u64).sum::<u64>()
        + (SEAL_BYTES + LENGTH_BYTES) as u64
}

fn entry_bytes(blob: &PackedBlob) -> usize {
    if blob.extent.plain_length.is_some() { ENTRY_PACKED_BYTES } else { ENTRY_RAW_BYTES }
}

/// Memory that a pack is built in; it goes back to its pool when the uploaded bytes are dropped.
pub trait PackMemory: AsRef<[u8]> + AsMut<[u8]> + Send + Sync + 'static {
    /// Makes it at least `bytes` long; what it holds stays.
    fn grow(&mut self, bytes: usize);
    /// Hands out its first `bytes` bytes for upload, without a copy.
    fn freeze(self, bytes: usize) -> Bytes;
}

impl PackMemory for Vec<u8> {
    fn grow(&mut self, bytes: usize) {
        if self.len() < bytes {
            self.resize(bytes, 0);
        }
    }

    fn freeze(mut self, bytes: usize) -> Bytes {
        self.truncate(bytes);
        Bytes::from(self)
    }
}

/// A pack under construction.
#[derive(Debug)]
pub struct PackBuilder<M> {
    kind: BlobType,
    memory: M,
    used: usize,
    blobs: Vec<PackedBlob>,
    hash: Together,
    hashed: usize,
    header_bytes: usize,
}

/// A pack, ready for upload.
#[derive(Debug, Clone)]
pub struct FinishedPack {
    /// The SHA-256 of its bytes.
    pub id: Id,
    /// The type of its blobs.
    pub kind: BlobType,
    /// The file.
    pub bytes: Bytes,
    /// What it holds.
    pub blobs: Vec<PackedBlob>,
}

impl<M: PackMemory> PackBuilder<M> {
    /// An empty pack for blobs of `kind`.
    pub fn new(kind: BlobType, memory: M) -> Self {
        Self {
            kind,
            memory,
            used: 0,
            blobs: Vec::new(),
            hash: Together::with_others(),
            hashed: 0,
            header_bytes: 0,
        }
    }

    /// Bytes of sealed blobs so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.used
    }

    /// Whether it holds no blob.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.blobs.is_empty()
    }

    /// Bytes of its header so far, before it is sealed.
    #[must_use]
    pub fn header_bytes(&self) -> usize {
        self.header_bytes
    }

    /// The most bytes that its file has without a further blob but with that blob's entry.
    #[must_use]
    pub fn file_bytes_max(&self) -> usize {
        self.used + self.header_bytes + ENTRY_PACKED_BYTES + SEAL_BYTES + LENGTH_BYTES
    }

    /// Whether all of `other` fits, below `pack_bytes` and with a header that can be read.
    pub fn has_room_for(&self, other: &Self, pack_bytes: usize) -> bool {
        self.used + other.used <= pack_bytes
            && self.header_bytes + other.header_bytes + SEAL_BYTES <= HEADER_BYTES_MAX
    }

    /// Lets `write` put a sealed blob to the tail, into at least `room` bytes.
    pub fn append(
        &mut self,
        id: Id,
        room: usize,
        write: impl FnOnce(&mut [u8]) -> Result<SealedLength>,
    ) -> Result<SealedLength> {
        let offset =
            u32::try_from(self.used).map_err(|_| Error::new(ErrorKind::Other, "a pack grew beyond 4 GiB"))?;
        self.memory.grow(self.used + room);
        let tail = self.memory.as_mut().get_mut(self.used..).unwrap_or_default();
        let sealed = write(tail)?;
        self.used += sealed.length as usize;
        if Id::at_once() == 1 {
            self.hash_with(&[]);
        }
        let extent = Extent { offset, length: sealed.length, plain_length: sealed.plain_length };
        let blob = PackedBlob { id, kind: self.kind, extent };
        self.header_bytes += entry_bytes(&blob);
        self.blobs.push(blob);
        Ok(sealed)
    }

    /// Whether its hash has all of it.
    #[must_use]
    pub fn is_hashed(&self) -> bool {
        self.hashed == self.used
    }

    /// Hashes what is not hashed of it, and meanwhile other messages, whose hashes it returns. Who names anything by
    /// one of these confirms them.
    pub fn hash_with(&mut self, others: &[&[u8]]) -> Vec<Id> {
        let part = self.memory.as_ref().get(self.hashed..self.used).unwrap_or_default();
        self.hashed = self.used;
        self.hash.update_with(&[part], others).into_iter().map(Id).collect()
    }

    /// Appends all blobs of another pack as they are; its memory is given back.
    pub fn append_all(&mut self, other: Self) -> Result<()> {
        let bytes = other.memory.as_ref().get(..other.used).unwrap_or_default();
        let mut rest = bytes;
        for blob in &other.blobs {
            let (sealed, after) = rest.split_at_checked(blob.extent.length as usize).unwrap_or_default();
            rest = after;
            let length = SealedLength { length: blob.extent.length, plain_length: blob.extent.plain_length };
            self.append(blob.id, sealed.len(), |tail| {
                if let Some(place) = tail.get_mut(..sealed.len()) {
                    place.copy_from_slice(sealed);
                }
                Ok(length)
            })?;
        }
        Ok(())
    }

    /// Writes the header.
    pub fn finish(mut self, cipher: &Cipher, random: &dyn Random) -> Result<FinishedPack> {
        let header = cipher.seal(&encode_header(&self.blobs), random)?;
        let mut end = header;
        end.extend_from_slice(&(end.len() as u32).to_le_bytes());
        self.memory.grow(self.used + end.len());
        if let Some(place) = self.memory.as_mut().get_mut(self.used..self.used + end.len()) {
            place.copy_from_slice(&end);
        }
        self.used += end.len();
        self.hash_with(&[]);
        let bytes = self.memory.freeze(self.used);
        let ids: Vec<Id> = self.hash.finish().into_iter().map(Id).collect();
        Id::confirm(&[&bytes], &ids)?;
        let id = ids.first().copied().ok_or(WrongHash)?;
        Ok(FinishedPack { id, kind: self.kind, bytes, blobs: self.blobs })
    }
}

fn encode_header(blobs: &[PackedBlob]) -> Vec<u8> {
    let mut header = Vec::with_capacity(blobs.len() * ENTRY_PACKED_BYTES);
    for blob in blobs {
        let kind = match blob.kind {
            BlobType::Data => 0_u8,
            BlobType::Tree => 1,
        };
        header.push(if blob.extent.plain_length.is_some() { kind + 2 } else { kind });
        header.extend_from_slice(&blob.extent.length.to_le_bytes());
        if let Some(plain_length) = blob.extent.plain_length {
            header.extend_from_slice(&plain_length.to_le_bytes());
        }
        header.extend_from_slice(&blob.id.0);
    }
    header
}

/// Why a pack's header cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadHeader {
    /// The file is too short, or its length field says nonsense.
    #[error("its header length is impossible")]
    Length,
    /// The tag does not match.
    #[error("its header: {0}")]
    NotAuthentic(#[from] super::crypto::NotAuthentic),
    /// An entry is cut or of unknown type.
    #[error("its header has a bad entry")]
    Entry,
}

/// The length of the sealed header, from the last bytes of a pack of `file_bytes` bytes.
pub fn header_length(file_bytes: u64, last: &[u8]) -> Result<usize, BadHeader> {
    let field = last.last_chunk::<LENGTH_BYTES>().ok_or(BadHeader::Length)?;
    let length = u32::from_le_bytes(*field) as usize;
    let fits = length as u64 + LENGTH_BYTES as u64 <= file_bytes;
    if fits && length > SEAL_BYTES && length <= HEADER_BYTES_MAX + SEAL_BYTES {
        Ok(length)
    } else {
        Err(BadHeader::Length)
    }
}

/// Opens a sealed header and lists what the pack holds.
pub fn decode_header(sealed: &[u8], cipher: &Cipher) -> Result<Vec<PackedBlob>, BadHeader> {
    let mut header = Vec::new();
    cipher.open_into(sealed, &mut header)?;
    let mut rest = header.as_slice();
    let mut blobs = Vec::new();
    let mut offset = 0_u32;
    while !rest.is_empty() {
        let blob = decode_entry(&mut rest, offset).ok_or(BadHeader::Entry)?;
        offset = offset.checked_add(blob.extent.length).ok_or(BadHeader::Entry)?;
        blobs.push(blob);
    }
    Ok(blobs)
}

fn decode_entry(rest: &mut &[u8], offset: u32) -> Option<PackedBlob> {
    let (&kind, after) = rest.split_first()?;
    let (length, mut after) = after.split_first_chunk::<4>()?;
    let (kind, compressed) = match kind {
        0 => (BlobType::Data, false),
        1 => (BlobType::Tree, false),
        2 => (BlobType::Data, true),
        3 => (BlobType::Tree, true),
        _ => return None,
    };
    let mut plain_length = None;
    if compressed {
        let (field, next) = after.split_first_chunk::<4>()?;
        plain_length = Some(u32::from_le_bytes(*field));
        after = next;
    }
    let (id, after) = after.split_first_chunk::<32>()?;
    *rest = after;
    let extent = Extent { offset, length: u32::from_le_bytes(*length), plain_length };
    Some(PackedBlob { id: Id(*id), kind, extent })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;
    use crate::random::SystemRandom;
    use crate::repository::blob::Sealer;
    use crate::repository::compression::Compression;
    use crate::repository::crypto::SealKey;

    fn add(builder: &mut PackBuilder<Vec<u8>>, sealer: &mut Sealer, plain: &[u8]) {
        let id = Id::of(plain);
        builder
            .append(id, Sealer::bound(plain.len()), |tail| {
                sealer.seal(BlobType::Data, &id, plain, tail, &SystemRandom)
            })
            .unwrap();
    }

    #[test]
    fn header_lists_what_was_appended_and_sizes_add_up() {
        let cipher = SealKey::random(&SystemRandom).unwrap().cipher();
        let mut sealer = Sealer::new(cipher.clone(), 2, Compression::Auto).unwrap();
        let mut first = PackBuilder::new(BlobType::Data, Vec::new());
        let mut second = PackBuilder::new(BlobType::Data, Vec::new());
        add(&mut first, &mut sealer, b"raw");
        add(&mut first, &mut sealer, &[7; 5000]);
        add(&mut second, &mut sealer, b"more");
        first.append_all(second).unwrap();
        let pack = first.finish(&cipher, &SystemRandom).unwrap();
        assert_eq!(pack.id, Id::of(&pack.bytes));
        assert_eq!(file_bytes(&pack.blobs), pack.bytes.len() as u64);
        let length = header_length(pack.bytes.len() as u64, &pack.bytes).unwrap();
        let end = pack.bytes.len() - LENGTH_BYTES;
        assert_eq!(decode_header(&pack.bytes[end - length..end], &cipher).unwrap(), pack.blobs);
        for blob in &pack.blobs {
            let sealed = &pack.bytes[blob.extent.offset as usize..][..blob.extent.length as usize];
            let mut opener = crate::repository::blob::Opener::new(cipher.clone()).unwrap();
            opener.open(&blob.id, sealed, blob.extent.plain_length, &mut Vec::new()).unwrap();
        }
    }

    #[test]
    fn impossible_lengths_are_errors() {
        assert_eq!(header_length(3, &[1, 2, 3]), Err(BadHeader::Length));
        assert_eq!(header_length(100, &[200, 0, 0, 0]), Err(BadHeader::Length));
        assert_eq!(header_length(100, &[32, 0, 0, 0]), Err(BadHeader::Length));
    }
}
