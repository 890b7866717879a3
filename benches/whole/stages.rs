//! The stages of the pipelines and nothing else: what no tool can be much faster than.
//!
//! A process of its own, so that the bench stays small: the key, then volmover's own stages on all processors at
//! once. One thread lists, one thread a processor takes what is listed, some MiB at a time, and does all stages of it
//! one after the other; only the list and the set of known ids are shared. There are no trees, no metadata, no index.
//!
//! ```text
//! backup    read → cut → hash → compress, encrypt, open again → pack, hash the pack → write
//! check     read a pack → hash it → open, decompress → hash
//! verify    read a pack → open, decompress → hash
//! restore   the same → write every blob into a file of its own
//! refill    read the files that stand → hash; then as a restore, as many bytes as are missing
//! ```

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded};
use volmover::backup::chunk::{CHUNK_BYTES_MIN, Rabin, Resolver, Segment, SegmentBytes};
use volmover::random::SystemRandom;
use volmover::repository::Id;
use volmover::repository::blob::{BlobType, Plains, Sealer};
use volmover::repository::compression::{Compression, Zstd};
use volmover::repository::crypto::{Cipher, NONCE_BYTES, SealKey};
use volmover::repository::pack::{LENGTH_BYTES, PackBuilder, PackedBlob, decode_header, header_length};
use volmover::repository::polynomial::Polynomial;
use volmover::repository::scrypt::{ScryptCost, derive};

use super::Outcome;
use super::settings::Settings;

/// The argument that makes the bench's program do the stages and nothing else.
const ARGUMENT: &str = "--stages";
const PACK_BYTES: usize = 16 << 20;
/// A longer file is taken in pieces.
const PIECE_BYTES: u64 = 8 << 20;

/// So much is verified together with its pack's hash.
const SETTLED_BYTES: usize = 1 << 20;

/// Whose stages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Work {
    /// The key alone.
    Key,
    Backup,
    Check,
    Verify,
    Restore,
    Refill,
}

impl Work {
    const ALL: [Self; 6] = [Self::Key, Self::Backup, Self::Check, Self::Verify, Self::Restore, Self::Refill];

    fn word(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Backup => "backup",
            Self::Check => "check",
            Self::Verify => "verify",
            Self::Restore => "restore",
            Self::Refill => "refill",
        }
    }

    /// Whether it writes what it reads from packs.
    fn restores(self) -> bool {
        matches!(self, Self::Restore | Self::Refill)
    }

    /// A process that does these stages. A backup reads a source and writes packs, the others read them; where
    /// nothing is written `to` is not touched. A last argument, if there is one, is how many bytes are restored.
    pub(super) fn command(self, from: &Path, to: &Path) -> Outcome<Command> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args([ARGUMENT, self.word()]).args([from, to]);
        Ok(command)
    }
}

/// Does the stages when that is what this process was started for.
pub(super) fn is_stages() -> Outcome<bool> {
    let mut arguments = std::env::args().skip_while(|argument| argument != ARGUMENT).skip(1);
    let Some(word) = arguments.next() else { return Ok(false) };
    let work = Work::ALL.into_iter().find(|work| work.word() == word).ok_or("no such stages")?;
    let (Some(from), Some(to)) = (arguments.next(), arguments.next()) else {
        return Err("a source and a target".into());
    };
    let missing_bytes = arguments.next().map_or(Ok(u64::MAX), |bytes| bytes.parse())?;
    let processors = thread::available_parallelism()?.get();
    let cost = if Settings::from_environment()?.cheap_keys { ScryptCost::CHEAP } else { ScryptCost::RESTIC };
    let mut key = [0; 64];
    derive(b"password", &[1; 64], cost, processors, &mut key)?;
    let cipher = SealKey::from_bytes(&key).cipher();
    let (from, to) = (Path::new(&from), Path::new(&to));
    match work {
        Work::Key => {}
        Work::Backup => back_up(from, to, &cipher, processors)?,
        Work::Check | Work::Verify | Work::Restore | Work::Refill => {
            if work == Work::Refill {
                compare(to, processors)?;
            }
            read_packs(work, from, to, &cipher, processors, missing_bytes)?;
        }
    }
    Ok(true)
}

