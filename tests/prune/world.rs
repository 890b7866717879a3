//! A repository in which everything is that prune has to deal with: duplicates, packs that are used in part,
//! packs that nobody uses, packs that no index names, several indexes, four snapshots.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;

use jiff::tz::TimeZone;
use volmover::backend::memory::{MemoryBackend, MemoryContent};
use volmover::backend::{Backend, FileType};
use volmover::error::Result;
use volmover::forget::options::ForgetOptions;
use volmover::ops::backup::BackupOptions;
use volmover::ops::forget::{Choice, ForgetRequest};
use volmover::ops::prune::PruneOptions;
use volmover::ops::{self};
use volmover::report::PruneSummary;

use crate::support::clock::SleepClock;
use crate::support::listing;
use crate::support::mover::{self, Mover, backup_options, prune_options};
use crate::support::restic::{REFEREES, Restic};
use crate::support::scratch;
use crate::support::source;

/// Small, so that there are many packs.
pub const PACK_BYTES: usize = 64 << 10;

pub struct World {
    pub content: MemoryContent,
    /// What each snapshot restores to.
    pub lists: BTreeMap<String, String>,
    /// Those that must be there whatever happens: all, unless a policy says otherwise.
    pub kept: BTreeSet<String>,
    /// A snapshot and an index that were there once.
    pub gone: BTreeMap<FileType, String>,
}

/// Smaller packs still, so that several are written.
pub fn options() -> PruneOptions {
    prune_options(PACK_BYTES / 4)
}

pub fn prune(mover: &Mover) -> Result<PruneSummary> {
    ops::prune::run(&mover.session(), &options())
}

pub fn open(memory: &Arc<MemoryBackend>) -> Mover {
    open_at(Arc::clone(memory) as _)
}

/// By a clock whose waits take no time.
pub fn open_at(backend: Arc<dyn Backend>) -> Mover {
    Mover::open_at(backend, Arc::new(SleepClock::new())).unwrap()
}

/// A policy that keeps so many of the newest, and a prune under the same lock.
pub fn forget_and_prune(keep: usize, prune: PruneOptions) -> ForgetRequest {
    let policy = ForgetOptions::parse(&format!("--keep-last {keep}"), "FORGET_OPTIONS").unwrap();
    ForgetRequest {
        choice: Choice::Policy(Box::new(policy)),
        dry_run: false,
        unless_tagged: None,
        json: false,
        zone: TimeZone::UTC,
        prune: Some(prune),
    }
}

fn backup(memory: &Arc<MemoryBackend>, source: &Path) -> (String, String) {
    let options = BackupOptions { pack_bytes: PACK_BYTES, ..backup_options(source) };
    let mover = open(memory);
    let summary = ops::backup::run(&mover.session(), options).unwrap().summary;
    (summary.snapshot_id.unwrap(), listing::list(source))
}

pub fn holding(content: &MemoryContent) -> Arc<MemoryBackend> {
    let memory = Arc::new(MemoryBackend::new());
    memory.set_content(content.clone());
    memory
}

/// A repository of one snapshot in which every pack is used in part and no blob lies twice.
pub fn thinned() -> Arc<MemoryBackend> {
    thinned_of(scratch().path())
}

/// The same of `folder`, which is left as it was before half of it went.
pub fn thinned_of(folder: &Path) -> Arc<MemoryBackend> {
    let memory = Arc::new(MemoryBackend::new());
    mover::create_in(memory.as_ref(), 2);
    let files = source::files(folder, 30, 20 << 10, 1);
    let (first, _) = backup(&memory, folder);
    files.iter().step_by(2).for_each(|file| fs::remove_file(file).unwrap());
    backup(&memory, folder);
    memory.delete(FileType::Snapshot, &first).unwrap();
    source::files(folder, 30, 20 << 10, 1);
    memory
}

