//! What is wrong before anything is done: each kind of value, the repository's location, the password,
//! operations and options. All exit with 2, touch nothing, and say what is accepted.

use std::fs;

use super::call::{Call, MARK, PASSWORD, Repo, source};
use crate::support::scratch;

/// A variable, a wrong value, and the line without `Fatal: `.
const WRONG: [(&str, &str, &str); 45] = [
    (
        "MOVER_JSON",
        "maybe",
        "invalid value: MOVER_JSON=maybe. Accepted: 1 or 0, true or false, yes or no, on or off",
    ),
    ("MOVER_THREADS", "0", "invalid value: MOVER_THREADS=0. Accepted: a whole number from 1 to 1024"),
    (
        "MOVER_CONNECTIONS",
        "many",
        "invalid value: MOVER_CONNECTIONS=many. Accepted: a whole number from 1 to 1024",
    ),
    ("MOVER_LIMIT_UPLOAD", "1.5", "invalid value: MOVER_LIMIT_UPLOAD=1.5. Accepted: a whole number"),
    (
        "RESTIC_PACK_SIZE",
        "3",
        "invalid value: RESTIC_PACK_SIZE=3. Accepted: a whole number of MiB from 4 to 128",
    ),
    ("RESTIC_READ_CONCURRENCY", "-1", "invalid value: RESTIC_READ_CONCURRENCY=-1. Accepted: a whole number"),
    ("SELECT_PREVIOUS", "-1", "invalid value: SELECT_PREVIOUS=-1. Accepted: a whole number, at least 0"),
    (
        "MOVER_MEMORY",
        "1X",
        "invalid value: MOVER_MEMORY=1X. Accepted: a size such as 512M or 2GiB, at least 96M",
    ),
    (
        "MOVER_MEMORY",
        "1M",
        "invalid value: MOVER_MEMORY=1M. Accepted: a size such as 512M or 2GiB, at least 96M",
    ),
    (
        "MOVER_EXCLUDE_LARGER_THAN",
        "10Q",
        "invalid value: MOVER_EXCLUDE_LARGER_THAN=10Q. Accepted: a size such as 500M",
    ),
    (
        "MOVER_LOCK_WAIT",
        "5x",
        "invalid value: MOVER_LOCK_WAIT=5x. Accepted: a duration such as 90s, 5m, 2h30m or 7d",
    ),
    ("MOVER_JITTER", "1", "invalid value: MOVER_JITTER=1. Accepted: a duration such as 90s, 5m, 2h30m or 7d"),
    (
        "RESTIC_COMPRESSION",
        "best",
        "invalid value: RESTIC_COMPRESSION=best. Accepted: auto, off, fastest, better or max",
    ),
    ("MOVER_ON_MISSING", "ask", "invalid value: MOVER_ON_MISSING=ask. Accepted: create or fail"),
    ("MOVER_ON_EMPTY", "ask", "invalid value: MOVER_ON_EMPTY=ask. Accepted: accept or fail"),
    ("MOVER_PARTIAL", "ask", "invalid value: MOVER_PARTIAL=ask. Accepted: accept or fail"),
    (
        "MOVER_OVERWRITE",
        "ask",
        "invalid value: MOVER_OVERWRITE=ask. Accepted: always, if-changed, if-newer or never",
    ),
    ("MOVER_S3_ADDRESSING", "x", "invalid value: MOVER_S3_ADDRESSING=x. Accepted: auto, path or virtual"),
    (
        "RESTORE_AS_OF",
        "yesterday",
        "invalid value: RESTORE_AS_OF=yesterday. Accepted: a time such as 2026-02-28T13:30:00Z",
    ),
    (
        "MOVER_TZ",
        "Mars/Olympus",
        "invalid value: MOVER_TZ=Mars/Olympus. Accepted: a time zone such as Europe/Berlin or UTC",
    ),
    (
        "TZ",
        "Mars/Olympus",
        "invalid value: TZ=Mars/Olympus. Accepted: a time zone such as Europe/Berlin or UTC",
    ),
    ("MOVER_MAX_SHRINK", "0%", "invalid value: MOVER_MAX_SHRINK=0%. Accepted: a share such as 90%"),
    (
        "MOVER_REPOSITORY_ID",
        "xyz",
        "invalid value: MOVER_REPOSITORY_ID=xyz. Accepted: a repository's id or its first",
    ),
    (
        "MOVER_SNAPSHOT",
        "newest",
        "invalid value: MOVER_SNAPSHOT=newest. Accepted: an id or its first digits, latest or latest~n",
    ),
    ("MOVER_LOG", "volmover=loud", "invalid value: MOVER_LOG=volmover=loud: "),
    (
        "MOVER_XATTRS",
        "all,none",
        "invalid value: MOVER_XATTRS=all,none. Accepted: all, none, or patterns such as user.*",
    ),
    ("MOVER_PATH", "relative", "invalid value: MOVER_PATH=relative. Accepted: an absolute path, or *"),
    ("MOVER_PATH", "*", "invalid value: MOVER_PATH=*. Accepted: one value for backup, which records it"),
    (
        "MOVER_HOST",
        "{name}",
        "a placeholder cannot be filled: MOVER_HOST={name}: MOVER_NAME is not set. Set MOVER_NAME",
    ),
    (
        "MOVER_EXCLUDE",
        "a[",
        "invalid MOVER_EXCLUDE: \"a[\" is not a pattern: a bracket or a backslash has no end",
    ),
    (
        "MOVER_INCLUDE",
        "a[",
        "invalid MOVER_INCLUDE: \"a[\" is not a pattern: a bracket or a backslash has no end",
    ),
    (
        "MOVER_EXCLUDE_FILE",
        "/nonexistent",
        "cannot read the file of a variable: MOVER_EXCLUDE_FILE=/nonexistent: No such file",
    ),
    ("MOVER_CONFIG_DIR", "/nonexistent", "cannot read the config directory: /nonexistent: it does not exist"),
    ("RESTORE_OPTIONS", "--rm", "invalid value: RESTORE_OPTIONS=--rm. Accepted: --delete or nothing"),
    ("RESTIC_PROGRESS_FPS", "x", "invalid value: RESTIC_PROGRESS_FPS=x. Accepted: a number over 0"),
    (
        "HTTPS_PROXY",
        "http://u:Gehe1m@ bad",
        "invalid value: HTTPS_PROXY=***. Accepted: a URL such as http://proxy:3128",
    ),
    ("RESTIC_PASSWORD", "", "an empty password is not allowed: RESTIC_PASSWORD"),
    ("RESTIC_PASSWORD_FILE", "/dev/null", "an empty password is not allowed: RESTIC_PASSWORD_FILE"),
    (
        "RESTIC_PASSWORD_FILE",
        "/nonexistent",
        "cannot read the file of a variable: RESTIC_PASSWORD_FILE=/nonexistent: No such",
    ),
    (
        "RESTIC_PASSWORD_COMMAND",
        "false Gehe1m",
        "the password command failed: RESTIC_PASSWORD_COMMAND: exit status: 1",
    ),
    (
        "RESTIC_REPOSITORY",
        "ftp://u:Gehe1m@h/b",
        "invalid value: RESTIC_REPOSITORY=ftp://u:***@h/b: unknown scheme ftp. Accepted: a path",
    ),
    (
        "RESTIC_REPOSITORY",
        "s3:",
        "invalid value: RESTIC_REPOSITORY=s3:: the host is missing. Accepted: a path",
    ),
    (
        "FORGET_OPTIONS",
        " --keep-lasst 1",
        "unknown option of forget: FORGET_OPTIONS: --keep-lasst. Known are those of restic forget",
    ),
    (
        "FORGET_OPTIONS",
        "--keep-last 0",
        "no policy was specified, no snapshots will be removed: FORGET_OPTIONS. Say what to keep",
    ),
    ("RESTIC_REPOSITORY", "", "no repository. Set RESTIC_REPOSITORY to where it is"),
];

