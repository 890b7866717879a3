//! Folders to back up: every kind of entry, every size that the chunker treats in its own way, and changes.
//!
//! All content is made from numbers, so a test that fails fails again. What only root can make is left out,
//! with a line on stderr, for everybody else.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags};

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;
/// Around the smallest and the largest chunk, and beyond.
const SIZES: [usize; 10] =
    [0, 1, 512 * KIB - 1, 512 * KIB, 512 * KIB + 1, MIB, 8 * MIB - 1, 8 * MIB, 8 * MIB + 1, 20 * MIB];

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    Random,
    Zeros,
    Text,
}

/// Bytes that look random and are the same for the same seed (xorshift64*).
pub fn random_bytes(seed: u64, bytes: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut content = Vec::with_capacity(bytes + 8);
    while content.len() < bytes {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        content.extend_from_slice(&state.wrapping_mul(0x2545_F491_4F6C_DD1D).to_le_bytes());
    }
    content.truncate(bytes);
    content
}

/// Content of a kind; equal seeds give equal content.
pub fn content(kind: Content, seed: u64, bytes: usize) -> Vec<u8> {
    match kind {
        Content::Random => random_bytes(seed, bytes),
        Content::Zeros => vec![0; bytes],
        Content::Text => {
            let mut text = Vec::with_capacity(bytes + 64);
            let mut line = 0_u64;
            while text.len() < bytes {
                text.extend_from_slice(
                    format!("{seed}: line {line} of a text that says little\n").as_bytes(),
                );
                line += 1;
            }
            text.truncate(bytes);
            text
        }
    }
}

/// Files of every size, each of random bytes, zeros and text. Where `VOLMOVER_TEST_SCALE` is 10 or more, files
/// of 1 GiB too.
pub fn every_size(root: &Path) {
    for kind in [Content::Random, Content::Zeros, Content::Text] {
        for size in SIZES {
            let name = format!("{kind:?}-{size}").to_lowercase();
            fs::write(root.join(name), content(kind, size as u64, size)).unwrap();
        }
    }
    if super::scaled(1) >= 10 {
        fs::write(root.join("random-1g"), random_bytes(7, 1 << 30)).unwrap();
        fs::File::create(root.join("zeros-1g")).unwrap().set_len(1 << 30).unwrap();
    }
}

/// Every kind of entry that is stored, and a socket, which is not.
pub fn every_kind(root: &Path) {
    fs::create_dir_all(root.join("dir/nested/deep")).unwrap();
    fs::create_dir(root.join("empty-dir")).unwrap();
    fs::write(root.join("empty"), "").unwrap();
    fs::write(root.join("short.txt"), "a short text\n").unwrap();
    fs::write(root.join("dir/nested/deep/same.txt"), "a short text\n").unwrap();
    fs::write(root.join("dir/hard-a"), "one file, two names\n").unwrap();
    fs::hard_link(root.join("dir/hard-a"), root.join("hard-b")).unwrap();
    links(root);
    modes(root);
    xattrs(root);
    names(root);
    if super::is_root() {
        specials(root);
    } else {
        super::skipped("devices and other owners: only root can make them");
    }
    rustix::fs::mknodat(CWD, root.join("fifo"), FileType::Fifo, Mode::from_raw_mode(0o640), 0).unwrap();
    times(root);
}

/// A socket, which no backup stores.
pub fn socket(root: &Path) {
    drop(std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap());
}

fn links(root: &Path) {
    let targets: [(&str, &[u8]); 4] = [
        ("link", b"short.txt"),
        ("link-dangling", b"no/such/file"),
        ("link-absolute", b"/etc/hostname"),
        ("link-latin1", b"latin1-\xe9"),
    ];
    for (name, target) in targets {
        symlink(OsStr::from_bytes(target), root.join(name)).unwrap();
    }
}

