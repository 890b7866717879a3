//! One micro-bench a stage of the pipelines, in the order in which data passes them.
//!
//! Each is run for about half a second, on one thread, from memory to memory; the median of its runs is
//! printed as time, and as MB/s or items/s. `cargo bench --bench stages -- seal` runs those whose name holds
//! "seal". What is measured is the stage as the pipelines call it, so a line here moves when they get faster.
//! A new stage is a function that returns a `Stage` and a line in `STAGES`.
#![allow(clippy::print_stdout, reason = "a program that talks to its caller")]
#![allow(clippy::unnecessary_wraps, reason = "all stages are made in one way")]

use std::error::Error;
use std::fmt::Write;
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use volmover::backend::memory::MemoryBackend;
use volmover::backup::chunk::{Rabin, Segment, SegmentBytes, WINDOW_BYTES};
use volmover::backup::entry::NodeMaker;
use volmover::backup::plan::{self, plan};
use volmover::backup::{self, Options};
use volmover::clock::SystemClock;
use volmover::host::Names;
use volmover::random::{Random, SystemRandom};
use volmover::report::SilentMonitor;
use volmover::repository::blob::{BlobType, Extent, Opener, Sealer};
use volmover::repository::compression::{Compression, Zstd};
use volmover::repository::crypto::{Cipher, SealKey};
use volmover::repository::index::{self, IndexBuilder, IndexPack};
use volmover::repository::open::Access;
use volmover::repository::pack::PackedBlob;
use volmover::repository::polynomial::Polynomial;
use volmover::repository::scrypt::ScryptCost;
use volmover::repository::tree::{self, Node, NodeKind, Tree};
use volmover::repository::{Id, Repository};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// What one call works on, and the call. Everything is set up before.
struct Stage {
    amount: Amount,
    call: Box<dyn FnMut() -> Outcome<()>>,
}

#[derive(Clone, Copy)]
enum Amount {
    Bytes(usize),
    Items(usize),
}

type Make = fn() -> Outcome<Stage>;

const STAGES: [(&str, Make); 21] = [
    ("walk: new entries", || walk(false)),
    ("walk: unchanged entries", || walk(true)),
    ("chunk: cut places of 4 MiB", cut_places),
    ("hash: 1 MiB", || hash(1 << 20, 1)),
    ("hash: 4 × 1 MiB", || hash(1 << 20, 4)),
    ("hash: 16 × 1 MiB", || hash(1 << 20, 16)),
    ("hash: 128 × 8 KiB", || hash(8 << 10, 128)),
    ("compress: 1 MiB of text", || compress(text(1 << 20), Zstd::compress_data)),
    ("compress: 1 MiB of noise", || compress(noise(1 << 20)?, Zstd::compress_data)),
    ("compress: an index of 50 000 blobs", || compress(index::encode(&packs(50_000)), Zstd::compress_json)),
    ("encrypt: 4 KiB", || encrypt(4 << 10)),
    ("encrypt: 1 MiB", || encrypt(1 << 20)),
    ("decrypt: 1 MiB", decrypt),
    ("seal: 1 MiB of text", || seal(text(1 << 20))),
    ("seal: 1 MiB of noise", || seal(noise(1 << 20)?)),
    ("open: 1 MiB of text", open),
    ("tree: encode 1000 nodes", encode_tree),
    ("tree: decode 1000 nodes", decode_tree),
    ("index: decode 50 000 blobs", decode_index),
    ("index: build 1 000 000 blobs", build_index),
    ("index: look up 1 000 000 blobs", look_up),
];

fn main() -> Outcome<()> {
    // Cargo itself passes `--bench`.
    let wanted: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    println!("{:<32}{:>12}{:>16}{:>7}", "stage", "median", "rate", "runs");
    for (name, make) in STAGES {
        if wanted.is_empty() || wanted.iter().any(|part| name.contains(part.as_str())) {
            let mut stage = make()?;
            let (median, runs) = measure(&mut stage)?;
            println!("{name:<32}{:>12}{:>16}{runs:>7}", format!("{median:.2?}"), rate(stage.amount, median));
        }
    }
    Ok(())
}

/// The median of as many calls as half a second takes, at least five, after one to warm up.
fn measure(stage: &mut Stage) -> Outcome<(Duration, usize)> {
    (stage.call)()?;
    let start = Instant::now();
    let mut times = Vec::new();
    while times.len() < 5 || start.elapsed() < Duration::from_millis(500) {
        let before = Instant::now();
        (stage.call)()?;
        times.push(before.elapsed());
    }
    times.sort_unstable();
    Ok((times.get(times.len() / 2).copied().unwrap_or_default(), times.len()))
}

