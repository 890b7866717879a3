//! Where a repository is: every form of location that restic knows, parsed.
//!
//! ```text
//! /path  path  local:path                      a directory
//! s3:http[s]://host[:port]/bucket[/prefix]     S3; the path is percent-decoded, user, query and fragment
//! s3:host[:port]/bucket[/prefix]  s3://host/…  are not used
//! rest: b2: azure: gs: swift: sftp: rclone:    recognised by name, not served yet
//! ```
//!
//! A text with a colon that is no path and has no known scheme is refused, as restic does: a mistyped scheme
//! must not create a directory. What is shown never holds a password.

use std::fmt;
use std::path::PathBuf;

use crate::error::{Error, Result};

/// What is accepted, for messages.
const ACCEPTED: &str = "Accepted: a path, local:path, s3:https://host/bucket/prefix or s3:host/bucket/prefix; \
                        a path with a colon needs local: before it";

/// Stores that restic knows and volmover does not serve yet, by scheme.
const NOT_YET: [(&str, &str); 7] = [
    ("rest", "REST server"),
    ("b2", "Backblaze B2"),
    ("azure", "Azure Blob Storage"),
    ("gs", "Google Cloud Storage"),
    ("swift", "OpenStack Swift"),
    ("sftp", "SFTP"),
    ("rclone", "rclone"),
];

/// A repository's location.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepositoryUrl {
    /// Where it is.
    pub location: Location,
    shown: String,
}

/// The store and the place in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A directory.
    Local(PathBuf),
    /// A bucket of an S3 store.
    S3(S3Location),
    /// A store that is not served yet, by its name for people.
    NotYet(&'static str),
}

/// A place in an S3 store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Location {
    /// `scheme://host[:port]`
    pub endpoint: String,
    /// The bucket.
    pub bucket: String,
    /// The folder inside it, without slashes at its ends; empty is the bucket's root.
    pub prefix: String,
}

impl RepositoryUrl {
    /// Parses the value of `RESTIC_REPOSITORY`.
    ///
    /// # Errors
    /// A usage error that names what is accepted and shows no password.
    pub fn parse(text: &str) -> Result<Self> {
        let shown = without_password(text);
        let refused = |cause: &str| {
            Error::usage("invalid value")
                .at(format!("RESTIC_REPOSITORY={shown}"))
                .because(cause)
                .then(ACCEPTED)
        };
        if text.is_empty() || text.contains('\0') {
            return Err(refused("it is empty or holds a NUL"));
        }
        let location = match text.split_once(':') {
            None => Location::Local(PathBuf::from(text)),
            Some(("local", "")) => return Err(refused("the path is missing")),
            Some(("local", path)) => Location::Local(PathBuf::from(path)),
            Some(("s3", place)) => Location::S3(S3Location::parse(place).map_err(refused)?),
            Some((scheme, _)) => match NOT_YET.iter().find(|(known, _)| *known == scheme) {
                Some((_, store)) => Location::NotYet(store),
                None if is_path(text) => Location::Local(PathBuf::from(text)),
                None => return Err(refused(&format!("unknown scheme {}", without_password(scheme)))),
            },
        };
        Ok(Self { location, shown })
    }

    /// What failures call the place: all of it, and of a store its endpoint, host with port, and host.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let mut names = vec![self.shown.clone()];
        if let Location::S3(place) = &self.location {
            let authority = place.endpoint.split_once("://").map_or("", |(_, authority)| authority);
            let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
            names.extend([place.endpoint.as_str(), authority, host].map(str::to_owned));
        }
        names
    }

    /// Refuses a store that is not served yet, by its name.
    pub fn require_served(&self) -> Result<()> {
        match self.location {
            Location::NotYet(store) => Err(Error::usage("store not supported yet")
                .at(&self.shown)
                .because(store)
                .then("Supported: local directories and S3")),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for RepositoryUrl {
    /// The location as it was given, without any password.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.shown)
    }
}

impl S3Location {
    /// What stands behind `s3:`.
    fn parse(place: &str) -> Result<Self, &'static str> {
        let (scheme, rest) = match place.split_once("://") {
            Some((scheme @ ("http" | "https"), rest)) => (scheme, rest),
            Some(("", _)) | None => ("https", place.strip_prefix("//").unwrap_or(place)),
            Some(_) => return Err("an S3 endpoint begins with http:// or https://"),
        };
        let url = place.starts_with("http://") || place.starts_with("https://");
        let rest = if url { rest.split(['?', '#']).next().unwrap_or_default() } else { rest };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let host = if url { authority.rsplit('@').next().unwrap_or_default() } else { authority };
        if host.is_empty() {
            return Err("the host is missing");
        }
        if host.contains(|character: char| character.is_whitespace() || "@\\?#%".contains(character)) {
            return Err("the host is not a name, an address or either with a port");
        }
        let path = if url {
            percent_decoded(path).ok_or("the path is not percent-encoded")?
        } else {
            path.to_owned()
        };
        let (bucket, prefix) = path.split_once('/').unwrap_or((&path, ""));
        if bucket.is_empty() {
            return Err("the bucket is missing");
        }
        let prefix = clean(prefix).ok_or("the prefix leads out of the bucket")?;
        Ok(Self { endpoint: format!("{scheme}://{host}"), bucket: bucket.to_owned(), prefix })
    }
}

