//! The sealed cache: what a run would read from the repository again, in a folder of this machine.
//!
//! ```text
//! RESTIC_CACHE_DIR/volmover/<repository id>/snapshots          all snapshots
//!                                           index-<id>         what one index file lists
//!                                           trees-<id>         a pack of trees, as it is stored
//! ```
//!
//! Files of a repository never change, and each entry stands for the files of its name. So what the
//! repository *lists* decides, name by name, and no entry can be out of date: one whose name is not listed is
//! not used, and removed. Entries are sealed (`sealed.rs`): one that is damaged, foreign or cut off does not
//! open and counts as absent. Nothing that goes wrong here is an error of the run, and runs side by side may
//! share a folder: an entry appears whole, by a rename, and whoever misses one reads the repository.

use std::collections::HashSet;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use zeroize::Zeroizing;

use super::Id;
use super::index::{Index, IndexPack};
use crate::random::{Random, random_array};
use crate::report::run_summary::CacheFigures;

mod forms;
mod room;
mod sealed;

use forms::KeptSnapshots;
use sealed::Sealed;

/// Where volmover's caches are, below the cache's folder: restic's own lie beside it.
const FOLDER: &str = "volmover";
/// Says that backups need not hold the folder (bford.info/cachedir).
const TAG: &str = "Signature: 8a477f597d28d172789f06886806bc55\n# The cache of volmover.\n";
/// A temporary file that is older was left behind by a run that died.
const ABANDONED: Duration = Duration::from_hours(24);
/// The cache of another repository that was not used for so long is removed, as restic does.
const FORGOTTEN: Duration = Duration::from_hours(30 * 24);

/// What an entry holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Entry {
    Snapshots,
    Index(Id),
    Trees(Id),
}

impl Entry {
    fn name(self) -> String {
        match self {
            Self::Snapshots => "snapshots".to_owned(),
            Self::Index(id) => format!("index-{id}"),
            Self::Trees(id) => format!("trees-{id}"),
        }
    }

    fn parse(name: &str) -> Option<Self> {
        match name.split_once('-') {
            None if name == "snapshots" => Some(Self::Snapshots),
            Some(("index", id)) => id.parse().ok().map(Self::Index),
            Some(("trees", id)) => id.parse().ok().map(Self::Trees),
            _ => None,
        }
    }
}

/// Where a cache is, and how much it may hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CachePlace {
    /// `RESTIC_CACHE_DIR`.
    pub folder: PathBuf,
    /// The most that volmover's caches may take there, in bytes (`MOVER_CACHE_SIZE`).
    pub bytes_max: u64,
}

/// The cache of one repository.
pub struct Cache {
    place: CachePlace,
    own: PathBuf,
    key: Zeroizing<[u8; 32]>,
    random: Arc<dyn Random>,
    used: Mutex<Used>,
    /// Writing failed: the run goes on without.
    given_up: AtomicBool,
    hits: AtomicU64,
    misses: AtomicU64,
}

/// Bytes in the folders of this repository and of all others, as they were when this run looked; unknown until then.
#[derive(Default)]
struct Used {
    own: Option<u64>,
    others: Option<u64>,
}

impl std::fmt::Debug for Cache {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Cache({})", self.own.display())
    }
}

impl Cache {
    /// The cache of a repository. Nothing is looked at yet.
    pub(super) fn new(
        place: CachePlace,
        repository_id: &str,
        key: &[u8; 32],
        random: Arc<dyn Random>,
    ) -> Self {
        let own = place.folder.join(FOLDER).join(repository_id);
        Self {
            place,
            own,
            key: Zeroizing::new(*key),
            random,
            used: Mutex::default(),
            given_up: AtomicBool::new(false),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
        }
    }

    /// What it did so far.
    #[must_use]
    pub fn figures(&self) -> CacheFigures {
        CacheFigures {
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
            bytes: self.used().own,
        }
    }

    /// The snapshots that are kept, with their JSON.
    pub(super) fn snapshots(&self) -> KeptSnapshots {
        self.read(Entry::Snapshots).and_then(KeptSnapshots::decode).unwrap_or_default()
    }