impl World {
    pub fn new(version: u32) -> Self {
        let (folder, memory) = (scratch(), Arc::new(MemoryBackend::new()));
        mover::create_in(memory.as_ref(), version);
        let mut lists = BTreeMap::new();
        let files = source::files(folder.path(), 12, 20 << 10, 1);
        let (first, _) = backup(&memory, folder.path());
        // Every third file goes: packs are used in part.
        files.iter().step_by(3).for_each(|file| fs::remove_file(file).unwrap());
        lists.extend([backup(&memory, folder.path())]);
        let all = folder.path().join("all");
        source::files(&all, 8, 30 << 10, 2);
        let (unused, _) = backup(&memory, folder.path());
        fs::remove_dir_all(&all).unwrap();

        // Two that did not know of each other store the same.
        let other = holding(&memory.content());
        let both = source::files(&folder.path().join("both"), 6, 20 << 10, 3);
        lists.extend([backup(&memory, folder.path())]);
        fs::write(&both[0], "another").unwrap();
        source::files(&folder.path().join("more"), 4, 20 << 10, 4);
        lists.extend([backup(&other, folder.path())]);
        for (kind, name, data) in other.content().files() {
            memory.write(kind, name, data).unwrap();
        }
        fs::write(folder.path().join("last"), "last").unwrap();
        lists.extend([backup(&memory, folder.path())]);

        // One that was killed before its index, and lost its lock.
        let killed = holding(&memory.content());
        source::files(&folder.path().join("killed"), 5, 30 << 10, 5);
        backup(&killed, folder.path());
        for (_, name, data) in killed.content().files().filter(|(kind, ..)| *kind == FileType::Pack) {
            memory.write(FileType::Pack, name, data).unwrap();
        }
        for id in [&first, &unused] {
            memory.delete(FileType::Snapshot, id).unwrap();
        }
        let index = killed.list(FileType::Index).unwrap().into_iter();
        let there = memory.list(FileType::Index).unwrap();
        let index = index.map(|file| file.name).find(|name| there.iter().all(|file| file.name != *name));
        let gone = BTreeMap::from([
            (FileType::Snapshot, first),
            (FileType::Index, index.unwrap()),
            (FileType::Pack, "0".repeat(64)),
            (FileType::Lock, "0".repeat(64)),
        ]);
        let kept = lists.keys().cloned().collect();
        Self { content: memory.content(), lists, kept, gone }
    }

    /// The same, of which so many of the newest snapshots are kept and the others may go.
    pub fn keeping(mut self, newest: usize) -> Self {
        let ids = open(&self.store()).snapshot_ids();
        self.kept = ids.into_iter().rev().take(newest).collect();
        self
    }

    fn restores(&self, id: &str) -> &str {
        &self.lists[id]
    }

    pub fn store(&self) -> Arc<MemoryBackend> {
        holding(&self.content)
    }

    /// What is kept is there, and what is there restores to what was saved, once the locks of the dead are
    /// gone.
    #[track_caller]
    pub fn assert_whole(&self, memory: &Arc<MemoryBackend>, what: &str) {
        break_locks(memory);
        if memory.content() == self.content {
            return;
        }
        let mover = open(memory);
        let ids: BTreeSet<String> = mover.snapshot_ids().into_iter().collect();
        assert!(self.kept.is_subset(&ids), "{what}: {ids:?} of {:?}", self.kept);
        for id in &ids {
            listing::assert_same(self.restores(id), &mover.restored(id), what);
        }
    }

    /// restic finds nothing wrong in any byte and restores every snapshot that is there.
    #[track_caller]
    pub fn assert_restic_is_content(&self, memory: &MemoryBackend, what: &str) {
        let folder = mover::dump(&memory.content());
        let Some(restic) = Restic::on(REFEREES[0], folder.path()) else { return };
        let output = restic.run(&["check", "--read-data", "--no-lock"]);
        let said = [output.stdout, output.stderr].concat();
        assert!(output.status.success(), "{what}: {}", String::from_utf8_lossy(&said));
        for snapshot in memory.list(FileType::Snapshot).unwrap() {
            let target = scratch();
            restic.ok(&["restore", &snapshot.name, "--no-lock", "--target", target.path().to_str().unwrap()]);
            listing::assert_same(self.restores(&snapshot.name), &listing::list(target.path()), what);
        }
    }

    /// A prune by an honest store goes through and leaves nothing to do.
    #[track_caller]
    pub fn assert_next_finishes(&self, memory: &Arc<MemoryBackend>, what: &str) {
        break_locks(memory);
        let mover = open(memory);
        prune(&mover).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_clean(&mover, what);
        self.assert_whole(memory, &format!("{what}, then a prune"));
    }
}

/// The packs are those that the index names, and nothing is left to remove.
#[track_caller]
pub fn assert_clean(mover: &Mover, what: &str) {
    let index = mover.repository.load_index().unwrap();
    let mut named = index.packs().to_vec();
    let mut there = mover.repository.ids(FileType::Pack).unwrap();
    named.sort();
    there.sort();
    assert_eq!(named, there, "{what}: packs by the index, and packs");
    let left = ops::prune::run(&mover.session(), &PruneOptions { dry_run: true, ..options() }).unwrap();
    assert_eq!(
        (left.bytes_freed(), left.blobs_duplicate, left.packs_repacked),
        (0, 0, 0),
        "{what}: {left:?}"
    );
    assert!(mover.repository.backend().list(FileType::Lock).unwrap().is_empty(), "{what}: a lock is left");
}

/// No index names a pack that is not there: the next backup would believe that its blobs are stored.
#[track_caller]
pub fn assert_nothing_dangles(memory: &Arc<MemoryBackend>, what: &str) {
    for pack in open(memory).repository.load_index().unwrap().packs() {
        assert!(memory.stat(FileType::Pack, &pack.hex()).is_ok(), "{what}: pack {} is gone", pack.short());
    }
}

/// The holders of all locks are gone.
pub fn break_locks(memory: &MemoryBackend) {
    for lock in memory.list(FileType::Lock).unwrap() {
        memory.delete(FileType::Lock, &lock.name).unwrap();
    }
}
