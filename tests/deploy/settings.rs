//! What fleets patch in from outside: each is a key of the config Secret, and counts.
//!
//! A mover runs as VolSync starts it, with nothing but a config directory that sets it, and without.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::recorded::ended;
use crate::support::fixture::PASSWORD;
use crate::support::mover;
use crate::support::scratch;
use crate::yaml::text;

/// A volume, an empty repository, and a mover of VolSync's that has a config directory.
struct World {
    folder: TempDir,
}

impl World {
    fn new() -> Self {
        let folder = scratch();
        for name in ["data", "mover-restic", "config"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        symlink(env!("CARGO_BIN_EXE_volmover"), folder.path().join("mover-restic/entry.sh")).unwrap();
        mover::create(&folder.path().join("repository"), 2);
        let world = Self { folder };
        for (name, content) in
            [("kept", "x"), ("left.tmp", "y"), ("secret", "z"), (".backupignore", "secret\n")]
        {
            fs::write(world.folder.path().join("data").join(name), content).unwrap();
        }
        world
    }

    fn command(&self, operations: &str, config: &[(&str, &str)]) -> Command {
        let folder = self.folder.path();
        fs::remove_dir_all(folder.join("config")).unwrap();
        fs::create_dir(folder.join("config")).unwrap();
        for (name, value) in config {
            fs::write(folder.join("config").join(name), value).unwrap();
        }
        let mut command = Command::new(folder.join("mover-restic/entry.sh"));
        command.args(operations.split(' ')).env_clear().env("MOVER_CONFIG_DIR", folder.join("config"));
        command.env("RESTIC_REPOSITORY", folder.join("repository")).env("RESTIC_PASSWORD", PASSWORD);
        command.env("DATA_DIR", folder.join("data")).env("MOVER_PATH", "/data");
        command
    }

    /// All that a run says.
    #[track_caller]
    fn run(&self, operations: &str, config: &[(&str, &str)]) -> String {
        ended(&mut self.command(operations, config), 0)
    }
}

#[test]
fn excludes() {
    let world = World::new();
    let listed = |config: &[(&str, &str)]| {
        fs::write(world.folder.path().join("data/kept"), format!("{config:?}")).unwrap();
        world.run("backup", config);
        world.run("ls", &[])
    };
    let all = listed(&[]);
    assert!(all.contains("/left.tmp") && all.contains("/secret"), "{all}");
    let some = listed(&[("MOVER_EXCLUDE", "*.tmp\n*.bak")]);
    assert!(!some.contains("/left.tmp") && some.contains("/secret") && some.contains("/kept"), "{some}");
    let own = listed(&[("MOVER_IGNORE_FILES", ".backupignore")]);
    assert!(own.contains("/left.tmp") && !own.contains("/secret") && own.contains("/kept"), "{own}");
}

#[test]
fn a_time_zone() {
    let world = World::new();
    world.run("backup", &[]);
    let said = world.run("snapshots", &[("MOVER_TZ", "Pacific/Kiritimati")]);
    assert!(said.contains("Timestamps shown in Pacific/Kiritimati") || said.contains("+14"), "{said}");
    assert!(world.run("snapshots", &[]).contains("Timestamps shown in UTC"));
}

/// Bytes cannot be sent faster than told.
#[test]
fn a_bandwidth_limit() {
    let world = World::new();
    let mut noise = vec![0; 400 << 10];
    getrandom::fill(&mut noise).unwrap();
    fs::write(world.folder.path().join("data/noise"), noise).unwrap();
    let start = Instant::now();
    world.run("backup", &[("MOVER_LIMIT_UPLOAD", "100")]);
    assert!(start.elapsed() >= Duration::from_secs(2), "400 KiB at 100 KiB/s took {:?}", start.elapsed());
}

/// What cannot be meant is refused by name: none of them is passed over.
#[test]
fn each_is_read() {
    let world = World::new();
    for (name, value) in [
        ("MOVER_JITTER", "soon"),
        ("MOVER_TZ", "Nowhere/At_All"),
        ("MOVER_EXCLUDE_CACHES", "perhaps"),
        ("MOVER_LIMIT_UPLOAD", "much"),
        ("MOVER_LIMIT_DOWNLOAD", "little"),
    ] {
        let said = ended(&mut world.command("backup", &[(name, value)]), 2);
        assert!(said.contains(name), "{name}: {said}");
    }
    world.run(
        "backup",
        &[("MOVER_JITTER", "1s"), ("MOVER_LIMIT_DOWNLOAD", "100000"), ("MOVER_EXCLUDE_CACHES", "on")],
    );
}

/// The README's table says it with these very names.
#[test]
fn the_table_names_them() {
    let text = text("README.md");
    let table = text.split("## Delete this patch, set this").nth(1).unwrap().split("\n## ").next().unwrap();
    for name in [
        "MOVER_JITTER",
        "MOVER_TZ",
        "MOVER_EXCLUDE",
        "MOVER_EXCLUDE_CACHES",
        "MOVER_IGNORE_FILES",
        "MOVER_LIMIT_UPLOAD",
        "MOVER_LIMIT_DOWNLOAD",
    ] {
        assert!(table.contains(&format!("`{name}")), "{name}");
        assert!(volmover::config::variables::ALL.iter().any(|variable| variable.name == name), "{name}");
    }
}
