//! The system calls of a backup, by strace: what a power cut at any moment leaves is whole.
//!
//! For every file: its bytes are on disk before it gets its name, and its name is before anything that
//! relies on it. Packs, then the index that names them, then the snapshot.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;
use volmover::backend::FileType;
use volmover::repository::index;

use crate::program::World;
use crate::support::mover::Mover;
use crate::support::skipped;

/// One call: from the line where it began to the line where it was done.
#[derive(Debug)]
struct Call {
    name: String,
    arguments: String,
    began: usize,
    ended: usize,
}

/// Reads what `strace -f -y` wrote; calls that failed are left out.
fn parse(log: &str) -> Vec<Call> {
    let mut waiting: HashMap<&str, (usize, String)> = HashMap::new();
    let mut calls = Vec::new();
    for (number, line) in log.lines().enumerate() {
        let Some((thread, rest)) = line.split_once(' ') else { continue };
        let rest = rest.trim_start();
        let (began, text) = if let Some(begun) = rest.strip_suffix("<unfinished ...>") {
            waiting.insert(thread, (number, begun.to_owned()));
            continue;
        } else if rest.starts_with("<... ") {
            let (began, begun) = waiting.remove(thread).unwrap();
            (began, begun + rest.split_once("resumed>").unwrap().1)
        } else {
            (number, rest.to_owned())
        };
        if let Some((name, arguments)) = text.split_once('(')
            && text.trim_end().ends_with("= 0")
        {
            calls.push(Call { name: name.to_owned(), arguments: arguments.to_owned(), began, ended: number });
        }
    }
    calls
}

/// `strace` on the backup of a world; `None`, said aloud, where nothing may be traced.
fn trace(world: &World) -> Option<Vec<Call>> {
    let folder = TempDir::new().unwrap();
    let log = folder.path().join("calls");
    let strace = |log: &Path| {
        let mut command = Command::new("strace");
        let traced = "trace=fsync,fdatasync,syncfs,rename,renameat,renameat2,link,linkat";
        command.args(["-f", "-y", "-qq", "-s", "4096", "-e", traced, "-o"]).arg(log);
        command
    };
    if !strace(&log).arg("true").output().is_ok_and(|output| output.status.success()) {
        skipped("the order of system calls: strace is missing or not allowed here");
        return None;
    }
    let backup = world.backup(world.repository.path());
    let mut command = strace(&log);
    command.arg(backup.get_program()).args(backup.get_args()).env_clear();
    command.envs(backup.get_envs().map(|(name, value)| (name, value.unwrap())));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(parse(&std::fs::read_to_string(log).unwrap()))
}

/// The lines between which a file got its name for good.
struct Named {
    began: usize,
    durable: usize,
}

/// Every file that got its name, each durable before and after.
fn named(calls: &[Call]) -> HashMap<PathBuf, Named> {
    let synced = |path: &Path| {
        let opened = format!("<{}>", path.display());
        calls.iter().filter(move |call| call.name.contains("sync") && call.arguments.contains(&opened))
    };
    let mut named = HashMap::new();
    for call in calls.iter().filter(|call| call.name.starts_with("rename") || call.name.starts_with("link")) {
        let paths: Vec<&str> = call.arguments.split('"').skip(1).step_by(2).collect();
        let [from, to] = paths[..] else { panic!("{call:?}") };
        assert!(from.contains("-tmp-"), "{call:?}");
        let to = PathBuf::from(to);
        let bytes = synced(Path::new(from)).find(|sync| sync.ended < call.began);
        assert!(bytes.is_some(), "{} got its name before its bytes were on disk", to.display());
        let name = synced(to.parent().unwrap()).find(|sync| sync.began > call.ended);
        let name = name.unwrap_or_else(|| panic!("the name {} is never made durable", to.display()));
        named.insert(to.clone(), Named { began: call.began, durable: name.ended });
    }
    named
}

#[test]
fn bytes_then_names_then_what_relies_on_them() {
    let world = World::new(14);
    let repository = world.repository.path();
    let Some(calls) = trace(&world) else { return };
    let named = named(&calls);
    let of = |folder: &str| {
        let inside = repository.join(folder);
        named.iter().filter(move |(path, _)| path.starts_with(&inside)).collect::<Vec<_>>()
    };
    let [(snapshot, snapshot_named)] = of("snapshots")[..] else { panic!("one snapshot") };
    assert!(snapshot.exists());
    assert!(of("data").len() > 3);
    let mover = Mover::open(repository).unwrap();
    let mut relied_on = 0;
    for (path, index_named) in of("index") {
        assert!(index_named.durable < snapshot_named.began, "the snapshot before an index");
        let id = path.file_name().unwrap().to_str().unwrap().parse().unwrap();
        let json = mover.repository.read_unpacked(FileType::Index, &id).unwrap();
        for pack in index::decode(&json).unwrap() {
            let hex = pack.id.hex();
            let pack = &named[&repository.join(format!("data/{}/{hex}", &hex[..2]))];
            assert!(pack.durable < index_named.began, "an index before its pack {hex}");
            relied_on += 1;
        }
    }
    assert_eq!(relied_on, of("data").len(), "every new pack is in a new index");
}
