//! What is left out of a backup: patterns, marked directories, sizes, other file systems, ignore files.
//!
//! `lost+found` at the root always is; the rest is by options with restic's meaning. An ignore file's
//! patterns count from its own directory; how many entries they leave out is counted, because nobody who
//! reads the options can see them.

use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::Stat;

use super::directory::Directory;
use crate::error::{Error, Result};
use crate::pattern::Patterns;
use crate::report::Count;

/// The first bytes of a `CACHEDIR.TAG` that counts (<https://bford.info/cachedir/>).
const CACHE_TAG: &str = "CACHEDIR.TAG:Signature: 8a477f597d28d172789f06886806bc55";

/// The rules of a run.
#[derive(Debug, Default)]
pub struct Excludes {
    patterns: Patterns,
    folded: Patterns,
    markers: Vec<Marker>,
    larger_than: Option<u64>,
    one_file_system: bool,
    ignore_files: Vec<String>,
    /// Entries that ignore files left out.
    pub ignored: Count,
}

/// What the rules are made from.
#[derive(Debug, Clone, Default)]
pub struct ExcludeOptions {
    /// `MOVER_EXCLUDE`, one pattern a line.
    pub patterns: Vec<String>,
    /// `MOVER_IEXCLUDE`: the same, upper and lower case alike.
    pub folded_patterns: Vec<String>,
    /// `MOVER_EXCLUDE_CACHES`
    pub caches: bool,
    /// `MOVER_EXCLUDE_IF_PRESENT`: `name` or `name:header`.
    pub if_present: Vec<String>,
    /// `MOVER_EXCLUDE_LARGER_THAN`, in bytes.
    pub larger_than: Option<u64>,
    /// `MOVER_ONE_FILE_SYSTEM`
    pub one_file_system: bool,
    /// `MOVER_IGNORE_FILES`: names of ignore files.
    pub ignore_files: Vec<String>,
}

/// A file whose presence leaves out all but itself of its directory.
#[derive(Debug)]
struct Marker {
    name: String,
    header: String,
}

/// The patterns of one ignore file, and the directory that they count from.
#[derive(Debug)]
pub struct IgnoreFile {
    base: PathBuf,
    patterns: Patterns,
}

impl Excludes {
    /// The rules; a malformed pattern is a usage error.
    pub fn new(options: ExcludeOptions) -> Result<Self> {
        let parse = |variable: &str, lines: &[String], fold| {
            Patterns::parse(lines, fold)
                .map_err(|cause| Error::usage(format!("invalid {variable}")).because(cause))
        };
        let mut markers = Vec::new();
        if options.caches {
            markers.push(Marker { name: "CACHEDIR.TAG".to_owned(), header: CACHE_TAG.to_owned() });
        }
        for marker in &options.if_present {
            let (name, header) = marker.split_once(':').unwrap_or((marker, ""));
            if name.is_empty() || name.contains('/') {
                return Err(Error::usage("invalid MOVER_EXCLUDE_IF_PRESENT").because(format!(
                    "{marker:?} is not a file name, or a file name and a header after a colon"
                )));
            }
            markers.push(Marker { name: name.to_owned(), header: header.to_owned() });
        }
        Ok(Self {
            patterns: parse("MOVER_EXCLUDE", &options.patterns, false)?,
            folded: parse("MOVER_IEXCLUDE", &options.folded_patterns, true)?,
            markers,
            larger_than: options.larger_than,
            one_file_system: options.one_file_system,
            ignore_files: options.ignore_files,
            ignored: Count::default(),
        })
    }

    /// Takes out of a directory's names what a marker or the root's rule leaves out.
    pub fn names(&self, directory: &Directory, names: &mut Vec<Vec<u8>>) {
        if directory.above.is_none() {
            names.retain(|name| name != b"lost+found");
        }
        for marker in &self.markers {
            let is_there = names.iter().any(|name| name == marker.name.as_bytes());
            if is_there && marker.counts(&directory.path) {
                names.retain(|name| name == marker.name.as_bytes());
            }
        }
    }

    /// The ignore files among a directory's names, read.
    pub fn read_ignore_files(
        &self,
        directory: &Directory,
        names: &[Vec<u8>],
    ) -> Vec<(PathBuf, Result<IgnoreFile, String>)> {
        let there = |file: &&String| names.iter().any(|name| name == file.as_bytes());
        let read = |file: &String| {
            let path = directory.path.join(file);
            let text = std::fs::read_to_string(&path).map_err(|cause| cause.to_string());
            let patterns = text.and_then(|text| parse_ignore_file(&text));
            (path, patterns.map(|patterns| IgnoreFile { base: directory.path.clone(), patterns }))
        };
        self.ignore_files.iter().filter(there).map(read).collect()
    }

    /// Whether an entry is left out by its path and what `stat` says.
    #[must_use]
    pub fn entry(&self, directory: &Directory, root_device: u64, path: &Path, stat: &Stat) -> bool {
        let kind = rustix::fs::FileType::from_raw_mode(stat.st_mode);
        let is_directory = kind == rustix::fs::FileType::Directory;
        // A mount point is kept as an empty directory, as restic does.
        let mount_point = is_directory && directory.device == root_device;
        let bytes = path.as_os_str().as_bytes();
        (self.one_file_system && stat.st_dev != root_device && !mount_point)
            || (!is_directory && self.larger_than.is_some_and(|most| stat.st_size as u64 > most))
            || self.patterns.matches(bytes).matched
            || self.folded.matches(bytes).matched
            || self.is_ignored(directory, path)
    }

    fn is_ignored(&self, directory: &Directory, path: &Path) -> bool {
        let ignored = directory.ignore_files().iter().any(|file| file.matches(path));
        self.ignored.add(u64::from(ignored));
        ignored
    }
}

impl Marker {
    fn counts(&self, directory: &Path) -> bool {
        let mut head = vec![0; self.header.len()];
        let read =
            std::fs::File::open(directory.join(&self.name)).and_then(|mut file| file.read_exact(&mut head));
        self.header.is_empty() || (read.is_ok() && head == self.header.as_bytes())
    }
}

impl IgnoreFile {
    fn matches(&self, path: &Path) -> bool {
        let Ok(below) = path.strip_prefix(&self.base) else { return false };
        let rooted: PathBuf = [OsStr::new("/"), below.as_os_str()].iter().collect();
        self.patterns.matches(rooted.as_os_str().as_bytes()).matched
    }
}

/// One pattern a line; `#` begins a comment, a slash at the end says nothing.
fn parse_ignore_file(text: &str) -> Result<Patterns, String> {
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| line.strip_suffix('/').unwrap_or(line))
        .collect();
    Patterns::parse(&lines, false).map_err(|cause| cause.to_string())
}
