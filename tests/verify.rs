//! verify: passes when all is well, and fails for each thing that it is meant to find, with the right exit
//! code, in the text, in the JSON and in the `JUnit` report.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

#[path = "cli/call.rs"]
mod call;
mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use call::{Call, Ran, Repo, open_folder, source};
use serde_json::Value;
use support::fixture::{Damage, damage_file};
use support::source::{every_kind, every_size, random_bytes, set_mtime};
use tempfile::TempDir;

/// A source, its backup, and a folder for reports.
struct World {
    source: TempDir,
    repo: Repo,
    reports: TempDir,
}

impl World {
    fn new() -> Self {
        Self::of(source())
    }

    fn of(source: TempDir) -> Self {
        let world = Self { source, repo: Repo::new(), reports: open_folder() };
        world.backup();
        world
    }

    fn backup(&self) {
        self.repo.call("backup").with("DATA_DIR", self.source.path()).ok();
    }

    fn call(&self, operation: &str) -> Call {
        self.repo
            .call(operation)
            .with("DATA_DIR", self.source.path())
            .with("MOVER_VERIFY_REPORT", self.reports.path().join("report.json"))
            .with("MOVER_VERIFY_JUNIT", self.reports.path().join("junit.xml"))
    }

    fn verify(&self) -> Call {
        self.call("verify")
    }

    fn report(&self) -> Value {
        serde_json::from_slice(&fs::read(self.reports.path().join("report.json")).unwrap()).unwrap()
    }

    fn junit(&self) -> String {
        let file = self.reports.path().join("junit.xml");
        let parsed = Command::new("python3")
            .args(["-c", "import sys, xml.dom.minidom; xml.dom.minidom.parse(sys.argv[1])"])
            .arg(&file)
            .status();
        // Where there is no python, the text alone is looked at.
        assert!(parsed.is_ok_and(|status| status.success()) || Command::new("python3").output().is_err());
        fs::read_to_string(file).unwrap()
    }

    /// Everything of the reports says that it failed with `code`.
    #[track_caller]
    fn assert_reported(&self, code: i32, check: &str) {
        let (report, junit) = (self.report(), self.junit());
        assert_eq!(
            (report["passed"].as_bool(), report["exit_code"].as_i64()),
            (Some(false), Some(code.into()))
        );
        match check {
            "" => assert!(junit.contains("errors=\"1\""), "{junit}"),
            check => {
                let checks = report["snapshots"][0]["checks"].as_array().unwrap();
                let found = checks.iter().find(|found| found["name"] == check).unwrap();
                assert_eq!(found["passed"], false, "{found}");
                let case = junit.split("<testcase ").find(|case| case.contains(&format!("name=\"{check}\"")));
                assert!(case.unwrap().contains("<failure "), "{junit}");
            }
        }
        for text in [report.to_string(), junit] {
            assert!(!text.contains(call::MARK), "{text}");
        }
    }

    /// The files of the repository's packs, the largest first: data before trees.
    fn packs(&self) -> Vec<PathBuf> {
        let mut packs: Vec<PathBuf> = fs::read_dir(self.repo.path().join("data"))
            .unwrap()
            .flat_map(|folder| fs::read_dir(folder.unwrap().path()).unwrap())
            .map(|pack| pack.unwrap().path())
            .collect();
        packs.sort_by_key(|pack| std::cmp::Reverse(fs::metadata(pack).unwrap().len()));
        packs
    }
}

#[track_caller]
fn passed(ran: &Ran) {
    assert_eq!(ran.code, 0, "{}\n{}", ran.out, ran.err);
    ran.assert_no_secret();
}

fn entries(folder: &Path) -> usize {
    fs::read_dir(folder).unwrap().count()
}