#[test]
fn a_wrong_value_is_named_with_what_is_accepted() {
    let (source, place) = (source(), scratch());
    let repository = place.path().join("repository");
    let call = Call::on("backup restore", &repository).with("DATA_DIR", source.path());
    for (name, value, line) in WRONG {
        call.clone().with(name, value).fails(2, &format!("Fatal: {line}"));
        assert!(!repository.exists(), "{name}={value} created a repository");
    }
}

#[test]
fn an_option_is_checked_as_its_variable() {
    let call = Call::on("snapshots", "/nonexistent/repository");
    for (option, line) in [
        ("--threads=0", "invalid value: MOVER_THREADS=0. Accepted: a whole number from 1 to 1024"),
        ("--json=maybe", "invalid value: MOVER_JSON=maybe. Accepted: 1 or 0"),
        ("--restore-as-of=x", "invalid value: RESTORE_AS_OF=x. Accepted: a time"),
        ("--thread=1", "unknown option: --thread. Did you mean --threads?"),
        ("--password=Gehe1m", "unknown option: --password"),
    ] {
        call.clone().arg(option).fails(2, &format!("Fatal: {line}"));
    }
}

#[test]
fn a_missing_variable_is_named() {
    let nothing = Call::new("backup");
    nothing.clone().with("RESTIC_PASSWORD", PASSWORD).fails(2, "Fatal: no repository. Set RESTIC_REPOSITORY");
    let without_password = nothing.with("RESTIC_REPOSITORY", "/nonexistent/repository");
    without_password
        .fails(2, "Fatal: no password for the repository. Set RESTIC_PASSWORD, RESTIC_PASSWORD_FILE");
}

