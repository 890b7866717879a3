//! The index: which pack holds a blob, and where (restic design, "Indexing").
//!
//! In memory an entry is 48 bytes: id 32, pack number 4, offset 4, length with the type in its top bit 4,
//! plain length 4 (0: stored raw). Entries lie in 256 sorted buckets by the id's first byte, so that
//! building needs no second copy of the whole and a lookup is a search in one bucket, from where an id is to be
//! expected: ten million blobs take 480 MB, and 32 bytes a pack.
//!
//! A pack or an entry that several index files list is kept once. The place of an entry in the order of all
//! is its ordinal: marks of a bit or a byte a blob are arrays by ordinal (`reach.rs`, prune).

use super::Id;
use super::blob::{BlobType, Extent};
use super::json::{DecodeError, Reader};
use super::pack::PackedBlob;

/// By an id's first byte.
const BUCKETS: usize = 256;
/// A thread that sorts has so many entries at least.
const THREAD_ENTRIES_MIN: usize = 50_000;
/// What a bucket has room for beyond its share of what is expected: few have so much more of a million.
const SPARE_SHARE: usize = 32;

/// What one blob costs in memory, in bytes.
pub const ENTRY_BYTES: usize = size_of::<Entry>();

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    id: Id,
    pack: u32,
    offset: u32,
    length_and_kind: u32,
    plain_length: u32,
}

const TREE_BIT: u32 = 1 << 31;

impl Entry {
    fn new(pack: u32, blob: &PackedBlob) -> Self {
        let kind_bit = if blob.kind == BlobType::Tree { TREE_BIT } else { 0 };
        Self {
            id: blob.id,
            pack,
            offset: blob.extent.offset,
            length_and_kind: (blob.extent.length & !TREE_BIT) | kind_bit,
            plain_length: blob.extent.plain_length.unwrap_or(0),
        }
    }

    fn kind(self) -> BlobType {
        if self.length_and_kind & TREE_BIT == 0 { BlobType::Data } else { BlobType::Tree }
    }

    fn listed(self) -> IndexEntry {
        IndexEntry { id: self.id, kind: self.kind(), pack: self.pack, extent: self.extent() }
    }

    fn extent(self) -> Extent {
        Extent {
            offset: self.offset,
            length: self.length_and_kind & !TREE_BIT,
            plain_length: (self.plain_length != 0).then_some(self.plain_length),
        }
    }
}

/// Where a blob is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Location {
    /// The pack.
    pub pack: Id,
    /// The place inside it.
    pub extent: Extent,
}

/// One entry: a blob in one of its places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexEntry {
    /// The blob.
    pub id: Id,
    /// Its type.
    pub kind: BlobType,
    /// The number of its pack, for `Index::pack`.
    pub pack: u32,
    /// The place inside it.
    pub extent: Extent,
}

/// All indexes of a repository.
#[derive(Default)]
pub struct Index {
    packs: Vec<Id>,
    buckets: Vec<Vec<Entry>>,
    /// How many entries lie before each bucket.
    starts: Vec<usize>,
}

impl std::fmt::Debug for Index {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Index({} blobs in {} packs)", self.len(), self.packs.len())
    }
}

impl Index {
    /// How many blobs it lists, duplicates counted.
    #[must_use]
    pub fn len(&self) -> usize {
        self.buckets.iter().map(Vec::len).sum()
    }

