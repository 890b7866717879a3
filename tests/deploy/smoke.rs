//! backup-and-verify.sh, run for real on MinIO: it passes when all is well, and fails for each broken thing that
//! it is there to find, with volmover's exit code and a report that says so.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use bytes::Bytes;
use serde_json::Value;
use tempfile::TempDir;
use volmover::backend::FileType;

use crate::place::Place;
use crate::s3::{ACCESS_KEY, SECRET_KEY};
use crate::support::fixture::PASSWORD;
use crate::support::scratch;
use crate::support::source::random_bytes;
use crate::yaml::deploy;

struct World {
    place: Place,
    source: TempDir,
    work: TempDir,
}

/// What came of a run.
struct Ran {
    code: i32,
    text: String,
    report: Option<Value>,
    junit: String,
}

impl World {
    /// A folder with a file, and a repository without a backup.
    fn new() -> Option<Self> {
        let place = Place::minio(2)?;
        let (source, work) = (scratch(), scratch());
        fs::write(source.path().join("numbers"), random_bytes(1, 3 << 20)).unwrap();
        fs::create_dir(source.path().join("letters")).unwrap();
        fs::write(source.path().join("letters/one"), "dear me").unwrap();
        Some(Self { place, source, work })
    }

    fn command(&self, variables: &[(&str, &str)]) -> Command {
        let mut command = Command::new("sh");
        command.arg(deploy().join("ci/backup-and-verify.sh")).env_clear().current_dir(self.work.path());
        command.env("PATH", "/usr/bin:/bin").env("TMPDIR", self.work.path());
        command.env("VOLMOVER", env!("CARGO_BIN_EXE_volmover")).env("SOURCE", self.source.path());
        command.env("RESTIC_REPOSITORY", &self.place.url).env("RESTIC_PASSWORD", PASSWORD);
        command.env("AWS_ACCESS_KEY_ID", ACCESS_KEY).env("AWS_SECRET_ACCESS_KEY", SECRET_KEY);
        command.envs(variables.iter().copied());
        command
    }

    fn run(&self, variables: &[(&str, &str)]) -> Ran {
        let reports = self.work.path().join("reports");
        let _ = fs::remove_dir_all(&reports);
        let output = self.command(variables).output().unwrap();
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        let read = |file: &str| fs::read_to_string(reports.join(file)).unwrap_or_default();
        let ran = Ran {
            code: output.status.code().unwrap(),
            report: serde_json::from_str(&read("verify.json")).ok(),
            junit: read("verify.xml"),
            text,
        };
        for text in [&ran.text, &ran.junit, &read("verify.json")] {
            assert!(!text.contains(SECRET_KEY), "{text}");
        }
        let left: Vec<String> = fs::read_dir(self.work.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.starts_with("verify."))
            .collect();
        assert!(left.is_empty(), "the scratch directory stays: {left:?}");
        ran
    }

    /// Runs it, and panics unless it fails with this code, these words, and a report that says so.
    #[track_caller]
    fn fails(&self, variables: &[(&str, &str)], code: i32, words: &str) {
        let ran = self.run(variables);
        assert!(
            ran.code == code && ran.text.contains(words),
            "{} instead of {code} {words}\n{}",
            ran.code,
            ran.text
        );
        let report = ran.report.unwrap_or_else(|| panic!("no report: {}", ran.text));
        assert_eq!((&report["passed"], &report["exit_code"]), (&false.into(), &code.into()));
        assert!(ran.junit.contains("<failure ") || ran.junit.contains("<error "), "{}", ran.junit);
    }

    #[track_caller]
    fn passes(&self, variables: &[(&str, &str)]) {
        let ran = self.run(variables);
        assert_eq!(ran.code, 0, "{}", ran.text);
        assert_eq!(ran.report.unwrap()["passed"], true);
        assert!(ran.junit.contains("failures=\"0\"") && !ran.junit.contains("<error"), "{}", ran.junit);
        assert!(ran.text.contains("restored, read back and equal"), "{}", ran.text);
    }

    /// The list of sums of the folder as it is now.
    fn sums(&self) -> String {
        let file = self.work.path().join("sums");
        let made = Command::new("sha256sum")
            .args(["numbers", "letters/one"])
            .current_dir(self.source.path())
            .output();
        fs::write(&file, made.unwrap().stdout).unwrap();
        file.to_str().unwrap().to_owned()
    }
}

