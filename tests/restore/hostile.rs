//! A repository that wants out of the target: it gets nowhere, and the run says so.

use std::fs;
use std::os::unix::fs::symlink as link;

use tempfile::TempDir;
use volmover::error::ErrorKind;
use volmover::repository::tree::{Node, NodeKind, Tree};
use volmover::restore::RestoreOptions;

use crate::made::{file, folder, store, symlink, tree};
use crate::support::listing;
use crate::support::scratch;
use crate::world::{Repo, Run, options, run};

const TEXT: &[u8] = b"text";

/// Restores a tree into `outer/target`, and checks that `outer` holds nothing new beside it.
fn restored(trees: &[&Tree], prepare: impl FnOnce(&std::path::Path)) -> (TempDir, Run) {
    let repo = Repo::create();
    let repository = repo.open();
    store(&repository, &[TEXT], trees);
    let outer = scratch();
    let target = outer.path().join("target");
    fs::create_dir_all(outer.path().join("outside")).unwrap();
    fs::write(outer.path().join("outside/precious"), b"precious").unwrap();
    fs::create_dir(&target).unwrap();
    prepare(&target);
    let done = run(&repository, &options(&target));
    let mut names: Vec<_> =
        fs::read_dir(outer.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["outside", "target"]);
    assert_eq!(fs::read_dir(outer.path().join("outside")).unwrap().count(), 1);
    assert_eq!(fs::read(outer.path().join("outside/precious")).unwrap(), b"precious");
    (outer, done)
}

#[test]
fn names_that_lead_out_are_refused_and_the_rest_is_restored() {
    let inner = tree(vec![file(b"evil", &[TEXT])]);
    for name in [&b".."[..], b".", b"../evil", b"/evil", b"a/b", b"x\0y", b"../outside/precious"] {
        for node in [file(name, &[TEXT]), folder(name, &inner), symlink(name, b"/etc")] {
            let root = tree(vec![node, file(b"good", &[TEXT])]);
            let (outer, done) = restored(&[&root, &inner], |_| {});
            assert_eq!(done.error().kind, ErrorKind::Damaged, "{name:?}");
            assert_eq!(done.monitor.item_failures().len(), 1);
            assert_eq!(fs::read(outer.path().join("target/good")).unwrap(), TEXT);
            assert_eq!(fs::read_dir(outer.path().join("target")).unwrap().count(), 1);
        }
    }
}

#[test]
fn an_empty_name_or_one_that_comes_twice_makes_the_tree_unreadable() {
    let root = Tree { nodes: vec![symlink(b"x", b"../outside"), file(b"x", &[TEXT])] };
    // Such a tree cannot be encoded by accident; its JSON is put together by hand.
    let node = |node: Node| {
        let json = Tree { nodes: vec![node] }.encode();
        String::from_utf8(json)
            .unwrap()
            .trim_end()
            .trim_start_matches("{\"nodes\":[")
            .trim_end_matches("]}")
            .to_owned()
    };
    let nodes: Vec<String> = root.nodes.into_iter().map(node).collect();
    let twice = format!("{{\"nodes\":[{}]}}\n", nodes.join(","));
    let empty = format!("{{\"nodes\":[{}]}}\n", node(file(b"", &[TEXT])));
    for json in [twice, empty] {
        let repo = Repo::create();
        let repository = repo.open();
        let pack = crate::made::store_pack(
            &repository,
            volmover::repository::blob::BlobType::Tree,
            &[json.as_bytes()],
        );
        crate::made::store_index(&repository, &[pack]);
        let snapshot = volmover::repository::snapshot::Snapshot {
            tree: volmover::repository::Id::of(json.as_bytes()),
            ..Default::default()
        };
        let target = scratch();
        let stop = std::sync::atomic::AtomicBool::new(false);
        let done = crate::world::run_snapshot(&repository, &snapshot, &options(target.path()), &stop);
        assert_eq!(done.error().kind, ErrorKind::Damaged);
        assert_eq!(listing::list(target.path()), "");
    }
}

#[test]
fn a_symlink_where_a_directory_goes_is_replaced_and_not_followed() {
    let inner = tree(vec![file(b"precious", &[TEXT])]);
    let root = tree(vec![folder(b"d", &inner)]);
    let (outer, done) = restored(&[&root, &inner], |target| link("../outside", target.join("d")).unwrap());
    done.summary();
    assert!(fs::symlink_metadata(outer.path().join("target/d")).unwrap().is_dir());
    assert_eq!(fs::read(outer.path().join("target/d/precious")).unwrap(), TEXT);
}

#[test]
fn a_symlink_where_a_file_goes_is_replaced_and_not_written_through() {
    let root = tree(vec![file(b"f", &[TEXT]), file(b"g", &[TEXT, TEXT])]);
    let (outer, done) = restored(&[&root], |target| {
        link("../outside/precious", target.join("f")).unwrap();
        link("../outside/precious", target.join("g")).unwrap();
    });
    done.summary();
    assert_eq!(fs::read(outer.path().join("target/f")).unwrap(), TEXT);
    assert_eq!(fs::read(outer.path().join("target/g")).unwrap(), b"texttext");
    assert!(fs::symlink_metadata(outer.path().join("target/f")).unwrap().is_file());
}

#[test]
fn delete_removes_symlinks_and_leaves_what_they_point_to() {
    let repo = Repo::create();
    let repository = repo.open();
    store(&repository, &[TEXT], &[&tree(vec![file(b"f", &[TEXT])])]);
    let outer = scratch();
    let target = outer.path().join("target");
    fs::create_dir_all(outer.path().join("outside/deep")).unwrap();
    fs::create_dir_all(target.join("x/y")).unwrap();
    link(outer.path().join("outside"), target.join("to a folder")).unwrap();
    link(outer.path().join("outside"), target.join("x/y/to a folder")).unwrap();
    let done = run(&repository, &RestoreOptions { delete: true, ..options(&target) });
    assert_eq!(done.summary().files_deleted, 4);
    assert!(outer.path().join("outside/deep").is_dir());
    assert_eq!(fs::read_dir(&target).unwrap().count(), 1);
}

#[test]
fn the_target_itself_may_be_a_symlink() {
    let repo = Repo::create();
    let repository = repo.open();
    store(&repository, &[TEXT], &[&tree(vec![file(b"f", &[TEXT])])]);
    let outer = scratch();
    fs::create_dir(outer.path().join("real")).unwrap();
    link("real", outer.path().join("target")).unwrap();
    run(&repository, &options(&outer.path().join("target"))).summary();
    assert_eq!(fs::read(outer.path().join("real/f")).unwrap(), TEXT);
}

#[test]
fn nodes_that_make_no_sense_are_failures_or_left_out() {
    let no_tree = Node { subtree: None, ..folder(b"d", &Tree::default()) };
    let socket = Node { name: b"s"[..].into(), kind: NodeKind::Socket, ..Node::default() };
    let odd = Node { name: b"o"[..].into(), kind: NodeKind::Irregular, ..Node::default() };
    let lost = file(b"lost", &[b"no index knows this"]);
    let root = tree(vec![no_tree, socket, odd, lost, file(b"f", &[TEXT])]);
    let (outer, done) = restored(&[&root], |_| {});
    assert_eq!(done.error().kind, ErrorKind::Damaged);
    let mut failed = done.failed_items();
    failed.sort();
    assert_eq!(failed, ["/d", "/lost"]);
    assert_eq!(done.monitor.warnings().len(), 1);
    assert_eq!(fs::read_dir(outer.path().join("target")).unwrap().count(), 1);
}
