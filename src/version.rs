//! What this program is made of: its version, its target, and with `--verbose` the parts that matter.
//!
//! The versions are read from the lock file that the program was built with, so they cannot be out of date. The
//! whole list of parts is the software bill of materials that comes with a release (`.ci/sbom`).

use std::fmt::Write;
use std::sync::LazyLock;

use crate::repository::config_file::VERSION_NEW;

const LOCK_FILE: &str = include_str!("../Cargo.lock");
/// What handles the data, the keys and the connections.
const PARTS: [&str; 18] = [
    "aes",
    "aws-lc-rs",
    "aws-lc-sys",
    "clap",
    "ctr",
    "jiff",
    "opendal",
    "poly1305",
    "reqsign-aws-v4",
    "reqwest",
    "rustix",
    "rustls",
    "scrypt",
    "sha2",
    "tokio",
    "webpki-roots",
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
        let versions = locked(name).collect::<Vec<_>>().join(", ");
        let _ = writeln!(text, "{name} {versions}");
    }
    text
}

/// The versions of a package in the lock file.
fn locked(name: &str) -> impl Iterator<Item = &'static str> {
    let head = format!("name = \"{name}\"");
    LOCK_FILE.split("[[package]]").filter_map(move |package| {
        let mut lines = package.trim_start().lines();
        let version = lines.next().filter(|line| *line == head).and_then(|_| lines.next())?;
        version.strip_prefix("version = \"")?.strip_suffix('"')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_has_a_version() {
        for name in PARTS {
            assert!(locked(name).next().is_some(), "{name} is not in the lock file");
        }
        assert_eq!(locked("volmover").collect::<Vec<_>>(), [env!("CARGO_PKG_VERSION")]);
        assert!(verbose().lines().count() > PARTS.len());
    }
}
