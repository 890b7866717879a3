//! `doctor`: tries all that a run needs, a line each with what to do, and takes no lock.
//!
//! ```text
//! configuration → dns → connect → tls → list → put → get → clock → delete → repository      cache      target
//! ```
//! Each step is tried once, without retries. What fails skips the steps that rest on it, not the others; the
//! run ends with the first failure. The probe that is written lies in a folder that restic does not know.

use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use rustix::fs::Access as Rights;

use crate::backend::{Backend, BackendErrorKind, BackendResult, FileType};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::random::{Random, random_array};
use crate::report::format;
use crate::repository::Id;

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(10);
/// S3 refuses requests whose time is so far off; locks go stale after twice as long.
const CLOCK_SECONDS_MAX: i64 = 15 * 60;
/// A difference that is worth a word.
const CLOCK_SECONDS_ODD: i64 = 60;

/// How a step went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Well.
    Good,
    /// It does not apply, or is odd.
    Note,
    /// It failed.
    Failed(Error),
}

/// One step, its outcome and what to say of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// `dns`, `list`, …
    pub name: &'static str,
    /// How it went.
    pub outcome: Outcome,
    /// What was found, and what to do.
    pub detail: String,
}

/// Where a store that is reached over a network is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The host's name or address.
    pub host: String,
    /// The port.
    pub port: u16,
    /// It speaks TLS.
    pub secure: bool,
    /// It is reached through a proxy, which resolves and connects in our place.
    pub proxied: bool,
}

/// What is examined.
pub struct Examination<'a> {
    /// The whole configuration in a line.
    pub configuration: String,
    /// The host; none: the store is a folder.
    pub endpoint: Option<Endpoint>,
    /// The folder, when it is one.
    pub folder: Option<PathBuf>,
    /// Makes the store, without retries.
    pub connect: &'a dyn Fn() -> Result<Arc<dyn Backend>>,
    /// Opens the repository: its id.
    pub open: &'a dyn Fn(Arc<dyn Backend>) -> Result<String>,
    /// A missing repository is created by the first run.
    pub creates: bool,
    /// Nothing may be written.
    pub dry_run: bool,
    /// The cache, if any is known.
    pub cache: Option<PathBuf>,
    /// Source of backup, target of restore.
    pub target: PathBuf,
    /// The clock of this run.
    pub clock: &'a dyn Clock,
    /// The randomness of this run.
    pub random: &'a dyn Random,
}

impl std::fmt::Debug for Examination<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Examination({})", self.configuration)
    }
}

/// Takes all steps; each is handed to `tell` as soon as it is known. The first failure is the result.
pub fn run(examination: &Examination<'_>, tell: &mut dyn FnMut(&Step)) -> Result<()> {
    let mut steps = Steps { tell, first: None };
    steps.good("configuration", examination.configuration.clone());
    if examination.reach(&mut steps) {
        examination.store(&mut steps);
    }
    examination.cache(&mut steps);
    examination.target(&mut steps);
    steps.first.map_or(Ok(()), Err)
}

struct Steps<'a> {
    tell: &'a mut dyn FnMut(&Step),
    first: Option<Error>,
}

impl Steps<'_> {
    fn good(&mut self, name: &'static str, detail: String) {
        (self.tell)(&Step { name, outcome: Outcome::Good, detail });
    }

    fn note(&mut self, name: &'static str, detail: String) {
        (self.tell)(&Step { name, outcome: Outcome::Note, detail });
    }

    fn failed(&mut self, name: &'static str, error: Error) {
        let detail = error.to_string();
        self.first.get_or_insert_with(|| error.clone());
        (self.tell)(&Step { name, outcome: Outcome::Failed(error), detail });
    }

    /// Tells of a step, and hands on what it found.
    fn tried<T>(&mut self, name: &'static str, found: Result<(T, String)>) -> Option<T> {
        match found {
            Ok((value, detail)) => {
                self.good(name, detail);
                Some(value)
            }
            Err(error) => {
                self.failed(name, error);
                None
            }
        }
    }
}