fn rate(amount: Amount, time: Duration) -> String {
    let seconds = time.as_secs_f64();
    match amount {
        Amount::Bytes(bytes) => format!("{:.0} MB/s", bytes as f64 / 1e6 / seconds),
        Amount::Items(items) => format!("{:.2} M/s", items as f64 / 1e6 / seconds),
    }
}

fn noise(bytes: usize) -> Outcome<Vec<u8>> {
    let mut data = vec![0; bytes];
    SystemRandom.fill(&mut data)?;
    Ok(data)
}

/// Text that compresses about as well as source code.
fn text(bytes: usize) -> Vec<u8> {
    let mut text = String::new();
    for line in 0_u64.. {
        let number = line.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
        let _ = writeln!(text, "    let value_{number} = table.get({line}).map(|found| found + {number})?;");
        if text.len() >= bytes {
            break;
        }
    }
    text.truncate(bytes);
    text.into_bytes()
}

fn id(number: u64) -> Id {
    Id::of(&number.to_le_bytes())
}

/// Walks a folder of 10 000 empty files in 100 folders and stores its trees, into memory.
fn walk(unchanged: bool) -> Outcome<Stage> {
    let folder = tempfile::TempDir::new()?;
    for number in 0..10_000_u32 {
        let parent = folder.path().join(format!("{}", number % 100));
        std::fs::create_dir_all(&parent)?;
        std::fs::File::create(parent.join(format!("{number}")))?;
    }
    let repository = memory_repository()?;
    let options = Options {
        source: folder.path().to_owned(),
        excludes: backup::exclude::Excludes::default(),
        ignore: backup::parent::Ignore::default(),
        maker: NodeMaker { names: Names::read("/".as_ref()), zone: jiff::tz::TimeZone::UTC },
        plan: plan(plan::Limits {
            memory_bytes: 1 << 30,
            index_bytes: 0,
            threads: 1,
            readers: 1,
            connections: 1,
            pack_bytes: 16 << 20,
        })?,
    };
    let save = move |parent| {
        let index = repository.load_index()?;
        let stop = AtomicBool::new(false);
        backup::save(&repository, &index, parent, &options, &SilentMonitor::default(), &stop)
    };
    let parent = if unchanged { Some(save(None)?.tree) } else { None };
    let call = move || {
        // The folder lives as long as the stage.
        let _source = &folder;
        black_box(save(parent)?);
        Ok(())
    };
    Ok(Stage { amount: Amount::Items(10_100), call: Box::new(call) })
}

fn memory_repository() -> Outcome<Repository> {
    let access = Access {
        password: b"volmover",
        key_hint: None,
        compression: Compression::Auto,
        scrypt: ScryptCost::CHEAP,
        threads: 1,
        host_and_user: ("bench", "bench"),
        clock: Arc::new(SystemClock::new()),
        random: Arc::new(SystemRandom),
    };
    Ok(Repository::create(Arc::new(MemoryBackend::new()), &access)?)
}

/// A segment of a large file, with its window.
struct Plain(Arc<Vec<u8>>);

impl SegmentBytes for Plain {
    fn with_window(&self) -> &[u8] {
        &self.0
    }

    fn window_bytes(&self) -> usize {
        WINDOW_BYTES
    }
}

fn cut_places() -> Outcome<Stage> {
    let bytes = 4 << 20;
    let data = Arc::new(noise(bytes + WINDOW_BYTES)?);
    let rabin = Rabin::new(Polynomial::random(&SystemRandom)?);
    let call = move || {
        let start = WINDOW_BYTES as u64;
        black_box(Segment::scan(&rabin, Plain(Arc::clone(&data)), start, start));
        Ok(())
    };
    Ok(Stage { amount: Amount::Bytes(bytes), call: Box::new(call) })
}

fn hash(bytes: usize, count: usize) -> Outcome<Stage> {
    let data = noise(bytes * count)?;
    let call = move || {
        let messages: Vec<&[u8]> = data.chunks(bytes).collect();
        black_box(Id::of_many(&messages)?);
        Ok(())
    };
    Ok(Stage { amount: Amount::Bytes(bytes * count), call: Box::new(call) })
}

type Compress = fn(&mut Zstd, &[u8], &mut [u8]) -> volmover::error::Result<usize>;

fn compress(data: Vec<u8>, by: Compress) -> Outcome<Stage> {
    let mut zstd = Zstd::new(Compression::Auto)?;
    let mut output = vec![0; Zstd::bound(data.len())];
    let amount = Amount::Bytes(data.len());
    let call = move || {
        black_box(by(&mut zstd, &data, &mut output)?);
        Ok(())
    };
    Ok(Stage { amount, call: Box::new(call) })
}

fn cipher() -> Outcome<Cipher> {
    Ok(SealKey::random(&SystemRandom)?.cipher())
}

