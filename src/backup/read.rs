//! Reading: small files whole, many into one buffer; large files in segments.
//!
//! A reader owns the buffers that it fills, four of them, so it can never be starved by another reader.
//! The page cache is left as it was found: what had to be read from the device is dropped behind.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{Advice, Mode, OFlags, Stat, fadvise, fstat, openat};
use rustix::io::{Errno, ReadWriteFlags, pread, preadv2};

use super::Stages;
use super::chunk::{CHUNK_BYTES_MIN, WINDOW_BYTES};
use super::directory::{Directory, Entry};
use super::large::{BUFFER_BYTES, LargeFile, SEGMENT_BYTES, SegmentBuffer, SegmentTask};
use super::queue::{Batch, SmallFile, Task};
use super::run::{Pool, Pooled};
use super::walk::cannot;
use crate::repository::Id;
use crate::repository::blob::Opener;
use crate::repository::tree::{Node, NodeKind};

/// Buffers of a reader: a chunk of the longest kind spans three segments, one more is being filled.
pub const BUFFERS: usize = 4;
/// A batch goes to a worker when it holds this much: enough to hash many files at once, and little enough
/// for all workers to get some.
const BATCH_BYTES: usize = 1 << 20;
const BATCH_FILES: usize = 256;

/// One reading thread's state.
pub struct Reader<'a> {
    stages: &'a Stages<'a>,
    pool: Arc<Pool>,
    batch: Option<Batch>,
    /// Opens the parent's trees; `None` without a parent.
    pub opener: Option<Opener>,
    /// The head of the file that is looked at.
    pub head: Vec<u8>,
    /// Its content in the parent.
    pub content: Vec<Id>,
}

enum Small {
    Read(usize),
    Grew,
}

impl<'a> Reader<'a> {
    /// A reader with buffers of its own.
    pub fn new(stages: &'a Stages<'a>, opener: Option<Opener>) -> Self {
        let pool = Pool::new(BUFFERS, BUFFER_BYTES);
        Self { stages, pool, batch: None, opener, head: Vec::new(), content: Vec::new() }
    }

    /// Hands the files read so far to a worker.
    pub fn flush(&mut self) {
        if let Some(batch) = self.batch.take().filter(|batch| !batch.files.is_empty()) {
            self.stages.queue.push(Task::Files(batch));
        }
    }

    /// Reads a changed or new file. What fails is reported, and the file is left out.
    pub fn read(
        &mut self,
        directory: &Arc<Directory>,
        slot: usize,
        handle: &OwnedFd,
        node: Node,
        path: &Path,
    ) {
        let stages = self.stages;
        stages.monitor.working_on(&path.to_string_lossy());
        let opened = open(handle, &node.name).and_then(|file| Ok((fstat(&file)?, file)));
        let failed = match opened {
            Ok((stat, file)) => {
                let mut node = refreshed(stages, node, &stat);
                if node.kind == NodeKind::File {
                    let done = if node.size < CHUNK_BYTES_MIN {
                        self.read_small(directory, slot, &file, &mut node, path)
                    } else {
                        self.read_large(directory, slot, &file, node, path)
                    };
                    match done {
                        Ok(()) => return,
                        Err(error) => cannot("read", error),
                    }
                } else {
                    "it was replaced by something else while it was being read".to_owned()
                }
            }
            Err(error) => cannot("open", error),
        };
        stages.item_failed("archival", path, &failed);
        stages.complete(directory, slot, Entry::LeftOut);
    }

    fn read_small(
        &mut self,
        directory: &Arc<Directory>,
        slot: usize,
        file: &OwnedFd,
        node: &mut Node,
        path: &Path,
    ) -> Result<(), Errno> {
        let room = node.size as usize + 1;
        if self.batch.as_ref().is_some_and(|batch| batch.used + room > BUFFER_BYTES) {
            self.flush();
        }
        let Some(batch) = self.batch() else { return Ok(()) };
        let start = batch.used;
        let place = batch.memory.as_mut().get_mut(start..start + room).unwrap_or_default();
        let Small::Read(bytes) = read_to_end(file, place)? else {
            return self.read_large(directory, slot, file, node.clone(), path);
        };
        node.size = bytes as u64;
        batch.used += bytes;
        let range = start..batch.used;
        batch.files.push(SmallFile {
            directory: Arc::clone(directory),
            slot,
            node: std::mem::take(node),
            range,
        });
        if batch.used >= BATCH_BYTES || batch.files.len() >= BATCH_FILES {
            self.flush();
        }
        Ok(())
    }

