//! Trees and nodes: how a directory is recorded, byte for byte as restic 0.19 writes it.
//!
//! Here stand the records; `encode` and `decode` turn them into JSON and back without loss, `text` finds and compares
//! nodes in the JSON itself, `mode` knows Go's file modes. A tree's id is the hash of its JSON, so a field written
//! otherwise breaks deduplication.

mod decode;
mod encode;
mod mode;
mod text;

use smallvec::SmallVec;

use super::Id;

pub(super) use decode::read_time;
pub use encode::{encode_head_into, encode_into, encode_node_into, join_into};
pub use mode::{go_mode, unix_mode};
pub use text::TreeText;

pub use super::json::DecodeError;
pub use super::time::NodeTime;

/// The type of a node. Sockets are read but never written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum NodeKind {
    /// `file`
    #[default]
    File,
    /// `dir`
    Dir,
    /// `symlink`
    Symlink,
    /// `dev`
    BlockDevice,
    /// `chardev`
    CharDevice,
    /// `fifo`
    Fifo,
    /// `socket`
    Socket,
    /// Anything else, e.g. `irregular`: skipped with a warning.
    Irregular,
}

/// One extended attribute.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Xattr {
    /// The full name, e.g. `user.comment`, as raw bytes.
    pub name: Vec<u8>,
    /// The raw value.
    pub value: Vec<u8>,
}

/// A name as raw bytes. What a node has of these, of owners and of blobs lies in the node itself, but for long ones:
/// a walk of trees decodes millions of nodes on all processors, which would else wait for the allocator.
pub type Name = SmallVec<[u8; 24]>;
/// The name of a user or a group, UTF-8.
pub type Owner = SmallVec<[u8; 16]>;
/// The data blobs of a file in order; most files have one.
pub type Blobs = SmallVec<[Id; 1]>;

/// The recorded form of one entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Node {
    /// The raw name, unquoted.
    pub name: Name,
    /// What it is.
    pub kind: NodeKind,
    /// Go's `FileMode`: permission bits, and its own bits for the type and setuid, setgid, sticky.
    pub mode: u32,
    /// Last modification of the content.
    pub mtime: NodeTime,
    /// Recorded equal to `mtime`.
    pub atime: NodeTime,
    /// Last change of the inode.
    pub ctime: NodeTime,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// The owner's name, empty when unknown.
    pub user: Owner,
    /// The group's name, empty when unknown.
    pub group: Owner,
    /// Inode number, 0 when unknown.
    pub inode: u64,
    /// The device that holds it.
    pub device_id: u64,
    /// Bytes of a file.
    pub size: u64,
    /// Number of hard links.
    pub links: u64,
    /// The target of a symlink, raw bytes.
    pub link_target: Vec<u8>,
    /// In the order of `listxattr`.
    pub xattrs: Vec<Xattr>,
    /// `generic_attributes`: a JSON object as text, kept as it was read; written by other systems only.
    pub generic_attributes: Option<String>,
    /// The device number of a device node.
    pub device: u64,
    /// The data blobs of a file in order; `None` is `null`, written for all but files.
    pub content: Option<Blobs>,
    /// The tree of a directory.
    pub subtree: Option<Id>,
    /// What went wrong when it was read.
    pub error: String,
}

/// A directory: nodes, strictly ascending by raw name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tree {
    /// The nodes.
    pub nodes: Vec<Node>,
}

