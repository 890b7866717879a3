//! A user of MinIO who may use one bucket and nothing else, made by an administrator with `mc`.
//!
//! What such a user cannot do is not needed: no bucket is asked for that is there, none is made, no other is listed.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::job::{Job, Security, volume_of};
use crate::minio::Minio;
use crate::peers::restic;
use crate::scenarios::{KEEP, saved_listing, volume, volumes_can_be_given};
use crate::support::listing::{assert_same, list};

/// What the documentation of MinIO gives to a backup: the objects of a bucket, its list and its region.
const POLICY: &str = r#"{"Version": "2012-10-17", "Statement": [
    {"Effect": "Allow", "Action": ["s3:ListBucket", "s3:GetBucketLocation"], "Resource": ["arn:aws:s3:::volsync"]},
    {"Effect": "Allow", "Action": ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"],
     "Resource": ["arn:aws:s3:::volsync/*"]}
]}"#;

#[track_caller]
fn says(mut client: Command, words: &str) -> String {
    let output = client.args(words.split(' ')).output().unwrap();
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(output.status.success(), "mc {words}: {text}");
    text
}

#[test]
fn a_user_of_one_bucket() {
    if !volumes_can_be_given() {
        return;
    }
    let Some(minio) = Minio::start(false) else { return };
    if minio.client().is_none() {
        return;
    }
    let mc = |words: &str| says(minio.client().unwrap(), words);
    let folder = TempDir::new().unwrap();
    let policy = folder.path().join("policy.json");
    fs::write(&policy, POLICY).unwrap();
    for bucket in ["volsync", "other"] {
        mc(&format!("mb local/{bucket}"));
    }
    mc(&format!("admin policy create local one-bucket {}", policy.display()));
    mc("admin user add local volsync-backup first-secret");
    mc("admin policy attach local one-bucket --user volsync-backup");

    let place = |path, secret| minio.place(path).by_user("volsync-backup", secret);
    let app = place("volsync/demo", "first-secret");
    let volume = volume(Security::Default.user());
    let source = Job::source("unlock backup prune", volume.path()).with("FORGET_OPTIONS", KEEP);
    assert!(source.clone().on(&app).succeeds().contains("created restic repository "));
    source.clone().on(&app).succeeds();
    let target = volume_of(Security::Default.user());
    Job::destination(target.path()).on(&app).succeeds();
    assert_same(&saved_listing(volume.path()), &list(target.path()), "the restored volume");
    if let Some(restic) = restic("restic-0.18", &app) {
        restic.check();
        restic.ok(&["unlock"]);
    }
    // What lies in the bucket is restic's, in the application's folder, and no lock is left.
    let listed = mc("ls --recursive --json local/volsync");
    let first = |line: &str| {
        let object: Value = serde_json::from_str(line).unwrap();
        object["key"].as_str().unwrap().split('/').take(2).collect::<Vec<_>>().join("/")
    };
    let folders: BTreeSet<String> = listed.lines().map(first).collect();
    let expected = ["config", "data", "index", "keys", "snapshots"].map(|name| format!("demo/{name}"));
    assert_eq!(folders, BTreeSet::from(expected), "{listed}");
    for elsewhere in ["other/demo", "nowhere/demo"] {
        let tail = source.clone().on(&place(elsewhere, "first-secret")).fails(23);
        assert!(tail.lines().last().unwrap().starts_with("Fatal: "), "{tail}");
    }
    // New keys in the Secret are all that a rotation takes.
    mc("admin user add local volsync-backup second-secret");
    source.clone().on(&app).fails(23);
    source.on(&place("volsync/demo", "second-secret")).succeeds();
}
