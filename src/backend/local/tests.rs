//! The local store on file systems that misbehave: what NFS and `CephFS` do, put under it call by call.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::Arc;

use rustix::io::Result;

use super::*;

/// The system's files with scripted failures, and a log of the calls that change something.
#[derive(Clone, Default)]
struct ScriptedFiles {
    rules: Arc<Mutex<Vec<Rule>>>,
    log: Arc<Mutex<Vec<String>>>,
    kind: Arc<Mutex<u64>>,
}

struct Rule {
    call: &'static str,
    errno: Errno,
    times: usize,
    effect: Effect,
}

#[derive(Clone, Copy, PartialEq)]
enum Effect {
    Nothing,
    HappensAnyway,
}

impl ScriptedFiles {
    fn add(&self, call: &'static str, errno: Errno, times: usize, effect: Effect) {
        self.rules.lock().unwrap().push(Rule { call, errno, times, effect });
    }

    /// The file system that they are said to be on.
    fn set_kind(&self, kind: u64) {
        *self.kind.lock().unwrap() = kind;
    }

    /// Every further `call` fails, and does nothing.
    fn refuse(&self, call: &'static str, errno: Errno) {
        self.add(call, errno, usize::MAX, Effect::Nothing);
    }

    fn play<T>(&self, call: &'static str, act: impl FnOnce() -> Result<T>) -> Result<T> {
        self.log.lock().unwrap().push(call.to_owned());
        let failure = {
            let mut rules = self.rules.lock().unwrap();
            let rule = rules.iter_mut().find(|rule| rule.call == call && rule.times > 0);
            rule.map(|rule| {
                rule.times -= 1;
                (rule.errno, rule.effect)
            })
        };
        match failure {
            None => act(),
            Some((errno, Effect::Nothing)) => Err(errno),
            Some((errno, Effect::HappensAnyway)) => act().and(Err(errno)),
        }
    }
}

impl FileSystem for ScriptedFiles {
    fn open(&self, path: &Path) -> Result<OwnedFd> {
        self.play("open", || SystemFiles.open(path))
    }
    fn open_folder(&self, path: &Path) -> Result<OwnedFd> {
        self.play("open_folder", || SystemFiles.open_folder(path))
    }
    fn names(&self, folder: &OwnedFd) -> Result<Vec<String>> {
        self.play("names", || SystemFiles.names(folder))
    }
    fn stat_in(&self, folder: &OwnedFd, name: &str) -> Result<Stat> {
        self.play("stat_in", || SystemFiles.stat_in(folder, name))
    }
    fn stat(&self, path: &Path) -> Result<Stat> {
        self.play("stat", || SystemFiles.stat(path))
    }
    fn kind_of_system(&self, _path: &Path) -> Result<u64> {
        self.play("kind_of_system", || Ok(*self.kind.lock().unwrap()))
    }
    fn stat_open(&self, file: &OwnedFd) -> Result<Stat> {
        self.play("stat_open", || SystemFiles.stat_open(file))
    }
    fn read_at(&self, file: &OwnedFd, buffer: &mut Vec<u8>, offset: u64) -> Result<usize> {
        self.play("read_at", || SystemFiles.read_at(file, buffer, offset))
    }
    fn create(&self, path: &Path, mode: Mode) -> Result<OwnedFd> {
        self.play("create", || SystemFiles.create(path, mode))
    }
    fn write(&self, file: &OwnedFd, data: &[u8]) -> Result<usize> {
        // Never more than 1000 bytes at once: short writes must not lose data.
        self.play("write", || SystemFiles.write(file, &data[..data.len().min(1000)]))
    }
    fn chmod(&self, file: &OwnedFd, mode: Mode) -> Result<()> {
        self.play("chmod", || SystemFiles.chmod(file, mode))
    }
    fn fsync(&self, file: &OwnedFd) -> Result<()> {
        self.play("fsync", || SystemFiles.fsync(file))
    }
    fn fsync_folder(&self, path: &Path) -> Result<()> {
        self.play("fsync_folder", || SystemFiles.fsync_folder(path))
    }
    fn link(&self, from: &Path, to: &Path) -> Result<()> {
        self.play("link", || SystemFiles.link(from, to))
    }
    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        self.play("rename", || SystemFiles.rename(from, to))
    }
    fn rename_new(&self, from: &Path, to: &Path) -> Result<()> {
        self.play("rename_new", || SystemFiles.rename_new(from, to))
    }
    fn unlink(&self, path: &Path) -> Result<()> {
        self.play("unlink", || SystemFiles.unlink(path))
    }
    fn make_folder(&self, path: &Path, mode: Mode) -> Result<()> {
        self.play("make_folder", || SystemFiles.make_folder(path, mode))
    }
}

