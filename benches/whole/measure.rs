//! One child process, measured by what the kernel counted for it (`wait4`): wall time, CPU time, peak memory.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, io};

use wait4::Wait4;

use super::Outcome;

/// What one run took.
#[derive(Debug, Clone, Copy)]
pub(super) struct Measured {
    pub(super) wall: Duration,
    /// User and system time of all threads.
    pub(super) cpu: Duration,
    /// Peak resident memory in bytes.
    pub(super) peak_bytes: u64,
}

/// Runs a command to its end; one that fails is an error with the last line it wrote.
pub(super) fn run(mut command: Command) -> Outcome<Measured> {
    // A file and no pipe: nobody has to read along while the clock runs.
    let output = tempfile::NamedTempFile::new()?;
    let handle = || -> io::Result<Stdio> { Ok(Stdio::from(output.as_file().try_clone()?)) };
    command.stdin(Stdio::null()).stdout(handle()?).stderr(handle()?);
    let start = Instant::now();
    let ended = command.spawn()?.wait4()?;
    let wall = start.elapsed();
    if !ended.status.success() {
        let said = String::from_utf8_lossy(&fs::read(output.path())?).into_owned();
        let last = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
        return Err(format!("{}, {last}", ended.status).into());
    }
    Ok(Measured { wall, cpu: ended.rusage.utime + ended.rusage.stime, peak_bytes: ended.rusage.maxrss })
}

/// Bytes and number of all files of a repository in a folder.
pub(super) fn held(folder: &Path) -> Outcome<(u64, u64)> {
    let (mut bytes, mut files) = (0, 0);
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let status = entry.metadata()?;
        let (more, others) = if status.is_dir() { held(&entry.path())? } else { (status.len(), 1) };
        bytes += more;
        files += others;
    }
    Ok((bytes, files))
}
