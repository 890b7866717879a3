//! What a run tells when it ends: the JSON line, the termination message, report file, metrics and messages,
//! and that no way out ever fails a run, holds it up or gives a secret away.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

#[path = "../cli/call.rs"]
mod call;
mod dead;
mod failures;
mod figures;
mod messages;
mod metrics;
mod progress;
mod receivers;
mod secrets;
mod servers;
#[path = "../support/stub.rs"]
mod stub;
mod summaries;
#[path = "../support/mod.rs"]
mod support;
