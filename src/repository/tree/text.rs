//! A tree as it is written: its nodes are found and compared as text, and decoded only where they differ.
//!
//! Most entries of a directory are what they were. Where the text that one would be written as stands in the tree of
//! before, nothing of it needs to become a value. A place is where a node begins, in bytes of the JSON.

use std::ops::Range;
use std::sync::OnceLock;

use super::decode::{read_name, read_node};
use super::encode::{BEGIN, CONTENT, END};
use super::{Name, Node};
use crate::repository::Id;
use crate::repository::json::{DecodeError, Reader};

/// The JSON of a tree.
#[derive(Debug)]
pub struct TreeText {
    json: Vec<u8>,
    /// Where the nodes begin; known once one is looked for that is not where it was expected.
    places: OnceLock<Vec<usize>>,
}

impl TreeText {
    /// A tree that is not looked at yet.
    #[must_use]
    pub fn new(json: Vec<u8>) -> Self {
        Self { json, places: OnceLock::new() }
    }

    /// Where the first node begins, if the tree is written as restic writes it.
    #[must_use]
    pub fn first(&self) -> Option<usize> {
        self.json.starts_with(BEGIN).then_some(BEGIN.len())
    }

    /// Where the node after this one begins, if there is one and nothing stands between.
    #[must_use]
    pub fn after(&self, node: &Range<usize>) -> Option<usize> {
        (self.json.get(node.end) == Some(&b',')).then_some(node.end + 1)
    }

    /// A node as it is written.
    #[must_use]
    pub fn node(&self, node: &Range<usize>) -> &[u8] {
        self.json.get(node.clone()).unwrap_or_default()
    }

    /// Whether the node that begins at `place` is a file with this head ([`super::encode_head_into`]), a content and
    /// nothing else, written as it would be written now: where it stands. Its content replaces what is in `content`.
    #[must_use]
    pub fn file(&self, place: usize, head: &[u8], content: &mut Vec<Id>) -> Option<Range<usize>> {
        let mut rest = self.json.get(place..)?.strip_prefix(head)?.strip_prefix(CONTENT)?;
        content.clear();
        if let [b'"', ..] = rest {
            loop {
                let (quoted, others) = rest.split_first_chunk::<66>()?;
                let id =
                    Reader::new(quoted).id().ok().filter(|_| !quoted.iter().any(u8::is_ascii_uppercase))?;
                content.push(id);
                rest = others;
                let Some(others) = rest.strip_prefix(b",") else { break };
                rest = others;
            }
        }
        rest = rest.strip_prefix(b"]}")?;
        Some(place..self.json.len() - rest.len())
    }

    /// The node of a name, and where it stands; `expected` is where it begins if nothing changed.
    ///
    /// # Errors
    /// With what is not a tree, or not a node; once for the whole, after which nothing is found.
    pub fn find(
        &self,
        name: &[u8],
        expected: Option<usize>,
    ) -> Result<Option<(Node, Range<usize>)>, DecodeError> {
        if let Some(place) = expected.filter(|place| self.name(*place).is_ok_and(|found| *found == *name)) {
            return self.read(place).map(Some);
        }
        let places = if let Some(places) = self.places.get() {
            places
        } else {
            let (places, outcome) = match scan(&self.json) {
                Ok(places) => (places, Ok(())),
                Err(error) => (Vec::new(), Err(error)),
            };
            let places = self.places.get_or_init(|| places);
            outcome.map(|()| places)?
        };
        let before = places.partition_point(|place| self.name(*place).is_ok_and(|found| *found < *name));
        let place = places.get(before).copied();
        match place.filter(|place| self.name(*place).is_ok_and(|found| *found == *name)) {
            Some(place) => self.read(place).map(Some),
            None => Ok(None),
        }
    }

    /// Whether these nodes, written one behind the other as a tree, are this tree to the byte.
    #[must_use]
    pub fn is_all<'a>(&self, nodes: impl Iterator<Item = &'a Range<usize>>) -> bool {
        let mut end = None;
        for node in nodes {
            let place = end.as_ref().map_or_else(|| self.first(), |last| self.after(last));
            if place != Some(node.start) {
                return false;
            }
            end = Some(node.clone());
        }
        let end = end.map(|last| last.end).or_else(|| self.first());
        end.and_then(|end| self.json.get(end..)) == Some(END)
    }

    fn read(&self, place: usize) -> Result<(Node, Range<usize>), DecodeError> {
        let mut reader = self.reader(place);
        let node = read_node(&mut reader)?;
        Ok((node, place..place + reader.at()))
    }

    fn name(&self, place: usize) -> Result<Name, DecodeError> {
        let mut reader = self.reader(place);
        if reader.take(b"{\"name\":") { read_name(&mut reader) } else { Ok(self.read(place)?.0.name) }
    }

    fn reader(&self, place: usize) -> Reader<'_> {
        Reader::new(self.json.get(place..).unwrap_or_default())
    }
}