/// Plaintext that is hashed together: what fills the lanes of a wide CPU, or stays in the cache where there are none.
fn batch_bytes() -> usize {
    if Id::at_once() > 1 { 16 << 20 } else { 1 << 20 }
}

/// One thread a processor works on what `list` sends.
fn on_all<T: Send>(
    processors: usize,
    list: impl FnOnce(&Sender<T>) -> Outcome<()>,
    work: impl Fn(&Receiver<T>) -> Outcome<()> + Sync,
) -> Outcome<()> {
    let (sender, receiver) = bounded(2 * processors);
    thread::scope(|scope| {
        let work = &work;
        let start = |_| {
            let receiver = receiver.clone();
            scope.spawn(move || work(&receiver).map_err(|error| error.to_string()))
        };
        let workers: Vec<_> = (0..processors).map(start).collect();
        drop(receiver);
        let listed = list(&sender);
        drop(sender);
        for worker in workers {
            worker.join().map_err(|_| "a thread of the stages ended early")??;
        }
        listed
    })
}

/// A part of a file, or all of a short one.
struct Piece {
    path: PathBuf,
    offset: u64,
    bytes: u64,
}

fn back_up(source: &Path, target: &Path, cipher: &Cipher, processors: usize) -> Outcome<()> {
    let rabin = Rabin::new(Polynomial::random(&SystemRandom)?);
    let known = Mutex::new(HashSet::new());
    let list = |sender: &Sender<Vec<Piece>>| List::send_all(source, sender);
    on_all(processors, list, |batches| {
        let mut packer = Packer {
            target,
            rabin: &rabin,
            known: &known,
            cipher,
            sealer: Sealer::new(cipher.clone(), 2, Compression::Auto)?,
            unsettled: 0,
            pack: PackBuilder::new(BlobType::Data, Vec::new()),
        };
        let mut bytes = Vec::new();
        batches.iter().try_for_each(|batch| packer.batch(&batch, &mut bytes))?;
        if packer.pack.is_empty() { Ok(()) } else { packer.write_pack() }
    })
}

/// What is listed, in batches of about `batch_bytes`.
struct List<'a> {
    batch: Vec<Piece>,
    batch_bytes: u64,
    sender: &'a Sender<Vec<Piece>>,
}

impl<'a> List<'a> {
    fn send_all(folder: &Path, sender: &'a Sender<Vec<Piece>>) -> Outcome<()> {
        let mut list = Self { batch: Vec::new(), batch_bytes: 0, sender };
        list.folder(folder)?;
        Ok(sender.send(list.batch)?)
    }

    fn folder(&mut self, folder: &Path) -> Outcome<()> {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let status = entry.metadata()?;
            if status.is_dir() {
                self.folder(&entry.path())?;
            } else if status.is_file() {
                self.file(&entry.path(), status.len())?;
            }
        }
        Ok(())
    }

    fn file(&mut self, path: &Path, file_bytes: u64) -> Outcome<()> {
        for offset in (0..file_bytes).step_by(PIECE_BYTES as usize) {
            let bytes = PIECE_BYTES.min(file_bytes - offset);
            self.batch.push(Piece { path: path.to_owned(), offset, bytes });
            self.batch_bytes += bytes;
            if self.batch_bytes >= batch_bytes() as u64 {
                self.sender.send(std::mem::take(&mut self.batch))?;
                self.batch_bytes = 0;
            }
        }
        Ok(())
    }
}

/// A piece of a file as one segment.
struct Whole<'a>(&'a [u8]);

impl SegmentBytes for Whole<'_> {
    fn with_window(&self) -> &[u8] {
        self.0
    }

    fn window_bytes(&self) -> usize {
        0
    }
}

/// A thread that makes packs.
struct Packer<'a> {
    target: &'a Path,
    rabin: &'a Rabin,
    known: &'a Mutex<HashSet<Id>>,
    cipher: &'a Cipher,
    sealer: Sealer,
    /// Bytes that are not verified yet.
    unsettled: usize,
    pack: PackBuilder<Vec<u8>>,
}

