//! Marks what the snapshots need: a bit a blob, at the ordinal of its first index entry.
//!
//! A tree that cannot be read, or a blob that no index lists, ends the marking: what it needs is not known.

use super::Context;
use crate::error::{Error, Result};
use crate::repository::blob::BlobType;
use crate::repository::index::Index;
use crate::repository::reach::{self, Bits, Visitor};
use crate::repository::tree::Tree;
use crate::repository::{Id, missing_blob};

/// The blobs below `roots`.
pub(super) fn mark(context: &Context<'_>, index: &Index, roots: &[Id]) -> Result<Bits> {
    let marker = Marker { context, index, used: Bits::new(index.len()) };
    reach::walk(context.repository, index, roots, context.threads, &marker, context.stop)?;
    Ok(marker.used)
}

struct Marker<'a> {
    context: &'a Context<'a>,
    index: &'a Index,
    used: Bits,
}

impl Marker<'_> {
    fn set(&self, kind: BlobType, id: &Id) -> Result<()> {
        let ordinal = self.index.ordinal(kind, id).ok_or_else(|| stopped(missing_blob(kind, id)))?;
        self.used.set(ordinal);
        Ok(())
    }
}

impl Visitor for Marker<'_> {
    fn tree(&self, id: &Id, tree: &Tree) -> Result<()> {
        self.context.monitor.progress().files_done.add(1);
        self.set(BlobType::Tree, id)?;
        tree.nodes
            .iter()
            .flat_map(|node| node.content.iter().flatten())
            .try_for_each(|blob| self.set(BlobType::Data, blob))
    }

    fn broken(&self, _id: &Id, error: Error) -> Result<()> {
        Err(stopped(error))
    }
}

fn stopped(error: Error) -> Error {
    error.then("Nothing was changed. Run check to see what is damaged, mend that, then prune")
}