impl Node {
    /// Whether it says the same as `other`; times are compared as instants, whatever zone they were written in.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        let times = |node: &Self| [node.mtime.instant(), node.atime.instant(), node.ctime.instant()];
        let others_times =
            Self { mtime: other.mtime, atime: other.atime, ctime: other.ctime, ..self.clone() };
        times(self) == times(other) && others_times == *other
    }

    /// Whether a file of this name can be created in its directory: not empty, not `.` or `..`, no slash, no NUL.
    /// Restore asks this of every node, whatever the repository says.
    #[must_use]
    pub fn is_safe_name(&self) -> bool {
        !matches!(*self.name, [] | [b'.'] | [b'.', b'.'])
            && !self.name.iter().any(|byte| matches!(byte, b'/' | 0))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;

    const KINDS: &[u8] = include_bytes!("../../fixtures/json/kinds.json");
    const NAMES: &[u8] = include_bytes!("../../fixtures/json/names.json");
    const TREES: [&[u8]; 6] = [
        KINDS,
        NAMES,
        include_bytes!("../../fixtures/json/times-utc.json"),
        include_bytes!("../../fixtures/json/times-kolkata.json"),
        include_bytes!("../../fixtures/json/times-new-york.json"),
        b"{\"nodes\":[]}\n",
    ];

    fn named<'a>(tree: &'a Tree, name: &[u8]) -> &'a Node {
        tree.nodes.iter().find(|node| *node.name == *name).unwrap()
    }

    fn with(fields: &str) -> Result<Tree, DecodeError> {
        Tree::decode(format!("{{\"nodes\":[{{{fields}}}]}}").as_bytes())
    }

    struct Xorshift(u64);

    impl Xorshift {
        fn below(&mut self, limit: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            (self.0 >> 16) as usize % limit
        }
    }

    #[test]
    fn what_restic_wrote_is_written_alike() {
        for json in TREES {
            let mut tree = Tree::decode(json).unwrap();
            // What restic loses in writing cannot be read: here bytes in the name of one xattr.
            for xattr in tree.nodes.iter_mut().flat_map(|node| &mut node.xattrs) {
                if xattr.name == "user.bad\u{fffd}\u{fffd}".as_bytes() {
                    xattr.name = b"user.bad\xff\x80".to_vec();
                }
            }
            assert!(tree.encode() == *json, "{}", String::from_utf8_lossy(&tree.encode()));
        }
    }

    #[test]
    fn every_kind_is_read() {
        let tree = Tree::decode(KINDS).unwrap();
        let kinds: std::collections::HashSet<_> = tree.nodes.iter().map(|node| node.kind).collect();
        assert_eq!(kinds.len(), 6);
        assert!(tree.nodes.iter().all(|node| node.content.is_some() == (node.kind == NodeKind::File)));
        assert!(tree.nodes.iter().all(|node| node.subtree.is_some() == (node.kind == NodeKind::Dir)));
        assert_eq!(named(&tree, b"link-raw").link_target, b"bad\xff\xe2\x80target");
        assert_eq!(named(&tree, b"link-control").link_target, b"\x01\x08\x0c\n\r\t\x1f\x7f");
        assert_eq!(named(&tree, b"link-text").link_target, "../café & <b> \"q\" \\ \u{2028}".as_bytes());
        assert_eq!(named(&tree, b"large").content.as_ref().unwrap().len(), 5);
        assert_eq!((named(&tree, b"char").device, named(&tree, b"block").device), (259, 286_327_664));
        let xattrs = &named(&tree, b"xattr").xattrs;
        assert_eq!((xattrs.len(), xattrs[1].value.len(), xattrs[3].value[255]), (7, 0, 255));
        assert_eq!(
            (named(&tree, b"hard").links, named(&tree, b"hard").inode),
            (2, named(&tree, b"regular").inode)
        );
        assert_eq!((named(&tree, b"owned").uid, &*named(&tree, b"owned").user), (4_294_967_294, &b""[..]));
    }

    /// 0.14 knew neither `linktarget_raw` nor xattrs of symlinks, and wrote `\u0008`: the rest is the same.
    #[test]
    fn older_versions_read_alike() {
        let old = Tree::decode(include_bytes!("../../fixtures/json/kinds-0.14.json")).unwrap();
        let new = Tree::decode(KINDS).unwrap();
        for (old, new) in old.nodes.iter().zip(&new.nodes) {
            let mut expected = new.clone();
            if new.kind == NodeKind::Symlink {
                expected.xattrs.clear();
                expected.link_target = crate::repository::json::lossy(&new.link_target).into_bytes();
            }
            assert_eq!(*old, expected);
        }
        assert_eq!(old.nodes.len(), new.nodes.len());
    }

    #[test]
    fn names_are_raw_bytes() {
        let tree = Tree::decode(NAMES).unwrap();
        for name in [
            &b"\xff"[..],
            b"\"quotes\"",
            b"back\\slash",
            b"mix\xc3\xa9\xff\\x\n",
            b"\xed\xa0\x80surrogate",
            "\u{2028}\u{2029}".as_bytes(),
        ] {
            assert!(named(&tree, name).is_safe_name());
        }
        for (name, safe) in [
            (&b""[..], false),
            (b".", false),
            (b"..", false),
            (b"a/b", false),
            (b"/", false),
            (b"a\0", false),
            (b"...", true),
            (b".a", true),
        ] {
            assert_eq!(Node { name: name.into(), ..Node::default() }.is_safe_name(), safe);
        }
    }

    #[test]
    fn absent_and_unknown_fields_are_no_errors() {
        let tree = with(r#""name":"a""#).unwrap();
        assert_eq!((tree.nodes[0].kind, tree.nodes[0].mtime), (NodeKind::Irregular, NodeTime::UNSET));
        let tree = with(r#""new":{"x":[1]},"name":"a","type":"file","content":null,"subtree":null,"user":null,"mode":null"#).unwrap();
        assert_eq!((tree.nodes[0].content.clone(), tree.nodes[0].kind), (None, NodeKind::File));
        let tree =
            with(r#""name":"a","extended_attributes":[{"name":"user.a","value":null},{"name":"user.b"}]"#)
                .unwrap();
        assert_eq!(tree.nodes[0].xattrs.len(), 2);
        let attributes = r#"{"windows.creation_time":"AQ==","x":{"y":[1]}}"#;
        let tree = with(&format!(r#""name":"a","generic_attributes":{attributes}"#)).unwrap();
        assert_eq!(tree.nodes[0].generic_attributes.as_deref(), Some(attributes));
        assert!(
            String::from_utf8(tree.encode())
                .unwrap()
                .contains(&format!(r#""generic_attributes":{attributes},"content":null"#))
        );
        assert_eq!(with(r#""name":"a","generic_attributes":{}"#).unwrap().nodes[0].generic_attributes, None);
        let spaced =
            b" { \"x\" : 1 , \"nodes\" : [ { \"name\" : \"a\" } , { \"name\" : \"b\" } ] , \"y\" : [] } \n";
        assert_eq!(Tree::decode(spaced).unwrap().nodes.len(), 2);
    }

    #[test]
    fn what_is_not_a_tree_is_refused() {
        for (fields, what) in [
            (r#""type":"file""#, "a node has no name"),
            (r#""name":"""#, "a node has no name"),
            (r#""name":"a\"""#, "a name is not quoted as Go quotes"),
            (r#""name":"\\z""#, "a name is not quoted as Go quotes"),
            (r#""name":"b"},{"name":"a""#, "the names of a tree do not ascend"),
            (r#""name":"a"},{"name":"a""#, "the names of a tree do not ascend"),
            (r#""name":"a","uid":-1"#, "expected a number from 0 to 18446744073709551615"),
            (r#""name":"a","uid":4294967296"#, "expected a number from 0 to 4294967295"),
            (r#""name":"a","mtime":"yesterday""#, "expected a time of RFC 3339"),
            (r#""name":"a","content":["00"]"#, "expected an id of 64 hex digits"),
            (r#""name":"a","content":{}"#, "expected an array"),
            (r#""name":"a","generic_attributes":[]"#, "expected an object"),
            (r#""name":1"#, "expected a string"),
        ] {
            assert_eq!(with(fields).unwrap_err().what, what, "{fields}");
        }
        for json in [
            "",
            "[]",
            "null",
            "{}",
            r#"{"nodes":{}}"#,
            r#"{"nodes":[]"#,
            r#"{"nodes":[]}{}"#,
            r#"{"nodes":[1]}"#,
            r#"{"nodes":[],}"#,
        ] {
            assert!(Tree::decode(json.as_bytes()).is_err(), "{json}");
        }
    }

    #[test]
    fn random_nodes_survive() {
        let mut random = Xorshift(0x1234_5678_9abc_def1);
        let alphabet = b"\"\\<>&\x08\x0c\n\x7f\x00az\xc3\xa9\xe2\x80\xa8\xf0\x9f\x98\x80\xff\xed\xa0/";
        for _ in 0..300 {
            let mut bytes = |limit: usize| -> Vec<u8> {
                let length = random.below(limit);
                (0..length)
                    .map(|_| {
                        if random.below(4) == 0 {
                            random.below(256) as u8
                        } else {
                            alphabet[random.below(alphabet.len())]
                        }
                    })
                    .collect()
            };
            let mut nodes = Vec::new();
            for _ in 0..8 {
                let text = crate::repository::json::lossy(&bytes(9));
                let mut name = bytes(12);
                name.push(b'x');
                nodes.push(Node {
                    name: name.into(),
                    link_target: bytes(9),
                    xattrs: vec![Xattr { name: text.clone().into_bytes(), value: bytes(40) }],
                    content: text
                        .len()
                        .is_multiple_of(2)
                        .then(|| bytes(4).iter().map(|byte| Id::of(&[*byte])).collect()),
                    error: text.clone(),
                    user: text.into_bytes().into(),
                    size: bytes(9).iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)),
                    ..Node::default()
                });
            }
            nodes.sort_by(|left, right| left.name.cmp(&right.name));
            nodes.dedup_by(|left, right| left.name == right.name);
            let tree = Tree { nodes };
            let json = tree.encode();
            assert!(std::str::from_utf8(&json).is_ok());
            assert_eq!(Tree::decode(&json).unwrap(), tree);
        }
    }

    #[test]
    fn damaged_json_never_panics_and_what_is_read_survives() {
        let mut random = Xorshift(0xdead_beef_0bad_cafe);
        for round in 0..12_000 {
            let mut json = TREES[round % TREES.len()].to_vec();
            for _ in 0..=random.below(3) {
                let at = random.below(json.len());
                match random.below(3) {
                    0 => json[at] = random.below(256) as u8,
                    1 => json[at] ^= 1 << random.below(8),
                    _ => json.truncate(at.max(1)),
                }
            }
            if let Ok(tree) = Tree::decode(&json) {
                assert_eq!(Tree::decode(&tree.encode()).unwrap(), tree);
            }
        }
    }
}
