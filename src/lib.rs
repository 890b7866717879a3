//! volmover backs up volumes into restic repositories, and restores them.
//!
//! Floors (a file imports only from lower floors; `tests/architecture.rs` holds that):
//!
//! ```text
//! 5  main.rs cli.rs config/ volsync.rs   arguments and environment → operations → exit code
//! 4  ops/                                one verb a file
//! 3  backup/ restore/                    the pipelines
//! 2  repository/                         the restic format: pure codecs, keys, packs, indexes, trees, locks
//! 1  backend/                            where the repository is stored: local, object, memory, decorators
//! 0  error.rs clock.rs random.rs host.rs pattern.rs report/ what every floor may use
//! ```

pub mod backend;
pub mod backup;
pub mod cli;
pub mod clock;
pub mod config;
pub mod error;
pub mod host;
pub mod ops;
pub mod pattern;
pub mod random;
pub mod report;
pub mod repository;
pub mod restore;
pub mod sequence;
pub mod signals;
pub mod stores;
