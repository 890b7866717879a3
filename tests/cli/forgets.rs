//! forget as its users meet it: after a backup, alone, from its three sources; what is skipped, what is refused.

use std::fs;
use std::path::Path;

use serde_json::Value;
use volmover::repository::snapshot::Snapshot;
use volmover::repository::time::NodeTime;

use super::call::{Call, PASSWORD, Repo, source};
use super::s3::{ACCESS_KEY, Fault, Profile, S3Server, SECRET_KEY};

/// Writes a snapshot of a host, a path and a day, and returns its id.
fn old(repo: &Repo, host: &str, path: &Path, day: u32, tags: &[&str]) -> String {
    let snapshot = Snapshot {
        time: NodeTime::parse(format!("2024-01-{day:02}T12:00:00Z").as_bytes()).unwrap(),
        hostname: host.to_owned(),
        paths: vec![path.to_str().unwrap().to_owned()],
        tags: tags.iter().map(|&tag| tag.to_owned()).collect(),
        ..Snapshot::default()
    };
    let kind = volmover::backend::FileType::Snapshot;
    repo.mover().repository.write_unpacked(kind, &snapshot.encode()).unwrap().hex()
}

/// What backup and forget get from `VolSync`.
fn backup(repo: &Repo, source: &Path) -> Call {
    repo.call("backup").with("DATA_DIR", source).with("FORGET_OPTIONS", " --keep-last 1")
}

#[test]
fn a_backup_forgets_its_own_host_and_path_alone() {
    let (repo, source) = (Repo::new(), source());
    let own = old(&repo, "volsync", source.path(), 1, &[]);
    let others = [
        old(&repo, "volsync", Path::new("/other"), 1, &[]),
        old(&repo, "volsync", Path::new("/other"), 2, &[]),
        old(&repo, "else", source.path(), 1, &[]),
        old(&repo, "else", source.path(), 2, &[]),
    ];
    let out = backup(&repo, source.path()).ok();
    let lines: Vec<&str> = out.lines().collect();
    let saved = lines.iter().position(|line| line.ends_with(" saved")).unwrap();
    assert_eq!(
        lines[saved + 1..saved + 3],
        ["Applying Policy: keep 1 latest snapshots", "keep 1 snapshots:"]
    );
    assert_eq!(lines.last().unwrap(), &"removed 1 of 1 snapshots", "{out}");
    let left = repo.mover().snapshot_ids();
    assert!(!left.contains(&own) && others.iter().all(|id| left.contains(id)) && left.len() == 5, "{left:?}");
    let named = backup(&repo, source.path()).with("FORGET_OPTIONS", "--keep-last 1 --host else").ok();
    assert!(named.ends_with("Applying Policy: keep 1 latest snapshots\n"), "{named}");
    assert_eq!(repo.mover().snapshot_ids().len(), 5);
    assert_eq!(repo.count("locks"), 0);
}

#[test]
fn what_is_partial_shrunk_or_switched_off_is_not_followed_by_forget() {
    let (repo, source) = (Repo::new(), source());
    old(&repo, "volsync", source.path(), 1, &[]);
    let whole = old(&repo, "volsync", source.path(), 2, &[]);
    let off = backup(&repo, source.path()).with("MOVER_FORGET", "off").ok();
    assert!(off.ends_with("forget is skipped: MOVER_FORGET=off\n"), "{off}");
    assert_eq!(repo.count("snapshots"), 3);
    let off = repo.call("forget").with("FORGET_OPTIONS", "-l 1").with("MOVER_FORGET", "off").ok();
    assert_eq!(off, "forget is skipped: MOVER_FORGET=off\n");

    fs::remove_file(source.path().join("d/text")).unwrap();
    let shrunk = backup(&repo, source.path()).with("MOVER_MAX_SHRINK", "40%").run();
    assert!(shrunk.code == 0 && shrunk.err.contains("nothing is forgotten"), "{shrunk:?}");
    assert!(!shrunk.out.contains("Applying"), "{shrunk:?}");
    assert_eq!(repo.count("snapshots"), 4);

    let dry = backup(&repo, source.path()).with("MOVER_DRY_RUN", "1").ok();
    assert!(
        dry.contains("Would have removed the following snapshots:") && repo.count("snapshots") == 4,
        "{dry}"
    );
    let out = repo.call("forget").with("FORGET_OPTIONS", "--keep-last 1").ok();
    assert!(out.ends_with("removed 3 of 3 snapshots\n"), "{out}");
    assert!(!repo.mover().snapshot_ids().contains(&whole));
}

