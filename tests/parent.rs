//! Backups that are compared with a parent come to the trees of those that are not, whatever changed between.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use jiff::tz::{Offset, TimeZone};
use tempfile::TempDir;
use volmover::backend::memory::MemoryBackend;
use volmover::backend::{Backend, FileType};
use volmover::backup::entry::NodeMaker;
use volmover::backup::exclude::Excludes;
use volmover::backup::parent::Ignore;
use volmover::backup::plan::{Limits, plan};
use volmover::backup::{Options, Saved, save};
use volmover::clock::SystemClock;
use volmover::error::{ErrorKind, Result};
use volmover::host::Names;
use volmover::report::RecordingMonitor;
use volmover::repository::blob::BlobType;
use volmover::repository::index::IndexPack;
use volmover::repository::{Id, Repository};

use support::dice::Dice;
use support::mover::access;
use support::scratch;

struct World {
    backend: Arc<MemoryBackend>,
    repository: Repository,
    source: TempDir,
}

impl World {
    fn new() -> Self {
        let backend = Arc::new(MemoryBackend::new());
        let access = access(Arc::new(SystemClock::new()));
        let repository = Repository::create(Arc::<MemoryBackend>::clone(&backend), &access).unwrap();
        Self { backend, repository, source: scratch() }
    }

    fn at(&self, name: &str) -> std::path::PathBuf {
        self.source.path().join(name)
    }

    fn save(&self, parent: Option<Id>) -> (Saved, Vec<String>) {
        self.try_save(parent).unwrap()
    }

    fn try_save(&self, parent: Option<Id>) -> Result<(Saved, Vec<String>)> {
        self.save_with(parent, TimeZone::UTC, Ignore::default())
    }

    fn save_with(&self, parent: Option<Id>, zone: TimeZone, ignore: Ignore) -> Result<(Saved, Vec<String>)> {
        let limits = Limits {
            memory_bytes: 1 << 30,
            index_bytes: 0,
            threads: 2,
            readers: 3,
            connections: 2,
            pack_bytes: 16 << 20,
        };
        let options = Options {
            source: self.source.path().to_owned(),
            excludes: Excludes::default(),
            ignore,
            maker: NodeMaker { names: Names::read(Path::new("/")), zone },
            plan: plan(limits).unwrap(),
        };
        let index = self.repository.load_index().unwrap();
        let monitor = RecordingMonitor::default();
        let stop = AtomicBool::new(false);
        save(&self.repository, &index, parent, &options, &monitor, &stop)
            .map(|saved| (saved, monitor.warnings()))
    }

    /// Replaces the index by what `change` makes of it.
    fn reindex(&self, change: impl FnOnce(&mut Vec<IndexPack>)) {
        let files = self.repository.ids(FileType::Index).unwrap();
        let mut packs: Vec<_> =
            files.iter().flat_map(|id| self.repository.read_index_file(id).unwrap()).collect();
        change(&mut packs);
        self.repository.write_index_file(&packs).unwrap();
        for id in files {
            self.backend.delete(FileType::Index, &id.hex()).unwrap();
        }
    }
}

fn figures(saved: &Saved) -> [u64; 6] {
    let (files, dirs) = (&saved.counts.files, &saved.counts.dirs);
    [&files.new, &files.changed, &files.unmodified, &dirs.new, &dirs.changed, &dirs.unmodified]
        .map(volmover::report::Count::value)
}

fn remove(path: &Path) {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path).unwrap(),
        Ok(_) => fs::remove_file(path).unwrap(),
        Err(_) => {}
    }
}

/// Puts something at a name, whatever was there.
fn put(path: &Path, dice: &mut Dice) {
    remove(path);
    match dice.below(7) {
        0 => symlink(format!("to {}", dice.below(3)), path).unwrap(),
        1 => fs::create_dir(path).unwrap(),
        2 => {
            fs::create_dir(path).unwrap();
            fs::write(path.join("inner \u{e9} \"<&"), [dice.below(256) as u8]).unwrap();
        }
        3 => rustix::fs::mknodat(
            rustix::fs::CWD,
            path,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o640),
            0,
        )
        .unwrap(),
        4 => fs::write(path, b"").unwrap(),
        _ => fs::write(path, vec![dice.below(256) as u8; 1 + dice.below(3000)]).unwrap(),
    }
}

