//! One repository, a few sources, and what the repository must hold.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

use crate::place::Place;
use crate::s3::{ACCESS_KEY, SECRET_KEY};
use crate::support::fixture::PASSWORD;
use crate::support::listing;
use crate::support::restic::{REFEREES, Restic};
use crate::support::scratch;
use crate::support::source;

/// A snapshot that the repository must hold.
pub struct Kept {
    pub id: String,
    pub source: usize,
    pub list: String,
}

/// A repository and its model.
pub struct World {
    pub place: Place,
    pub restics: Vec<Restic>,
    pub sources: Vec<TempDir>,
    /// Oldest first.
    pub kept: Vec<Kept>,
    rounds: u64,
}

impl World {
    /// `None` where restic is missing and not required.
    pub fn new(place: Place, sources: usize) -> Option<Self> {
        let restics = REFEREES.iter().map(|version| place.restic(version)).collect::<Option<_>>()?;
        let sources = (0..sources).map(|_| scratch()).collect();
        Some(Self { place, restics, sources, kept: Vec::new(), rounds: 0 })
    }

    /// The binary on the repository.
    pub fn ours(&self, operations: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_volmover"));
        command
            .args(operations.split(' '))
            .env_clear()
            .env("RESTIC_REPOSITORY", &self.place.url)
            .env("RESTIC_PASSWORD", PASSWORD)
            .env("AWS_ACCESS_KEY_ID", ACCESS_KEY)
            .env("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
            .env("RESTIC_PACK_SIZE", "4")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// `volmover backup` of a source.
    pub fn our_backup(&self, source: usize) -> Command {
        let mut command = self.ours("backup");
        command.env("DATA_DIR", self.sources[source].path());
        command
    }

    /// Changes a source; what is backed up next is never equal to what is there.
    pub fn change(&mut self, source: usize) {
        let root = self.sources[source].path();
        let is_new = !root.join("large").exists();
        source::change(root, if is_new { 0 } else { self.rounds });
        self.rounds += 1;
    }

    /// Notes the snapshot that was just made of a source.
    #[track_caller]
    pub fn note(&mut self, source: usize, what: &str) {
        let ids = self.ids();
        let new: Vec<_> = ids.iter().filter(|id| self.kept.iter().all(|kept| kept.id != **id)).collect();
        assert_eq!(new.len(), 1, "{what}: a backup makes one snapshot");
        let list = listing::list(self.sources[source].path());
        self.kept.push(Kept { id: new[0].clone(), source, list });
    }

    /// Notes all snapshots that are new, by the paths that they name.
    #[track_caller]
    pub fn learn(&mut self, what: &str) {
        let mover = self.place.mover();
        for id in self.ids() {
            if self.kept.iter().any(|kept| kept.id == id) {
                continue;
            }
            let snapshot = mover.repository.snapshot(&id.parse().unwrap()).unwrap();
            let is_of = |source: &TempDir| snapshot.paths == [source.path().to_str().unwrap()];
            let source = self.sources.iter().position(is_of);
            let source = source.unwrap_or_else(|| panic!("{what}: whose is {:?}?", snapshot.paths));
            let list = listing::list(self.sources[source].path());
            self.kept.push(Kept { id, source, list });
        }
    }

    /// The model's `--keep-last` for one source.
    pub fn keep_last_of(&mut self, source: usize, count: usize) {
        let all = self.kept.iter().filter(|kept| kept.source == source).count();
        let mut surplus = all.saturating_sub(count);
        self.kept.retain(|kept| {
            let is_old = kept.source == source && surplus > 0;
            surplus -= usize::from(is_old);
            !is_old
        });
    }

    /// The model's `--keep-last`: every source is a group of its own.
    pub fn keep_last(&mut self, count: usize) {
        for source in 0..self.sources.len() {
            self.keep_last_of(source, count);
        }
    }

    /// restic finds no error, and exactly the snapshots of the model.
    #[track_caller]
    pub fn assert_sound(&self, what: &str) {
        let mut expected: Vec<_> = self.kept.iter().map(|kept| kept.id.clone()).collect();
        let mut found = self.ids();
        expected.sort_unstable();
        found.sort_unstable();
        assert_eq!(expected, found, "{what}: snapshots");
        let output = self.restics[0].run(&["check"]);
        assert!(output.status.success(), "{what}: {}", both(&output));
    }

    /// Every snapshot restores to what was backed up: by restic and by ours in turn.
    #[track_caller]
    pub fn assert_restores(&self, what: &str) {
        for (number, kept) in self.kept.iter().enumerate() {
            let target = scratch();
            let list = if number % 2 == 0 {
                self.restics[number / 2 % self.restics.len()].restore(&kept.id, target.path());
                listing::list(target.path())
            } else {
                self.place.mover().restored(&kept.id)
            };
            listing::assert_same(&kept.list, &list, &format!("{what}: snapshot {}", kept.id));
        }
    }

    fn ids(&self) -> Vec<String> {
        self.place.mover().snapshot_ids()
    }
}

/// Runs a command that must succeed.
#[track_caller]
pub fn ok(mut command: Command, what: &str) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{what}: {}", both(&output));
}

/// All that a program printed, and how it ended.
pub fn both(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}\n{}{}", output.status, text(&output.stdout), text(&output.stderr))
}

/// Fills a source that is backed up beside others.
pub fn fill(root: &Path, seed: u64) {
    source::files(root, 6, 300 << 10, seed);
}
