//! What this program is made of: its version, its target, and with `--verbose` the parts that matter.
//!
//! The versions are read from the lock file that the program was built with, so they cannot be out of date. The
//! whole list is the software bill of materials that comes with a release (`.ci/sbom`).

use std::fmt::Write;
use std::sync::LazyLock;

use crate::repository::config_file::VERSION_NEW;

const LOCK_FILE: &str = include_str!("../Cargo.lock");
/// What handles the data, the keys and the connections.
const PARTS: [&str; 20] = [
    "aes",
    "aws-lc-rs",
    "aws-lc-sys",
    "clap",
    "ctr",
    "jiff",
    "opendal",
    "pbkdf2",
    "poly1305",
    "pulp",
    "reqsign-aws-v4",
    "reqwest",
    "rustix",
    "rustls",
    "sha2",
    "tokio",
    "webpki-roots",
    "wide",
    "zstd",
    "zstd-sys",
];

/// Version, target, and the repository version that is written.
pub static LINE: LazyLock<String> = LazyLock::new(|| {
    let library = match () {
        () if cfg!(target_env = "musl") => "-musl",
        () if cfg!(target_env = "gnu") => "-gnu",
        () => "",
    };
    let target = format!("{}-{}{library}", std::env::consts::ARCH, std::env::consts::OS);
    format!("{} ({target}), writes restic repository version {VERSION_NEW}", env!("CARGO_PKG_VERSION"))
});

/// The line, then features and parts, a line each.
#[must_use]
pub fn verbose() -> String {
    let linked = if cfg!(target_feature = "crt-static") { "static" } else { "dynamic" };
    let checks = if cfg!(debug_assertions) { "on" } else { "off" };
    let mut text = format!(
        "volmover {}\nlinked: {linked}; debug assertions: {checks}\nstores: local, s3; time zones and CA roots: built in\n",
        *LINE
    );
    for name in PARTS {
        let _ = writeln!(text, "{name} {}", version(name).unwrap_or("unknown"));
    }
    text
}

/// The version of a part. Of some the tests bring another one along: then the lock file says which is ours.
fn version(name: &str) -> Option<&'static str> {
    let ours = package("volmover")?.lines().find_map(|line| {
        let (dependency, version) = line.trim().trim_matches([',', '"']).split_once(' ')?;
        (dependency == name).then_some(version)
    });
    let first = || package(name)?.lines().nth(1)?.strip_prefix("version = \"")?.strip_suffix('"');
    ours.or_else(first)
}

/// The first package of a name in the lock file.
fn package(name: &str) -> Option<&'static str> {
    let head = format!("name = \"{name}\"");
    LOCK_FILE.split("[[package]]").map(str::trim_start).find(|package| package.lines().next() == Some(&head))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_has_one_version() {
        for name in PARTS {
            let version = version(name).unwrap_or_default();
            assert!(version.starts_with(|first: char| first.is_ascii_digit()), "{name}: {version}");
            let known = LOCK_FILE.matches(&format!("name = \"{name}\"\nversion")).count();
            let named = LOCK_FILE.contains(&format!(" \"{name} {version}\",\n"));
            assert!(known == 1 || named, "{name}: which of {known}?");
        }
        assert_eq!(version("volmover"), Some(env!("CARGO_PKG_VERSION")));
        assert_eq!(verbose().lines().count(), PARTS.len() + 3);
    }
}
