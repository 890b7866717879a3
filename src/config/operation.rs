//! The operations by name, and as whom the program was called.
//!
//! Every name of the contract is known here. Any other is refused before anything runs: a sequence that would
//! stop in its middle must not begin.

use std::path::Path;

use super::nearest;
use crate::error::{Error, Result};

/// One verb of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Create a repository.
    Init,
    /// Save `DATA_DIR`.
    Backup,
    /// Write a snapshot into `DATA_DIR`.
    Restore,
    /// List snapshots.
    Snapshots,
    /// Remove snapshots by a policy.
    Forget,
    /// Remove what no snapshot needs.
    Prune,
    /// Look for damage.
    Check,
    /// Remove stale locks.
    Unlock,
    /// Prove that a snapshot restores.
    Verify,
    /// Try everything that a run needs.
    Doctor,
    /// Tell sizes.
    Stats,
    /// Tell everything about the repository.
    Report,
    /// List the entries of a snapshot.
    Ls,
    /// Rebuild the index from the packs.
    RepairIndex,
    /// Rewrite snapshots without what is lost.
    RepairSnapshots,
}

/// As whom the program was called; the defaults of a few variables and some lines depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Personality {
    /// `/mover-restic/entry.sh`: the mover of `VolSync`.
    Mover,
    /// Any other name: the command-line tool.
    Tool,
}

/// What can be done now.
pub const OPERATIONS: [Operation; 15] = [
    Operation::Init,
    Operation::Backup,
    Operation::Forget,
    Operation::Prune,
    Operation::Restore,
    Operation::Snapshots,
    Operation::Check,
    Operation::Verify,
    Operation::Doctor,
    Operation::Unlock,
    Operation::Stats,
    Operation::Report,
    Operation::Ls,
    Operation::RepairIndex,
    Operation::RepairSnapshots,
];

impl Operation {
    /// The name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Init => "init",
            Self::Backup => "backup",
            Self::Restore => "restore",
            Self::Snapshots => "snapshots",
            Self::Forget => "forget",
            Self::Prune => "prune",
            Self::Check => "check",
            Self::Verify => "verify",
            Self::Doctor => "doctor",
            Self::Unlock => "unlock",
            Self::Stats => "stats",
            Self::Report => "report",
            Self::Ls => "ls",
            Self::RepairIndex => "repair-index",
            Self::RepairSnapshots => "repair-snapshots",
        }
    }

    /// Whether the JSON of a run with it ends with the run's summary. What else prints JSON is read by those who
    /// expect restic's and nothing besides.
    #[must_use]
    pub fn sums_up(self) -> bool {
        matches!(self, Self::Backup | Self::Restore | Self::Forget | Self::Prune)
    }

    /// What it does, in one line.
    #[must_use]
    pub fn about(self) -> &'static str {
        match self {
            Self::Init => "create a repository (format 2); an existing one is an error and is not touched",
            Self::Backup => "save a snapshot of DATA_DIR; create a missing repository; skip an empty source",
            Self::Restore => "select a snapshot and restore it into DATA_DIR",
            Self::Snapshots => "list the snapshots",
            Self::Forget => "remove snapshots by FORGET_OPTIONS, MOVER_POLICY_FILE or MOVER_FORGET_SNAPSHOTS",
            Self::Prune => "remove what no snapshot needs",
            Self::Check => {
                "look for damage; all data with MOVER_CHECK_READ_DATA, a part with MOVER_CHECK_SUBSET"
            }
            Self::Verify => {
                "prove that the selected snapshot restores: read all of it, or restore it into MOVER_VERIFY_DIR"
            }
            Self::Doctor => {
                "check configuration, DNS, TLS, credentials, the store, the clock, cache and target"
            }
            Self::Unlock => "remove stale locks; all locks with MOVER_UNLOCK_ALL",
            Self::Stats => "tell sizes: restored, stored, packs, blobs, duplicates, unused",
            Self::Report => {
                "tell what is kept and why, growth, folders, unused space, locks and what to do; a page as MOVER_REPORT_HTML"
            }
            Self::Ls => "list the entries of the selected snapshot",
            Self::RepairIndex => "rebuild the index from the packs; MOVER_REPAIR=apply does it",
            Self::RepairSnapshots => "rewrite snapshots without what is lost; MOVER_REPAIR=apply does it",
        }
    }

    /// The operation of that name.
    ///
    /// # Errors
    /// A usage error for a name that is unknown.
    pub fn parse(name: &str) -> Result<Self> {
        if let Some(operation) = OPERATIONS.into_iter().find(|operation| operation.name() == name) {
            return Ok(operation);
        }
        let names = OPERATIONS.map(Self::name);
        let next = match nearest::of(name, names) {
            Some(near) => format!("Did you mean {near}? volmover --help lists the operations"),
            None => format!("Supported: {}", names.join(", ")),
        };
        Err(Error::usage("unknown operation").at(name).then(next))
    }
}

impl Personality {
    /// By the name of the program (`argv[0]`).
    #[must_use]
    pub fn of(program: &Path) -> Self {
        if program.file_name().is_some_and(|name| name == "entry.sh") { Self::Mover } else { Self::Tool }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn names() {
        for operation in OPERATIONS {
            assert_eq!(Operation::parse(operation.name()), Ok(operation));
        }
        let error = Operation::parse("bakcup").unwrap_err().to_string();
        assert!(error.contains("unknown operation: bakcup. Did you mean backup?"), "{error}");
        let error = Operation::parse("frobnicate").unwrap_err().to_string();
        assert!(error.contains("Supported: init, backup, forget, prune, restore, snapshots"), "{error}");
    }

    #[test]
    fn personalities() {
        assert_eq!(Personality::of(Path::new("/mover-restic/entry.sh")), Personality::Mover);
        assert_eq!(Personality::of(Path::new("entry.sh")), Personality::Mover);
        for name in ["volmover", "/usr/bin/volmover", "", "/entry.sh/volmover"] {
            assert_eq!(Personality::of(Path::new(name)), Personality::Tool, "{name}");
        }
    }
}
