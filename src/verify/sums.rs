//! `SHA256SUMS`: a list of files and their sums, as `sha256sum` writes it, held against a snapshot.
//!
//! Paths are relative to the snapshot's root. A listed file is read from the repository in its order, so its
//! sum is of what a restore would write. What the list does not name is not looked at.

use std::fmt::Write;
use std::path::Path;

use crate::error::{Error, ErrorKind, Result};
use crate::repository::blob::BlobType;
use crate::repository::id::Hasher;
use crate::repository::index::Index;
use crate::repository::tree::{Node, NodeKind};
use crate::repository::{Id, Repository};

/// A list that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sums {
    /// The file that holds it.
    pub file: String,
    list: Vec<(Vec<u8>, Id)>,
}

impl Sums {
    /// Reads a list: a usage error for one that cannot be read, or that names nothing.
    pub fn read(file: &Path) -> Result<Self> {
        let place = file.display().to_string();
        let refused = |cause: String| {
            Error::usage("cannot read the list of sums")
                .at(format!("MOVER_VERIFY_SHA256SUMS={place}"))
                .because(cause)
                .then("Make it with sha256sum, in the folder that is backed up")
        };
        let bytes = std::fs::read(file).map_err(|cause| refused(cause.to_string()))?;
        let mut list = Vec::new();
        for (number, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
            if line.is_empty() || line.starts_with(b"#") {
                continue;
            }
            let entry = parse(line).ok_or_else(|| {
                refused(format!("line {} is no sum and relative path of sha256sum", number + 1))
            })?;
            list.push(entry);
        }
        if list.is_empty() {
            return Err(refused("it names no file".to_owned()));
        }
        Ok(Self { file: place, list })
    }

    /// Whether all listed files have their sums, and what is to be said of it. A file that cannot be read
    /// counts as one that differs; a store out of reach is an error.
    pub(super) fn check(
        &self,
        repository: &Repository,
        index: &Index,
        tree: Id,
        go_on: &dyn Fn() -> Result<()>,
    ) -> Result<(bool, String)> {
        let mut wrong = Vec::new();
        for (path, sum) in &self.list {
            go_on()?;
            let what = match sum_of(repository, index, tree, path, go_on) {
                Ok(Some(found)) if found == *sum => continue,
                Ok(Some(_)) => "differs",
                Ok(None) => "is missing",
                Err(error) if error.kind == ErrorKind::Damaged => "cannot be read",
                Err(error) => return Err(error),
            };
            wrong.push(format!("{} {what}", String::from_utf8_lossy(path)));
        }
        let all = self.list.len();
        if wrong.is_empty() {
            return Ok((true, format!("{all} files have the sums of {}", self.file)));
        }
        let mut text = format!("{} of {all} files: ", wrong.len());
        for (number, one) in wrong.iter().take(3).enumerate() {
            let _ = write!(text, "{}{one}", if number > 0 { ", " } else { "" });
        }
        text.push_str(if wrong.len() > 3 { ", …" } else { "" });
        Ok((false, text))
    }
}

/// `<64 hex digits><blank><blank or *><path>`; a leading backslash says that the path is escaped.
fn parse(line: &[u8]) -> Option<(Vec<u8>, Id)> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let (escaped, line) = match line.strip_prefix(b"\\") {
        Some(rest) => (true, rest),
        None => (false, line),
    };
    let (sum, rest) = line.split_at_checked(64)?;
    let id: Id = std::str::from_utf8(sum).ok()?.to_ascii_lowercase().parse().ok()?;
    let path = rest.strip_prefix(b" ")?;
    let path = path.strip_prefix(b" ").or_else(|| path.strip_prefix(b"*"))?;
    let path = if escaped { unescape(path)? } else { path.to_vec() };
    let climbs = path.split(|byte| *byte == b'/').any(|part| part == b"..");
    (!path.is_empty() && !path.starts_with(b"/") && !climbs).then_some((path, id))
}

fn unescape(path: &[u8]) -> Option<Vec<u8>> {
    let mut plain = Vec::with_capacity(path.len());
    let mut bytes = path.iter();
    while let Some(byte) = bytes.next() {
        plain.push(match byte {
            b'\\' => match bytes.next()? {
                b'n' => b'\n',
                b'r' => b'\r',
                b'\\' => b'\\',
                _ => return None,
            },
            other => *other,
        });
    }
    Some(plain)
}

/// The sum of a file's content; `None` when the snapshot has no such file.
fn sum_of(
    repository: &Repository,
    index: &Index,
    tree: Id,
    path: &[u8],
    go_on: &dyn Fn() -> Result<()>,
) -> Result<Option<Id>> {
    let mut opener = repository.opener()?;
    let mut node: Option<Node> = None;
    for part in path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".") {
        let subtree = match &node {
            None => tree,
            Some(Node { kind: NodeKind::Dir, subtree: Some(subtree), .. }) => *subtree,
            Some(_) => return Ok(None),
        };
        let nodes = repository.read_tree(index, &subtree, &mut opener)?.nodes;
        let Some(found) = nodes.into_iter().find(|node| node.name.as_slice() == part) else {
            return Ok(None);
        };
        node = Some(found);
    }
    let Some(node) = node.filter(|node| node.kind == NodeKind::File) else { return Ok(None) };
    let mut hasher = Hasher::default();
    for id in node.content.as_deref().unwrap_or_default() {
        go_on()?;
        hasher.update(&repository.read_blob(index, BlobType::Data, id, &mut opener)?);
    }
    Ok(Some(hasher.finish()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn path(line: &str) -> Option<String> {
        parse(line.as_bytes()).map(|(path, _)| String::from_utf8(path).unwrap())
    }

    #[test]
    fn lines_of_sha256sum() {
        let sum = "A".repeat(64);
        assert_eq!(path(&format!("{sum}  d/text")).as_deref(), Some("d/text"));
        assert_eq!(path(&format!("{sum} *./d/text\r")).as_deref(), Some("./d/text"));
        assert_eq!(path(&format!("\\{sum}  a\\nb\\\\c")).as_deref(), Some("a\nb\\c"));
        assert_eq!(path(&format!("{sum}   two blanks")).as_deref(), Some(" two blanks"));
        for bad in ["", "x", &sum, &format!("{sum} x"), &format!("{sum}  /etc/x"), &format!("{sum}  a/../b")]
        {
            assert_eq!(path(bad), None, "{bad}");
        }
        assert_eq!(path(&format!("\\{sum}  a\\x")), None);
    }
}
