//! Repositories made by hand: any tree, also one that no program would write.

use bytes::Bytes;
use volmover::backend::FileType;
use volmover::random::SystemRandom;
use volmover::repository::blob::{BlobType, Sealer};
use volmover::repository::index::{self, IndexPack};
use volmover::repository::pack::{FinishedPack, PackBuilder};
use volmover::repository::snapshot::Snapshot;
use volmover::repository::tree::{Node, NodeKind, Tree};
use volmover::repository::{Id, Repository};

/// A file of these chunks.
pub fn file(name: &[u8], chunks: &[&[u8]]) -> Node {
    Node {
        name: name.into(),
        kind: NodeKind::File,
        mode: 0o644,
        size: chunks.iter().map(|chunk| chunk.len() as u64).sum(),
        content: Some(chunks.iter().map(|chunk| Id::of(chunk)).collect()),
        ..owned()
    }
}

pub fn symlink(name: &[u8], target: &[u8]) -> Node {
    Node {
        name: name.into(),
        kind: NodeKind::Symlink,
        mode: 1 << 27 | 0o777,
        link_target: target.to_vec(),
        ..owned()
    }
}

/// A directory, whose tree is to be stored as well.
pub fn folder(name: &[u8], tree: &Tree) -> Node {
    Node {
        name: name.into(),
        kind: NodeKind::Dir,
        mode: 1 << 31 | 0o755,
        subtree: Some(Id::of(&tree.encode())),
        ..owned()
    }
}

fn owned() -> Node {
    Node {
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
        ..Node::default()
    }
}

/// Nodes in any order.
pub fn tree(mut nodes: Vec<Node>) -> Tree {
    nodes.sort_by(|a, b| a.name.cmp(&b.name));
    Tree { nodes }
}

/// Stores blobs as one pack, without its index.
pub fn store_pack(repository: &Repository, kind: BlobType, plains: &[&[u8]]) -> FinishedPack {
    let mut sealer = repository.sealer().unwrap();
    let mut builder = PackBuilder::new(kind, Vec::new());
    for plain in plains {
        let id = Id::of(plain);
        builder
            .append(id, Sealer::bound(plain.len()), |tail| sealer.seal(kind, &id, plain, tail, &SystemRandom))
            .unwrap();
    }
    let pack = builder.finish(repository.cipher(), &SystemRandom).unwrap();
    repository.backend().write(FileType::Pack, &pack.id.hex(), &Bytes::clone(&pack.bytes)).unwrap();
    pack
}

pub fn store_index(repository: &Repository, packs: &[FinishedPack]) {
    let packs: Vec<IndexPack> =
        packs.iter().map(|pack| IndexPack { id: pack.id, blobs: pack.blobs.clone() }).collect();
    repository.write_unpacked(FileType::Index, &index::encode(&packs)).unwrap();
}

/// Stores chunks and trees, the first of which is the root, and a snapshot of them.
pub fn store(repository: &Repository, chunks: &[&[u8]], trees: &[&Tree]) -> Snapshot {
    let encoded: Vec<Vec<u8>> = trees.iter().map(|tree| tree.encode()).collect();
    let plains: Vec<&[u8]> = encoded.iter().map(Vec::as_slice).collect();
    let mut packs = vec![store_pack(repository, BlobType::Tree, &plains)];
    if !chunks.is_empty() {
        packs.push(store_pack(repository, BlobType::Data, chunks));
    }
    store_index(repository, &packs);
    let snapshot = Snapshot {
        tree: Id::of(&encoded[0]),
        hostname: "h".into(),
        paths: vec!["/".into()],
        ..Snapshot::default()
    };
    repository.write_unpacked(FileType::Snapshot, &snapshot.encode()).unwrap();
    snapshot
}
