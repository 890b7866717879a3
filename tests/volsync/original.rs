//! The original mover as far as the contract tells: its calls of restic 0.18 in its order, in its container.
//!
//! It serves to see what a switch meets, and what the quirks table says of it.

use std::path::PathBuf;

use serde_json::Value;

use crate::job::Job;
use crate::support::peer;
use crate::way::{Mover, Program, Ran};

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

    /// The operations of a source; the first that fails ends them.
    pub fn source(&self, job: &Job) -> Ran {
        let retain = format!("forget --host volsync {}", job.environment["FORGET_OPTIONS"]);
        let mut log = String::new();
        for operation in &job.operations {
            let calls: &[&str] = match operation.as_str() {
                "backup" => &["backup --host volsync --exclude=lost+found .", &retain],
                other => &[other],
            };
            let init = operation == "backup" && self.call(job, &["cat", "config"]).code != 0;
            for call in init.then_some(&"init").into_iter().chain(calls) {
                let ran = self.call(job, &call.split_whitespace().collect::<Vec<_>>());
                log += &ran.log;
                if ran.code != 0 {
                    return Ran { code: ran.code, log };
                }
            }
        }
        Ran { code: 0, log }
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
