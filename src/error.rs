//! The one error type of the crate, and the one table from its kind to the exit code.
//!
//! It stands on the ground floor because every floor fails in the same words: what failed, where, why,
//! and what to do next. A kind says what the operator must do; the texts never hold a secret.

use std::fmt;

/// The result of anything above the backend.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What an operator must do about a failure. The discriminants are the exit codes of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// Any other error.
    Other = 1,
    /// Usage or configuration: unknown operation, missing or invalid variable.
    Usage = 2,
    /// The snapshot is saved, but some source was unreadable; or a snapshot could not be removed.
    Partial = 3,
    /// The repository does not exist, and may not be created.
    RepositoryMissing = 10,
    /// The repository is locked, and stayed so.
    Locked = 11,
    /// Wrong password, or no key fits.
    WrongPassword = 12,
    /// The target is too small, or full.
    NoSpace = 20,
    /// Damage found: data that fails its hash or its MAC, or that does not decode.
    Damaged = 21,
    /// The store cannot be reached, or timed out, after all retries.
    Unreachable = 22,
    /// The store denied access: credentials, signature, policy.
    Denied = 23,
    /// Empty source or nothing eligible, where that is an error.
    Nothing = 24,
    /// A condition of verify is broken.
    Condition = 25,
    /// Interrupted (SIGINT).
    Interrupted = 130,
    /// Terminated (SIGTERM).
    Terminated = 143,
}

impl ErrorKind {
    /// All kinds, by exit code.
    pub const ALL: [Self; 14] = [
        Self::Other,
        Self::Usage,
        Self::Partial,
        Self::RepositoryMissing,
        Self::Locked,
        Self::WrongPassword,
        Self::NoSpace,
        Self::Damaged,
        Self::Unreachable,
        Self::Denied,
        Self::Nothing,
        Self::Condition,
        Self::Interrupted,
        Self::Terminated,
    ];

    /// When a process ends with this kind's exit code, for the help and the README.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Other => "any other error",
            Self::Usage => "usage or configuration: unknown operation, missing or invalid variable",
            Self::Partial => {
                "the snapshot is saved, but some source was unreadable; or a snapshot could not be removed"
            }
            Self::RepositoryMissing => "the repository does not exist, and may not be created",
            Self::Locked => "the repository is locked, and stayed so for `MOVER_LOCK_WAIT`",
            Self::WrongPassword => "wrong password, or no key fits",
            Self::NoSpace => "the target is too small, or full",
            Self::Damaged => "damage found: data that fails its hash or its MAC, or that does not decode",
            Self::Unreachable => "the store cannot be reached, or timed out, after all retries",
            Self::Denied => "the store denied access: credentials, signature, policy",
            Self::Nothing => "an empty source or nothing eligible, with `MOVER_ON_EMPTY=fail`",
            Self::Condition => "a condition of verify is broken",
            Self::Interrupted => "interrupted (SIGINT); locks released, nothing half-visible",
            Self::Terminated => "terminated (SIGTERM); locks released, nothing half-visible",
        }
    }

    /// What to do next, where an error says nothing closer to the matter.
    #[must_use]
    pub fn advice(self) -> &'static str {
        match self {
            Self::Other => "Read the lines before the last one; MOVER_LOG=debug tells more",
            Self::Usage => "Correct the variable or the option; volmover help OPERATION explains them",
            Self::Partial => "Look at the warnings for what was left out, mend that and run it again",
            Self::RepositoryMissing => {
                "Check the address, and what is mounted there; init creates a repository"
            }
            Self::Locked => "Wait for the holder to finish; if it is gone, run unlock",
            Self::WrongPassword => "Check RESTIC_PASSWORD against the one the repository was made with",
            Self::NoSpace => "Make the target larger, or make room, and run it again",
            Self::Damaged => {
                "Run check with MOVER_CHECK_READ_DATA=1 to see what is damaged, then the repairs it names"
            }
            Self::Unreachable => "Check address, name resolution and network, then run doctor",
            Self::Denied => "Check the credentials and the store's policy, then run doctor",
            Self::Nothing => "Check DATA_DIR, MOVER_HOST and MOVER_PATH; snapshots lists what there is",
            Self::Condition => "Read which condition is broken in the lines before; backups may be too old",
            Self::Interrupted | Self::Terminated => {
                "Run it again; what is stored is sound and is not sent twice"
            }
        }
    }

    /// The exit code of the process.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        self as u8
    }
}

/// A failure: what failed, where, the cause, and what to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// What the operator must do.
    pub kind: ErrorKind,
    /// What failed, e.g. `failed to find snapshot`.
    pub what: String,
    /// Where: a path, a variable, a file of the repository.
    pub place: Option<String>,
    /// Why.
    pub cause: Option<String>,
    /// What to do next, a sentence without its full stop.
    pub next: Option<String>,
}

impl Error {
    /// An error of `kind` that says `what` failed.
    pub fn new(kind: ErrorKind, what: impl Into<String>) -> Self {
        Self { kind, what: what.into(), place: None, cause: None, next: None }
    }

    /// Adds where it failed.
    #[must_use]
    pub fn at(mut self, place: impl Into<String>) -> Self {
        self.place = Some(place.into());
        self
    }

    /// Adds why it failed.
    #[must_use]
    pub fn because(mut self, cause: impl fmt::Display) -> Self {
        self.cause = Some(cause.to_string());
        self
    }

    /// Adds what to do next.
    #[must_use]
    pub fn then(mut self, next: impl Into<String>) -> Self {
        self.next = Some(next.into());
        self
    }

    /// With what to do next by its kind, where nothing closer to the matter was said.
    #[must_use]
    pub fn advised(mut self) -> Self {
        let advice = self.kind.advice();
        self.next.get_or_insert_with(|| advice.to_owned());
        self
    }

    /// Damage at `place`, with its cause.
    pub fn damaged(what: impl Into<String>, place: impl Into<String>, cause: impl fmt::Display) -> Self {
        Self::new(ErrorKind::Damaged, what).at(place).because(cause)
    }

    /// A usage or configuration error.
    pub fn usage(what: impl Into<String>) -> Self {
        Self::new(ErrorKind::Usage, what)
    }
}

impl fmt::Display for Error {
    /// `<what failed>: <where>: <cause>. <what to do next>`, on one line.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = self.what.clone();
        for part in [&self.place, &self.cause].into_iter().flatten() {
            text.push_str(": ");
            text.push_str(part);
        }
        if let Some(next) = &self.next {
            text.push_str(". ");
            text.push_str(next);
        }
        formatter.write_str(&text.replace(['\n', '\r'], " "))
    }
}

impl std::error::Error for Error {}
