//! What no tool can be much faster than, measured beside the tools.
//!
//! A first backup: every stage one after the other, on one thread, with nothing that waits, locks or is handed
//! over; `volmover`'s own stages, and none of what makes a snapshot of them. It runs in a process of its own, so
//! that the bench stays small. An unchanged backup: `find` over all entries. A restore: `cp -r`.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use volmover::backup::chunk::{CHUNK_BYTES_MIN, Rabin, Resolver, Segment, SegmentBytes};
use volmover::random::SystemRandom;
use volmover::repository::Id;
use volmover::repository::blob::{BlobType, Sealer};
use volmover::repository::compression::Compression;
use volmover::repository::crypto::SealKey;
use volmover::repository::pack::PackBuilder;
use volmover::repository::polynomial::Polynomial;
use volmover::repository::scrypt::{ScryptCost, derive};

use super::Outcome;
use super::corpus::Corpus;
use super::measure::{self, Measured};

/// The argument that makes the bench's program do the stages and nothing else.
const ARGUMENT: &str = "--stages";
const PACK_BYTES: usize = 16 << 20;
/// A longer file is taken in pieces, so that memory is used over and over.
const PIECE_BYTES: u64 = 8 << 20;

/// Does the stages when that is what this process was started for.
pub(super) fn is_stages() -> Outcome<bool> {
    let arguments: Vec<String> = std::env::args().collect();
    let Some(place) = arguments.iter().position(|argument| argument == ARGUMENT) else { return Ok(false) };
    let paths = (arguments.get(place + 1), arguments.get(place + 2));
    let (Some(source), Some(target)) = paths else { return Err("a source and a target".into()) };
    let cipher = SealKey::random(&SystemRandom)?.cipher();
    let mut key = [0; 64];
    derive(b"password", &[1; 64], ScryptCost::RESTIC, 1, &mut key)?;
    let mut stages = Stages {
        target: Path::new(target),
        rabin: Rabin::new(Polynomial::random(&SystemRandom)?),
        sealer: Sealer::new(cipher.clone(), 2, Compression::Auto)?,
        known: HashSet::new(),
        pack: PackBuilder::new(BlobType::Data, Vec::new()),
        cipher,
    };
    stages.folder(Path::new(source))?;
    stages.write_pack()?;
    Ok(true)
}

struct Stages<'a> {
    target: &'a Path,
    rabin: Rabin,
    sealer: Sealer,
    known: HashSet<Id>,
    pack: PackBuilder<Vec<u8>>,
    cipher: volmover::repository::crypto::Cipher,
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

impl Stages<'_> {
    fn folder(&mut self, folder: &Path) -> Outcome<()> {
        let mut bytes = Vec::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let status = entry.metadata()?;
            if status.is_dir() {
                self.folder(&entry.path())?;
            } else if status.is_file() {
                let mut file = File::open(entry.path())?;
                while {
                    bytes.clear();
                    (&mut file).take(PIECE_BYTES).read_to_end(&mut bytes)? > 0
                } {
                    self.piece(&bytes)?;
                }
            }
        }
        Ok(())
    }

    fn piece(&mut self, bytes: &[u8]) -> Outcome<()> {
        if (bytes.len() as u64) < CHUNK_BYTES_MIN {
            return if bytes.is_empty() { Ok(()) } else { self.blob(bytes) };
        }
        let segment = Segment::scan(&self.rabin, Whole(bytes), 0, 0);
        let mut resolver = Resolver::default();
        let mut chunks = resolver.next(&self.rabin, &segment);
        chunks.extend(resolver.finish(bytes.len() as u64));
        chunks.into_iter().try_for_each(|chunk| {
            self.blob(bytes.get(chunk.start as usize..chunk.end as usize).unwrap_or_default())
        })
    }

    fn blob(&mut self, plain: &[u8]) -> Outcome<()> {
        let id = Id::of(plain);
        if !self.known.insert(id) {
            return Ok(());
        }
        let sealer = &mut self.sealer;
        let seal = |tail: &mut [u8]| sealer.seal(BlobType::Data, &id, plain, tail, &SystemRandom);
        self.pack.append(id, Sealer::bound(plain.len()), seal)?;
        if self.pack.len() >= PACK_BYTES { self.write_pack() } else { Ok(()) }
    }

    fn write_pack(&mut self) -> Outcome<()> {
        let full = std::mem::replace(&mut self.pack, PackBuilder::new(BlobType::Data, Vec::new()));
        let pack = full.finish(&self.cipher, &SystemRandom)?;
        Ok(fs::write(self.target.join(pack.id.hex()), &pack.bytes)?)
    }
}

/// A line of all floors, the medians of three; `target` is made and removed.
pub(super) fn line(corpus: &Corpus, target: &Path) -> Outcome<String> {
    let median = |make: &dyn Fn() -> Outcome<Command>, figure: fn(&Measured) -> Duration| -> Outcome<f64> {
        let mut times = Vec::new();
        for _ in 0..3 {
            fs::create_dir_all(target)?;
            times.push(figure(&measure::run(make()?)?));
            fs::remove_dir_all(target)?;
        }
        times.sort();
        Ok(times.get(1).map_or(0.0, Duration::as_secs_f64))
    };
    let stages = || {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(ARGUMENT).args([corpus.folder.as_path(), target]);
        Ok(command)
    };
    let find = || {
        let mut command = Command::new("find");
        command.arg(&corpus.folder).args(["-printf", "%s %T@ %C@ %i\\n"]);
        Ok(command)
    };
    let copy = || {
        let mut command = Command::new("cp");
        command.arg("-rT").args([corpus.folder.as_path(), target]);
        Ok(command)
    };
    let (stages, find, copy) = (
        median(&stages, |measured| measured.cpu)?,
        median(&find, |measured| measured.wall)?,
        median(&copy, |measured| measured.wall)?,
    );
    let processors = std::thread::available_parallelism()?.get();
    let share = stages / processors as f64;
    Ok(format!(
        "floors: the stages of a first backup {stages:.2} cpu s, over {processors} processors {share:.2} s; \
         find {find:.2} s; cp -r {copy:.2} s"
    ))
}
