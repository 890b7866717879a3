//! Whose snapshots a run works on: host, path and tags, and which snapshot it restores.
//!
//! A source and its destination share these values through one Secret, so they are never guessed from the
//! machine: the host is `volsync` unless told, and the path is `DATA_DIR`.

use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::env::{Lookup, invalid};
use super::operation::Operation;
use super::values::{self, Parsed};
use super::variables::{
    DATA_DIR, MOVER_HOST, MOVER_NAME, MOVER_NAMESPACE, MOVER_PATH, MOVER_SNAPSHOT, MOVER_TAGS, RESTIC_HOST,
    RESTORE_AS_OF, SELECT_PREVIOUS,
};
use super::verify::LATEST_EACH;
use crate::error::{Error, Result};

/// Host, path and tags of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The host that a snapshot names and that selections look for.
    pub host: Wanted,
    /// Whether the host was set; operations that see everything filter only then.
    pub host_is_set: bool,
    /// The path that a snapshot names and that selections look for.
    pub path: Wanted,
    /// Whether the path was set.
    pub path_is_set: bool,
    /// Tags of the snapshot.
    pub tags: Vec<String>,
    /// The name of the object that this run serves.
    pub name: Option<String>,
    /// Its namespace.
    pub namespace: Option<String>,
}

/// A value to look for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// `*`
    Any,
    /// Exactly this one.
    Exactly(String),
}

/// Which snapshot is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SnapshotChoice {
    /// An id or its first digits, in lower case; never filtered by host and path.
    Id(String),
    /// Counted from the newest of host and path.
    Latest {
        /// Only snapshots that are not younger, compared in whole seconds.
        as_of: Option<Timestamp>,
        /// How many to pass over.
        back: u64,
    },
}

impl Wanted {
    /// The value to filter by; none: everything fits.
    #[must_use]
    pub fn filter(&self) -> Option<&str> {
        match self {
            Self::Any => None,
            Self::Exactly(value) => Some(value),
        }
    }

    /// Whether `value` fits.
    #[must_use]
    pub fn fits(&self, value: &str) -> bool {
        self.filter().is_none_or(|wanted| wanted == value)
    }
}

impl Identity {
    /// The host for operations that see everything and filter only by what is set.
    #[must_use]
    pub fn host_if_set(&self) -> Option<&str> {
        self.host.filter().filter(|_| self.host_is_set)
    }

    /// The path for them.
    #[must_use]
    pub fn path_if_set(&self) -> Option<&str> {
        self.path.filter().filter(|_| self.path_is_set)
    }

    /// From the variables.
    ///
    /// # Errors
    /// Placeholders that cannot be filled, a path that is not absolute, `*` where a backup must record a value.
    pub fn parse(lookup: &Lookup, operations: &[Operation]) -> Result<Self> {
        let name = lookup.text(&MOVER_NAME)?.map(str::to_owned);
        let namespace = lookup.text(&MOVER_NAMESPACE)?.map(str::to_owned);
        let host = match (lookup.text(&MOVER_HOST)?, lookup.text(&RESTIC_HOST)?) {
            (Some(template), _) => Some(filled(template, name.as_deref(), namespace.as_deref())?),
            (None, host) => host.map(str::to_owned),
        };
        let path = lookup.parse(&MOVER_PATH, path)?;
        let identity = Self {
            host_is_set: host.is_some(),
            host: wanted(host.unwrap_or_else(|| "volsync".to_owned())),
            path_is_set: path.is_some(),
            path: match path {
                Some(path) => wanted(path),
                None => Wanted::Exactly(absolute(&data_dir(lookup))?),
            },
            tags: lookup.commas(&MOVER_TAGS)?,
            name,
            namespace,
        };
        if operations.contains(&Operation::Backup) {
            let records = [(&MOVER_HOST, &identity.host), (&MOVER_PATH, &identity.path)];
            if let Some((variable, _)) = records.into_iter().find(|(_, wanted)| **wanted == Wanted::Any) {
                return Err(invalid(variable, "*", "one value for backup, which records it"));
            }
        }
        Ok(identity)
    }
}