struct Store {
    folder: tempfile::TempDir,
    files: ScriptedFiles,
    backend: LocalBackend,
}

/// A created repository folder whose calls can be made to fail.
fn store() -> Store {
    let folder = tempfile::tempdir().unwrap();
    let files = ScriptedFiles::default();
    let backend = LocalBackend::with_files(folder.path(), 4, Box::new(files.clone()));
    backend.create().unwrap();
    files.log.lock().unwrap().clear();
    Store { folder, files, backend }
}

impl Store {
    /// The calls since the last time that change or fsync something, or try to.
    fn changes(&self) -> Vec<String> {
        let mut log = std::mem::take(&mut *self.files.log.lock().unwrap());
        log.retain(|call| !call.starts_with("stat") && !call.starts_with("open") && call != "names");
        log
    }

    /// The names in a folder of the repository, temporary files included.
    fn names(&self, folder: &str) -> Vec<String> {
        let folder = SystemFiles.open_folder(&self.folder.path().join(folder)).unwrap();
        SystemFiles.names(&folder).unwrap()
    }

    fn mode(&self, path: &str) -> u32 {
        std::fs::metadata(self.folder.path().join(path)).unwrap().permissions().mode() & 0o7777
    }
}

const NAME: &str = "ab0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcd";
const OLD: Bytes = Bytes::from_static(b"old");

fn data() -> Bytes {
    (0..2_500_u32).map(|n| n as u8).collect()
}

#[test]
fn a_file_is_durable_before_it_has_its_name_and_its_name_before_write_returns() {
    let store = store();
    store.backend.write(FileType::Pack, NAME, &data()).unwrap();
    let three_writes = ["create", "write", "write", "write", "chmod", "fsync"];
    assert_eq!(store.changes(), [&three_writes[..], &["rename", "fsync_folder"]].concat());
    store.backend.write_new(FileType::Key, NAME, &data()).unwrap();
    assert_eq!(store.changes(), [&three_writes[..], &["link", "unlink", "fsync_folder"]].concat());
    assert_eq!(store.backend.read(FileType::Key, NAME).unwrap(), data());
    store.backend.delete_many(FileType::Index, &[NAME.to_owned()])[0].as_ref().unwrap_err();
    store.backend.write(FileType::Snapshot, NAME, &OLD).unwrap();
    store.changes();
    store.backend.delete(FileType::Snapshot, NAME).unwrap();
    assert_eq!(store.changes(), ["unlink", "fsync_folder"]);
}

#[test]
fn a_failed_write_leaves_the_old_file_and_no_other() {
    for call in ["create", "write", "chmod", "fsync", "rename"] {
        let store = store();
        store.backend.write(FileType::Index, NAME, &OLD).unwrap();
        store.files.refuse(call, Errno::IO);
        let error = store.backend.write(FileType::Index, NAME, &data()).unwrap_err();
        assert_eq!((error.kind, error.temporary), (BackendErrorKind::Damaged, false), "{call}");
        assert!(error.cause.contains("EIO, the disk or the network mount failed"), "{error}");
        assert_eq!(store.backend.read(FileType::Index, NAME).unwrap(), OLD);
        assert_eq!(store.names("index"), [NAME], "after a failed {call}");
    }
}

#[test]
fn a_failed_fsync_of_the_folder_is_an_error() {
    let store = store();
    store.files.refuse("fsync_folder", Errno::IO);
    let error = store.backend.write(FileType::Index, NAME, &data()).unwrap_err();
    assert_eq!(error.to_string().split(": ").next().unwrap(), format!("write index/{NAME}"));
    assert_eq!(error.kind, BackendErrorKind::Damaged);
}