#[test]
fn a_backup_with_a_parent_comes_to_the_tree_of_one_without() {
    let world = World::new();
    let mut dice = Dice(0x0bad_cafe_dead_beef);
    let names: Vec<String> = (0..40)
        .map(|number| format!("{}/{number:03}", ["", "a", "a/b", "a/b/\u{2028}", "many"][number % 5]))
        .collect();
    for folder in ["a/b/\u{2028}", "many"] {
        fs::create_dir_all(world.at(folder)).unwrap();
    }
    // More than one reader takes at a time.
    for number in 0..1200 {
        fs::write(world.at(&format!("many/file {number}")), number.to_string()).unwrap();
    }
    let mut parent = world.save(None).0.tree;
    for round in 0..support::scaled(25) {
        for _ in 0..dice.below(6) {
            let path = world.at(names[dice.below(names.len())].trim_start_matches('/'));
            match dice.below(5) {
                0 => remove(&path),
                1 if fs::symlink_metadata(&path).is_ok_and(|found| !found.is_symlink()) => {
                    let mode = [0o600, 0o755][dice.below(2)];
                    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
                }
                _ => put(&path, &mut dice),
            }
        }
        let (with, warnings) = world.save(Some(parent));
        let (without, _) = world.save(None);
        assert_eq!(with.tree, without.tree, "round {round}");
        assert_eq!(without.added.data_blobs.value() + without.added.tree_blobs.value(), 0, "round {round}");
        assert!(warnings.is_empty(), "{warnings:?}");
        let (again, _) = world.save(Some(with.tree));
        let [files, dirs] = [figures(&without)[0], figures(&without)[3]];
        assert_eq!((again.tree, figures(&again)), (with.tree, [0, 0, files, 0, 0, dirs]), "round {round}");
        assert_eq!(again.counts.bytes_processed.value(), without.counts.bytes_processed.value());
        let [new, changed, unmodified, ..] = figures(&with);
        assert_eq!(new + changed + unmodified, files);
        parent = with.tree;
    }
}

#[test]
fn another_zone_is_another_tree_but_no_change() {
    let world = World::new();
    fs::create_dir(world.at("folder")).unwrap();
    fs::write(world.at("folder/file"), b"content").unwrap();
    symlink("folder/file", world.at("link")).unwrap();
    let (first, _) = world.save(None);
    let zone = TimeZone::fixed(Offset::constant(2));
    let (other, _) = world.save_with(Some(first.tree), zone.clone(), Ignore::default()).unwrap();
    let (plain, _) = world.save_with(None, zone, Ignore::default()).unwrap();
    assert_eq!((other.tree, figures(&other)), (plain.tree, [0, 0, 1, 0, 1, 0]));
    assert_ne!(other.tree, first.tree);
    assert_eq!(other.added.data_blobs.value(), 0);
}

#[test]
fn a_file_that_lost_its_content_is_saved_again() {
    let world = World::new();
    fs::create_dir(world.at("folder")).unwrap();
    fs::write(world.at("folder/file"), b"content").unwrap();
    let (first, _) = world.save(None);
    world.reindex(|packs| packs.retain(|pack| pack.blobs.iter().all(|blob| blob.kind == BlobType::Tree)));
    for ignore in [Ignore::default(), Ignore { ctime: true, inode: true }] {
        let (again, warnings) = world.save_with(Some(first.tree), TimeZone::UTC, ignore).unwrap();
        assert_eq!(again.tree, first.tree);
        let is_lost = ignore == Ignore::default();
        assert_eq!(again.added.data_blobs.value(), u64::from(is_lost));
        let lost =
            |text: &String| text.contains("folder/file: parts of it are not in the repository any more");
        assert_eq!(warnings.iter().filter(|text| lost(text)).count(), usize::from(is_lost), "{warnings:?}");
    }
}

#[test]
fn a_tree_that_opens_to_another_is_not_compared_with() {
    let world = World::new();
    for folder in ["one", "two", "three"] {
        fs::create_dir(world.at(folder)).unwrap();
        fs::write(world.at(&format!("{folder}/{folder}")), folder).unwrap();
    }
    let (first, _) = world.save(None);
    let index = world.repository.load_index().unwrap();
    let mut opener = world.repository.opener().unwrap();
    let root = world.repository.read_tree(&index, &first.tree, &mut opener).unwrap();
    let tree = |name: &[u8]| root.nodes.iter().find(|node| *node.name == *name).unwrap().subtree.unwrap();
    let twos = index.lookup(BlobType::Tree, &tree(b"two")).unwrap().extent;
    world.reindex(|packs| {
        let mut blobs = packs.iter_mut().flat_map(|pack| &mut pack.blobs);
        blobs.find(|blob| blob.id == tree(b"one")).unwrap().extent = twos;
    });
    let error = world.try_save(Some(first.tree)).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Damaged, "what cannot be read is not relied on: {error}");
    fs::write(world.at("one/one"), b"other").unwrap();
    let (with, warnings) = world.save(Some(first.tree));
    assert_eq!(with.tree, world.save(None).0.tree);
    assert!(
        warnings.len() == 1 && warnings[0].contains("/one: cannot compare with the parent"),
        "{warnings:?}"
    );
    assert_eq!(figures(&with), [1, 0, 2, 0, 1, 2]);
}
