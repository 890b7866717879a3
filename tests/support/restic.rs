//! The real restic: how a test runs it, and what it says.
//!
//! It runs without a cache, in UTC unless told otherwise, with the password of all tests.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Once};

use serde_json::Value;

use super::fixture::PASSWORD;

/// The versions that every test of bytes and damage runs with.
pub const REFEREES: [&str; 2] = ["restic-0.19", "restic-0.18"];

/// One version of restic on one repository.
pub struct Restic {
    program: PathBuf,
    repository: String,
    zone: String,
    environment: Vec<(String, String)>,
}

impl Restic {
    /// On a repository in a folder; `None` where that version is missing and not required.
    pub fn on(version: &str, repository: &Path) -> Option<Self> {
        Self::at(version, repository.to_str().unwrap())
    }

    /// On a repository anywhere.
    pub fn at(version: &str, url: &str) -> Option<Self> {
        let program = super::peer(version)?;
        outlive_hangups();
        Some(Self { program, repository: url.to_owned(), zone: "UTC".to_owned(), environment: Vec::new() })
    }

    /// The same with a variable more.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The same in another time zone.
    pub fn in_zone(mut self, zone: &str) -> Self {
        zone.clone_into(&mut self.zone);
        self
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .env_clear()
            .env("RESTIC_PASSWORD", PASSWORD)
            .env("TZ", &self.zone)
            .env("HOME", "/nonexistent")
            .envs(self.environment.iter().cloned())
            .args(["--no-cache", "--repo"])
            .arg(&self.repository)
            .args(arguments)
            .stdin(Stdio::null());
        command
    }

    /// Runs it, whatever comes of it.
    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Runs it and returns stdout; panics with all that it printed unless it exits with 0.
    #[track_caller]
    pub fn ok(&self, arguments: &[&str]) -> String {
        text(&self.run(arguments), arguments)
    }

    /// `cd SOURCE && restic backup --host volsync .`; returns the summary.
    #[track_caller]
    pub fn backup(&self, source: &Path, more: &[&str]) -> Value {
        let mut arguments = vec!["backup", "--host", "volsync", "--json"];
        arguments.extend(more);
        arguments.push(".");
        let output = self.command(&arguments).current_dir(source).output().unwrap();
        let lines = text(&output, &arguments);
        let mut lines = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.find(|line| line["message_type"] == "summary").unwrap()
    }

    /// Restores a snapshot into a folder.
    #[track_caller]
    pub fn restore(&self, snapshot: &str, target: &Path) {
        self.ok(&["restore", snapshot, "--target", target.to_str().unwrap()]);
    }

    /// Reads everything, and panics unless all is well.
    #[track_caller]
    pub fn check(&self) {
        let output = self.ok(&["check", "--read-data"]);
        assert!(output.contains("no errors were found"), "{output}");
    }

    /// The snapshots, oldest first.
    #[track_caller]
    pub fn snapshots(&self) -> Vec<Value> {
        serde_json::from_str(&self.ok(&["snapshots", "--json"])).unwrap()
    }
}

/// restic sends SIGHUP to the process of a lock, to see whether that lives: here it may be the test's own.
fn outlive_hangups() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        signal_hook::flag::register(signal_hook::consts::SIGHUP, Arc::default()).unwrap();
    });
}

#[track_caller]
fn text(output: &Output, arguments: &[&str]) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "restic {arguments:?}: {}\n{out}\n{err}", output.status);
    out.into_owned()
}
