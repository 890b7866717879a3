//! How a request to a store fails: a kind that a caller can act on, and one line for people.
//!
//! Every store makes its errors with `BackendError::new`, so that all of them read alike. Whether a failure
//! is `temporary` decides alone if `retry` tries again. The texts must never hold a secret.

use std::fmt;

use super::FileType;
use super::layout::path_of;
use crate::error::{Error, ErrorKind};

/// What a caller can do about a failed request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum BackendErrorKind {
    /// The file (or the bucket, or the folder) does not exist.
    NotFound,
    /// An exclusive write found the file there already.
    Exists,
    /// Credentials, signature, permissions, policy.
    Denied,
    /// DNS, connect, TLS, timeouts, 5xx: may pass.
    Unreachable,
    /// 429, 503 `SlowDown`: wait, then try again.
    Throttled,
    /// The store answered with fewer or other bytes than asked for, or EIO.
    Damaged,
    /// The store is full (ENOSPC, EDQUOT, quota).
    Full,
    /// Anything else.
    Other,
}

impl BackendErrorKind {
    /// The word for metrics.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::Exists => "exists",
            Self::Denied => "denied",
            Self::Unreachable => "unreachable",
            Self::Throttled => "throttled",
            Self::Damaged => "damaged",
            Self::Full => "full",
            Self::Other => "other",
        }
    }
}

/// A failed request to a store.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{operation} {path}: {cause}")]
pub struct BackendError {
    /// What a caller can do about it.
    pub kind: BackendErrorKind,
    /// `list`, `read`, `write`, `delete`, `stat`, `create`.
    pub operation: &'static str,
    /// The path inside the repository, e.g. `index/ab12…`; whole where the store's location is known.
    pub path: String,
    /// The cause in one line, without secrets.
    pub cause: String,
    /// Whether the same request may succeed later; `retry` acts on it.
    pub temporary: bool,
}

/// The result of a request to a store.
pub type BackendResult<T> = std::result::Result<T, BackendError>;

impl BackendError {
    /// The failure of `operation` on a file. It is temporary where its kind says so: `Unreachable` and `Throttled`.
    pub fn new(
        kind: BackendErrorKind,
        operation: &'static str,
        file: FileType,
        name: &str,
        cause: impl fmt::Display,
    ) -> Self {
        Self::at(kind, operation, path_of(file, name), cause)
    }

    /// The failure of `operation` on a folder, or on the store as a whole: `path` says where.
    pub fn at(
        kind: BackendErrorKind,
        operation: &'static str,
        path: impl Into<String>,
        cause: impl fmt::Display,
    ) -> Self {
        let cause = cause.to_string().replace(['\n', '\r'], " ");
        let temporary = matches!(kind, BackendErrorKind::Unreachable | BackendErrorKind::Throttled);
        Self { kind, operation, path: path.into(), cause, temporary }
    }

    /// The same failure, as one that may pass (a body that broke off) or not.
    #[must_use]
    pub fn with_temporary(mut self, temporary: bool) -> Self {
        self.temporary = temporary;
        self
    }

    /// A file that ends before the bytes asked for. Not temporary: a stored file does not grow again.
    #[must_use]
    pub fn too_short(file: FileType, name: &str, bytes: u64, needed: u64) -> Self {
        let cause = format!("file is {bytes} bytes, needed {needed}");
        Self::new(BackendErrorKind::Damaged, "read", file, name, cause)
    }

    /// The same failure with the whole place: the store's location before the path inside of it.
    #[must_use]
    pub fn in_store(mut self, location: &str) -> Self {
        if !self.path.starts_with(location) {
            self.path = format!("{}/{}", location.trim_end_matches('/'), self.path);
        }
        self
    }

    /// Whether the file (or the bucket, or the folder) does not exist.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.kind == BackendErrorKind::NotFound
    }

    /// Whether an exclusive write came too late.
    #[must_use]
    pub fn is_exists(&self) -> bool {
        self.kind == BackendErrorKind::Exists
    }
}

impl From<BackendError> for Error {
    /// The kind decides the exit code and what to do next.
    fn from(error: BackendError) -> Self {
        let (kind, next) = match error.kind {
            BackendErrorKind::NotFound => {
                (ErrorKind::Other, "Check that the repository is whole: run the operation check")
            }
            BackendErrorKind::Exists => {
                (ErrorKind::Other, "Another process wrote the same file: run the operation again")
            }
            BackendErrorKind::Denied => {
                (ErrorKind::Denied, "Check credentials, permissions and policy of the store")
            }
            // It answers, but not as whom it is called: no other address failure lasts.
            BackendErrorKind::Unreachable if !error.temporary => (
                ErrorKind::Unreachable,
                "Check the address, and which authorities RESTIC_CACERT or CUSTOM_CA names",
            ),
            BackendErrorKind::Unreachable => {
                (ErrorKind::Unreachable, "Check address and network, then run the operation again")
            }
            BackendErrorKind::Throttled => {
                (ErrorKind::Unreachable, "Lower MOVER_CONNECTIONS, or run the operation again later")
            }
            BackendErrorKind::Damaged => {
                (ErrorKind::Damaged, "Check disk and mount of the store, then run the operation check")
            }
            BackendErrorKind::Full => (ErrorKind::NoSpace, "Make room in the store, or prune the repository"),
            BackendErrorKind::Other => (ErrorKind::Other, "Check RESTIC_REPOSITORY, and the store's own log"),
        };
        Self::new(kind, format!("failed to {} in the repository", error.operation))
            .at(error.path)
            .because(error.cause)
            .then(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_line_with_place_cause_and_advice() {
        let error =
            BackendError::new(BackendErrorKind::Full, "write", FileType::Pack, "abcd", "no\nspace left");
        assert_eq!(error.to_string(), "write data/ab/abcd: no space left");
        let error = Error::from(error);
        assert_eq!(error.kind.exit_code(), 20);
        assert_eq!(
            error.to_string(),
            "failed to write in the repository: data/ab/abcd: no space left. \
             Make room in the store, or prune the repository"
        );
    }

    #[test]
    fn only_what_may_pass_is_temporary() {
        let temporary = |kind| BackendError::new(kind, "read", FileType::Config, "", "cause").temporary;
        assert!(temporary(BackendErrorKind::Unreachable) && temporary(BackendErrorKind::Throttled));
        assert!(!temporary(BackendErrorKind::Damaged) && !temporary(BackendErrorKind::NotFound));
        assert!(!BackendError::too_short(FileType::Pack, "abcd", 3, 4).temporary);
    }
}
