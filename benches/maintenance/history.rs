//! The history that is forgotten: a copy of a corpus that changes between snapshots, backed up by restic.
//!
//! In every round one file of fifty gets a line more, one of five hundred goes, and as many are new. What
//! changes is the same in every run: the generator has a fixed seed. Files above `EDITED_BYTES_MAX` stay as they
//! are, as the bench itself must stay small (`main.rs` of `whole` says why). restic makes the snapshots, so the
//! packs that are pruned are as its users have them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Outcome;
use super::corpus::Noise;
use super::measure;
use super::program::{self, Tool};
use super::store::Store;

/// Snapshots of the tree.
pub(super) const SNAPSHOTS: u64 = 50;

/// What is read into memory in order to change it.
const EDITED_BYTES_MAX: u64 = 256 << 10;
const SEED: u64 = 20_240_401;
const EDITED_ONE_IN: u64 = 50;
const REMOVED_ONE_IN: u64 = 500;
const ADDED_ONE_IN: u64 = 500;

/// Copies a folder with all that belongs to its files.
pub(super) fn copy(from: &Path, to: &Path) -> Outcome<()> {
    let mut command = Command::new("cp");
    command.arg("-a").arg(from).arg(to);
    measure::run(command).map(|_| ())
}

/// Makes the repository of all rounds; `tree` changes on the way. `keys` is called when it is empty.
pub(super) fn make(
    restic: &Tool,
    tree: &Path,
    store: &Store,
    cache: &Path,
    keys: impl FnOnce() -> Outcome<()>,
) -> Outcome<()> {
    let call = |arguments: &[&str]| {
        let mut command = restic.clean_command();
        program::restic_at(&mut command, store.restic_url(), cache);
        command.envs(store.credentials()).current_dir(tree).args(arguments);
        measure::run(command)
    };
    call(&["init"])?;
    keys()?;
    let mut noise = Noise(SEED);
    for round in 0..SNAPSHOTS {
        if round > 0 {
            change(tree, round, &mut noise)?;
        }
        call(&["backup", "--host", "volsync", "."])?;
    }
    Ok(())
}

fn change(tree: &Path, round: u64, noise: &mut Noise) -> Outcome<()> {
    let mut files = Vec::new();
    find(tree, &mut files)?;
    files.sort();
    for path in files {
        let mut one_in = |share: u64| noise.next().is_multiple_of(share);
        if one_in(REMOVED_ONE_IN) {
            fs::remove_file(path)?;
        } else if one_in(EDITED_ONE_IN) {
            write_with_a_line(&path, &path, round, noise)?;
        } else if one_in(ADDED_ONE_IN) {
            write_with_a_line(&path, &path.with_added_extension(format!("new-{round}")), round, noise)?;
        }
    }
    Ok(())
}

fn find(folder: &Path, files: &mut Vec<PathBuf>) -> Outcome<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            find(&entry.path(), files)?;
        } else if kind.is_file() && entry.metadata()?.len() <= EDITED_BYTES_MAX {
            files.push(entry.path());
        }
    }
    Ok(())
}

/// The content of a file with one line more, somewhere, into a new file of that name.
fn write_with_a_line(from: &Path, to: &Path, round: u64, noise: &mut Noise) -> Outcome<()> {
    let mut content = fs::read(from)?;
    let place = noise.next() as usize % (content.len() + 1);
    let line = format!("\nround {round}: {:x}\n", noise.next());
    content.splice(place..place, line.into_bytes());
    let beside = to.with_added_extension("tmp");
    fs::write(&beside, content)?;
    Ok(fs::rename(beside, to)?)
}
