//! Listings: all that a restore must bring back, one line an entry, to compare folders by.
//!
//! The form is that of `fixtures/source.py list`: type, mode, owner, mtime, size, detail, first of the hard
//! links, xattrs, path; separated by tabs, sorted by path. The folder itself is left out.

use std::collections::HashMap;
use std::fmt::Write;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use volmover::repository::Id;

/// The listing of a folder.
pub fn list(root: &Path) -> String {
    let mut paths = Vec::new();
    collect(root, &mut paths);
    paths.sort_by(|a, b| a.as_os_str().cmp(b.as_os_str()));
    let mut hashes = hashes(&paths);
    let mut first_paths = HashMap::new();
    let mut text = String::new();
    for path in &paths {
        let relative = escaped(path.strip_prefix(root).unwrap().as_os_str().as_bytes());
        let status = fs::symlink_metadata(path).unwrap();
        let first = first_paths.entry((status.dev(), status.ino())).or_insert_with(|| relative.clone());
        let (kind, detail) = kind_and_detail(path, &status, &mut hashes);
        let (mode, owner) = (status.mode() & 0o7777, format!("{}:{}", status.uid(), status.gid()));
        let mtime = i128::from(status.mtime()) * 1_000_000_000 + i128::from(status.mtime_nsec());
        let size = if status.is_file() { status.len().to_string() } else { "-".to_owned() };
        let first = if status.is_file() && status.nlink() > 1 { first.as_str() } else { "-" };
        let xattrs = if status.is_file() || status.is_dir() { xattrs(path) } else { "-".to_owned() };
        writeln!(
            text,
            "{kind}\t{mode:04o}\t{owner}\t{mtime}\t{size}\t{detail}\t{first}\t{xattrs}\t{relative}"
        )
        .unwrap();
    }
    text
}

/// Panics with the lines that differ, `-` for what is missing and `+` for what is too much.
#[track_caller]
pub fn assert_same(expected: &str, actual: &str, what: &str) {
    let missing = expected.lines().filter(|line| !actual.lines().any(|other| other == *line));
    let extra = actual.lines().filter(|line| !expected.lines().any(|other| other == *line));
    let lines: Vec<_> =
        missing.map(|line| format!("-{line}")).chain(extra.map(|line| format!("+{line}"))).collect();
    assert!(lines.is_empty() && expected == actual, "{what} differs:\n{}", lines.join("\n"));
}

fn collect(folder: &Path, paths: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            collect(&entry.path(), paths);
        }
        paths.push(entry.path());
    }
}

/// The hashes of the files' content, in the order of their paths. Some at once: they are most of the work.
fn hashes(paths: &[PathBuf]) -> impl Iterator<Item = Id> {
    let files: Vec<_> = paths.iter().filter(|path| fs::symlink_metadata(path).unwrap().is_file()).collect();
    let mut hashes = Vec::new();
    for files in files.chunks(Id::at_once()) {
        let contents: Vec<_> = files.iter().map(|path| fs::read(path).unwrap()).collect();
        hashes.extend(Id::of_many(&contents.iter().map(Vec::as_slice).collect::<Vec<_>>()).unwrap());
    }
    hashes.into_iter()
}

fn kind_and_detail(
    path: &Path,
    status: &fs::Metadata,
    hashes: &mut impl Iterator<Item = Id>,
) -> (char, String) {
    let kind = status.file_type();
    let device = || format!("{}:{}", rustix::fs::major(status.rdev()), rustix::fs::minor(status.rdev()));
    if kind.is_file() {
        ('f', hashes.next().unwrap().hex())
    } else if kind.is_dir() {
        ('d', "-".to_owned())
    } else if kind.is_symlink() {
        ('l', escaped(fs::read_link(path).unwrap().as_os_str().as_bytes()))
    } else if kind.is_char_device() {
        ('c', device())
    } else if kind.is_block_device() {
        ('b', device())
    } else if kind.is_fifo() {
        ('p', "-".to_owned())
    } else {
        ('s', "-".to_owned())
    }
}

fn xattrs(path: &Path) -> String {
    let mut names = vec![0_u8; 65536];
    let length = rustix::fs::llistxattr(path, &mut names).unwrap_or(0);
    let mut names: Vec<&[u8]> =
        names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()).collect();
    names.sort_unstable();
    let fields: Vec<_> = names
        .iter()
        .map(|name| {
            let mut value = vec![0_u8; 65536];
            let length = rustix::fs::lgetxattr(path, *name, &mut value).unwrap();
            let mut field = format!("{}=", String::from_utf8_lossy(name));
            value[..length].iter().for_each(|byte| write!(field, "{byte:02x}").unwrap());
            field
        })
        .collect();
    if fields.is_empty() { "-".to_owned() } else { fields.join(",") }
}

fn escaped(raw: &[u8]) -> String {
    let mut text = String::new();
    for byte in raw {
        match byte {
            0x21..=0x7e if *byte != b'\\' => text.push(char::from(*byte)),
            _ => write!(text, "\\x{byte:02x}").unwrap(),
        }
    }
    text
}
