//! What is backed up: folders made here from nothing, or found on this machine.
//!
//! `small` is made in seconds; `random`, `tar` and `linux` are the ones that published figures come from; a name
//! with a slash is a folder of the caller's. Content is the same in every run: the generator has a fixed seed.
//! What is found is copied, because one file of a hundred changes in every turn, and changes back.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::Outcome;

const MIB: u64 = 1 << 20;
const TAR_BYTES: u64 = 1_500_000_000;

/// How much a folder holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Shape {
    entries: u64,
    bytes: u64,
}

/// A folder to back up.
#[derive(Debug)]
pub(super) struct Corpus {
    pub(super) name: String,
    pub(super) folder: PathBuf,
    shape: Shape,
}

/// A file that was changed, and the byte that stood at its middle.
#[derive(Debug)]
pub(super) struct Changed(PathBuf, u64, u8);

impl fmt::Display for Corpus {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = self.shape.bytes as f64 / MIB as f64;
        write!(formatter, "{}: {} entries, {mib:.1} MiB", self.name, self.shape.entries)
    }
}

impl Corpus {
    pub(super) fn prepare(name: &str, work: &Path, peers: &Path) -> Outcome<Self> {
        let folder = work.join("corpus");
        fs::create_dir_all(&folder)?;
        match name {
            "small" => make_small(&folder)?,
            "random" => make_random(&folder.join("random"), 1024 * MIB, 1)?,
            "tar" => make_tar(&folder.join("usr.tar"))?,
            "linux" => copy(&peers.join("corpus/linux"), &folder)?,
            _ => copy(Path::new(name), &folder)?,
        }
        Self::of(name, folder)
    }

    /// What is in a folder.
    pub(super) fn of(name: &str, folder: PathBuf) -> Outcome<Self> {
        let mut shape = Shape::default();
        measure(&folder, &mut shape)?;
        Ok(Self { name: name.to_owned(), folder, shape })
    }

    pub(super) fn remove(&self) -> Outcome<()> {
        Ok(fs::remove_dir_all(&self.folder)?)
    }

    /// Changes the byte in the middle of one file of a hundred, or of the only one.
    pub(super) fn change(&self) -> Outcome<Vec<Changed>> {
        let mut changed = Vec::new();
        for path in hundredth(&self.folder)? {
            let file = File::options().read(true).write(true).open(&path)?;
            let middle = file.metadata()?.len() / 2;
            let mut byte = [0];
            if file.read_at(&mut byte, middle)? == 1 {
                let [old] = byte;
                file.write_all_at(&[old ^ 1], middle)?;
                changed.push(Changed(path, middle, old));
            }
        }
        Ok(changed)
    }

    /// Brings it into the page cache, so that the first tool does not pay for the disk.
    pub(super) fn read_once(&self) -> Outcome<()> {
        read_all(&self.folder)
    }

    /// Whether a restored folder holds as much; a bench is no proof, but must not time a restore of nothing.
    pub(super) fn compare(&self, restored: &Path) -> Outcome<()> {
        let mut shape = Shape::default();
        measure(restored, &mut shape)?;
        if shape == self.shape {
            Ok(())
        } else {
            Err(format!("{shape:?} instead of {:?}", self.shape).into())
        }
    }
}

fn measure(folder: &Path, shape: &mut Shape) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let status = entry.metadata()?;
        shape.entries += 1;
        if status.is_dir() {
            measure(&entry.path(), shape)?;
        } else if status.is_file() {
            shape.bytes += status.size();
        }
    }
    Ok(())
}

/// Takes the changes of a corpus back.
pub(super) fn change_back(changed: Vec<Changed>) -> Outcome<()> {
    for Changed(path, place, byte) in changed {
        File::options().write(true).open(&path)?.write_all_at(&[byte], place)?;
    }
    Ok(())
}

/// One file of a hundred, in the order of names, or the first.
pub(super) fn hundredth(folder: &Path) -> Outcome<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() && entry.metadata()?.nlink() == 1 {
                files.push(entry.path());
            }
        }
    }
    files.sort();
    Ok(files.into_iter().step_by(100).collect())
}

fn copy(from: &Path, to: &Path) -> Outcome<()> {
    if !from.is_dir() {
        return Err(format!("{}: no such folder (`.ci/peers corpus` gets linux)", from.display()).into());
    }
    let copied = Command::new("cp").arg("-aT").args([from, to]).status()?;
    if copied.success() { Ok(()) } else { Err(format!("{} cannot be copied", from.display()).into()) }
}

fn read_all(folder: &Path) -> Outcome<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            read_all(&entry.path())?;
        } else if kind.is_file() {
            io::copy(&mut File::open(entry.path())?, &mut io::sink())?;
        }
    }
    Ok(())
}

/// A few thousand small files of text, 64 MiB that do not compress, 64 MiB of programs.
fn make_small(folder: &Path) -> Outcome<()> {
    let mut noise = Noise(7);
    for number in 0..3000_u64 {
        let parent = folder.join(format!("files/{:02}/{:02}", number % 20, number / 20 % 10));
        fs::create_dir_all(&parent)?;
        let mut file = BufWriter::new(File::create(parent.join(format!("{number}.txt")))?);
        for line in 0..noise.next() % 500 {
            writeln!(
                file,
                "{number} {line} {:x} some words that repeat in every line",
                noise.next() % 65536
            )?;
        }
        file.flush()?;
    }
    make_random(&folder.join("random"), 64 * MIB, 2)?;
    let mut programs: Vec<_> =
        fs::read_dir("/usr/bin")?.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<_>>()?;
    programs.sort();
    let mut binary = File::create(folder.join("programs"))?;
    let mut left = 64 * MIB;
    for program in programs.iter().filter(|program| program.is_file()) {
        left -= io::copy(&mut File::open(program)?.take(left), &mut binary)?;
    }
    Ok(())
}

fn make_random(path: &Path, bytes: u64, seed: u64) -> Outcome<()> {
    let mut noise = Noise(seed);
    let mut file = BufWriter::with_capacity(1 << 20, File::create(path)?);
    for _ in 0..bytes / 8 {
        file.write_all(&noise.next().to_le_bytes())?;
    }
    Ok(file.flush()?)
}

fn make_tar(path: &Path) -> Outcome<()> {
    let mut tar = Command::new("tar")
        .args(["--sort=name", "-C", "/", "-cf", "-", "usr"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let stream = tar.stdout.take().ok_or("tar has no output")?;
    io::copy(&mut stream.take(TAR_BYTES), &mut File::create(path)?)?;
    // It may still be writing: the rest is not wanted.
    tar.kill()?;
    tar.wait()?;
    Ok(())
}

/// splitmix64: a fixed sequence without any structure that a compressor finds.
pub(super) struct Noise(pub(super) u64);

impl Noise {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
