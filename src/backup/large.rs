//! Large files: read in segments, cut by several workers, and put together again.
//!
//! ```text
//! reader:  segment 0, 1, 2 … (4 MiB each, with the 64 bytes before it)
//! worker:  scan its segment ─ when all before it are scanned: resolve → chunk tasks
//! worker:  chunk task: hash, seal ─ the last one completes the file's node
//! ```
//!
//! Invariant: the chunks are those of restic's chunker on the bytes read, whatever the workers' order. A
//! segment's buffer is held by its chunks alone once it is resolved, so a reader with four buffers always
//! gets one back: a chunk of 8 MiB spans three segments at most.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use super::chunk::{CHUNK_BYTES_MIN, Rabin, Resolver, Segment, SegmentBytes, WINDOW_BYTES};
use super::directory::Directory;
use super::run::{Pooled, lock};
use crate::repository::Id;
use crate::repository::tree::Node;

/// Bytes of a segment.
pub const SEGMENT_BYTES: usize = 4 << 20;
/// Bytes of a buffer that holds a segment and the window before it.
pub const BUFFER_BYTES: usize = SEGMENT_BYTES + WINDOW_BYTES;

/// A buffer that holds a segment.
#[derive(Debug)]
pub struct SegmentBuffer {
    /// The memory: the window first.
    pub memory: Pooled,
    /// Bytes of the window.
    pub window: usize,
    /// Bytes of window and segment.
    pub used: usize,
}

impl SegmentBytes for SegmentBuffer {
    fn with_window(&self) -> &[u8] {
        self.memory.as_ref().get(..self.used).unwrap_or_default()
    }

    fn window_bytes(&self) -> usize {
        self.window
    }
}

/// A segment that waits for a worker.
#[derive(Debug)]
pub struct SegmentTask {
    /// Its file.
    pub file: Arc<LargeFile>,
    /// Its number in the file.
    pub number: usize,
    /// Where it begins in the file.
    pub start: u64,
    /// Its bytes.
    pub bytes: SegmentBuffer,
}

/// A chunk that waits for a worker.
#[derive(Debug)]
pub struct ChunkTask {
    /// Its file.
    pub file: Arc<LargeFile>,
    number: usize,
    pieces: Vec<(Arc<Segment<SegmentBuffer>>, Range<usize>)>,
}

impl ChunkTask {
    /// Its bytes: where they lie, if one segment holds them all, else joined in `joined`.
    pub fn bytes<'a>(&'a self, joined: &'a mut Vec<u8>) -> &'a [u8] {
        match self.pieces.as_slice() {
            [only] => bytes_of(only),
            pieces => {
                joined.clear();
                for piece in pieces {
                    joined.extend_from_slice(bytes_of(piece));
                }
                joined
            }
        }
    }
}

fn bytes_of((segment, range): &(Arc<Segment<SegmentBuffer>>, Range<usize>)) -> &[u8] {
    segment.bytes.with_window().get(range.clone()).unwrap_or_default()
}

/// A large file on its way to a node.
#[derive(Debug)]
pub struct LargeFile {
    /// Where its node belongs.
    pub directory: Arc<Directory>,
    /// The place there.
    pub slot: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    node: Option<Node>,
    resolver: Resolver,
    /// Segments that are scanned or awaited, from number `first` on.
    segments: VecDeque<Option<Arc<Segment<SegmentBuffer>>>>,
    first: usize,
    resolved: usize,
    ids: Vec<Option<Id>>,
    missing_ids: usize,
    /// How many segments there are, and the file's node with its final size, once it is read.
    end: Option<usize>,
    cut: bool,
}

/// What a step on a large file leads to.
#[derive(Debug, Default)]
pub struct Step {
    /// Chunks to be hashed and stored.
    pub chunks: Vec<ChunkTask>,
    /// The finished node.
    pub node: Option<Node>,
}

