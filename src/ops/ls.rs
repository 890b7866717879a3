//! `ls`: the entries of one snapshot, in restic's order and form, under a shared lock.
//!
//! It streams: a directory is printed before its subtrees are all read, and no more is held than the
//! directories on the way down and a few subtrees read ahead. A tree that cannot be read ends it, after the
//! lines before it. Nothing eligible is no failure of its own.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::Ordering;

use jiff::tz::TimeZone;

use super::Session;
use crate::error::{Error, ErrorKind, Result};
use crate::report::format::{go_mode, go_time};
use crate::repository::blob::{BlobType, Opener};
use crate::repository::index::Index;
use crate::repository::json::{push_number, push_string};
use crate::repository::lock::LockMode;
use crate::repository::quote::quote;
use crate::repository::snapshot::Snapshot;
use crate::repository::tree::{Node, NodeKind, Tree};
use crate::repository::{Id, Repository, in_parallel};
use crate::restore::select::{Filter, Selection, existing, select};
use crate::restore::subtree;

/// Text is handed out in pieces of about so many bytes.
const PIECE_BYTES: usize = 64 << 10;
/// Subtrees are read ahead up to so many bytes.
const AHEAD_BYTES: u64 = 4 << 20;

/// How to list.
#[derive(Debug, Clone)]
pub struct LsOptions {
    /// Only what is below this folder of the snapshot (restic's `ID:folder`).
    pub subfolder: Option<String>,
    /// JSON lines instead of paths.
    pub json: bool,
    /// The text goes to a terminal: paths that could control it are quoted, as restic does there.
    pub terminal: bool,
    /// The zone of this process, which names the snapshot's.
    pub zone: TimeZone,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// So many entries were listed.
    Listed(u64),
    /// No snapshot is eligible.
    NothingEligible,
}

/// Lists the selected snapshot into the monitor's output.
pub fn run(
    session: &Session<'_>,
    selection: &Selection,
    filter: &Filter,
    options: &LsOptions,
) -> Result<Outcome> {
    session.locked(LockMode::Shared, |_| {
        let repository = &session.repository;
        let snapshots = repository.snapshots()?;
        let Some((id, mut snapshot)) = select(&snapshots, selection, filter)? else {
            session.monitor.warn(&existing(&snapshots));
            return Ok(Outcome::NothingEligible);
        };
        drop(snapshots);
        let index = repository.load_index()?;
        if let Some(folder) = &options.subfolder {
            snapshot.tree = subtree(repository, &index, snapshot.tree, folder)?;
        }
        let mut page = Page { session, options, text: Vec::new(), listed: 0 };
        page.head(&id, &snapshot);
        let listed = walk(repository, &index, snapshot.tree, &mut page);
        page.flush();
        listed.map(|()| Outcome::Listed(page.listed))
    })
}

/// A directory that is being listed.
struct Level {
    path: Vec<u8>,
    nodes: std::vec::IntoIter<Node>,
    ahead: VecDeque<Tree>,
}

fn walk(repository: &Repository, index: &Index, root: Id, page: &mut Page<'_>) -> Result<()> {
    let opener = Mutex::new(Vec::new());
    let root = repository.read_tree(index, &root, &mut repository.opener()?)?;
    let mut levels = vec![Level { path: Vec::new(), nodes: root.nodes.into_iter(), ahead: VecDeque::new() }];
    while let Some(level) = levels.last_mut() {
        if page.session.stop.load(Ordering::Relaxed) {
            return Err(Error::new(ErrorKind::Interrupted, "ls interrupted"));
        }
        let Some(node) = level.nodes.next() else {
            levels.pop();
            continue;
        };
        let path = [level.path.as_slice(), b"/", &node.name].concat();
        page.node(&path, &node);
        if let Some(subtree) = node.subtree.filter(|_| node.kind == NodeKind::Dir) {
            if level.ahead.is_empty() {
                level.ahead = read_ahead(repository, index, &opener, subtree, level.nodes.as_slice())?.into();
            }
            let Some(tree) = level.ahead.pop_front() else { continue };
            levels.push(Level { path, nodes: tree.nodes.into_iter(), ahead: VecDeque::new() });
        }
    }
    Ok(())
}