impl SnapshotChoice {
    /// From `MOVER_SNAPSHOT`, else from `RESTORE_AS_OF` and `SELECT_PREVIOUS`; and the folder of it that is
    /// meant (restic's `ID:folder`), if not all of it is. Only verify takes `latest-each`, and asks
    /// `VerifyConfig` for it.
    pub fn parse(lookup: &Lookup, operations: &[Operation]) -> Result<(Self, Option<String>)> {
        let time = |text: &str| {
            text.parse().map_err(|_| "a time such as 2026-02-28T13:30:00Z (RFC 3339)".to_owned())
        };
        let as_of = lookup.parse(&RESTORE_AS_OF, time)?;
        let back =
            lookup.parse(&SELECT_PREVIOUS, |text| values::number(text, 0..=u64::MAX))?.unwrap_or_default();
        let takes_each = operations.contains(&Operation::Verify)
            && ![Operation::Restore, Operation::Ls, Operation::Stats]
                .iter()
                .any(|one| operations.contains(one));
        let named = lookup.parse(&MOVER_SNAPSHOT, |text| match text {
            LATEST_EACH if takes_each => Ok((Self::Latest { as_of, back }, None)),
            _ => snapshot(text),
        })?;
        Ok(named.unwrap_or((Self::Latest { as_of, back }, None)))
    }
}

/// `DATA_DIR` as it was given.
pub(super) fn data_dir(lookup: &Lookup) -> PathBuf {
    lookup.path(&DATA_DIR).unwrap_or_else(|| PathBuf::from("/data"))
}

fn wanted(text: String) -> Wanted {
    if text == "*" { Wanted::Any } else { Wanted::Exactly(text) }
}

fn snapshot(text: &str) -> Parsed<(SnapshotChoice, Option<String>)> {
    let refused =
        || "an id or its first digits, latest or latest~n, each with :FOLDER for a part of it".to_owned();
    let latest = |back| SnapshotChoice::Latest { as_of: None, back };
    let (text, folder) = match text.split_once(':') {
        Some((_, "")) => return Err(refused()),
        Some((text, folder)) => (text, Some(folder.to_owned())),
        None => (text, None),
    };
    let choice = match text.strip_prefix("latest") {
        Some("") => Ok(latest(0)),
        Some(tail) => {
            let back = tail.strip_prefix('~').and_then(|back| values::number(back, 0..=u64::MAX).ok());
            back.map(latest).ok_or_else(refused)
        }
        None => values::id_prefix(text, 1).map(SnapshotChoice::Id).ok_or_else(refused),
    };
    Ok((choice?, folder))
}

/// A host with `{name}` and `{namespace}` filled in.
fn filled(template: &str, name: Option<&str>, namespace: Option<&str>) -> Result<String> {
    let unset = |variable: &str, place: &str| {
        Error::usage("a placeholder cannot be filled")
            .at(format!("{}={template}", MOVER_HOST.name))
            .because(format!("{variable} is not set"))
            .then(format!("Set {variable}, or leave out {place}"))
    };
    let mut host = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        let (place, variable, value, tail) =
            match (after.strip_prefix("name}"), after.strip_prefix("namespace}")) {
                (Some(tail), _) => ("{name}", MOVER_NAME.name, name, tail),
                (_, Some(tail)) => ("{namespace}", MOVER_NAMESPACE.name, namespace, tail),
                _ => break,
            };
        host.push_str(before);
        host.push_str(value.ok_or_else(|| unset(variable, place))?);
        rest = tail;
    }
    if rest.contains(['{', '}']) {
        return Err(invalid(
            &MOVER_HOST,
            template,
            "a host, with {name} and {namespace} as the only placeholders",
        ));
    }
    Ok(host + rest)
}