impl Packer<'_> {
    fn batch(&mut self, pieces: &[Piece], bytes: &mut Vec<u8>) -> Outcome<()> {
        let mut chunks: Vec<Range<usize>> = Vec::new();
        for piece in read_pieces(pieces, bytes)? {
            if piece.len() < CHUNK_BYTES_MIN as usize {
                chunks.push(piece);
            } else {
                chunks.extend(self.cut(bytes.get(piece.clone()).unwrap_or_default(), piece.start));
            }
        }
        let contents: Vec<&[u8]> =
            chunks.into_iter().map(|chunk| bytes.get(chunk).unwrap_or_default()).collect();
        let ids = Id::of_many(&contents)?;
        for (id, content) in ids.into_iter().zip(contents) {
            let is_new = self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(id);
            if is_new {
                self.store(id, content)?;
            }
        }
        self.settle()
    }

    /// Verifies what was sealed, and hashes it for its pack.
    fn settle(&mut self) -> Outcome<()> {
        let waiting: Vec<&[u8]> = self.sealer.waiting().collect();
        let hashes = self.pack.hash_with(&waiting);
        self.unsettled = 0;
        Ok(self.sealer.verify_by(&hashes)?)
    }

    /// The chunks of a piece that lies at `place` of the buffer.
    fn cut(&self, piece: &[u8], place: usize) -> Vec<Range<usize>> {
        let segment = Segment::scan(self.rabin, Whole(piece), 0, 0);
        let mut resolver = Resolver::default();
        let mut chunks = resolver.next(self.rabin, &segment);
        chunks.extend(resolver.finish(piece.len() as u64));
        chunks.into_iter().map(|chunk| place + chunk.start as usize..place + chunk.end as usize).collect()
    }

    fn store(&mut self, id: Id, plain: &[u8]) -> Outcome<()> {
        let sealer = &mut self.sealer;
        let seal = |tail: &mut [u8]| sealer.seal_unverified(BlobType::Data, &id, plain, tail, &SystemRandom);
        self.pack.append(id, Sealer::bound(plain.len()), seal)?;
        self.unsettled += plain.len();
        if self.unsettled >= SETTLED_BYTES {
            self.settle()?;
        }
        if self.pack.len() >= PACK_BYTES { self.write_pack() } else { Ok(()) }
    }

    fn write_pack(&mut self) -> Outcome<()> {
        self.settle()?;
        let full = std::mem::replace(&mut self.pack, PackBuilder::new(BlobType::Data, Vec::new()));
        let pack = full.finish(self.cipher, &SystemRandom)?;
        fs::write(self.target.join(pack.id.hex()), &pack.bytes)?;
        // Its memory is the next one's.
        self.pack = PackBuilder::new(BlobType::Data, Vec::from(pack.bytes));
        Ok(())
    }
}

/// Reads and hashes all files of a folder.
fn compare(folder: &Path, processors: usize) -> Outcome<()> {
    let list = |sender: &Sender<Vec<Piece>>| List::send_all(folder, sender);
    on_all(processors, list, |batches| {
        let mut bytes = Vec::new();
        batches.iter().try_for_each(|batch| {
            let pieces = read_pieces(&batch, &mut bytes)?;
            let contents: Vec<&[u8]> =
                pieces.into_iter().map(|piece| bytes.get(piece).unwrap_or_default()).collect();
            Id::of_many(&contents)?;
            Ok(())
        })
    })
}

/// The content of pieces, one behind the other, and where each lies.
fn read_pieces(pieces: &[Piece], bytes: &mut Vec<u8>) -> Outcome<Vec<Range<usize>>> {
    bytes.clear();
    let mut places = Vec::new();
    for piece in pieces {
        let mut file = File::open(&piece.path)?;
        if piece.offset > 0 {
            file.seek(SeekFrom::Start(piece.offset))?;
        }
        let start = bytes.len();
        file.take(piece.bytes).read_to_end(bytes)?;
        places.push(start..bytes.len());
    }
    Ok(places)
}