fn modes(root: &Path) {
    fs::create_dir(root.join("modes")).unwrap();
    for mode in [0o600, 0o644, 0o755, 0o4755, 0o2750, 0o1644, 0o400] {
        let path = root.join(format!("modes/{mode:o}"));
        fs::write(&path, format!("{mode:o}")).unwrap();
        if super::is_root() {
            chown(&path, Some(1001), Some(2002)).unwrap();
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }
    fs::create_dir(root.join("modes/sticky")).unwrap();
    fs::set_permissions(root.join("modes/sticky"), fs::Permissions::from_mode(0o1777)).unwrap();
}

fn xattrs(root: &Path) {
    fs::write(root.join("xattr"), "with attributes\n").unwrap();
    for path in [root.join("xattr"), root.join("empty-dir")] {
        for (name, value) in
            [("user.comment", &b"gr\xc3\xb6\xc3\x9fer"[..]), ("user.b", &[0, 255]), ("user.empty", b"")]
        {
            rustix::fs::setxattr(&path, name, value, XattrFlags::empty()).unwrap();
        }
    }
}

fn names(root: &Path) {
    fs::create_dir(root.join("names")).unwrap();
    let names: [&[u8]; 12] = [
        b"latin1-\xe9",
        "utf8-é".as_bytes(),
        "😀".as_bytes(),
        b"<html>&amp;",
        b"quote\"back\\slash",
        b"tab\tnew\nline\rbell\x07\x08\x0c",
        "line\u{2028}separator".as_bytes(),
        b"delete\x7f",
        b" space ",
        b"-dash",
        b"*star?[a]",
        b"\\x41",
    ];
    for name in names {
        fs::write(root.join("names").join(OsStr::from_bytes(name)), name).unwrap();
    }
    fs::write(root.join("names").join("n".repeat(255)), "long").unwrap();
}

fn specials(root: &Path) {
    let device = |name: &str, kind, device, mode| {
        rustix::fs::mknodat(CWD, root.join(name), kind, Mode::from_raw_mode(mode), device).unwrap();
    };
    device("null", FileType::CharacterDevice, rustix::fs::makedev(1, 3), 0o666);
    device("loop", FileType::BlockDevice, rustix::fs::makedev(7, 250), 0o660);
    let (user, group) = (Some(Uid::from_raw(1001)), Some(Gid::from_raw(2002)));
    rustix::fs::chownat(CWD, root.join("link"), user, group, AtFlags::SYMLINK_NOFOLLOW).unwrap();
    rustix::fs::chownat(CWD, root.join("empty-dir"), user, group, AtFlags::empty()).unwrap();
}

/// Times before 1970, after 2038, with and without nanoseconds; on links and directories too.
fn times(root: &Path) {
    fs::create_dir(root.join("times")).unwrap();
    let times: [(i64, i64); 6] = [
        (-2_147_483_000, 0),
        (-1, 999_999_999),
        (0, 0),
        (1, 120_000_000),
        (2_147_483_648, 1),
        (7_258_118_400, 100),
    ];
    for (seconds, nanoseconds) in times {
        let path = root.join(format!("times/{seconds}"));
        fs::write(&path, format!("{seconds}")).unwrap();
        set_mtime(&path, seconds, nanoseconds);
    }
    set_mtime(&root.join("link"), 1_000_000_000, 5);
    set_mtime(&root.join("fifo"), 1_000_000_000, 6);
    set_mtime(&root.join("dir/nested"), -5, 7);
    set_mtime(&root.join("times"), 1_700_000_000, 0);
}

/// Sets the modification time of a path itself, not of what it links to.
pub fn set_mtime(path: &Path, seconds: i64, nanoseconds: i64) {
    let time = Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
    let times = Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// A small folder for round `round` of a test that changes its source: some files stay, one grows, one is
/// new, one goes.
pub fn change(root: &Path, round: u64) {
    if round == 0 {
        every_kind(root);
        fs::write(root.join("large"), random_bytes(1, 3 * MIB)).unwrap();
    }
    let mut large = fs::read(root.join("large")).unwrap();
    large.extend(random_bytes(100 + round, 700 * KIB));
    fs::write(root.join("large"), large).unwrap();
    fs::write(root.join(format!("dir/round-{round}")), format!("round {round}\n")).unwrap();
    let _ = fs::remove_file(root.join(format!("dir/round-{}", round.wrapping_sub(3))));
}

/// Several small files in folders: enough for some packs of a small size.
pub fn files(root: &Path, count: usize, bytes: usize, seed: u64) -> Vec<PathBuf> {
    let make = |number: usize| {
        let path = root.join(format!("folder-{}/file-{number}", number % 3));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, random_bytes(seed * 1000 + number as u64, bytes)).unwrap();
        path
    };
    (0..count).map(make).collect()
}
