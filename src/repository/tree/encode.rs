//! Nodes to JSON: restic's fields in restic's order, absent where restic leaves them out.
//!
//! No value stands in between: a directory of 100 000 entries is written at the speed of memory. A node's head is
//! all of it before its content; what stands in a tree of before can be compared with it (`text.rs`).

use super::{Node, Tree, Xattr};
use crate::repository::json::{push_base64, push_id, push_number, push_string};
use crate::repository::quote::quote;
use crate::repository::time::NodeTime;

impl Tree {
    /// The tree's blob: `{"nodes":[…]}` and a line feed.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        encode_into(&self.nodes, &mut out);
        out
    }
}

/// Appends the blob of the tree of `nodes`, whose names the caller keeps strictly ascending.
///
/// # Panics
/// When they do not ascend: no tree is better than one that restic refuses.
pub fn encode_into(nodes: &[Node], out: &mut Vec<u8>) {
    assert!(nodes.is_sorted_by(|left, right| left.name < right.name), "names ascend");
    push_tree(out, nodes.iter(), |out, node| encode_node_into(node, out));
}

/// The blob of a tree begins with this.
pub(super) const BEGIN: &[u8] = b"{\"nodes\":[";
/// And ends with this.
pub(super) const END: &[u8] = b"]}\n";
/// What follows the head of a file.
pub(super) const CONTENT: &[u8] = b",\"content\":[";

/// Appends the blob of a tree whose nodes are written already; the caller keeps their names strictly ascending.
pub fn join_into<'a>(nodes: impl Iterator<Item = &'a [u8]>, out: &mut Vec<u8>) {
    push_tree(out, nodes, Vec::extend_from_slice);
}

fn push_tree<N>(out: &mut Vec<u8>, nodes: impl Iterator<Item = N>, push_node: impl Fn(&mut Vec<u8>, N)) {
    out.extend_from_slice(BEGIN);
    for (place, node) in nodes.enumerate() {
        if place > 0 {
            out.push(b',');
        }
        push_node(out, node);
    }
    out.extend_from_slice(END);
}

/// Appends a node.
pub fn encode_node_into(node: &Node, out: &mut Vec<u8>) {
    encode_head_into(node, out);
    push_content(out, node);
    if let Some(subtree) = &node.subtree {
        out.extend_from_slice(b",\"subtree\":");
        push_id(out, subtree);
    }
    text_unless_empty(out, b",\"error\":", node.error.as_bytes());
    out.push(b'}');
}

/// Appends what a node says before its content.
pub fn encode_head_into(node: &Node, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"name\":");
    push_string(out, &quote(&node.name));
    out.extend_from_slice(b",\"type\":\"");
    out.extend_from_slice(node.kind.as_str().as_bytes());
    out.push(b'"');
    number_unless_zero(out, b",\"mode\":", node.mode.into());
    time(out, b",\"mtime\":\"", node.mtime);
    time(out, b"\",\"atime\":\"", node.atime);
    time(out, b"\",\"ctime\":\"", node.ctime);
    out.extend_from_slice(b"\",\"uid\":");
    push_number(out, node.uid.into());
    out.extend_from_slice(b",\"gid\":");
    push_number(out, node.gid.into());
    text_unless_empty(out, b",\"user\":", &node.user);
    text_unless_empty(out, b",\"group\":", &node.group);
    number_unless_zero(out, b",\"inode\":", node.inode);
    number_unless_zero(out, b",\"device_id\":", node.device_id);
    number_unless_zero(out, b",\"size\":", node.size);
    number_unless_zero(out, b",\"links\":", node.links);
    push_link_target(out, &node.link_target);
    push_xattrs(out, &node.xattrs);
    if let Some(attributes) = &node.generic_attributes {
        out.extend_from_slice(b",\"generic_attributes\":");
        out.extend_from_slice(attributes.as_bytes());
    }
    number_unless_zero(out, b",\"device\":", node.device);
}

fn push_link_target(out: &mut Vec<u8>, target: &[u8]) {
    text_unless_empty(out, b",\"linktarget\":", target);
    if std::str::from_utf8(target).is_err() {
        out.extend_from_slice(b",\"linktarget_raw\":");
        push_base64(out, target);
    }
}

fn push_xattrs(out: &mut Vec<u8>, xattrs: &[Xattr]) {
    let mut before: &[u8] = b",\"extended_attributes\":[{\"name\":";
    for xattr in xattrs {
        out.extend_from_slice(before);
        push_string(out, &xattr.name);
        out.extend_from_slice(b",\"value\":");
        push_base64(out, &xattr.value);
        before = b"},{\"name\":";
    }
    if !xattrs.is_empty() {
        out.extend_from_slice(b"}]");
    }
}

fn push_content(out: &mut Vec<u8>, node: &Node) {
    let Some(blobs) = &node.content else { return out.extend_from_slice(b",\"content\":null") };
    out.extend_from_slice(CONTENT);
    for (place, blob) in blobs.iter().enumerate() {
        if place > 0 {
            out.push(b',');
        }
        push_id(out, blob);
    }
    out.push(b']');
}

fn time(out: &mut Vec<u8>, before: &[u8], time: NodeTime) {
    out.extend_from_slice(before);
    time.format_into(out);
}

fn number_unless_zero(out: &mut Vec<u8>, before: &[u8], number: u64) {
    if number != 0 {
        out.extend_from_slice(before);
        push_number(out, number);
    }
}

fn text_unless_empty(out: &mut Vec<u8>, before: &[u8], text: &[u8]) {
    if !text.is_empty() {
        out.extend_from_slice(before);
        push_string(out, text);
    }
}