#[test]
fn all_is_well() {
    let Some(world) = World::new() else { return };
    let sums = world.sums();
    world.passes(&[]);
    world.passes(&[("SHA256SUMS", &sums), ("MIN_FILES", "2"), ("FORGET_OPTIONS", "--keep-last 1")]);
    let backup = fs::read_to_string(world.work.path().join("reports/backup.log")).unwrap();
    assert!(backup.contains("snapshot ") && backup.contains(" saved"), "{backup}");
    world.passes(&[("BACKUP", "off")]);
    let scratch = scratch();
    world.passes(&[("BACKUP", "off"), ("SCRATCH", scratch.path().to_str().unwrap())]);
    assert!(scratch.path().exists(), "what it did not make it does not remove");
}

#[test]
fn an_old_snapshot() {
    let Some(world) = World::new() else { return };
    let Some(restic) = world.place.restic("restic-0.19") else { return };
    let source = world.source.path().to_str().unwrap();
    restic.ok(&["backup", "--host", "ci", "--time", "2026-01-01 00:00:00", source]);
    let old = [("BACKUP", "off"), ("MOVER_PATH", source)];
    world.fails(&old, 25, "FAILED  max-age: ");
    world.passes(&[old.as_slice(), &[("MAX_AGE", "100000h")]].concat());
}

#[test]
fn a_missing_file() {
    let Some(world) = World::new() else { return };
    let sums = world.sums();
    fs::remove_file(world.source.path().join("letters/one")).unwrap();
    world.fails(&[("SHA256SUMS", &sums)], 25, "1 of 2 files: letters/one is missing");
    world.fails(&[("MIN_FILES", "2")], 25, "min-files: 1 files, at least 2");
}

/// A byte of each pack in turn, in the bucket.
#[test]
fn one_damaged_pack() {
    let Some(world) = World::new() else { return };
    world.passes(&[]);
    let backend = world.place.backend.as_ref();
    let packs = backend.list(FileType::Pack).unwrap();
    assert!(packs.len() >= 2, "data and trees");
    for pack in packs {
        let whole = backend.read(FileType::Pack, &pack.name).unwrap();
        let mut bytes = whole.to_vec();
        bytes[20] ^= 1;
        backend.delete(FileType::Pack, &pack.name).unwrap();
        backend.write(FileType::Pack, &pack.name, &Bytes::from(bytes)).unwrap();
        world.fails(&[("BACKUP", "off")], 21, "FAILED  content: ");
        backend.delete(FileType::Pack, &pack.name).unwrap();
        world.fails(&[("BACKUP", "off")], 21, "FAILED  content: ");
        backend.write(FileType::Pack, &pack.name, &whole).unwrap();
    }
    world.passes(&[("BACKUP", "off")]);
}

#[test]
fn a_wrong_password() {
    let Some(world) = World::new() else { return };
    world.passes(&[]);
    world.fails(&[("BACKUP", "off"), ("RESTIC_PASSWORD", "other")], 12, "Fatal: wrong password");
    let ran = world.run(&[("RESTIC_PASSWORD", "other")]);
    assert_eq!((ran.code, ran.report), (12, None), "the backup fails first: {}", ran.text);
}

#[test]
fn an_empty_restore() {
    let Some(world) = World::new() else { return };
    world.fails(&[("BACKUP", "off")], 24, "Fatal: there is nothing to verify");
    let full = world.source.path().to_owned();
    world.passes(&[]);
    // The folder is not mounted any more: yesterday's good backup does not hide it.
    let empty = scratch();
    let ran = world.run(&[("SOURCE", empty.path().to_str().unwrap())]);
    assert_eq!(ran.code, 24, "{}", ran.text);
    // A snapshot of folders alone restores nothing.
    fs::create_dir(empty.path().join("folder")).unwrap();
    world.fails(&[("SOURCE", empty.path().to_str().unwrap())], 25, "min-files: 0 files, at least 1");
    assert!(is_readable(&full));
}

fn is_readable(folder: &Path) -> bool {
    fs::metadata(folder).is_ok_and(|folder| folder.permissions().mode() & 0o400 != 0)
}
