//! Restores into what stands there already: only what differs is fetched and written, what must go goes,
//! what must stay stays.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink as link};
use std::path::Path;
use std::sync::Arc;

use volmover::backend::record::{Record, Request};
use volmover::error::ErrorKind;
use volmover::repository::Repository;
use volmover::repository::tree::{Node, Tree};
use volmover::restore::{Overwrite, RestoreOptions};

use crate::made::{file, folder, store, symlink, tree};
use crate::support::scratch;
use crate::world::{Repo, open, options, random_bytes, run, set_mode, set_mtime};

const TEXT: &[u8] = b"text";

fn repository_of(chunks: &[&[u8]], trees: &[&Tree]) -> (Repo, Arc<Repository>) {
    let repo = Repo::create();
    let repository = repo.open();
    store(&repository, chunks, trees);
    (repo, repository)
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_resumed_restore_fetches_only_what_is_missing() {
    let chunks: Vec<Vec<u8>> = (0..20).map(|_| random_bytes(100_000)).collect();
    let all: Vec<&[u8]> = chunks.iter().map(Vec::as_slice).collect();
    let mut nodes: Vec<Node> =
        all.iter().enumerate().map(|(n, chunk)| file(format!("{n:02}").as_bytes(), &[chunk])).collect();
    nodes.push(file(b"large", &all));
    let (repo, _) = repository_of(&all, &[&tree(nodes)]);
    let record = Arc::new(Record::new(repo.backend()));
    let repository = open(record.clone());
    let target = scratch();
    let fetched = |change: &dyn Fn()| {
        run(&repository, &options(target.path())).summary();
        change();
        record.clear();
        let done = run(&repository, &options(target.path()));
        let content = fs::read(target.path().join("large")).unwrap();
        assert!(content == all.concat());
        for (n, chunk) in all.iter().enumerate() {
            assert!(fs::read(target.path().join(format!("{n:02}"))).unwrap() == *chunk);
        }
        let counts = record.counts();
        (counts.of(Request::ReadRange), counts.bytes_down, done.summary().files_restored)
    };
    let (requests, at_rest, restored) = fetched(&|| {});
    assert_eq!((requests, restored), (1, 0), "trees are one request, data none");

    let (requests, bytes, restored) = fetched(&|| fs::remove_file(target.path().join("05")).unwrap());
    assert_eq!((requests, restored), (2, 1));
    assert!(bytes < at_rest + 101_000, "{bytes} bytes");

    let large = target.path().join("large");
    let edit = |offset: u64, data: &[u8]| {
        use std::os::unix::fs::FileExt;
        fs::OpenOptions::new().write(true).open(&large).unwrap().write_all_at(data, offset).unwrap();
        // Size and time as they should be: they prove nothing.
        set_mtime(&large, 0, 0);
    };
    let (requests, bytes, restored) = fetched(&|| edit(1_234_567, b"x"));
    assert_eq!((requests, restored), (2, 1));
    assert!(bytes < at_rest + 101_000, "{bytes} bytes");

    let cut = |length: u64| fs::OpenOptions::new().write(true).open(&large).unwrap().set_len(length).unwrap();
    let (requests, bytes, _) = fetched(&|| cut(1_950_000));
    assert_eq!(requests, 2);
    assert!(bytes < at_rest + 101_000, "{bytes} bytes");
    let (requests, _, restored) = fetched(&|| cut(5_000_000));
    assert_eq!((requests, restored), (1, 1), "a file that is too long is cut without any data");
    assert_eq!(fs::metadata(&large).unwrap().len(), 2_000_000);
}

#[test]
fn an_inode_that_is_right_is_not_written() {
    let (_repo, repository) =
        repository_of(&[TEXT], &[&tree(vec![file(b"a", &[TEXT]), file(b"b", &[TEXT]), file(b"c", &[TEXT])])]);
    let target = scratch();
    let at = |name: &str| target.path().join(name);
    let inode = |name: &str| fs::symlink_metadata(at(name)).unwrap();
    run(&repository, &options(target.path())).summary();
    let right = inode("b");
    // The time of a change must be another if there is one.
    std::thread::sleep(std::time::Duration::from_millis(30));
    set_mtime(&at("a"), 5, 5);
    set_mode(&at("c"), 0o777);
    run(&repository, &options(target.path())).summary();
    for name in ["a", "c"] {
        assert_eq!((inode(name).mtime(), inode(name).mode()), (right.mtime(), right.mode()), "{name}");
        assert!(inode(name).ctime_nsec() != right.ctime_nsec() || inode(name).ctime() != right.ctime());
    }
    let now = inode("b");
    assert_eq!((now.ctime(), now.ctime_nsec()), (right.ctime(), right.ctime_nsec()));
    assert_eq!((now.atime(), now.mtime()), (right.atime(), right.mtime()));
}

#[test]
fn a_file_with_other_names_is_replaced_and_not_written_through() {
    let (_repo, repository) =
        repository_of(&[TEXT], &[&tree(vec![file(b"f", &[TEXT]), file(b"g", &[TEXT, TEXT])])]);
    let outer = scratch();
    let target = outer.path().join("target");
    fs::create_dir(&target).unwrap();
    for (content, name) in [(&b"other"[..], "f"), (b"texttext", "g")] {
        fs::write(outer.path().join(name), content).unwrap();
        fs::hard_link(outer.path().join(name), target.join(name)).unwrap();
    }
    run(&repository, &options(&target)).summary();
    assert_eq!(fs::read(outer.path().join("f")).unwrap(), b"other");
    assert_eq!(fs::read(target.join("f")).unwrap(), TEXT);
    assert_eq!(fs::metadata(outer.path().join("g")).unwrap().nlink(), 1, "not even its metadata is shared");
    assert_ne!(
        fs::metadata(outer.path().join("g")).unwrap().mtime(),
        fs::metadata(target.join("g")).unwrap().mtime()
    );
}

#[test]
fn hard_links_come_back_whatever_stood_there() {
    let linked = |name: &[u8]| Node { links: 3, inode: 7, device_id: 1, ..file(name, &[TEXT]) };
    let inner = tree(vec![linked(b"c")]);
    let root = tree(vec![linked(b"a"), linked(b"b"), folder(b"d", &inner), file(b"e", &[TEXT])]);
    let (_repo, repository) = repository_of(&[TEXT], &[&root, &inner]);
    let states: [&dyn Fn(&Path); 5] = [
        &|_| {},
        // All of them are one file, also the one that is another.
        &|target| {
            fs::remove_file(target.join("e")).unwrap();
            fs::hard_link(target.join("a"), target.join("e")).unwrap();
        },
        // The first is gone, the others are there.
        &|target| fs::remove_file(target.join("a")).unwrap(),
        // Each is a file of its own.
        &|target| {
            for name in ["a", "b", "d/c"] {
                fs::remove_file(target.join(name)).unwrap();
                fs::write(target.join(name), TEXT).unwrap();
            }
        },
        &|target| {
            fs::remove_file(target.join("b")).unwrap();
            link("e", target.join("b")).unwrap();
        },
    ];
    let target = scratch();
    for (number, state) in states.iter().enumerate() {
        run(&repository, &options(target.path())).summary();
        state(target.path());
        run(&repository, &options(target.path())).summary();
        let status = |name: &str| fs::symlink_metadata(target.path().join(name)).unwrap();
        let inode = status("a").ino();
        assert!([status("b").ino(), status("d/c").ino()] == [inode, inode], "state {number}");
        assert_ne!(status("e").ino(), inode, "state {number}");
        assert_eq!((status("a").nlink(), status("e").nlink()), (3, 1), "state {number}");
        assert_eq!(fs::read(target.path().join("b")).unwrap(), TEXT);
    }
}

#[test]
fn a_hard_linked_file_that_differs_is_not_written_through_either() {
    let linked = |name: &[u8]| Node { links: 2, inode: 7, device_id: 1, ..file(name, &[TEXT, TEXT]) };
    let empty = |name: &[u8]| Node { links: 2, inode: 8, device_id: 1, ..file(name, &[]) };
    let root = tree(vec![linked(b"a"), linked(b"b"), empty(b"c"), empty(b"d")]);
    let (_repo, repository) = repository_of(&[TEXT], &[&root]);
    let outer = scratch();
    let target = outer.path().join("target");
    fs::create_dir(&target).unwrap();
    for name in ["a", "c"] {
        fs::write(outer.path().join(name), b"textTEXT").unwrap();
        fs::hard_link(outer.path().join(name), target.join(name)).unwrap();
    }
    run(&repository, &options(&target)).summary();
    for (name, content) in [("a", &b"texttext"[..]), ("b", b"texttext"), ("c", b""), ("d", b"")] {
        assert_eq!(fs::read(target.join(name)).unwrap(), content, "{name}");
        assert_eq!(fs::metadata(target.join(name)).unwrap().nlink(), 2);
    }
    for name in ["a", "c"] {
        assert_eq!(fs::read(outer.path().join(name)).unwrap(), b"textTEXT", "{name} outside");
    }
}

#[test]
fn a_plan_that_memory_has_no_room_for_is_carried_out_in_parts() {
    let linked = |name: &[u8], inode| Node { links: 3, inode, device_id: 1, ..file(name, &[TEXT]) };
    let inner: Vec<Tree> = (0..600_u64)
        .map(|n| {
            tree(vec![
                file(format!("{n}").as_bytes(), &[TEXT]),
                linked(b"l", 1 + n % 200),
                symlink(b"s", b"l"),
            ])
        })
        .collect();
    let root =
        tree(inner.iter().enumerate().map(|(n, tree)| folder(format!("{n:03}").as_bytes(), tree)).collect());
    let mut trees = vec![&root];
    trees.extend(&inner);
    let (_repo, repository) = repository_of(&[TEXT], &trees);
    let restored = |memory_bytes| {
        let target = scratch();
        let options = RestoreOptions { memory_bytes, ..options(target.path()) };
        let done = run(&repository, &options);
        assert_eq!((done.summary().files_total, done.summary().files_restored), (2400, 2400));
        let again = run(&repository, &options);
        assert_eq!((again.summary().files_skipped, again.summary().files_restored), (800, 1600));
        crate::support::listing::list(target.path())
    };
    let listing = restored(256 << 20);
    assert!(listing == restored(1 << 10));
    assert_eq!(listing.lines().filter(|line| line.starts_with('f')).count(), 1200);
}

#[test]
fn what_is_of_another_type_goes() {
    let inner = tree(vec![file(b"x", &[TEXT])]);
    let root =
        tree(vec![file(b"f", &[TEXT]), folder(b"d", &inner), symlink(b"l", b"f"), file(b"empty", &[])]);
    let (_repo, repository) = repository_of(&[TEXT], &[&root, &inner]);
    let target = scratch();
    let at = |name: &str| target.path().join(name);
    fs::create_dir(at("f")).unwrap();
    fs::write(at("d"), b"a file").unwrap();
    fs::create_dir(at("l")).unwrap();
    link("f", at("empty")).unwrap();
    run(&repository, &options(target.path())).summary();
    assert_eq!(fs::read(at("f")).unwrap(), TEXT);
    assert_eq!(fs::read(at("d/x")).unwrap(), TEXT);
    assert_eq!(fs::read_link(at("l")).unwrap(), Path::new("f"));
    assert!(fs::symlink_metadata(at("empty")).unwrap().is_file());

    // A directory that holds something is not thrown away unasked, as in restic.
    fs::remove_file(at("f")).unwrap();
    fs::create_dir_all(at("f/deep")).unwrap();
    fs::write(at("f/deep/mine"), b"mine").unwrap();
    let done = run(&repository, &options(target.path()));
    assert_eq!((done.error().kind, done.failed_items()), (ErrorKind::Other, vec!["/f".to_owned()]));
    assert!(at("f/deep/mine").exists());
    run(&repository, &RestoreOptions { delete: true, ..options(target.path()) }).summary();
    assert_eq!(fs::read(at("f")).unwrap(), TEXT);
}

#[test]
fn delete_removes_what_the_snapshot_lacks_but_not_lost_and_found() {
    let inner = tree(vec![file(b"x", &[TEXT])]);
    let root = tree(vec![folder(b"d", &inner), file(b"keep", &[TEXT])]);
    let (_repo, repository) = repository_of(&[TEXT], &[&root, &inner]);
    let target = scratch();
    let at = |name: &str| target.path().join(name);
    let fill = || {
        fs::create_dir_all(at("lost+found/1")).unwrap();
        fs::create_dir_all(at("extra/deep")).unwrap();
        fs::create_dir_all(at("d/lost+found")).unwrap();
        fs::write(at("extra/deep/1"), b"1").unwrap();
        fs::write(at("d/more.tmp"), b"1").unwrap();
        fs::write(at("more.tmp"), b"1").unwrap();
    };
    fill();
    run(&repository, &options(target.path())).summary();
    assert_eq!(names(target.path()), ["d", "extra", "keep", "lost+found", "more.tmp"]);

    let delete = RestoreOptions { delete: true, ..options(target.path()) };
    let dry = run(&repository, &RestoreOptions { dry_run: true, ..delete.clone() });
    assert_eq!((dry.summary().files_deleted, names(target.path()).len()), (6, 5));

    let matching = RestoreOptions { include: vec!["*.tmp".into(), "/keep".into()], ..delete.clone() };
    assert_eq!(run(&repository, &matching).summary().files_deleted, 1, "d holds nothing that is selected");
    assert_eq!(names(target.path()), ["d", "extra", "keep", "lost+found"]);
    assert_eq!(names(&at("d")), ["lost+found", "more.tmp", "x"]);

    assert_eq!(run(&repository, &delete).summary().files_deleted, 5);
    assert_eq!(names(target.path()), ["d", "keep", "lost+found"]);
    assert_eq!(names(&at("d")), ["x"]);
    assert_eq!(run(&repository, &delete).summary().files_deleted, 0);
}

#[test]
fn includes_restore_what_matches_and_the_way_to_it() {
    let deep = tree(vec![file(b"a.txt", &[TEXT]), file(b"b.log", &[TEXT])]);
    let middle = tree(vec![folder(b"deep", &deep), file(b"c.txt", &[TEXT])]);
    let other = tree(vec![file(b"d.log", &[TEXT])]);
    let root = tree(vec![folder(b"middle", &middle), folder(b"other", &other), file(b"e.log", &[TEXT])]);
    let (_repo, repository) = repository_of(&[TEXT], &[&root, &middle, &deep, &other]);
    let listed = |include: &[&str]| {
        let target = scratch();
        let include = include.iter().map(|pattern| (*pattern).to_owned()).collect();
        run(&repository, &RestoreOptions { include, ..options(target.path()) }).summary();
        let listing = crate::support::listing::list(target.path());
        listing.lines().map(|line| line.rsplit('\t').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(listed(&["*.txt"]), ["middle", "middle/c.txt", "middle/deep", "middle/deep/a.txt"]);
    assert_eq!(listed(&["/other", "/e.log"]), ["e.log", "other", "other/d.log"]);
    assert_eq!(
        listed(&["/middle", "!*.log"]),
        ["middle", "middle/c.txt", "middle/deep", "middle/deep/a.txt"]
    );
    assert_eq!(listed(&["/nothing"]), Vec::<String>::new());
    let bad = RestoreOptions { include: vec!["[".into()], ..options(Path::new("/nowhere")) };
    assert_eq!(run(&repository, &bad).error().kind, ErrorKind::Usage);
}

#[test]
fn a_folder_of_the_snapshot_is_restored_alone() {
    let deep = tree(vec![file(b"a", &[TEXT])]);
    let middle = tree(vec![folder(b"deep", &deep)]);
    let root = tree(vec![folder(b"middle", &middle), file(b"e", &[TEXT])]);
    let (_repo, repository) = repository_of(&[TEXT], &[&root, &middle, &deep]);
    for (folder, expected) in
        [("middle", Some("deep")), ("/middle/deep/", Some("a")), ("no", None), ("e", None)]
    {
        let target = scratch();
        let options = RestoreOptions { subfolder: Some(folder.into()), ..options(target.path()) };
        let done = run(&repository, &options);
        match expected {
            Some(name) => {
                done.summary();
                assert_eq!(names(target.path()), [name]);
            }
            None => assert!(done.error().to_string().contains(folder)),
        }
    }
}

#[test]
fn overwriting_is_as_asked() {
    let mut node = file(b"f", &[TEXT]);
    node.mtime.seconds = 1000;
    let (_repo, repository) = repository_of(&[TEXT], &[&tree(vec![node])]);
    let becomes = |overwrite, content: &[u8], seconds| {
        let target = scratch();
        let path = target.path().join("f");
        fs::write(&path, content).unwrap();
        set_mtime(&path, seconds, 0);
        run(&repository, &RestoreOptions { overwrite, ..options(target.path()) }).summary();
        fs::read(&path).unwrap() == TEXT
    };
    for seconds in [999, 1000, 1001] {
        assert!(becomes(Overwrite::Always, b"TEXT", seconds));
        assert!(!becomes(Overwrite::Never, b"TEXT", seconds));
        assert_eq!(becomes(Overwrite::IfNewer, b"TEXT", seconds), seconds < 1000);
        assert_eq!(becomes(Overwrite::IfChanged, b"TEXT", seconds), seconds != 1000);
        assert!(becomes(Overwrite::IfChanged, b"longer", seconds));
    }
}

#[test]
fn a_dry_run_changes_nothing_and_counts() {
    let inner = tree(vec![file(b"x", &[TEXT]), file(b"y", &[TEXT, TEXT])]);
    let root = tree(vec![folder(b"d", &inner), file(b"f", &[TEXT])]);
    let (_repo, repository) = repository_of(&[TEXT], &[&root, &inner]);
    let target = scratch();
    fs::write(target.path().join("f"), TEXT).unwrap();
    let modified = || fs::metadata(target.path().join("f")).unwrap().modified().unwrap();
    let before = modified();
    let dry = |target: &Path| run(&repository, &RestoreOptions { dry_run: true, ..options(target) });
    let done = dry(target.path());
    let figures = done.summary();
    assert_eq!((figures.files_total, figures.files_restored, figures.files_skipped), (3, 3, 1));
    assert_eq!((figures.bytes_restored, figures.bytes_skipped), (12, 4));
    assert_eq!((names(target.path()), modified()), (vec!["f".to_owned()], before));
    let missing = target.path().join("not there");
    assert_eq!(dry(&missing).summary().files_restored, 4);
    assert!(!missing.exists());
}

#[test]
fn a_target_that_cannot_be_used_is_one_clear_error() {
    let (_repo, repository) = repository_of(&[TEXT], &[&tree(vec![file(b"f", &[TEXT])])]);
    let outer = scratch();
    fs::write(outer.path().join("file"), b"").unwrap();
    let done = run(&repository, &options(&outer.path().join("file")));
    assert!(done.error().to_string().starts_with("cannot restore into the target"), "{}", done.error());
    let new = outer.path().join("new/er");
    run(&repository, &options(&new)).summary();
    assert_eq!(names(&new), ["f"]);
}