fn path(text: &str) -> Parsed<String> {
    match text {
        "*" => Ok(text.to_owned()),
        path if path.starts_with('/') => Ok(clean(path)),
        _ => Err("an absolute path, or *".to_owned()),
    }
}

/// A directory's path as snapshots record it: absolute and clean.
fn absolute(directory: &Path) -> Result<String> {
    let path = std::path::absolute(directory).map_err(|cause| {
        Error::usage("no absolute path")
            .at(format!("{}={}", DATA_DIR.name, directory.display()))
            .because(cause)
    })?;
    Ok(clean(&path.to_string_lossy()))
}

/// `.`, `..` and doubled slashes resolved by text alone, as Go's `filepath.Clean` does.
fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::ffi::OsString;

    use super::super::env::Values;
    use super::super::operation::Operation::{Backup, Restore, Snapshots, Verify};
    use super::*;

    fn lookup(pairs: &[(&str, &str)]) -> Lookup {
        let environment =
            pairs.iter().map(|(name, value)| ((*name).to_owned(), OsString::from(value))).collect();
        Lookup::new(Values::new(), environment).unwrap()
    }

    fn identity(pairs: &[(&str, &str)]) -> Identity {
        Identity::parse(&lookup(pairs), &[Restore, Snapshots]).unwrap()
    }

    fn exactly(text: &str) -> Wanted {
        Wanted::Exactly(text.to_owned())
    }

    #[test]
    fn defaults() {
        let identity = identity(&[]);
        assert_eq!((identity.host, identity.host_is_set), (exactly("volsync"), false));
        assert_eq!((identity.path, identity.path_is_set), (exactly("/data"), false));
    }

    #[test]
    fn hosts() {
        assert_eq!(identity(&[("RESTIC_HOST", "r")]).host, exactly("r"));
        assert_eq!(identity(&[("RESTIC_HOST", "r"), ("MOVER_HOST", "m")]).host, exactly("m"));
        assert_eq!(identity(&[("RESTIC_HOST", "{name}")]).host, exactly("{name}"));
        let filled = identity(&[
            ("MOVER_HOST", "{namespace}-{name}"),
            ("MOVER_NAME", "app"),
            ("MOVER_NAMESPACE", "ns"),
        ]);
        assert_eq!((filled.host, filled.host_is_set), (exactly("ns-app"), true));
        assert!(identity(&[("MOVER_HOST", "*")]).host_is_set);
        assert_eq!(identity(&[("MOVER_HOST", "*")]).host, Wanted::Any);
    }

    #[test]
    fn placeholders() {
        let host = |template: &str| filled(template, Some("app"), Some("{name}"));
        assert_eq!(host("x-{name}-{name}").unwrap(), "x-app-app");
        assert_eq!(host("{namespace}/{name}").unwrap(), "{name}/app", "a value is not filled again");
        for template in ["{pod}", "a{", "}"] {
            let error = host(template).unwrap_err().to_string();
            assert!(error.contains(&format!("MOVER_HOST={template}. Accepted: a host, with")), "{error}");
        }
        let error = filled("a-{namespace}", Some("app"), None).unwrap_err();
        assert_eq!(error.kind.exit_code(), 2);
        assert!(
            error.to_string().contains("MOVER_HOST=a-{namespace}: MOVER_NAMESPACE is not set. Set"),
            "{error}"
        );
        assert!(filled("{name}", None, Some("x")).unwrap_err().to_string().contains("MOVER_NAME is not set"));
    }

    #[test]
    fn paths() {
        assert_eq!(identity(&[("DATA_DIR", "/srv/./x/../data//")]).path, exactly("/srv/data"));
        assert_eq!(identity(&[("DATA_DIR", "/")]).path, exactly("/"));
        let here = std::env::current_dir().unwrap();
        assert_eq!(identity(&[("DATA_DIR", ".")]).path, exactly(here.to_str().unwrap()));
        let other = identity(&[("DATA_DIR", "/restored"), ("MOVER_PATH", "/data/")]);
        assert_eq!((other.path, other.path_is_set), (exactly("/data"), true));
        assert_eq!(identity(&[("MOVER_PATH", "*")]).path.filter(), None);
        let error = Identity::parse(&lookup(&[("MOVER_PATH", "data")]), &[Restore]).unwrap_err().to_string();
        assert_eq!(error, "invalid value: MOVER_PATH=data. Accepted: an absolute path, or *");
        assert!(exactly("/data").fits("/data") && !exactly("/data").fits("/data2") && Wanted::Any.fits("x"));
    }

    #[test]
    fn a_backup_records_one_host_and_path() {
        for name in ["MOVER_HOST", "RESTIC_HOST", "MOVER_PATH"] {
            let error = Identity::parse(&lookup(&[(name, "*")]), &[Restore, Backup]).unwrap_err();
            assert_eq!(error.kind.exit_code(), 2);
            assert!(error.to_string().contains("=*. Accepted: one value for backup"), "{error}");
            assert!(Identity::parse(&lookup(&[(name, "*")]), &[Restore]).is_ok());
        }
    }

    #[test]
    fn snapshots() {
        let choice = |pairs: &[(&str, &str)]| SnapshotChoice::parse(&lookup(pairs), &[Restore]);
        let latest = |as_of: Option<&str>, back| {
            Ok((SnapshotChoice::Latest { as_of: as_of.map(|time| time.parse().unwrap()), back }, None))
        };
        assert_eq!(choice(&[]), latest(None, 0));
        assert_eq!(choice(&[("RESTORE_AS_OF", ""), ("SELECT_PREVIOUS", "0")]), latest(None, 0));
        let time = "2026-02-28T13:30:00+01:00";
        assert_eq!(choice(&[("RESTORE_AS_OF", time), ("SELECT_PREVIOUS", "2")]), latest(Some(time), 2));
        assert_eq!(choice(&[("MOVER_SNAPSHOT", "latest"), ("SELECT_PREVIOUS", "2")]), latest(None, 0));
        assert_eq!(choice(&[("MOVER_SNAPSHOT", "latest~3")]), latest(None, 3));
        assert_eq!(choice(&[("MOVER_SNAPSHOT", "AB12")]), Ok((SnapshotChoice::Id("ab12".to_owned()), None)));
        let (part, folder) = choice(&[("MOVER_SNAPSHOT", "ab12:/srv/a:b")]).unwrap();
        assert_eq!((part, folder.as_deref()), (SnapshotChoice::Id("ab12".to_owned()), Some("/srv/a:b")));
        assert_eq!(choice(&[("MOVER_SNAPSHOT", "latest~1:sub")]).unwrap().1.as_deref(), Some("sub"));
        let refused = [
            ("MOVER_SNAPSHOT", "latest~"),
            ("MOVER_SNAPSHOT", "latest~-1"),
            ("MOVER_SNAPSHOT", "latest-each"),
            ("MOVER_SNAPSHOT", "ab12:"),
            ("MOVER_SNAPSHOT", ":sub"),
            ("MOVER_SNAPSHOT", "xyz"),
            ("RESTORE_AS_OF", "yesterday"),
            ("RESTORE_AS_OF", "2026-02-28"),
            ("RESTORE_AS_OF", "2026-02-28T13:30:00"),
            ("SELECT_PREVIOUS", "-1"),
            ("SELECT_PREVIOUS", "one"),
        ];
        for (name, value) in refused {
            let error = choice(&[(name, value)]).unwrap_err();
            assert_eq!(error.kind.exit_code(), 2);
            assert!(
                error.to_string().starts_with(&format!("invalid value: {name}={value}. Accepted: a")),
                "{error}"
            );
        }
        let each = lookup(&[("MOVER_SNAPSHOT", "latest-each")]);
        assert_eq!(SnapshotChoice::parse(&each, &[Backup, Verify]), latest(None, 0));
        assert!(SnapshotChoice::parse(&each, &[Verify, Restore]).is_err());
    }
}
