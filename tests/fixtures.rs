//! The fixtures are what `fixtures/README.md` says: listed there, small, cheap to open, sound where they are
//! meant to be, and damaged in the documented place and nowhere else.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use support::fixture::{self, Damage, PASSWORD, Part};
use support::listing;
use support::scratch;
use volmover::repository::Id;
use volmover::repository::config_file::RepositoryConfig;
use volmover::repository::key::KeyFile;

mod support;

const BYTES_MAX: u64 = 5 << 20;
/// The fixtures made from `small`, and what of its files is gone, changed or new in each.
const DERIVED: [(&str, &[&str]); 10] = [
    ("two-keys", &["+keys"]),
    ("stale-lock", &["+locks"]),
    ("unreferenced-pack", &["+data", "+data"]),
    ("unindexed-pack", &["-index"]),
    ("config-absent", &["-config"]),
    ("key-truncated", &["!keys"]),
    ("snapshot-flipped", &["!snapshots"]),
    ("index-truncated", &["!index"]),
    ("data-pack-flipped", &["!data"]),
    ("tree-pack-absent", &["-data"]),
];

/// The repositories; `expected` and `json` are none.
fn names() -> BTreeSet<String> {
    let entries = fs::read_dir(fixture::root()).unwrap().map(|entry| entry.unwrap());
    let folders = entries.filter(|entry| entry.path().join("keys").is_dir());
    folders.map(|entry| entry.file_name().into_string().unwrap()).collect()
}

fn files_below(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files_below(&path, files) } else { files.push(path) }
    }
}

/// The files of a fixture, by their paths inside it, with their content.
fn files(name: &str) -> Vec<(String, Vec<u8>)> {
    let root = fixture::root().join(name);
    let mut paths = Vec::new();
    files_below(&root, &mut paths);
    paths.sort();
    let inside = |path: &Path| path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
    paths.iter().map(|path| (inside(path), fs::read(path).unwrap())).collect()
}

#[test]
fn every_fixture_has_its_line_and_all_are_small() {
    let readme = fs::read_to_string(fixture::root().join("README.md")).unwrap();
    let rows = readme.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    assert_eq!(names(), rows.map(str::to_owned).collect());
    let known = fixture::WHOLE.iter().chain(DERIVED.iter().map(|(name, _)| name)).chain([&"small"]);
    assert_eq!(names(), known.map(|name| (*name).to_owned()).collect());
    let mut paths = Vec::new();
    files_below(&fixture::root(), &mut paths);
    let bytes: u64 = paths.iter().map(|path| path.metadata().unwrap().len()).sum();
    assert!(bytes <= BYTES_MAX, "{bytes} bytes");
}

#[test]
fn every_key_opens_its_config_at_once() {
    for name in names() {
        if ["key-truncated", "config-absent"].contains(&name.as_str()) {
            continue;
        }
        let config = fs::read(fixture::root().join(&name).join("config")).unwrap();
        let keys = files(&name).into_iter().filter(|(path, _)| path.starts_with("keys/"));
        let opened = keys.filter_map(|(_, json)| {
            assert!(json.windows(9).any(|window| window == b"\"N\":128,\""), "{name}: an expensive key");
            KeyFile::decode(&json).unwrap().open(PASSWORD.as_bytes(), 1).ok()
        });
        let mut plain = Vec::new();
        for key in opened {
            key.cipher().open_into(&config, &mut plain).unwrap();
        }
        let version = RepositoryConfig::decode(&plain).unwrap().version;
        assert_eq!(version, if name.ends_with("-v1") { 1 } else { 2 }, "{name}");
    }
}

#[test]
fn files_have_the_hash_that_their_name_says() {
    for name in fixture::WHOLE.iter().chain(&["small"]) {
        for (path, content) in files(name) {
            let hash_named = Path::new(&path).file_name().unwrap().to_str().unwrap();
            assert!(path == "config" || hash_named == Id::of(&content).hex(), "{name}: {path}");
        }
    }
}

#[test]
fn derived_fixtures_differ_in_the_documented_place_only() {
    let base = files("small");
    for (name, documented) in DERIVED {
        let derived = files(name);
        let find = |files: &[(String, Vec<u8>)], path: &str| {
            files.iter().find(|(other, _)| other == path).map(|(_, content)| content.clone())
        };
        let folder = |path: &str| path.split('/').next().unwrap().to_owned();
        let lost = base.iter().filter_map(|(path, content)| match find(&derived, path) {
            None => Some(format!("-{}", folder(path))),
            Some(other) => (other != *content).then(|| format!("!{}", folder(path))),
        });
        let new = derived
            .iter()
            .filter(|(path, _)| find(&base, path).is_none())
            .map(|(path, _)| format!("+{}", folder(path)));
        assert_eq!(lost.chain(new).collect::<Vec<_>>(), documented, "{name}");
    }
}

#[test]
fn damage_changes_one_file_of_a_copy() {
    for part in Part::ALL {
        for damage in Damage::ALL {
            let copy = fixture::copy("small");
            let path = fixture::path_of(copy.path(), "small", part);
            let before = fs::read(&path).unwrap();
            assert_eq!(fixture::damage(copy.path(), "small", part, damage), path);
            match damage {
                Damage::Truncated => assert_eq!(fs::read(&path).unwrap(), before[..before.len() / 2]),
                Damage::Flipped => assert_ne!(fs::read(&path).unwrap(), before),
                Damage::Empty => assert!(fs::read(&path).unwrap().is_empty()),
                Damage::Absent => assert!(!path.exists()),
            }
        }
    }
}

#[test]
fn restic_finds_whole_fixtures_whole_and_restores_what_is_expected() {
    let Some(restic) = support::peer("restic-0.19") else { return };
    for name in fixture::WHOLE {
        let copy = fixture::copy(name);
        let target = scratch();
        let run = |arguments: &[&str]| {
            let output = Command::new(&restic)
                .env("RESTIC_PASSWORD", PASSWORD)
                .args(["--no-cache", "--quiet", "--repo"])
                .arg(copy.path())
                .args(arguments)
                .output()
                .unwrap();
            assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        };
        run(&["check", "--read-data"]);
        if support::is_root() {
            run(&["restore", "latest", "--target", target.path().to_str().unwrap()]);
            listing::assert_same(&fixture::expected(name, "second"), &listing::list(target.path()), name);
        }
    }
}

#[test]
fn a_listing_shows_what_differs() {
    let folder = scratch();
    fs::write(folder.path().join("a b"), "x").unwrap();
    let before = listing::list(folder.path());
    assert!(before.starts_with("f\t") && before.ends_with("\t-\t-\ta\\x20b\n"), "{before}");
    fs::write(folder.path().join("a b"), "y").unwrap();
    let after = listing::list(folder.path());
    let caught = std::panic::catch_unwind(|| listing::assert_same(&before, &after, "it"));
    assert!(caught.is_err());
}