#[test]
fn a_partial_backup_is_followed_by_forget_where_it_is_accepted() {
    let (repo, source) = (Repo::new(), source());
    old(&repo, "volsync", source.path(), 1, &[]);
    let whole = old(&repo, "volsync", source.path(), 2, &[]);
    old(&repo, "volsync", source.path(), 3, &["partial"]);
    fs::write(source.path().join("closed"), "closed").unwrap();
    let closed = std::os::unix::fs::PermissionsExt::from_mode(0o000);
    fs::set_permissions(source.path().join("closed"), closed).unwrap();
    make_writable(repo.path());
    let call = backup(&repo, source.path()).by_nobody();
    let ran = call.run();
    ran.assert_failed(3, "Fatal: the snapshot is partial");
    assert!(!ran.out.contains("Applying") && repo.count("snapshots") == 4, "{ran:?}");
    let out = call.with("MOVER_PARTIAL", "accept").ok();
    assert!(out.contains("newest without tag partial") && out.contains("removed 2 of 2"), "{out}");
    let left = repo.mover().snapshot_ids();
    assert!(left.len() == 2 && left.contains(&whole), "{left:?}");
}

/// Whoever the call runs as may write here.
fn make_writable(folder: &Path) {
    let all = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    fs::set_permissions(folder, all).unwrap();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            make_writable(&path);
        } else {
            fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
        }
    }
}

#[test]
fn one_source_and_no_other() {
    let (repo, folder) = (Repo::new(), super::call::open_folder());
    let data = Path::new("/data");
    let ids: Vec<String> = (1..=4).map(|day| old(&repo, "volsync", data, day, &[])).collect();
    let policies = folder.path().join("policies");
    fs::write(&policies, "# all\nvol* /data -l 2\n").unwrap();
    let forget = repo.call("forget");
    forget.fails(
        2,
        "Fatal: no policy was specified, no snapshots will be removed: forget. Set FORGET_OPTIONS, MOVER",
    );
    let twice = forget.clone().with("FORGET_OPTIONS", "-l 1").with("MOVER_FORGET_SNAPSHOTS", &ids[0]);
    twice.fails(
        2,
        "Fatal: forget is told more than once what to remove: FORGET_OPTIONS, MOVER_FORGET_SNAPSHOTS.",
    );
    let by_file = forget.clone().with("MOVER_POLICY_FILE", &policies);
    by_file
        .clone()
        .with("FORGET_OPTIONS", "-l 1")
        .fails(2, "Fatal: forget is told more than once what to remove");
    forget
        .clone()
        .with("MOVER_POLICY_FILE", "/nonexistent")
        .fails(2, "Fatal: cannot read the file of a variable");
    forget
        .clone()
        .with("MOVER_FORGET_SNAPSHOTS", "latest")
        .fails(2, "Fatal: invalid value: MOVER_FORGET_SNAPSHOTS");
    let unknown = forget.clone().with("MOVER_FORGET_SNAPSHOTS", format!("{},0123456789", ids[0]));
    unknown.fails(1, "Fatal: failed to find snapshot: 0123456789: no matching ID found");
    assert_eq!(repo.count("snapshots"), 4);
    forget.clone().with("MOVER_HOST", "else").with("FORGET_OPTIONS", "-l 1").ok();
    assert_eq!(repo.count("snapshots"), 4, "a host that is set filters");
    let out = by_file.ok();
    assert!(
        out.starts_with("host vol* path /data: keep 2 latest snapshots: 4 snapshots, 2 to remove\n"),
        "{out}"
    );
    assert_eq!(repo.mover().snapshot_ids(), ids[2..]);
    assert_eq!(forget.with("MOVER_FORGET_SNAPSHOTS", &ids[2][..8]).ok(), "removed 1 of 1 snapshots\n");
    assert_eq!(repo.mover().snapshot_ids(), ids[3..]);
}

#[test]
fn json_is_restics_array_and_a_summary_with_the_ids() {
    let repo = Repo::new();
    let ids: Vec<String> = (1..=3).map(|day| old(&repo, "volsync", Path::new("/data"), day, &[])).collect();
    let forget = repo.call("forget").with("MOVER_JSON", "1").with("FORGET_OPTIONS", "-l 1");
    let dry = forget.clone().with("MOVER_DRY_RUN", "1").ok();
    let dry = dry.lines().next().unwrap();
    let lines: Vec<Value> = forget.ok().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((lines.len(), &lines[0]), (3, &serde_json::from_str(dry).unwrap()));
    assert_eq!(
        (&lines[0][0]["keep"][0]["id"], &lines[0][0]["reasons"][0]["matches"][0]),
        (&ids[2].as_str().into(), &"last snapshot".into())
    );
    assert_eq!((&lines[1]["message_type"], &lines[1]["snapshots_kept"]), (&"summary".into(), &1.into()));
    let removed = lines[1]["snapshots_removed"].as_array().unwrap();
    assert!(
        removed.len() == 2 && ids[..2].iter().all(|id| removed.contains(&id.as_str().into())),
        "{removed:?}"
    );
}