    /// Whether it lists nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.buckets.iter().all(Vec::is_empty)
    }

    /// How many packs it names.
    #[must_use]
    pub fn pack_count(&self) -> usize {
        self.packs.len()
    }

    /// The packs; the place of one is its number.
    #[must_use]
    pub fn packs(&self) -> &[Id] {
        &self.packs
    }

    /// The pack of a number.
    #[must_use]
    pub fn pack(&self, number: u32) -> Option<Id> {
        self.packs.get(number as usize).copied()
    }

    /// A blob's first entry and its place among all entries; `None` when it is not stored.
    #[must_use]
    pub fn find(&self, kind: BlobType, id: &Id) -> Option<(usize, IndexEntry)> {
        let (start, bucket) = self.bucket(id);
        let first = first_not_below(bucket, id);
        let mut same = bucket.iter().enumerate().skip(first).take_while(|(_, entry)| entry.id == *id);
        let (place, entry) = same.find(|(_, entry)| entry.kind() == kind)?;
        Some((start + place, entry.listed()))
    }

    /// The place of a blob's first entry among all entries; `None` when it is not stored.
    #[must_use]
    pub fn ordinal(&self, kind: BlobType, id: &Id) -> Option<usize> {
        self.find(kind, id).map(|(ordinal, _)| ordinal)
    }

    /// The entry at a place.
    #[must_use]
    pub fn at(&self, ordinal: usize) -> Option<IndexEntry> {
        let bucket = self.starts.partition_point(|start| *start <= ordinal).checked_sub(1)?;
        let place = ordinal - self.starts.get(bucket)?;
        self.buckets.get(bucket)?.get(place).map(|entry| entry.listed())
    }

    /// All entries, by ordinal: those of one blob are neighbours, its data entries before its tree entries
    /// in no fixed order.
    pub fn iter(&self) -> impl Iterator<Item = IndexEntry> + '_ {
        self.buckets.iter().flatten().map(|entry| entry.listed())
    }

    /// All entries, by pack and place in it. It takes 4 bytes an entry.
    #[must_use]
    pub fn by_pack(&self) -> ByPack<'_> {
        let mut starts = vec![0_u32; self.packs.len() + 1];
        for entry in self.buckets.iter().flatten() {
            if let Some(start) = starts.get_mut(entry.pack as usize + 1) {
                *start += 1;
            }
        }
        let mut sum = 0;
        for start in &mut starts {
            sum += *start;
            *start = sum;
        }
        let mut next = starts.clone();
        let mut order = vec![0_u32; self.len()];
        for (ordinal, entry) in self.buckets.iter().flatten().enumerate() {
            if let Some(place) = next.get_mut(entry.pack as usize) {
                if let Some(slot) = order.get_mut(*place as usize) {
                    *slot = ordinal as u32;
                }
                *place += 1;
            }
        }
        ByPack { index: self, starts, order }
    }

    /// Memory that it takes, in bytes.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        let entries: usize = self.buckets.iter().map(Vec::capacity).sum();
        (entries * ENTRY_BYTES + self.packs.capacity() * size_of::<Id>()) as u64
    }

    /// Where a blob is stored; the first place when there are several.
    #[must_use]
    pub fn lookup(&self, kind: BlobType, id: &Id) -> Option<Location> {
        let (_, entry) = self.find(kind, id)?;
        Some(Location { pack: self.pack(entry.pack)?, extent: entry.extent })
    }

    /// All places where a blob is stored: when one is damaged, another may not be.
    pub fn locations<'a>(&'a self, kind: BlobType, id: &'a Id) -> impl Iterator<Item = Location> + 'a {
        self.entries(id)
            .filter(move |entry| entry.kind() == kind)
            .filter_map(|entry| Some(Location { pack: self.pack(entry.pack)?, extent: entry.extent() }))
    }

    /// Where the blobs of `kind` end in each pack that holds some, in bytes: what may be read of a pack whose
    /// size nobody told.
    #[must_use]
    pub fn pack_ends(&self, kind: BlobType) -> std::collections::HashMap<Id, u64> {
        let mut ends = vec![0_u64; self.packs.len()];
        for entry in self.buckets.iter().flatten().filter(|entry| entry.kind() == kind) {
            let Extent { offset, length, .. } = entry.extent();
            if let Some(end) = ends.get_mut(entry.pack as usize) {
                *end = (*end).max(u64::from(offset) + u64::from(length));
            }
        }
        self.packs.iter().copied().zip(ends).filter(|(_, end)| *end > 0).collect()
    }

    /// Whether a blob is stored.
    #[must_use]
    pub fn contains(&self, kind: BlobType, id: &Id) -> bool {
        self.entries(id).any(|entry| entry.kind() == kind)
    }

    fn bucket(&self, id: &Id) -> (usize, &[Entry]) {
        let [first, ..] = id.0;
        let start = self.starts.get(usize::from(first)).copied().unwrap_or_default();
        (start, self.buckets.get(usize::from(first)).map(Vec::as_slice).unwrap_or_default())
    }

    fn entries<'a>(&'a self, id: &'a Id) -> impl Iterator<Item = Entry> + 'a {
        let (_, bucket) = self.bucket(id);
        bucket.iter().skip(first_not_below(bucket, id)).take_while(move |entry| entry.id == *id).copied()
    }
}