impl LargeFile {
    /// A file of which nothing is read yet.
    pub fn new(directory: Arc<Directory>, slot: usize) -> Arc<Self> {
        let state = State {
            node: None,
            resolver: Resolver::default(),
            segments: VecDeque::new(),
            first: 0,
            resolved: 0,
            ids: Vec::new(),
            missing_ids: 0,
            end: None,
            cut: false,
        };
        Arc::new(Self { directory, slot, state: Mutex::new(state) })
    }

    /// Scans a segment, and resolves what can be resolved by now.
    pub fn scan(self: &Arc<Self>, rabin: &Rabin, task: SegmentTask) -> Step {
        let from = {
            let state = lock(&self.state);
            if state.resolved == task.number { state.resolver.chunk_start() + CHUNK_BYTES_MIN } else { 0 }
        };
        let segment = Segment::scan(rabin, task.bytes, task.start, from);
        let mut state = lock(&self.state);
        let place = task.number - state.first;
        if state.segments.len() <= place {
            state.segments.resize(place + 1, None);
        }
        if let Some(slot) = state.segments.get_mut(place) {
            *slot = Some(Arc::new(segment));
        }
        self.resolve(rabin, &mut state)
    }

    /// The file is read to its end: it has `segments` segments, and `node` is its node with the size read.
    pub fn end(self: &Arc<Self>, rabin: &Rabin, segments: usize, node: Node) -> Step {
        let mut state = lock(&self.state);
        state.end = Some(segments);
        state.node = Some(node);
        self.resolve(rabin, &mut state)
    }

    /// A chunk is stored.
    pub fn stored(&self, task: &ChunkTask, id: Id) -> Step {
        let mut state = lock(&self.state);
        if let Some(place) = state.ids.get_mut(task.number) {
            *place = Some(id);
        }
        state.missing_ids -= 1;
        Step { chunks: Vec::new(), node: state.finished_node() }
    }

    fn resolve(self: &Arc<Self>, rabin: &Rabin, state: &mut State) -> Step {
        let mut chunks = Vec::new();
        while let Some(segment) = state.awaited() {
            let ranges = state.resolver.next(rabin, &segment);
            state.resolved += 1;
            for range in ranges {
                chunks.push(self.chunk(state, &range));
            }
            state.drop_used();
        }
        if state.end == Some(state.resolved) && !state.cut {
            state.cut = true;
            let bytes = state.node.as_ref().map_or(0, |node| node.size);
            if let Some(range) = std::mem::take(&mut state.resolver).finish(bytes) {
                chunks.push(self.chunk(state, &range));
            }
            state.segments.clear();
        }
        Step { chunks, node: state.finished_node() }
    }

    fn chunk(self: &Arc<Self>, state: &mut State, range: &Range<u64>) -> ChunkTask {
        let number = state.ids.len();
        state.ids.push(None);
        state.missing_ids += 1;
        let mut pieces = Vec::new();
        for segment in state.segments.iter().flatten() {
            let start = range.start.max(segment.start);
            let end = range.end.min(segment.end());
            if start < end {
                let base = segment.start - segment.bytes.window_bytes() as u64;
                pieces.push((Arc::clone(segment), (start - base) as usize..(end - base) as usize));
            }
        }
        ChunkTask { file: Arc::clone(self), number, pieces }
    }
}

impl State {
    fn awaited(&self) -> Option<Arc<Segment<SegmentBuffer>>> {
        self.segments.get(self.resolved - self.first)?.clone()
    }

    fn drop_used(&mut self) {
        let start = self.resolver.chunk_start();
        while self.first < self.resolved
            && self
                .segments
                .front()
                .is_some_and(|segment| segment.as_ref().is_some_and(|used| used.end() <= start))
        {
            self.segments.pop_front();
            self.first += 1;
        }
    }

    fn finished_node(&mut self) -> Option<Node> {
        if !self.cut || self.missing_ids > 0 {
            return None;
        }
        let mut node = self.node.take()?;
        node.content = Some(self.ids.iter().copied().flatten().collect());
        Some(node)
    }
}