#[test]
fn with_prune_it_frees_what_the_forgotten_needed() {
    let (repo, source) = (Repo::new(), source());
    for round in 0..3 {
        fs::write(source.path().join("d/text"), format!("text of round {round}\n").repeat(9000)).unwrap();
        repo.call("backup").with("DATA_DIR", source.path()).ok();
    }
    let forget = repo.call("forget").with("FORGET_OPTIONS", "--keep-last 1 --prune --max-unused 0");
    let dry = forget.clone().with("MOVER_DRY_RUN", "1").ok();
    let said_too = repo.call("forget").with("FORGET_OPTIONS", "-nl1 --prune --max-unused 0").ok();
    for dry in [dry, said_too] {
        assert!(dry.contains("Would have removed the following snapshots:\n"), "{dry}");
        assert!(dry.contains("Would have made the following changes:\n") && !dry.contains("done\n"), "{dry}");
    }
    assert_eq!((repo.count("snapshots"), repo.count("locks")), (3, 0));
    let off = forget.clone().with("MOVER_PRUNE", "off").with("MOVER_DRY_RUN", "1").ok();
    assert!(off.contains("prune is skipped: MOVER_PRUNE=off\n") && !off.contains("total prune"), "{off}");

    let out = forget.with("MOVER_JSON", "1").ok();
    let lines: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let freed = lines.iter().find_map(|line| line["bytes_freed"].as_u64()).expect(&out);
    let removed = lines.iter().find_map(|line| line["snapshots_removed"].as_array()).expect(&out);
    assert!(freed > 0 && removed.len() == 2, "{out}");
    let guards = lines.iter().find_map(|line| line["guard_requests"].as_u64()).expect(&out);
    // Two rounds of three lists, the forget's own second list, and the new index files.
    assert!(guards >= 7, "{out}");
    assert_eq!((repo.count("snapshots"), repo.count("locks")), (1, 0));
    let again = repo.call("prune").with("MOVER_PRUNE_MAX_UNUSED", "0").ok();
    assert!(again.contains("total prune:           0 blobs / 0 B\n"), "{again}");
}

/// Credentials that may add and not delete, but for locks: each backup saves its snapshot and says what its
/// forget was denied.
#[test]
fn append_only_credentials_deny_forget_and_backups_go_on() {
    let profile = Profile { undeletable: Some("/snapshots/"), ..Profile::plain() };
    let (server, source) = (S3Server::start(profile), source());
    server.script("DELETE", "/snapshots/", 0, 1000, Fault::Answer(403, "AccessDenied"));
    let url = format!("s3:{}/repository/prefix", server.endpoint());
    let call = |operation: &str| {
        Call::on(operation, &url)
            .with("RESTIC_PASSWORD", PASSWORD)
            .with("AWS_ACCESS_KEY_ID", ACCESS_KEY)
            .with("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
            .with("DATA_DIR", source.path())
    };
    let count = |folder: &str| {
        server.contents(|contents| {
            contents.buckets["repository"].keys().filter(|key| key.contains(folder)).count()
        })
    };
    for round in 0..4 {
        fs::write(source.path().join("d/text"), format!("round {round}")).unwrap();
        let ran = call("backup").with("FORGET_OPTIONS", " --keep-last 1").run();
        assert_eq!(count("/snapshots/"), round + 1, "{ran:?}");
        if round == 0 {
            assert_eq!(ran.code, 0, "{ran:?}");
        } else {
            assert_eq!(ran.code, 3, "{ran:?}");
            assert!(ran.out.contains(" saved\n"), "{ran:?}");
            let what = if round == 1 { "Fatal: a snapshot could" } else { "Fatal: " };
            ran.assert_failed(3, what);
            assert!(ran.last().contains("denied access") && ran.last().contains("append-only"), "{ran:?}");
        }
    }
    assert_eq!((count("/snapshots/"), count("/locks/")), (4, 0));
    call("forget")
        .with("FORGET_OPTIONS", "--keep-last 1 --prune")
        .fails(3, "Fatal: 3 of 3 snapshots could not be");
    assert_eq!(count("/snapshots/"), 4);
}