#[test]
fn all_is_well() {
    let world = World::new();
    let scratch = open_folder();
    let sums = world.reports.path().join("sums");
    let made = Command::new("sha256sum").args(["short", "d/text"]).current_dir(world.source.path()).output();
    fs::write(&sums, made.unwrap().stdout).unwrap();
    let conditions = |call: Call| {
        call.with("MOVER_VERIFY_MAX_AGE", "26h")
            .with("MOVER_VERIFY_MIN_FILES", "2")
            .with("MOVER_VERIFY_MIN_BYTES", "10005")
            .with("MOVER_VERIFY_SHA256SUMS", &sums)
    };
    for call in
        [world.verify(), conditions(world.verify()), world.verify().with("MOVER_VERIFY_DIR", scratch.path())]
    {
        let ran = conditions(call).run();
        passed(&ran);
        for check in ["content", "max-age", "min-files", "min-bytes", "sha256sums"] {
            assert!(ran.out.contains(&format!("ok      {check}: ")), "{}", ran.out);
        }
        let report = world.report();
        let snapshot = &report["snapshots"][0];
        assert_eq!((report["passed"].as_bool(), report["exit_code"].as_i64()), (Some(true), Some(0)));
        assert_eq!((snapshot["files"].as_u64(), snapshot["bytes"].as_u64()), (Some(2), Some(10_005)));
        assert_eq!(snapshot["hostname"], "volsync");
        assert!(world.junit().contains("tests=\"5\" failures=\"0\""), "{}", world.junit());
    }
    assert_eq!(entries(scratch.path()), 0, "it is emptied again");
    assert_eq!(world.repo.count("locks"), 0);
}

#[test]
fn a_scratch_directory_is_kept_when_asked_for_and_refused_when_it_is_not_empty() {
    let world = World::new();
    let scratch = open_folder();
    fs::create_dir(scratch.path().join("lost+found")).unwrap();
    let call = world.verify().with("MOVER_VERIFY_DIR", scratch.path());
    passed(&call.clone().with("MOVER_VERIFY_KEEP", "1").run());
    assert_eq!(fs::read_to_string(scratch.path().join("short")).unwrap(), "short");
    call.fails(2, "Fatal: cannot use the scratch directory: MOVER_VERIFY_DIR=");
    assert_eq!(entries(scratch.path()), 4, "nothing of it went");
}

/// Every kind of entry and every size, read back from the disk: whoever may not set owners is not asked for them.
#[test]
fn a_real_restore_is_compared_in_all_it_has() {
    let folder = open_folder();
    every_kind(folder.path());
    fs::create_dir(folder.path().join("sizes")).unwrap();
    every_size(&folder.path().join("sizes"));
    let world = World::of(folder);
    let scratch = open_folder();
    let ran = world.verify().with("MOVER_VERIFY_DIR", scratch.path()).run();
    passed(&ran);
    assert!(ran.out.contains("restored, read back and equal"), "{}", ran.out);
    // Who may neither read all nor give files away finds nothing wrong either.
    fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let open = |path: &Path| {
        Command::new("chmod").args(["-R", "a+rwX"]).arg(path).status().unwrap();
    };
    open(world.repo.path());
    let nobody = world.repo.call("verify").by_nobody().with("DATA_DIR", world.source.path());
    let ran = nobody.with("MOVER_VERIFY_DIR", scratch.path()).run();
    passed(&ran);
    assert_eq!(entries(scratch.path()), 0);
}

#[test]
fn an_old_snapshot() {
    let world = World::new();
    let old = world.verify().with("MOVER_VERIFY_MAX_AGE", "0");
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let ran = old.fails(25, "Fatal: a condition of verify is broken: snapshot ");
    assert!(ran.last().contains("max-age: ") && ran.last().contains("old, at most 0s"), "{}", ran.last());
    assert!(ran.out.contains("FAILED  max-age: "), "{}", ran.out);
    world.assert_reported(25, "max-age");
}

