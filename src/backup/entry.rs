//! One entry of the file system → its node: what `stat`, `readlink` and `listxattr` say of it.
//!
//! Content is not read here.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use jiff::tz::TimeZone;
use rustix::fs::{Stat, lgetxattr, llistxattr};
use rustix::io::Errno;

use crate::host::Names;
use crate::repository::tree::{Name, Node, NodeKind, NodeTime, Owner, Xattr, go_mode};

/// Makes nodes.
#[derive(Debug)]
pub struct NodeMaker {
    /// Names by id.
    pub names: Names,
    /// The zone that times inside trees are written in (`TZ`).
    pub zone: TimeZone,
}

impl NodeMaker {
    /// The node of an entry without xattrs, link target, content and subtree.
    #[must_use]
    pub fn node(&self, name: &[u8], stat: &Stat) -> Node {
        let kind = NodeKind::from_st_mode(stat.st_mode);
        let mtime = self.time(stat.st_mtime, stat.st_mtime_nsec as i64);
        let owned = |name: Option<&str>| Owner::from_slice(name.unwrap_or_default().as_bytes());
        let has_links = !matches!(kind, NodeKind::Dir | NodeKind::Fifo);
        let is_device = matches!(kind, NodeKind::BlockDevice | NodeKind::CharDevice);
        Node {
            name: Name::from_slice(name),
            kind,
            mode: go_mode(stat.st_mode),
            mtime,
            atime: mtime,
            ctime: self.time(stat.st_ctime, stat.st_ctime_nsec as i64),
            uid: stat.st_uid,
            gid: stat.st_gid,
            user: owned(self.names.user(stat.st_uid)),
            group: owned(self.names.group(stat.st_gid)),
            inode: stat.st_ino,
            device_id: stat.st_dev,
            size: if kind == NodeKind::File { stat.st_size as u64 } else { 0 },
            links: if has_links { u64::from(stat.st_nlink as u32) } else { 0 },
            device: if is_device { stat.st_rdev } else { 0 },
            ..Node::default()
        }
    }

    fn time(&self, seconds: i64, nanoseconds: i64) -> NodeTime {
        NodeTime::from_unix(seconds, nanoseconds as u32, &self.zone)
    }
}

/// Room for the names, or for a value, at first; most entries have none.
const XATTR_BYTES: usize = 256;
/// No list and no value is longer on Linux (`XATTR_LIST_MAX`, `XATTR_SIZE_MAX`: 64 KiB).
const XATTR_BYTES_MAX: usize = 256 << 10;

/// The extended attributes of an entry, not followed when it is a symlink. A file system without them has none.
pub fn xattrs(path: &Path) -> Result<Vec<Xattr>, Errno> {
    let names = match with_enough_room(|buffer| llistxattr(path, buffer)) {
        Err(Errno::NOTSUP | Errno::NOSYS | Errno::PERM) => return Ok(Vec::new()),
        listed => listed?,
    };
    let mut attributes = Vec::new();
    for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        match with_enough_room(|buffer| lgetxattr(path, OsStr::from_bytes(name), buffer)) {
            Ok(value) => attributes.push(Xattr { name: name.to_vec(), value }),
            // Removed since it was listed.
            Err(Errno::NODATA) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(attributes)
}

/// Calls `read` with more and more room until all fits. Never with none: rustix answers that with a length of 0.
pub(crate) fn with_enough_room(read: impl Fn(&mut [u8]) -> Result<usize, Errno>) -> Result<Vec<u8>, Errno> {
    let mut short = [0; XATTR_BYTES];
    match read(&mut short) {
        Err(Errno::RANGE) => {}
        read => return Ok(short.get(..read?).unwrap_or_default().to_vec()),
    }
    let mut buffer = vec![0; XATTR_BYTES * 4];
    loop {
        match read(&mut buffer) {
            Err(Errno::RANGE) if buffer.len() < XATTR_BYTES_MAX => buffer.resize(buffer.len() * 4, 0),
            read => {
                buffer.truncate(read?);
                return Ok(buffer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn attributes_of_any_length_are_read() {
        let file = tempfile::NamedTempFile::new_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        for (name, value) in
            [("user.empty", vec![]), ("user.short", vec![0, 255]), ("user.long", vec![7; 3000])]
        {
            let flags = rustix::fs::XattrFlags::empty();
            if rustix::fs::setxattr(file.path(), name, &value, flags) == Err(Errno::NOTSUP) {
                return;
            }
            let found = xattrs(file.path()).unwrap();
            assert!(
                found.iter().any(|xattr| xattr.name == name.as_bytes() && xattr.value == value),
                "{name}"
            );
        }
    }
}
