//! Reads a file back and hashes it blob by blob against the ids of its node.
//!
//! Where a blob lies in a file and how long it is, the index says; the bytes come from the file alone.

use std::os::fd::OwnedFd;

use rustix::fs::Stat;
use rustix::io::Errno;

use crate::repository::blob::BlobType;
use crate::repository::index::Index;
use crate::repository::tree::Node;
use crate::repository::{Id, missing_blob};
use crate::restore::run::{Run, Trouble};

/// A thread's buffer, kept from file to file.
#[derive(Default)]
pub(super) struct Content {
    buffer: Vec<u8>,
}

impl Content {
    /// How the content of `file` differs from the node's, in words; `None`: it is equal.
    pub(super) fn compare(
        &mut self,
        run: &Run<'_>,
        index: &Index,
        node: &Node,
        stat: &Stat,
        file: &OwnedFd,
    ) -> Result<Option<String>, Trouble> {
        let ids = node.content.as_deref().unwrap_or_default();
        let mut lengths = Vec::with_capacity(ids.len());
        for id in ids {
            let location = index.lookup(BlobType::Data, id);
            let location = location.ok_or_else(|| Trouble::from(missing_blob(BlobType::Data, id)))?;
            lengths.push(location.extent.plain_bytes());
        }
        let (found, wanted) = (stat.st_size.cast_unsigned(), lengths.iter().sum::<u64>());
        if found != wanted {
            return Ok(Some(format!("{found} bytes instead of {wanted}")));
        }
        let mut position = 0;
        for (id, length) in ids.iter().zip(lengths) {
            if run.is_over() {
                break;
            }
            let read = self.read(file, position, length as usize);
            let bytes = read.map_err(|errno| Trouble::system("read it", errno))?;
            if bytes.len() as u64 != length || Id::of(bytes) != *id {
                return Ok(Some(format!("content from byte {position} on")));
            }
            position += length;
        }
        Ok(None)
    }

    /// Up to `length` bytes; fewer where the file ends.
    fn read(&mut self, file: &OwnedFd, position: u64, length: usize) -> Result<&[u8], Errno> {
        self.buffer.resize(length, 0);
        let mut read = 0;
        while let Some(room) = self.buffer.get_mut(read..).filter(|room| !room.is_empty()) {
            match rustix::io::pread(file, room, position + read as u64) {
                Err(Errno::INTR) => {}
                Ok(0) => break,
                Ok(count) => read += count,
                Err(errno) => return Err(errno),
            }
        }
        Ok(self.buffer.get(..read).unwrap_or_default())
    }
}
