//! Runs that go well: the lines that users and scripts read, JSON, dry runs, what is skipped and kept.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::Value;

use super::call::{Call, PASSWORD, Repo, source};
use super::support::listing::{assert_same, list};
use super::support::scratch;

/// Digits as `#`, so that lines can be compared.
fn shape(text: &str) -> String {
    let mut shape = String::new();
    for word in text.split_inclusive([' ', '\n']) {
        let bare = word.trim_end();
        let id = [8, 10].contains(&bare.len()) && bare.bytes().all(|byte| byte.is_ascii_hexdigit());
        shape.push_str(&if id { word.replace(bare, "ID") } else { word.to_owned() });
    }
    shape
}

#[test]
fn the_first_command_of_the_readme() {
    let (source, place) = (source(), scratch());
    let repository = place.path().join("repository");
    let call = |operations: &str| Call::on(operations, &repository).with("DATA_DIR", source.path());
    let out = call("backup snapshots").ok();
    let expected = format!(
        "created restic repository ID at {}

Please note that knowledge of your password is required to access
the repository. Losing your password means that your data is
irrecoverably lost.
no parent snapshot found, will read all files

Files:           2 new,     0 changed,     0 unmodified
Dirs:            1 new,     0 changed,     0 unmodified
Added to the repository: ",
        repository.display()
    );
    assert!(shape(&out).starts_with(&expected), "{out}");
    let rest: Vec<&str> = out.lines().skip(10).collect();
    assert_eq!(rest[..2], ["", "processed 2 files, 9.771 KiB in 0:00"], "{out}");
    assert_eq!(shape(rest[2]), "snapshot ID saved");
    let id = rest[2].split(' ').nth(1).unwrap();
    assert!(rest[3].starts_with("ID        Time                 Host        Tags        Paths"), "{out}");
    let path = source.path().to_str().unwrap();
    assert!(rest[5].starts_with(id) && rest[5].contains(path) && rest[5].contains("volsync"), "{out}");
    assert_eq!(rest[7..], ["Timestamps shown in UTC", "1 snapshots"], "{out}");

    let target = scratch();
    let out = call("restore").with("DATA_DIR", target.path()).with("MOVER_PATH", path).ok();
    let lines: Vec<&str> = out.lines().collect();
    let begin = format!("restoring snapshot {id} of [{path}] at ");
    let end = format!("@volsync to {}", target.path().display());
    assert!(lines[0].starts_with(&begin) && lines[0].ends_with(&end), "{out}");
    assert_eq!(lines[1..], ["Summary: Restored 4 files/dirs (9.771 KiB) in 0:00"], "{out}");
    assert_same(&list(source.path()), &list(target.path()), "the restored folder");
}

#[test]
fn json_is_one_object_a_line() {
    let (source, place, target) = (source(), scratch(), scratch());
    let call = Call::on("", place.path().join("repository")).with("MOVER_JSON", "1");
    let run = |operations: &str, folder: &std::path::Path| -> Vec<Value> {
        let call = call.clone().with("DATA_DIR", folder).with("MOVER_PATH", source.path());
        let call = operations.split(' ').fold(call, Call::arg);
        call.ok().lines().map(|line| serde_json::from_str(line).expect(line)).collect()
    };
    let backup = run("backup snapshots", source.path());
    assert_eq!((&backup[0]["message_type"], backup.len() >= 3), (&"initialized".into(), true));
    let of_type = |lines: &[Value], kind: &str| -> Vec<Value> {
        lines.iter().filter(|line| line["message_type"] == kind).cloned().collect()
    };
    let summary = &of_type(&backup, "summary")[0];
    assert_eq!((&summary["files_new"], &summary["dirs_new"]), (&2.into(), &1.into()));
    assert_eq!(backup.last().unwrap()["message_type"], "run");
    let snapshots = backup[backup.len() - 2].as_array().unwrap();
    assert_eq!((snapshots.len(), &snapshots[0]["id"]), (1, &summary["snapshot_id"]));
    let restore = run("restore", target.path());
    assert_eq!(of_type(&restore, "summary")[0]["files_restored"], 4);
    let known = ["status", "summary", "run"];
    assert!(restore.iter().all(|line| known.contains(&line["message_type"].as_str().unwrap())));
}

#[test]
fn a_dry_run_changes_nothing() {
    let (repo, source, target) = (Repo::new(), source(), scratch());
    let call = |operation: &str| repo.call(operation).with("DATA_DIR", source.path());
    call("backup").ok();
    fs::write(source.path().join("more"), "more").unwrap();
    let before = list(repo.path());
    let out = call("backup").with("MOVER_DRY_RUN", "1").ok();
    assert!(out.contains("Would add to the repository: ") && !out.contains(" saved"), "{out}");
    let restore = call("restore").with("MOVER_PATH", source.path()).with("DATA_DIR", target.path());
    let out = restore.with("MOVER_DRY_RUN", "1").ok();
    assert!(out.contains("Summary: Restored 4 files/dirs (9.771 KiB)"), "{out}");
    assert_eq!(fs::read_dir(target.path()).unwrap().count(), 0);
    assert_same(&before, &list(repo.path()), "the repository");

    let missing = source.path().join("missing");
    let dry = |operation: &str| {
        Call::on(operation, &missing).with("DATA_DIR", source.path()).with("MOVER_DRY_RUN", "1")
    };
    dry("backup").fails(10, "Fatal: repository does not exist: ");
    let out = dry("init").ok();
    assert_eq!(out, format!("would create restic repository at {}\n", missing.display()));
    assert!(!missing.exists());
    let exists = call("init").with("MOVER_DRY_RUN", "1");
    exists.fails(1, &format!("Fatal: create repository failed: {}: config", repo.path().display()));
}