/// The place of the first entry of a bucket that is not below `id`. Ids are hashes: where one is to be expected is
/// known, and the search goes from there, by steps that double and then halve. However they lie, it is found.
fn first_not_below(bucket: &[Entry], id: &Id) -> usize {
    let [_, b1, b2, b3, b4, ..] = id.0;
    let share = u64::from(u32::from_be_bytes([b1, b2, b3, b4]));
    let expected = ((share * bucket.len() as u64) >> 32) as usize;
    let is_below = |place: usize| bucket.get(place).is_some_and(|entry| entry.id < *id);
    let (mut low, mut high, mut step) = (expected, expected, 1);
    if is_below(expected) {
        while is_below(high) {
            (low, high, step) = (high, high + step, step * 2);
        }
    } else {
        while low > 0 && !is_below(low) {
            (low, high, step) = (low.saturating_sub(step), low, step * 2);
        }
    }
    let between = bucket.get(low..high.min(bucket.len())).unwrap_or_default();
    low + between.partition_point(|entry| entry.id < *id)
}

/// The entries of an index in the order of packs and of places in them.
#[derive(Debug)]
pub struct ByPack<'a> {
    index: &'a Index,
    starts: Vec<u32>,
    order: Vec<u32>,
}

impl<'a> ByPack<'a> {
    /// The entries of a pack with their ordinals, by offset.
    #[must_use]
    pub fn entries(&self, pack: u32) -> Vec<(usize, IndexEntry)> {
        let place = |number: usize| self.starts.get(number).map_or(0, |start| *start as usize);
        let ordinals = self.order.get(place(pack as usize)..place(pack as usize + 1)).unwrap_or_default();
        let mut entries: Vec<_> = ordinals
            .iter()
            .filter_map(|ordinal| Some((*ordinal as usize, self.index.at(*ordinal as usize)?)))
            .collect();
        entries.sort_unstable_by_key(|(_, entry)| entry.extent.offset);
        entries
    }

    /// The index.
    #[must_use]
    pub fn index(&self) -> &'a Index {
        self.index
    }
}

/// Collects decoded index files into an `Index`.
#[derive(Debug, Default)]
pub struct IndexBuilder {
    index: Index,
}

impl IndexBuilder {
    /// Takes the packs of one decoded index file.
    pub fn add(&mut self, packs: &[IndexPack]) {
        self.index.buckets.resize_with(BUCKETS, Vec::new);
        for pack in packs {
            let number = self.index.packs.len() as u32;
            self.index.packs.push(pack.id);
            for blob in &pack.blobs {
                let [first, ..] = blob.id.0;
                if let Some(bucket) = self.index.buckets.get_mut(usize::from(first)) {
                    reserve_by_quarter(bucket);
                    bucket.push(Entry::new(number, blob));
                }
            }
        }
    }

    /// Makes room for what will be needed in all, about, in bytes: buckets that grow leave holes behind.
    pub fn expect(&mut self, needed_bytes: u64) {
        let each = needed_bytes as usize / ENTRY_BYTES / BUCKETS;
        for bucket in &mut self.index.buckets {
            bucket.reserve_exact((each + each / SPARE_SHARE).saturating_sub(bucket.len()));
        }
    }

    /// Memory that it needs so far, without spare room, in bytes.
    #[must_use]
    pub fn needed_bytes(&self) -> u64 {
        (self.index.len() * ENTRY_BYTES + self.index.packs.len() * size_of::<Id>()) as u64
    }

    /// Sorts, drops what is listed twice, and gives spare memory back.
    #[must_use]
    pub fn finish(self) -> Index {
        self.finish_with(1)
    }