#[test]
fn a_missing_or_changed_file() {
    let world = World::new();
    let sums = world.reports.path().join("sums");
    for (line, told) in [
        (format!("{}  gone", "0".repeat(64)), "1 of 1 files: gone is missing"),
        (format!("{}  d/text", "0".repeat(64)), "1 of 1 files: d/text differs"),
        (format!("{}  d", "0".repeat(64)), "1 of 1 files: d is missing"),
    ] {
        fs::write(&sums, line).unwrap();
        let ran = world.verify().with("MOVER_VERIFY_SHA256SUMS", &sums).fails(25, "Fatal: a condition");
        assert!(ran.last().contains(told), "{}", ran.last());
        world.assert_reported(25, "sha256sums");
    }
    world.verify().with("MOVER_VERIFY_MIN_FILES", "3").fails(25, "Fatal: a condition");
    world.assert_reported(25, "min-files");
    world.verify().with("MOVER_VERIFY_MIN_BYTES", "10006").fails(25, "Fatal: a condition");
    world.assert_reported(25, "min-bytes");
    world.verify().with("MOVER_VERIFY_SHA256SUMS", "/nonexistent").fails(2, "Fatal: cannot read the list");
    fs::write(&sums, "no list\n").unwrap();
    world.verify().with("MOVER_VERIFY_SHA256SUMS", &sums).fails(2, "Fatal: cannot read the list");
}

/// Each pack in its turn, by each kind of damage, streamed and restored.
#[test]
fn one_damaged_pack() {
    let folder = source();
    for number in 0..4 {
        fs::write(folder.path().join(format!("large-{number}")), random_bytes(number, 5 << 20)).unwrap();
    }
    let world = World::of(folder);
    let scratch = open_folder();
    let packs = world.packs();
    assert!(packs.len() >= 3, "{packs:?}");
    for pack in packs {
        for damage in [Damage::Flipped, Damage::Absent] {
            let whole = fs::read(&pack).unwrap();
            damage_file(&pack, damage);
            let ran = world.verify().run();
            assert_eq!(ran.code, 21, "{} {damage:?}\n{}", pack.display(), ran.err);
            ran.assert_failed(21, "Fatal: ");
            assert!(ran.out.contains("FAILED  content: "), "{}", ran.out);
            world.assert_reported(21, "content");
            let report = world.report();
            let snapshot = &report["snapshots"][0];
            assert!(snapshot["failures_total"].as_u64().unwrap() > 0, "{snapshot}");
            assert!(!snapshot["failures"].as_array().unwrap().is_empty(), "{snapshot}");
            let restored = world.verify().with("MOVER_VERIFY_DIR", scratch.path()).run();
            restored.assert_failed(21, "Fatal: ");
            world.assert_reported(21, "content");
            assert_eq!(entries(scratch.path()), 0, "it is emptied after a failure too");
            fs::write(&pack, whole).unwrap();
        }
    }
    passed(&world.verify().run());
}

#[test]
fn a_wrong_password() {
    let world = World::new();
    let ran = world.verify().with("RESTIC_PASSWORD", "Gehe1m-other").run();
    ran.assert_failed(12, "Fatal: ");
    world.assert_reported(12, "");
}

#[test]
fn an_empty_restore() {
    let folder = open_folder();
    fs::create_dir(folder.path().join("d")).unwrap();
    let world = World::of(folder);
    passed(&world.verify().run());
    let ran = world.verify().with("MOVER_VERIFY_MIN_FILES", "1").fails(25, "Fatal: a condition");
    assert!(ran.last().contains("min-files: 0 files, at least 1"), "{}", ran.last());
    world.assert_reported(25, "min-files");
    // And where there is no snapshot at all, or none of this identity.
    world.verify().with("MOVER_HOST", "another").fails(24, "Fatal: there is nothing to verify");
    world.assert_reported(24, "");
    let nothing = Repo::new();
    nothing.call("verify").with("DATA_DIR", "/data").fails(24, "Fatal: there is nothing to verify");
    let missing = open_folder();
    Call::on("verify", missing.path().join("none")).fails(10, "Fatal: ");
}

