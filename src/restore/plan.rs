//! What is to be restored, in few bytes: directories for the whole run, entries and blobs a batch at a time.
//!
//! A repository may hold millions of files, so no path is kept: an entry names its directory by number, names
//! lie in one buffer, and paths are put together when a message needs one. Directories stand before what is
//! below them, level by level (the order in which `scan` finds them). A batch is what the budget has room for;
//! it is carried out and dropped before the next is planned.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crate::repository::Id;
use crate::repository::blob::BlobType;
use crate::repository::index::{Index, IndexEntry};
use crate::repository::tree::{Node, Xattr, unix_mode};

/// The directory that is restored into.
pub(crate) const ROOT: u32 = 0;
/// No extended attributes.
const NONE: u32 = u32::MAX;

/// A piece of a `Texts`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Text(u32);

/// Names and link targets, each with its length (u16) before it.
#[derive(Debug, Default)]
pub(crate) struct Texts(Vec<u8>);

impl Texts {
    /// `None` when it is longer than any name or link target can be.
    pub(crate) fn add(&mut self, text: &[u8]) -> Option<Text> {
        let length = u16::try_from(text.len()).ok()?;
        let position = u32::try_from(self.0.len()).ok()?;
        self.0.extend_from_slice(&length.to_le_bytes());
        self.0.extend_from_slice(text);
        Some(Text(position))
    }

    pub(crate) fn text(&self, text: Text) -> &[u8] {
        let stored = self.0.get(text.0 as usize..).unwrap_or_default();
        let Some((length, rest)) = stored.split_first_chunk::<2>() else { return &[] };
        rest.get(..usize::from(u16::from_le_bytes(*length))).unwrap_or_default()
    }
}

/// What is set on an entry when its content is there.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Meta {
    pub(crate) mtime: i64,
    pub(crate) atime: i64,
    pub(crate) mtime_nanoseconds: u32,
    pub(crate) atime_nanoseconds: u32,
    /// The twelve bits of `chmod`.
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    xattrs: u32,
}

/// Lists of extended attributes; equal ones that follow each other are kept once.
#[derive(Debug, Default)]
pub(crate) struct XattrLists(Vec<Vec<Xattr>>);

impl XattrLists {
    pub(crate) fn of(&self, meta: &Meta) -> &[Xattr] {
        self.0.get(meta.xattrs as usize).map(Vec::as_slice).unwrap_or_default()
    }

    fn add(&mut self, xattrs: Vec<Xattr>) -> u32 {
        if xattrs.is_empty() {
            return NONE;
        }
        if self.0.last() != Some(&xattrs) {
            self.0.push(xattrs);
        }
        self.0.len() as u32 - 1
    }

    /// The metadata of a node, whose attributes it takes.
    pub(crate) fn meta(&mut self, node: &mut Node) -> Meta {
        let (mtime, mtime_nanoseconds) = node.mtime.instant();
        let (atime, atime_nanoseconds) = node.atime.instant();
        let xattrs = self.add(std::mem::take(&mut node.xattrs));
        let mode = unix_mode(node.mode);
        let (uid, gid) = (node.uid, node.gid);
        Meta { mtime, atime, mtime_nanoseconds, atime_nanoseconds, mode, uid, gid, xattrs }
    }
}

/// What stands where an entry goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Place {
    /// Nothing.
    #[default]
    Free,
    /// What can be used: a directory for a directory, a file for a file.
    Usable,
    /// Something that must go first.
    Taken,
}

/// A directory of the snapshot.
#[derive(Debug, Default)]
pub(crate) struct Dir {
    parent: u32,
    name: Text,
    /// Levels below the root.
    pub(crate) depth: u32,
    pub(crate) subtree: Id,
    pub(crate) meta: Meta,
    pub(crate) place: Place,
    /// Something of it is restored, so it is made and gets its metadata.
    pub(crate) wanted: bool,
}

/// All directories of the snapshot that may be needed, parents first.
#[derive(Debug, Default)]
pub(crate) struct Dirs {
    list: Vec<Dir>,
    names: Texts,
    pub(crate) xattrs: XattrLists,
}

impl Dirs {
    /// The root alone.
    pub(crate) fn new(tree: Id, place: Place) -> Self {
        let root = Dir { subtree: tree, place, ..Dir::default() };
        Self { list: vec![root], ..Self::default() }
    }

    /// Adds a directory to one that is there already; `None` when its name is too long.
    pub(crate) fn add(&mut self, parent: u32, node: &mut Node, subtree: Id, place: Place) -> Option<u32> {
        let number = u32::try_from(self.list.len()).ok()?;
        let name = self.names.add(&node.name)?;
        let depth = self.dir(parent)?.depth + 1;
        let meta = self.xattrs.meta(node);
        self.list.push(Dir { parent, name, depth, subtree, meta, place, wanted: false });
        Some(number)
    }

    pub(crate) fn len(&self) -> u32 {
        self.list.len() as u32
    }