/// This tree, and those of the directories that follow it, many at once.
fn read_ahead(
    repository: &Repository,
    index: &Index,
    openers: &Mutex<Vec<Opener>>,
    first: Id,
    rest: &[Node],
) -> Result<Vec<Tree>> {
    let plain_bytes =
        |id: &Id| index.lookup(BlobType::Tree, id).map_or(0, |location| location.extent.plain_bytes());
    let connections = repository.backend().connections();
    let followers = rest.iter().filter(|node| node.kind == NodeKind::Dir).filter_map(|node| node.subtree);
    let mut left = AHEAD_BYTES.saturating_sub(plain_bytes(&first));
    let mut ids = vec![first];
    for id in followers.take(connections.saturating_sub(1)) {
        let bytes = plain_bytes(&id);
        if bytes > left {
            break;
        }
        left -= bytes;
        ids.push(id);
    }
    let lock = || openers.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    in_parallel(&ids, connections, |id| {
        let kept = lock().pop();
        let mut opener = kept.map_or_else(|| repository.opener(), Ok)?;
        let tree = repository.read_tree(index, id, &mut opener);
        lock().push(opener);
        tree
    })
}

/// The lines, collected into pieces.
struct Page<'a> {
    session: &'a Session<'a>,
    options: &'a LsOptions,
    text: Vec<u8>,
    listed: u64,
}

impl Page<'_> {
    fn head(&mut self, id: &Id, snapshot: &Snapshot) {
        if self.options.json {
            snapshot.encode_listed(id, &mut self.text);
            self.text.pop();
            self.text.extend_from_slice(b",\"message_type\":\"snapshot\",\"struct_type\":\"snapshot\"}\n");
            return;
        }
        let time = snapshot.time;
        let time = go_time(time.seconds, time.nanoseconds, time.offset_seconds, &self.options.zone);
        let (short, paths) = (id.short(), snapshot.paths.join(" "));
        let (user, host) = (&snapshot.username, &snapshot.hostname);
        let line = format!("snapshot {short} of [{paths}] at {time} by {user}@{host} filtered by []:\n");
        self.text.extend_from_slice(line.as_bytes());
    }

    fn node(&mut self, path: &[u8], node: &Node) {
        self.listed += 1;
        if self.options.json {
            push_node(&mut self.text, path, node);
        } else if self.options.terminal && controls_a_terminal(path) {
            self.text.push(b'"');
            self.text.extend_from_slice(&quote(path));
            self.text.push(b'"');
        } else {
            self.text.extend_from_slice(path);
        }
        self.text.push(b'\n');
        if self.text.len() >= PIECE_BYTES {
            self.flush();
        }
    }

    fn flush(&mut self) {
        self.session.monitor.output_bytes(&self.text);
        self.text.clear();
    }
}

fn controls_a_terminal(path: &[u8]) -> bool {
    std::str::from_utf8(path).map_or(true, |text| text.chars().any(char::is_control))
}

fn push_node(out: &mut Vec<u8>, path: &[u8], node: &Node) {
    let number = |out: &mut Vec<u8>, before: &[u8], value: u64| {
        out.extend_from_slice(before);
        push_number(out, value);
    };
    out.extend_from_slice(b"{\"name\":");
    push_string(out, &node.name);
    out.extend_from_slice(b",\"type\":");
    push_string(out, node.kind.as_str().as_bytes());
    out.extend_from_slice(b",\"path\":");
    push_string(out, path);
    number(out, b",\"uid\":", node.uid.into());
    number(out, b",\"gid\":", node.gid.into());
    if node.kind == NodeKind::File {
        number(out, b",\"size\":", node.size);
    }
    if node.mode != 0 {
        number(out, b",\"mode\":", node.mode.into());
    }
    out.extend_from_slice(b",\"permissions\":");
    push_string(out, go_mode(node.mode).as_bytes());
    for (before, time) in [
        (&b",\"mtime\":\""[..], node.mtime),
        (b"\",\"atime\":\"", node.atime),
        (b"\",\"ctime\":\"", node.ctime),
    ] {
        out.extend_from_slice(before);
        time.format_into(out);
    }
    out.push(b'"');
    if node.inode != 0 {
        number(out, b",\"inode\":", node.inode);
    }
    out.extend_from_slice(b",\"message_type\":\"node\",\"struct_type\":\"node\"}");
}