#[test]
fn a_sample_reads_a_part_and_says_which() {
    let folder = open_folder();
    support::source::files(folder.path(), 60, 3000, 7);
    let world = World::of(folder);
    let seeded = |seed: &str, percent: &str| {
        let call = world.verify().with("MOVER_VERIFY_SEED", seed).with("MOVER_VERIFY_SAMPLE", percent);
        let ran = call.run();
        passed(&ran);
        let line = ran.out.lines().find(|line| line.contains("content: ")).unwrap().to_owned();
        assert!(line.contains(&format!("a sample of {percent}, seed {seed}")), "{line}");
        line
    };
    assert!(seeded("1", "100%").contains("60 of 60 files"));
    assert_eq!(seeded("5", "20%"), seeded("5", "20%"));
    assert!(!seeded("5", "20%").contains("60 of 60"));
    for seed in 0..5_u64 {
        // Never less than one.
        assert!(seeded(&seed.to_string(), "0.01%").contains("all trees, 1 of 60 files, 2.930 KiB read"));
    }
    let ran = world.verify().with("MOVER_VERIFY_SAMPLE", "20%").run();
    passed(&ran);
    assert!(ran.out.contains(", seed "), "{}", ran.out);
    // A sample of all finds what is damaged.
    damage_file(&world.packs()[0], Damage::Flipped);
    world.verify().with("MOVER_VERIFY_SAMPLE", "100%").fails(21, "Fatal: ");
}

#[test]
fn the_live_source_is_compared_and_not_judged() {
    let world = World::new();
    let live = world.source.path();
    let compare = world.verify().with("MOVER_VERIFY_COMPARE", "1");
    let ran = compare.run();
    passed(&ran);
    assert!(ran.out.contains("live    0 differences"), "{}", ran.out);
    fs::write(live.join("d/text"), "some other text\n").unwrap();
    fs::remove_file(live.join("link")).unwrap();
    fs::create_dir(live.join("new")).unwrap();
    fs::write(live.join("new/file"), "x").unwrap();
    set_mtime(&live.join("short"), 1_000_000_000, 0);
    fs::create_dir(live.join("lost+found")).unwrap();
    support::source::socket(live);
    let ran = compare.run();
    passed(&ran);
    let told: Vec<&str> = ran.out.lines().filter(|line| line.contains("    /")).collect();
    let expected = [
        "U    /d (modification time)",
        "M    /d/text (16 bytes instead of 10000)",
        "-    /link",
        "+    /new",
        "U    /short (modification time)",
    ];
    let told: Vec<&str> = told.into_iter().filter(|line| !line.starts_with("U    /d ")).collect();
    let expected: Vec<&str> = expected.into_iter().filter(|line| !line.starts_with("U    /d ")).collect();
    assert_eq!(told, expected);
    assert!(world.report()["snapshots"][0]["live"]["differences_total"].as_u64().unwrap() >= 4);
    world
        .verify()
        .with("DATA_DIR", "/nonexistent")
        .with("MOVER_PATH", live)
        .with("MOVER_VERIFY_COMPARE", "1")
        .fails(2, "Fatal: the directory to compare with does not exist");
}

