//! The container of a Job, as VolSync 0.16 makes it: arguments, variables, mounts, security context.
//!
//! Nothing here is what a test would like to have: a Job carries what the operator's own code puts into it, and a
//! test says only what a user writes into the ReplicationSource, the ReplicationDestination and their Secret.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;
use volmover::backend::{Backend, FileType};
use volmover::config::Config;
use volmover::config::env::{Lookup, Values};
use volmover::config::limits::Limits;
use volmover::config::operation::Personality;
use volmover::repository::Id;
use volmover::stores;

use crate::log::Verdict;
use crate::support::fixture::PASSWORD;
use crate::support::mover::create;
use crate::support::{is_root, scratch};
use crate::swap;
use crate::way::{self, Ran};

/// The user of the image.
pub const IMAGE_USER: (u32, u32) = (65534, 65534);

/// The security context.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    /// No `moverSecurityContext`: the image's user.
    Default,
    /// `runAsUser` and `runAsGroup`.
    User(u32, u32),
    /// The namespace is annotated `volsync.backube/privileged-movers`.
    Privileged,
}

impl Security {
    /// User and group of the process.
    pub fn user(self) -> (u32, u32) {
        match self {
            Self::Default => IMAGE_USER,
            Self::User(uid, gid) => (uid, gid),
            Self::Privileged => (0, 0),
        }
    }

    /// The capabilities that are not dropped.
    pub fn capabilities(self) -> &'static [&'static str] {
        if self == Self::Privileged { &["DAC_OVERRIDE", "CHOWN", "FOWNER"] } else { &[] }
    }
}

/// A folder of this machine in the container.
#[derive(Debug, Clone)]
pub struct Mount {
    pub source: PathBuf,
    pub at: String,
    pub read_only: bool,
}

/// One container of a Job.
#[derive(Debug, Clone)]
pub struct Job {
    pub operations: Vec<String>,
    pub environment: BTreeMap<String, String>,
    pub mounts: Vec<Mount>,
    pub security: Security,
    /// `supplementalGroups` has this one.
    pub group: Option<u32>,
    /// Whether it reaches the network of this machine.
    pub network: bool,
    pub host: String,
    pub memory: Option<&'static str>,
}

impl Job {
    fn new(direction: &str, operations: &str, data: &Path) -> Self {
        let set = [
            ("FORGET_OPTIONS", "--keep-last 1"),
            ("DATA_DIR", "/data"),
            ("RESTIC_CACHE_DIR", "/cache"),
            ("SELECT_PREVIOUS", "0"),
            ("RESTORE_AS_OF", ""),
            ("RESTORE_OPTIONS", ""),
            ("PRIVILEGED_MOVER", "0"),
            ("RESTIC_PASSWORD", PASSWORD),
        ];
        Self {
            operations: operations.split_whitespace().map(str::to_owned).collect(),
            environment: set.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            mounts: Vec::new(),
            security: Security::Default,
            group: None,
            network: false,
            host: format!("volsync-{direction}-app-x7k2p"),
            memory: None,
        }
        .mount(data, "/data")
    }

    /// Of a ReplicationSource, e.g. with `backup` or `unlock backup prune`.
    pub fn source(operations: &str, data: &Path) -> Self {
        Self::new("src", operations, data)
    }

    /// Of a ReplicationDestination.
    pub fn destination(data: &Path) -> Self {
        Self::new("dst", "restore", data)
    }

    /// With a variable of the Secret, or with another value of a variable.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Without a variable.
    pub fn without(mut self, name: &str) -> Self {
        self.environment.remove(name);
        self
    }

    /// With `moverVolumes`, or another mount of the operator's.
    pub fn mount(mut self, source: &Path, at: &str) -> Self {
        self.mounts.push(Mount { source: source.to_owned(), at: at.to_owned(), read_only: false });
        self
    }

    /// On a store.
    pub fn on(self, place: &dyn Store) -> Self {
        place.add_to(self)
    }

    pub fn security(mut self, security: Security) -> Self {
        self.security = security;
        let privileged = if security == Security::Privileged { "1" } else { "0" };
        self.with("PRIVILEGED_MOVER", privileged)
    }

    /// With another group besides.
    pub fn in_group(mut self, group: u32) -> Self {
        self.group = Some(group);
        self
    }

    /// Runs it, whatever comes of it.
    pub fn run(&self) -> Ran {
        let ran = way::run(self);
        self.cheapen();
        ran
    }

