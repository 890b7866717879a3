//! Real programs on the other side: restic against our test server, our store against `MinIO`.

use super::*;
use crate::support::{minio, scratch};

/// Runs a command of a peer, which must succeed.
fn succeed(command: &mut std::process::Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The server itself is what others test with, so a client that is not ours has to be content with it; and
/// what that client wrote is listed and read by ours.
#[test]
fn restic_takes_the_server_for_a_store() {
    let Some(restic) = support::peer("restic-0.19") else { return };
    let folder = scratch();
    std::fs::write(folder.path().join("file"), vec![1; 3 << 20]).unwrap();
    for profile in [Profile::plain(), Profile::r2()] {
        let server = S3Server::start(profile);
        let run = |arguments: &[&str]| {
            let mut command = std::process::Command::new(&restic);
            command
                .args(arguments)
                .args(["--no-cache", "-o", "s3.layout=default"])
                .current_dir(folder.path());
            command.env("RESTIC_REPOSITORY", format!("s3:{}/repository/backups/app", server.endpoint()));
            command
                .env("RESTIC_PASSWORD", "p")
                .env("AWS_ACCESS_KEY_ID", ACCESS_KEY)
                .env("AWS_SECRET_ACCESS_KEY", SECRET_KEY);
            succeed(&mut command)
        };
        run(&["init"]);
        run(&["backup", "."]);
        run(&["check", "--read-data"]);
        let backend = open(options(&server));
        assert_eq!(backend.list(FileType::Snapshot).unwrap().len(), 1);
        for kind in FileType::FOLDERS {
            for listed in backend.list(kind).unwrap() {
                let data = backend.read(kind, &listed.name).unwrap();
                assert_eq!(volmover::repository::Id::of(&data).hex(), listed.name);
            }
        }
    }
}

/// A server of flesh and blood.
#[test]
fn minio_keeps_the_contract() {
    let folder = scratch();
    let set_up = |command: &mut std::process::Command| {
        command.env("MINIO_REGION", "eu-test-1");
    };
    let started = minio::start(folder.path(), [ACCESS_KEY, SECRET_KEY], set_up, minio::is_healthy);
    let Some((_server, port)) = started else { return };
    let options = ObjectOptions {
        multipart_threshold_bytes: 8 << 20,
        part_bytes: 5 << 20,
        ..options_at(&format!("http://127.0.0.1:{port}"))
    };
    let backend = open(ObjectOptions { region: Some("eu-test-1".to_owned()), ..options.clone() });
    backend.create().unwrap();
    contract::contract(&open(options.clone()));
    let missing = ObjectOptions {
        bucket: "absent".to_owned(),
        region: Some("eu-test-1".to_owned()),
        ..options.clone()
    };
    contract::contract_missing(&open(missing));
    let mut wrong = options;
    wrong.credentials.static_keys = keys(ACCESS_KEY, "wrong-secret");
    let error = open(wrong).list(FileType::Key).unwrap_err();
    assert_eq!((error.kind, error.temporary), (Kind::Denied, false), "{error}");
}
