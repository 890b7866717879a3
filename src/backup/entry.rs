//! One entry of the file system → its node: what `stat`, `readlink` and `listxattr` say of it.
//!
//! User and group names come from `/etc/passwd` and `/etc/group` as files, because a static binary has no
//! name services. Content is not read here.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use jiff::tz::TimeZone;
use rustix::fs::{Stat, lgetxattr, llistxattr};
use rustix::io::Errno;

use crate::repository::tree::{Node, NodeKind, NodeTime, Xattr, go_mode};

/// Names of users and groups by id.
#[derive(Debug, Default)]
pub struct Names {
    users: HashMap<u32, String>,
    groups: HashMap<u32, String>,
}

impl Names {
    /// Reads `etc/passwd` and `etc/group` below `root`; a missing file names nobody.
    #[must_use]
    pub fn read(root: &Path) -> Self {
        let read = |file| std::fs::read_to_string(root.join(file)).unwrap_or_default();
        Self { users: by_id(&read("etc/passwd")), groups: by_id(&read("etc/group")) }
    }

    /// The user's name.
    #[must_use]
    pub fn user(&self, uid: u32) -> Option<&str> {
        self.users.get(&uid).map(String::as_str)
    }

    fn group(&self, gid: u32) -> Option<&str> {
        self.groups.get(&gid).map(String::as_str)
    }
}

/// Lines `name:password:id:…`; the first line of an id counts.
fn by_id(file: &str) -> HashMap<u32, String> {
    let mut names = HashMap::new();
    for line in file.lines() {
        let mut fields = line.split(':');
        if let (Some(name), Some(_), Some(Ok(id))) =
            (fields.next(), fields.next(), fields.next().map(str::parse))
        {
            names.entry(id).or_insert_with(|| name.to_owned());
        }
    }
    names
}

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
        let owned = |name: Option<&str>| name.unwrap_or_default().to_owned();
        let has_links = !matches!(kind, NodeKind::Dir | NodeKind::Fifo);
        let is_device = matches!(kind, NodeKind::BlockDevice | NodeKind::CharDevice);
        Node {
            name: name.to_vec(),
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

/// The extended attributes of an entry, not followed when it is a symlink. A file system without them has none.
pub fn xattrs(path: &Path) -> Result<Vec<Xattr>, Errno> {
    let mut names = Vec::new();
    let length = match sized(&mut names, |buffer| llistxattr(path, buffer)) {
        Err(Errno::NOTSUP | Errno::NOSYS | Errno::PERM) => return Ok(Vec::new()),
        listed => listed?,
    };
    names.truncate(length);
    let mut attributes = Vec::new();
    for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let mut value = Vec::new();
        match sized(&mut value, |buffer| lgetxattr(path, OsStr::from_bytes(name), buffer)) {
            Ok(length) => {
                value.truncate(length);
                attributes.push(Xattr { name: name.to_vec(), value });
            }
            // Removed since it was listed.
            Err(Errno::NODATA) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(attributes)
}

/// Calls `read` with no room to learn the size, then with room, until it fits.
fn sized(buffer: &mut Vec<u8>, read: impl Fn(&mut [u8]) -> Result<usize, Errno>) -> Result<usize, Errno> {
    loop {
        let length = read(&mut [])?;
        if length == 0 {
            return Ok(0);
        }
        buffer.resize(length, 0);
        match read(buffer) {
            Err(Errno::RANGE) => {}
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_from_files() {
        let users = by_id("root:x:0:0:root:/root:/bin/sh\nbad line\napp:x:1000:1000::/:\ntoor:x:0:0::/:\n");
        assert_eq!(users.get(&0).map(String::as_str), Some("root"));
        assert_eq!(users.get(&1000).map(String::as_str), Some("app"));
        assert_eq!(users.len(), 2);
    }
}