fn read_packs(
    work: Work,
    packs: &Path,
    target: &Path,
    cipher: &Cipher,
    processors: usize,
    missing_bytes: u64,
) -> Outcome<()> {
    let missing = AtomicU64::new(missing_bytes);
    if work.restores() {
        (0..=255_u8).try_for_each(|number| fs::create_dir_all(target.join(format!("{number:02x}"))))?;
    }
    let list = |sender: &Sender<PathBuf>| {
        for entry in fs::read_dir(packs)? {
            sender.send(entry?.path())?;
        }
        Ok(())
    };
    on_all(processors, list, |paths| {
        let zstd = Zstd::new(Compression::Auto)?;
        let mut reader = Reader { work, target, cipher, zstd, plains: Plains::default(), missing: &missing };
        let mut bytes = Vec::new();
        paths.iter().try_for_each(|path| reader.pack(&path, &mut bytes))
    })
}

/// A thread that opens packs.
struct Reader<'a> {
    work: Work,
    target: &'a Path,
    cipher: &'a Cipher,
    zstd: Zstd,
    plains: Plains,
    /// Bytes that are still to be restored.
    missing: &'a AtomicU64,
}

/// Where a blob's plaintext lies.
enum Place {
    InPack(Range<usize>),
    Unpacked(Range<usize>),
}

impl Reader<'_> {
    fn pack(&mut self, path: &Path, bytes: &mut Vec<u8>) -> Outcome<()> {
        if self.missing.load(Ordering::Relaxed) == 0 {
            return Ok(());
        }
        bytes.clear();
        File::open(path)?.read_to_end(bytes)?;
        if self.work == Work::Check && !path.ends_with(Id::of(bytes).hex()) {
            return Err("a pack has another hash".into());
        }
        let (before, last) = bytes.split_last_chunk::<LENGTH_BYTES>().ok_or("a pack is too short")?;
        let header_start = before.len() - header_length(bytes.len() as u64, last)?;
        let blobs = decode_header(before.get(header_start..).unwrap_or_default(), self.cipher)?;
        let (mut opened, mut waiting_bytes) = (Vec::new(), 0);
        for (number, blob) in blobs.iter().enumerate() {
            opened.push((blob.id, self.open(bytes, blob)?));
            waiting_bytes += blob.extent.plain_bytes();
            if waiting_bytes >= batch_bytes() as u64 || number + 1 == blobs.len() {
                self.finish(bytes, &opened)?;
                opened.clear();
                self.plains.clear(2 * batch_bytes());
                waiting_bytes = 0;
            }
        }
        Ok(())
    }

    fn open(&mut self, pack: &mut [u8], blob: &PackedBlob) -> Outcome<Place> {
        let start = blob.extent.offset as usize;
        let sealed = pack.get_mut(start..start + blob.extent.length as usize).ok_or("a pack is too short")?;
        let opened = self.cipher.open_in_place(sealed)?;
        Ok(match blob.extent.plain_length {
            Some(length) => Place::Unpacked(self.plains.unpack(&mut self.zstd, opened, length as usize)?),
            None => Place::InPack(start + NONCE_BYTES..start + NONCE_BYTES + opened.len()),
        })
    }

    /// Hashes, compares and, for a restore, writes.
    fn finish(&self, pack: &[u8], opened: &[(Id, Place)]) -> Outcome<()> {
        let plain = |place: &Place| match place {
            Place::InPack(range) => pack.get(range.clone()).unwrap_or_default(),
            Place::Unpacked(range) => self.plains.at(range.clone()),
        };
        let plains: Vec<&[u8]> = opened.iter().map(|(_, place)| plain(place)).collect();
        for (((id, _), actual), plain) in opened.iter().zip(Id::of_many(&plains)?).zip(&plains) {
            if *id != actual {
                return Err("a blob has another hash".into());
            }
            if self.work.restores() && self.is_missing(plain.len() as u64) {
                let name = id.hex();
                let (folder, file) = name.split_at(2);
                fs::write(self.target.join(folder).join(file), plain)?;
            }
        }
        Ok(())
    }

    /// Whether so many bytes more are to be restored.
    fn is_missing(&self, bytes: u64) -> bool {
        let take = |missing: u64| (missing > 0).then(|| missing.saturating_sub(bytes));
        self.missing.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }
}