    pub(crate) fn dir(&self, dir: u32) -> Option<&Dir> {
        self.list.get(dir as usize)
    }

    pub(crate) fn parent(&self, dir: u32) -> u32 {
        self.dir(dir).map_or(ROOT, |dir| dir.parent)
    }

    pub(crate) fn name(&self, dir: u32) -> &[u8] {
        self.dir(dir).map(|dir| self.names.text(dir.name)).unwrap_or_default()
    }

    /// Keeps a name for the whole run.
    pub(crate) fn keep_name(&mut self, name: &[u8]) -> Option<Text> {
        self.names.add(name)
    }

    /// A name that was kept.
    pub(crate) fn kept_name(&self, name: Text) -> &[u8] {
        self.names.text(name)
    }

    /// A directory is wanted, and so are all above it. Those that were not before, without the root, are handed
    /// to `new`.
    pub(crate) fn want(&mut self, dir: u32, mut new: impl FnMut(&Dir)) {
        let mut at = dir;
        while let Some(dir) = self.list.get_mut(at as usize).filter(|dir| !dir.wanted) {
            dir.wanted = true;
            if at != ROOT {
                new(dir);
            }
            at = dir.parent;
        }
    }

    /// The directories that are wanted, without the root, level by level from the top.
    pub(crate) fn wanted_levels(&self) -> Vec<Vec<u32>> {
        let mut levels: Vec<Vec<u32>> = Vec::new();
        for (number, dir) in self.list.iter().enumerate().skip(1).filter(|(_, dir)| dir.wanted) {
            levels.resize_with(levels.len().max(dir.depth as usize), Vec::new);
            if let Some(level) = levels.get_mut(dir.depth as usize - 1) {
                level.push(number as u32);
            }
        }
        levels
    }

    /// The path inside the snapshot of a name in a directory; of the directory itself when the name is empty.
    pub(crate) fn path(&self, dir: u32, name: &[u8]) -> Vec<u8> {
        let mut parts = vec![name];
        let mut at = dir;
        while at != ROOT {
            parts.push(self.name(at));
            at = self.parent(at);
        }
        let mut path = Vec::new();
        for part in parts.into_iter().rev().filter(|part| !part.is_empty()) {
            path.push(b'/');
            path.extend_from_slice(part);
        }
        if path.is_empty() { b"/".to_vec() } else { path }
    }

    /// The same, for people.
    pub(crate) fn path_text(&self, dir: u32, name: &[u8]) -> String {
        String::from_utf8_lossy(&self.path(dir, name)).into_owned()
    }
}

/// What an entry is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    /// A file of this many bytes.
    File { bytes: u64 },
    /// A symlink.
    Symlink { target: Text },
    /// A device node.
    Device { block: bool, number: u64 },
    /// A named pipe.
    Fifo,
    /// Another name of a file: the number of a `HardLinks` entry.
    Link { first: u32 },
}

/// A file, or anything else that is not a directory.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) dir: u32,
    pub(crate) name: Text,
    pub(crate) what: What,
    pub(crate) meta: Meta,
    pub(crate) place: Place,
    /// Bytes of the file that stands there, when it is usable.
    pub(crate) standing_bytes: u64,
    /// The file that stands there has other names: it is used only when nothing must be written to it.
    pub(crate) standing_shared: bool,
    /// How many blobs it has.
    pub(crate) uses: u32,
    /// Blobs that are still to be written.
    pub(crate) pending: AtomicU32,
    /// The file was opened by this run, so what stands there is its own work.
    pub(crate) begun: AtomicBool,
    /// It stood there as it should be, and has its metadata.
    pub(crate) done: AtomicBool,
    /// A blob of it is lost, or it could not be written: it is not finished, and told once.
    pub(crate) failed: AtomicBool,
}

impl Entry {
    /// The size of a file, 0 for all else.
    pub(crate) fn bytes(&self) -> u64 {
        if let What::File { bytes } = self.what { bytes } else { 0 }
    }

    /// One blob of it is done; whether it was the last.
    pub(crate) fn blob_done(&self) -> bool {
        self.pending.fetch_sub(1, Ordering::AcqRel) == 1
    }
}

/// A blob at its place in a file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Use {
    pub(crate) position: u64,
    /// The blob's place in the index, which has its id.
    ordinal: u32,
    /// The number of its pack in the index.
    pub(crate) pack: u32,
    pub(crate) offset: u32,
    pub(crate) length: u32,
    /// 0: stored raw.
    packed: u32,
    pub(crate) entry: u32,
}

impl Use {
    /// The blob of `id` at `position` of a file whose entry is not recorded yet; `None` when no index lists it.
    pub(crate) fn find(index: &Index, id: &Id, position: u64) -> Option<Self> {
        let (ordinal, entry) = index.find(BlobType::Data, id)?;
        Some(Self::new(u32::try_from(ordinal).ok()?, &entry, position))
    }

