//! Trees and nodes: how a directory is recorded, byte for byte as restic 0.19 writes it.

use super::Id;

/// The type of a node. Sockets are read but never written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum NodeKind {
    /// `file`
    #[default]
    File,
    /// `dir`
    Dir,
    /// `symlink`
    Symlink,
    /// `dev`
    BlockDevice,
    /// `chardev`
    CharDevice,
    /// `fifo`
    Fifo,
    /// `socket`
    Socket,
    /// Anything else, e.g. `irregular`: skipped with a warning.
    Irregular,
}

/// An instant as a node or snapshot records it: with the offset of the zone it was written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct NodeTime {
    /// Seconds since 1970, negative before.
    pub seconds: i64,
    /// 0 to 999 999 999.
    pub nanoseconds: u32,
    /// East of UTC, in seconds.
    pub offset_seconds: i32,
}

/// One extended attribute.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Xattr {
    /// The full name, e.g. `user.comment`, as raw bytes.
    pub name: Vec<u8>,
    /// The raw value.
    pub value: Vec<u8>,
}

/// The recorded form of one entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Node {
    /// The raw name, unquoted.
    pub name: Vec<u8>,
    /// What it is.
    pub kind: NodeKind,
    /// Go's `FileMode`: permission bits, and its own bits for the type and setuid, setgid, sticky.
    pub mode: u32,
    /// Last modification of the content.
    pub mtime: NodeTime,
    /// Recorded equal to `mtime`.
    pub atime: NodeTime,
    /// Last change of the inode.
    pub ctime: NodeTime,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// The owner's name, empty when unknown.
    pub user: String,
    /// The group's name, empty when unknown.
    pub group: String,
    /// Inode number, 0 when unknown.
    pub inode: u64,
    /// The device that holds it.
    pub device_id: u64,
    /// Bytes of a file.
    pub size: u64,
    /// Number of hard links.
    pub links: u64,
    /// The target of a symlink, raw bytes.
    pub link_target: Vec<u8>,
    /// In the order of `listxattr`.
    pub xattrs: Vec<Xattr>,
    /// `generic_attributes`: a JSON object as text, kept as it was read; written by other systems only.
    pub generic_attributes: Option<String>,
    /// The device number of a device node.
    pub device: u64,
    /// The data blobs of a file in order; `None` is `null`, written for all but files.
    pub content: Option<Vec<Id>>,
    /// The tree of a directory.
    pub subtree: Option<Id>,
    /// What went wrong when it was read.
    pub error: String,
}

/// A directory: nodes, strictly ascending by raw name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tree {
    /// The nodes.
    pub nodes: Vec<Node>,
}

impl Tree {
    /// Reads the JSON of a tree.
    pub fn decode(_json: &[u8]) -> Result<Self, std::fmt::Error> {
        Err(std::fmt::Error)
    }
}