    fn batch(&mut self) -> Option<&mut Batch> {
        if self.batch.is_none() {
            let memory = self.pool.take(self.stages.run)?;
            self.batch = Some(Batch { memory, used: 0, files: Vec::new() });
        }
        self.batch.as_mut()
    }

    fn read_large(
        &mut self,
        directory: &Arc<Directory>,
        slot: usize,
        file: &OwnedFd,
        mut node: Node,
        path: &Path,
    ) -> Result<(), Errno> {
        self.flush();
        let stages = self.stages;
        let large = LargeFile::new(Arc::clone(directory), slot);
        let (mut number, mut start) = (0, 0_u64);
        let mut window = Vec::new();
        loop {
            let Some(memory) = self.pool.take(stages.run) else { return Ok(()) };
            let segment = read_segment(file, memory, &window, start)?;
            let bytes = segment.used - segment.window;
            let used = segment.memory.as_ref().get(..segment.used).unwrap_or_default();
            window = used.get(used.len().saturating_sub(WINDOW_BYTES)..).unwrap_or_default().to_vec();
            if bytes > 0 {
                let file = Arc::clone(&large);
                stages.queue.push(Task::Segment(SegmentTask { file, number, start, bytes: segment }));
                number += 1;
                start += bytes as u64;
                stages.monitor.progress().bytes_done.add(bytes as u64);
            }
            if bytes < SEGMENT_BYTES {
                break;
            }
        }
        if start != node.size {
            stages.monitor.warn(&format!("{}: its size changed while it was being read", path.display()));
        }
        node.size = start;
        stages.take_step(&large, large.end(stages.rabin, number, node));
        Ok(())
    }
}

fn open(directory: &OwnedFd, name: &[u8]) -> Result<OwnedFd, Errno> {
    // Should the file have become a fifo meanwhile, opening it must not wait for a writer.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    match openat(directory, name, flags | OFlags::NOATIME, Mode::empty()) {
        Err(Errno::PERM) => openat(directory, name, flags, Mode::empty()),
        opened => opened,
    }
}

/// The node by what is open now, in case the entry changed since it was listed.
fn refreshed(stages: &Stages<'_>, node: Node, stat: &Stat) -> Node {
    Node { xattrs: node.xattrs, ..stages.maker.node(&node.name, stat) }
}

fn read_to_end(file: &OwnedFd, place: &mut [u8]) -> Result<Small, Errno> {
    let mut filled = 0;
    while let Some(rest) = place.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match rustix::io::read(file, rest) {
            Ok(0) => return Ok(Small::Read(filled)),
            Ok(bytes) => filled += bytes,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
        // One byte of room is left exactly when the file has the size it had: no need to ask again.
        if filled + 1 == place.len() {
            return Ok(Small::Read(filled));
        }
    }
    Ok(Small::Grew)
}

/// Fills a buffer with the window and the next bytes of the file from `start`.
fn read_segment(
    file: &OwnedFd,
    mut memory: Pooled,
    window: &[u8],
    start: u64,
) -> Result<SegmentBuffer, Errno> {
    use crate::repository::pack::PackMemory;
    memory.grow(BUFFER_BYTES);
    let mut used = window.len();
    if let Some(place) = memory.as_mut().get_mut(..used) {
        place.copy_from_slice(window);
    }
    let end = used + SEGMENT_BYTES;
    let mut from_device = false;
    while used < end {
        let rest = memory.as_mut().get_mut(used..end).unwrap_or_default();
        let offset = start + (used - window.len()) as u64;
        match read_at(file, rest, offset, &mut from_device) {
            Ok(0) => break,
            Ok(bytes) => used += bytes,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    if from_device {
        let length = std::num::NonZeroU64::new((used - window.len()) as u64);
        let _ = fadvise(file, start, length, Advice::DontNeed);
    }
    Ok(SegmentBuffer { memory, window: window.len(), used })
}

/// Reads, and notes whether anything had to come from the device.
fn read_at(file: &OwnedFd, buffer: &mut [u8], offset: u64, from_device: &mut bool) -> Result<usize, Errno> {
    if !*from_device {
        let mut parts = [std::io::IoSliceMut::new(buffer)];
        match preadv2(file, &mut parts, offset, ReadWriteFlags::NOWAIT) {
            Err(Errno::AGAIN | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => *from_device = true,
            // Linux 5.9 and 5.10 answer 0 before the end of a file, too: a plain read decides.
            Ok(0) => {}
            read => return read,
        }
    }
    pread(file, buffer, offset)
}