#[test]
fn stores_to_come_are_named() {
    for (url, line) in [
        ("rest:http://u:Gehe1m@h/p", "rest:http://u:***@h/p: REST server"),
        ("b2:bucket:p", "b2:bucket:p: Backblaze B2"),
        ("azure:container:/p", "azure:container:/p: Azure Blob Storage"),
        ("gs:bucket:/p", "gs:bucket:/p: Google Cloud Storage"),
        ("swift:container:/p", "swift:container:/p: OpenStack Swift"),
        ("sftp:user@host:p", "sftp:user@host:p: SFTP"),
        ("rclone:remote:p", "rclone:remote:p: rclone"),
    ] {
        let line = format!("Fatal: store not supported yet: {line}. Supported: local directories and S3");
        Call::on("backup", url).fails(2, &line);
    }
}

#[test]
fn operations_are_known_before_anything_runs() {
    let place = scratch();
    let repository = place.path().join("repository");
    for (operations, line) in [
        ("init frobnicate", "unknown operation: frobnicate. Supported: init, backup, "),
        ("init bakup", "unknown operation: bakup. Did you mean backup?"),
    ] {
        Call::on(operations, &repository).fails(2, &format!("Fatal: {line}"));
        assert!(!repository.exists());
    }
}

#[test]
fn without_an_operation_there_is_help() {
    for (arguments, code) in [("", 2), ("--help", 0), ("help", 0), ("-h", 0)] {
        let ran = Call::new(arguments).run();
        assert_eq!((ran.code, ran.err.as_str()), (code, ""), "{arguments}");
        for word in ["Usage: volmover [OPTIONS] OPERATION...", "backup", "DATA_DIR", "Exit codes:", "143"] {
            assert!(ran.out.contains(word), "{arguments}: {word}");
        }
    }
    let version = Call::new("--version").ok();
    assert!(version.starts_with("volmover ") && version.contains("repository version 2"), "{version}");
    assert!(Call::new("help restore").ok().contains("RESTORE_AS_OF"));
}

#[test]
fn with_json_an_object_stands_before_the_last_line() {
    let missing = Call::on("snapshots", "/nonexistent/repository").with("MOVER_JSON", "1");
    let wrong = missing.clone().with("MOVER_THREADS", "0");
    for (call, code) in [(missing, 10), (wrong, 2)] {
        let ran = call.fails(code, "Fatal: ");
        let lines: Vec<&str> = ran.err.lines().collect();
        let object: serde_json::Value = serde_json::from_str(lines[lines.len() - 2]).unwrap();
        assert_eq!(object["message_type"], "exit_error");
        assert_eq!((&object["code"], &object["message"]), (&code.into(), &ran.last().into()));
    }
}

#[test]
fn an_option_goes_before_the_environment_before_the_directory() {
    let (repo, source, directory) = (Repo::new(), source(), scratch());
    for (name, value) in [
        ("RESTIC_PASSWORD", format!("{PASSWORD}\n")),
        ("RESTIC_REPOSITORY", repo.path().to_str().unwrap().to_owned()),
        ("DATA_DIR", format!("{}\n", source.path().display())),
        ("MOVER_HOST", "directory".to_owned()),
        ("MOVER_HOSST", "x".to_owned()),
        ("ca.crt", "none of ours".to_owned()),
    ] {
        fs::write(directory.path().join(name), value).unwrap();
    }
    let host = |call: &Call| {
        let out = call.ok();
        let list = out.lines().find(|line| line.starts_with('[')).expect(&out);
        let shown: serde_json::Value = serde_json::from_str(list).unwrap();
        shown[0]["hostname"].as_str().unwrap().to_owned()
    };
    // A backup is named by its host; the listing is filtered by the same.
    let call = Call::new("backup snapshots --json").with("MOVER_CONFIG_DIR", directory.path());
    assert_eq!(host(&call), "directory");
    let call = call.with("MOVER_HOST", "environment");
    assert_eq!(host(&call), "environment");
    assert_eq!(host(&call.clone().arg("--host=option")), "option");
    assert_eq!(host(&call.clone().with("MOVER_HOST", "")), "directory");
    let ran = call.run();
    assert!(
        ran.err.contains("unknown variable MOVER_HOSST is ignored; did you mean MOVER_HOST?"),
        "{}",
        ran.err
    );

    let unreadable = Call::new("snapshots").with("MOVER_CONFIG_DIR", directory.path().join("ca.crt"));
    unreadable.fails(2, "Fatal: cannot read the config directory: ");
    fs::write(directory.path().join("MOVER_THREADS"), "x\n").unwrap();
    call.fails(2, "Fatal: invalid value: MOVER_THREADS=x. ");
    assert!(PASSWORD.contains(MARK));
}
