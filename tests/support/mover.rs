//! volmover's operations as a test calls them: one open repository, the options of every day, and a monitor
//! that remembers.
//!
//! Keys are cheap (`ScryptCost::CHEAP`), so that opening takes no time, for restic too.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use bytes::Bytes;
use jiff::tz::TimeZone;
use tempfile::TempDir;
use volmover::backend::layout::path_of;
use volmover::backend::local::LocalBackend;
use volmover::backend::memory::MemoryContent;
use volmover::backend::{Backend, FileType};
use volmover::backup::exclude::{ExcludeOptions, Excludes};
use volmover::backup::parent::Ignore;
use volmover::clock::{Clock, SystemClock};
use volmover::error::Result;
use volmover::host::{Holder, Names};
use volmover::ops::backup::{Backup, BackupOptions};
use volmover::ops::prune::{PruneOptions, UnusedMax};
use volmover::ops::restore::{Outcome, Shown};
use volmover::ops::{self, Limits, Session};
use volmover::random::SystemRandom;
use volmover::report::record::RecordingMonitor;
use volmover::repository::compression::Compression;
use volmover::repository::config_file::RepositoryConfig;
use volmover::repository::crypto::SealKey;
use volmover::repository::key::KeyFile;
use volmover::repository::lock::LockOptions;
use volmover::repository::open::Access;
use volmover::repository::scrypt::ScryptCost;
use volmover::repository::{Id, Repository};
use volmover::restore::select::{Filter, Selection};
use volmover::restore::{Overwrite, RestoreOptions, XattrFilter};

use super::fixture::PASSWORD;
use super::scratch;

/// Access by the password of all tests.
pub fn access(clock: Arc<dyn Clock>) -> Access<'static> {
    Access {
        password: PASSWORD.as_bytes(),
        key_hint: None,
        compression: Compression::Auto,
        scrypt: ScryptCost::CHEAP,
        threads: 1,
        host_and_user: ("test", "tester"),
        clock,
        random: Arc::new(SystemRandom),
    }
}

/// The store below a folder.
pub fn local(folder: &Path) -> Arc<dyn Backend> {
    Arc::new(LocalBackend::open(folder, 4))
}

/// A new repository of version 1 or 2 in a folder.
pub fn create(folder: &Path, version: u32) {
    create_in(local(folder).as_ref(), version);
}

/// A new repository of version 1 or 2 in a store.
pub fn create_in(backend: &dyn Backend, version: u32) {
    backend.create().unwrap();
    let master = SealKey::random(&SystemRandom).unwrap();
    let config = RepositoryConfig { version, ..RepositoryConfig::create(&SystemRandom).unwrap() };
    let sealed = master.cipher().seal(&config.encode(), &SystemRandom).unwrap();
    backend.write_new(FileType::Config, "", &Bytes::from(sealed)).unwrap();
    write_key(backend, &master, PASSWORD);
}

/// The repository of a store in memory, in a folder.
pub fn dump(content: &MemoryContent) -> TempDir {
    let folder = scratch();
    for name in ["keys", "locks", "snapshots", "index", "data"] {
        fs::create_dir_all(folder.path().join(name)).unwrap();
    }
    for (kind, name, data) in content.files() {
        let path = folder.path().join(path_of(kind, name));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, data).unwrap();
    }
    folder
}

/// Adds a key file for `master`, and returns its name.
pub fn write_key(backend: &dyn Backend, master: &SealKey, password: &str) -> String {
    let now = SystemClock::new().now();
    let file =
        KeyFile::create(password.as_bytes(), master, (ScryptCost::CHEAP, 1), ("h", "u"), now, &SystemRandom);
    let stored = Bytes::from(file.unwrap().encode());
    let name = Id::of(&stored).hex();
    backend.write(FileType::Key, &name, &stored).unwrap();
    name
}

/// One open repository and what its operations get.
pub struct Mover {
    pub repository: Arc<Repository>,
    pub locks: LockOptions,
    pub monitor: RecordingMonitor,
    pub stop: AtomicBool,
    pub limits: Limits,
}

impl Mover {
    /// Opens the repository in a folder.
    pub fn open(folder: &Path) -> Result<Self> {
        Self::open_backend(local(folder))
    }

    pub fn open_backend(backend: Arc<dyn Backend>) -> Result<Self> {
        Self::open_at(backend, Arc::new(SystemClock::new()))
    }

    pub fn open_at(backend: Arc<dyn Backend>, clock: Arc<dyn Clock>) -> Result<Self> {
        Ok(Self::of(Repository::open(backend, &access(clock))?))
    }

