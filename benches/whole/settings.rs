//! What `benches/README.md` lists: the variables of the whole-run bench, read once.

use std::env;
use std::fmt;
use std::path::{Path, PathBuf};

use super::Outcome;
use super::line::Line;

/// Where repositories are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StoreKind {
    Local,
    S3,
}

impl fmt::Display for StoreKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Local => "local",
            Self::S3 => "S3",
        })
    }
}

#[derive(Debug)]
pub(super) struct Settings {
    pub(super) corpora: Vec<String>,
    pub(super) turns: usize,
    pub(super) folder: PathBuf,
    pub(super) store: StoreKind,
    /// What the way to an S3 store is like.
    pub(super) line: Line,
    pub(super) cheap_keys: bool,
    pub(super) peers: PathBuf,
}

impl Settings {
    pub(super) fn from_environment() -> Outcome<Self> {
        let corpora = text("VOLMOVER_BENCH_CORPUS").unwrap_or_else(|| "small".to_owned());
        let turns = text("VOLMOVER_BENCH_RUNS").map_or(Ok(3), |turns| turns.parse())?;
        let store = match text("VOLMOVER_BENCH_STORE").as_deref() {
            None | Some("local") => StoreKind::Local,
            Some("s3") => StoreKind::S3,
            Some(other) => return Err(format!("VOLMOVER_BENCH_STORE={other}: local or s3").into()),
        };
        let line = text("VOLMOVER_BENCH_LINE").map_or(Ok(Line::default()), |line| parse_line(&line))?;
        let cheap_keys = match text("VOLMOVER_BENCH_KEYS").as_deref() {
            None | Some("real") => false,
            Some("cheap") => true,
            Some(other) => return Err(format!("VOLMOVER_BENCH_KEYS={other}: real or cheap").into()),
        };
        let corpora = corpora.split(',').map(str::to_owned).collect();
        let folder = text("VOLMOVER_BENCH_DIR").map_or_else(default_folder, PathBuf::from);
        Ok(Self { corpora, turns, folder, store, line, cheap_keys, peers: peers() })
    }

    pub(super) fn keys(&self) -> &'static str {
        if self.cheap_keys && self.store == StoreKind::Local { "cheap" } else { "real" }
    }
}

fn parse_line(text: &str) -> Outcome<Line> {
    Line::parse(text)
        .ok_or_else(|| format!("VOLMOVER_BENCH_LINE={text}: such as 20ms, 100mbit or 20ms,1%:2s").into())
}

fn text(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

/// Memory where there is some: what is compared is the tools, not the disk.
fn default_folder() -> PathBuf {
    let memory = Path::new("/dev/shm");
    if tempfile::tempdir_in(memory).is_ok() { memory.to_owned() } else { env::temp_dir() }
}

fn peers() -> PathBuf {
    let cache = env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| env::home_dir().map(|home| home.join(".cache")))
        .unwrap_or_default();
    env::var_os("VOLMOVER_PEERS").map_or_else(|| cache.join("volmover/peers"), PathBuf::from)
}
