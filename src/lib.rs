//! volmover backs up volumes into restic repositories, and restores them.
//!
//! # The pipelines
//! ```text
//! backup   walk → compare with the parent → read → cut → hash → dedup → seal (compress, encrypt, open again)
//!          → pack → upload → index → tree … → snapshot
//! restore  select → plan by pack → compare with what is there → fetch → open → write → metadata
//! prune    lists → index → mark → plan → repack → new index → proof → lists again → delete
//! verify   select → plan by pack → fetch → open, or restore → read back → compare; then conditions and reports
//! ```
//! Each is a folder, its stages are files, and its `mod.rs` alone knows all of them. Threads of three kinds
//! work at a backup: readers do I/O and own the buffers that they fill; workers compute, one thread from cut
//! to pack, so a chunk crosses threads once; uploaders write finished packs. Every buffer belongs to a pool
//! whose size comes from one memory budget (`backup/plan.rs`), and nothing in flight is outside of it.
//!
//! # Floors
//! A file imports only from lower floors; `tests/architecture.rs` holds that.
//! ```text
//! 5  main.rs cli.rs config/ stores.rs signals.rs version.rs      environment → operations → exit code
//!    sequence.rs volsync.rs outlets/ allocator.rs
//! 4  ops/                                                        one verb a file
//! 3  backup/ restore/ verify/ forget/ prune/ check/ repair/      the pipelines, and what an operation decides
//! 2  repository/                                                 the restic format: codecs, keys, packs, locks
//! 1  backend/                                                    where the repository is stored, and decorators
//! 0  error.rs clock.rs random.rs host.rs pattern.rs report/      what every floor may use
//! ```
//! `error.rs` is on the ground floor because all floors fail in the same words, and a kind is an exit code in
//! one place. `stores.rs` alone puts a backend and its decorators together, `sequence.rs` alone turns
//! configuration into the options of operations. A run's end is told by `outlets/`: one summary
//! (`report/run_summary.rs`), which a monitor around the chosen one collects, leaves by every way that is set:
//! files, metrics (`outlets/metrics.rs` says which), a trace, a webhook. None of them fails or delays a run.
//! What a repository holds is told by `ops/report`, with the figures of `ops/stats` and the decisions of `forget/`;
//! its page is made through `report/html.rs`, which escapes every text.
//!
//! # Memory
//! An index entry takes 48 bytes (`repository/index.rs`), a blob added by the running backup 33 and the spare
//! room of a hash table; ten million blobs take 480 MB. Key derivation takes up to 32 MiB, before anything else is
//! allocated (`repository/scrypt.rs`). Buffers that were freed are there for the next, whoever freed them (`allocator.rs`).
//! The budget is `MOVER_MEMORY`, else three quarters of the cgroup's limit.
//!
//! # What is kept on this machine
//! The sealed cache holds snapshots, index files in a form that needs no parsing, and packs of trees: a backup of
//! what has not changed reads nothing else of its repository. Each entry stands for the repository's files of
//! its name, which never change, so lists decide and nothing can be out of date. `check`, `verify` and `repair`
//! do not use it: they say what is stored.
//!
//! # Dependencies
//! - `aes`, `ctr`, `poly1305`, `sha2`, `pbkdf2`, `subtle`, `zeroize`: what the format is sealed with, and its keys.
//!   `wide`: four words at once for scrypt, on every processor, without `unsafe`.
//! - `aws-lc-rs`: SHA-256 of one message, three times as fast as `sha2` on a CPU without instructions for it (TLS
//!   has it already). `pulp`: AVX2 and AVX-512 without `unsafe`, for many messages at once (`repository/sha256.rs`).
//! - `aes-gcm`, `blake3`: the sealed cache, which is ours and not the format's (`repository/cache.rs`).
//! - `zstd`: compression of version 2. `bytes`: buffers that go back to their pool when an upload is done.
//! - `getrandom`: nonces and keys. `base64`, `serde`, `serde_json`: key, config, lock and index files.
//! - `opendal`: S3 operations, in `backend/object` alone; below it `tokio` (its threads), `reqwest`, `http`,
//!   `http-body`, `futures-core` (one client with our timeouts, proxies and user agent), `rustls`,
//!   `rustls-native-certs`, `webpki-roots` (roots of the system, or bundled in a scratch image),
//!   `reqsign-aws-v4`, `reqsign-core` (signatures and credentials), `md-5` (`Content-MD5`, which Object Lock
//!   wants), `quick-xml` (the store's error answers). `outlets/http.rs` sends metrics and messages with the
//!   same `reqwest` and `tokio`.
//! - `rustix`: file system calls with directory handles, without `unsafe`. `crossbeam-channel`: packs on their
//!   way to uploaders. `signal-hook`: SIGINT and SIGTERM.
//! - `jiff`: times, zones (compiled in) and offsets. `clap`: the command line. `thiserror`: error enums.
//! - `indicatif`, `unicode-width`: the progress bar and column widths. `tracing`, `tracing-subscriber`: the log.

pub mod allocator;
pub mod backend;
pub mod backup;
pub mod check;
pub mod cli;
pub mod clock;
pub mod config;
pub mod error;
pub mod forget;
pub mod host;
pub mod ops;
pub mod outlets;
pub mod pattern;
pub mod prune;
pub mod random;
pub mod repair;
pub mod report;
pub mod repository;
pub mod restore;
pub mod sequence;
pub mod signals;
pub mod stores;
pub mod verify;
pub mod version;
pub mod volsync;