#[test]
fn what_network_file_systems_refuse_is_tolerated() {
    for errno in [Errno::PERM, Errno::INVAL, Errno::NOTSUP, Errno::ACCESS] {
        let store = store();
        store.files.refuse("chmod", errno);
        store.files.refuse("fsync_folder", errno);
        store.backend.create().unwrap();
        store.backend.write(FileType::Index, NAME, &data()).unwrap();
        store.backend.write_new(FileType::Key, NAME, &data()).unwrap();
        store.backend.delete(FileType::Index, NAME).unwrap();
    }
}

#[test]
fn causes_become_kinds() {
    let cases = [
        ("create", Errno::NOSPC, BackendErrorKind::Full, false),
        ("write", Errno::DQUOT, BackendErrorKind::Full, false),
        ("fsync", Errno::DQUOT, BackendErrorKind::Full, false),
        ("create", Errno::ACCESS, BackendErrorKind::Denied, false),
        ("create", Errno::ROFS, BackendErrorKind::Denied, false),
        ("rename", Errno::STALE, BackendErrorKind::Unreachable, true),
        ("write", Errno::NOTCONN, BackendErrorKind::Unreachable, true),
        ("create", Errno::MFILE, BackendErrorKind::Other, true),
    ];
    for (call, errno, kind, temporary) in cases {
        let store = store();
        store.files.refuse(call, errno);
        let error = store.backend.write(FileType::Pack, NAME, &data()).unwrap_err();
        assert_eq!((error.kind, error.temporary), (kind, temporary), "{error}");
        assert!(store.names("data/ab").is_empty());
    }
}

#[test]
fn a_stale_handle_may_pass() {
    let store = store();
    store.backend.write(FileType::Index, NAME, &data()).unwrap();
    store.files.add("open", Errno::STALE, 1, Effect::Nothing);
    let error = store.backend.read(FileType::Index, NAME).unwrap_err();
    assert_eq!((error.kind, error.temporary), (BackendErrorKind::Unreachable, true));
    assert!(error.cause.contains("ESTALE"), "{error}");
    assert_eq!(store.backend.read(FileType::Index, NAME).unwrap(), data());
}

/// The answer to a rename or link was lost, and the repeated request found it done.
#[test]
fn what_happened_counts_not_what_was_answered() {
    for errno in [Errno::NOENT, Errno::TIMEDOUT] {
        let store = store();
        store.files.add("rename", errno, 1, Effect::HappensAnyway);
        store.backend.write(FileType::Index, NAME, &data()).unwrap();
        assert_eq!(store.backend.read(FileType::Index, NAME).unwrap(), data());
        assert_eq!(store.names("index"), [NAME]);
    }
    let store = store();
    store.files.add("link", Errno::EXIST, 1, Effect::HappensAnyway);
    store.backend.write_new(FileType::Key, NAME, &data()).unwrap();
    assert_eq!(store.names("keys"), [NAME]);
    let error = store.backend.write_new(FileType::Key, NAME, &OLD).unwrap_err();
    assert_eq!(error.kind, BackendErrorKind::Exists);
    assert_eq!(store.names("keys"), [NAME]);
    assert_eq!(store.backend.read(FileType::Key, NAME).unwrap(), data());
}

/// Without links, and without a rename that spares what is there, still one of twenty wins.
#[test]
fn exclusive_without_links() {
    for refused in [&["link"][..], &["link", "rename_new"]] {
        let store = store();
        for call in refused {
            store.files.refuse(call, Errno::NOTSUP);
        }
        let write = |n: u8| store.backend.write_new(FileType::Config, "", &vec![n; 3_000].into());
        let results: Vec<_> = std::thread::scope(|scope| {
            let racers: Vec<_> = (0..20).map(|n| scope.spawn(move || write(n))).collect();
            racers.into_iter().map(|racer| racer.join().unwrap()).collect()
        });
        let winners: Vec<_> = (0..20_u8).filter(|n| results[usize::from(*n)].is_ok()).collect();
        assert_eq!(winners.len(), 1, "{results:?}");
        let losers = results.iter().filter_map(|result| result.as_ref().err());
        assert!(losers.into_iter().all(BackendError::is_exists));
        assert_eq!(store.backend.read(FileType::Config, "").unwrap(), vec![winners[0]; 3_000]);
        assert_eq!(store.names("").len(), 6, "five folders and the config");
    }
}