    /// A key costs every run half a second: the one that the first made opens at once for those that follow.
    pub fn cheapen(&self) {
        let Some(password) = self.environment.get("RESTIC_PASSWORD").map(String::as_bytes) else { return };
        let folder = self.mounts.iter().find(|mount| mount.at == Mounted::AT);
        if let Some(repository) = folder.map(|mount| mount.source.join(Mounted::FOLDER)) {
            let Ok(keys) = fs::read_dir(repository.join("keys")) else { return };
            if keys.flatten().any(|key| is_dear(&fs::read(key.path()).unwrap())) {
                swap::replace_keys(&repository, password).unwrap();
            }
            return;
        }
        // What this machine cannot reach, or a Job is not let into, keeps its key.
        let Some(store) = self.store() else { return };
        for key in store.list(FileType::Key).unwrap_or_default() {
            let stored = store.read(FileType::Key, &key.name).unwrap();
            if let (true, Ok(Some(cheap))) = (is_dear(&stored), swap::cheapened(&stored, password)) {
                store.write(FileType::Key, &Id::of(&cheap).hex(), &cheap.into()).unwrap();
                store.delete(FileType::Key, &key.name).unwrap();
            }
        }
    }

    /// The store by its variables, as this machine sees it.
    fn store(&self) -> Option<Arc<dyn Backend>> {
        let values =
            self.environment.iter().map(|(name, value)| (name.clone(), way::outside(self, value).into()));
        let lookup = Lookup::new(Values::new(), values.collect()).ok()?;
        let config = Config::parse(&lookup, Personality::Tool, &[], &Limits::of_this_process()).ok()?;
        stores::bare(&config).ok()
    }

    /// Runs it as the operator does, which is content; returns the lines that it shows.
    #[track_caller]
    pub fn succeeds(&self) -> String {
        match self.run().judged() {
            Verdict::Succeeded(lines) => lines,
            Verdict::Failed(tail) => panic!("{:?} failed:\n{tail}", self.operations),
        }
    }

    /// Runs it as the operator does, which sees it fail; returns what it shows.
    #[track_caller]
    pub fn fails(&self, code: i32) -> String {
        let ran = self.run();
        assert_eq!(ran.code, code, "{}", ran.log);
        match ran.judged() {
            Verdict::Failed(tail) => tail,
            Verdict::Succeeded(lines) => panic!("{:?} succeeded:\n{lines}", self.operations),
        }
    }
}

fn is_dear(key: &[u8]) -> bool {
    !String::from_utf8_lossy(key).contains(r#""N":128,"#)
}

/// Where the repository is.
pub trait Store: Sync {
    /// The job with what its Secret and `moverVolumes` say of the store.
    fn add_to(&self, job: Job) -> Job;
    /// The same for restic on this machine: the URL and variables.
    fn for_restic(&self) -> (String, Vec<(String, String)>);
    /// What restic or the test itself wrote becomes a mover's, where the store knows of users.
    fn hand_over(&self, _security: Security) {}
}

/// A folder that is mounted, as NFS and CephFS are.
pub struct Mounted {
    folder: TempDir,
}

impl Mounted {
    const AT: &str = "/mnt/repository";
    const FOLDER: &str = "app";

    /// With a repository of the image's user, whose key opens at once.
    pub fn new() -> Self {
        Self::of(Security::Default)
    }

    /// The same of another user.
    pub fn of(security: Security) -> Self {
        let place = Self::empty();
        create(&place.path(), 2);
        place.hand_over(security);
        place
    }

    /// With nothing in it: the first that comes makes the repository.
    pub fn empty() -> Self {
        Self { folder: open_folder() }
    }

    pub fn path(&self) -> PathBuf {
        self.folder.path().join(Self::FOLDER)
    }

    /// How many files stand in a folder of the repository.
    pub fn count(&self, folder: &str) -> usize {
        fs::read_dir(self.path().join(folder)).map_or(0, Iterator::count)
    }
}

impl Store for Mounted {
    fn add_to(&self, job: Job) -> Job {
        let url = format!("{}/{}", Self::AT, Self::FOLDER);
        job.mount(self.folder.path(), Self::AT).with("RESTIC_REPOSITORY", &url)
    }

    fn for_restic(&self) -> (String, Vec<(String, String)>) {
        (self.path().to_str().unwrap().to_owned(), Vec::new())
    }

    fn hand_over(&self, security: Security) {
        give(self.folder.path(), security.user());
    }
}

/// A folder that every user may write to.
pub fn open_folder() -> TempDir {
    opened(scratch())
}

/// The same on the disk, for what is never dropped.
pub fn lasting_folder() -> TempDir {
    opened(TempDir::new().unwrap())
}

fn opened(folder: TempDir) -> TempDir {
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    folder
}

/// A volume that belongs to a user, as one with an `fsGroup` does.
pub fn volume_of((uid, gid): (u32, u32)) -> TempDir {
    let folder = scratch();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o770)).unwrap();
    if is_root() {
        chown(folder.path(), Some(uid), Some(gid)).unwrap();
    }
    folder
}

/// Gives everything below a folder to a user.
pub fn give(folder: &Path, (uid, gid): (u32, u32)) {
    if !is_root() {
        return;
    }
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        std::os::unix::fs::lchown(entry.path(), Some(uid), Some(gid)).unwrap();
        if entry.file_type().unwrap().is_dir() {
            give(&entry.path(), (uid, gid));
        }
    }
}