#[test]
fn an_empty_source_is_skipped_and_creates_nothing() {
    let place = scratch();
    let (empty, repository) = (place.path().join("empty"), place.path().join("repository"));
    fs::create_dir_all(empty.join("lost+found")).unwrap();
    let backup = Call::on("backup", &repository).with("DATA_DIR", &empty);
    assert_eq!(backup.ok(), "== Directory is empty skipping backup ===\n");
    let line = format!("Fatal: the source is empty: {}: MOVER_ON_EMPTY=fail", empty.display());
    backup.with("MOVER_ON_EMPTY", "fail").fails(24, &line);
    assert!(!repository.exists());
}

#[test]
fn nothing_eligible_is_no_failure_unless_asked_for() {
    let (repo, source, target) = (Repo::new(), source(), scratch());
    repo.call("backup").with("DATA_DIR", source.path()).ok();
    let restore = repo.call("restore").with("DATA_DIR", target.path());
    let ran = restore.run();
    assert_eq!((ran.code, ran.out.as_str()), (0, "No eligible snapshots found\n"), "{}", ran.err);
    let exists = format!("Warning: snapshots exist of host volsync path {} (1)", source.path().display());
    assert!(ran.err.contains(&exists), "{}", ran.err);
    let strict = restore.clone().with("MOVER_ON_EMPTY", "fail");
    strict.fails(24, &format!("Fatal: no eligible snapshot: {}: ", repo.path().display()));
    let early = restore.with("MOVER_PATH", source.path()).with("RESTORE_AS_OF", "2001-02-03T04:05:06Z");
    assert!(early.ok().starts_with("No eligible snapshots found\n"));
    assert_eq!(fs::read_dir(target.path()).unwrap().count(), 0);
}

#[test]
fn an_equal_snapshot_is_kept() {
    let (repo, source) = (Repo::new(), source());
    let call = repo.call("backup").with("DATA_DIR", source.path());
    let last = |call: &Call| call.ok().lines().last().unwrap().to_owned();
    let first = last(&call);
    assert_eq!(shape(&first), "snapshot ID saved");
    assert_eq!((last(&call), repo.count("snapshots")), (first.clone(), 1), "a retry piles up");
    assert_ne!(last(&call.clone().with("MOVER_HOST", "other")), first);
    fs::write(source.path().join("short"), "other").unwrap();
    assert_ne!(last(&call), first);
    assert_eq!(repo.count("snapshots"), 3);
}

#[test]
fn as_the_mover_a_restore_creates_what_is_missing() {
    let (source, place) = (source(), scratch());
    let (script, repository) = (place.path().join("entry.sh"), place.path().join("repository"));
    symlink(env!("CARGO_BIN_EXE_volmover"), &script).unwrap();
    let target = scratch();
    let tool = Call::on("restore", &repository).with("DATA_DIR", target.path());
    let mover = tool.clone().by_program(&script);
    tool.fails(10, "Fatal: repository does not exist: ");
    mover.clone().with("MOVER_ON_MISSING", "fail").fails(10, "Fatal: repository does not exist: ");
    assert!(!repository.exists());
    let out = mover.ok();
    assert!(out.starts_with("=== Initialize Dir ===\ncreated restic repository "), "{out}");
    let lines: Vec<&str> = out.lines().rev().collect();
    assert!(lines[1].starts_with("Restic completed in ") && lines[1].ends_with('s'), "{out}");
    let end = ["=== No data will be restored ===", "No eligible snapshots found", "RESTORE_OPTIONS: "];
    assert_eq!((lines[0], &lines[2..5]), ("=== Done ===", &end[..]), "{out}");
    assert_eq!(fs::read_dir(target.path()).unwrap().count(), 0);
    let backup = Call::on("backup", &repository).by_program(&script).with("DATA_DIR", source.path());
    assert!(backup.ok().contains("no parent snapshot found, will read all files"));
}

#[test]
fn init_is_for_what_is_not_there() {
    let place = scratch();
    let repository = place.path().join("a/b/repository");
    let out = Call::on("init", &repository).ok();
    assert!(out.starts_with("created restic repository "), "{out}");
    let before = list(&repository);
    let line =
        format!("Fatal: create repository failed: {}: config file already exists", repository.display());
    Call::on("init", &repository).fails(1, &line);
    assert_same(&before, &list(&repository), "the repository");
    assert!(Call::on("snapshots", &repository).with("RESTIC_PASSWORD_FILE", "").ok().is_empty());
    let command = Call::new("snapshots").with("RESTIC_REPOSITORY", &repository);
    command.with("RESTIC_PASSWORD_COMMAND", format!("printf {PASSWORD}")).with("PATH", "/usr/bin:/bin").ok();
}