    /// The same, by up to so many threads, if it is worth one.
    #[must_use]
    pub fn finish_with(mut self, threads: usize) -> Index {
        let numbers = self.join_packs();
        let threads = threads.min(self.index.len() / THREAD_ENTRIES_MIN).max(1);
        std::thread::scope(|scope| {
            let mut parts = self.index.buckets.chunks_mut(BUCKETS.div_ceil(threads));
            let own = parts.next().unwrap_or_default();
            for others in parts {
                scope.spawn(|| sort(others, numbers.as_deref()));
            }
            sort(own, numbers.as_deref());
        });
        let mut start = 0;
        for bucket in &self.index.buckets {
            self.index.starts.push(start);
            start += bucket.len();
        }
        self.index
    }

    /// Gives each pack one number; the new number of each old one, when any was named twice.
    fn join_packs(&mut self) -> Option<Vec<u32>> {
        let mut known = std::collections::HashMap::with_capacity(self.index.packs.len());
        let mut packs = Vec::new();
        let number = |pack: &Id| {
            *known.entry(*pack).or_insert_with(|| {
                packs.push(*pack);
                packs.len() as u32 - 1
            })
        };
        let numbers: Vec<u32> = self.index.packs.iter().map(number).collect();
        let twice = packs.len() < self.index.packs.len();
        self.index.packs = packs;
        twice.then_some(numbers)
    }
}

/// Sorts buckets whose packs have new numbers.
fn sort(buckets: &mut [Vec<Entry>], numbers: Option<&[u32]>) {
    for bucket in buckets {
        if let Some(numbers) = numbers {
            for entry in bucket.iter_mut() {
                entry.pack = numbers.get(entry.pack as usize).copied().unwrap_or(entry.pack);
            }
        }
        bucket.sort_unstable();
        bucket.dedup();
        bucket.shrink_to_fit();
    }
}

/// Doubling would let a large index take twice its size while it loads.
fn reserve_by_quarter(bucket: &mut Vec<Entry>) {
    if bucket.len() == bucket.capacity() {
        bucket.reserve_exact((bucket.len() / 4).max(16));
    }
}

/// A pack as an index file lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexPack {
    /// The pack.
    pub id: Id,
    /// Its blobs.
    pub blobs: Vec<PackedBlob>,
}

/// Reads the JSON of an index file: without values in between, as it names a million blobs as well.
///
/// # Errors
/// With the place of what is not JSON, not an index, or not a blob's place.
pub fn decode(json: &[u8]) -> Result<Vec<IndexPack>, DecodeError> {
    let mut reader = Reader::new(json);
    let mut packs = Vec::new();
    reader.object(|reader, field| match field {
        b"packs" => reader.array(|reader| decode_pack(reader).map(|pack| packs.push(pack))),
        _ => reader.skip(),
    })?;
    reader.finish()?;
    Ok(packs)
}

fn decode_pack(reader: &mut Reader<'_>) -> Result<IndexPack, DecodeError> {
    let (mut id, mut blobs) = (None, Vec::new());
    reader.object(|reader, field| match field {
        b"id" => reader.id().map(|found| id = Some(found)),
        b"blobs" => reader.array(|reader| decode_blob(reader).map(|blob| blobs.push(blob))),
        _ => reader.skip(),
    })?;
    Ok(IndexPack { id: id.ok_or_else(|| reader.error("a pack needs an id"))?, blobs })
}

fn decode_blob(reader: &mut Reader<'_>) -> Result<PackedBlob, DecodeError> {
    let (mut id, mut kind, mut offset, mut length, mut plain_length) = (None, None, None, None, None);
    reader.object(|reader, field| {
        match field {
            b"id" => id = Some(reader.id()?),
            b"type" => {
                let error = reader.error("expected the type data or tree");
                kind = Some(BlobType::from_word(&reader.bytes()?).ok_or(error)?);
            }
            b"offset" => offset = Some(reader.number32()?),
            b"length" => length = Some(reader.number32()?),
            b"uncompressed_length" => plain_length = Some(reader.number32()?),
            _ => reader.skip()?,
        }
        Ok(())
    })?;
    let (Some(id), Some(kind), Some(offset), Some(length)) = (id, kind, offset, length) else {
        return Err(reader.error("a blob needs an id, a type, an offset and a length"));
    };
    if length & TREE_BIT != 0 {
        return Err(reader.error("a blob of 2 GiB or more"));
    }
    let plain_length = plain_length.filter(|length| *length != 0);
    Ok(PackedBlob { id, kind, extent: Extent { offset, length, plain_length } })
}