impl Examination<'_> {
    /// Whether the store's host can be reached.
    fn reach(&self, steps: &mut Steps<'_>) -> bool {
        let Some(endpoint) = &self.endpoint else { return true };
        if endpoint.proxied {
            steps.note("dns", "a proxy resolves and connects".to_owned());
            return true;
        }
        let Some(addresses) = steps.tried("dns", resolve(endpoint)) else { return false };
        steps.tried("connect", connect(&addresses)).is_some()
    }

    fn store(&self, steps: &mut Steps<'_>) {
        let backend = match (self.connect)() {
            Ok(backend) => backend,
            Err(error) => return steps.failed("store", error),
        };
        let listed = backend.list(FileType::Snapshot);
        if let Some(endpoint) = &self.endpoint {
            match &listed {
                _ if !endpoint.secure => {
                    steps.note("tls", "none: http:// is for networks that nobody else uses".to_owned());
                }
                // It answers, but not as whom it is called: no other failure to reach it lasts.
                Err(error) if error.kind == BackendErrorKind::Unreachable && !error.temporary => {
                    return steps.failed("tls", error.clone().into());
                }
                _ => steps.good("tls", "the certificate is trusted".to_owned()),
            }
        }
        match listed {
            Ok(snapshots) => {
                steps.good("list", format!("credentials are accepted, {} snapshots", snapshots.len()));
                if self.probe(backend.as_ref(), steps) {
                    self.repository(backend, steps);
                }
            }
            Err(error) if error.is_not_found() => self.nothing_there(steps),
            Err(error) => steps.failed("list", error.into()),
        }
    }

    /// The bucket or the folder does not exist.
    fn nothing_there(&self, steps: &mut Steps<'_>) {
        if !self.creates {
            let error = Error::new(ErrorKind::RepositoryMissing, "there is no repository")
                .because("its bucket or folder does not exist")
                .then("Check what is mounted and RESTIC_REPOSITORY; MOVER_ON_MISSING=create makes it");
            return steps.failed("repository", error);
        }
        let Some(folder) = &self.folder else {
            return steps
                .note("list", "the bucket does not exist: the first run makes it, if it may".to_owned());
        };
        match nearest_existing(folder) {
            Some(above) if may(&above, Rights::WRITE_OK | Rights::EXEC_OK) => steps.note(
                "list",
                format!("{} does not exist: the first run makes it in {}", folder.display(), above.display()),
            ),
            above => {
                let above = above.map_or_else(|| "/".to_owned(), |above| above.display().to_string());
                let error = Error::new(ErrorKind::Denied, "the repository's folder cannot be made")
                    .at(above)
                    .because("this user may not write there")
                    .then("Mount the volume, or run as a user who may write to it");
                steps.failed("list", error);
            }
        }
    }

    /// Puts, gets, lists and deletes an object; whether all of that works.
    fn probe(&self, backend: &dyn Backend, steps: &mut Steps<'_>) -> bool {
        if self.dry_run {
            steps.note("put", "left out: MOVER_DRY_RUN is set".to_owned());
            return true;
        }
        let name = match random_array::<32>(self.random) {
            Ok(random) => Id::of(&random).hex(),
            Err(error) => {
                steps.failed("put", error);
                return false;
            }
        };
        let data = Bytes::from(format!("volmover doctor {name}\n"));
        let before = self.clock.now();
        let put = said(backend.write(FileType::Probe, &name, &data), "an object was written");
        if steps.tried("put", put).is_none() {
            return false;
        }
        let read = backend.read(FileType::Probe, &name);
        let same = read.map_err(Error::from).and_then(|found| {
            (found == data).then_some(((), "it was read back and is equal".to_owned())).ok_or_else(|| {
                Error::damaged("what was written is read back otherwise", "the probe", "bytes differ")
                    .then("Look at the store and at what stands between: a proxy, a cache")
            })
        });
        let got = steps.tried("get", same).is_some();
        self.clock(backend, &name, before, steps);
        let deleted = said(backend.delete(FileType::Probe, &name), "it was deleted");
        let gone = steps.tried("delete", deleted).is_some();
        if let Some(folder) = &self.folder {
            // It stays when another doctor is at work in it.
            let _ = std::fs::remove_dir(folder.join(FileType::Probe.folder()));
        }
        got && gone
    }

    /// The store's clock, by the time that it gave the probe.
    fn clock(&self, backend: &dyn Backend, name: &str, before: Timestamp, steps: &mut Steps<'_>) {
        let listed = match backend.list(FileType::Probe) {
            Ok(listed) => listed,
            Err(error) => return steps.failed("clock", error.into()),
        };
        let Some(found) = listed.into_iter().find(|listed| listed.name == name) else {
            let error = Error::new(ErrorKind::Other, "an object that was written is not listed")
                .then("Use a store that lists at once what was written: backups rest on it");
            return steps.failed("clock", error);
        };
        let Some(modified) = found.modified else {
            return steps.note("clock", "the store does not tell its time".to_owned());
        };
        let after = self.clock.now();
        // Stores cut to whole seconds.
        let behind = before.as_second() - 1 - modified.as_second();
        let ahead = modified.as_second() - after.as_second();
        let seconds = behind.max(ahead).max(0);
        match seconds {
            0..=CLOCK_SECONDS_ODD => {
                steps.good("clock", format!("the store's and this machine's differ by {seconds} s"));
            }
            _ if seconds <= CLOCK_SECONDS_MAX => steps.note(
                "clock",
                format!("the store's and this machine's differ by {seconds} s: synchronise this machine's"),
            ),
            _ => {
                let error = Error::new(ErrorKind::Other, "the store's clock and this machine's differ")
                    .because(format!("by {seconds} s"))
                    .then(
                        "Synchronise them: S3 refuses requests 15 minutes off, and locks go stale after 30",
                    );
                steps.failed("clock", error);
            }
        }
    }

    fn repository(&self, backend: Arc<dyn Backend>, steps: &mut Steps<'_>) {
        match (self.open)(backend) {
            Ok(id) => steps.good("repository", format!("{id} opens with this password")),
            Err(error) if error.kind == ErrorKind::RepositoryMissing && self.creates => {
                steps.note("repository", "none yet: the first backup makes it".to_owned());
            }
            Err(error) => steps.failed("repository", error),
        }
    }

    fn cache(&self, steps: &mut Steps<'_>) {
        let Some(cache) = &self.cache else {
            return steps.note("cache", "none is known, and none is needed".to_owned());
        };
        let there = nearest_existing(cache);
        match there.filter(|there| may(there, Rights::WRITE_OK | Rights::EXEC_OK)) {
            Some(there) => steps.good("cache", format!("{}, {}", cache.display(), free(&there))),
            None => steps
                .note("cache", format!("{} cannot be written; every run does without it", cache.display())),
        }
    }

    fn target(&self, steps: &mut Steps<'_>) {
        let target = self.target.as_path();
        let shown = target.display();
        if !target.exists() {
            let text = format!("{shown} does not exist: backup needs DATA_DIR, restore makes it");
            return steps.note("target", text);
        }
        if std::fs::read_dir(target).is_err() {
            let uid = rustix::process::geteuid().as_raw();
            let error = Error::new(ErrorKind::Other, "the source cannot be listed")
                .at(shown.to_string())
                .because(format!("this process runs as uid {uid}"))
                .then("Name a directory in DATA_DIR, and run as its owner: moverSecurityContext in VolSync");
            return steps.failed("target", error);
        }
        let writes = if may(target, Rights::WRITE_OK) { "" } else { ", which restore may not write" };
        steps.good("target", format!("{shown}{writes}, {}", free(target)));
    }
}