fn encrypt(bytes: usize) -> Outcome<Stage> {
    let cipher = cipher()?;
    let mut buffer = noise(bytes)?;
    let amount = Amount::Bytes(buffer.len());
    let call = move || Ok(cipher.seal_in_place(black_box(&mut buffer), &SystemRandom)?);
    Ok(Stage { amount, call: Box::new(call) })
}

fn decrypt() -> Outcome<Stage> {
    let cipher = cipher()?;
    let sealed = cipher.seal(&noise(1 << 20)?, &SystemRandom)?;
    let mut plain = Vec::new();
    let amount = Amount::Bytes(sealed.len());
    let call = move || Ok(cipher.open_into(black_box(&sealed), &mut plain)?);
    Ok(Stage { amount, call: Box::new(call) })
}

/// Compresses, encrypts, and opens again to compare: all that happens to a blob before its pack.
fn seal(data: Vec<u8>) -> Outcome<Stage> {
    let mut sealer = Sealer::new(cipher()?, 2, Compression::Auto)?;
    let mut output = vec![0; Sealer::bound(data.len())];
    let (id, amount) = (Id::of(&data), Amount::Bytes(data.len()));
    let call = move || {
        black_box(sealer.seal(BlobType::Data, &id, &data, &mut output, &SystemRandom)?);
        Ok(())
    };
    Ok(Stage { amount, call: Box::new(call) })
}

/// Decrypts, decompresses and hashes: all that a restore does to a blob before it is written.
fn open() -> Outcome<Stage> {
    let cipher = cipher()?;
    let data = text(1 << 20);
    let id = Id::of(&data);
    let mut sealed = vec![0; Sealer::bound(data.len())];
    let length = Sealer::new(cipher.clone(), 2, Compression::Auto)?.seal(
        BlobType::Data,
        &id,
        &data,
        &mut sealed,
        &SystemRandom,
    )?;
    sealed.truncate(length.length as usize);
    let mut opener = Opener::new(cipher)?;
    let mut plain = Vec::new();
    let call = move || Ok(opener.open(&id, black_box(&sealed), length.plain_length, &mut plain)?);
    Ok(Stage { amount: Amount::Bytes(data.len()), call: Box::new(call) })
}

fn nodes() -> Vec<Node> {
    let node = |number: u64| Node {
        name: format!("file-{number:05}.txt").into_bytes().into(),
        kind: NodeKind::File,
        mode: 0o644,
        uid: 1000,
        gid: 1000,
        user: b"user"[..].into(),
        group: b"group"[..].into(),
        inode: number,
        size: 4096,
        links: 1,
        content: Some([id(number)].into()),
        ..Node::default()
    };
    (0..1000).map(node).collect()
}

fn encode_tree() -> Outcome<Stage> {
    let (nodes, mut json) = (nodes(), Vec::new());
    let call = move || {
        json.clear();
        tree::encode_into(black_box(&nodes), &mut json);
        Ok(())
    };
    Ok(Stage { amount: Amount::Items(1000), call: Box::new(call) })
}

fn decode_tree() -> Outcome<Stage> {
    let json = Tree { nodes: nodes() }.encode();
    let call = move || {
        black_box(Tree::decode(&json)?);
        Ok(())
    };
    Ok(Stage { amount: Amount::Items(1000), call: Box::new(call) })
}

/// Packs of 500 blobs each.
fn packs(blobs: u64) -> Vec<IndexPack> {
    let blob = |number: u64| PackedBlob {
        id: id(number),
        kind: BlobType::Data,
        extent: Extent { offset: (number % 500) as u32 * 30_000, length: 30_000, plain_length: Some(65_536) },
    };
    let pack = |first: u64| IndexPack { id: id(!first), blobs: (first..first + 500).map(blob).collect() };
    (0..blobs / 500).map(|number| pack(number * 500)).collect()
}

fn decode_index() -> Outcome<Stage> {
    let json = index::encode(&packs(50_000));
    let call = move || {
        black_box(index::decode(&json)?);
        Ok(())
    };
    Ok(Stage { amount: Amount::Items(50_000), call: Box::new(call) })
}

fn build_index() -> Outcome<Stage> {
    let packs = packs(1_000_000);
    let call = move || {
        let mut builder = IndexBuilder::default();
        builder.add(&packs);
        black_box(builder.finish());
        Ok(())
    };
    Ok(Stage { amount: Amount::Items(1_000_000), call: Box::new(call) })
}

fn look_up() -> Outcome<Stage> {
    let mut builder = IndexBuilder::default();
    builder.add(&packs(1_000_000));
    let index = builder.finish();
    let ids: Vec<Id> = (0..1_000_000).map(id).collect();
    let call = move || {
        let found = ids.iter().filter(|id| index.lookup(BlobType::Data, id).is_some()).count();
        if found == ids.len() { Ok(()) } else { Err("the index lost entries".into()) }
    };
    Ok(Stage { amount: Amount::Items(1_000_000), call: Box::new(call) })
}
