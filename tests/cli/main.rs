//! The program as its users meet it: the real binary with an environment of its own, its lines, exit codes.
//!
//! Every failure is held to the contract: one `Fatal:` line, the last on stderr, under 512 bytes; no panic;
//! no secret in anything printed, at any log level. All secrets here carry one mark, which is looked for.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout, reason = "tests")]

mod call;
mod configuration;
mod doctor;
mod folders;
mod locked;
mod runs;
#[path = "../support/s3.rs"]
mod s3;
mod stores;
#[path = "../support/mod.rs"]
mod support;
#[path = "../support/tls.rs"]
mod tls;
