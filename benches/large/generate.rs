//! A repository that is large by its index and its snapshots, and small on disk.
//!
//! One small folder is backed up for real. Further index files name blobs in packs that nobody wrote, and further
//! snapshots are the first at other times: opening, listing, an unchanged backup and forget cannot tell.

use std::path::Path;
use std::sync::Arc;

use volmover::backend::local::LocalBackend;
use volmover::backend::{Backend, FileType};
use volmover::clock::SystemClock;
use volmover::random::SystemRandom;
use volmover::repository::blob::{BlobType, Extent};
use volmover::repository::compression::Compression;
use volmover::repository::index::IndexPack;
use volmover::repository::open::Access;
use volmover::repository::pack::PackedBlob;
use volmover::repository::scrypt::ScryptCost;
use volmover::repository::snapshot::Snapshot;
use volmover::repository::time::NodeTime;
use volmover::repository::{Id, Repository};

use super::Outcome;
use super::corpus::Noise;
use super::program::PASSWORD;

/// Blobs of an index file, as restic writes it.
const INDEX_BLOBS: u64 = 50_000;
const PACK_BLOBS: u64 = 100;
const BLOB_BYTES: u32 = 100_000;
/// The generated snapshots lie so many seconds apart.
const APART_SECONDS: i64 = 3600;

/// Adds `blobs` blobs and `snapshots` snapshots to a repository that holds one.
pub(super) fn add(folder: &Path, blobs: u64, snapshots: u64) -> Outcome<()> {
    let access = Access {
        password: PASSWORD.as_bytes(),
        key_hint: None,
        compression: Compression::Auto,
        scrypt: ScryptCost::RESTIC,
        threads: 1,
        host_and_user: ("bench", "bench"),
        clock: Arc::new(SystemClock::new()),
        random: Arc::new(SystemRandom),
    };
    let store: Arc<dyn Backend> = Arc::new(LocalBackend::open(folder, 2));
    let repository = Repository::open(store, &access)?;
    let mut noise = Noise(11);
    let mut left = blobs;
    while left > 0 {
        let count = left.min(INDEX_BLOBS);
        repository.write_index_file(&packs(&mut noise, count))?;
        left -= count;
    }
    let (_, first) = repository.snapshots()?.pop().ok_or("there is no snapshot yet")?;
    for number in 1..snapshots {
        let (seconds, _) = first.time.instant();
        let time = NodeTime::from_unix(seconds - number as i64 * APART_SECONDS, 0, &jiff::tz::TimeZone::UTC);
        let snapshot = Snapshot { time, ..first.clone() };
        repository.write_unpacked(FileType::Snapshot, &snapshot.encode())?;
    }
    Ok(())
}

fn packs(noise: &mut Noise, blobs: u64) -> Vec<IndexPack> {
    let mut packs = Vec::new();
    let mut left = blobs;
    while left > 0 {
        let count = left.min(PACK_BLOBS);
        let blob = |place: u64| PackedBlob {
            id: id(noise),
            kind: BlobType::Data,
            extent: Extent {
                offset: place as u32 * BLOB_BYTES,
                length: BLOB_BYTES,
                plain_length: Some(2 * BLOB_BYTES),
            },
        };
        let blobs = (0..count).map(blob).collect();
        packs.push(IndexPack { id: id(noise), blobs });
        left -= count;
    }
    packs
}

fn id(noise: &mut Noise) -> Id {
    let mut bytes = [0; 32];
    for part in bytes.chunks_exact_mut(8) {
        part.copy_from_slice(&noise.next().to_le_bytes());
    }
    Id(bytes)
}