#[test]
fn a_claimed_name_is_given_back_on_failure() {
    let store = store();
    store.files.refuse("link", Errno::PERM);
    store.files.refuse("rename_new", Errno::INVAL);
    store.files.refuse("rename", Errno::NOSPC);
    let error = store.backend.write_new(FileType::Key, NAME, &data()).unwrap_err();
    assert_eq!(error.kind, BackendErrorKind::Full);
    assert!(store.names("keys").is_empty());
}

#[test]
fn a_list_leaves_out_what_vanished_and_nothing_else() {
    let store = store();
    for first in ["ab", "cd", "ce"] {
        store.backend.write(FileType::Pack, &NAME.replacen("ab", first, 1), &data()).unwrap();
    }
    store.files.add("stat_in", Errno::NOENT, 1, Effect::Nothing);
    assert_eq!(store.backend.list(FileType::Pack).unwrap().len(), 2);
    let listed = store.backend.list(FileType::Pack).unwrap();
    assert_eq!(listed.len(), 3);
    assert!(listed.iter().all(|listed| listed.bytes == 2_500 && listed.modified.is_some()));
    std::fs::remove_dir_all(store.folder.path().join("data/ff")).unwrap();
    std::fs::rename(store.folder.path().join("data/cd"), store.folder.path().join("data/00")).unwrap();
    assert_eq!(store.backend.list(FileType::Pack).unwrap().len(), 2, "a pack in a wrong folder");
    for call in ["stat", "open_folder", "names", "stat_in"] {
        for (errno, kind) in [
            (Errno::IO, BackendErrorKind::Damaged),
            (Errno::STALE, BackendErrorKind::Unreachable),
            (Errno::ACCESS, BackendErrorKind::Denied),
        ] {
            store.files.add(call, errno, 1, Effect::Nothing);
            let error = store.backend.list(FileType::Pack).unwrap_err();
            assert_eq!((error.kind, error.operation), (kind, "list"), "{call}: {error}");
        }
    }
}

#[test]
fn folders_are_made_on_demand_but_never_the_root() {
    let store = store();
    std::fs::remove_dir_all(store.folder.path().join("data")).unwrap();
    assert_eq!(store.backend.list(FileType::Pack).unwrap(), []);
    store.backend.write_new(FileType::Pack, NAME, &data()).unwrap();
    assert_eq!(store.names("data"), ["ab"]);
    let root = store.folder.path().join("unmounted");
    let unmounted = LocalBackend::open(&root, 1);
    let error = unmounted.write(FileType::Pack, NAME, &data()).unwrap_err();
    assert_eq!(error.kind, BackendErrorKind::NotFound);
    assert!(!root.exists());
}

#[test]
fn modes_follow_the_repository() {
    let private = [(0o700, 0o400, 0o700), (0o755, 0o400, 0o700)];
    let shared = [(0o770, 0o440, 0o770), (0o2775, 0o440, 0o2770)];
    for (root, file, folder) in private.into_iter().chain(shared) {
        let store = store();
        for kind in FileType::FOLDERS {
            std::fs::remove_dir_all(store.folder.path().join(kind.folder())).unwrap();
        }
        let modes = std::fs::Permissions::from_mode(root);
        std::fs::set_permissions(store.folder.path(), modes).unwrap();
        store.backend.write_new(FileType::Config, "", &OLD).unwrap();
        store.backend.create().unwrap();
        store.backend.write(FileType::Pack, NAME, &OLD).unwrap();
        store.backend.write_new(FileType::Key, NAME, &OLD).unwrap();
        for path in ["config".to_owned(), format!("data/ab/{NAME}"), format!("keys/{NAME}")] {
            assert_eq!(store.mode(&path), file, "{path} below a root of mode {root:o}");
        }
        for path in ["keys", "locks", "data", "data/00", "data/ff"] {
            assert_eq!(store.mode(path), folder, "{path} below a root of mode {root:o}");
        }
    }
}