fn said(done: BackendResult<()>, text: &str) -> Result<((), String)> {
    done.map(|()| ((), text.to_owned())).map_err(Into::into)
}

fn resolve(endpoint: &Endpoint) -> Result<(Vec<SocketAddr>, String)> {
    let failed = |cause: String| {
        Error::new(ErrorKind::Unreachable, "the store's host is not known")
            .at(endpoint.host.as_str())
            .because(cause)
            .then("Check the host in RESTIC_REPOSITORY, and this machine's DNS")
    };
    let host = endpoint.host.trim_start_matches('[').trim_end_matches(']');
    let found = (host, endpoint.port).to_socket_addrs().map_err(|cause| failed(cause.to_string()))?;
    let addresses: Vec<SocketAddr> = found.collect();
    if addresses.is_empty() {
        return Err(failed("it has no address".to_owned()));
    }
    let mut shown: Vec<String> = addresses.iter().map(|address| address.ip().to_string()).collect();
    shown.truncate(4);
    Ok((addresses, format!("{} is {}", endpoint.host, shown.join(", "))))
}

fn connect(addresses: &[SocketAddr]) -> Result<((), String)> {
    let mut cause = None;
    for address in addresses {
        match TcpStream::connect_timeout(address, CONNECT) {
            Ok(_) => return Ok(((), format!("{address} answers"))),
            Err(error) => cause = Some((address, error)),
        }
    }
    let (place, cause) = cause.map_or_else(
        || (String::new(), String::new()),
        |(address, error)| (address.to_string(), error.to_string()),
    );
    Err(Error::new(ErrorKind::Unreachable, "the store cannot be reached")
        .at(place)
        .because(cause)
        .then("Check the port, firewalls and network policies, and whether a proxy is needed"))
}

/// The path itself, or the nearest directory above it that exists.
fn nearest_existing(path: &Path) -> Option<PathBuf> {
    path.ancestors().find(|above| above.is_dir()).map(Path::to_owned)
}

fn may(path: &Path, rights: Rights) -> bool {
    rustix::fs::access(path, rights).is_ok()
}

fn free(path: &Path) -> String {
    match rustix::fs::statvfs(path) {
        Ok(there) => format!("{} free", format::bytes(there.f_bavail.saturating_mul(there.f_frsize))),
        Err(_) => "free space is not known".to_owned(),
    }
}