/// Where the nodes of a tree begin.
fn scan(json: &[u8]) -> Result<Vec<usize>, DecodeError> {
    let mut reader = Reader::new(json);
    let mut places = Vec::new();
    let mut last = Name::new();
    reader.object(|reader, field| {
        if field != b"nodes" {
            return reader.skip();
        }
        reader.array(|reader| {
            let place = reader.at();
            let mut name = Name::new();
            reader.object(|reader, field| match field {
                b"name" => read_name(reader).map(|read| name = read),
                _ => reader.skip(),
            })?;
            if name <= last {
                return Err(reader.error("the names of a tree do not ascend"));
            }
            last = name;
            places.push(place);
            Ok(())
        })
    })?;
    reader.finish()?;
    Ok(places)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::super::{NodeKind, Tree, encode_head_into, encode_node_into, join_into};
    use super::*;

    const TREES: [&[u8]; 4] = [
        include_bytes!("../../../fixtures/json/kinds.json"),
        include_bytes!("../../../fixtures/json/names.json"),
        include_bytes!("../../../fixtures/json/times-kolkata.json"),
        b"{\"nodes\":[]}\n",
    ];

    fn head(node: &Node) -> Vec<u8> {
        let mut head = Vec::new();
        encode_head_into(node, &mut head);
        head
    }

    fn written(node: &Node) -> Vec<u8> {
        let mut text = Vec::new();
        encode_node_into(node, &mut text);
        text
    }

    #[test]
    fn every_node_is_found_where_it_is_expected_and_where_it_is_not() {
        for json in TREES {
            let text = TreeText::new(json.to_vec());
            let tree = Tree::decode(json).unwrap();
            let (mut place, mut places, mut content) = (text.first(), Vec::new(), Vec::new());
            for node in &tree.nodes {
                let (found, range) = text.find(&node.name, place).unwrap().unwrap();
                assert_eq!(found, *node);
                assert_eq!(text.find(&node.name, None).unwrap().unwrap(), (found, range.clone()));
                assert_eq!(text.find(&node.name, Some(1)).unwrap().unwrap().1, range);
                if node.kind == NodeKind::File {
                    // What restic loses in writing is not written alike: here bytes in the name of one xattr.
                    let is_lossy =
                        node.xattrs.iter().any(|xattr| xattr.name.ends_with("\u{fffd}".as_bytes()));
                    let found = text.file(range.start, &head(node), &mut content);
                    assert_eq!(found, (!is_lossy).then(|| range.clone()));
                    assert!(is_lossy || Some(content.as_slice()) == node.content.as_deref());
                } else {
                    assert_eq!(text.file(range.start, &head(node), &mut content), None);
                }
                let mut other = node.clone();
                other.name.push(b'x');
                assert_eq!(text.find(&other.name, place).unwrap(), None);
                other.name = node.name.clone();
                other.inode += 1;
                assert_eq!(text.file(range.start, &head(&other), &mut content), None);
                place = text.after(&range);
                places.push(range);
            }
            assert_eq!(place.is_some(), tree.nodes.is_empty());
            assert!(text.is_all(places.iter()));
            let mut joined = Vec::new();
            join_into(places.iter().map(|place| text.node(place)), &mut joined);
            assert_eq!(joined, json);
            for left_out in 0..places.len() {
                let some = places.iter().enumerate().filter(|(number, _)| *number != left_out);
                assert!(!text.is_all(some.map(|(_, place)| place)), "{left_out}");
            }
        }
    }

    #[test]
    fn what_would_be_written_otherwise_is_not_the_same() {
        let id = Id::of(b"x");
        let node = Node {
            name: Name::from_slice(b"a"),
            content: Some([id, id].as_slice().into()),
            ..Node::default()
        };
        let (head, text) = (head(&node), String::from_utf8(written(&node)).unwrap());
        let mut content = Vec::new();
        let mut file = |text: &str| {
            let json = format!("{{\"nodes\":[{text}]}}\n");
            TreeText::new(json.into_bytes()).file(10, &head, &mut content)
        };
        assert_eq!(file(&text), Some(10..10 + text.len()));
        for other in [
            text.replace(&id.hex(), &id.hex().to_uppercase()),
            text.replace("[\"", "[ \""),
            text.replace("\",\"", "\", \""),
            text.replace(&format!(",\"{id}\""), ","),
            text.replace("]}", "],\"error\":\"e\"}"),
            text.replace("]}", "]"),
            text.replace("\"content\":", "\"content\" :"),
            text[..text.len() - 60].to_owned(),
        ] {
            assert_ne!(other, text);
            assert_eq!(file(&other), None, "{other}");
        }
        let spaced = TreeText::new(format!("{{\"nodes\": [{text}] }}").into_bytes());
        assert_eq!(spaced.first(), None);
        let (found, range) = spaced.find(b"a", None).unwrap().unwrap();
        assert_eq!(found, node);
        assert!(!spaced.is_all([range].iter()));
        for end in ["]}", "]}\n\n", "],\"x\":1}\n"] {
            let tree = TreeText::new(format!("{{\"nodes\":[{text}{end}").into_bytes());
            let (_, range) = tree.find(b"a", tree.first()).unwrap().unwrap();
            assert!(!tree.is_all([range].iter()), "{end}");
        }
    }

    #[test]
    fn what_is_not_a_tree_is_told_once() {
        for json in [
            "",
            "[]",
            r#"{"nodes":{}}"#,
            r#"{"nodes":[1]}"#,
            r#"{"nodes":[{"name":"b"},{"name":"a"}]}"#,
            r#"{"nodes":[{"name":"a"},{"name":"a"}]}"#,
            r#"{"nodes":[{"type":"file"}]}"#,
            r#"{"nodes":[{"name":"a"}"#,
        ] {
            let text = TreeText::new(json.as_bytes().to_vec());
            assert!(text.find(b"x", text.first()).is_err(), "{json}");
            assert_eq!(text.find(b"x", text.first()), Ok(None), "{json}");
        }
        let text = TreeText::new(br#"{"nodes":[{"name":"a","uid":-1},{"name":"b"}]}"#.to_vec());
        assert!(text.find(b"a", None).is_err());
        assert!(text.find(b"b", None).unwrap().is_some());
    }
}
