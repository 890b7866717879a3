//! Work between the threads that read and the threads that compute.
//!
//! What frees most memory comes first: trees, then chunks of large files, then segments to cut, then small
//! files. The queue itself is not bounded: every task but a tree holds a buffer out of a bounded pool.

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

/// Trees that one worker takes at a time: as many as the widest CPU hashes at once.
const TREES: usize = 16;

/// What a worker does next.
#[derive(Debug)]
pub enum Task {
    /// Directories whose entries are all done.
    Trees(Vec<Arc<Directory>>),
    /// A chunk of a large file.
    Chunk(ChunkTask),
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
#[derive(Debug, Default)]
pub struct Queue {
    waiting: Mutex<Waiting>,
    arrived: Condvar,
}

impl Queue {
    /// Adds a task.
    pub fn push(&self, task: Task) {
        let mut waiting = lock(&self.waiting);
        match task {
            Task::Trees(directories) => waiting.trees.extend(directories),
            Task::Chunk(chunk) => waiting.chunks.push_back(chunk),
            Task::Segment(segment) => waiting.segments.push_back(segment),
            Task::Files(batch) => waiting.files.push_back(batch),
        }
        drop(waiting);
        self.arrived.notify_one();
    }

    /// The next task, waiting for one; `None` when the queue was closed or the run is over.
    pub fn pop(&self, run: &Run<'_>) -> Option<Task> {
        let mut waiting = lock(&self.waiting);
        loop {
            if run.is_over() {
                return None;
            }
            if let Some(task) = waiting.next() {
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

impl Waiting {
    fn next(&mut self) -> Option<Task> {
        let trees: Vec<_> = self.trees.drain(..self.trees.len().min(TREES)).collect();
        let trees = (!trees.is_empty()).then_some(Task::Trees(trees));
        trees
            .or_else(|| self.chunks.pop_front().map(Task::Chunk))
            .or_else(|| self.segments.pop_front().map(Task::Segment))
            .or_else(|| self.files.pop_front().map(Task::Files))
    }
}
