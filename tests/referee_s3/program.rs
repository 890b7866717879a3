//! The built binary, run as a user runs it: by variables alone.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::place::Place;
use crate::s3::{ACCESS_KEY, SECRET_KEY};
use crate::support::fixture::PASSWORD;
use crate::support::listing;
use crate::support::scratch;

/// The binary on a place; `data` is `DATA_DIR`.
pub(crate) fn command(place: &Place, data: &Path, operation: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_volmover"));
    command
        .env_clear()
        .env("HOME", "/nonexistent")
        .env("TZ", "UTC")
        .env("RESTIC_REPOSITORY", &place.url)
        .env("RESTIC_PASSWORD", PASSWORD)
        .env("AWS_ACCESS_KEY_ID", ACCESS_KEY)
        .env("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
        .env("DATA_DIR", data)
        .arg(operation)
        .stdin(Stdio::null());
    command
}

/// Runs it and returns stdout; panics with all that it printed unless it exits with 0.
#[track_caller]
pub(crate) fn ok(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{:?}: {status}\n{out}\n{err}", command.get_args());
    out.into_owned()
}

/// Backs a folder up, and returns the summary.
#[track_caller]
pub(crate) fn backup(place: &Place, source: &Path) -> Value {
    let lines = ok(command(place, source, "backup").env("MOVER_JSON", "1"));
    let mut lines = lines.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.find(|line| line["message_type"] == "summary").unwrap()
}

/// Restores the newest snapshot of a folder into a new one, and lists what came of it.
#[track_caller]
pub(crate) fn restored(place: &Place, source: &Path) -> String {
    let target = scratch();
    ok(command(place, target.path(), "restore").env("MOVER_PATH", source));
    listing::list(target.path())
}
