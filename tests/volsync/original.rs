//! The original mover as far as the contract tells: its calls of restic 0.18 in its order, in its container.
//!
//! It serves to see what a switch meets, and what the quirks table says of it. What restic does is real; what the
//! script made of it (when it skips, which line of a table it picks, which output it loses) follows the contract.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde_json::Value;

use crate::job::Job;
use crate::support::peer;
use crate::way::{Mover, Program, Ran};

/// restic's exit code for a repository that does not exist.
const MISSING: i32 = 10;
/// The script's exit code for a repository that cannot be read.
const UNREADABLE: i32 = 3;

/// restic 0.18, called as VolSync's image calls it.
pub struct Original {
    restic: PathBuf,
}

impl Original {
    /// `None` where restic is missing and not required.
    pub fn found() -> Option<Self> {
        Some(Self { restic: peer("restic-0.18")? })
    }

    /// A call of restic in a Job's container.
    pub fn call(&self, job: &Job, arguments: &[&str]) -> Ran {
        Mover::start_program(job, Program::Other(&self.restic, arguments)).finish()
    }

    /// The operations of a source; the first that fails ends them, and so does an empty volume.
    pub fn source(&self, job: &Job) -> Ran {
        let mut log = String::new();
        for operation in &job.operations {
            if operation == "backup" && is_empty(job) {
                return Ran { code: 0, log: log + "== Directory is empty skipping backup ===\n" };
            }
            let ran = match operation.as_str() {
                "backup" => self.backup(job),
                "unlock" if self.call(job, &["cat", "config"]).code == MISSING => continue,
                other => self.call(job, &[other]),
            };
            log += &ran.log;
            if ran.code != 0 {
                return Ran { code: ran.code, log };
            }
        }
        Ran { code: 0, log }
    }

    fn backup(&self, job: &Job) -> Ran {
        let retain = format!("forget --host volsync {}", job.environment["FORGET_OPTIONS"]);
        let mut ran = self.prepared(job);
        for call in ["backup --host volsync --exclude=lost+found .", &retain] {
            if ran.code == 0 {
                let next = self.call(job, &call.split_whitespace().collect::<Vec<_>>());
                ran = Ran { code: next.code, log: ran.log + &next.log };
            }
        }
        ran
    }

    /// A repository that is missing is made, whatever the direction.
    fn prepared(&self, job: &Job) -> Ran {
        let looked = self.call(job, &["cat", "config"]);
        match looked.code {
            0 => Ran { code: 0, log: String::new() },
            MISSING => {
                let made = self.call(job, &["init"]);
                job.cheapen();
                made
            }
            _ => Ran { code: UNREADABLE, log: looked.log },
        }
    }

    /// The operation of a destination.
    pub fn destination(&self, job: &Job) -> Ran {
        let ready = self.prepared(job);
        if ready.code != 0 {
            return ready;
        }
        let listed = self.call(job, &["snapshots"]);
        if listed.code != 0 {
            return Ran { code: UNREADABLE, log: ready.log };
        }
        let ran = match choice(&listed.log, job) {
            Some(id) => self.restore(job, &id),
            None => Ran { code: 0, log: "No eligible snapshots found\n".to_owned() },
        };
        Ran { code: ran.code, log: ready.log + &ran.log }
    }

    /// A restore of one snapshot, with the Job's options.
    pub fn restore(&self, job: &Job, snapshot: &str) -> Ran {
        let mut arguments = vec!["restore", "--target", ".", snapshot, "--include-xattr", "user.*"];
        arguments.extend(job.environment["RESTORE_OPTIONS"].split_whitespace());
        self.call(job, &arguments)
    }

    /// The snapshots, oldest first.
    pub fn snapshots(&self, job: &Job) -> Vec<Value> {
        let ran = self.call(job, &["snapshots", "--json", "--quiet"]);
        assert_eq!(ran.code, 0, "{}", ran.log);
        let line = ran.log.lines().find(|line| line.starts_with('[')).unwrap();
        serde_json::from_str(line).unwrap()
    }
}

/// Whether the volume holds nothing but `lost+found`.
fn is_empty(job: &Job) -> bool {
    let volume = job.mounts.iter().find(|mount| mount.at == "/data").unwrap();
    fs::read_dir(&volume.source).unwrap().all(|entry| entry.unwrap().file_name() == "lost+found")
}

/// The snapshot to restore, out of the table that restic prints for people: the lines with `/data` in them, by their
/// times as they are printed, one for each time.
fn choice(table: &str, job: &Job) -> Option<String> {
    let zone = job.environment.get("TZ").map_or(TimeZone::UTC, |name| TimeZone::get(name).unwrap());
    let mut known = BTreeMap::new();
    for line in table.lines().filter(|line| line.contains("/data")) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let printed: DateTime = format!("{}T{}", words[1], words[2]).parse().unwrap();
        known.insert(printed.to_zoned(zone.clone()).unwrap().timestamp(), words[0].to_owned());
    }
    let until = match job.environment["RESTORE_AS_OF"].as_str() {
        "" => Timestamp::MAX,
        text => text.parse().ok()?,
    };
    let newest_first: Vec<String> = known.range(..=until).rev().map(|(_, id)| id.clone()).collect();
    let previous: isize = job.environment["SELECT_PREVIOUS"].parse().unwrap();
    // A negative index counts from the end.
    let index =
        if previous < 0 { newest_first.len().checked_add_signed(previous)? } else { previous.unsigned_abs() };
    newest_first.get(index).cloned()
}