/// Texts that are paths although they hold a colon: absolute, `../`, and Windows' drives, as restic has it.
fn is_path(text: &str) -> bool {
    let drive = matches!(text.as_bytes(), [letter, b':', b'/' | b'\\', ..] if letter.is_ascii_alphabetic());
    drive || ["/", "\\", "../", "..\\"].iter().any(|start| text.starts_with(start))
}

/// A path of a bucket with `.`, `..` and empty parts resolved; none if it leads out.
fn clean(path: &str) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let [high, low] = [rest.next()?, rest.next()?].map(|digit| char::from(digit).to_digit(16));
            bytes.push((high? << 4 | low?) as u8);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

/// The text with `***` for the password of `scheme://user:password@host`, also where `//` was forgotten.
fn without_password(text: &str) -> String {
    let forgotten = || ["s3:", "rest:"].iter().find_map(|scheme| Some((*scheme, text.strip_prefix(scheme)?)));
    let found = text.find("://").and_then(|at| text.split_at_checked(at + 3)).or_else(forgotten);
    let Some((scheme, rest)) = found else { return text.to_owned() };
    let authority = rest.split('/').next().unwrap_or_default();
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    // A password with an unescaped slash ends the authority early; then the last @ counts.
    let within = if authority.contains('@') || authority.rsplit(':').next().is_some_and(is_port) {
        authority
    } else {
        rest
    };
    match within.rfind('@').and_then(|at| rest.split_at_checked(at)) {
        Some((user, tail)) => match user.split_once(':') {
            Some((name, _)) => format!("{scheme}{name}:***{tail}"),
            None => text.to_owned(),
        },
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn directories() {
        let forms = [
            ("/srv/repo", "/srv/repo"),
            ("repo", "repo"),
            ("./repo/x", "./repo/x"),
            ("local:/srv/repo", "/srv/repo"),
            ("local:a:b", "a:b"),
            ("/a:b", "/a:b"),
            ("../a:b", "../a:b"),
            ("C:\\repo", "C:\\repo"),
            ("c:/repo", "c:/repo"),
            ("\\\\server\\share:x", "\\\\server\\share:x"),
            ("s3", "s3"),
        ];
        for (text, path) in forms {
            let url = RepositoryUrl::parse(text).unwrap();
            assert_eq!(url.location, Location::Local(PathBuf::from(path)), "{text}");
            assert_eq!(url.to_string(), text);
            assert_eq!(url.require_served(), Ok(()));
        }
    }

    #[test]
    fn buckets() {
        let forms = [
            ("s3:https://s3.amazonaws.com/bucket", "https://s3.amazonaws.com", "bucket", ""),
            ("s3:http://127.0.0.1:9000/bucket/a/b", "http://127.0.0.1:9000", "bucket", "a/b"),
            ("s3:http://[::1]:9000/bucket", "http://[::1]:9000", "bucket", ""),
            ("s3:s3.amazonaws.com/bucket/prefix/", "https://s3.amazonaws.com", "bucket", "prefix"),
            ("s3:host:9000/bucket", "https://host:9000", "bucket", ""),
            ("s3://host/bucket/a//./b/../c", "https://host", "bucket", "a/c"),
            ("s3:host/bucket/.", "https://host", "bucket", ""),
            ("s3:host/bucket//x", "https://host", "bucket", "x"),
            ("s3:https://host/bucket/a%20b%2Fc?x=1#y", "https://host", "bucket", "a b/c"),
            ("s3:host/bucket/a%20b", "https://host", "bucket", "a%20b"),
            ("s3:https://key:secret@host/bucket", "https://host", "bucket", ""),
            ("s3:httpbin.example/bucket", "https://httpbin.example", "bucket", ""),
        ];
        for (text, endpoint, bucket, prefix) in forms {
            let [endpoint, bucket, prefix] = [endpoint, bucket, prefix].map(str::to_owned);
            let expected = Location::S3(S3Location { endpoint, bucket, prefix });
            let url = RepositoryUrl::parse(text).unwrap();
            assert_eq!(url.location, expected, "{text}");
            assert!(!format!("{url} {url:?}").contains("secret"));
        }
    }

    #[test]
    fn stores_of_later() {
        let forms = [
            ("rest:https://host:8000/path/", "REST server"),
            ("b2:bucket:prefix", "Backblaze B2"),
            ("azure:container:/p", "Azure Blob Storage"),
            ("gs:bucket:/p", "Google Cloud Storage"),
            ("swift:container:/p", "OpenStack Swift"),
            ("sftp:user@host:/srv/repo", "SFTP"),
            ("rclone:remote:path", "rclone"),
        ];
        for (text, store) in forms {
            let url = RepositoryUrl::parse(text).unwrap();
            assert_eq!(url.location, Location::NotYet(store));
            let error = url.require_served().unwrap_err();
            assert_eq!(error.kind.exit_code(), 2);
            assert!(error.to_string().contains(&format!("not supported yet: {text}: {store}. ")), "{error}");
        }
    }

    #[test]
    fn refusals() {
        let forms = [
            ("", "empty"),
            ("local:", "path is missing"),
            ("foo:bar", "unknown scheme foo"),
            ("foo://bar/x", "unknown scheme foo"),
            ("S3:host/bucket", "unknown scheme S3"),
            ("./a:b", "unknown scheme ./a"),
            ("a/b:c", "unknown scheme a/b"),
            ("s3:", "host is missing"),
            ("s3:host", "bucket is missing"),
            ("s3:host/", "bucket is missing"),
            ("s3:http://host", "bucket is missing"),
            ("s3:https:///bucket", "host is missing"),
            ("s3:///bucket", "host is missing"),
            ("s3:ftp://host/bucket", "http:// or https://"),
            ("s3:key:secret@host/bucket", "host is not a name"),
            ("s3:host/bucket/../..", "leads out"),
            ("s3:https://host/bucket/%zz", "percent"),
            ("/a\0b", "NUL"),
        ];
        for (text, cause) in forms {
            let error = RepositoryUrl::parse(text).unwrap_err();
            assert_eq!(error.kind.exit_code(), 2, "{text}");
            let line = error.to_string();
            assert!(
                line.contains(cause) && line.starts_with("invalid value: RESTIC_REPOSITORY="),
                "{text}: {line}"
            );
        }
    }

    #[test]
    fn passwords_are_not_shown() {
        let forms = [
            ("rest:http://u:p@h/x", "rest:http://u:***@h/x"),
            ("rest:https://u:p:q@h:1/x@y", "rest:https://u:***@h:1/x@y"),
            ("rest:http://u:p/q@h/x", "rest:http://u:***@h/x"),
            ("rest:http://h:8000/x@y", "rest:http://h:8000/x@y"),
            ("rest:http://u@h/x", "rest:http://u@h/x"),
            ("sftp://u:p@h//srv", "sftp://u:***@h//srv"),
            ("foo://u:p@h/x", "foo://u:***@h/x"),
            ("s3:key:secret@host/bucket", "s3:key:***@host/bucket"),
            ("s3:host:9000/bucket@x", "s3:host:9000/bucket@x"),
            ("rest:u:p@h/x", "rest:u:***@h/x"),
            ("/plain/path@x", "/plain/path@x"),
        ];
        for (text, shown) in forms {
            assert_eq!(without_password(text), shown);
        }
        let error = RepositoryUrl::parse("foo://u:hunter2@h/x").unwrap_err();
        assert!(!error.to_string().contains("hunter2"), "{error}");
        assert!(
            !format!("{:?}", RepositoryUrl::parse("rest:http://u:hunter2@h/x").unwrap()).contains("hunter2")
        );
    }
}
