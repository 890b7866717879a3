//! What runs of the built program tell Prometheus: recorded once for all tests that read it.
//!
//! Two applications back up into one repository, one of them restores, and a maintenance job does the rest, all
//! into one text file as node-exporter's collector reads it.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use tempfile::TempDir;

use crate::support::fixture::PASSWORD;
use crate::support::mover;
use crate::support::scratch;

/// A repository with movers that write their metrics into a file.
pub(crate) struct Fleet {
    folder: TempDir,
}

/// An application: its name and namespace.
pub(crate) type App<'a> = (&'a str, &'a str);

pub(crate) const APPS: [App<'static>; 2] = [("odoo", "business"), ("emby", "media")];
pub(crate) const MAINTENANCE: App<'static> = ("volsync-maintenance", "backup");

impl Fleet {
    pub(crate) fn new() -> Self {
        let folder = scratch();
        mover::create(&folder.path().join("repository"), 2);
        let fleet = Self { folder };
        fs::create_dir(fleet.path("cache")).unwrap();
        for (name, _) in APPS {
            let data = fleet.path(name);
            fs::create_dir_all(data.join("letters")).unwrap();
            fs::write(data.join("letters/one"), format!("of {name}")).unwrap();
            fs::write(data.join("numbers"), name.repeat(20_000)).unwrap();
        }
        fleet
    }

    pub(crate) fn path(&self, inside: &str) -> std::path::PathBuf {
        self.folder.path().join(inside)
    }

    /// Where all of them write.
    pub(crate) fn metrics(&self) -> std::path::PathBuf {
        self.path("fleet.prom")
    }

    /// A run for an application, on a folder of its name.
    pub(crate) fn call(&self, (name, namespace): App<'_>, operations: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_volmover"));
        command.args(operations.split(' ')).env_clear();
        command.env("RESTIC_REPOSITORY", self.path("repository")).env("RESTIC_PASSWORD", PASSWORD);
        command.env("MOVER_NAME", name).env("MOVER_NAMESPACE", namespace);
        command.env("RESTIC_CACHE_DIR", self.path("cache")).env("MOVER_METRICS_FILE", self.metrics());
        if !operations.starts_with("forget") {
            command.env("DATA_DIR", self.path(name)).env("MOVER_HOST", "{name}.{namespace}");
            command.env("MOVER_PATH", "/data");
        }
        command
    }

    /// A run that ends with this code; all that it said.
    #[track_caller]
    pub(crate) fn run(&self, app: App<'_>, operations: &str, code: i32) -> String {
        ended(&mut self.call(app, operations), code)
    }
}

/// Runs it, panics unless it ends with this code, and returns all that it said.
#[track_caller]
pub(crate) fn ended(command: &mut Command, code: i32) -> String {
    let output = command.output().unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert_eq!(output.status.code(), Some(code), "{command:?}\n{said}");
    said
}

/// The text after a day of the fleet.
pub(crate) fn exposition() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(|| {
        let fleet = Fleet::new();
        for app in APPS {
            fleet.run(app, "backup", 0);
        }
        let target = fleet.path("restored");
        fs::create_dir(&target).unwrap();
        ended(fleet.call(APPS[0], "restore").env("DATA_DIR", &target), 0);
        assert!(Path::new(&target).join("letters/one").exists());
        ended(fleet.call(MAINTENANCE, "forget prune stats check").env("FORGET_OPTIONS", "--keep-last 2"), 0);
        let mut verify = fleet.call(MAINTENANCE, "verify");
        ended(
            verify.env("MOVER_SNAPSHOT", "latest-each").env_remove("MOVER_HOST").env_remove("MOVER_PATH"),
            0,
        );
        fs::read_to_string(fleet.metrics()).unwrap()
    })
}
