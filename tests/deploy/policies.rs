//! The policies of deploy/s3: each allows what it is for, nothing else, and no right in it is idle.
//!
//! Movers get keys of MinIO's own token service that are confined to the policy, as a user of that policy is.

use std::fs;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;
use volmover::backend::FileType;

use crate::place::Place;
use crate::recorded::ended;
use crate::s3::{ACCESS_KEY, SECRET_KEY};
use crate::support::fixture::PASSWORD;
use crate::support::scratch;
use crate::yaml::text;

/// A policy, operations that it is for, and ones that it is not for.
const POLICIES: [(&str, &[&str], &[&str]); 3] = [
    ("read", &["restore", "verify", "check", "snapshots", "stats", "report", "ls"], &["backup", "forget"]),
    ("backup", &["backup"], &["forget"]),
    ("maintain", &["backup forget prune", "doctor", "unlock", "restore"], &[]),
];

struct World {
    place: Place,
    folder: TempDir,
}

impl World {
    fn new() -> Option<Self> {
        let world = Self { place: Place::minio(2)?, folder: scratch() };
        fs::create_dir(world.folder.path().join("data")).unwrap();
        Some(world)
    }

    /// A call with keys that are confined to a policy.
    fn call(&self, operations: &str, policy: &Value) -> Command {
        let endpoint = self.place.url.strip_prefix("s3:").unwrap().split("/repository/").next().unwrap();
        let mut command = self.call_with_all_rights(operations);
        command.env("RESTIC_AWS_ASSUME_ROLE_ARN", "arn:minio:iam:::role/mover");
        command.env("RESTIC_AWS_ASSUME_ROLE_STS_ENDPOINT", endpoint);
        command.env("RESTIC_AWS_ASSUME_ROLE_POLICY", policy.to_string());
        command
    }

    fn call_with_all_rights(&self, operations: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_volmover"));
        command.args(operations.split(' ')).env_clear();
        command.env("RESTIC_REPOSITORY", &self.place.url).env("RESTIC_PASSWORD", PASSWORD);
        command.env("AWS_ACCESS_KEY_ID", ACCESS_KEY).env("AWS_SECRET_ACCESS_KEY", SECRET_KEY);
        command.env("MOVER_PATH", "/data");
        command.env("RESTIC_CACHE_DIR", self.folder.path().join(unique()));
        let data = self.folder.path().join(if operations.contains("restore") {
            unique()
        } else {
            "data".to_owned()
        });
        fs::create_dir_all(&data).unwrap();
        if operations.contains("forget") {
            command.env("FORGET_OPTIONS", "--keep-last 1");
        }
        command.env("DATA_DIR", data);
        command
    }

    fn snapshots(&self) -> usize {
        self.place.backend.list(FileType::Snapshot).unwrap().len()
    }

    /// Something new to back up.
    fn changed(&self) {
        fs::write(self.folder.path().join("data/file"), unique()).unwrap();
    }
}

/// A name that was not there before.
fn unique() -> String {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// The policy for the repository of the tests.
fn policy(name: &str, prefix: &str) -> Value {
    let text = text(&format!("s3/{name}.json")).replace("BUCKET", "repository").replace("PREFIX", prefix);
    serde_json::from_str(&text).unwrap()
}

/// The same without one of its rights, for every right: an action, or an action on one of several resources.
fn poorer(policy: &Value) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    let statements = policy["Statement"].as_array().unwrap();
    for (number, statement) in statements.iter().enumerate() {
        for part in ["Action", "Resource"] {
            let all = statement[part].as_array().unwrap();
            for place in 0..all.len() {
                if part == "Resource" && all.len() == 1 {
                    continue;
                }
                let mut less = policy.clone();
                less["Statement"][number][part].as_array_mut().unwrap().remove(place);
                if all.len() == 1 {
                    less["Statement"].as_array_mut().unwrap().remove(number);
                }
                found.push((format!("{} on {}", all[place], statement["Sid"]), less));
            }
        }
    }
    found
}

#[test]
fn each_allows_what_it_is_for_and_nothing_else() {
    let Some(world) = World::new() else { return };
    for _ in 0..2 {
        world.changed();
        ended(&mut world.call_with_all_rights("backup"), 0);
    }
    for (name, does, does_not) in POLICIES {
        let own = policy(name, "some/prefix");
        for operations in does {
            world.changed();
            let said = ended(&mut world.call(operations, &own), 0);
            assert!(!said.contains("Warning: "), "{name}: {operations}: {said}");
        }
        for operations in does_not {
            world.changed();
            // A snapshot that cannot be removed is 3 for forget, and stays.
            let code = if *operations == "forget" { 3 } else { 23 };
            ended(&mut world.call(operations, &own), code);
            assert!(world.snapshots() >= 2, "{name} let {operations} remove one");
        }
        // The folder beside is closed, even to look at.
        ended(&mut world.call(does[0], &policy(name, "some/other")), 23);
    }
}

#[test]
fn no_right_is_idle() {
    let Some(world) = World::new() else { return };
    world.changed();
    ended(&mut world.call_with_all_rights("backup"), 0);
    for (name, does, _) in POLICIES {
        for (right, less) in poorer(&policy(name, "some/prefix")) {
            world.changed();
            // A lock that cannot be given back is a warning.
            let mut said = String::new();
            let mut fails = |operations: &str| {
                let output = world.call(operations, &less).output().unwrap();
                said += &String::from_utf8_lossy(&[output.stdout, output.stderr].concat());
                output.status.code() != Some(0) || said.contains("Warning: ")
            };
            assert!(does.iter().any(|operations| fails(operations)), "{name} works without {right}: {said}");
        }
    }
}