    /// Keeps these snapshots and no others.
    pub(super) fn keep_snapshots<'a>(&self, snapshots: impl Iterator<Item = (&'a Id, &'a [u8])>) {
        self.keep(Entry::Snapshots, &forms::encode_snapshots(snapshots));
    }

    /// What an index file lists.
    pub(super) fn index_file(&self, id: &Id) -> Option<Vec<IndexPack>> {
        self.read(Entry::Index(*id)).and_then(|form| forms::decode_index(&form))
    }

    /// Keeps what an index file lists.
    pub(super) fn keep_index_file(&self, id: &Id, packs: &[IndexPack]) {
        self.keep(Entry::Index(*id), &forms::encode_index(packs));
    }

    /// A pack of trees.
    pub(super) fn tree_pack(&self, id: &Id) -> Option<Vec<u8>> {
        self.read(Entry::Trees(*id))
    }

    /// A part of a pack of trees.
    pub(super) fn tree_range(&self, id: &Id, offset: u64, length: usize) -> Option<Vec<u8>> {
        self.look(Entry::Trees(*id), |sealed| sealed.read(offset, length))
    }

    /// Keeps a pack of trees.
    pub(super) fn keep_tree_pack(&self, id: &Id, stored: &[u8]) {
        self.keep(Entry::Trees(*id), stored);
    }

    /// Removes what stands for nothing any more: index files that are not in `indexes`, packs that `index` does
    /// not name, what dead runs left, caches that nobody uses.
    pub(super) fn tidy(&self, indexes: &[Id], index: &Index) {
        let now = SystemTime::now();
        let entries = room::files(&self.own);
        let mut unlisted: HashSet<Entry> = HashSet::new();
        for file in &entries {
            match Entry::parse(&file.name) {
                Some(entry @ (Entry::Index(_) | Entry::Trees(_))) => drop(unlisted.insert(entry)),
                None if file.age(now) > ABANDONED => room::remove(&self.own.join(&file.name)),
                _ => {}
            }
        }
        for id in indexes {
            unlisted.remove(&Entry::Index(*id));
        }
        for id in index.packs() {
            unlisted.remove(&Entry::Trees(*id));
        }
        for entry in &unlisted {
            room::remove(&self.own.join(entry.name()));
        }
        let kept = entries
            .iter()
            .filter(|file| Entry::parse(&file.name).is_none_or(|entry| !unlisted.contains(&entry)));
        self.used().own = Some(kept.map(|file| file.bytes).sum());
        if let Ok(folder) = File::open(&self.own) {
            let _ = folder.set_modified(now);
        }
        for other in room::others(&self.place.folder.join(FOLDER), &self.own) {
            if other.age(now) > FORGOTTEN {
                room::remove_folder(&other.path);
                self.used().others = None;
            }
        }
    }

    fn read(&self, entry: Entry) -> Option<Vec<u8>> {
        self.look(entry, |sealed| sealed.read(0, usize::try_from(sealed.plain_bytes()).ok()?))
    }

    /// Reads of an entry; what does not open is removed, so that it is replaced.
    fn look(&self, entry: Entry, read: impl FnOnce(&Sealed) -> Option<Vec<u8>>) -> Option<Vec<u8>> {
        let name = entry.name();
        let path = self.own.join(&name);
        let found = File::open(&path).ok().and_then(|file| {
            let found = Sealed::open(file, &self.key, &name).and_then(|sealed| read(&sealed));
            if found.is_none() {
                tracing::debug!("the cache's {name} does not open: it is read from the repository");
                room::remove(&path);
            }
            found
        });
        let count = if found.is_some() { &self.hits } else { &self.misses };
        count.fetch_add(1, Ordering::Relaxed);
        found
    }

    fn keep(&self, entry: Entry, plain: &[u8]) {
        if self.given_up.load(Ordering::Relaxed) {
            return;
        }
        let bytes = sealed::file_bytes(plain.len() as u64);
        if !self.has_room(bytes) {
            tracing::debug!("the cache has no room for {}", entry.name());
            return;
        }
        let mut written = self.write(entry, plain);
        while written.as_ref().is_err_and(is_full) && room::evict(&self.place.folder, FOLDER, &self.own) {
            self.used().others = None;
            written = self.write(entry, plain);
        }
        match written {
            Ok(()) => {
                let mut used = self.used();
                used.own = used.own.map(|own| own + bytes);
            }
            Err(cause) => {
                tracing::debug!("the cache cannot be written to, the run goes on without: {cause}");
                self.given_up.store(true, Ordering::Relaxed);
            }
        }
    }

    /// Whether so many bytes more stay within the limit, when the caches of other repositories may go.
    fn has_room(&self, bytes: u64) -> bool {
        let mut used = self.used();
        let own = *used.own.get_or_insert_with(|| room::bytes(&self.own));
        let Some(left) = self.place.bytes_max.checked_sub(own.saturating_add(bytes)) else { return false };
        let all = self.place.folder.join(FOLDER);
        let others =
            || -> u64 { room::others(&all, &self.own).iter().map(|other| room::bytes(&other.path)).sum() };
        while *used.others.get_or_insert_with(others) > left {
            if !room::evict_other(&all, &self.own) {
                return false;
            }
            used.others = None;
        }
        true
    }

    fn used(&self) -> MutexGuard<'_, Used> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, entry: Entry, plain: &[u8]) -> io::Result<()> {
        let random = |_| io::Error::other("no random bytes");
        let salt: [u8; 32] = random_array(self.random.as_ref()).map_err(random)?;
        let suffix: [u8; 8] = random_array(self.random.as_ref()).map_err(random)?;
        let temporary = self.own.join(format!(".{:016x}", u64::from_le_bytes(suffix)));
        let name = entry.name();
        let file = match create(&temporary) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.create_folders()?;
                create(&temporary)?
            }
            file => file?,
        };
        let written = sealed::write(file, &self.key, &name, &salt, plain)
            .and_then(|()| fs::rename(&temporary, self.own.join(&name)));
        written.inspect_err(|_| room::remove(&temporary))
    }

    /// Nothing is made right below the root: a volume that is not mounted, or a home that nobody has, is no place.
    fn create_folders(&self) -> io::Result<()> {
        let there = self.place.folder.ancestors().find(|folder| folder.exists());
        if there.is_none_or(|folder| folder.parent().is_none()) {
            return Err(io::Error::new(io::ErrorKind::NotFound, "its place does not exist"));
        }
        DirBuilder::new().recursive(true).mode(0o700).create(&self.own)?;
        let tag = self.place.folder.join(FOLDER).join("CACHEDIR.TAG");
        if !tag.exists() {
            fs::write(tag, TAG)?;
        }
        Ok(())
    }
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