    pub(crate) fn new(ordinal: u32, listed: &IndexEntry, position: u64) -> Self {
        let IndexEntry { pack, extent, .. } = *listed;
        let (offset, length, packed) = (extent.offset, extent.length, extent.plain_length.unwrap_or(0));
        Self { position, ordinal, pack, offset, length, packed, entry: 0 }
    }

    /// The same, of a recorded entry.
    pub(crate) fn of_entry(self, entry: u32) -> Self {
        Self { entry, ..self }
    }

    /// The blob's id, by the index that it was found in.
    pub(crate) fn id(&self, index: &Index) -> Id {
        index.at(self.ordinal as usize).map(|entry| entry.id).unwrap_or_default()
    }

    /// The plaintext's length when it is stored compressed.
    pub(crate) fn plain_length(&self) -> Option<u32> {
        (self.packed != 0).then_some(self.packed)
    }

    /// The plaintext's length.
    pub(crate) fn plain_bytes(&self) -> u64 {
        let sealed = u64::from(self.length).saturating_sub(crate::repository::crypto::SEAL_BYTES as u64);
        self.plain_length().map_or(sealed, u64::from)
    }

    /// Where its sealed bytes end in the pack.
    pub(crate) fn end(&self) -> u64 {
        u64::from(self.offset) + u64::from(self.length)
    }
}

/// The first name of each file that has several, by inode and device of the machine that was backed up.
#[derive(Debug, Default)]
pub(crate) struct HardLinks {
    numbers: HashMap<(u64, u64), u32>,
    first: Vec<(u32, Text)>,
}

impl HardLinks {
    /// The file's number; the name becomes the first one when there is none yet.
    pub(crate) fn number(&mut self, node: &Node, dir: u32, dirs: &mut Dirs) -> Option<u32> {
        if let Some(number) = self.numbers.get(&(node.inode, node.device_id)) {
            return Some(*number);
        }
        let name = dirs.keep_name(&node.name)?;
        let number = self.first.len() as u32;
        self.first.push((dir, name));
        self.numbers.insert((node.inode, node.device_id), number);
        Some(number)
    }

    /// Directory and name (kept by `Dirs`) of the first name.
    pub(crate) fn first(&self, number: u32) -> Option<(u32, Text)> {
        self.first.get(number as usize).copied()
    }
}

/// What is carried out at once.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) entries: Vec<Entry>,
    pub(crate) uses: Vec<Use>,
    pub(crate) texts: Texts,
    pub(crate) xattrs: XattrLists,
}

impl Batch {
    /// Memory that it takes, in bytes; lists of attributes are guessed.
    pub(crate) fn memory_bytes(&self) -> u64 {
        let fixed = self.entries.len() * size_of::<Entry>() + self.uses.len() * size_of::<Use>();
        (fixed + self.texts.0.len() + self.xattrs.0.len() * 256) as u64
    }

    pub(crate) fn entry(&self, number: u32) -> Option<&Entry> {
        self.entries.get(number as usize)
    }

    pub(crate) fn name(&self, entry: &Entry) -> &[u8] {
        self.texts.text(entry.name)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;

    #[test]
    fn paths_are_put_together_and_wanting_reaches_the_root() {
        let mut dirs = Dirs::new(Id::default(), Place::Usable);
        let mut node = Node { name: b"a"[..].into(), ..Node::default() };
        let a = dirs.add(ROOT, &mut node, Id::default(), Place::Free).unwrap();
        node.name = b"b\xff"[..].into();
        let b = dirs.add(a, &mut node, Id::default(), Place::Free).unwrap();
        node.name = b"c"[..].into();
        let c = dirs.add(ROOT, &mut node, Id::default(), Place::Free).unwrap();
        assert_eq!(dirs.path(b, b"x"), b"/a/b\xff/x");
        assert_eq!(dirs.path(ROOT, b""), b"/");
        assert_eq!(dirs.path(a, b""), b"/a");
        let mut new = Vec::new();
        dirs.want(b, |dir| new.push(dir.depth));
        dirs.want(a, |dir| new.push(dir.depth));
        assert_eq!(new, [2, 1]);
        assert!(dirs.dir(ROOT).unwrap().wanted && dirs.dir(a).unwrap().wanted);
        assert!(!dirs.dir(c).unwrap().wanted);
        assert_eq!(dirs.wanted_levels(), [vec![a], vec![b]]);
    }

    #[test]
    fn texts_keep_any_bytes_and_refuse_what_is_too_long() {
        let mut texts = Texts::default();
        let (a, b) = (texts.add(b"").unwrap(), texts.add(b"x\0\xff").unwrap());
        assert_eq!((texts.text(a), texts.text(b)), (&b""[..], &b"x\0\xff"[..]));
        assert_eq!(texts.add(&vec![0; 70_000]), None);
    }

    #[test]
    fn an_entry_and_its_blob_stay_small() {
        assert!(size_of::<Entry>() <= 104, "{}", size_of::<Entry>());
        assert!(size_of::<Use>() <= 32, "{}", size_of::<Use>());
    }
}