/// Writes the JSON of an index file: `{"packs":[…]}` and a newline, as restic does.
#[must_use]
pub fn encode(packs: &[IndexPack]) -> Vec<u8> {
    use std::fmt::Write;
    let mut json = String::from("{\"packs\":[");
    for (position, pack) in packs.iter().enumerate() {
        json.push_str(if position == 0 { "{\"id\":\"" } else { ",{\"id\":\"" });
        pack.id.push_hex(&mut json);
        json.push_str("\",\"blobs\":[");
        for (position, blob) in pack.blobs.iter().enumerate() {
            json.push_str(if position == 0 { "{\"id\":\"" } else { ",{\"id\":\"" });
            blob.id.push_hex(&mut json);
            let Extent { offset, length, plain_length } = blob.extent;
            let kind = blob.kind.word();
            let _ = write!(json, "\",\"type\":\"{kind}\",\"offset\":{offset},\"length\":{length}");
            if let Some(plain_length) = plain_length {
                let _ = write!(json, ",\"uncompressed_length\":{plain_length}");
            }
            json.push('}');
        }
        json.push_str("]}");
    }
    json.push_str("]}\n");
    json.into_bytes()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;

    fn blob(number: u32, kind: BlobType) -> PackedBlob {
        let plain_length = (!number.is_multiple_of(3)).then_some(number * 10 + 1);
        let extent = Extent { offset: number * 7, length: number + 33, plain_length };
        PackedBlob { id: Id::of(&number.to_le_bytes()), kind, extent }
    }

    #[test]
    fn finds_every_blob_of_what_it_encoded() {
        let packs: Vec<IndexPack> = (0..5)
            .map(|pack| IndexPack {
                id: Id::of(&[pack]),
                blobs: (0..200).map(|n| blob(u32::from(pack) * 200 + n, BlobType::Data)).collect(),
            })
            .collect();
        let json = encode(&packs);
        assert_eq!(decode(&json).unwrap(), packs);
        let mut builder = IndexBuilder::default();
        builder.add(&packs);
        let index = builder.finish();
        assert_eq!(index.len(), 1000);
        assert!(index.memory_bytes() <= 1000 * 50 + 256 * 16 * 48);
        for pack in &packs {
            for blob in &pack.blobs {
                let location = Location { pack: pack.id, extent: blob.extent };
                assert_eq!(index.lookup(BlobType::Data, &blob.id), Some(location));
                assert!(index.locations(BlobType::Data, &blob.id).eq([location]));
                assert!(!index.contains(BlobType::Tree, &blob.id));
            }
        }
        assert!(!index.contains(BlobType::Data, &Id::default()));
        assert!(index.pack_ends(BlobType::Tree).is_empty());
        assert_eq!(index.pack_ends(BlobType::Data).get(&packs[1].id), Some(&(399 * 7 + 399 + 33)));
    }

    #[test]
    fn what_is_expected_needs_no_more_room_and_what_does_not_come_gives_it_back() {
        let pack = |blobs: std::ops::Range<u32>| IndexPack {
            id: Id::default(),
            blobs: blobs.map(|n| blob(n, BlobType::Data)).collect(),
        };
        let mut builder = IndexBuilder::default();
        builder.add(&[pack(0..100)]);
        builder.expect((ENTRY_BYTES as u64) << 18);
        let room = |builder: &IndexBuilder| -> Vec<usize> {
            builder.index.buckets.iter().map(Vec::capacity).collect()
        };
        let before = room(&builder);
        builder.add(&[pack(100..1 << 18)]);
        let grown = before.iter().zip(room(&builder)).filter(|(before, after)| **before < *after).count();
        assert!(grown < 64, "{grown} of 256");
        let index = builder.finish();
        assert_eq!(index.len(), 1 << 18);
        let mut builder = IndexBuilder::default();
        builder.add(&[pack(0..100)]);
        builder.expect((ENTRY_BYTES as u64) << 18);
        let index = builder.finish();
        assert!(index.len() == 100 && index.memory_bytes() < 101 * 50, "{}", index.memory_bytes());
    }

    #[test]
    fn many_threads_make_the_same_index_as_one() {
        let count = 3 * THREAD_ENTRIES_MIN as u32;
        let pack = |number: u8, blobs: std::ops::Range<u32>| IndexPack {
            id: Id::of(&[number]),
            blobs: blobs.map(|n| blob(n, BlobType::Data)).collect(),
        };
        let packs = [pack(0, 0..count), pack(1, 0..9), pack(0, 5..count), pack(1, 0..5)];
        let index = |threads| {
            let mut builder = IndexBuilder::default();
            for pack in &packs {
                builder.add(std::slice::from_ref(pack));
            }
            builder.finish_with(threads)
        };
        let (one, many) = (index(1), index(7));
        assert_eq!((many.len(), many.pack_count()), (count as usize + 9, 2));
        assert!(one.iter().eq(many.iter()) && one.starts == many.starts && one.packs == many.packs);
    }

    #[test]
    fn every_entry_has_its_place_and_its_pack_and_is_kept_once() {
        let pack = |number: u8, blobs: std::ops::Range<u32>| IndexPack {
            id: Id::of(&[number]),
            blobs: blobs.map(|n| blob(n, if n % 2 == 0 { BlobType::Data } else { BlobType::Tree })).collect(),
        };
        let mut builder = IndexBuilder::default();
        builder.add(&[pack(0, 0..300), pack(1, 200..400)]);
        builder.add(&[pack(1, 350..420), pack(0, 0..300), pack(2, 0..1)]);
        let index = builder.finish();
        assert_eq!((index.pack_count(), index.len()), (3, 300 + 220 + 1));
        for (ordinal, entry) in index.iter().enumerate() {
            assert_eq!(index.at(ordinal), Some(entry));
            let (first, found) = index.find(entry.kind, &entry.id).unwrap();
            assert!(first <= ordinal && index.at(first) == Some(found) && found.id == entry.id);
            let other = if entry.kind == BlobType::Data { BlobType::Tree } else { BlobType::Data };
            assert_eq!(index.ordinal(other, &entry.id), None);
        }
        assert_eq!(index.at(index.len()), None);
        let by_pack = index.by_pack();
        for (number, blobs) in [(0, 0..300), (1, 200..420), (2, 0..1)] {
            assert_eq!(index.pack(number), Some(Id::of(&[number as u8])));
            let entries = by_pack.entries(number);
            assert!(entries.iter().all(|(ordinal, entry)| index.at(*ordinal) == Some(*entry)));
            let found: Vec<Id> = entries.iter().map(|(_, entry)| entry.id).collect();
            assert_eq!(found, blobs.map(|n| blob(n, BlobType::Data).id).collect::<Vec<_>>());
        }
        assert!(by_pack.entries(3).is_empty());
    }

    #[test]
    fn the_first_that_is_not_below_is_found_however_ids_lie() {
        let entry = |id: [u8; 5]| {
            let mut whole = [0; 32];
            whole[..5].copy_from_slice(&id);
            Entry::new(0, &PackedBlob { id: Id(whole), ..blob(0, BlobType::Data) })
        };
        let id = |number: u32, spread: fn(u32) -> u32| {
            let [b1, b2, b3, b4] = spread(number).to_be_bytes();
            [7, b1, b2, b3, b4]
        };
        let spreads: [fn(u32) -> u32; 6] = [
            |number| number.wrapping_mul(0x9e37_79b9),
            |number| number,
            |number| u32::MAX - number,
            |number| number / 9,
            |_| 0x8000_0000,
            |number| if number.is_multiple_of(2) { number } else { u32::MAX - number },
        ];
        for spread in spreads {
            for length in [0, 1, 2, 3, 30, 257] {
                let mut bucket: Vec<Entry> = (0..length).map(|n| entry(id(n * 2, spread))).collect();
                bucket.sort_unstable();
                let wanted = (0..length * 2 + 2).map(|n| id(n, spread));
                for wanted in wanted.chain([[7, 0, 0, 0, 0], [7, 255, 255, 255, 255]]) {
                    let wanted = entry(wanted).id;
                    let plain = bucket.partition_point(|entry| entry.id < wanted);
                    assert_eq!(first_not_below(&bucket, &wanted), plain);
                }
            }
        }
    }

    #[test]
    fn an_entry_takes_48_bytes() {
        assert_eq!(ENTRY_BYTES, 48);
    }

    /// By a library, value by value.
    fn decode_plainly(json: &[u8]) -> Option<Vec<IndexPack>> {
        let file: serde_json::Value = serde_json::from_slice(json).ok()?;
        let id = |value: &serde_json::Value| value["id"].as_str()?.parse::<Id>().ok();
        let number = |value: &serde_json::Value| u32::try_from(value.as_u64()?).ok();
        let blob = |value: &serde_json::Value| {
            let kind = BlobType::from_word(value["type"].as_str()?.as_bytes())?;
            let plain_length = number(&value["uncompressed_length"]).filter(|length| *length != 0);
            let (offset, length) = (number(&value["offset"])?, number(&value["length"])?);
            Some(PackedBlob { id: id(value)?, kind, extent: Extent { offset, length, plain_length } })
        };
        let pack = |value: &serde_json::Value| {
            let blobs = value["blobs"].as_array().into_iter().flatten().map(blob).collect::<Option<_>>()?;
            Some(IndexPack { id: id(value)?, blobs })
        };
        file["packs"].as_array().into_iter().flatten().map(pack).collect()
    }

    #[test]
    fn what_any_writer_wrote_is_read_as_a_library_reads_it() {
        let (pack, data, tree) = (Id::of(b"pack"), Id::of(b"data"), Id::of(b"tree"));
        let other_order = format!(
            r#" {{"supersedes":["{pack}"],"packs": [ {{ "blobs":[
            {{"length":38,"offset":0,"type":"data","uncompressed_length":0,"id":"{data}","later":[1.5,{{}}]}},
            {{"uncompressed_length":70,"id":"{tree}","offset":38,"type":"tree","length":4294,"more":null}} ],
            "id":"{pack}"}},{{"id":"{data}"}},{{"id":"{tree}","blobs":null}}]}} "#
        );
        let encoded = encode(&[
            IndexPack { id: pack, blobs: (0..50).map(|n| blob(n, BlobType::Data)).collect() },
            IndexPack { id: tree, blobs: (50..60).map(|n| blob(n, BlobType::Tree)).collect() },
        ]);
        for json in [other_order.as_bytes(), &encoded, br#"{"packs":null}"#, b"{}"] {
            assert_eq!(decode(json).ok(), decode_plainly(json));
        }
        assert_eq!(decode(other_order.as_bytes()).unwrap().len(), 3);
    }

    #[test]
    fn damaged_json_is_an_error_and_never_panics() {
        let json = encode(&[IndexPack { id: Id::of(b"pack"), blobs: vec![blob(1, BlobType::Data)] }]);
        for cut in 0..json.len() - 2 {
            assert!(decode(&json[..cut]).is_err(), "{cut}");
        }
        for place in 0..json.len() {
            for byte in [0, b'"', b'}', b'9', 0xff] {
                let mut changed = json.clone();
                changed[place] = byte;
                let _ = decode(&changed);
            }
        }
        let blob = |fields: &str| {
            decode(
                format!(r#"{{"packs":[{{"id":"{0}","blobs":[{{"id":"{0}",{fields}}}]}}]}}"#, Id::of(b"x"))
                    .as_bytes(),
            )
        };
        assert!(blob(r#""type":"data","offset":0,"length":33"#).is_ok());
        for bad in [
            r#""type":"door","offset":0,"length":33"#,
            r#""type":"data","offset":-1,"length":33"#,
            r#""type":"data","offset":0,"length":2147483648"#,
            r#""type":"data","offset":0,"length":4294967296"#,
            r#""offset":0,"length":33"#,
            r#""type":"data","length":33"#,
            r#""type":"data","offset":0"#,
        ] {
            assert!(blob(bad).is_err(), "{bad}");
        }
        assert!(decode(br#"{"packs":[{"blobs":[]}]}"#).is_err());
        assert!(decode(br#"{"packs":[{"id":"zz","blobs":[]}]}"#).is_err());
    }
}