/// One change each to a source of every kind of entry: each is found, by its name.
#[test]
fn every_kind_of_difference_is_found() {
    // The order in which attributes are told is the file system's.
    let folder = TempDir::new().unwrap();
    every_kind(folder.path());
    let world = World::of(folder);
    let live = world.source.path();
    let compare = world.verify().with("MOVER_VERIFY_COMPARE", "1");
    assert!(compare.ok().contains("live    0 differences"));
    let keep_time = |path: &Path, change: &dyn Fn()| {
        let before = rustix::fs::lstat(path).unwrap();
        change();
        set_mtime(path, before.st_mtime, before.st_mtime_nsec.try_into().unwrap());
    };
    let root = rustix::fs::lstat(live).unwrap();
    let (short, hard, link) = (live.join("short.txt"), live.join("hard-b"), live.join("link"));
    let xattr = live.join("xattr");
    keep_time(&short, &|| fs::write(&short, "a SHORT text\n").unwrap());
    keep_time(&hard, &|| {
        let content = fs::read(&hard).unwrap();
        fs::remove_file(&hard).unwrap();
        fs::write(&hard, content).unwrap();
    });
    keep_time(&link, &|| {
        fs::remove_file(&link).unwrap();
        std::os::unix::fs::symlink("other", &link).unwrap();
    });
    let set = |name: &str, value: &[u8]| {
        rustix::fs::setxattr(&xattr, name, value, rustix::fs::XattrFlags::empty()).unwrap();
    };
    set("user.b", b"changed");
    set("user.new", b"new");
    rustix::fs::removexattr(&xattr, "user.empty").unwrap();
    fs::set_permissions(live.join("modes/755"), fs::Permissions::from_mode(0o700)).unwrap();
    fs::remove_file(live.join("fifo")).unwrap();
    fs::create_dir(live.join("fifo")).unwrap();
    set_mtime(&live.join("times/0"), 0, 1);
    set_mtime(live, root.st_mtime, root.st_mtime_nsec.try_into().unwrap());
    let ran = compare.run();
    passed(&ran);
    let mut told: Vec<&str> = ran.out.lines().filter(|line| line.contains("    /")).collect();
    told.retain(|line| !line.contains("/link "));
    assert_eq!(
        told,
        [
            "U    /dir/hard-a (its names are of different files)",
            "T    /fifo",
            "U    /modes/755 (mode 700 instead of 755)",
            "M    /short.txt (content from byte 0 on)",
            "U    /times/0 (modification time)",
            "U    /xattr (attribute user.b, attribute user.empty, attribute user.new more)",
        ]
    );
    assert!(ran.out.contains("M    /link (it links to something else)"), "{}", ran.out);
}

#[test]
fn the_newest_of_every_identity() {
    let (repo, source) = (Repo::new(), source());
    for round in 0..2 {
        for host in ["a", "b"] {
            for path in ["/one", "/two"] {
                let call = repo.call("backup").with("DATA_DIR", source.path()).with("MOVER_PATH", path);
                call.with("MOVER_HOST", host).ok();
            }
        }
        fs::write(source.path().join(format!("more-{round}")), "more").unwrap();
    }
    let reports = open_folder();
    let file = reports.path().join("report.json");
    let each = repo.call("verify").with("MOVER_SNAPSHOT", "latest-each").with("MOVER_VERIFY_REPORT", &file);
    let snapshots = || {
        let report: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        report["snapshots"].as_array().unwrap().clone()
    };
    let count = || snapshots().len();
    passed(&each.run());
    assert_eq!(count(), 4);
    for snapshot in snapshots() {
        assert_eq!(snapshot["files"], 3, "the second backup, not the first: {snapshot}");
    }
    passed(&each.clone().with("MOVER_HOST", "a").run());
    assert_eq!(count(), 2);
    each.clone()
        .with("MOVER_VERIFY_MIN_FILES", "9")
        .fails(25, "Fatal: a condition of verify is broken (3 other snapshots failed as well): snapshot ");
    assert_eq!(count(), 4, "one that fails does not hide the others");
    repo.call("restore")
        .with("MOVER_SNAPSHOT", "latest-each")
        .fails(2, "Fatal: invalid value: MOVER_SNAPSHOT");
    // JSON takes the place of the lines.
    let ran = each.with("MOVER_JSON", "1").run();
    passed(&ran);
    let line: Value = serde_json::from_str(ran.out.trim()).unwrap();
    assert_eq!((line["message_type"].as_str(), line["passed"].as_bool()), (Some("verify"), Some(true)));
}
