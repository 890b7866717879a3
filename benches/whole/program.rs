//! The programs that are compared, and calls of them without anything of the caller's.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

pub(crate) const PASSWORD: &str = "volmover";

/// A tool that is there.
#[derive(Debug)]
pub(crate) struct Tool {
    pub(crate) name: &'static str,
    pub(crate) version: String,
    program: PathBuf,
}

/// volmover first, then the peers that are there, with restic and rustic under these names; one that is missing is
/// named.
pub(crate) fn find(peers: &Path, rustics: &[&'static str]) -> Vec<Tool> {
    let mut candidates = vec![
        ("volmover", PathBuf::from(env!("CARGO_BIN_EXE_volmover")), "--version"),
        ("restic", peers.join("bin/restic-0.19"), "version"),
    ];
    candidates.extend(rustics.iter().map(|name| (*name, peers.join("bin/rustic"), "--version")));
    let mut tools = Vec::new();
    for (name, program, version) in candidates {
        match Command::new(&program).arg(version).output() {
            Ok(output) if output.status.success() => {
                let said = String::from_utf8_lossy(&output.stdout);
                let version = said.lines().next().unwrap_or("(it does not tell its version)").to_owned();
                tools.push(Tool { name, version, program });
            }
            _ => println!("{name}: left out, {} does not run (.ci/peers rustic gets it)", program.display()),
        }
    }
    tools
}

impl Tool {
    /// A call of it without what this process was told about repositories.
    pub(crate) fn clean_command(&self) -> Command {
        let mut command = Command::new(&self.program);
        let foreign = ["RESTIC_", "RUSTIC_", "MOVER_", "AWS_", "VOLMOVER_", "FORGET_OPTIONS"];
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if foreign.iter().any(|prefix| text.starts_with(prefix)) {
                command.env_remove(&name);
            }
        }
        command
    }
}

/// restic's repository, password and cache, in the variables that volmover shares.
pub(crate) fn restic_at(command: &mut Command, repository: impl AsRef<OsStr>, cache: &Path) {
    command
        .env("RESTIC_REPOSITORY", repository)
        .env("RESTIC_PASSWORD", PASSWORD)
        .env("RESTIC_CACHE_DIR", cache);
}

/// rustic's password and cache, and no progress.
pub(crate) fn rustic_at(command: &mut Command, cache: &Path) {
    command.env("RUSTIC_PASSWORD", PASSWORD).env("RUSTIC_CACHE_DIR", cache).env("RUSTIC_NO_PROGRESS", "true");
}