#[test]
fn a_new_root_is_shared_as_its_folder_is() {
    for (above, root) in
        [(0o755, 0o700), (0o700, 0o700), (0o1777, 0o700), (0o775, 0o770), (0o777, 0o770), (0o2770, 0o2770)]
    {
        let store = store();
        let shared = store.folder.path().join("above");
        std::fs::create_dir(&shared).unwrap();
        std::fs::set_permissions(&shared, std::fs::Permissions::from_mode(above)).unwrap();
        LocalBackend::open(&shared.join("new/root"), 1).create().unwrap();
        for path in ["above/new", "above/new/root", "above/new/root/keys", "above/new/root/data/ff"] {
            assert_eq!(store.mode(path), root, "{path} below a folder of mode {above:o}");
        }
    }
}

#[test]
fn a_folder_that_another_is_making_is_waited_for() {
    let store = store();
    store.files.add("make_folder", Errno::ACCESS, 3, Effect::Nothing);
    store.backend.create().unwrap();
    store.files.refuse("make_folder", Errno::ACCESS);
    assert_eq!(store.backend.create().unwrap_err().kind, BackendErrorKind::Denied);
}

#[test]
fn the_config_decides_before_the_root() {
    let store = store();
    store.backend.write(FileType::Config, "", &OLD).unwrap();
    let root = std::fs::Permissions::from_mode(0o775);
    std::fs::set_permissions(store.folder.path(), root).unwrap();
    let again = LocalBackend::open(store.folder.path(), 1);
    again.write(FileType::Key, NAME, &OLD).unwrap();
    assert_eq!(store.mode(&format!("keys/{NAME}")), 0o400);
    let shared = std::fs::Permissions::from_mode(0o440);
    std::fs::set_permissions(store.folder.path().join("config"), shared).unwrap();
    let again = LocalBackend::open(store.folder.path(), 1);
    again.write(FileType::Key, NAME, &OLD).unwrap();
    assert_eq!(store.mode(&format!("keys/{NAME}")), 0o440);
}

#[test]
fn a_truncated_file_says_how_much_is_missing() {
    let store = store();
    store.backend.write(FileType::Pack, NAME, &data()).unwrap();
    let error = store.backend.read_range(FileType::Pack, NAME, 2_000, 600).unwrap_err();
    assert_eq!(error.to_string(), format!("read data/ab/{NAME}: file is 2500 bytes, needed 2600"));
    store.files.refuse("read_at", Errno::IO);
    let error = store.backend.read(FileType::Pack, NAME).unwrap_err();
    assert_eq!((error.kind, error.temporary), (BackendErrorKind::Damaged, false));
}

#[test]
fn names_stay_inside_the_repository() {
    let store = store();
    for name in ["../../escaped", "..", ".hidden", "a/b", "", "nul\0"] {
        for kind in [FileType::Key, FileType::Pack] {
            let error = store.backend.write(kind, name, &OLD).unwrap_err();
            assert_eq!(error.kind, BackendErrorKind::Other, "{name:?}");
            store.backend.read(kind, name).unwrap_err();
            store.backend.delete(kind, name).unwrap_err();
        }
    }
    assert!(store.changes().is_empty());
}

#[test]
fn links_are_followed_and_folders_are_no_files() {
    let store = store();
    let (first, second) = (NAME.replacen("ab", "aa", 1), NAME.replacen("ab", "bb", 1));
    std::fs::write(store.folder.path().join("elsewhere"), b"linked").unwrap();
    symlink("../elsewhere", store.folder.path().join("index").join(&first)).unwrap();
    std::fs::create_dir(store.folder.path().join("index").join(second)).unwrap();
    let listed = store.backend.list(FileType::Index).unwrap();
    assert_eq!((listed.len(), listed[0].name.as_str(), listed[0].bytes), (1, first.as_str(), 6));
}

#[test]
fn lists_are_trusted_at_once_on_file_systems_of_one_machine_alone() {
    let store = store();
    store.files.set_kind(0xEF53);
    assert!(store.backend.lists_at_once());
    for of_many in [0x6969, 0x00C3_6400, 0x6573_5546, 0xFF53_4D42, 0x0102_1997] {
        store.files.set_kind(of_many);
        assert!(!store.backend.lists_at_once(), "NFS, CephFS, FUSE, SMB, 9P");
    }
    store.files.refuse("kind_of_system", Errno::STALE);
    assert!(!store.backend.lists_at_once());
}
