//! `MOVER_POLICY_FILE`: policies for many identities, a line each: `<host glob> <path glob> <forget options>`.
//!
//! The first line that matches a snapshot's host and all its paths counts for it; what matches none is left
//! alone. `*` matches slashes too. Empty lines and lines that begin with `#` are passed over.

use super::options::{ForgetOptions, PruneLimits};
use crate::error::{Error, Result};
use crate::pattern::Glob;
use crate::repository::snapshot::Snapshot;

/// A policy file, read.
#[derive(Debug, Clone, PartialEq)]
pub struct PolicyFile {
    /// Its lines, in order.
    pub lines: Vec<PolicyLine>,
}

/// One line of it.
#[derive(Debug, Clone, PartialEq)]
pub struct PolicyLine {
    /// Which hosts.
    pub host: Glob,
    /// Which paths.
    pub path: Glob,
    /// What to do with their snapshots.
    pub options: ForgetOptions,
}

impl PolicyFile {
    /// Reads `text`; `source` names the file, for errors.
    ///
    /// # Errors
    /// A usage error with the number of the line; also for a file without any.
    pub fn parse(text: &str, source: &str) -> Result<Self> {
        let mut lines = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if !line.is_empty() && !line.starts_with('#') {
                lines.push(PolicyLine::parse(line, &format!("{source} line {number}"))?);
            }
        }
        if lines.is_empty() {
            return Err(Error::usage("no policy was specified, no snapshots will be removed")
                .at(source)
                .then("Write lines of <host glob> <path glob> <forget options>"));
        }
        Ok(Self { lines })
    }

    /// The place of the line that counts for a snapshot.
    #[must_use]
    pub fn line_of(&self, snapshot: &Snapshot) -> Option<usize> {
        self.lines.iter().position(|line| line.matches(snapshot))
    }
}

impl PolicyLine {
    fn parse(line: &str, source: &str) -> Result<Self> {
        let mut words = line.splitn(2, char::is_whitespace);
        let host = words.next().unwrap_or_default();
        let rest = words.next().unwrap_or_default().trim_start();
        let (path, options) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        if path.is_empty() {
            return Err(Error::usage("a line of the policy file is not whole")
                .at(source)
                .then("Write <host glob> <path glob> <forget options>"));
        }
        let glob = |text: &str| {
            Glob::parse(text).map_err(|cause| {
                Error::usage("a line of the policy file cannot be read").at(source).because(cause)
            })
        };
        let line =
            Self { host: glob(host)?, path: glob(path)?, options: ForgetOptions::parse(options, source)? };
        let said_once = &line.options;
        if said_once.prune
            || said_once.dry_run
            || said_once.compact
            || said_once.prune_limits != PruneLimits::default()
        {
            return Err(Error::usage("an option that is for the whole run")
                .at(source)
                .then("Use the operation prune and MOVER_DRY_RUN instead"));
        }
        if !said_once.filter.hosts.is_empty() || !said_once.filter.paths.is_empty() {
            return Err(Error::usage("--host and --path are what a line begins with").at(source));
        }
        Ok(line)
    }

    fn matches(&self, snapshot: &Snapshot) -> bool {
        self.host.matches(&snapshot.hostname) && snapshot.paths.iter().all(|path| self.path.matches(path))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn snapshot(host: &str, paths: &[&str]) -> Snapshot {
        let paths = paths.iter().map(|&path| path.to_owned()).collect();
        Snapshot { hostname: host.to_owned(), paths, ..Snapshot::default() }
    }

    #[test]
    fn the_first_line_that_matches_counts() {
        let text = "# databases\nprod-* /data/db*  --keep-daily 7 --keep-weekly 4\n\nprod-*\t/data*\t-l 3\n* /data -l 1\n";
        let file = PolicyFile::parse(text, "MOVER_POLICY_FILE=/p").unwrap();
        assert_eq!(file.lines.len(), 3);
        assert_eq!(
            file.lines.first().unwrap().options.policy.to_string(),
            "keep 7 daily, 4 weekly snapshots"
        );
        for (host, paths, line) in [
            ("prod-a", &["/data/db/x"][..], Some(0)),
            ("prod-a", &["/data/db", "/data/dc"], Some(1)),
            ("prod-a", &["/other"], None),
            ("test", &["/data"], Some(2)),
            ("test", &["/data/x"], None),
        ] {
            assert_eq!(file.line_of(&snapshot(host, paths)), line, "{host} {paths:?}");
        }
    }

    #[test]
    fn wrong_lines_are_named() {
        for (text, what) in [
            ("", "no policy was specified, no snapshots will be removed: F. Write lines"),
            ("# nothing\n\n", "no policy was specified"),
            ("* * -l 1\nhost", "a line of the policy file is not whole: F line 2"),
            ("* *", "no policy was specified, no snapshots will be removed: F line 1"),
            ("* * --keep-last", "an option lacks its value: F line 1: --keep-last"),
            ("[ * -l 1", "a line of the policy file cannot be read: F line 1"),
            ("* * -l 1 --prune", "an option that is for the whole run: F line 1"),
            ("* * -l 1 --max-unused 0", "an option that is for the whole run: F line 1"),
            ("* * -l 1 --host h", "--host and --path are what a line begins with: F line 1"),
        ] {
            let error = PolicyFile::parse(text, "F").unwrap_err();
            assert_eq!(error.kind.exit_code(), 2);
            assert!(error.to_string().starts_with(what), "{text}: {error}");
        }
    }
}
