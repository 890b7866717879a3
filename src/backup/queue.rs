//! Work between the threads that read and the threads that compute.
//!
//! What frees most memory comes first: trees, then chunks of large files, then segments to cut, then small
//! files. Where many chunks are hashed side by side, segments come before them while there are few. The queue itself
//! is not bounded: every task but a tree holds a buffer out of a bounded pool.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use super::directory::Directory;
use super::large::{ChunkTask, SegmentTask};
use super::run::{NAP, Pooled, Run, lock};
use crate::repository::tree::Node;

/// A small file, read whole: one chunk.
#[derive(Debug)]
pub struct SmallFile {
    /// Where its node belongs.
    pub directory: Arc<Directory>,
    /// The place there.
    pub slot: usize,
    /// Its node, still without content.
    pub node: Node,
    /// Its bytes in the batch's buffer.
    pub range: Range<usize>,
}

/// Small files in one buffer.
#[derive(Debug)]
pub struct Batch {
    /// The buffer.
    pub memory: Pooled,
    /// Bytes of it that are used.
    pub used: usize,
    /// The files.
    pub files: Vec<SmallFile>,
}

/// What a worker does next.
#[derive(Debug)]
pub enum Task {
    /// A directory whose entries are all done.
    Tree(Arc<Directory>),
    /// Chunks of large files.
    Chunks(Vec<ChunkTask>),
    /// A segment of a large file to find cut places in.
    Segment(SegmentTask),
    /// Small files.
    Files(Batch),
}

#[derive(Debug, Default)]
struct Waiting {
    trees: VecDeque<Arc<Directory>>,
    chunks: VecDeque<ChunkTask>,
    segments: VecDeque<SegmentTask>,
    files: VecDeque<Batch>,
    closed: bool,
}

/// The tasks that wait for a worker.
#[derive(Debug)]
pub struct Queue {
    chunks_at_once: usize,
    waiting: Mutex<Waiting>,
    arrived: Condvar,
}

impl Queue {
    /// An empty queue, of which a worker takes so many chunks at once.
    pub fn new(chunks_at_once: usize) -> Self {
        Self { chunks_at_once, waiting: Mutex::default(), arrived: Condvar::new() }
    }

    /// Adds a task.
    pub fn push(&self, task: Task) {
        let is_for_all = matches!(task, Task::Chunks(_));
        let mut waiting = lock(&self.waiting);
        match task {
            Task::Tree(directory) => waiting.trees.push_back(directory),
            Task::Chunks(chunks) => waiting.chunks.extend(chunks),
            Task::Segment(segment) => waiting.segments.push_back(segment),
            Task::Files(batch) => waiting.files.push_back(batch),
        }
        drop(waiting);
        if is_for_all { self.arrived.notify_all() } else { self.arrived.notify_one() }
    }

    /// The next task, waiting for one; `None` when the queue was closed or the run is over.
    pub fn pop(&self, run: &Run<'_>) -> Option<Task> {
        let mut waiting = lock(&self.waiting);
        loop {
            if run.is_over() {
                return None;
            }
            if let Some(task) = waiting.next(self.chunks_at_once) {
                return Some(task);
            }
            if waiting.closed {
                return None;
            }
            waiting = self.arrived.wait_timeout(waiting, NAP).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// No more tasks will come.
    pub fn close(&self) {
        lock(&self.waiting).closed = true;
        self.arrived.notify_all();
    }
}

/// Chunks of several segments that a worker joins at once, in bytes, but for one that is longer.
pub const JOINED_BYTES_MAX: usize = 4 << 20;

impl Waiting {
    fn next(&mut self, chunks_at_once: usize) -> Option<Task> {
        let tree = self.trees.pop_front().map(Task::Tree);
        tree.or_else(|| self.next_chunks(chunks_at_once, chunks_at_once.div_ceil(2)))
            .or_else(|| self.segments.pop_front().map(Task::Segment))
            .or_else(|| self.next_chunks(chunks_at_once, 1))
            .or_else(|| self.files.pop_front().map(Task::Files))
    }

    /// Up to `most` chunks, if there are `least`.
    fn next_chunks(&mut self, most: usize, least: usize) -> Option<Task> {
        let count = match self.chunks.len() {
            waiting if waiting < least => return None,
            waiting => waiting.min(most),
        };
        let mut joined = 0;
        let fits = |chunk: &&ChunkTask| {
            joined += chunk.joined_bytes();
            joined <= JOINED_BYTES_MAX
        };
        let fitting = self.chunks.iter().take(count).take_while(fits).count();
        Some(Task::Chunks(self.chunks.drain(..fitting.max(1)).collect()))
    }
}