    pub fn of(repository: Repository) -> Self {
        Self {
            repository: Arc::new(repository),
            locks: lock_options(),
            monitor: RecordingMonitor::default(),
            stop: AtomicBool::new(false),
            limits: Limits { memory_bytes: 512 << 20, threads: 2 },
        }
    }

    pub fn session(&self) -> Session<'_> {
        Session {
            repository: Arc::clone(&self.repository),
            locks: &self.locks,
            monitor: &self.monitor,
            stop: &self.stop,
            held: Box::new(|_| ()),
            limits: self.limits,
        }
    }

    /// Backs a folder up as `cd FOLDER && restic backup --host volsync .` does.
    pub fn backup(&self, source: &Path) -> Result<Backup> {
        ops::backup::run(&self.session(), backup_options(source))
    }

    /// Restores a snapshot, named by the beginning of its id, or `latest`, into a folder.
    pub fn restore(&self, snapshot: &str, target: &Path) -> Result<Outcome> {
        let selection = match snapshot {
            "latest" => Selection::Latest { as_of: None, back: 0 },
            id => Selection::Id(id.to_owned()),
        };
        self.restore_with(&selection, restore_options(target))
    }

    pub fn restore_with(&self, selection: &Selection, options: RestoreOptions) -> Result<Outcome> {
        let shown = Shown { zone: &TimeZone::UTC, target: &options.target.display().to_string() };
        ops::restore::run(&self.session(), selection, &Filter::default(), &shown, options)
    }

    /// Restores a snapshot into a new folder, and lists what came of it.
    #[track_caller]
    pub fn restored(&self, snapshot: &str) -> String {
        let target = scratch();
        let outcome = self.restore(snapshot, target.path()).unwrap();
        assert!(matches!(outcome, Outcome::Restored(_)), "{outcome:?}");
        super::listing::list(target.path())
    }

    /// The ids of all snapshots, oldest first.
    pub fn snapshot_ids(&self) -> Vec<String> {
        let mut snapshots = self.repository.snapshots().unwrap();
        snapshots.sort_by_key(|(_, snapshot)| snapshot.time.instant());
        snapshots.into_iter().map(|(id, _)| id.hex()).collect()
    }
}

/// Locks of this process that wait for nobody.
pub fn lock_options() -> LockOptions {
    // restic asks by SIGHUP whether a lock's process lives, and here that is the test itself.
    static OUTLIVE: std::sync::Once = std::sync::Once::new();
    OUTLIVE.call_once(|| {
        signal_hook::flag::register(signal_hook::consts::SIGHUP, std::sync::Arc::default()).unwrap();
    });
    LockOptions {
        holder: Holder::this_process(&Names::read(Path::new("/"))),
        wait: Duration::ZERO,
        refresh: volmover::repository::lock::REFRESH,
    }
}

/// The options of every day: host `volsync`, UTC, restic's defaults.
pub fn backup_options(source: &Path) -> BackupOptions {
    BackupOptions {
        source: source.to_owned(),
        host: "volsync".to_owned(),
        path: source.to_str().unwrap().to_owned(),
        tags: Vec::new(),
        excludes: Excludes::new(ExcludeOptions::default()).unwrap(),
        exclude_patterns: Vec::new(),
        ignore: Ignore::default(),
        readers: 2,
        pack_bytes: 16 << 20,
        tree_zone: TimeZone::UTC,
        zone: TimeZone::UTC,
        shrink_percent_max: None,
        dry_run: false,
    }
}

/// A prune that leaves nothing unused and lets small packs be.
pub fn prune_options(pack_bytes: usize) -> PruneOptions {
    PruneOptions {
        unused_max: UnusedMax::Percent(0.0),
        repack_bytes_max: None,
        repack_below_bytes: Some(1),
        pack_bytes,
        cacheable_only: false,
        uncompressed: false,
        expected: Vec::new(),
        without: Vec::new(),
        dry_run: false,
    }
}

/// Everything, as it was, where nothing else stands.
pub fn restore_options(target: &Path) -> RestoreOptions {
    RestoreOptions {
        target: target.to_owned(),
        subfolder: None,
        delete: false,
        include: Vec::new(),
        overwrite: Overwrite::Always,
        sparse: true,
        space_check: true,
        xattrs: XattrFilter::All,
        threads: 2,
        connections: 4,
        memory_bytes: 256 << 20,
        dry_run: false,
    }
}
