//! JSON to nodes: what any version of restic or rustic wrote.
//!
//! A tree that is read has names that are not empty and strictly ascend, so that no entry can hide behind another;
//! whether a name may be created is asked with [`Node::is_safe_name`]. Unknown fields are passed over, absent ones
//! have Go's zero value. Bytes from a repository are not trusted: an error has a place, and nothing panics.

use super::{Blobs, Name, Node, NodeKind, Owner, Tree, Xattr};
use crate::repository::json::{DecodeError, Reader};
use crate::repository::quote::unquote;
use crate::repository::time::NodeTime;

impl Tree {
    /// Reads a tree's blob.
    ///
    /// # Errors
    /// With the place of what is not JSON, not a tree, an empty name, or a name that does not follow the one before.
    pub fn decode(data: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(data);
        let mut nodes = None;
        reader.object(|reader, field| match field {
            b"nodes" => read_nodes(reader, data.len()).map(|read| nodes = Some(read)),
            _ => reader.skip(),
        })?;
        let missing = reader.error("a tree has nodes");
        reader.finish()?;
        Ok(Self { nodes: nodes.ok_or(missing)? })
    }
}

/// About the bytes of a node in JSON, to reserve its place.
const NODE_BYTES: usize = 400;

fn read_nodes(reader: &mut Reader<'_>, length: usize) -> Result<Vec<Node>, DecodeError> {
    let mut nodes: Vec<Node> = Vec::with_capacity(length.div_ceil(NODE_BYTES));
    reader.array(|reader| {
        let node = read_node(reader)?;
        if node.name.is_empty() {
            return Err(reader.error("a node has no name"));
        }
        if nodes.last().is_some_and(|last| last.name >= node.name) {
            return Err(reader.error("the names of a tree do not ascend"));
        }
        nodes.push(node);
        Ok(())
    })?;
    Ok(nodes)
}

/// Reads one node.
pub(super) fn read_node(reader: &mut Reader<'_>) -> Result<Node, DecodeError> {
    let unset = NodeTime::UNSET;
    let mut node =
        Node { kind: NodeKind::Irregular, mtime: unset, atime: unset, ctime: unset, ..Node::default() };
    let mut raw_target = None;
    reader.object(|reader, field| {
        match field {
            b"name" => node.name = read_name(reader)?,
            b"type" => node.kind = NodeKind::from_word(&reader.bytes()?),
            b"mode" => node.mode = reader.number32()?,
            b"mtime" => node.mtime = read_time(reader)?,
            b"atime" => node.atime = read_time(reader)?,
            b"ctime" => node.ctime = read_time(reader)?,
            b"uid" => node.uid = reader.number32()?,
            b"gid" => node.gid = reader.number32()?,
            b"user" => node.user = Owner::from_slice(&reader.bytes()?),
            b"group" => node.group = Owner::from_slice(&reader.bytes()?),
            b"inode" => node.inode = reader.number()?,
            b"device_id" => node.device_id = reader.number()?,
            b"size" => node.size = reader.number()?,
            b"links" => node.links = reader.number()?,
            b"linktarget" => node.link_target = reader.bytes()?.into_owned(),
            b"linktarget_raw" => raw_target = Some(reader.base64()?),
            b"extended_attributes" => node.xattrs = read_xattrs(reader)?,
            b"generic_attributes" => node.generic_attributes = read_attributes(reader)?,
            b"device" => node.device = reader.number()?,
            b"content" => {
                let mut blobs = Blobs::new();
                reader.array(|reader| reader.id().map(|id| blobs.push(id)))?;
                node.content = Some(blobs);
            }
            b"subtree" => node.subtree = Some(reader.id()?),
            b"error" => node.error = reader.text()?.into_owned(),
            _ => reader.skip()?,
        }
        Ok(())
    })?;
    if let Some(target) = raw_target {
        node.link_target = target;
    }
    Ok(node)
}

/// Reads the value of a node's name.
pub(super) fn read_name(reader: &mut Reader<'_>) -> Result<Name, DecodeError> {
    let error = reader.error("a name is not quoted as Go quotes");
    let quoted = reader.bytes()?;
    unquote(&quoted).map(|name| Name::from_slice(&name)).ok_or(error)
}

/// Reads a time of a node or snapshot.
pub(in crate::repository) fn read_time(reader: &mut Reader<'_>) -> Result<NodeTime, DecodeError> {
    let error = reader.error("expected a time of RFC 3339");
    NodeTime::parse(&reader.bytes()?).map_err(|_| error)
}

fn read_xattrs(reader: &mut Reader<'_>) -> Result<Vec<Xattr>, DecodeError> {
    let mut xattrs = Vec::new();
    reader.array(|reader| {
        let mut xattr = Xattr::default();
        reader.object(|reader, field| {
            match field {
                b"name" => xattr.name = reader.bytes()?.into_owned(),
                b"value" => xattr.value = reader.base64()?,
                _ => reader.skip()?,
            }
            Ok(())
        })?;
        xattrs.push(xattr);
        Ok(())
    })?;
    Ok(xattrs)
}

/// The object as it stands; an empty one is none, as restic leaves it out.
fn read_attributes(reader: &mut Reader<'_>) -> Result<Option<String>, DecodeError> {
    let mut empty = true;
    let text = reader.clone().raw()?;
    reader.object(|reader, _| {
        empty = false;
        reader.skip()
    })?;
    Ok(if empty { None } else { Some(String::from_utf8_lossy(text).into_owned()) })
}
