//! Files that a run leaves: written beside and renamed, so that no reader sees half of one.
//!
//! The termination log is the exception: Kubernetes mounts that very file, so it is written in place.

use std::fs;
use std::io::Write;
use std::path::Path;

use super::exposition;
use super::metrics::Sample;
use crate::report::{RunSummary, termination};

/// Whether a file is there that can be written.
pub(super) fn is_writable(path: &Path) -> bool {
    fs::OpenOptions::new().write(true).open(path).is_ok()
}

/// The termination message.
pub(super) fn terminate(path: &Path, summary: &RunSummary) -> Result<(), String> {
    fs::write(path, termination::message(summary)).map_err(|cause| failed(path, &cause))
}

/// Metrics beside what the file says of others; one that is not there says nothing.
pub(super) fn merge(path: &Path, samples: &[Sample]) -> Result<(), String> {
    let older = match fs::read_to_string(path) {
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => String::new(),
        read => read.map_err(|cause| failed(path, &cause))?,
    };
    replace(path, &exposition::merged(samples, &older))
}

/// Replaces a file by a whole one, which everybody may read as far as the process's mask allows.
pub(crate) fn replace(path: &Path, text: &str) -> Result<(), String> {
    let name = path.file_name().ok_or_else(|| format!("{} names no file", path.display()))?;
    // The process id keeps two runs apart; a collector reads `*.prom` alone.
    let part = path.with_file_name(format!(".{}.{}.part", name.to_string_lossy(), std::process::id()));
    let write = || -> std::io::Result<()> {
        let mut file = fs::File::create(&part)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&part, path)
    };
    write().map_err(|cause| {
        let _ = fs::remove_file(&part);
        failed(path, &cause)
    })
}

fn failed(path: &Path, cause: &std::io::Error) -> String {
    format!("{}: {cause}", path.display())
}
